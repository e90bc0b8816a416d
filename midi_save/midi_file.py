"""Reads the bytes of a MIDI file as players do, and says in words what it had to mend.

symusic's reader refuses or silently loses what players play: notes that never end, a wrong length
of a chunk, a missing last byte, running status after other messages. Knows the MIDI 1.0 file format
and the drum channels of GM, GM2, GS and XG; not what the notes are used for.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from symusic.core import NoteTickList, ScoreTick, TempoTick, TimeSignatureTick, TrackTick

CHANNELS, DRUM_CHANNEL = 16, 9  # counted from 0; General MIDI's for drums
DRUM_BANKS = (120, 127)  # of GM2 and XG
LAST_TICK = 1 << 30  # symusic's ticks have 32 bits
HEADER = ((4, 8), (8, 10), (12, 14))  # bytes of its length, the file's type and the division
NOTE_OFF, NOTE_ON, CONTROL_CHANGE, PROGRAM_CHANGE = 0x80, 0x90, 0xB0, 0xC0
ONE_BYTE = (PROGRAM_CHANGE, 0xD0)
SYSTEM, SYSTEM_EXCLUSIVE, META = 0xF0, (0xF0, 0xF7), 0xFF
BANK_SELECT = 0
END_OF_TRACK, TEMPO, TIME_SIGNATURE = 0x2F, 0x51, 0x58


class UnreadableMidiError(ValueError):
    """These bytes are no music that could be read; the message is the reason, in a few words."""


class _Reader:
    """Collects the notes of all tracks by channel, program and whether they are drums."""

    def __init__(self) -> None:
        self.repairs: set[str] = set()
        self.tempos: list[tuple[int, float]] = []
        self.metres: list[tuple[int, int, int]] = []
        self.parts: dict[tuple[int, int, bool], list[tuple[int, int, int, int]]] = {}
        self.last_tick = 0
        self._drums = {DRUM_CHANNEL}

    def track(self, data: bytes, tick: int = 0) -> None:
        """All events of one track, which begins at ``tick``. What still sounds ends with it."""
        position, status, size = 0, 0, len(data)
        programs = [0] * CHANNELS
        sounding: dict[tuple[int, int], deque[tuple[int, int, int]]] = {}
        try:
            while position < size:
                delta, position = _number(data, position)
                tick += delta
                if tick > LAST_TICK:
                    raise UnreadableMidiError("it lasts longer than 30 bits of ticks")
                byte = data[position]
                if byte == META:
                    length, begin = _number(data, position + 2)
                    if data[position + 1] == END_OF_TRACK:
                        break
                    self._meta(data[position + 1], data[begin : begin + length], tick)
                    position = begin + length
                    continue
                if byte in SYSTEM_EXCLUSIVE:
                    length, begin = _number(data, position + 1)
                    self._system_exclusive(data[begin : begin + length])
                    position = begin + length
                    continue
                if byte & 0x80:  # else the status before goes on, as players let it
                    status = byte
                    position += 1
                if not 0x80 <= status < SYSTEM:
                    status = 0
                    self.repairs.add("an event that means nothing was passed over")
                    position += not byte & 0x80
                    continue
                event, channel = status & 0xF0, status & 0x0F
                first = data[position]
                second = 0 if event in ONE_BYTE else data[position + 1]
                position += 1 if event in ONE_BYTE else 2
                if status in (first, second):  # an event breaks off; the next one begins at once
                    self.repairs.add("an event that breaks off was passed over")
                    position -= second != status and event not in ONE_BYTE
                    first = data[position]
                    second = 0 if event in ONE_BYTE else data[position + 1]
                    position += 1 if event in ONE_BYTE else 2
                if (first | second) & 0x80:
                    self.repairs.add("a value over 127 was taken for 127")
                    first, second = min(first, 127), min(second, 127)
                if event == NOTE_ON and second:
                    begun = (tick, second, programs[channel])
                    sounding.setdefault((channel, first), deque()).append(begun)
                elif event in (NOTE_ON, NOTE_OFF):
                    struck = sounding.get((channel, first))
                    if struck:
                        self._note(channel, first, struck.popleft(), tick)
                elif event == PROGRAM_CHANGE:
                    programs[channel] = first
                elif event == CONTROL_CHANGE and first == BANK_SELECT:
                    if second in DRUM_BANKS:
                        self._drums.add(channel)
                    elif channel != DRUM_CHANNEL:
                        self._drums.discard(channel)
        except IndexError:
            self.repairs.add("a track that breaks off was read up to there")
        self.last_tick = max(self.last_tick, tick)
        for (channel, pitch), struck in sounding.items():
            for begun in struck:
                self.repairs.add("a note without an end lasts until its next stroke or the end")
                self._note(channel, pitch, begun, tick)

    def _note(self, channel: int, pitch: int, begun: tuple[int, int, int], end: int) -> None:
        tick, velocity, program = begun
        part = self.parts.setdefault((channel, program, channel in self._drums), [])
        part.append((tick, end - tick, pitch, velocity))

    def _meta(self, kind: int, content: bytes, tick: int) -> None:
        if kind == TEMPO:
            microseconds = int.from_bytes(content[:3], "big")
            if len(content) >= 3 and microseconds:
                self.tempos.append((tick, 60e6 / microseconds))
            else:
                self.repairs.add("a tempo of 0 was passed over")
        elif kind == TIME_SIGNATURE and len(content) >= 2 and content[1] < 8:  # up to 1/128
            self.metres.append((tick, content[0], 1 << content[1]))

    def _system_exclusive(self, content: bytes) -> None:
        """Roland's "use for rhythm part", F0 41 .. 42 12 40 1n 15 mm sum F7."""
        if content[:1] == b"\x41" and content[2:5] == b"\x42\x12\x40" and len(content) > 7:
            block, address, use = content[5:8]
            if block >> 4 == 1 and address == 0x15:
                number = block & 0x0F  # of the part: 0 is channel 10
                channel = DRUM_CHANNEL if number == 0 else number - (number <= DRUM_CHANNEL)
                (self._drums.add if use else self._drums.discard)(channel)


def _number(data: bytes, position: int) -> tuple[int, int]:
    """A number of variable length, and where what comes after it begins."""
    value = 0
    while (byte := data[position]) & 0x80:
        value = value << 7 | byte & 0x7F
        position += 1
    return value << 7 | byte, position + 1


def read_midi(midi: bytes) -> tuple[ScoreTick, tuple[str, ...]]:
    """The score in a file, and in words what had to be mended.

    Tracks of a file of type 2, which are pieces of their own, come one after another.

    Raises:
        UnreadableMidiError: not a MIDI file, or one without beats.
    """
    repairs: set[str] = set()
    if midi[:4] == b"RIFF":
        begin = midi.find(b"MThd")
        if begin < 0:
            raise UnreadableMidiError("a RIFF file without MIDI in it")
        midi = midi[begin:]
        repairs.add("taken out of a RIFF file")
    if midi[:4] != b"MThd":
        raise UnreadableMidiError("not a MIDI file")
    if len(midi) < 14:
        raise UnreadableMidiError("it ends within its header")
    header_size, kind, division = (int.from_bytes(midi[a:b], "big") for a, b in HEADER)
    if not 0 < division < 0x8000:
        raise UnreadableMidiError("time is not counted in beats")
    if header_size != 6:
        repairs.add("a header of another length")
    reader, position = _Reader(), 8 + max(header_size, 6)
    while position + 8 <= len(midi):
        name, size = midi[position : position + 4], midi[position + 4 : position + 8]
        position += 8
        end = position + int.from_bytes(size, "big")
        # Behind a track comes a chunk with a name of letters, or nothing; else its length is wrong.
        if name == b"MTrk" and end != len(midi) and not midi[end : end + 4].isalpha():
            repairs.add("a track of another length than it says")
            found = midi.find(b"MTrk", position)
            end = found if found >= 0 else len(midi)
        if name == b"MTrk":
            reader.track(midi[position:end], reader.last_tick if kind == 2 else 0)
        position = end
    return _score(reader, division), tuple(sorted(repairs | reader.repairs))


def _score(reader: _Reader, division: int) -> ScoreTick:
    score = ScoreTick(division)
    for (_, program, is_drum), notes in sorted(reader.parts.items()):
        track = TrackTick("", program, is_drum)
        columns = np.array(sorted(notes), np.int32).T
        track.notes = NoteTickList.from_numpy(
            columns[0], columns[1], columns[2].astype(np.int8), columns[3].astype(np.int8)
        )
        score.tracks.append(track)
    for tick, qpm in sorted(reader.tempos, key=lambda tempo: tempo[0]):
        score.tempos.append(TempoTick(tick, qpm))
    for metre in sorted(reader.metres, key=lambda metre: metre[0]):
        score.time_signatures.append(TimeSignatureTick(*metre))
    return score
