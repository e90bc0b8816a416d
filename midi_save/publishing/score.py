"""The notes of a MIDI file, each with its instrument and its time in seconds.

Reads what `midi_save` has written; a MIDI file from elsewhere is read by midi_file.py. Depends on
neither S3 nor how notes are drawn.
"""

from __future__ import annotations

import io
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mido
import numpy as np
from numpy.typing import NDArray

from contract.instruments import INSTRUMENTS

# What MIDI files mean where they say nothing.
_DEFAULT_TEMPO = 500_000  # microseconds a quarter note
_DEFAULT_METRE = (4, 4)


@dataclass(frozen=True)
class Part:
    """The notes of one instrument in order of time.

    `program` is General MIDI's, from 0. The arrays have one shape: `start_s` and `end_s` in
    seconds, `pitch` and `velocity` as MIDI's numbers.
    """

    name: str
    program: int
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    pitch: NDArray[np.int64]
    velocity: NDArray[np.int64]


@dataclass(frozen=True)
class Score:
    """A piece. `bars_s` are the starts of its bars, `duration_s` is the end of its last note;
    `metre` (as in "3/4") and `tempo` (quarter notes a minute) are those of its beginning.
    """

    parts: tuple[Part, ...]
    bars_s: NDArray[np.float64]
    duration_s: float
    metre: str = "4/4"
    tempo: float = 120.0

    @property
    def notes(self) -> int:
        """How many there are."""
        return sum(len(part.pitch) for part in self.parts)

    @property
    def pitch_range(self) -> tuple[int, int]:
        """The lowest and the highest pitch."""
        pitches = np.concatenate([part.pitch for part in self.parts])
        return int(pitches.min()), int(pitches.max())


# Of a part: (start, end, pitch, velocity) of each note, in ticks.
_Notes = list[tuple[int, int, int, int]]


def read_score(midi: bytes) -> Score:
    """The piece in the bytes of a MIDI file.

    Parts are in the order in which the file has them; what one program plays is one part. Raises
    ValueError if there are no notes, OSError or EOFError if the bytes are not a MIDI file.
    """
    file = mido.MidiFile(file=io.BytesIO(midi))
    tempos, metres = [(0, _DEFAULT_TEMPO)], [(0, _DEFAULT_METRE)]
    parts: dict[int, tuple[str, _Notes]] = {}
    for track in file.tracks:
        tick = 0
        for message in track:
            tick += message.time
            if message.type == "set_tempo":
                tempos.append((tick, message.tempo))
            elif message.type == "time_signature":
                metres.append((tick, (message.numerator, message.denominator)))
        for program, notes in _notes_of(track).items():
            name = INSTRUMENTS.get(program, track.name or f"program {program + 1}")
            parts.setdefault(program, (name, []))[1].extend(notes)
    if not parts:
        raise ValueError("the MIDI file has no notes")
    last_tick = max(end for _, notes in parts.values() for _, end, _, _ in notes)
    clock = _Clock(tempos, file.ticks_per_beat)
    bars = np.array(_bars(metres, file.ticks_per_beat, last_tick), dtype=np.int64)
    return Score(
        parts=tuple(_part(name, program, notes, clock) for program, (name, notes) in parts.items()),
        bars_s=clock.seconds(bars),
        duration_s=float(clock.seconds(np.array([last_tick]))[0]),
        metre="{}/{}".format(*_at_the_beginning(metres)),
        tempo=round(mido.tempo2bpm(_at_the_beginning(tempos)), 2),
    )


def _at_the_beginning(changes: Sequence[tuple[int, Any]]) -> Any:
    """Of (tick, value): the last at tick 0. What a file says there stands behind the default."""
    return [value for tick, value in changes if tick == 0][-1]


def _notes_of(track: mido.MidiTrack) -> dict[int, _Notes]:
    """The notes of a track by program. One that never ends, ends with the track."""
    programs: dict[int, int] = defaultdict(int)
    sounding: dict[tuple[int, int], deque[tuple[int, int, int]]] = defaultdict(deque)
    found: dict[int, _Notes] = defaultdict(list)
    tick = 0
    for message in track:
        tick += message.time
        if message.type == "program_change":
            programs[message.channel] = message.program
        elif message.type == "note_on" and message.velocity > 0:
            begun = (tick, message.velocity, programs[message.channel])
            sounding[message.channel, message.note].append(begun)
        elif message.type in {"note_on", "note_off"}:
            struck = sounding[message.channel, message.note]
            if struck:  # of several notes on one key the oldest ends
                start, velocity, program = struck.popleft()
                found[program].append((start, tick, message.note, velocity))
    for (_, pitch), struck in sounding.items():
        for start, velocity, program in struck:
            found[program].append((start, tick, pitch, velocity))
    return found


class _Clock:
    """Turns ticks into seconds. `tempos` are (tick, microseconds a quarter note)."""

    def __init__(self, tempos: Sequence[tuple[int, int]], ticks_per_quarter: int) -> None:
        changes = dict(sorted(tempos, key=lambda change: change[0]))  # of one tick the last holds
        self._ticks = np.array(list(changes), dtype=np.int64)
        self._tick_s = np.array(list(changes.values())) / 1e6 / ticks_per_quarter
        lasted_s = np.diff(self._ticks) * self._tick_s[:-1]
        self._begins_s = np.concatenate([[0.0], np.cumsum(lasted_s)])

    def seconds(self, ticks: NDArray[np.int64]) -> NDArray[np.float64]:
        """The time of each tick, of the same shape."""
        at = np.searchsorted(self._ticks, ticks, side="right") - 1
        since = (ticks - self._ticks[at]) * self._tick_s[at]
        return np.asarray(self._begins_s[at] + since, dtype=np.float64)


def _bars(
    metres: Sequence[tuple[int, tuple[int, int]]], ticks_per_quarter: int, last_tick: int
) -> list[int]:
    """The ticks at which bars begin, up to the end of the piece."""
    changes = dict(sorted(metres, key=lambda change: change[0]))
    bars: list[int] = []
    for start, end in zip(changes, [*list(changes)[1:], last_tick], strict=True):
        numerator, denominator = changes[start]
        bars += range(
            start, min(end, last_tick), max(1, numerator * 4 * ticks_per_quarter // denominator)
        )
    return bars


def _part(name: str, program: int, notes: _Notes, clock: _Clock) -> Part:
    start, end, pitch, velocity = np.array(sorted(notes), dtype=np.int64).T
    return Part(name, program, clock.seconds(start), clock.seconds(end), pitch, velocity)
