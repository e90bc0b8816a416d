"""The state of the music after each token: bar, position, program, tick, sounding pitches.

One module for both sides: training reads the model's state inputs off it (`inputs.py`), and the
sampler reads its inputs and the grammar mask off it, so that the two cannot drift. It knows what
the tokens mean and nothing about models, sampling or files.

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
LONG_AGO_BARS = 17  # the class of bars that have a beginning or an end nowhere near


def bar_class(bars: int) -> int:
    """0 for none, 1 to 4 for as many, 5 for up to 8, 6 for up to 16, 7 for more."""
    return bars if bars <= 4 else min(7, 2 + (bars - 1).bit_length())


_CLASSES = tuple(map(bar_class, range(LONG_AGO_BARS + 1)))


def form_of(begun: int, left: int) -> int:
    """Where in the piece: bars begun so far, and bars left with this one (0: not known)."""
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
        # seconds of one tick at 1 quarter note a minute: a beat is 4/denominator quarters
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
        # miditok numbers programs in no order, but writes a chord's in ascending order
        self.program_ids = sorted(range(*self.ranges[PROGRAM]), key=self.value.__getitem__)
        self.programs = len(self.program_ids)
        self.program_rank = {token: rank for rank, token in enumerate(self.program_ids)}


def _value(kind: str, value: str) -> float:
    """Pitch, program and position as numbers; durations and bars in ticks; tempo in bpm."""
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
    """Follows one sequence of ids; every attribute is known from the tokens so far alone.

    Attributes:
        kind: type of the last token (an index into ``KINDS``).
        tick: ticks since the first bar line; ``bar_tick`` that of the current bar's start.
        position: ticks into the bar, -1 before the bar's first Position token.
        bar_ticks: length of the bar.
        program: rank of the current program among the vocabulary's by General MIDI number,
            ``vocabulary.programs`` before the first.
        last_program, last_pitch: highest program rank and pitch id at this position so far
            (the order in which the tokenizer writes chords); -1 where none.
        sounding: bit ``p - lowest_pitch`` is set for every pitch p that sounds at ``tick``.
        bars_before: bars that count as begun before the first, for music that goes on from other.
        tick_quarters: quarter notes in a tick.
        qpm: quarter notes a minute; 0 before the first Tempo.
        seconds_per_tick: 0 before the first Tempo.
        seconds: time at ``tick``; ``end_s`` the end of the longest-held note.
        notes, bars: how many of each so far; ``empty_bars`` how many bars in a row end without one.
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
        """Forgets tempo, program and sounding notes, as a piece that starts here must.

        The tick goes on, so that what came before stays at its distance for the model.
        """
        self.position = -1
        self.program = self.vocabulary.programs
        self.last_program = self.last_pitch = self._pitch = -1
        self.sounding = 0
        self.sounding_by_program: dict[int, int] = {}
        self._ends: list[tuple[int, int, int]] = []  # (end tick, program, pitch bit)
        self._next_end = 1 << 60
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
        """Bars until the one whose end is nearest to ``duration_s``, this one included.

        None before the tempo is known; 0 and less after that bar.
        """
        bar_s = self.bar_ticks * self.seconds_per_tick
        if not bar_s:
            return None
        bar_start_s = self.seconds - (self.tick - self.bar_tick) * self.seconds_per_tick
        return math.floor((duration_s - bar_start_s) / bar_s + 0.5 + 1e-6)  # sums of floats

    def _count_in(self, tick_quarters: float) -> None:
        """Notes that are held over a change of the beat end when they would have ended."""
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
        self.seconds += (tick - self.tick) * self.seconds_per_tick
        self.tick = tick
        if tick < self._next_end:
            return
        self._ends = [end for end in self._ends if end[0] > tick]
        self._next_end = min((end[0] for end in self._ends), default=1 << 60)
        self.sounding = 0
        self.sounding_by_program = {}
        for _, program, bit in self._ends:
            self.sounding |= bit
            self.sounding_by_program[program] = self.sounding_by_program.get(program, 0) | bit

    def _sound(self, duration_ticks: int) -> None:
        bit = 1 << (self._pitch - self.vocabulary.ranges[PITCH][0])
        end = self.tick + duration_ticks
        self._ends.append((end, self.program, bit))
        self._next_end = min(self._next_end, end)
        self.sounding |= bit
        self.sounding_by_program[self.program] = self.sounding_by_program.get(self.program, 0) | bit
        self.end_s = max(self.end_s, self.seconds + duration_ticks * self.seconds_per_tick)
        self.notes += 1
