"""Plays a MIDI file on a SoundFont and gives the sound in blocks of 15 seconds.

The synthesiser is RustySynth, in the package midirenderer: it takes a whole MIDI file and returns
all of its sound at once, of which an hour does not fit into a function's memory. So the piece is
handed over in parts of 15 seconds: the notes that begin in it, with the time in which they fade
away, and what reaches into the next part is added there. The synthesiser's own reverberation is
switched off, because it leaves out soft notes. Of a MIDI file the notes count, with their programs,
velocities and times; controllers, which our files do not have, are passed over. Depends on neither
loudness nor the encoding.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import midirenderer
import mido
import numpy as np

from contract.errors import SoundError
from midi_save.publishing.convolution import Audio
from midi_save.publishing.loudness import RATE

PART = 15 * RATE  # frames
TAIL_S = 2.5  # from the end of the last note to the end of the sound
LONGEST_NOTE_S = (
    60  # a longer one ends there: it must not make the sound of its part as long as itself
)
WAV_HEADER_BYTES = 44
# One tick is one frame: a quarter note of half a second has this many.
TICKS_PER_QUARTER, MICROSECONDS_PER_QUARTER = RATE // 2, 500_000
CHANNELS = [channel for channel in range(16) if channel != 9]  # 9 is for drums

# Controllers. The gain of a channel is the square of its volume's share of LOUDEST.
VOLUME, PAN, REVERB = 7, 10, 91
LOUDEST = 127
PAN_CENTRE, PAN_WIDTH = 64, 28  # of several instruments the first sits left, the last right


@dataclass(frozen=True, order=True)
class _Note:
    """A note of an instrument, which is a channel and a program; times in frames."""

    start: int
    end: int
    instrument: tuple[int, int]
    key: int
    velocity: int


class Playing:
    """A MIDI file, ready to be played on a bank. `frames` is the length of the whole sound.

    Raises SoundError if the file has no notes, or if the synthesiser refuses the bank.
    """

    def __init__(self, midi: bytes, bank: bytes) -> None:
        self._bank = bank
        notes, end = _read(midi)
        if not notes:
            raise SoundError("the MIDI file has no notes, so there is nothing to hear")
        self.frames = end + round(TAIL_S * RATE)
        self._instruments = sorted({note.instrument for note in notes})
        self._notes: dict[int, list[_Note]] = {}
        for note in notes:
            self._notes.setdefault(note.start // PART, []).append(note)

    def __iter__(self) -> Iterator[Audio]:
        """The sound in blocks of 15 seconds; the last is shorter. Full scale is 1."""
        before: Audio = np.zeros((0, 2), np.float32)  # what reaches from earlier parts into this
        for number in range(-(-self.frames // PART)):
            sound = self._render_part(number)
            size = min(PART, self.frames - number * PART)
            block = np.zeros((max(size, len(sound), len(before)), 2), np.float32)
            block[: len(before)] = before
            block[: len(sound)] += sound
            before = block[size:]
            yield block[:size]

    def _render_part(self, number: int) -> Audio:
        """The notes that begin in this part, until the last has faded away."""
        notes = self._notes.get(number, [])
        out: Audio = np.zeros((0, 2), np.float32)
        for first in range(0, len(self._instruments), len(CHANNELS)):
            group = self._instruments[first : first + len(CHANNELS)]
            theirs = [note for note in notes if note.instrument in group]
            if theirs:
                short, long = sorted((out, self._render(theirs, group, number * PART)), key=len)
                long[: len(short)] += short
                out = long
        return out

    def _render(
        self, notes: Sequence[_Note], group: Sequence[tuple[int, int]], start: int
    ) -> Audio:
        """These notes of these instruments, one for each channel; the sound begins at `start`."""
        timed: list[tuple[int, int, mido.Message]] = []
        channel_of = dict(zip(group, CHANNELS, strict=False))
        for instrument, channel in channel_of.items():
            change = mido.Message("program_change", channel=channel, program=instrument[1])
            timed.append((0, 0, change))
            for control, value in self._controls(instrument):
                set_to = {"channel": channel, "control": control, "value": value}
                timed.append((0, 0, mido.Message("control_change", **set_to)))
        for note in notes:
            at = {"channel": channel_of[note.instrument], "note": note.key}
            on = mido.Message("note_on", velocity=note.velocity, **at)
            timed.append((note.start - start, 2, on))
            timed.append((note.end - start, 1, mido.Message("note_off", **at)))
        timed.sort(key=lambda event: event[:2])
        end = timed[-1][0] + round(TAIL_S * RATE)
        try:
            wav = midirenderer.render_wave_from(self._bank, _file(timed, end))
        except BaseException as error:
            # A panic of its Rust code is a BaseException, whose class cannot be imported.
            known = isinstance(error, (RuntimeError, ValueError))
            if not known and type(error).__name__ != "PanicException":
                raise
            raise SoundError(f"the synthesiser refuses the sound bank: {error}") from error
        sound = np.frombuffer(wav, np.int16, offset=WAV_HEADER_BYTES).reshape(-1, 2)
        return sound * np.float32(1 / 32768)

    def _controls(self, instrument: tuple[int, int]) -> list[tuple[int, int]]:
        """(controller, value) of an instrument's channel.

        The synthesiser clips, so that several instruments get less volume each: n of them are about
        as loud as one if each has 1/sqrt(n) of its gain, which is the fourth root for the volume.
        """
        count = len(self._instruments)
        side = 2 * self._instruments.index(instrument) / (count - 1) - 1 if count > 1 else 0.0
        volume = round(LOUDEST * count**-0.25)
        return [(VOLUME, volume), (PAN, PAN_CENTRE + round(PAN_WIDTH * side)), (REVERB, 0)]


def _read(midi: bytes) -> tuple[list[_Note], int]:
    """The notes of a MIDI file in order of time, and its length in frames."""
    notes: list[_Note] = []
    programs = [0] * 16
    sounding: dict[tuple[int, int], deque[tuple[int, int, tuple[int, int]]]] = {}
    seconds = 0.0

    def stop(channel: int, key: int) -> None:
        started = sounding.get((channel, key))
        if started:  # of several notes on one key the oldest ends
            start, velocity, instrument = started.popleft()
            end = min(max(now, start + 1), start + LONGEST_NOTE_S * RATE)
            notes.append(_Note(start, end, instrument, key, velocity))

    now = 0
    for message in mido.MidiFile(file=io.BytesIO(midi)):
        seconds += message.time
        now = round(seconds * RATE)
        if message.type == "program_change":
            programs[message.channel] = message.program
        elif message.type == "note_on" and message.velocity:
            instrument = (message.channel, programs[message.channel])
            begun = (now, message.velocity, instrument)
            sounding.setdefault((message.channel, message.note), deque()).append(begun)
        elif message.type in ("note_on", "note_off"):
            stop(message.channel, message.note)
    for (channel, key), started in sounding.items():
        for _ in range(len(started)):
            stop(channel, key)
    return sorted(notes), now


def _file(timed: Sequence[tuple[int, int, mido.Message]], end: int) -> bytes:
    """A MIDI file of (tick, order, message), whose end is at tick `end`."""
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=MICROSECONDS_PER_QUARTER)])
    now = 0
    for tick, _, message in timed:
        track.append(message.copy(time=tick - now))
        now = tick
    track.append(mido.MetaMessage("end_of_track", time=end - now))
    file = mido.MidiFile(type=0, ticks_per_beat=TICKS_PER_QUARTER)
    file.tracks.append(track)
    out = io.BytesIO()
    file.save(file=out)
    return out.getvalue()
