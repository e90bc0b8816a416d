"""How two sets of pieces overlap: in the distributions of their features, and note by note.

Overlapped areas follow MGEval (Yang & Lerch 2018, doi:10.1007/s00521-018-3849-7). Shared runs are
stretches of notes that two pieces have in common, whatever their keys. To find them, the notes of a
piece are sorted by (onset, pitch), and each step from a note to the next is described by (interval
in semitones, gap in ticks of 1/12 quarter note). Depends on neither MIDI files nor models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from music.tracker import PITCH, TIMESIG, Vocabulary
from training.data.held_out import require_test

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Hashes = NDArray[np.uint64]

GRID = 512  # points at which densities are compared
NARROWEST = 0.01  # least bandwidth, in shares of the joint range: a constant has no spread
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def overlapped_area(a: FloatArray, b: FloatArray) -> float:
    """Area under the lower of the densities of samples ``a`` and ``b``: 1 if alike, 0 if apart.

    The densities are sums of Gaussian kernels with Scott's bandwidth, as in scipy's gaussian_kde.
    nan without samples.
    """
    if not len(a) or not len(b):
        return np.nan
    low, high = min(a.min(), b.min()), max(a.max(), b.max())
    if low == high:
        return 1.0
    # Scott's rule: standard deviation times n to the power of -1/5
    widths = [max(x.std() * len(x) ** -0.2, NARROWEST * (high - low)) for x in (a, b)]
    margin = 3 * max(widths)
    edges = np.linspace(low - margin, high + margin, GRID + 1)
    distance = (np.arange(2 * GRID - 1) - GRID + 1) * (edges[1] - edges[0])
    # A density on the grid is a histogram convolved with the kernel. The kernel has a value for
    # each difference of two grid points, so "valid" leaves one density for each point.
    densities = []
    for samples, width in zip((a, b), widths, strict=True):
        kernel = np.exp(-0.5 * (distance / width) ** 2)
        density = np.convolve(np.histogram(samples, edges)[0], kernel, "valid")
        densities.append(density / density.sum())
    return float(np.minimum(*densities).sum())


def _distances(a: FloatArray, b: FloatArray) -> FloatArray:
    """Euclidean distances [a, b] between the rows of [a, size] and [b, size]."""
    # |x - y|^2 = |x|^2 + |y|^2 - 2 xy, which rounding can make slightly negative
    square = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    distances: FloatArray = np.sqrt(np.maximum(square, 0))
    return distances


def overlapped_areas(
    real: Mapping[str, FloatArray], other: Mapping[str, FloatArray]
) -> dict[str, float]:
    """MGEval's area of each feature: how two distributions of distances between pieces overlap.

    One is of the distances among real pieces, the other of those from real to other pieces.
    ``real`` and ``other`` hold [pieces, size] per feature; rows with nan are left out. The area is
    nan where fewer than three real pieces, or no other piece, have the feature.
    """
    areas = {}
    for name, rows in real.items():
        a, b = (x[~np.isnan(x).any(1)] for x in (rows, other[name]))
        among = _distances(a, a)[np.triu_indices(len(a), 1)]
        areas[name] = overlapped_area(among, _distances(a, b).ravel()) if len(a) > 2 else np.nan
    return areas


def steps_of(onset: IntArray, pitch: IntArray) -> Hashes:
    """A 64-bit hash [notes - 1] of each step from a note to the next, in (onset, pitch) order.

    ``onset`` in ticks of 1/12 quarter note. The hash function is that of splitmix64.
    """
    order = np.lexsort((pitch, onset))
    interval, gap = np.diff(pitch[order]), np.diff(onset[order])
    # interval, made positive, and gap as one number
    codes = ((interval + 128) << 32 | gap).astype(np.uint64) * _MULTIPLIER
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        codes = (codes ^ (codes >> np.uint64(shift))) * np.uint64(factor)
    return codes ^ (codes >> np.uint64(31))


class _Stretches:
    """All stretches of n consecutive steps of some pieces; n begins at 0, and `grow` adds one.

    For each stretch: the piece, where that ends, the step that comes next, and a hash of the steps.
    """

    def __init__(self, pieces: Sequence[Hashes]) -> None:
        self._codes = np.concatenate([*pieces, np.zeros(0, np.uint64)])
        lengths = [len(piece) for piece in pieces]
        self.piece = np.repeat(np.arange(len(pieces)), lengths)
        self._end = np.repeat(np.cumsum(lengths), lengths)
        self._next = np.arange(len(self._codes))
        self.hash = np.zeros(len(self._codes), np.uint64)

    def grow(self) -> None:
        """Takes one more step into every stretch; drops those that have reached the piece's end."""
        self.keep(self._next < self._end)
        self.hash = self.hash * _MULTIPLIER + self._codes[self._next]
        self._next = self._next + 1

    def keep(self, which: NDArray[np.bool_]) -> None:
        self.piece, self._end = self.piece[which], self._end[which]
        self._next, self.hash = self._next[which], self.hash[which]


def longest_shared(pieces: Sequence[Hashes], corpus: Sequence[Hashes] | None = None) -> list[int]:
    """For each piece, the notes of its longest run that some piece of ``corpus`` has too.

    Pieces are given by their steps. Without a corpus each piece is compared with the others. 0
    where not one step is shared. Exact, except for chance collisions of 64-bit hashes.
    """
    runs = [0] * len(pieces)
    mine = _Stretches(pieces)
    theirs = None if corpus is None else _Stretches(corpus)
    notes = 1
    # A stretch is shared only if its beginning is: those that are not need not grow further.
    while len(mine.hash):
        mine.grow()
        if theirs is None:
            _, same = np.unique(mine.hash, return_inverse=True)
            # the first and the last piece that have each hash: two pieces share it if they differ
            first = np.full(len(mine.hash), len(pieces))
            last = np.zeros(len(mine.hash), np.int64)
            np.minimum.at(first, same, mine.piece)
            np.maximum.at(last, same, mine.piece)
            mine.keep((first < last)[same])
        else:
            theirs.grow()
            theirs.keep(np.isin(theirs.hash, mine.hash))
            mine.keep(np.isin(mine.hash, theirs.hash))
        notes += 1
        for piece in np.unique(mine.piece):
            runs[piece] = notes
    return runs


def training_steps(dataset: Path, vocabulary: Vocabulary) -> Iterator[Hashes]:
    """The steps of each training piece of a prepared dataset, computed from its tokens.

    Raises:
        ValueError: a dataset of an older version.
    """
    with np.load(dataset) as arrays:
        require_test(arrays, dataset)
        ids, ticks = arrays["ids"].astype(np.int64), arrays["tick"]
        starts, held_out = arrays["starts"], arrays["validation"] | arrays["test"]
    kinds, values = np.array(vocabulary.kind)[ids], np.array(vocabulary.value)
    # Ticks of 1/12 beat become ticks of 1/12 quarter note; the beat is that of the current metre.
    per_tick = np.array(vocabulary.tick_quarters)[ids] * 12
    # at each token, the index of the last token of a metre: the running maximum of such indices
    metre = np.maximum.accumulate(np.where(kinds == TIMESIG, np.arange(len(ids)), 0))
    moved = np.diff(ticks, prepend=0)
    moved[starts[:-1]] = 0
    onsets = np.cumsum(moved * per_tick[metre])
    for piece in np.flatnonzero(~held_out):
        inside = slice(starts[piece], starts[piece + 1])
        notes = kinds[inside] == PITCH
        yield steps_of(
            np.rint(onsets[inside][notes]).astype(np.int64),
            values[ids[inside][notes]].astype(np.int64),
        )
