"""Whether there is time for another step before a call has to answer.

Depends on neither music nor models: a step is something that took some seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable

# Time reserved at the end of a call: four times the slowest step so far of the next one's kind. The
# next may be slower than all before it, and the answer has to be written and sent.
RESERVED_STEPS = 4
# But no more than this share of what was left when the call took its first step: a quarter of that
# is always used. Else a piece could go from call to call for ever, one token each time, on a core
# that is shared with others. Should that be too much, Lambda ends the call, and says so.
MOST_RESERVED = 0.75


class Deadline:
    """The time of one call.

    Args:
        budget_s: seconds that the call has, from now on.
        plain_s, sliding_s: what a step may take at least, for all that is known before the first:
            a plain one, and one that slides the windows, which takes as long as thirty others.
        closing_s: seconds that the answer takes beyond the reserved steps, by the ids in it.
        clock: seconds, of which only differences count.
    """

    def __init__(
        self,
        budget_s: float,
        plain_s: float,
        sliding_s: float,
        closing_s: Callable[[int], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock, self._closing_s = clock, closing_s
        self._slowest_s = {False: plain_s, True: sliding_s}  # by whether the step slides
        self._began = self._now = clock()
        self._end = self._began + budget_s
        self._most_reserved_s: float | None = None  # until the first step
        self._slid = False  # whether the step before did

    def allows_step(self, ids: int, *, slides: bool) -> bool:
        """Whether the next step may be taken, after which the answer has so many ids.

        The first one may, unless the time is over already: each call makes some progress.
        """
        before, self._now = self._now, self._clock()
        if self._most_reserved_s is None:
            self._most_reserved_s = MOST_RESERVED * (self._end - self._now)
            reserved_s = 0.0
        else:
            took_s = self._now - before
            self._slowest_s[self._slid] = max(self._slowest_s[self._slid], took_s)
            reserved_s = RESERVED_STEPS * self._slowest_s[slides] + self._closing_s(ids)
            reserved_s = min(reserved_s, self._most_reserved_s)
        self._slid = slides
        return self._now + reserved_s < self._end

    def spent_s(self) -> float:
        """Seconds since the call began."""
        return self._clock() - self._began
