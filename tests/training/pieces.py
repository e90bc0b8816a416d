"""Datasets of pieces that are written by hand, bar by bar."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from music.tracker import PITCH
from tests.music.writing import TOKENIZER, VOCABULARY, Note, joined, line, piece_of_bars, tracked_of
from training.data.archive import Source
from training.data.dataset import Dataset, build_dataset
from training.data.piece import Piece
from training.data.plans import PieceOfDataset, pieces_of


def random_bars(seed: int, count: int, notes: int = 8) -> list[list[Note]]:
    """Bars of eighth notes in two parts, each unlike the others."""
    rng = np.random.default_rng(seed)
    bars = []
    for _ in range(count):
        pitches = rng.choice(np.arange(60, 84), notes, replace=False).tolist()
        bars.append(line(*((6 * tick, pitch, 6) for tick, pitch in enumerate(pitches))))
    return bars


def dataset_of(pieces: Iterable[tuple[str, Sequence[int]]]) -> Dataset:
    """Of (style, ids behind BOS and style) each; all of them are trained on."""
    made = []
    for number, (style, ids) in enumerate(pieces):
        notes = sum(VOCABULARY.kind[token] == PITCH for token in ids)
        source = Source(Path(f"{number}.mid"), style, group=str(number))
        framed = [TOKENIZER["BOS_None"], TOKENIZER[f"Style_{style}"], *ids, TOKENIZER["EOS_None"]]
        tracked = tracked_of(framed, VOCABULARY)
        piece = Piece(source, ids=np.array(framed, np.int16), tracked=tracked, notes=notes)
        made.append(replace(piece, seconds=30.0))
    dataset, _ = build_dataset(made)
    dataset.validation[:] = dataset.test[:] = False
    return dataset


def piece_of(
    bars: Sequence[Iterable[Note]], style: str = "folk", metre: str = "4/4"
) -> PieceOfDataset:
    dataset = dataset_of([(style, joined(piece_of_bars(bars, metre)))])
    return next(pieces_of(dataset, VOCABULARY, np.array([0])))
