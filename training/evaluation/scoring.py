"""The part of an evaluation that handles one piece at a time, as each worker process runs it.

Measures a MIDI file, computes its nats with the deployed decoder, or composes a piece. Depends on
neither sets of pieces nor the comparison of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from miditok import MusicTokenizer
from numpy.typing import NDArray
from symusic.core import ScoreTick

from contract.bundle import Bundle
from contract.errors import PieceError
from contract.request import LONGEST, Request
from generate_tokens.compose import Composer
from generate_tokens.sequence import Batch, TokenSequence
from midi_save.detokenize import detokenize, load_tokenizer
from midi_save.reading import MOST_BEATS, read_score
from music.features import TICKS_PER_QUARTER, scalar_features, vector_features
from music.grammar import Grammar
from music.tracker import PITCH
from training.data.archive import Source
from training.data.names import shown
from training.data.reasons import COPY, kind_of
from training.evaluation.excerpt import duplicate_share, excerpt
from training.evaluation.listener import Heard, heard
from training.evaluation.overlap import Hashes, steps_of
from training.evaluation.report import Nats
from training.evaluation.two_sample import LONGEST_S, Sample, sample_of

NATS_SECONDS = 60.0
UNREADABLE = (RuntimeError, OverflowError, ValueError, OSError)


@dataclass
class Measured:
    """One piece: its features by name, and its notes as steps. ``why``: why it cannot be used.

    heard: what a listener notices in it. sample: its first minute for the two-sample test; None
    for a short piece.
    """

    name: str
    style: str = ""
    source: str = ""
    why: str = ""
    features: Mapping[str, NDArray[np.float64]] | None = None
    steps: Hashes | None = None
    heard: Heard | None = None
    sample: Sample | None = None


def _read(midi: bytes) -> tuple[ScoreTick, ScoreTick]:
    """The score as it is, and cleaned. Raises one of `UNREADABLE`."""
    read = read_score(midi)
    if read.score is None:
        raise ValueError("no notes")
    if read.score.end() > MOST_BEATS * TICKS_PER_QUARTER:
        raise ValueError(f"longer than {MOST_BEATS:,} beats: a time in it is damaged")
    return read.raw, read.score


def _timed_ending(raw: ScoreTick) -> tuple[float, float]:
    """Seconds of the piece, and seconds from its last onset to its end, at the file's own tempos.

    A cleaned score would not do: it has a single tempo, and so no ritardando.
    """
    timed: Any = raw.to("second")  # symusic types this by its argument's class only
    notes = [track.notes.numpy() for track in timed.tracks if not track.is_drum and track.notes]
    onset = np.concatenate([columns["time"] for columns in notes])
    end = onset + np.concatenate([columns["duration"] for columns in notes])
    return float(end.max()), float(end.max() - onset.max())


def measure(midi: bytes, seconds: float, measured: Measured) -> Measured:
    """Fills in the features of the first ``seconds`` and of the ending, or why there are none."""
    try:
        raw, clean = _read(midi)
        duplicates = duplicate_share(raw)
        music = excerpt(clean, duplicates, seconds)
        length_s, last_chord_s = _timed_ending(raw)
        all_s = clean.end() * 60 / clean.tempos[0].qpm / TICKS_PER_QUARTER + 1
        whole = excerpt(clean, duplicates, all_s)
        minute = excerpt(clean, duplicates, LONGEST_S)
    except UNREADABLE as error:
        measured.why = f"unreadable: {str(error).partition(chr(10))[0][:80]}"
        return measured
    if music is None or whole is None:
        measured.why = f"no note in the first {seconds:g} s"
        return measured
    scalars = {name: np.array([value]) for name, value in scalar_features(music).items()}
    measured.features = {**scalars, **vector_features(music)}
    measured.steps = steps_of(music.onset, music.pitch)
    measured.heard = heard(music, whole, length_s, last_chord_s)
    measured.sample = sample_of(minute, measured.style, length_s)
    return measured


def measure_file(source: Source, root: Path, seconds: float) -> Measured:
    """`measure` for a file below ``root``."""
    name = shown(os.path.relpath(source.path, root))
    measured = Measured(name, source.style, source.collection)
    # What is no file to read is left out, and copies. The other reasons to leave a file out apply
    # to training, and a test set is made of pieces that are held out of training.
    if source.why and (not source.sha256 or kind_of(source.why)[0] == COPY):
        measured.why = source.why
        return measured
    try:
        midi = source.path.read_bytes()
    except OSError as error:
        measured.why = f"unreadable: {error.strerror}"
        return measured
    return measure(midi, seconds, measured)


@cache
def _loaded(directory: Path, model_id: str) -> tuple[Composer, MusicTokenizer]:  # noqa: ARG001
    """The bundle's composer and tokenizer, cached in each process.

    ``model_id`` is in the cache's key, so that a new bundle in the same folder is loaded.
    """
    bundle = Bundle.load(directory)
    return Composer(bundle), load_tokenizer(bundle)


def known_style(style: str, bundle: Bundle) -> str:
    """The style itself, or "other" if the bundle has no token for it."""
    spare = "other" if "other" in bundle.styles else next(iter(bundle.styles))
    return style if style in bundle.styles else spare


def token_logits(
    composer: Composer, ids: Iterable[int], style: str
) -> Iterator[tuple[NDArray[np.float32], TokenSequence]]:
    """Feeds ``ids`` to the deployed decoder, its sliding window and the memory (teacher forcing).

    Yields the logits [vocabulary] for each token of ``ids``, of which Bar is the first, and for the
    token after the last; with them the sequence before that token. The next step overwrites both.
    """
    sequence = composer.beginning.sequence_in(style, None)
    sequence.begin_piece(None)
    batch = Batch(composer.decoder, [sequence])
    batch.replay(0)
    yield batch.logits(0), sequence
    for token in ids:
        sequence.append(token)
        batch.push()
        yield batch.logits(0), sequence


def nats_of(composer: Composer, ids: Sequence[int], style: str) -> Nats:
    """The nats of a piece's first minute, with EOS if the piece ends in it, as in training.

    The model is mixed with the memory as the sampler does it in a piece without a plan. Top-p and
    the guards are left out, as they only rule tokens out. ``ids`` are without BOS, style and EOS.
    """
    nats = Nats()
    grammar = Grammar(composer.vocabulary, composer.bundle.grammar)
    targets = [*ids, composer.bundle.eos_id]
    for target, (logits, sequence) in zip(targets, token_logits(composer, ids, style), strict=True):
        state, memory = sequence.state, sequence.memory
        if state.seconds > NATS_SECONDS:
            break
        exact = logits.astype(np.float64)
        # loss = -log p(target) of the model; the memory's probability is 1 for the id it names
        loss = np.logaddexp.reduce(exact) - exact[target]
        named = memory.weight > 0 and target == memory.named
        nats.total -= np.log((1 - memory.weight) * np.exp(-loss) + memory.weight * named)
        nats.alone += loss
        nats.tokens += 1
        nats.notes += composer.vocabulary.kind[target] == PITCH
        nats.forbidden += not grammar.permits(target, state)
    return nats


def nats_of_file(source: Source, directory: Path, model_id: str) -> Nats:
    """`nats_of` a readable file, with the tokenizer of the bundle in ``directory``."""
    composer, tokenizer = _loaded(directory, model_id)
    _, clean = _read(source.path.read_bytes())
    ids = list(tokenizer.encode(clean, encode_ids=False).ids)
    return nats_of(composer, ids, known_style(source.style, composer.bundle))


def compose_midi(request: Request, directory: Path, model_id: str) -> bytes | str:
    """A fresh piece as MIDI, or why there is none."""
    composer, tokenizer = _loaded(directory, model_id)
    ids = composer.compose(request, [], [], np.inf).ids
    limit_s = LONGEST * request.duration_s
    try:
        return detokenize(ids, tokenizer, composer.bundle, "", limit_s).midi
    except PieceError as error:
        return str(error)
