"""Decodes token ids into the notes on which the features of music are computed.

Depends on neither a bundle nor where the ids come from.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from music.features import TICKS_PER_QUARTER, Music
from music.tracker import BAR, DURATION, TICKS_PER_BEAT, TIMESIG, MusicState, Vocabulary


def music_of(ids: Iterable[int], vocabulary: Vocabulary) -> tuple[Music | None, MusicState]:
    """The notes of a piece, or None if it has none, and the state after its last id.

    ``ids`` are those behind BOS and style. A tick of the notes is 1/12 of a quarter note, whereas a
    tick of the state is 1/12 of a beat, which may be an eighth: both are converted by way of
    quarter notes.
    """
    state = MusicState(vocabulary)
    notes: list[tuple[int, int, int, int]] = []  # onset, pitch, duration, program
    metres: list[tuple[int, int, int]] = []
    bar_start = 0.0  # in quarter notes
    for token in ids:
        if vocabulary.kind[token] == BAR and state.bars:
            bar_start += state.bar_ticks * state.tick_quarters
        state.step(token)
        if state.kind == DURATION:
            onset = bar_start + max(state.position, 0) * state.tick_quarters
            length = vocabulary.value[token] * state.tick_quarters
            start, ticks = (round(TICKS_PER_QUARTER * quarters) for quarters in (onset, length))
            pitch = int(vocabulary.value[state.last_pitch])
            # A tick of an eighth is half a tick here and rounds to 0, but a note has at least one.
            notes.append((start, pitch, max(1, ticks), state.program))
        elif state.kind == TIMESIG:
            beat_quarters = TICKS_PER_BEAT * state.tick_quarters
            metre = (state.bar_ticks // TICKS_PER_BEAT, round(4 / beat_quarters))
            if not metres or metres[-1][1:] != metre:
                metres.append((round(TICKS_PER_QUARTER * bar_start), *metre))
    if not notes:
        return None, state
    onset, pitch, duration, program = np.array(sorted(notes), np.int64).T
    end = int((onset + duration).max())
    music = Music(onset, duration, pitch, program, end, state.qpm, tuple(metres), duplicates=0.0)
    return music, state
