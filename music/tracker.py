"""The state of the music after each token: bar, position, program, tick, sounding pitches.

Training and sampling share this module: both compute the model's inputs from it (`inputs.py`), and
the sampler its grammar mask, so that the two cannot disagree. Depends on neither models, sampling
nor files.

Units: a *tick* is 1/12 of a beat, and a beat is one unit of the metre's denominator (a 6/8 bar has
72 ticks), as miditok's REMI counts positions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

KINDS = (
    "PAD",
    "BOS",
    "EOS",
    "Style",
    "Bar",
    "TimeSig",
    "Position",
    "Tempo",
    "Program",
    "Pitch",
    "Duration",
)
PAD, BOS, EOS, STYLE, BAR, TIMESIG, POSITION, TEMPO, PROGRAM, PITCH, DURATION = range(len(KINDS))

TICKS_PER_BEAT = 12
MAX_POSITIONS = 144  # a 12/8 bar, the longest of the tokenizer's metres
BAR_CLASSES = 8
FORMS = BAR_CLASSES**2
LONG_AGO_BARS = 17  # so many bars or more are in the last class: beginning or end is far away


def bar_class(bars: int) -> int:
    """The class of a number of bars: 0 to 4 as they are, 5 up to 8, 6 up to 16, 7 for more."""
    # (bars - 1).bit_length() is 3 from 5 to 8 bars, and 4 from 9 to 16.
    return bars if bars <= 4 else min(7, 2 + (bars - 1).bit_length())


_CLASSES = tuple(map(bar_class, range(LONG_AGO_BARS + 1)))


def form_of(begun: int, left: int) -> int:
    """The place in the piece, as one number below `FORMS`.

    It is made of the classes of the bars begun so far and of the bars left, this one included (0 if
    not known). Example: 3 begun (class 3) and 6 left (class 5) are 8 * 3 + 5 = 29.
    """
    far = LONG_AGO_BARS
    return BAR_CLASSES * _CLASSES[min(begun, far)] + _CLASSES[min(left, far)]


class Vocabulary:
    """What each id means, as plain lists for fast look-up.

    Args:
        entries: ``(type, value)`` per id, as miditok writes them: ``("Pitch", "60")``,
            ``("Duration", "1.6.12")``, ``("TimeSig", "3/4")``.

    Raises:
        ValueError: an unknown type, or ids of one type that are not adjacent and ascending.
    """

    def __init__(self, entries: Sequence[tuple[str, str]]) -> None:
        self.size = len(entries)
        self.entries = entries
        unknown = {kind for kind, _ in entries} - set(KINDS)
        if unknown:
            raise ValueError(f"token types this code does not know: {sorted(unknown)}")
        self.kind = [KINDS.index(kind) for kind, _ in entries]
        self.value = [_value(kind, value) for kind, value in entries]
        # By id of a TimeSig, the quarter notes in a tick: a beat is 4/denominator quarter notes.
        self.tick_quarters = [
            4 / int(value.split("/")[1]) / TICKS_PER_BEAT if kind == "TimeSig" else 0.0
            for kind, value in entries
        ]
        self.ranges: dict[int, tuple[int, int]] = {}
        for kind in range(len(KINDS)):
            ids = [i for i, k in enumerate(self.kind) if k == kind]
            if not ids:
                continue
            values = [self.value[i] for i in ids]
            if ids != list(range(ids[0], ids[0] + len(ids))):
                raise ValueError(f"the ids of {KINDS[kind]} are not adjacent")
            if kind in (POSITION, PITCH) and values != sorted(values):
                raise ValueError(f"the ids of {KINDS[kind]} are not in ascending order")
            self.ranges[kind] = (ids[0], ids[-1] + 1)
        self.lowest_pitch = int(self.value[self.ranges[PITCH][0]])
        self.pitches = self.ranges[PITCH][1] - self.ranges[PITCH][0]
        # miditok numbers program ids in no order, but writes the programs of a chord in ascending
        # order. So a program is known by its rank, and `program_ids` is sorted by program.
        self.program_ids = sorted(range(*self.ranges[PROGRAM]), key=self.value.__getitem__)
        self.programs = len(self.program_ids)
        self.program_rank = {token: rank for rank, token in enumerate(self.program_ids)}


def _value(kind: str, value: str) -> float:
    """The value of a token as a number: durations and bars in ticks, tempi in quarters a minute.

    A duration is written ``beats.parts.resolution``: "1.6.12", 1 6/12 beats, has 18 ticks.
    """
    if kind == "Duration":
        beats, parts, resolution = map(int, value.split("."))
        return (beats * resolution + parts) * TICKS_PER_BEAT // resolution
    if kind == "TimeSig":
        return int(value.split("/", maxsplit=1)[0]) * TICKS_PER_BEAT
    if kind == "Tempo":
        return float(value)
    if kind in ("Pitch", "Program", "Position"):
        return int(value)
    return 0


class MusicState:
    """Follows one sequence of ids. Every attribute depends on the tokens so far alone.

    Attributes:
        kind: type of the last token (an index into ``KINDS``).
        tick: ticks since the first bar line; ``bar_tick`` is the tick of the current bar line.
        position: ticks into the bar, -1 before the bar's first Position token.
        bar_ticks: length of the bar.
        program: rank of the current program among the vocabulary's, which are sorted by General
            MIDI number; ``vocabulary.programs`` before the first.
        last_program, last_pitch: the last program rank and pitch id at this position, which are the
            highest, since the tokenizer writes chords in ascending order; -1 if none.
        sounding: bit ``p - lowest_pitch`` is set for every pitch p that sounds at ``tick``.
        sounding_by_program: the same bits, by program rank.
        bars_before: bars that count as begun before the first; not 0 if the music continues other
            music.
        tick_quarters: quarter notes in a tick.
        qpm: quarter notes a minute; 0 before the first Tempo.
        seconds_per_tick: 0 before the first Tempo.
        seconds: time at ``tick``; ``end_s`` the end of the longest-held note.
        notes, bars: how many of each so far.
        empty_bars: how many bars in a row, up to the current one, ended without a note.
    """

    __slots__ = (
        "_ends",
        "_next_end",
        "_pitch",
        "bar_tick",
        "bar_ticks",
        "bars",
        "bars_before",
        "empty_bars",
        "end_s",
        "kind",
        "last_pitch",
        "last_program",
        "notes",
        "position",
        "program",
        "qpm",
        "seconds",
        "seconds_per_tick",
        "sounding",
        "sounding_by_program",
        "tick",
        "tick_quarters",
        "vocabulary",
    )

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.kind = PAD
        self.tick = self.bar_tick = self.bars = self.bars_before = 0
        self.bar_ticks = 4 * TICKS_PER_BEAT
        self.tick_quarters = 1 / TICKS_PER_BEAT
        self.begin_piece()

    def begin_piece(self) -> None:
        """Starts a new piece here: forgets tempo, program and sounding notes.

        The tick continues, so that the music before keeps its distance for the model.
        """
        self.position = -1
        self.program = self.vocabulary.programs
        self.last_program = self.last_pitch = self._pitch = -1
        self.sounding = 0
        self.sounding_by_program: dict[int, int] = {}
        self._ends: list[tuple[int, int, int]] = []  # (end tick, program, pitch bit)
        self._next_end = 1 << 60  # the first end's tick; beyond all ticks if nothing sounds
        self.qpm = self.seconds = self.end_s = self.seconds_per_tick = 0.0
        self.notes = self.empty_bars = 0

    def step(self, token: int) -> None:
        """Takes the next id of the sequence."""
        vocabulary = self.vocabulary
        kind = self.kind = vocabulary.kind[token]
        if kind == PITCH:
            self._pitch = token
            self.last_pitch = token
            self.last_program = self.program
        elif kind == DURATION:
            self._sound(int(vocabulary.value[token]))
        elif kind == POSITION:
            self.position = int(vocabulary.value[token])
            self.last_program = self.last_pitch = -1
            self._advance(self.bar_tick + self.position)
        elif kind == PROGRAM:
            self.program = vocabulary.program_rank[token]
            self.last_pitch = -1
        elif kind == BAR:
            if self.bars:
                self.bar_tick += self.bar_ticks
                self.empty_bars = self.empty_bars + 1 if self.position < 0 else 0
            self.bars += 1
            self.position = -1
            self.last_program = self.last_pitch = -1
            self._advance(self.bar_tick)
        elif kind == TIMESIG:
            self.bar_ticks = int(vocabulary.value[token])
            self._count_in(vocabulary.tick_quarters[token])
            self._set_speed()
        elif kind == TEMPO:
            self.qpm = vocabulary.value[token]
            self._set_speed()

    def bars_left(self, duration_s: float) -> int | None:
        """How many bars are left, this one included, if the piece ends near ``duration_s``.

        The last bar is the one whose end is nearest to ``duration_s``. None before the tempo is
        known; 0 or less after the last bar.

        Example: a piece of 10.5 s has bars of 2 s, and the present bar begins at 8 s. The 2.5 s
        ahead are 1.25 bars: 1 bar is left, and the piece ends at 10 s.
        """
        bar_s = self.bar_ticks * self.seconds_per_tick
        if not bar_s:
            return None
        bar_start_s = self.seconds - (self.tick - self.bar_tick) * self.seconds_per_tick
        # 1e-6: the sums of floats may be a little too small, and a half must still be rounded up.
        return math.floor((duration_s - bar_start_s) / bar_s + 0.5 + 1e-6)

    def _count_in(self, tick_quarters: float) -> None:
        """Changes the length of a tick, but not when the notes that sound now will end.

        Example: from 4/4 to 6/8 a tick becomes half as long, and 6 ticks to go become 12.
        """
        scale = self.tick_quarters / tick_quarters
        self.tick_quarters = tick_quarters
        if scale != 1 and self._ends:
            self._ends = [
                (self.tick + round((end - self.tick) * scale), program, bit)
                for end, program, bit in self._ends
            ]
            self._next_end = min(end[0] for end in self._ends)

    def _set_speed(self) -> None:
        self.seconds_per_tick = 60 / self.qpm * self.tick_quarters if self.qpm else 0.0

    def _advance(self, tick: int) -> None:
        # Moves to a tick, and drops the notes that have ended by then.
        self.seconds += (tick - self.tick) * self.seconds_per_tick
        self.tick = tick
        if tick < self._next_end:
            return  # no note has ended: what sounds is unchanged
        self._ends = [end for end in self._ends if end[0] > tick]
        self._next_end = min((end[0] for end in self._ends), default=1 << 60)
        self.sounding = 0
        self.sounding_by_program = {}
        for _, program, bit in self._ends:
            self.sounding |= bit
            self.sounding_by_program[program] = self.sounding_by_program.get(program, 0) | bit

    def _sound(self, duration_ticks: int) -> None:
        # Strikes the last pitch at the present tick, for ``duration_ticks``.
        bit = 1 << (self._pitch - self.vocabulary.ranges[PITCH][0])
        end = self.tick + duration_ticks
        self._ends.append((end, self.program, bit))
        self._next_end = min(self._next_end, end)
        self.sounding |= bit
        self.sounding_by_program[self.program] = self.sounding_by_program.get(self.program, 0) | bit
        self.end_s = max(self.end_s, self.seconds + duration_ticks * self.seconds_per_tick)
        self.notes += 1
