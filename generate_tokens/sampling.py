"""One choice from logits. numpy only; one function per filter; one uniform per token.

Order: temperature, softmax, top-k, top-p or min-p or both. The choices stand from the likeliest
down, so each filter only says how many of them stay:

    probability     0.5  0.3  0.15  0.05
    top_k=2          x    x
    top_p=0.75       x    x               (0.5 is less than 0.75 of all, 0.8 is not)
    min_p=0.25       x    x    x          (0.15 is 0.3 of the likeliest)
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float64]
UNIFORM_BLOCK = 1024


class Uniforms:
    """The uniform of each token by its index, so that a resumed piece draws what it would have.

    Block b of 1,024 of a candidate comes from ``default_rng([seed, b, candidate])``.
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
    """The k likeliest of ``count``. k = 0 keeps everything."""
    return min(k, count) if k else count


def top_p_count(total: Probabilities, share: float) -> int:
    """The fewest that hold ``share`` (arXiv:1904.09751); ``total`` adds up from the likeliest."""
    return len(total) if share >= 1 else int(total.searchsorted(share * total[-1])) + 1


def min_p_count(p: Probabilities, share: float) -> int:
    """Those at least ``share`` times as likely as the first of ``p`` (arXiv:2407.01082)."""
    return int(np.count_nonzero(p >= share * p[0])) if share > 0 else len(p)


def sample(
    logits: NDArray[np.float32],
    uniform: float,
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
) -> int:
    """The index that ``uniform`` in [0, 1) falls on.

    Args:
        logits: [choices], -inf for what may not follow; at least one finite.
        temperature: 0 takes the likeliest.

    Raises:
        ValueError: none is finite.
    """
    order = logits.argsort()[::-1]  # from the likeliest down
    p = logits[order].astype(np.float64)
    if p[0] == -np.inf:
        raise ValueError("no choice has a finite logit")
    if temperature == 0:
        return int(order[0])
    p -= p[0]
    if temperature != 1:
        p /= temperature
    np.exp(p, out=p)
    total = p.cumsum()
    count = top_k_count(len(p), top_k)
    count = top_p_count(total[:count], top_p)
    count = min_p_count(p[:count], min_p)
    last = float(total[count - 1])
    # below the total, to which the product may round up: beyond it are choices of no probability
    target = min(uniform * last, math.nextafter(last, 0))
    return int(order[total[:count].searchsorted(target, side="right")])
