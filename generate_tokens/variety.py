"""Notices when the music has got stuck, and names the pitches to leave out for a while.

A small model sometimes falls into one note, or one figure, for ever. Of its pieces, 13 % had 64
notes in a row with at most four pitches, 0.9 % of real ones have; figures that repeat for more than
16 notes are in 3 % of real pieces (LOG.md). Knows ids and ticks; not the model.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Set as AbstractSet

WINDOW_NOTES = 48
STUCK_PITCHES = 4  # as few in a full window: stuck
FREE_PITCHES = 8  # as many: free again
LONGEST_FIGURE = 8  # notes before it begins anew
REPEATED_NOTES = 16  # that follow the figure exactly: enough of it


class Variety:
    """Follows the notes of one sequence; ``left_out`` holds the pitch ids to avoid, if any.

    Args:
        pitches: all pitch ids.
    """

    def __init__(self, pitches: range) -> None:
        self._pitches = pitches
        self._window: deque[int] = deque()
        self._counts: Counter[int] = Counter()
        self._few: AbstractSet[int] = frozenset()
        self._last = (0, 0)  # pitch id and tick
        # The newest last: how pitch and tick went on from note to note, and per length of figure
        # for how many notes they have gone as one figure before.
        self._steps: deque[tuple[int, int]] = deque(maxlen=LONGEST_FIGURE)
        self._repeated = [0] * (LONGEST_FIGURE + 1)
        self.left_out: AbstractSet[int] = frozenset()

    def add(self, pitch: int, tick: int) -> None:
        """Takes the next note's pitch id and tick."""
        step = (pitch - self._last[0], tick - self._last[1])
        self._last = (pitch, tick)
        for length in range(1, len(self._steps) + 1):
            same = self._steps[-length] == step
            self._repeated[length] = self._repeated[length] + 1 if same else 0
        self._steps.append(step)
        self._count(pitch)
        worn_out = {  # what would go on with the figure
            pitch + self._steps[-length][0]
            for length in range(1, len(self._steps) + 1)
            if self._repeated[length] >= REPEATED_NOTES
        }
        self.left_out = self._few | {pitch for pitch in worn_out if pitch in self._pitches}

    def _count(self, pitch: int) -> None:
        self._window.append(pitch)
        self._counts[pitch] += 1
        if len(self._window) <= WINDOW_NOTES:
            return
        oldest = self._window.popleft()
        self._counts[oldest] -= 1
        if not self._counts[oldest]:
            del self._counts[oldest]
        if len(self._counts) >= FREE_PITCHES:
            self._few = frozenset()
        elif len(self._counts) <= STUCK_PITCHES:
            self._few |= self._counts.keys()  # also what it got stuck on meanwhile
