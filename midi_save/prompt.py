"""Turns a prompt, the last bars of a user's MIDI file, into token ids.

The file is not trusted: its size is checked before its content, and its header before it is parsed.
It is cleaned exactly as the training data was. Depends on neither the state machine nor storage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from symusic.core import NoteTickList, ScoreTick, TempoTick, TimeSignatureTick

from contract.bundle import Bundle
from contract.errors import PromptError
from midi_save.midi_file import UnreadableMidiError
from midi_save.reading import MOST_BEATS, read_score
from music.features import TICKS_PER_QUARTER

if TYPE_CHECKING:  # run.sh reads prompts with `read_prompt`, and has no miditok
    import miditok

SIZE_LIMIT = 1_000_000  # bytes; a full symphony is about half of it
FEWEST_NOTES = 8  # fewer say too little about how to continue


def ids_of_prompt(midi: bytes, tokenizer: miditok.MusicTokenizer, bundle: Bundle) -> list[int]:
    """Ids of the last bars of `midi`: at most half the model's context, beginning at a Bar.

    Raises PromptError, which says what the file is and what is accepted.
    """
    score = read_prompt(midi)
    limit = bundle.context // 2
    # A note has at least two ids, so more notes than these never fit: a prompt of 300,000 notes
    # would take seconds to tokenize.
    most_notes = limit // 2 + 1
    onsets = np.sort(np.concatenate([track.notes.numpy()["time"] for track in score.tracks]))
    bars = _bars(_notes_between(score, int(onsets[-most_notes:][0]), int(onsets[-1])), tokenizer)
    # The first bar from which the rest fits. The notes are cut there and tokenized again, because
    # ids that are cut would lack the tempo and the program in force. As these add ids, the rest may
    # be too long after all; then a later bar is tried.
    first = next((i for i, bar in enumerate(bars) if bar.ids_left <= limit), len(bars) - 1)
    for start in range(first, len(bars)):
        last = onsets[onsets >= bars[start].tick][:most_notes][-1]
        ids = _encode(_from_bar(score, bars[start:], int(last)), tokenizer)
        if len(ids) <= limit:
            return ids
    return _whole_notes(ids, limit, bundle)


class _Bar:
    """A bar of the score: its first tick, its metre, and the number of ids from it to the end."""

    def __init__(self, tick: int, metre: tuple[int, int], ids_left: int) -> None:
        self.tick = tick
        self.metre = metre
        self.ids_left = ids_left


def read_prompt(midi: bytes) -> ScoreTick:
    """The cleaned music of a prompt. Raises PromptError."""
    if len(midi) == 0:
        raise PromptError("the prompt is empty; it must be a MIDI file")
    if len(midi) > SIZE_LIMIT:
        raise too_large(len(midi))
    if not midi.startswith((b"MThd", b"RIFF")):
        raise PromptError(
            f"the prompt is not MIDI: it begins with {midi[:12]!r}, a MIDI file begins with MThd"
        )
    try:
        score = read_score(midi).score
    except UnreadableMidiError as error:
        raise PromptError(f"the prompt is damaged MIDI: {str(error)[:200]}") from error
    notes = sum(len(track.notes) for track in score.tracks) if score else 0
    if score is None or notes < FEWEST_NOTES:
        raise PromptError(
            f"the prompt has {notes} usable notes (drums and pitches outside 24 to 103 do not "
            f"count); at least {FEWEST_NOTES} are needed"
        )
    beats = score.end() // TICKS_PER_QUARTER
    if beats > MOST_BEATS:
        raise PromptError(f"the prompt is {beats} beats long; the limit is {MOST_BEATS}")
    return score


def too_large(size: int) -> PromptError:
    return PromptError(f"the prompt is {size / 1e6:.1f} MB; the limit is {SIZE_LIMIT / 1e6:.0f} MB")


def _bars(score: ScoreTick, tokenizer: miditok.MusicTokenizer) -> list[_Bar]:
    """The bars up to the last note's onset, as the tokenizer divides them."""
    tokens = tokenizer.encode(score).tokens
    bars: list[_Bar] = []
    tick = 0
    for index, token in enumerate(tokens):
        kind, _, value = token.partition("_")
        if kind == "Bar":
            if bars:
                numerator, denominator = bars[-1].metre
                tick += numerator * 4 * TICKS_PER_QUARTER // denominator
            bars.append(_Bar(tick, bars[-1].metre if bars else (4, 4), len(tokens) - index))
        elif kind == "TimeSig":
            numerator, _, denominator = value.partition("/")
            bars[-1].metre = (int(numerator), int(denominator))
    return bars


def _notes_between(score: ScoreTick, first: int, last: int) -> ScoreTick:
    """The score with only those notes that begin at the tick `first`, at `last` or between.

    Metres after `last` are left out too: the tokenizer would write empty bars for them.
    """
    part = score.copy()
    metres = part.time_signatures
    part.time_signatures = type(metres)(metre for metre in metres if metre.time <= last)
    for track in part.tracks:
        arrays = track.notes.numpy()
        kept = (arrays["time"] >= first) & (arrays["time"] <= last)
        columns = (arrays[name][kept] for name in ("time", "duration", "pitch", "velocity"))
        track.notes = NoteTickList.from_numpy(*columns)
    return part


def _from_bar(score: ScoreTick, bars: list[_Bar], last: int) -> ScoreTick:
    """The notes from `bars` (the last ones of the score) to the tick `last`, moved to tick 0."""
    start = bars[0].tick
    rest = ScoreTick(TICKS_PER_QUARTER)
    for track in _notes_between(score, start, last).tracks:
        if len(track.notes):
            rest.tracks.append(track.shift_time(-start))
    rest.tempos.append(TempoTick(0, score.tempos[0].qpm))
    for index, bar in enumerate(bars):
        if index == 0 or bar.metre != bars[index - 1].metre:
            rest.time_signatures.append(TimeSignatureTick(bar.tick - start, *bar.metre))
    return rest


def _encode(score: ScoreTick, tokenizer: miditok.MusicTokenizer) -> list[int]:
    return list(tokenizer.encode(score).ids)


def _whole_notes(ids: list[int], limit: int, bundle: Bundle) -> list[int]:
    """The beginning of one overlong bar, up to the last note that is complete within `limit`."""
    for end in range(limit, 0, -1):
        if bundle.vocabulary[ids[end - 1]][0] == "Duration":
            return ids[:end]
    raise PromptError(f"the prompt's last bar has no complete note within {limit} tokens")
