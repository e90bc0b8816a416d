"""From a score to the notes whose features are measured (`music.features`).

All but two features are read off the first seconds of the *cleaned* score, so that real and
generated pieces are measured alike; duplicates are counted before cleaning, which would remove
them, and the length of the excerpt is known. Knows one score; not models, sets of pieces or files.
"""

from __future__ import annotations

import numpy as np
from symusic.core import ScoreTick

from midi_save.clean import TICKS_PER_BEAT
from music.features import Music


def excerpt(clean: ScoreTick, duplicates: float, seconds: float) -> Music | None:
    """The first ``seconds`` of a cleaned score; None where no note begins in them."""
    qpm = clean.tempos[0].qpm
    limit = int(np.ceil(seconds * qpm / 60 * TICKS_PER_BEAT))
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
    """Share of the notes, drums apart, with the onset and pitch of an earlier one in their track.

    Not across tracks: where two parts meet on a note, the score has it twice with good reason.
    """
    notes = distinct = 0
    for track in raw.tracks:
        if len(track.notes) and not track.is_drum:
            columns = track.notes.numpy()
            notes += len(track.notes)
            distinct += len(np.unique(columns["time"].astype(np.int64) << 7 | columns["pitch"]))
    return 1 - distinct / notes if notes else 0.0
