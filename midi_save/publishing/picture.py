"""Draws a piece as a PNG: the preview of a page elsewhere, and its picture in the archive.

The same grid and the colours of the dark pages, in pixels. Text is missing: it would need a font.
The site's cover is drawn by `python -m midi_save.publishing.picture PIECE.mid OUT.png 1500 1500`.
Depends on numpy and zlib alone.
"""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from midi_save.publishing.colour import CHROMA, HUES, LIGHTNESS, Rgb, family_of, rgb
from midi_save.publishing.roll import Plane, plane_of, steps_of
from midi_save.publishing.score import Score, read_score

WIDTH, HEIGHT = 1200, 630  # what pages that show previews ask for
MARGIN = 0.05  # of the height, on all sides
NOTE_HEIGHT = 0.92  # of a row
CORNER, SHORTEST = 2.0, 2.0  # radius of a note's corners and the shortest note, in pixels
GROUND: Rgb = (17, 20, 27)
LINE: Rgb = (31, 35, 45)
OPACITY = {"soft": 0.68, "middle": 0.84, "loud": 1.0}
# Softer notes are turned a little in hue, as in site/style.css.
TURN = {"soft": -28, "middle": -14, "loud": 0}

# The palette: ground and line, then for each part and loudness its colour in STEPS shades.
_GROUND, _LINE, _FIRST = 0, 1, 2
_STEPS = 7  # shades of one colour, for the ends of notes between two pixels
_MOST_PARTS = (256 - _FIRST) // (_STEPS * len(OPACITY))


def roll_png(score: Score, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """The piano roll as a PNG with a palette. Parts beyond the twelfth share its colour."""
    plane = plane_of(score)
    margin = round(height * MARGIN)
    pixels = np.full((height, width), _GROUND, dtype=np.uint8)
    roll = pixels[margin:-margin, margin:-margin]
    palette = [GROUND, LINE]
    for row in range(plane.rows):
        if (plane.top_pitch - row) % 12 == 0:  # a line below each C
            roll[min(len(roll) - 1, round((row + 1) * len(roll) / plane.rows))] = _LINE
    for number, part in enumerate(score.parts):
        known = min(number, _MOST_PARTS - 1)
        for loudness, (name, opacity) in enumerate(OPACITY.items()):
            if known == number:
                hue = HUES[family_of(part.program)] + TURN[name]
                palette += _shades(rgb(LIGHTNESS, CHROMA, hue), opacity)
            base = _FIRST + (known * len(OPACITY) + loudness) * _STEPS
            for step in dict(steps_of(part, plane)).get(name, ()):
                _draw_note(roll, plane, step, base)
    return _png(pixels, palette)


def _shades(colour: Rgb, opacity: float) -> list[Rgb]:
    """`_STEPS` colours from nearly the ground to `colour` at `opacity`."""
    shares = (opacity * (step + 1) / _STEPS for step in range(_STEPS))
    return [
        tuple(round(g + (c - g) * share) for g, c in zip(GROUND, colour, strict=True))  # type: ignore[misc]
        for share in shares
    ]


def _draw_note(
    roll: NDArray[np.uint8], plane: Plane, step: tuple[int, int, int], base: int
) -> None:
    """A rectangle with round corners, whose edges between two pixels are shades of its colour."""
    height, width = roll.shape
    start, row, length = step
    per_row, per_unit = height / plane.rows, width / plane.units
    down, right = NOTE_HEIGHT * per_row / 2, max(length * per_unit / 2, SHORTEST / 2)
    y, x = (row + 0.5) * per_row, start * per_unit + right
    rows = np.arange(max(0, int(y - down)), min(height, int(y + down) + 1))
    columns = np.arange(max(0, int(x - right)), min(width, int(x + right) + 1))
    # How far each pixel's middle is outside of the rectangle: 0.5 is a pixel that is not covered.
    corner = min(CORNER, down, right)
    outside_y = np.maximum(np.abs(rows + 0.5 - y) - (down - corner), 0)[:, None]
    outside_x = np.maximum(np.abs(columns + 0.5 - x) - (right - corner), 0)[None, :]
    covered = np.clip(corner + 0.5 - np.hypot(outside_y, outside_x), 0, 1)
    shade = np.round(covered * _STEPS).astype(np.int64)
    target = roll[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    drawn = (base + shade - 1).astype(np.uint8)
    # Of two notes on one pixel the later one is seen, unless it hardly covers the pixel.
    target[...] = np.where((shade > _STEPS // 2) | ((shade > 0) & (target < _FIRST)), drawn, target)


def _png(pixels: NDArray[np.uint8], palette: list[Rgb]) -> bytes:
    """A PNG of one byte a pixel, an index of `palette`."""
    height, width = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels], axis=1)  # 0: no filter
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = {
        b"IHDR": header,
        b"PLTE": bytes(component for colour in palette for component in colour),
        b"IDAT": zlib.compress(lines.tobytes(), 9),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks.items()
    )


if __name__ == "__main__":
    source, out, columns, lines = sys.argv[1:]
    drawn = roll_png(read_score(Path(source).read_bytes()), int(columns), int(lines))
    Path(out).write_bytes(drawn)
