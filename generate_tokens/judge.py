"""Which of several candidates is the best piece: the one that does not stand still, and ends well.

A candidate gets penalties, computed from its notes alone. There is no penalty for repetition: the
plan of form determines what a piece repeats, and such penalties brought candidates no nearer to
real music (LOG.md). Depends on neither the model nor how candidates are made.
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
LONG_CHORD_S, FROZEN_CHORD_S = 5.0, 10.0  # up to the first no penalty, from the second on all of it
MANY_CLASSES = FEW_CLASSES + 1
SAME_TOP = (7, 14)  # the same for how often in a row one note is on top
NO_END = 0.5  # for a piece that does not stop near its planned last bar
DISSONANT = 0.5  # for a dissonant last chord; the plan determines its degree, so that costs nothing
WRONG_LENGTH = 1.0  # for a piece of twice the requested length, or of length 0


def penalties_so_far(ids: Sequence[int], vocabulary: Vocabulary) -> dict[str, float]:
    """Penalties, by name, for music that stands still: 0 where all is well, at most 1 each."""
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
    """The same penalties for a finished piece, and those for its length and for its ending."""
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
    """How far ``value`` is on the way from ``none`` to ``whole``, from 0 to 1.

    Example: a chord of 6 s, with ``none`` at 5 s and ``whole`` at 10 s, gets 0.2. The scale may
    also descend, which the caller writes with negative values: 4 pitch classes get 0.5 of it.
    """
    return float(min(1.0, max(0.0, (value - none) / (whole - none))))
