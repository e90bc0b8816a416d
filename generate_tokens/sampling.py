"""Chooses one id from logits, with numpy only: one function per filter, one uniform per token.

The order is temperature, softmax, top-k, top-p, min-p. The choices are sorted by probability, the
likeliest first, so each filter only determines how many of them stay:

    probability     0.5  0.3  0.15  0.05
    top_k=2          x    x
    top_p=0.75       x    x               (0.5 is less than 0.75 of all, 0.8 is not)
    min_p=0.25       x    x    x          (0.15 is 0.3 of the likeliest)

Depends on neither the model nor what the ids mean.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float64]
UNIFORM_BLOCK = 1024


class Uniforms:
    """The uniform of each token, by the token's index alone.

    So a resumed piece draws the same numbers as an uninterrupted one. They are made in blocks of
    1,024: block b of a candidate comes from ``default_rng([seed, b, candidate])``.
    """

    def __init__(self, seed: int, candidate: int = 0) -> None:
        self._seed, self._candidate = seed, candidate
        self._block = -1
        self._values: list[float] = []

    def __getitem__(self, index: int) -> float:
        block, offset = divmod(index, UNIFORM_BLOCK)
        if block != self._block:
            generator = np.random.default_rng([self._seed, block, self._candidate])
            self._values = generator.random(UNIFORM_BLOCK).tolist()
            self._block = block
        return self._values[offset]


def top_k_count(count: int, k: int) -> int:
    """How many of ``count`` choices top-k keeps: the k likeliest, or all if k is 0."""
    return min(k, count) if k else count


def top_p_count(total: Probabilities, share: float) -> int:
    """How many choices top-p keeps: the fewest that hold ``share`` of all (arXiv:1904.09751).

    ``total`` is the running sum of the probabilities, of which the last value need not be 1.
    Example: 0.75 of (0.5, 0.8, 0.95, 1.0) is reached by the second, so 2 stay.
    """
    return len(total) if share >= 1 else int(total.searchsorted(share * total[-1])) + 1


def min_p_count(p: Probabilities, share: float) -> int:
    """How many choices min-p keeps: those at least ``share`` times as likely as the likeliest.

    ``p`` descends (arXiv:2407.01082).
    """
    return int(np.count_nonzero(p >= share * p[0])) if share > 0 else len(p)


def sample(
    logits: NDArray[np.float32],
    uniform: float,
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
) -> int:
    """The index of the choice that ``uniform`` in [0, 1) selects.

    Args:
        logits: [choices], -inf for what may not follow; at least one is finite.
        temperature: 0 takes the likeliest choice.

    Raises:
        ValueError: every logit is -inf.
        FloatingPointError: a logit is NaN or inf.
    """
    order = logits.argsort()[::-1]  # from the likeliest down
    p = logits[order].astype(np.float64)
    if p[0] == -np.inf:
        raise ValueError("no choice has a finite logit")
    if not math.isfinite(p[0]):  # NaN is sorted behind all numbers, so it is the first here
        raise FloatingPointError(f"a logit is {p[0]}")
    if temperature == 0:
        return int(order[0])
    p -= p[0]  # the likeliest is exp(0) = 1, so nothing overflows
    if temperature != 1:
        p /= temperature
    np.exp(p, out=p)
    total = p.cumsum()
    count = top_k_count(len(p), top_k)
    count = top_p_count(total[:count], top_p)
    count = min_p_count(p[:count], min_p)
    last = float(total[count - 1])
    # The product may round up to the total, beyond which there are only choices of no probability:
    # the target stays below it. Example: of probabilities 0.5 and 0.3, with sums 0.5 and 0.8, the
    # uniform 0.7 has the target 0.56 and selects the second.
    target = min(uniform * last, math.nextafter(last, 0))
    return int(order[total[:count].searchsorted(target, side="right")])
