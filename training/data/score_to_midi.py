"""Turns a score that music21 reads into MIDI: repeats unfolded, bar lines on the metre.

In MIDI, bar lines are only where the metre puts them. So a pickup gets a rest before it, and a bar
that is shorter or longer than its metre says gets a metre of its own length. Needs music21.
Depends on neither the scores' places nor their licences.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

from symusic.core import ScoreTick, TempoTick, TimeSignatureTick

MOST_PARTIAL_BARS = 6  # that make up one bar, as where a repeat sign divides it
QPM = 90.0  # unless told otherwise


@dataclass(frozen=True)
class Bar:
    """Length in quarter notes, and the metre that is written: numerator, denominator."""

    length: Fraction
    metre: tuple[int, int]

    @property
    def full(self) -> Fraction:
        """The length that the metre asks for, in quarter notes."""
        return Fraction(4 * self.metre[0], self.metre[1])


@dataclass(frozen=True)
class Layout:
    """The rest before the first note, and where metres begin; all in quarter notes."""

    rest: Fraction
    metres: list[tuple[Fraction, int, int]]


def laid_out(bars: Sequence[Bar]) -> Layout:
    """Metres whose bar lines are those of ``bars``.

    Example: in 4/4, bars of 1 4 3 1 4 quarter notes are a pickup (with 3 of rest before it), a full
    bar, a bar that a repeat sign divides into 3 + 1, and a full bar. The metre is 4/4 throughout.
    """
    metres: list[tuple[Fraction, int, int]] = []
    rest = now = Fraction(0)
    number = 0
    while number < len(bars):
        bar = bars[number]
        metre, length, parts = bar.metre, bar.length, _parts_of_a_bar(bars[number:])
        if parts:  # a divided bar
            length = bar.full
        elif length < bar.full and number == 0:  # a pickup
            now = rest = bar.full - length
        elif length % bar.full and number < len(bars) - 1:
            metre = _own_metre(length) or metre
        if not metres or metres[-1][1:] != metre:
            metres.append((now if metres else Fraction(0), *metre))
        now += length
        number += max(1, parts)
    return Layout(rest, metres)


def _parts_of_a_bar(bars: Sequence[Bar]) -> int:
    """How many short bars, from the first on, make up one full bar; 0 if they do not."""
    length = Fraction(0)
    for number, bar in enumerate(bars[:MOST_PARTIAL_BARS], start=1):
        length += bar.length
        if bar.length >= bar.full or length >= bars[0].full:
            return number if bar.length < bar.full and length == bars[0].full else 0
    return 0


def _own_metre(length: Fraction) -> tuple[int, int] | None:
    """The metre of a bar of ``length`` quarter notes; None if that is no multiple of 1/32 note."""
    for denominator in (4, 8, 16, 32):
        beats = length * denominator / 4
        if beats.denominator == 1:
            return int(beats), denominator
    return None


def midi_files(target: Path) -> list[Path]:
    """What `convert` has written: ``target``, or ``NAME-1.mid`` and so on for its movements."""
    if target.exists():
        return [target]
    numbered = (target.with_stem(f"{target.stem}-{n}") for n in itertools.count(1))
    return list(itertools.takewhile(Path.exists, numbered))


def convert(
    score: Path, target: Path, programs: Mapping[str, int] | None = None, qpm: float = QPM
) -> None:
    """Writes ``score`` as MIDI, each movement to a file of its own (see `midi_files`).

    Args:
        programs: General MIDI programs, from 0, by the name of the part; "" is for all others.
            Without it the parts have music21's.
        qpm: quarter notes a minute of a score that gives no tempo.

    Raises whatever music21 raises; nothing is written then.
    """
    written = import_module("music21.converter").parse(score, forceSource=True)  # without a cache
    # A kern file has one movement. Its bars without numbers would look like new beginnings.
    movements = [written] if score.suffix == ".krn" else _movements(written)
    partly = []
    for number, movement in enumerate(movements, start=1):
        partly.append(target.with_suffix(f".{number}.partial"))
        _write(movement, partly[-1], programs, qpm)
    # The first movement is put in place last: if it is there, all are.
    for number, path in reversed(list(enumerate(partly, start=1))):
        alone = len(partly) == 1
        path.replace(target if alone else target.with_stem(f"{target.stem}-{number}"))


def _movements(score: Any) -> Iterator[Any]:
    """The movements of a score: one begins at each bar at which the numbers begin anew."""
    numbers = [bar.number for bar in score.parts[0].getElementsByClass("Measure")]
    starts = [n for n in range(1, len(numbers)) if numbers[n] <= 1 and numbers[n] < numbers[n - 1]]
    if not starts:
        yield score
        return
    for start, end in itertools.pairwise((0, *starts, len(numbers))):
        yield score.measures(start, end, indicesNotNumbers=True)


def _write(movement: Any, target: Path, programs: Mapping[str, int] | None, qpm: float) -> None:
    try:
        movement = movement.expandRepeats()
    except import_module("music21.repeat").ExpanderException:
        _take_repeats_out(movement)  # the repeats make no sense: no bar is repeated
    layout = laid_out(_bars(movement.parts[0]))
    movement.write("midi", fp=target)
    midi = ScoreTick.from_midi(target.read_bytes())
    ticks = midi.ticks_per_quarter
    midi = midi.shift_time(int(layout.rest * ticks))
    midi.time_signatures.clear()
    for start, *metre in layout.metres:
        midi.time_signatures.append(TimeSignatureTick(int(start * ticks), *metre))
    if not list(movement.recurse().getElementsByClass("MetronomeMark")):
        midi.tempos.clear()
        midi.tempos.append(TempoTick(0, qpm))
    for number in reversed(range(len(midi.tracks))):
        track = midi.tracks[number]
        if not len(track.notes):
            del midi.tracks[number]  # music21 writes an empty one for tempo and metre
        elif programs is not None:
            track.program = programs.get(track.name, programs[""])
    target.write_bytes(midi.dumps_midi())


def _take_repeats_out(movement: Any) -> None:
    for measure in movement.recurse().getElementsByClass("Measure"):
        for side in ("leftBarline", "rightBarline"):
            if "Repeat" in getattr(getattr(measure, side), "classes", ()):
                setattr(measure, side, None)
        measure.removeByClass("RepeatMark")
    for bracket in list(movement.recurse().getElementsByClass("RepeatBracket")):
        bracket.activeSite.remove(bracket)


def _bars(part: Any) -> list[Bar]:
    """The bars of a music21 part, with the lengths that are played."""
    measures = list(part.getElementsByClass("Measure"))
    starts = [*(Fraction(m.offset) for m in measures), Fraction(part.highestTime)]
    bars, metre = [], (4, 4)
    for measure, (start, end) in zip(measures, itertools.pairwise(starts), strict=True):
        if measure.timeSignature is not None:
            metre = (measure.timeSignature.numerator, measure.timeSignature.denominator)
        bars.append(Bar(end - start, metre))
    return bars
