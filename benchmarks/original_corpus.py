"""Our pieces in the original project's tokens, for `original.py`.

These are miditok's Structured: five tokens a note (TimeShift, Program, Pitch, Velocity, Duration),
eight positions a beat, no bars, metres or tempo. Takes the scores that `dataset.py` cleans and the
split that it made, and refuses other pieces. Depends on neither models nor torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from miditok import Structured, TokenizerConfig
from numpy.typing import NDArray

from midi_save.reading import read_score
from training.data.archive import Source, find_all
from training.data.held_out import require_test
from training.data.piece import read_piece
from training.evaluation.workers import Workers

EVALUATED_SECONDS = 60.0  # as in windows.py, which imports torch
TOKENS_PER_NOTE = 5


@cache
def original_tokenizer() -> Structured:
    """The original project's tokenizer.

    Its settings for chords, rests and tempos are left out, as Structured ignored them.
    """
    return Structured(
        TokenizerConfig(
            pitch_range=(21, 109),
            beat_res={(0, 4): 8, (4, 12): 4},
            num_velocities=4,
            special_tokens=["PAD", "BOS", "EOS"],
            use_programs=True,
            one_token_stream_for_programs=True,
        )
    )


def ids_of(kind: str) -> NDArray[np.bool_]:
    """Which ids are tokens of the kind, bool [vocabulary]."""
    vocabulary = original_tokenizer().vocab
    found = np.zeros(len(vocabulary), bool)
    found[[i for token, i in vocabulary.items() if token.partition("_")[0] == kind]] = True
    return found


def beats_of_ids() -> NDArray[np.float64]:
    """By how many beats each id advances the music, float64 [vocabulary]."""
    beats = np.zeros(len(original_tokenizer()))
    for token, token_id in original_tokenizer().vocab.items():
        kind, _, value = token.partition("_")
        if kind == "TimeShift":
            whole, parts, resolution = map(int, value.split("."))
            beats[token_id] = whole + parts / resolution
    return beats


@dataclass(frozen=True)
class Corpus:
    """All pieces end to end, each ``BOS ... EOS``.

    ids int16 [N]; starts int64 [pieces + 1]; minutes int64 [pieces]: how many tokens after BOS
    belong to notes that begin in the piece's first minute; validation and test bool [pieces].
    """

    ids: NDArray[np.int16]
    starts: NDArray[np.int64]
    minutes: NDArray[np.int64]
    validation: NDArray[np.bool_]
    test: NDArray[np.bool_]

    @property
    def sha256(self) -> str:
        """A hash of what the training depends on."""
        return hashlib.sha256(self.ids.tobytes() + self.held_out.tobytes()).hexdigest()

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """Which pieces are not trained on, bool [pieces]."""
        return self.validation | self.test


def encode_piece(source: Source) -> tuple[NDArray[np.int16], int] | None:
    """Ids from BOS to EOS, and how many after BOS are of the first minute.

    None for a file that `dataset.py` leaves out.

    Raises:
        ValueError: the tokenizer wrote something else than five tokens a note.
    """
    piece = read_piece(source)
    if piece.why:
        return None
    score = read_score(source.path.read_bytes()).score
    assert score is not None, "read_piece kept it"
    encoded = original_tokenizer().encode(score, encode_ids=False)
    # The events have the true onsets; TimeShift tokens shorten gaps of more than twelve beats.
    onsets = np.array([event.time for event in encoded.events if event.type_ == "Pitch"])
    if len(encoded.ids) != TOKENS_PER_NOTE * len(onsets):
        raise ValueError(f"{source.path}: {len(encoded.ids)} tokens for {len(onsets)} notes")
    share = min(1.0, EVALUATED_SECONDS / piece.seconds)
    notes = int(np.searchsorted(onsets, share * onsets[-1], side="right"))
    tokenizer = original_tokenizer()
    ids = [tokenizer["BOS_None"], *map(int, encoded.ids), tokenizer["EOS_None"]]
    return np.array(ids, np.int16), TOKENS_PER_NOTE * notes


def read_corpus(folders: Sequence[Path], dataset: Path, cached: Path, workers: int = 1) -> Corpus:
    """The pieces of ``dataset`` in the original project's tokens, read by ``workers`` processes.

    They are kept in the file ``cached``, since reading them takes minutes.

    Raises:
        ValueError: the folders hold other pieces than the dataset was made of, or the dataset
            is of an older version.
    """
    with np.load(dataset) as arrays:
        require_test(arrays, dataset)
        names, validation, test = arrays["names"], arrays["validation"], arrays["test"]
    digest = hashlib.sha256(names.tobytes() + validation.tobytes() + test.tobytes()).hexdigest()
    if cached.exists():
        with np.load(cached) as arrays:
            if str(arrays["digest"]) == digest:
                return Corpus(**{k: arrays[k] for k in Corpus.__dataclass_fields__})
    sources = find_all(folders)
    with Workers(workers) as pool:
        encoded = pool.map(encode_piece, sources, "reading MIDI", "file")
    kept = [(s, e) for s, e in zip(sources, encoded, strict=True) if e is not None]
    if [source.path.name for source, _ in kept] != names.tolist():
        raise ValueError(
            f"--data holds {len(kept)} usable pieces, other than the {len(names)} of {dataset}: "
            "give the folders that the data set was made of, or make it again"
        )
    corpus = Corpus(
        ids=np.concatenate([ids for _, (ids, _) in kept]),
        starts=np.cumsum([0, *(len(ids) for _, (ids, _) in kept)]),
        minutes=np.array([minute for _, (_, minute) in kept]),
        validation=validation,
        test=test,
    )
    np.savez(cached, digest=np.array(digest), **vars(corpus))
    return corpus


def minute_windows(
    corpus: Corpus, context: int, held_out: NDArray[np.bool_]
) -> list[tuple[NDArray[np.int64], int]]:
    """Windows over the first minute of each piece of ``held_out``, bool [pieces].

    Each is (ids [up to context + 1], first target that counts). As in `windows.py`, windows
    overlap by half, each target counts once, and the target after the minute (EOS in a shorter
    piece) counts too.
    """
    windows = []
    for piece in np.flatnonzero(held_out):
        first = corpus.starts[piece]
        ids = corpus.ids[first : first + corpus.minutes[piece] + 2].astype(np.int64)
        begin = counted = 0
        while True:
            windows.append((ids[begin : begin + context + 1], counted))
            if begin + context + 1 >= len(ids):
                break
            begin, counted = begin + context // 2, context - context // 2
    return windows
