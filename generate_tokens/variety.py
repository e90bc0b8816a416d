"""Notices when the music has got stuck, and names the pitches to leave out for a while.

A small model sometimes repeats one note, or one figure, for ever. Of its pieces, 13 % had 64 notes
in a row with at most four pitches; of real pieces, 0.9 % have. Figures that repeat for more than 16
notes are in 3 % of real pieces (LOG.md). Depends on neither the model nor sampling.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Set as AbstractSet

WINDOW_NOTES = 48
STUCK_PITCHES = 4  # a full window with so few pitches, or fewer, is stuck
FREE_PITCHES = 8  # with so many, or more, it is free again
LONGEST_FIGURE = 8  # notes
REPEATED_NOTES = 16  # a figure is worn out if so many notes repeat it exactly


class Variety:
    """Follows the notes of one sequence.

    Args:
        pitches: all pitch ids.

    Attributes:
        left_out: the pitch ids to avoid, if any.
    """

    def __init__(self, pitches: range) -> None:
        self._pitches = pitches
        self._window: deque[int] = deque()  # pitch ids of the last notes
        self._counts: Counter[int] = Counter()  # how often each is in the window
        self._few: AbstractSet[int] = frozenset()  # the pitches of a window that is stuck
        self._last = (0, 0)  # pitch id and tick
        # The last steps (in pitch, in ticks) from note to note, the newest last. And by length of a
        # figure: how many steps in a row have been equal to the step ``length`` before them.
        # Example: the pitches 60 62 60 62 60 62 at equal distances have the steps 2 -2 2 -2 2.
        # Three of them repeat the step 2 before, so for length 2 the count is 3.
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
        worn_out = {  # the pitches with which a figure would continue
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
            self._few |= self._counts.keys()  # with those of before, until it is free
