"""Yesterday's opening motif, taken up by today's piece.

A motif is the melody of the first bars of a piece. Today's piece begins with an idea of its own and
then answers with yesterday's, as each stanza of a terza rima takes up a rhyme of the one before.
This connects the pieces of the series, although no piece depends on the state of the one before.
Only the melody is fixed, in an instrument and a register of today's piece; the model composes
everything around it. Depends on neither the model nor where yesterday's piece is stored.
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

BARS, MOST_BARS = 2, 4  # of a motif; it has more than two if these have less than FEWEST_NOTES
FEWEST_NOTES, MOST_NOTES = 5, 32
PLACES = range(2, 7)  # the bars, counted from 0, in which the motif may begin
# Nats that pitches lose if they would cover the motif, or are needed for its next notes.
COVERED = 8.0
_OCTAVE = 12
_RANGE_WEIGHT = 0.02  # of one semitone of distance, against the share of common pitch classes


@dataclass(frozen=True)
class Motif:
    """The melody of some bars.

    Attributes:
        metre: its metre, such as ``3/4``.
        notes: for each bar, its notes as (tick in the bar, MIDI pitch, id of the duration),
            ascending.
    """

    metre: str
    notes: tuple[tuple[tuple[int, int, int], ...], ...]

    @property
    def pitches(self) -> list[int]:
        return [pitch for bar in self.notes for _, pitch, _ in bar]


def melody_of(ids: Sequence[int], vocabulary: Vocabulary) -> list[list[tuple[int, int, int]]]:
    """The melody of each bar, in the form of `Motif.notes`.

    It has the highest note of each onset, unless a higher note still sounds. ``ids`` are those
    behind BOS and style.
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
                bar.pop()  # a lower note of the same onset
            bar.append((state.position, pitch, token))
    return bars


def opening_of(ids: Sequence[int], vocabulary: Vocabulary) -> list[int]:
    """The ids from a piece's first bar to the end of its motif; empty if it has no motif.

    ``ids`` are those behind BOS and style, with or without EOS.
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
    """The melody of a piece's first bars, from its first note on; None if it makes no motif.

    It makes none if it has too few or too many notes, or if the metre changes within it.

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
    """The bar in which a motif of so many bars begins; None if the piece is too short for it.

    It is the first place at which all of these bars are new, or else simply the first. ``lags`` are
    those of the piece's plan.
    """
    places = [place for place in PLACES if place + bars < len(lags)]
    free = [place for place in places if not any(lags[place : place + bars])]
    return next(iter(free or places), None)


class MotifGuide:
    """Makes sure that the notes of a motif come in their bars, and leaves all other notes alone.

    If a sampled id would skip the motif's next note, it is replaced by the id that leads to that
    note. The ids of a position ascend by program and pitch, so a comparison shows whether an id
    skips the note.

    Args:
        place: the bar of the sequence, from 0, in which the motif begins.
        metre: the metre of today's piece. If the motif's metre is another, its pitches come in the
            rhythm of the piece's own first bars.

    Attributes:
        shift: semitones from yesterday's motif to today's.
        highest: the pitch id of the motif's present note, above which no note should begin; -1 if
            there is none.
    """

    def __init__(self, vocabulary: Vocabulary, motif: Motif, place: int, metre: str) -> None:
        self._vocabulary = vocabulary
        self._motif, self._place, self._metre = motif, place, metre
        self._first_position = vocabulary.ranges[POSITION][0]
        self._first_pitch, self._end_pitch = vocabulary.ranges[PITCH]
        self._own: list[int] = []  # ids of the piece before the motif
        self._pending: list[tuple[int, int, int]] = []  # (tick, pitch id, duration id) of this bar
        self._bars: list[list[tuple[int, int, int]]] = []  # of the motif, fitted to today's piece
        self._program = -1  # rank of the program that plays the motif
        self._came: list[int] = []  # pitch ids of the motif's notes so far
        self.shift = 0
        self.highest = -1

    def step(self, token: int, state: MusicState) -> None:
        """Takes the next id of the piece and the state after it."""
        number = state.bars - 1 - self._place  # the motif's bar; negative before it begins
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
                self._pending.pop(0)  # the motif's next note has been struck
                self._came.append(pitch)
                self.highest = pitch
        elif state.kind == POSITION:
            while self._pending and self._pending[0][0] < state.position:
                self._pending.pop(0)  # its place is over: the note could not be struck
            if self._pending and self._pending[0][0] == state.position:
                self.highest = self._pending[0][1]

    def covering(self, state: MusicState) -> Iterator[int]:
        """Pitch ids that would cover the motif, or still sound when its next notes are struck."""
        if self.highest >= 0:
            yield from range(self.highest + 1, self._end_pitch)
        for tick, pitch, _ in self._pending:
            if tick != state.position:
                yield pitch

    def to_json(self) -> dict[str, Any] | None:
        """What became of the motif, for the record of a piece; None if no note of it came.

        It states the bar in which the motif begins, from 0, by how many semitones it was moved, and
        the MIDI pitches that came.
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
        """The sampled id, or the one that leads to the motif's next note, if ``may`` allows that.

        If a note cannot be reached, the one after it is tried.
        """
        for note in self._pending:
            led = self._leading_to(note, token, state)
            if led == token or may(led):
                return led
        return token

    def _leading_to(self, note: tuple[int, int, int], token: int, state: MusicState) -> int:
        """``token``, or if that would skip ``note``, the id that leads to the note."""
        tick, pitch, duration = note
        vocabulary, kind = self._vocabulary, self._vocabulary.kind[token]
        # Behind a pitch a duration comes: behind the note's own pitch it is the note's.
        if state.kind == PITCH:
            here = (state.position, state.last_pitch, state.program) == (tick, pitch, self._program)
            return duration if here else token
        # Before the note's position, only a later position, a bar line or the end would skip it.
        if state.position < tick:
            passes = kind in (BAR, EOS) or (kind == POSITION and vocabulary.value[token] > tick)
            return self._first_position + tick if passes else token
        # At the note's position, the order by (program, pitch) decides.
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
        # Choose the shift that gives the most pitch classes in common with the piece so far, less a
        # little for each semitone between the centres of the motif and of the piece's melody.
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
            return  # no shift brings all pitches into range: there will be no motif
        moved = [pitch + self.shift - lowest + self._first_pitch for pitch in motif.pitches]
        rhythm: Sequence[Sequence[tuple[int, int, int]]] = motif.notes
        if motif.metre != self._metre:
            rhythm = ([bar for bar in melody if bar][:BARS] or [[]]) * BARS
        # Give the pitches to the onsets one by one, until either are used up. A note may be held up
        # to the next onset of its bar; the last one of a bar has its own duration (``end`` is 0).
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
        """The id of a note's duration, or of a longer one that lasts up to the motif's next note.

        If there were gaps in the motif, notes struck in them would be heard as part of its melody.
        """
        values, ids = self._vocabulary.value, range(*self._vocabulary.ranges[DURATION])
        return max(
            (i for i in ids if values[i] <= max(ticks, values[duration])), key=values.__getitem__
        )

    def _heard(self) -> tuple[int, Any]:
        """The rank of the highest program so far, and how long each pitch class was heard [12].

        The highest program has the highest mean pitch; the classes are relative to the longest.
        """
        vocabulary = self._vocabulary
        state = MusicState(vocabulary)
        pitches: dict[int, list[int]] = {}
        classes = np.full(12, 1e-9)  # avoids a division by 0 if there are no notes
        for token in self._own:
            state.step(token)
            if state.kind == DURATION:
                pitch = int(vocabulary.value[state.last_pitch])
                pitches.setdefault(state.program, []).append(pitch)
                classes[pitch % 12] += vocabulary.value[token]
        highest = max(pitches, key=lambda p: float(np.mean(pitches[p])), default=0)
        return highest, classes / classes.max()
