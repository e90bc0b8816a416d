"""The memory of a piece: which id would repeat what it has done, and how far to believe that.

A second predictor beside the model, which does not copy at its size (LOG.md). In a bar that the
plan of form says returns, it names what the earlier bar has at this place; in a new bar, what
followed the longest suffix that came before. The sampler mixes the two predictors::

    p(id) = (1 - weight) model(id) + weight [id is the named one]

as short- and long-term models are mixed in IDyOM (Pearce 2005). The weights were fitted on real
pieces and stand in the bundle. Works over the whole piece, at some microseconds an id; a function
of the ids so far and of the plan alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from music.form import LEVELS, Plan
from music.repeats import NOTHING, Bars, Suffix
from music.tracker import TEMPO, MusicState, Vocabulary

SUFFIX_LENGTHS = (3, 5, 8, 14, 24, 48, 96)  # the longest of each class, the last has no limit
SUFFIX_CLASSES = len(SUFFIX_LENGTHS) + 1
RUNS = (0, 3, 15)  # ids in a row that were the named one: the most of each class
RUN_CLASSES = len(RUNS) + 1
COPY_LENGTH = 9  # ids of a suffix from which on going on with it is a copy
MOST_COPIES = 2  # in a row of the same music: its own copies would else be its history for ever


def class_of(number: int, limits: Sequence[int]) -> int:
    """How many of the ascending ``limits`` the number exceeds."""
    return sum(number > limit for limit in limits)


@dataclass(frozen=True)
class CopyWeights:
    """What the named id weighs in the mixture.

    Attributes:
        suffix: [SUFFIX_CLASSES] by the length of the suffix, in pieces without a plan.
        suffix_in_new_bars: the same, in bars that a plan says are new.
        plan: [levels][RUN_CLASSES] by the plan's level and by how many named ids in a row came.
    """

    suffix: Sequence[float]
    suffix_in_new_bars: Sequence[float]
    plan: Sequence[Sequence[float]]

    def __post_init__(self) -> None:
        """Raises ValueError for tables of another size."""
        sizes = [len(row) for row in (self.suffix, self.suffix_in_new_bars, *self.plan)]
        wanted = [SUFFIX_CLASSES] * 2 + [RUN_CLASSES] * len(LEVELS)
        if sizes != wanted:
            raise ValueError(
                "copying, that is suffix, suffix_in_new_bars and the rows of plan: the "
                f"weights of copies must have {wanted} values, not {sizes}"
            )


class Memory:
    """Follows one sequence: the bars of its prompt, then its piece.

    Args:
        plan: of all bars, those of the prompt included; None for a piece without one.

    Attributes:
        named: the id that a copy would go on with, or `NOTHING`.
        weight: of that id in the mixture, 0 to below 1.
        lag: bars back to the bar that this one returns to; 0 in a new bar.
    """

    def __init__(
        self, vocabulary: Vocabulary, weights: CopyWeights, plan: Plan | None = None
    ) -> None:
        self.bars = Bars(vocabulary)
        self.named = NOTHING
        self.weight = 0.0
        self.lag = 0
        self._plan = plan
        table = weights.suffix if plan is None else weights.suffix_in_new_bars
        self._suffix_weight = [
            table[class_of(n, SUFFIX_LENGTHS)] for n in range(SUFFIX_LENGTHS[-1] + 2)
        ]
        self._plan_weight = [
            [level[class_of(run, RUNS)] for run in range(RUNS[-1] + 2)] for level in weights.plan
        ]
        self._suffix = Suffix()
        self._copies: list[int] = []  # beside each id: how often in a row it has been copied
        self._run = 0
        self._in_piece = False

    def begin_piece(self) -> None:
        """What follows is the piece. The suffix is looked for in the piece alone."""
        self._in_piece = True

    def step(self, token: int, state: MusicState) -> None:
        """Takes the next id and the tracker's state after it."""
        if state.kind == TEMPO:  # only a piece's first bar has one
            return
        if self.lag and self.named:
            self._run = self._run + 1 if token == self.named else 0
        self.bars.step(token, state)
        if not self._in_piece:
            return
        suffix = self._suffix
        copied = suffix.length >= COPY_LENGTH and token == suffix.token
        self._copies.append(self._copies[suffix.source] + 1 if copied else 0)
        suffix.step(token)
        self._look(state)

    def _look(self, state: MusicState) -> None:
        bar, plan, suffix = self.bars.now, self._plan, self._suffix
        self.lag = plan.lags[bar] if plan is not None and bar < len(plan.lags) else 0
        if plan is not None and self.lag:
            self.named = self.bars.named(bar - self.lag, state, plan.shifts[bar])
            by_run = self._plan_weight[plan.levels[bar]]
            self.weight = by_run[min(self._run, len(by_run) - 1)] if self.named else 0.0
            return
        self._run = 0
        self.named = suffix.token
        self.weight = 0.0
        if suffix.token and self._copies[suffix.source] < MOST_COPIES:
            by_length = self._suffix_weight
            self.weight = by_length[min(suffix.length, len(by_length) - 1)]
