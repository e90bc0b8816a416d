"""One id from masked logits. numpy only; one function per filter; one uniform per token.

Order: mask (grammar.py), temperature, top-k, top-p or min-p or both, softmax. The filters work on
unnormalised probabilities p, with p[argmax] == 1, and zero what they drop:

    p            1.0  0.6  0.3  0.1
    top_k=2      1.0  0.6   0    0
    top_p=0.75   1.0  0.6   0    0    (1.0 is half of the sum, 1.6 is 0.8 of it)
    min_p=0.2    1.0  0.6  0.3   0
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float64]
UNIFORM_BLOCK = 1024


class Uniforms:
    """The uniform of each token by its index, so that a resumed piece draws what it would have.

    Block b of 1,024 comes from ``default_rng([seed, b])``.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._block = -1
        self._values: list[float] = []

    def __getitem__(self, index: int) -> float:
        block, offset = divmod(index, UNIFORM_BLOCK)
        if block != self._block:
            self._values = np.random.default_rng([self._seed, block]).random(UNIFORM_BLOCK).tolist()
            self._block = block
        return self._values[offset]


def keep_top_k(p: Probabilities, k: int) -> None:
    """Drops all but the k likeliest; ties with the k-th stay. k = 0 keeps everything."""
    if 0 < k < len(p):
        p[p < np.partition(p, -k)[-k]] = 0.0


def keep_top_p(p: Probabilities, share: float) -> None:
    """Drops what comes after the likeliest ids that together hold ``share`` (arXiv:1904.09751)."""
    if share >= 1:
        return
    ascending = np.sort(p)
    total = np.cumsum(ascending)
    # an id stays while those likelier than it hold less than the share
    first = int(np.searchsorted(total, total[-1] * (1 - share), side="right"))
    lowest = ascending[min(first, len(p) - 1)]  # rounding could leave none: the likeliest stays
    p[p < lowest] = 0.0


def keep_min_p(p: Probabilities, share: float) -> None:
    """Drops what is less likely than ``share`` times the likeliest (arXiv:2407.01082)."""
    if share > 0:
        p[p < share] = 0.0


def sample(
    logits: NDArray[np.float32],
    uniform: float,
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
) -> int:
    """The id that ``uniform`` in [0, 1) falls on.

    Args:
        logits: [vocabulary], -inf for what may not follow; at least one finite.
        temperature: 0 takes the likeliest.
    """
    if temperature == 0:
        return int(logits.argmax())
    candidates = np.flatnonzero(logits > -np.inf)
    p = logits[candidates].astype(np.float64)
    p -= p.max()
    p /= temperature
    np.exp(p, out=p)
    keep_top_k(p, top_k)
    keep_top_p(p, top_p)
    keep_min_p(p, min_p)
    total = np.cumsum(p)
    return int(candidates[np.searchsorted(total, uniform * total[-1], side="right")])
