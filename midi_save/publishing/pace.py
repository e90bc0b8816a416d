"""Whether the time that is left of an invocation does for one more of the same.

Depends on nothing; who asks says how to look at the clock.
"""

from __future__ import annotations

from collections.abc import Callable

RESERVED_S = 12.0  # of the time left, for archive and feeds


class Pace:
    """Whether there is time for one more, going by the longest so far: the first is always made."""

    def __init__(self, left_s: Callable[[], float]) -> None:
        self._left_s = left_s
        self._before_s: float | None = None
        self._longest_s = 0.0

    def has_time(self) -> bool:
        """To be asked before each."""
        left_s = self._left_s()
        if self._before_s is None:
            self._before_s = left_s
            return True
        self._longest_s = max(self._longest_s, self._before_s - left_s)
        self._before_s = left_s
        return left_s > RESERVED_S + 2 * self._longest_s
