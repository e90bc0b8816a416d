"""Draws a piece as a piano roll: an SVG within a page, whose colours are the style sheet's.

Time goes to the right, pitch upwards. The drawing has no size of its own: one unit is one semitone
upwards and a fixed time to the right, and the page stretches both. Only text keeps its shape, which
is why it stands outside of the stretched part, at percentages. site/script.js reads the notes back
from the paths. Depends on neither S3 nor the pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from midi_save.publishing.colour import family_of
from midi_save.publishing.score import Part, Score

UNIT_S = 0.025  # the shortest unit of time: half a pixel of 90 seconds on a wide screen
MOST_UNITS = 4_800  # across the drawing: a longer piece has longer units
MOST_BYTES, FEWEST_UNITS = 160_000, 300  # of the notes' paths; a denser piece has longer units
FEWEST_ROWS = 30  # a piece of few pitches is drawn no larger than this
MARGIN_ROWS = 3
MOST_BAR_LINES = 64  # more than these, and only every second, fourth, ... bar has a line
# Between two strokes of one key remains a gap of this share of the width: two pixels of a page.
GAP = 1 / 640
# The highest velocity of each class of loudness, as dynamics.py gives them: inner voices off and on
# the beat, and melodies.
LOUDNESS = {"soft": 71, "middle": 80, "loud": 127}
# A section's letter is drawn where it has this share of the width, on a phone and on a wide screen.
LETTER_ANYWHERE, LETTER_WIDE = 0.07, 0.016

PITCHES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")

Sections = Sequence[tuple[str, int]]
"""(letter, number of bars) of each section of a piece's form."""

_Steps = list[tuple[int, int, int]]
"""(unit of time, row, length in units) of each note, in order of time."""


@dataclass(frozen=True)
class Plane:
    """The grid on which notes are drawn: `units` of `unit_s` seconds, `rows` below `top_pitch`."""

    unit_s: float
    units: int
    top_pitch: int
    rows: int


def plane_of(score: Score, unit_s: float = UNIT_S) -> Plane:
    """The grid for a piece: all of it, its pitches in the middle."""
    unit_s = max(unit_s, score.duration_s / MOST_UNITS)
    lowest, highest = score.pitch_range
    rows = max(FEWEST_ROWS, highest - lowest + 1 + 2 * MARGIN_ROWS)
    top = highest + (rows - (highest - lowest + 1)) // 2
    return Plane(unit_s, max(1, int(np.ceil(score.duration_s / unit_s))), top, rows)


def roll_svg(score: Score, sections: Sections = ()) -> str:
    """The roll as HTML: the drawing in its frame, and a legend in words.

    About eight bytes a note. If the notes need more than `MOST_BYTES`, as in an hour of dense
    music, units of time are doubled until they fit, and only what can be seen is written: notes of
    one pitch that no unit separates become one, and notes behind others are left out.
    """
    plane = plane_of(score)
    notes = _paths(score, [dict(steps_of(part, plane)) for part in score.parts])
    while len(notes) > MOST_BYTES and plane.units > FEWEST_UNITS:
        plane = plane_of(score, 2 * plane.unit_s)
        notes = _paths(score, _seen(score, plane))
    width, height = plane.units, plane.rows
    bounds = section_bounds(score, sections)
    instruments = ", ".join(part.name for part in score.parts)
    frame = f'viewBox="0 -.5 {width} {height}" preserveAspectRatio="none"'
    seconds = f"{plane.units * plane.unit_s:.3f}"
    return (
        f'<div class="roll" data-seconds="{seconds}">'
        '<svg role="img" aria-labelledby="roll-title roll-desc" width="100%" height="100%">'
        f'<title id="roll-title">{escape(f"Piano roll: {instruments}")}</title>'
        f'<desc id="roll-desc">{escape(describe(score, sections))}</desc>'
        f'<svg class="plane" {frame} width="100%" height="100%" aria-hidden="true">'
        f"{_grid(score, plane, bounds)}{notes}</svg>"
        f"{_letters(bounds)}</svg></div>"
        f'<ul class="legend">{_legend(score)}</ul>'
    )


def describe(score: Score, sections: Sections = ()) -> str:
    """The roll in words."""
    lowest, highest = (pitch_name(pitch) for pitch in score.pitch_range)
    minutes, seconds = divmod(round(score.duration_s), 60)
    notes = "1 note" if score.notes == 1 else f"{score.notes} notes"
    text = (
        "Time goes to the right, pitch upwards, each instrument has its colour. "
        f"{notes} in {minutes}:{seconds:02}, from {lowest} to {highest}."
    )
    letters = " ".join(letter for letter, _ in sections)
    return f"{text} Sections: {letters}." if letters else text


def pitch_name(pitch: int) -> str:
    """MIDI's 60 as "C4"."""
    return f"{PITCHES[pitch % 12]}{pitch // 12 - 1}"


def section_bounds(score: Score, sections: Sections) -> list[tuple[str, float, float]]:
    """(letter, begin, end) of each section, as shares of the piece's length."""
    bars = [float(start) / score.duration_s for start in score.bars_s] if score.duration_s else []
    found: list[tuple[str, float, float]] = []
    bar = 0
    for letter, length in sections:
        if bar >= len(bars):
            break
        end = bars[bar + length] if bar + length < len(bars) else 1.0
        found.append((letter, bars[bar], end))
        bar += length
    return found


def steps_of(part: Part, plane: Plane) -> Iterator[tuple[str, _Steps]]:
    """The notes of a part on the grid, by their class of loudness."""
    start = np.floor(part.start_s / plane.unit_s).astype(np.int64)
    end = np.maximum(np.round(part.end_s / plane.unit_s).astype(np.int64), start + 1)
    row = plane.top_pitch - part.pitch
    start, end, row, velocity = _merged(start, end, row, part.velocity)
    # Where the same key is struck again at once, the first note ends a little earlier.
    gap = max(1, round(plane.units * GAP))
    struck_again = (row[1:] == row[:-1]) & (start[1:] - end[:-1] < gap)
    shorter = np.maximum(start[:-1] + (end - start)[:-1] // 2, start[1:] - gap)
    end[:-1] = np.where(struck_again, np.maximum(shorter, start[:-1] + 1), end[:-1])
    softer = -1
    for name, loudest in LOUDNESS.items():
        chosen = (velocity > softer) & (velocity <= loudest)
        softer = loudest
        columns = (start[chosen], row[chosen], (end - start)[chosen])
        steps = sorted(zip(*(column.tolist() for column in columns), strict=True))
        if steps:
            yield name, steps


def _merged(*columns: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    """(start, end, row, velocity) in order of row, then time, equal starts of one row as one.

    Of these the longest and the loudest is kept; only units longer than a note bring them about.
    """
    start, end, row, velocity = columns
    order = np.lexsort((start, row))
    start, end, row, velocity = (column[order] for column in (start, end, row, velocity))
    first = np.flatnonzero(np.r_[True, (np.diff(start) != 0) | (np.diff(row) != 0)])
    return (
        start[first],
        np.maximum.reduceat(end, first),
        row[first],
        np.maximum.reduceat(velocity, first),
    )


def _seen(score: Score, plane: Plane) -> list[dict[str, _Steps]]:
    """Of each part the notes that are seen when all are drawn, the last part above the others."""
    # Which part and loudness is seen at each row and unit of time; 0 where there is none.
    seen = np.zeros((plane.rows, plane.units + 1), dtype=np.int64)
    classes = [(number, name) for number in range(len(score.parts)) for name in LOUDNESS]
    for number, part in enumerate(score.parts):
        for name, steps in steps_of(part, plane):
            for start, row, length in steps:
                seen[row, start : start + length] = classes.index((number, name)) + 1
    seen[:, -1] = 0
    # A run of equal cells begins and ends where a cell differs from the one before.
    before = np.pad(seen, ((0, 0), (1, 0)))[:, :-1]
    rows, edges = np.nonzero(seen != before)
    found: list[dict[str, _Steps]] = [{} for _ in score.parts]
    for row, start, end in zip(
        rows.tolist(), edges.tolist(), [*edges[1:].tolist(), 0], strict=True
    ):
        if kind := seen[row, start]:
            number, name = classes[kind - 1]
            found[number].setdefault(name, []).append((start, row, end - start))
    return [{name: sorted(steps) for name, steps in of_part.items()} for of_part in found]


def _paths(score: Score, layers: Sequence[Mapping[str, _Steps]]) -> str:
    """A group of paths for each part, one for each loudness."""
    groups = []
    for part, steps_by_class in zip(score.parts, layers, strict=True):
        paths = (f'<path class="{c}" d="{_path(s)}"/>' for c, s in steps_by_class.items())
        groups.append(f'<g class="part hue-{family_of(part.program)}">{"".join(paths)}</g>')
    return "".join(groups)


def _path(steps: _Steps) -> str:
    """`m12 3h5m-2 4h7`: each note is a move from the end of the note before, and its length."""
    x = y = 0
    moves = []
    for start, row, length in steps:
        dy = row - y
        moves.append(f"m{start - x}{' ' if dy >= 0 else ''}{dy}h{length}")
        x, y = start + length, row
    return "".join(moves)


def _grid(score: Score, plane: Plane, bounds: Sequence[tuple[str, float, float]]) -> str:
    """Every second section in another shade, a line at each C, a line at each bar."""
    width, height = plane.units, plane.rows
    shades = [
        f"M{b * width:.0f}-.5H{e * width:.0f}v{height}H{b * width:.0f}z" for _, b, e in bounds
    ]
    rows = [row for row in range(height) if (plane.top_pitch - row) % 12 == 0]
    bars = np.round(score.bars_s[1:] / plane.unit_s).astype(int).tolist()
    while len(bars) > MOST_BAR_LINES:
        bars = bars[1::2]
    lines = "".join(
        f"m{bar - before} 0v{height}m0-{height}" for before, bar in pairwise([0, *bars])
    )
    return (
        f'<path class="sections" d="{"".join(shades[1::2])}"/>'
        f'<path class="octaves" d="{"".join(f"M0 {row}.5h{width}" for row in rows)}"/>'
        f'<path class="bars" d="M0-.5{lines}"/>'
    )


def _letters(bounds: Sequence[tuple[str, float, float]]) -> str:
    """The letter of each section that is wide enough for it."""
    texts = []
    for letter, begin, end in bounds:
        if end - begin >= LETTER_WIDE:
            shown = "" if end - begin >= LETTER_ANYWHERE else ' class="wide"'
            texts.append(
                f'<text{shown} x="{100 * begin:.2f}%" y="0">{escape(prime(letter))}</text>'
            )
    return f'<g class="letters" aria-hidden="true">{"".join(texts)}</g>' if texts else ""


def prime(letters: str) -> str:
    """Turns "A'" into "A′", with a real prime."""
    return letters.replace("'", "′")


def _legend(score: Score) -> str:
    return "".join(
        f'<li class="hue-{family_of(part.program)}">{escape(part.name)}</li>'
        for part in score.parts
    )
