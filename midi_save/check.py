"""Checks a finished MIDI file: reads it with mido, which did not write its notes (symusic did).

Depends on neither tokens nor storage.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import mido

from contract.errors import PieceError


@dataclass(frozen=True)
class Facts:
    """What the file holds. `duration_s` runs from its start to the end of its last note."""

    notes: int
    programs: tuple[int, ...]
    duration_s: float


def check_piece(midi: bytes, notes: int, programs: Iterable[int]) -> Facts:
    """The facts of `midi`. Raises PieceError, which names the check that failed.

    The file must hold exactly `notes` notes and at least one, each note must end, and the programs
    that play them must be `programs`.
    """
    facts = _read(midi)
    if facts.notes == 0:
        raise PieceError("the finished MIDI has no note")
    if facts.notes != notes:
        raise PieceError(f"the finished MIDI has {facts.notes} notes, the tokens {notes}")
    asked = tuple(sorted(programs))
    if facts.programs != asked:
        raise PieceError(f"the finished MIDI plays programs {facts.programs}, asked were {asked}")
    return facts


def _read(midi: bytes) -> Facts:
    try:
        file = mido.MidiFile(file=io.BytesIO(midi))
        messages = list(file)  # merged tracks; times are seconds since the message before
    # What mido raises for bytes that are not MIDI, depending on where it notices.
    except (EOFError, OSError, ValueError, LookupError) as error:
        raise PieceError(f"mido cannot read the finished MIDI: {error}") from error
    now_s = last_end_s = 0.0
    count = 0
    sounding: Counter[tuple[int, int]] = Counter()  # (channel, key): notes begun and not ended
    program_of: dict[int, int] = {}
    programs: set[int] = set()
    for message in messages:
        now_s += message.time
        if message.type == "program_change":
            program_of[message.channel] = message.program
        elif message.type == "note_on" and message.velocity > 0:
            sounding[message.channel, message.note] += 1
            programs.add(program_of.get(message.channel, 0))
            count += 1
        elif message.type in ("note_on", "note_off"):  # a note_on with velocity 0 ends a note
            key = (message.channel, message.note)
            if sounding[key] == 0:
                raise PieceError(f"channel {key[0]}, note {key[1]} ends without having begun")
            sounding[key] -= 1
            last_end_s = now_s
    hanging = [key for key, number in sounding.items() if number]
    if hanging:
        channel, note = hanging[0]
        raise PieceError(
            f"{len(hanging)} keys never end, the first is channel {channel}, note {note}"
        )
    return Facts(count, tuple(sorted(programs)), round(last_end_s, 3))
