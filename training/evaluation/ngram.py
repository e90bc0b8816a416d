"""The floor: an interpolated n-gram model of our tokens, its nats per note, and its pieces.

Modified Kneser-Ney smoothing (Chen & Goodman 1999, section 3): each order's counts less a
discount by count, the mass that this frees spread as the next lower order says, whose counts are
of distinct contexts. Counts live in sorted arrays of packed ids. Reads what `dataset.py` wrote;
knows the grammar's mask for sampling, and no neural network.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from music.grammar import REMI_TRANSITIONS, Grammar
from music.tracker import PITCH, MusicState, Vocabulary
from training.data.held_out import require_test
from training.data.tokenizer import make_tokenizer, vocabulary_entries

PREFIX = 2  # BOS and the style: given, never foretold
HIGHEST_ORDER = 6
EVALUATED_SECONDS = 60.0  # windows.py's; importing it would import torch
IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Pieces:
    """What of a dataset the n-grams need; ``ids`` and ``starts`` as in `dataset.Dataset`."""

    ids: NDArray[np.int16]
    starts: IntArray
    seconds: NDArray[np.float32]
    validation: NDArray[np.bool_]
    test: NDArray[np.bool_]

    @classmethod
    def load(cls, path: Path) -> Pieces:
        """Raises ValueError for a dataset of an older version."""
        with np.load(path) as arrays:
            require_test(arrays, path)
            return cls(**{k: arrays[k] for k in cls.__dataclass_fields__})

    @property
    def training(self) -> list[int]:
        """The pieces to count in."""
        return np.flatnonzero(~(self.validation | self.test)).tolist()

    def piece(self, index: int) -> IntArray:
        """The piece's ids, BOS and EOS included, int64 [tokens]."""
        return self.ids[self.starts[index] : self.starts[index + 1]].astype(np.int64)


class Counts:
    """How often each n-gram of one order occurs, for questions about many at a time.

    Args:
        keys: packed n-grams in ascending order, so those of one context are adjacent.
        counts: of each, above 0.
        bits: that one id takes in a key.
    """

    def __init__(self, keys: IntArray, counts: IntArray, bits: int) -> None:
        self.keys, self.counts, self.bits = keys, counts, bits
        singles, doubles, triples, fours = ((counts == n).sum() for n in (1, 2, 3, 4))
        # Chen & Goodman's estimates; where counts are too few for one, half a count.
        y = singles / (singles + 2 * doubles) if singles else 0.0
        pairs = ((1, singles, doubles), (2, doubles, triples), (3, triples, fours))
        estimates = [n - (n + 1) * y * more / less if less else 0.0 for n, less, more in pairs]
        self.discounts = np.array(
            [0.0, *(d if 0 < d <= n else 0.5 for n, d in enumerate(estimates, start=1))]
        )
        taken = self.discounts[np.minimum(counts, 3)]
        self._totals = np.concatenate(([0], np.cumsum(counts)))
        self._freed = np.concatenate(([0.0], np.cumsum(taken)))

    def interpolate(self, keys: IntArray, lower: FloatArray) -> FloatArray:
        """Chances [N] of the packed n-grams' last ids, given those of the order below [N]."""
        contexts = keys >> self.bits << self.bits
        begin = np.searchsorted(self.keys, contexts)
        end = np.searchsorted(self.keys, contexts + (1 << self.bits))
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        count = np.where(self.keys[place] == keys, self.counts[place], 0)
        total = self._totals[end] - self._totals[begin]
        left = count - self.discounts[np.minimum(count, 3)] + 0.0
        freed = self._freed[end] - self._freed[begin]
        chances: FloatArray = np.where(
            total > 0, (left + freed * lower) / np.maximum(total, 1), lower
        )
        return chances


class NGrams:
    """Chances of the next id given the ``order - 1`` before it; all orders up to ``highest``.

    Args:
        sequences: ids of each training piece.
        vocabulary: number of ids; 0 must be PAD, which fills the place before a piece.
        given: how many ids open each piece and are never foretold.
    """

    def __init__(
        self, sequences: list[IntArray], vocabulary: int, highest: int, given: int = PREFIX
    ) -> None:
        self.vocabulary, self.highest, self.given = vocabulary, highest, given
        self.bits = (vocabulary - 1).bit_length()
        if self.bits * highest > 62:
            raise ValueError(f"{highest} ids of {vocabulary} do not fit into 63 bits")
        full = np.concatenate([self.keys(sequence)[given:] for sequence in sequences])
        # As the highest order of a model, and below it: the number of distinct ids before.
        self._as_highest = [self._counts(full, order) for order in range(1, highest + 1)]
        # Below a model's highest order Kneser and Ney count in how many contexts an n-gram occurs:
        # every key is there once.
        self._below = [
            self._counts(counts.keys, order)
            for order, counts in enumerate(self._as_highest[1:], start=1)
        ]

    def _counts(self, keys: IntArray, order: int) -> Counts:
        found, counts = np.unique(keys & self._mask(order), return_counts=True)
        return Counts(found, counts.astype(np.int64), self.bits)

    def _mask(self, order: int) -> int:
        return (1 << self.bits * order) - 1

    def keys(self, ids: IntArray) -> IntArray:
        """Each id with the ``highest - 1`` before it, packed; int64 as ``ids`` [N]."""
        keys = np.zeros(len(ids), np.int64)
        for back in range(min(self.highest, len(ids))):
            keys[back:] |= ids[: len(ids) - back] << self.bits * back
        return keys

    def chances(self, keys: IntArray, order: int) -> FloatArray:
        """Of the last id of each packed n-gram [N], by the model of ``order``."""
        chances = np.full(len(keys), 1 / self.vocabulary)
        for k in range(1, order + 1):
            counts = self._as_highest[k - 1] if k == order else self._below[k - 1]
            chances = counts.interpolate(keys & self._mask(k), chances)
        return chances

    def distribution(self, history: list[int], order: int) -> FloatArray:
        """Chances [vocabulary] of every id after ``history``."""
        packed = 0
        for token in history[-(self.highest - 1) :] if self.highest > 1 else []:
            packed = packed << self.bits | token
        return self.chances((packed << self.bits) + np.arange(self.vocabulary), order)


def first_minute(ids: IntArray, seconds: float, vocabulary: Vocabulary) -> int:
    """Index of the last target of the piece's first minute, as `windows.py` cuts it.

    That is the first token after the minute; EOS in a piece that is shorter.
    """
    state = MusicState(vocabulary)
    ticks = []
    for token in ids.tolist():
        state.step(token)
        ticks.append(state.tick)
    inside = ticks[PREFIX:-1]
    share = min(1.0, EVALUATED_SECONDS / seconds)
    return PREFIX + int(np.searchsorted(inside, share * inside[-1], side="right"))


def nats_per_note(
    ngrams: NGrams, pieces: Pieces, vocabulary: Vocabulary, held_out: NDArray[np.bool_]
) -> list[float]:
    """By order from 1 on: summed nats of the first minutes of some pieces, per note in them.

    Args:
        held_out: which pieces, bool [pieces]; at least one.
    """
    first, last = vocabulary.ranges[PITCH]
    keys, notes = [], 0
    for index in np.flatnonzero(held_out).tolist():
        ids = pieces.piece(index)
        stop = 1 + first_minute(ids, float(pieces.seconds[index]), vocabulary)
        keys.append(ngrams.keys(ids)[PREFIX:stop])
        notes += int(((ids[PREFIX:stop] >= first) & (ids[PREFIX:stop] < last)).sum())
    every = np.concatenate(keys)
    return [
        float(-np.log(ngrams.chances(every, order)).sum()) / max(notes, 1)
        for order in range(1, ngrams.highest + 1)
    ]


class Floor:
    """The n-grams of a dataset's training pieces, with the order that predicts validation best."""

    def __init__(self, dataset: Path, highest: int = HIGHEST_ORDER) -> None:
        self.tokenizer = make_tokenizer()
        self.vocabulary = Vocabulary(vocabulary_entries(self.tokenizer))
        self.pieces = Pieces.load(dataset)
        training = [self.pieces.piece(i) for i in self.pieces.training]
        self.ngrams = NGrams(training, self.vocabulary.size, highest)
        self.nats = self._nats(self.pieces.validation)
        self.order = 1 + int(np.argmin(self.nats))

    def _nats(self, held_out: NDArray[np.bool_]) -> list[float]:
        return nats_per_note(self.ngrams, self.pieces, self.vocabulary, held_out)

    def facts(self) -> dict[str, Any]:
        """For the report: the order, its nats per note on validation and test, and every order's.

        Without test pieces the test's nats are None.
        """
        test = self._nats(self.pieces.test)[self.order - 1] if self.pieces.test.any() else None
        return {
            "order": self.order,
            "nats_per_note": round(self.nats[self.order - 1], 4),
            "test_nats_per_note": None if test is None else round(test, 4),
            "nats_per_note_by_order": [round(nats, 4) for nats in self.nats],
            "unigram_nats_per_note": round(self.nats[0], 4),
        }

    def sample(self, seconds: float, rng: np.random.Generator) -> list[int]:
        """A piece under the grammar's mask, without BOS, style and EOS; at least ``seconds`` long.

        Its style is that of a training piece drawn at random.
        """
        grammar, state = Grammar(self.vocabulary, REMI_TRANSITIONS), MusicState(self.vocabulary)
        ids: list[int] = self.pieces.piece(int(rng.choice(self.pieces.training)))[:PREFIX].tolist()
        masked = np.zeros(self.vocabulary.size, np.float32)
        for token in ids:
            state.step(token)
        while state.seconds < seconds:
            logits = np.log(self.ngrams.distribution(ids, self.order)).astype(np.float32)
            chances = np.exp(grammar.mask(logits, state, masked).astype(np.float64))
            ids.append(int(rng.choice(self.vocabulary.size, p=chances / chances.sum())))
            state.step(ids[-1])
        return ids[PREFIX:]

    def write_samples(self, folder: Path, count: int, seconds: float, seed: int) -> None:
        """Writes ``count`` pieces as ``ngram_NN.mid``; each depends on the seed and its number."""
        folder.mkdir(parents=True, exist_ok=True)
        for i in tqdm(range(count), desc="n-gram samples", unit="piece", disable=None):
            ids = self.sample(seconds, np.random.default_rng([seed, i]))
            self.tokenizer.decode(ids).dump_midi(folder / f"ngram_{i:02}.mid")
