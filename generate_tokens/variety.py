"""Notices when the music has got stuck on a few pitches, and names those to leave out for a while.

A small model sometimes falls into one note for ever: 13 % of its pieces had 64 notes in a row with
at most four pitches, 0.9 % of real ones have (LOG.md). Knows ids; not the model.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Set as AbstractSet

WINDOW_NOTES = 48
STUCK_PITCHES = 4  # as few in a full window: stuck
FREE_PITCHES = 8  # as many: free again


class Variety:
    """Follows the pitches of one sequence; ``left_out`` holds the pitch ids to avoid, if any."""

    def __init__(self) -> None:
        self._window: deque[int] = deque()
        self._counts: Counter[int] = Counter()
        self.left_out: AbstractSet[int] = frozenset()

    def add(self, pitch: int) -> None:
        """Takes the next note's pitch id."""
        self._window.append(pitch)
        self._counts[pitch] += 1
        if len(self._window) <= WINDOW_NOTES:
            return
        oldest = self._window.popleft()
        self._counts[oldest] -= 1
        if not self._counts[oldest]:
            del self._counts[oldest]
        if len(self._counts) >= FREE_PITCHES:
            self.left_out = frozenset()
        elif len(self._counts) <= STUCK_PITCHES:
            self.left_out |= self._counts.keys()  # also what it got stuck on meanwhile
