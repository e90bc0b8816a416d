"""Training windows: where they begin and end, in which key, and what the model is told of the form.

Draws batches from a prepared dataset, and cuts held-out pieces into overlapping windows. Every
draw comes from the generator that it is given. Knows neither the model nor the training loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from dataset import Dataset
from numpy.typing import NDArray
from torch import Tensor

from generate_tokens.state import (
    BAR,
    LONG_AGO_BARS,
    PITCH,
    STYLE,
    Vocabulary,
    bar_class,
    unpack_sounding,
)

PREFIX = 2  # BOS and the style open every window, as they do when the decoder's window slides
EVALUATED_SECONDS = 60.0
STARTS_SHARE = 0.15  # of windows that begin with the piece
ENDS_SHARE = 0.08  # that end with it: EOS would else rarely be a target
STYLE_UNKNOWN_SHARE = 0.1  # told "other", so that it means any style
LEFT_KNOWN_SHARE = 0.5  # of windows that are told how many bars are left
TRANSPOSITIONS = (-5, 6)  # semitones: every key once
UNKNOWN_STYLE = "other"

Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
_CLASSES = np.array([bar_class(bars) for bars in range(LONG_AGO_BARS + 1)])


class Windows:
    """Windows of ``context`` inputs over the pieces of a dataset.

    Raises:
        ValueError: no training piece.
    """

    def __init__(self, dataset: Dataset, vocabulary: Vocabulary, context: int) -> None:
        self.dataset, self.vocabulary, self.context = dataset, vocabulary, context
        self.body = context - PREFIX  # tokens of the piece itself in one window
        lengths = np.diff(dataset.starts) - PREFIX
        self.train = np.flatnonzero(dataset.training)
        if not len(self.train):
            raise ValueError("the dataset has no training piece: give more MIDI files")
        self.weights = lengths[self.train] / lengths[self.train].sum()
        self._pitches = vocabulary.ranges[PITCH]
        styles = vocabulary.ranges[STYLE]
        unknown = [i for i in range(*styles) if vocabulary.entries[i][1] == UNKNOWN_STYLE]
        self._unknown_style = unknown[0] if unknown else None
        # bars begun at each token, over all pieces: differences count the bars between
        self._bars = np.cumsum(dataset.ids == vocabulary.ranges[BAR][0], dtype=np.int32)

    def draw(self, rng: np.random.Generator, batch: int, transpose: bool) -> Batch:
        """A batch of windows ``[BOS, style, body...]`` of ``context`` inputs, and their targets."""
        pieces = rng.choice(self.train, size=batch, p=self.weights)
        places = rng.random(batch)
        offsets = rng.random(batch)
        shifts = rng.integers(TRANSPOSITIONS[0], TRANSPOSITIONS[1] + 1, batch)
        unknown_styles = rng.random(batch) < STYLE_UNKNOWN_SHARE
        lefts_known = rng.random(batch) < LEFT_KNOWN_SHARE
        rows = []
        for i, piece in enumerate(pieces):
            first = self.dataset.starts[piece] + PREFIX
            last = self.dataset.starts[piece + 1] - 1  # EOS: a target, never an input
            room = max(0, last - first - self.body)
            if places[i] < STARTS_SHARE:
                begin = first
            elif places[i] > 1 - ENDS_SHARE:
                begin = first + room
            else:
                begin = first + int(offsets[i] * room)
            end = min(begin + self.body, last)
            shift = int(shifts[i]) * transpose
            row = self.window(int(piece), begin, end, shift, bool(lefts_known[i]))
            if unknown_styles[i] and self._unknown_style is not None:
                row[0][1] = self._unknown_style
            rows.append(self._padded(row))
        return stack(rows)

    def _padded(self, row: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """The row of a short piece, filled up to the context; PAD is never a target."""
        missing = self.context + 1 - len(row[0])
        if not missing:
            return row
        return [np.pad(a, [(0, missing)] + [(0, 0)] * (a.ndim - 1)) for a in row]

    def window(
        self, piece: int, begin: int, end: int, shift: int = 0, left_known: bool = False
    ) -> list[NDArray[Any]]:
        """Arrays of one window: ids [1 + inputs]; position, program, tick, sounding, form [inputs].

        ``begin`` and ``end`` bound the inputs' body; the target of the last input is at ``end``.
        """
        data = self.dataset
        prefix = data.starts[piece]
        body = data.ids[begin : end + 1]
        ids = np.concatenate((data.ids[prefix : prefix + PREFIX], body), dtype=np.int64)
        features = data.features
        rows = np.concatenate((np.arange(prefix, prefix + PREFIX), np.arange(begin, end)))
        tick = features.tick[rows] - features.tick[begin]
        tick[:PREFIX] = 0
        form = features.form[rows]
        if left_known:
            left = 1 + self._bars[data.starts[piece + 1] - 1] - self._bars[begin:end]
            form[PREFIX:] += _CLASSES[np.minimum(left, LONG_AGO_BARS)]
        sounding = unpack_sounding(features.sounding[rows], self.vocabulary.pitches)
        if shift:
            ids, sounding = self._transposed(ids, sounding, shift)
        return [
            ids,
            features.position[rows],
            features.program[rows],
            tick.astype(np.float32),
            sounding,
            form,
        ]

    def _transposed(
        self, ids: NDArray[np.int64], sounding: NDArray[np.float32], shift: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        first, last = self._pitches
        is_pitch = (ids >= first) & (ids < last)
        moved = ids + shift * is_pitch
        if (moved[is_pitch] < first).any() or (moved[is_pitch] >= last).any():
            return ids, sounding  # the window does not fit in that key
        shifted = np.zeros_like(sounding)
        if shift > 0:
            shifted[:, shift:] = sounding[:, :-shift]
        else:
            shifted[:, :shift] = sounding[:, -shift:]
        return moved, shifted

    def validation(self, pieces: NDArray[np.int64]) -> list[tuple[list[NDArray[Any]], int, int]]:
        """(window, first target that counts, piece) covering the first minute of each piece."""
        windows = []
        for piece in pieces:
            first, last = self.dataset.starts[piece] + PREFIX, self.dataset.starts[piece + 1] - 1
            share = min(1.0, EVALUATED_SECONDS / float(self.dataset.seconds[piece]))
            ticks = self.dataset.features.tick[first:last]  # ascending, and there is one tempo
            stop = first + int(np.searchsorted(ticks, share * ticks[-1], side="right"))
            begin, counted = first, PREFIX - 1  # the style is given, the first Bar is not
            while begin < stop:
                end = min(begin + self.body, stop)
                windows.append((self.window(int(piece), begin, end), counted, int(piece)))
                if end == stop:
                    break
                begin, counted = begin + self.body // 2, PREFIX + self.body - self.body // 2
        return windows


def stack(rows: list[list[NDArray[Any]]]) -> Batch:
    """ids and targets int64 [B, T], then the rows' other arrays [B, T, ...]."""
    ids = torch.from_numpy(np.stack([row[0] for row in rows]))
    rest = (torch.from_numpy(np.stack([row[k] for row in rows])) for k in range(1, 6))
    return (ids[:, :-1].contiguous(), ids[:, 1:].contiguous(), *rest)  # type: ignore[return-value]  # a generator hides the length
