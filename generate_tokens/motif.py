"""Yesterday's opening motif, taken up by today's piece.

A motif is the melody of the first bars of a piece. Today's piece begins with an idea of its own
and then answers with yesterday's, as each stanza of a terza rima takes up a rhyme of the one
before: so the series hangs together, and no day's state reaches the next. Only the melody is
given, in an instrument and a register of today's; what is around it is the model's. Knows ids and
bars; not where yesterday's piece was kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from music.tracker import (
    BAR,
    DURATION,
    EOS,
    PITCH,
    POSITION,
    PROGRAM,
    TIMESIG,
    MusicState,
    Vocabulary,
)

BARS, MOST_BARS = 2, 4  # of a motif; more than two only of so few notes
FEWEST_NOTES, MOST_NOTES = 5, 32
PLACES = range(2, 7)  # bars of the piece in which the motif may begin, the first is 0
COVERED = 8.0  # nats that pitches lose which would cover the motif, or are kept for its next notes
_OCTAVE = 12
_RANGE_WEIGHT = 0.02  # of a semitone of distance, beside the share of common pitch classes


@dataclass(frozen=True)
class Motif:
    """The melody of some bars.

    Attributes:
        metre: its metre, such as ``3/4``.
        notes: by bar, (tick in the bar, MIDI pitch, id of the duration), ascending.
    """

    metre: str
    notes: tuple[tuple[tuple[int, int, int], ...], ...]

    @property
    def pitches(self) -> list[int]:
        return [pitch for bar in self.notes for _, pitch, _ in bar]


def melody_of(ids: Sequence[int], vocabulary: Vocabulary) -> list[list[tuple[int, int, int]]]:
    """By bar the highest notes, each struck when nothing higher sounds: `Motif.notes`.

    ``ids`` are those behind BOS and style.
    """
    state = MusicState(vocabulary)
    bars: list[list[tuple[int, int, int]]] = []
    for token in ids:
        state.step(token)
        if state.kind == BAR:
            bars.append([])
        elif state.kind == DURATION and bars:
            pitch = int(vocabulary.value[state.last_pitch])
            if state.sounding.bit_length() - 1 > pitch - vocabulary.lowest_pitch:
                continue  # something higher sounds
            bar = bars[-1]
            if bar and bar[-1][0] == state.position:
                bar.pop()
            bar.append((state.position, pitch, token))
    return bars


def opening_of(ids: Sequence[int], vocabulary: Vocabulary) -> list[int]:
    """The bars of a piece that hold its motif, from its first on; empty where it has none.

    ``ids`` are those behind BOS and style; ending in EOS or not.
    """
    body = [i for i in ids if vocabulary.kind[i] != EOS]
    lines = [place for place, token in enumerate(body) if vocabulary.kind[token] == BAR]
    stop = [*lines, len(body)][_span(melody_of(body, vocabulary)).stop]
    return body[:stop] if motif_of(body[:stop], vocabulary) else []


def _span(melody: Sequence[Sequence[object]]) -> slice:
    """Which bars hold the motif."""
    first = next((number for number, bar in enumerate(melody) if bar), 0)
    stop = first + BARS
    while stop < first + MOST_BARS and sum(map(len, melody[first:stop])) < FEWEST_NOTES:
        stop += 1
    return slice(first, min(stop, len(melody)))


def motif_of(ids: Sequence[int], vocabulary: Vocabulary) -> Motif | None:
    """The melody of a piece's first bars, from its first note on; None where there is too little.

    ``ids`` are those behind BOS and style.
    """
    metres = [vocabulary.entries[i][1] for i in ids if vocabulary.kind[i] == TIMESIG]
    bars = melody_of(ids, vocabulary)
    span = _span(bars)
    notes = tuple(tuple(bar) for bar in bars[span])
    count = sum(map(len, notes))
    if not FEWEST_NOTES <= count <= MOST_NOTES or len(set(metres[: span.stop])) != 1:
        return None
    return Motif(metres[0], notes)


def place_for(lags: Sequence[int], bars: int) -> int | None:
    """The bar where a motif of so many bars begins: the first that are all new.

    ``lags`` are those of the piece's plan. None where the piece is too short for it.
    """
    places = [place for place in PLACES if place + bars < len(lags)]
    free = [place for place in places if not any(lags[place : place + bars])]
    return next(iter(free or places), None)


class MotifGuide:
    """Sees to it that the notes of a motif come in their bars; whatever else does is left alone.

    A sampled id that would pass by the motif's next note gives way to the id that leads to it.
    Ids of one position ascend by program and pitch, so passing by is a comparison.

    Args:
        place: bar of the sequence, from 0, in which the motif begins.
        metre: of today's piece. In another than the motif's, its pitches come in the rhythm of
            the piece's own first bars.
    """

    def __init__(self, vocabulary: Vocabulary, motif: Motif, place: int, metre: str) -> None:
        self._vocabulary = vocabulary
        self._motif, self._place, self._metre = motif, place, metre
        self._first_position = vocabulary.ranges[POSITION][0]
        self._first_pitch, self._end_pitch = vocabulary.ranges[PITCH]
        self._own: list[int] = []  # ids of the piece before the motif
        self._pending: list[tuple[int, int, int]] = []  # (tick, pitch id, duration id) of this bar
        self._bars: list[list[tuple[int, int, int]]] = []  # of the motif, as it will come
        self._program = -1
        self._came: list[int] = []  # pitch ids
        self.shift = 0  # semitones from yesterday's motif to today's
        self.highest = -1  # pitch id of the motif in force: nothing is to begin above it

    def step(self, token: int, state: MusicState) -> None:
        """Takes the next id of the piece and the state after it."""
        number = state.bars - 1 - self._place
        if number < 0:
            self._own.append(token)
            return
        if state.kind == BAR:
            if number == 0:
                self._fit(state)
            self._pending = list(self._bars[number]) if number < len(self._bars) else []
            self.highest = self._pending[0][1] if self._pending else -1
        elif state.kind == DURATION and self._pending:
            tick, pitch, _ = self._pending[0]
            if (state.position, state.last_pitch) == (tick, pitch):
                self._pending.pop(0)
                self._came.append(pitch)
                self.highest = pitch
        elif state.kind == POSITION:
            while self._pending and self._pending[0][0] < state.position:
                self._pending.pop(0)
            if self._pending and self._pending[0][0] == state.position:
                self.highest = self._pending[0][1]

    def covering(self, state: MusicState) -> Iterator[int]:
        """Pitch ids that would cover the motif, or keep its next notes from being struck."""
        if self.highest >= 0:
            yield from range(self.highest + 1, self._end_pitch)
        for tick, pitch, _ in self._pending:
            if tick != state.position:
                yield pitch

    def to_json(self) -> dict[str, Any] | None:
        """What a record says of it; None if no note of it came.

        The bar in which it begins, from 0, by how many semitones it was moved, and the MIDI pitches
        that came.
        """
        if not self._came:
            return None
        lowest = self._vocabulary.lowest_pitch - self._first_pitch
        pitches = [lowest + pitch for pitch in self._came]
        return {"bar": self._place, "shift": self.shift, "pitches": pitches}

    @property
    def active(self) -> bool:
        return bool(self._pending)

    def steer(self, token: int, state: MusicState, may: Callable[[int], bool]) -> int:
        """The sampled id, or the one that leads to the motif's next note that ``may`` follow."""
        for note in self._pending:
            led = self._leading_to(note, token, state)
            if led == token or may(led):
                return led
        return token

    def _leading_to(self, note: tuple[int, int, int], token: int, state: MusicState) -> int:
        """The id, or where it would pass by the note the one that leads there."""
        tick, pitch, duration = note
        vocabulary, kind = self._vocabulary, self._vocabulary.kind[token]
        if state.kind == PITCH:
            here = (state.position, state.last_pitch, state.program) == (tick, pitch, self._program)
            return duration if here else token
        if state.position < tick:
            passes = kind in (BAR, EOS) or (kind == POSITION and vocabulary.value[token] > tick)
            return self._first_position + tick if passes else token
        if kind == PROGRAM:
            passes = vocabulary.program_rank[token] > self._program
        elif kind == PITCH:
            passes = (state.program, token) > (self._program, pitch)
        else:
            passes = kind in (BAR, EOS, POSITION)
        if not passes:
            return token
        return pitch if state.program == self._program else vocabulary.program_ids[self._program]

    def _fit(self, state: MusicState) -> None:
        """Puts the motif into the instrument, register and key of the piece so far."""
        vocabulary, motif = self._vocabulary, self._motif
        melody = melody_of(self._own, vocabulary)
        self._program, classes = self._heard()
        own = [pitch for bar in melody for _, pitch, _ in bar]
        pitches = np.array(motif.pitches)
        lowest, highest = vocabulary.lowest_pitch, vocabulary.lowest_pitch + vocabulary.pitches - 1
        centre = float(np.mean(own)) if own else float(pitches.mean())

        def fit(shift: int) -> float:
            moved = pitches + shift
            if moved.min() < lowest or moved.max() > highest:
                return -np.inf
            return float(classes[moved % 12].mean() - _RANGE_WEIGHT * abs(moved.mean() - centre))

        reach = range(-3 * _OCTAVE, 3 * _OCTAVE + 1)
        self.shift = max(reach, key=lambda shift: (fit(shift), -abs(shift)))
        if fit(self.shift) == -np.inf:
            return
        moved = [pitch + self.shift - lowest + self._first_pitch for pitch in motif.pitches]
        rhythm: Sequence[Sequence[tuple[int, int, int]]] = motif.notes
        if motif.metre != self._metre:
            rhythm = ([bar for bar in melody if bar][:BARS] or [[]]) * BARS
        left = iter(moved)
        for bar in rhythm[:MOST_BARS]:
            inside = [(tick, length) for tick, _, length in bar if tick < state.bar_ticks]
            ends = [tick for tick, _ in inside[1:]] + [0]
            self._bars.append(
                [
                    (tick, pitch, self._reaching(length, end - tick))
                    for (tick, length), end, pitch in zip(inside, ends, left, strict=False)
                ]
            )

    def _reaching(self, duration: int, ticks: int) -> int:
        """The id of a note's duration, or of a longer one up to the motif's next note.

        A melody with gaps would be heard together with what is struck in them.
        """
        values, ids = self._vocabulary.value, range(*self._vocabulary.ranges[DURATION])
        return max(
            (i for i in ids if values[i] <= max(ticks, values[duration])), key=values.__getitem__
        )

    def _heard(self) -> tuple[int, Any]:
        """The program of the highest notes so far, and the share of each pitch class [12]."""
        vocabulary = self._vocabulary
        state = MusicState(vocabulary)
        pitches: dict[int, list[int]] = {}
        classes = np.full(12, 1e-9)
        for token in self._own:
            state.step(token)
            if state.kind == DURATION:
                pitch = int(vocabulary.value[state.last_pitch])
                pitches.setdefault(state.program, []).append(pitch)
                classes[pitch % 12] += vocabulary.value[token]
        highest = max(pitches, key=lambda p: float(np.mean(pitches[p])), default=0)
        return highest, classes / classes.max()
