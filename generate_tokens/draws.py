"""Draws the style, metre and tempo that an event leaves open, as often as the archive has them.

The bundle states how many pieces of the archive have each style, metre and tempo. The draw depends
on the bundle, the seed and the event alone. Depends on neither notes nor plans.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from contract.bundle import Bundle
from contract.request import Request, nearest_tempo

_STREAM = (0, 0, 1)  # stands behind the seed: see form.py
FITS = 0.1  # how far the nearest bar line may be from the requested length, as a share of that
DEFAULT_METRE, DEFAULT_TEMPO = "4/4", 120.0  # for an archive that says nothing


def drawn(request: Request, bundle: Bundle) -> Request:
    """The request with style, metre and tempo: its own, or else those of a piece of the archive.

    One piece is drawn from the archive. It has what the event settles, as far as there is such a
    piece, and its bars fit the requested length.
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
        if given is not None:  # without such a piece, all rows stay
            rows = [row for row in rows if row[column] == given] or rows
    misfits = [_misfit(metre, tempo, request.duration_s) for _, metre, tempo, _ in rows]
    most = max(FITS, min(misfits))  # the best fit stays, however bad it is
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
    """How far the bar line nearest to ``duration_s`` is from it, as a share of ``duration_s``.

    Example: 4/4 at 120 has bars of 2 s. The line nearest to 15.5 s is at 16 s: 0.5 / 15.5 = 0.03.
    """
    numerator, denominator = map(int, metre.split("/"))
    bar_s = numerator * 4 / denominator * 60 / tempo
    return abs(max(1, round(duration_s / bar_s)) * bar_s / duration_s - 1)
