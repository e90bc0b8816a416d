"""Cleans and tokenizes one MIDI file, and records the model's inputs with the sampler's tracker.

Depends on neither other files of the data set nor the model.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from midi_save.reading import ON_GRID_SHARE, read_score
from music.grammar import REMI_TRANSITIONS, Grammar
from music.inputs import Recorder, Tracked
from music.tracker import KINDS, MusicState, Vocabulary
from training.data.archive import Source
from training.data.near_duplicates import shingles_of
from training.data.reasons import (
    LENGTH,
    MAX_NOTES,
    MAX_SECONDS,
    MIN_NOTES,
    MIN_SECONDS,
    OFF_THE_GRID,
    TOO_FEW,
    TOO_MANY,
    UNREADABLE,
)
from training.data.tokenizer import make_tokenizer, vocabulary_entries


@dataclass
class Piece:
    """One tokenized piece; ``why`` is set when it was left out.

    ids: int16 [T], ``BOS style ... EOS``. tracked: what the tracker says after each id. forbidden:
    by "KIND after KIND", how many ids the grammar would have forbidden.
    """

    source: Source
    why: str = ""
    repairs: tuple[str, ...] = ()
    ids: NDArray[np.int16] = field(default_factory=lambda: np.zeros(0, np.int16))
    tracked: Tracked | None = None
    forbidden: Counter[str] = field(default_factory=Counter)
    notes: int = 0
    seconds: float = 0.0
    shingles: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))


class _Tokens:
    """Tokenizer, vocabulary and grammar, made once in each process."""

    def __init__(self) -> None:
        self.tokenizer = make_tokenizer()
        self.vocabulary = Vocabulary(vocabulary_entries(self.tokenizer))
        self.grammar = Grammar(self.vocabulary, REMI_TRANSITIONS, max_empty_bars=1 << 30)

    def track(self, ids: list[int]) -> tuple[Tracked, Counter[str]]:
        """What the tracker says after each id, and what the grammar would have forbidden."""
        state, recorder = MusicState(self.vocabulary), Recorder(self.vocabulary)
        forbidden: Counter[str] = Counter()
        for i, token in enumerate(ids):
            if i and not self.grammar.permits(token, state):
                before, after = (KINDS[self.vocabulary.kind[t]] for t in (ids[i - 1], token))
                forbidden[f"{after} after {before}"] += 1
            state.step(token)
            recorder.record(state)
        return recorder.tracked(), forbidden


tokens_of_process = lru_cache(_Tokens)  # one for the process


def read_piece(source: Source) -> Piece:
    """Cleans and tokenizes one file; if it cannot be used, the piece's ``why`` says the reason."""
    piece = Piece(source, why=source.why)
    if piece.why:
        return piece
    try:
        _read_into(piece)
    except Exception as error:  # noqa: BLE001  # one odd file must not end the reading of thousands
        text = str(error).partition("\n")[0][:60]
        piece.why = f"{UNREADABLE}: {text or type(error).__name__}"
    return piece


def _read_into(piece: Piece) -> None:
    read = read_score(piece.source.path.read_bytes())
    piece.repairs, score = read.repairs, read.score
    if read.raw.note_num() < MIN_NOTES:
        piece.why = TOO_FEW
        return
    if read.on_grid < ON_GRID_SHARE:
        piece.why = OFF_THE_GRID
        return
    if score is None or score.note_num() < MIN_NOTES:
        piece.why = TOO_FEW
        return
    if score.note_num() > MAX_NOTES:  # more than any score: such a file would take minutes
        piece.why = TOO_MANY
        return
    piece.seconds = score.end() / score.ticks_per_quarter * 60 / score.tempos[0].qpm
    if not MIN_SECONDS <= piece.seconds <= MAX_SECONDS:
        piece.why = LENGTH
        return
    tokenizer = tokens_of_process().tokenizer
    head = [tokenizer["BOS_None"], tokenizer[f"Style_{piece.source.style}"]]
    ids = [*head, *map(int, tokenizer.encode(score, encode_ids=False).ids), tokenizer["EOS_None"]]
    piece.tracked, piece.forbidden = tokens_of_process().track(ids)
    piece.ids = np.array(ids, np.int16)
    piece.notes = score.note_num()
    piece.shingles = shingles_of(score)
