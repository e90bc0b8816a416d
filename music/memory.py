"""The memory of a piece: which id would repeat what came before, and with what probability.

The memory is a second predictor beside the model, because a model of this size does not copy
(LOG.md). It names one id as the next. In a bar that the plan of form marks as a return, that is the
id that the earlier bar has at this place. In a new bar, it is the id that followed the last
occurrence of the longest suffix of the piece so far. The sampler mixes the two predictors::

    p(id) = (1 - weight) model(id) + weight [id is the named one]

as short- and long-term models are mixed in IDyOM (Pearce 2005). The weights were fitted on real
pieces and are stored in the bundle. The memory reaches back over the whole piece and takes some
microseconds an id. What it names depends on the ids so far and on the plan alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from music.form import LEVELS, Plan
from music.repeats import NOTHING, Bars, Suffix
from music.tracker import TEMPO, MusicState, Vocabulary

# The longest suffix of each class, in ids; the class after these has no limit.
SUFFIX_LENGTHS = (3, 5, 8, 14, 24, 48, 96)
SUFFIX_CLASSES = len(SUFFIX_LENGTHS) + 1
RUNS = (0, 3, 15)  # the longest run of each class: ids in a row that were the named ones
RUN_CLASSES = len(RUNS) + 1
# An id counts as copied if it is the one that followed a suffix of at least so many ids.
COPY_LENGTH = 9
# The same music may be copied so many times in a row. Without a limit a piece would take its own
# copies for its history, and copy them for ever.
MOST_COPIES = 2


def class_of(number: int, limits: Sequence[int]) -> int:
    """How many of the ascending ``limits`` the number exceeds: 4 exceeds one of (3, 5, 8)."""
    return sum(number > limit for limit in limits)


@dataclass(frozen=True)
class CopyWeights:
    """The weight of the named id in the mixture, in each situation.

    Attributes:
        suffix: [SUFFIX_CLASSES] by the length of the suffix, in pieces without a plan.
        suffix_in_new_bars: the same, in bars that a plan marks as new.
        plan: [levels][RUN_CLASSES] by the plan's level, and by how many ids in a row were the named
            ones.
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
        plan: the plan of all bars, those of the prompt included; None for a piece without one.

    Attributes:
        named: the id with which a copy would continue, or `NOTHING`.
        weight: the weight of that id in the mixture, from 0 to below 1.
        lag: how many bars back the bar lies that this one returns to; 0 in a new bar.
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
        # For each id of the piece, how many copies deep it is: 0 for new music, 1 for a copy of new
        # music, 2 for a copy of such a copy.
        self._copies: list[int] = []
        self._run = 0  # how many ids in a row were the named ones, in bars that return
        self._in_piece = False

    def begin_piece(self) -> None:
        """Marks the end of the prompt: suffixes are looked for only in the ids from here on."""
        self._in_piece = True

    def step(self, token: int, state: MusicState) -> None:
        """Takes the next id and the tracker's state after it."""
        if state.kind == TEMPO:
            return  # only a piece's first bar has one, so it is no part of what may return
        if self.lag and self.named:
            self._run = self._run + 1 if token == self.named else 0
        self.bars.step(token, state)
        if not self._in_piece:
            return
        suffix = self._suffix
        # ``suffix`` still holds what it predicted before this id: was the prediction taken?
        copied = suffix.length >= COPY_LENGTH and token == suffix.token
        self._copies.append(self._copies[suffix.source] + 1 if copied else 0)
        suffix.step(token)
        self._look(state)

    def _look(self, state: MusicState) -> None:
        # In a bar that the plan marks as a return the plan names the next id, else the suffix does.
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
