"""Training windows: where they begin and end, their key, and what the model is told of the form.

Draws random batches from a prepared dataset, and cuts held-out pieces into overlapping windows.
Every random number comes from the generator that the caller passes. Depends on neither the model
nor the training loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from music.inputs import INPUTS, Inputs
from music.tracker import (
    BAR,
    LONG_AGO_BARS,
    PITCH,
    STYLE,
    Vocabulary,
    bar_class,
)
from training.data.dataset import Dataset

# Every window opens with BOS and the style, as the decoder's does after it has slid.
PREFIX, STYLE_ROW = 2, 1
EVALUATED_SECONDS = 60.0
STARTS_SHARE = 0.15  # of windows that begin where the piece begins
ENDS_SHARE = 0.08  # of windows that end where the piece ends; otherwise EOS is rarely a target
STYLE_UNKNOWN_SHARE = 0.1  # of windows whose style is given as "other", so that it means any style
LEFT_KNOWN_SHARE = 0.5  # of windows that are told how many bars are left
LONGEST_DRAWN = 20_000  # tokens; longer pieces, mostly orchestral, are drawn no more often
TRANSPOSITIONS = (-5, 6)  # semitones, both included: each of the twelve keys once
UNKNOWN_STYLE = "other"

Batch = tuple[dict[str, Tensor], Tensor]  # the model's inputs by name [B, T, ...]; targets [B, T]
_CLASSES = np.array([bar_class(bars) for bars in range(LONG_AGO_BARS + 1)], np.uint8)


@dataclass(frozen=True)
class Window:
    """The inputs of T tokens, and the targets, int64 [T]: the id that follows each token."""

    inputs: Inputs
    targets: NDArray[np.int64]


class Windows:
    """Windows of ``context`` inputs over the pieces of a dataset.

    Raises:
        ValueError: no training piece.
    """

    def __init__(self, dataset: Dataset, vocabulary: Vocabulary, context: int) -> None:
        self.dataset, self.vocabulary, self.context = dataset, vocabulary, context
        self.body = context - PREFIX  # tokens of the piece itself in one window
        self.train = np.flatnonzero(dataset.training)
        if not len(self.train):
            raise ValueError("the dataset has no training piece: give more MIDI files")
        lengths = np.diff(dataset.starts)[self.train] - PREFIX
        self.weights = drawing_weights(lengths, dataset.style_ids[self.train])
        self._pitches = vocabulary.ranges[PITCH]
        styles = vocabulary.ranges[STYLE]
        unknown = [i for i in range(*styles) if vocabulary.entries[i][1] == UNKNOWN_STYLE]
        self._unknown_style = unknown[0] if unknown else None
        # Bars begun up to each token, counted over all pieces; the difference of two tokens of a
        # piece is the number of bars between them.
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
            # how far the window can move within the piece
            room = max(0, last - first - self.body)
            if places[i] < STARTS_SHARE:
                begin = first
            elif places[i] > 1 - ENDS_SHARE:
                begin = first + room
            else:
                begin = first + int(offsets[i] * room)
            end = min(begin + self.body, last)
            shift = int(shifts[i]) * transpose
            style = self._unknown_style if unknown_styles[i] else None
            rows.append(self.window(int(piece), begin, end, shift, bool(lefts_known[i]), style))
        return stack(rows, self.context)

    def window(
        self,
        piece: int,
        begin: int,
        end: int,
        shift: int = 0,
        left_known: bool = False,
        style: int | None = None,
    ) -> Window:
        """One window, opened by BOS and ``style`` (default: the piece's own).

        ``begin`` and ``end`` bound the piece's tokens among the inputs; the token at ``end`` is the
        target of the last input.
        """
        data = self.dataset
        prefix = data.starts[piece]
        rows = np.concatenate((np.arange(prefix, prefix + PREFIX), np.arange(begin, end)))
        ids = np.concatenate((data.ids[rows], data.ids[end : end + 1])).astype(np.int64)
        if style is not None:
            ids[STYLE_ROW] = style
        tracked = data.tracked[rows]
        tracked.tick[:PREFIX] = 0
        tracked.tick[PREFIX:] -= data.tracked.tick[begin]
        if left_known:
            # The dataset has BAR_CLASSES * class(bars begun) + 0, where 0 means that the bars left
            # are not known; so adding their class makes them known.
            left = 1 + self._bars[data.starts[piece + 1] - 1] - self._bars[begin:end]
            tracked.place_in_form[PREFIX:] += _CLASSES[np.minimum(left, LONG_AGO_BARS)]
        moved = self._transposed(ids, shift)
        inputs = Inputs.of_window(moved[:-1], tracked, self.vocabulary.pitches)
        if moved is not ids:
            inputs = replace(inputs, sounding_now=_shifted(inputs.sounding_now, shift))
        return Window(inputs, moved[1:])

    def _transposed(self, ids: NDArray[np.int64], shift: int) -> NDArray[np.int64]:
        """A copy with the pitches moved; ``ids`` itself if one would leave the pitch range."""
        first, last = self._pitches
        is_pitch = (ids >= first) & (ids < last)
        moved = ids + shift * is_pitch
        fits = (moved[is_pitch] >= first).all() and (moved[is_pitch] < last).all()
        return moved if shift and fits else ids

    def validation(self, pieces: NDArray[np.int64]) -> list[tuple[Window, int, int]]:
        """Windows over the first minute of each piece: (window, first target that counts, piece).

        Windows overlap by half, and each target counts once: in the first window that has it.
        """
        windows = []
        for piece in pieces:
            first, last = self.dataset.starts[piece] + PREFIX, self.dataset.starts[piece + 1] - 1
            share = min(1.0, EVALUATED_SECONDS / float(self.dataset.seconds[piece]))
            ticks = self.dataset.tracked.tick[first:last]  # ascending, and there is one tempo
            stop = first + int(np.searchsorted(ticks, share * ticks[-1], side="right"))
            # The first target is the style, which is given; the first that counts is the first Bar.
            begin, counted = first, PREFIX - 1
            while begin < stop:
                end = min(begin + self.body, stop)
                windows.append((self.window(int(piece), begin, end), counted, int(piece)))
                if end == stop:
                    break
                begin, counted = begin + self.body // 2, PREFIX + self.body - self.body // 2
        return windows


def drawing_weights(
    lengths: NDArray[np.int64], style_ids: NDArray[np.int16]
) -> NDArray[np.float64]:
    """The probability of each piece to be drawn, [pieces]; they add up to 1.

    The probability of a style is proportional to the square root of its tokens, so that the largest
    does not drown the others. Within a style, that of a piece is proportional to its tokens, of
    which at most ``LONGEST_DRAWN`` count.

    Example: styles of 10,000 and 90,000 tokens are drawn in the ratio 1 to 3, not 1 to 9.
    """
    of_style = np.sqrt(np.bincount(style_ids, lengths))
    drawn = np.minimum(lengths, LONGEST_DRAWN)
    weights = drawn / np.bincount(style_ids, drawn)[style_ids] * of_style[style_ids]
    return np.asarray(weights / weights.sum(), np.float64)


def _shifted(sounding: NDArray[np.float32], shift: int) -> NDArray[np.float32]:
    """[T, pitches], moved up by ``shift`` semitones."""
    shifted = np.zeros_like(sounding)
    if shift > 0:
        shifted[:, shift:] = sounding[:, :-shift]
    else:
        shifted[:, :shift] = sounding[:, -shift:]
    return shifted


def stack(windows: Sequence[Window], context: int | None = None) -> Batch:
    """A batch, padded to ``context`` tokens with PAD; by default to the first window's length."""
    length = context or len(windows[0].targets)

    def stacked(arrays: Iterable[NDArray[Any]]) -> Tensor:
        rows = [
            np.pad(a, [(0, length - len(a))] + [(0, 0)] * (a.ndim - 1)) if len(a) < length else a
            for a in arrays
        ]
        return torch.from_numpy(np.stack(rows))

    inputs = {name: stacked(getattr(w.inputs, name) for w in windows) for name in INPUTS}
    return inputs, stacked(window.targets for window in windows)
