"""From a score to the notes whose features are measured (`music.features`).

All features but two are read off the first seconds of the *cleaned* score, so that real and
generated pieces are measured alike. The two are duplicates, which are counted before cleaning would
remove them, and the length of the excerpt, which is known. Depends on neither files nor models.
"""

from __future__ import annotations

import numpy as np
from symusic.core import ScoreTick

from music.features import TICKS_PER_QUARTER, Music


def excerpt(clean: ScoreTick, duplicates: float, seconds: float) -> Music | None:
    """The first ``seconds`` of a cleaned score; None where no note begins in them."""
    qpm = clean.tempos[0].qpm
    limit = int(np.ceil(seconds * qpm / 60 * TICKS_PER_QUARTER))
    columns = [
        [*(track.notes.numpy()[k] for k in ("time", "duration", "pitch"))] for track in clean.tracks
    ]
    onset, duration, pitch = (
        np.concatenate([c[k] for c in columns]).astype(np.int64) for k in range(3)
    )
    program = np.repeat([t.program for t in clean.tracks], [len(t.notes) for t in clean.tracks])
    inside = onset < limit
    if not inside.any():
        return None
    # by onset, then pitch, then program: lexsort takes the last key first
    order = np.lexsort((program, pitch, onset))
    order = order[inside[order]]
    metres = [(s.time, s.numerator, s.denominator) for s in clean.time_signatures]
    return Music(
        onset=onset[order],
        duration=np.minimum(duration[order], limit - onset[order]),
        pitch=pitch[order],
        program=program[order].astype(np.int64),
        ticks=min(limit, int(clean.end())),
        qpm=qpm,
        metres=tuple(m for m in metres if m[0] < limit),
        duplicates=duplicates,
    )


def duplicate_share(raw: ScoreTick) -> float:
    """Share of the notes, without drums, with onset and pitch of an earlier one in their track.

    Tracks are not compared: where two parts meet on a note, the score rightly has it twice.
    """
    notes = distinct = 0
    for track in raw.tracks:
        if len(track.notes) and not track.is_drum:
            columns = track.notes.numpy()
            notes += len(track.notes)
            # onset and pitch as one number: a pitch has 7 bits
            distinct += len(np.unique(columns["time"].astype(np.int64) << 7 | columns["pitch"]))
    return 1 - distinct / notes if notes else 0.0
