"""Which of several candidates is the best piece: the one that does not stand still, and ends well.

No model and no data are asked, and repetition is no penalty: what a piece repeats, its plan of form
says, and penalties on it brought candidates no nearer to real music (LOG.md). Knows ids and notes;
not how candidates are made.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from music.harmony import FEW_CLASSES, ending_of, harmony_features
from music.notes import music_of
from music.repetition import longest_same_top
from music.tracker import Vocabulary

LATEST_END_BARS = 2  # after the planned last bar; a piece that has not ended by then is cut there
# Each penalty is at most 1. Nine of ten real pieces have a longest chord of 5 s or less within
# 75 s, and at least 5 pitch classes in any 10 s.
LONG_CHORD_S, FROZEN_CHORD_S = 5.0, 10.0  # no penalty, the whole of it
MANY_CLASSES = FEW_CLASSES + 1
SAME_TOP = (7, 14)  # times in a row that a note is on top: no penalty, the whole of it
NO_END = 0.5  # of a piece that does not stop about its planned last bar
DISSONANT = 0.5  # its last chord; on which degree that is, the plan says
WRONG_LENGTH = 1.0  # of a piece of twice the wanted length, or of none


def penalties_so_far(ids: Sequence[int], vocabulary: Vocabulary) -> dict[str, float]:
    """How much the music so far stands still, by name: 0 where all is well, at most 1 each."""
    music, _ = music_of(ids, vocabulary)
    if music is None:
        return {"stasis": 1.0, "same_top": 1.0}
    harmony = harmony_features(music)
    chord = _share(harmony["longest_chord_s"], LONG_CHORD_S, FROZEN_CHORD_S)
    classes = harmony["fewest_pitch_classes"]  # nan for a piece of under 10 s
    few = 0.0 if np.isnan(classes) else _share(-classes, -MANY_CLASSES, -MANY_CLASSES + 2)
    return {
        "stasis": round(max(chord, few), 4),
        "same_top": round(_share(longest_same_top(music), *SAME_TOP), 4),
    }


def penalties_of_piece(
    ids: Sequence[int], vocabulary: Vocabulary, duration_s: float
) -> dict[str, float]:
    """The same of a finished piece, and what it loses by its length and by its ending."""
    music, state = music_of(ids, vocabulary)
    left = state.bars_left(duration_s)
    ending = 0.0 if left is not None and -LATEST_END_BARS < left <= 1 else NO_END
    if music is not None:
        ending += DISSONANT * ending_of(music).dissonant
    return {
        "length": round(WRONG_LENGTH * min(1.0, abs(state.end_s / duration_s - 1)), 4),
        "ending": round(min(1.0, ending), 4),
        **penalties_so_far(ids, vocabulary),
    }


def _share(value: float, none: float, whole: float) -> float:
    """How far ``value`` is on the way from ``none`` to ``whole``, from 0 to 1."""
    return float(min(1.0, max(0.0, (value - none) / (whole - none))))
