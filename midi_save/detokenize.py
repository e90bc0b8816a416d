"""Turns token ids into the bytes of a MIDI file.

miditok turns tokens into notes. Without an error it drops a pitch that no duration follows, and
reads a vocabulary file with any of its tokenizer classes; this module raises an error in both
cases. Depends on neither the model nor storage.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import miditok
import mido
import numpy as np
from miditok.constants import MIDI_INSTRUMENTS
from numpy.typing import NDArray
from symusic.core import NoteTickList, ScoreTick, TrackTick

from contract.bundle import Bundle
from contract.errors import BundleError, PieceError
from contract.marks import DIGITAL_SOURCE_TYPE, MADE_BY_A_MACHINE
from midi_save.dynamics import bars_of, velocities
from midi_save.ending import broaden

# miditok loads the file of one class with another without an error: only tested classes are here.
TOKENIZER_CLASSES = {"REMI": miditok.REMI}
NOT_MUSIC = frozenset({"PAD", "BOS", "EOS", "Style"})
MELODIC_CHANNELS = 15  # sixteen less the drum channel; with more tracks symusic reuses them


@dataclass(frozen=True)
class Piece:
    """A finished MIDI file, and the notes and programs that its tokens ask for."""

    midi: bytes
    notes: int
    programs: tuple[int, ...]


def load_tokenizer(bundle: Bundle) -> miditok.MusicTokenizer:
    """The bundle's tokenizer.

    Raises BundleError if its class is not in TOKENIZER_CLASSES, or if miditok reads another
    vocabulary from its file than the model's.
    """
    tokenizer_class = TOKENIZER_CLASSES.get(bundle.tokenizer_class)
    if tokenizer_class is None:
        raise BundleError(
            f"{bundle.directory / 'bundle.json'}: tokenizer.class is "
            f"{bundle.tokenizer_class[:40]!a}, this code reads {', '.join(TOKENIZER_CLASSES)}"
        )
    tokenizer = tokenizer_class(params=bundle.tokenizer_path)
    names = sorted(tokenizer.vocab, key=lambda name: tokenizer.vocab[name])
    if tuple(tuple(name.split("_", 1)) for name in names) != bundle.vocabulary:
        raise BundleError(
            f"{bundle.tokenizer_path}: this miditok reads another vocabulary than bundle.json "
            "has: install the version that bundle.json names"
        )
    return tokenizer


def detokenize(
    ids: Sequence[int],
    tokenizer: miditok.MusicTokenizer,
    bundle: Bundle,
    title: str,
    limit_s: float | None = None,
) -> Piece:
    """The piece that `ids` describe, named `title`; the same ids give the same bytes.

    With `limit_s` the piece slows down at its end and holds its last chord, as far as it stays
    within that many seconds. Without it, the tempo and the last chord are those of the tokens.
    Raises PieceError if a note would be lost or the ids ask for what MIDI cannot hold.
    """
    music = [token_id for token_id in ids if bundle.vocabulary[token_id][0] not in NOT_MUSIC]
    asked, programs = _asked_notes(music, bundle)
    score = tokenizer.decode(music) if asked else None
    decoded = sum(len(track.notes) for track in score.tracks) if score else 0
    if score is None or decoded != asked or asked == 0:
        raise PieceError(f"the tokens have {asked} pitches, miditok read {decoded} notes")
    if len(score.tracks) >= MELODIC_CHANNELS:  # one track is the title's
        raise PieceError(f"{len(score.tracks)} programs are more than MIDI's channels")
    _shape_notes(score)
    if limit_s is not None:
        broaden(score, limit_s)
    title_track = TrackTick(title, 0, False)
    tracks = sorted(score.tracks, key=lambda track: track.program)
    for track in tracks:
        track.name = MIDI_INSTRUMENTS[track.program]["name"]
    score.tracks = [title_track, *tracks]
    return Piece(_with_mark_in_title(score.dumps_midi()), asked, programs)


def _asked_notes(music: Sequence[int], bundle: Bundle) -> tuple[int, tuple[int, ...]]:
    """How many notes the tokens ask for, and the programs that play them."""
    count = 0
    program = 0  # miditok's default before the first Program token
    programs: set[int] = set()
    for token_id in music:
        kind, value = bundle.vocabulary[token_id]
        if kind == "PitchDrum" or (kind == "Program" and value == "-1"):
            raise PieceError(f"the tokens ask for drums ({kind}_{value}), which no piece has")
        if kind == "Program":
            program = int(value)
        elif kind == "Pitch":
            count += 1
            programs.add(program)
    return count, tuple(sorted(programs))


def _shape_notes(score: ScoreTick) -> None:
    """Give each note a velocity, and end it where the same key is struck again.

    A MIDI channel cannot sound a key twice: the end of the first note would end the second one too.
    Raises PieceError if a program strikes a key twice at the same tick.
    """
    metres = [(s.time, s.numerator, s.denominator) for s in score.time_signatures]
    # Loudness depends on all tracks together: the top note of a chord may be in any of them.
    columns = [_columns(track) for track in score.tracks]
    onset, _, pitch = np.concatenate(columns, axis=1)
    bar_start, beat_ticks = bars_of(onset, metres, score.ticks_per_quarter)
    loudness = velocities(onset, pitch, bar_start, beat_ticks)
    first = 0
    for track, (time, duration, key) in zip(score.tracks, columns, strict=True):
        loud = loudness[first : first + len(time)]
        first += len(time)
        # Sorted by key, then time, so that neighbours are successive strokes of one key.
        order = np.lexsort((time, key))
        time, duration, key, loud = time[order], duration[order], key[order], loud[order]
        same_key = key[1:] == key[:-1]
        gap = time[1:] - time[:-1]
        if np.any(same_key & (gap == 0)):
            raise PieceError(f"program {track.program} strikes a key twice at the same tick")
        duration[:-1] = np.where(same_key, np.minimum(duration[:-1], gap), duration[:-1])
        order = np.lexsort((key, time))
        track.notes = NoteTickList.from_numpy(
            time[order].astype(np.int32),
            duration[order].astype(np.int32),
            key[order].astype(np.int8),
            loud[order].astype(np.int8),
        )


def _columns(track: TrackTick) -> NDArray[np.int64]:
    """(3, n): time, duration and pitch of the track's notes."""
    arrays = track.notes.numpy()
    return np.stack([arrays[name].astype(np.int64) for name in ("time", "duration", "pitch")])


def _with_mark_in_title(midi: bytes) -> bytes:
    """Write into the title's track that a machine made this, and remove the program change that
    symusic writes there: the track has no notes.
    """
    file = mido.MidiFile(file=io.BytesIO(midi))
    title = file.tracks[0]
    mark = mido.MetaMessage("text", text=f"{MADE_BY_A_MACHINE} {DIGITAL_SOURCE_TYPE}")
    title.insert(1, mark)  # behind the name
    waited = 0
    kept = mido.MidiTrack()
    for message in title:
        # A message's time is the ticks since the message before: add those of a removed message.
        if message.type == "program_change":
            waited += message.time
        else:
            kept.append(message.copy(time=message.time + waited))
            waited = 0
    file.tracks[0] = kept
    out = io.BytesIO()
    file.save(file=out)
    return out.getvalue()
