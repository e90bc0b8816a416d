"""What a piece is drawn as: style, metre and tempo, from what the archive holds.

Knows the shares that the bundle says the archive has; a function of the seed and of what the event
settles. Neither notes nor plans.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from contract.bundle import Bundle
from contract.request import Request, nearest_tempo

_STREAM = (0, 0, 1)  # behind the seed: see form.py
FITS = 0.1  # of the wanted length, how far off the nearest bar line may be
DEFAULT_METRE, DEFAULT_TEMPO = "4/4", 120.0  # for an archive that says nothing


def drawn(request: Request, bundle: Bundle) -> Request:
    """The request with a style, a metre and a tempo: its own, or those of a piece of the archive.

    One piece is drawn of those that have what the event settles, where there are any, and whose
    bars fit the wanted length.
    """
    if None not in (request.style, request.metre, request.tempo):
        return request
    rows = [
        (style, metre, float(tempo), count)
        for style, by_metre in bundle.archive.items()
        for metre, tempi in by_metre.items()
        for tempo, count in tempi.items()
    ] or [(style, DEFAULT_METRE, DEFAULT_TEMPO, 1) for style in bundle.styles]
    for column, given in enumerate((request.style, request.metre, request.tempo)):
        if given is not None:
            rows = [row for row in rows if row[column] == given] or rows
    misfits = [_misfit(metre, tempo, request.duration_s) for _, metre, tempo, _ in rows]
    most = max(FITS, min(misfits))
    rows = [row for row, misfit in zip(rows, misfits, strict=True) if misfit <= most]
    counts = np.array([row[3] for row in rows], np.float64)
    rng = np.random.default_rng([request.piece_seed, *_STREAM])
    style, metre, tempo, _ = rows[rng.choice(len(rows), p=counts / counts.sum())]
    return replace(
        request,
        style=request.style or style,
        metre=request.metre or metre,
        tempo=request.tempo or nearest_tempo(tempo, bundle),
    )


def _misfit(metre: str, tempo: float, duration_s: float) -> float:
    """How far the bar line nearest to ``duration_s`` is from it, as a share."""
    numerator, denominator = map(int, metre.split("/"))
    bar_s = numerator * 4 / denominator * 60 / tempo
    return abs(max(1, round(duration_s / bar_s)) * bar_s / duration_s - 1)
