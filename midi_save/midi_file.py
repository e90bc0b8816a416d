"""Reads the bytes of a MIDI file as players do, and says in words what it had to repair.

symusic's reader refuses, or loses without an error, what players play: notes that never end, a
wrong length of a chunk, a missing last byte, running status after other messages. This reader
implements the MIDI 1.0 file format and the drum channels of GM, GM2, GS and XG. Depends on neither
the file system nor tokens.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from symusic.core import NoteTickList, ScoreTick, TempoTick, TimeSignatureTick, TrackTick

CHANNELS, DRUM_CHANNEL = 16, 9  # channels count from 0; 9 is General MIDI's drum channel
DRUM_BANKS = (120, 126, 127)  # of GM2, and of XG: its kits of effects, and of drums
LAST_TICK = 1 << 30  # symusic's ticks have 32 bits
HEADER = ((4, 8), (8, 10), (12, 14))  # where its length, the file's type and the division are
NOTE_OFF, NOTE_ON, CONTROL_CHANGE, PROGRAM_CHANGE = 0x80, 0x90, 0xB0, 0xC0
ONE_BYTE = (PROGRAM_CHANGE, 0xD0)
SYSTEM, SYSTEM_EXCLUSIVE, META = 0xF0, (0xF0, 0xF7), 0xFF
SYSTEM_DATA = {0xF1: 1, 0xF2: 2, 0xF3: 1}  # bytes of data behind system messages; others: none
BANK_SELECT = 0
SILENCING = (120, *range(123, 128))  # controllers that end all notes of their channel
END_OF_TRACK, TEMPO, TIME_SIGNATURE = 0x2F, 0x51, 0x58
METRE_PASSED_OVER = "a metre that has no bars was passed over"


class UnreadableMidiError(ValueError):
    """The bytes cannot be read as music; the message gives the reason in a few words."""


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
        """Read one track, which begins at ``tick``. Notes still sounding at its end end there."""
        position, status, size, cancelled = 0, 0, len(data), False
        programs = [0] * CHANNELS
        # of each channel: pitch -> the notes begun
        sounding: list[dict[int, deque[tuple[int, int, int]]]] = [{} for _ in range(CHANNELS)]
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
                    position, cancelled = begin + length, True
                    continue
                if byte in SYSTEM_EXCLUSIVE:
                    length, begin = _number(data, position + 1)
                    self._system_exclusive(data[begin : begin + length])
                    position, cancelled = begin + length, True
                    continue
                # A status byte has its high bit set. An event without one has the status of the
                # event before (running status). MIDI cancels it at other messages, but players let
                # it continue, and so does this reader.
                if byte >= SYSTEM or not (status or byte & 0x80):
                    # A system message, which has no place in a file, or data before any status.
                    self.repairs.add("an event that means nothing was passed over")
                    position += 1 + SYSTEM_DATA.get(byte, 0)
                    continue
                if byte & 0x80:
                    status, cancelled = byte, False
                    position += 1
                elif cancelled:
                    self.repairs.add("running status was continued after another message")
                event, channel = status & 0xF0, status & 0x0F
                first = data[position]
                second = 0 if event in ONE_BYTE else data[position + 1]
                position += 1 if event in ONE_BYTE else 2
                # The status byte again, in the place of data: this event breaks off and the next
                # one begins. Continue with the data behind that status byte.
                if status in (first, second):
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
                    sounding[channel].setdefault(first, deque()).append(begun)
                elif event in (NOTE_ON, NOTE_OFF):
                    struck = sounding[channel].get(first)
                    if struck:  # of several notes on one key the oldest ends
                        self._note(channel, first, struck.popleft(), tick)
                elif event == PROGRAM_CHANGE:
                    programs[channel] = first
                elif event == CONTROL_CHANGE and first == BANK_SELECT:
                    if second in DRUM_BANKS:
                        self._drums.add(channel)
                    elif channel != DRUM_CHANNEL:
                        self._drums.discard(channel)
                elif event == CONTROL_CHANGE and first in SILENCING:
                    self._end(channel, sounding[channel], tick)
        except IndexError:  # the bytes end within an event
            self.repairs.add("a track that breaks off was read up to there")
        if position > size:  # its last message says that it is longer than what is left
            self.repairs.add("a track that breaks off was read up to there")
        self.last_tick = max(self.last_tick, tick)
        for channel, notes in enumerate(sounding):
            if self._end(channel, notes, tick):
                self.repairs.add("a note without an end lasts until its next stroke or the end")

    def _end(self, channel: int, notes: dict[int, deque[tuple[int, int, int]]], tick: int) -> bool:
        """End all notes of a channel; whether there were any."""
        any_struck = any(notes.values())
        for pitch, struck in notes.items():
            for begun in struck:
                self._note(channel, pitch, begun, tick)
        notes.clear()
        return any_struck

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
        elif kind == TIME_SIGNATURE:
            if len(content) >= 2 and content[0] and content[1] < 8:  # up to 1/128
                self.metres.append((tick, content[0], 1 << content[1]))
            else:
                self.repairs.add(METRE_PASSED_OVER)

    def _system_exclusive(self, content: bytes) -> None:
        """Read what makes a part one for drums, in ``content``, which begins after F0.

        Roland's GS: F0 41 .. 42 12 40 1n 15 mm sum F7. Yamaha's XG: F0 43 .. 4C 08 nn 07 mm F7. n
        is the part, and mm is 0 if the part is not for drums.
        """
        if content[:1] == b"\x43" and content[2:4] == b"\x4c\x08" and len(content) > 6:
            part, address, mode = content[4:7]
            if part < CHANNELS and address == 0x07:
                (self._drums.add if mode else self._drums.discard)(part)
        if content[:1] == b"\x41" and content[2:5] == b"\x42\x12\x40" and len(content) > 7:
            block, address, use = content[5:8]
            if block >> 4 == 1 and address == 0x15:
                # Part 0 is channel 10, parts 1 to 9 are channels 1 to 9, the others 11 to 16.
                number = block & 0x0F
                channel = DRUM_CHANNEL if number == 0 else number - (number <= DRUM_CHANNEL)
                (self._drums.add if use else self._drums.discard)(channel)


def _number(data: bytes, position: int) -> tuple[int, int]:
    """A variable-length number (7 bits a byte, the last without 0x80) and the position after it.

    Numbers beyond LAST_TICK, which no file needs, are only known to be beyond it: with all of its
    bits, a number as long as the file would take minutes.
    """
    value = 0
    while (byte := data[position]) & 0x80:
        value = min(value << 7 | byte & 0x7F, LAST_TICK)
        position += 1
    return value << 7 | byte, position + 1


def read_midi(midi: bytes) -> tuple[ScoreTick, tuple[str, ...]]:
    """The score in a file, and its repairs in words.

    The tracks of a file of type 2 are separate pieces; in the score they follow one another.

    Raises:
        UnreadableMidiError: the bytes are not a MIDI file, or one whose time is not in beats.
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
    if not 0 < division < 0x8000:  # the high bit means SMPTE time, in frames a second
        raise UnreadableMidiError("time is not counted in beats")
    if header_size != 6:
        repairs.add("a header of another length")
    reader, position = _Reader(), 8 + max(header_size, 6)
    if not midi[position : position + 4].isalpha():  # its length is wrong: no chunk begins there
        position = max(14, midi.find(b"MTrk"))
    while position + 8 <= len(midi):
        name, size = midi[position : position + 4], midi[position + 4 : position + 8]
        position += 8
        end = position + int.from_bytes(size, "big")
        if name == b"MThd":
            repairs.add("another file behind the first was left out")
            break
        # After a chunk the file ends, or a chunk begins with a name of letters. Otherwise the
        # length is wrong, or this is no chunk, and what comes next is the next track.
        if end != len(midi) and not midi[end : end + 4].isalpha():
            found = midi.find(b"MTrk", position if name == b"MTrk" else position - 7)
            end = found if found >= 0 else len(midi)
            if name == b"MTrk" or found >= 0:
                repairs.add("a track of another length than it says")
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
