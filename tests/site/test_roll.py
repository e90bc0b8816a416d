"""The piano roll as an SVG and as a PNG."""

from __future__ import annotations

import math
import re
import struct
import zlib
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midi_save.publishing.colour import HUES, family_of, rgb
from midi_save.publishing.picture import GROUND, roll_png
from midi_save.publishing.roll import describe, pitch_name, plane_of, roll_svg, section_bounds
from midi_save.publishing.score import Part, Score, read_score
from tests.site.pieces import TEMPLATES, THEME_FORM, midi_of

SVG = "{http://www.w3.org/2000/svg}"
MOVE = re.compile(r"m(-?\d+) ?(-?\d+)h(\d+)")


def random_score(notes: int, seconds: float, parts: int = 1, seed: int = 1) -> Score:
    rng = np.random.default_rng(seed)
    made = []
    for number in range(parts):
        start = np.sort(rng.uniform(0, seconds - 0.2, notes // parts))
        length = rng.uniform(0.1, 0.8, len(start))
        end = np.minimum(start + length, seconds)
        pitch = rng.integers(36, 90, len(start))
        velocity = rng.integers(50, 105, len(start))
        program = [*HUES][number % len(HUES)] + number // len(HUES)
        made.append(Part(f"part {number}", program, start, end, pitch, velocity))
    return Score(tuple(made), np.arange(0, seconds, 2.0), seconds)


def parsed(html: str) -> ET.Element:
    """The roll as a tree, which shows that every tag is closed and every text escaped."""
    named = html.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"')
    return ET.fromstring(f"<figure>{named}</figure>")


def drawn_notes(html: str) -> list[list[tuple[float, int, float]]]:
    """(start, pitch's row, end) of the notes of each part, in seconds, read as script.js does."""
    tree = parsed(html)
    plane = next(svg for svg in tree.iter(f"{SVG}svg") if svg.get("class") == "plane")
    frame = next(div for div in tree.iter("div"))
    unit = float(frame.get("data-seconds", "")) / float(plane.get("viewBox", "").split()[2])
    parts = []
    for group in plane.iter(f"{SVG}g"):
        notes = []
        for path in group.iter(f"{SVG}path"):
            x = y = 0
            d = path.get("d", "")
            assert "".join(match[0] for match in MOVE.finditer(d)) == d
            for dx, dy, length in MOVE.findall(d):
                x, y = x + int(dx), y + int(dy)
                notes.append((x * unit, y, (x + int(length)) * unit))
                x += int(length)
        parts.append(sorted(notes))
    return parts


def test_every_note_is_where_and_when_it_sounds() -> None:
    score = read_score(midi_of())
    top = plane_of(score).top_pitch
    for part, notes in zip(score.parts, drawn_notes(roll_svg(score)), strict=True):
        columns = (part.start_s, part.pitch, part.end_s)
        expected = sorted(zip(*(column.tolist() for column in columns), strict=True))
        drawn = sorted((start, top - row, end) for start, row, end in notes)
        assert [pitch for _, pitch, _ in drawn] == [pitch for _, pitch, _ in expected]
        for (start, _, end), (begins, _, ends) in zip(drawn, expected, strict=True):
            assert start == pytest.approx(begins, abs=0.03)
            assert end == pytest.approx(ends, abs=0.06)


@given(
    notes=st.lists(
        st.tuples(
            st.just(0),
            st.integers(0, 400).map(lambda sixteenth: sixteenth / 4),
            st.integers(1, 40).map(lambda sixteenth: sixteenth / 4),
            st.integers(0, 127),
            st.integers(1, 127),
        ),
        min_size=1,
        max_size=40,
        unique_by=lambda note: (note[1], note[3]),
    )
)
def test_no_note_is_lost_or_left_of_its_place(
    notes: list[tuple[int, float, float, int, int]],
) -> None:
    score = read_score(midi_of(notes))
    plane = plane_of(score)
    (drawn,) = drawn_notes(roll_svg(score))
    assert len(drawn) == score.notes
    assert all(0 <= row < plane.rows for _, row, _ in drawn)
    assert all(0 <= start < end <= plane.units * plane.unit_s + 1e-6 for start, _, end in drawn)


def test_a_key_struck_again_is_seen_as_two_notes() -> None:
    score = read_score(midi_of([(0, 0, 4, 60, 80), (0, 4, 4, 60, 80), (0, 60, 4, 60, 80)]))
    (((_, _, end), (start, _, _), _),) = drawn_notes(roll_svg(score))
    assert start - end > score.duration_s / 1000


def test_loud_notes_are_drawn_apart_from_soft_ones() -> None:
    html = roll_svg(read_score(midi_of()))
    classes = [path.get("class") for path in parsed(html).iter(f"{SVG}path")]
    assert classes[3:] == ["loud", "soft"]  # of the flute and the strings, after the grid


def test_sections_have_their_letter_where_there_is_room() -> None:
    score = read_score(midi_of())
    bounds = section_bounds(score, THEME_FORM)
    assert bounds == [("A", 0, 0.25), ("B", 0.25, 0.5), ("A", 0.5, 0.75), ("C", 0.75, 1)]
    html = roll_svg(score, [("A'", 1), ("B", 3)])
    assert [text.text for text in parsed(html).iter(f"{SVG}text")] == ["A′", "B"]
    long = random_score(400, 600)
    many = roll_svg(long, [("A", 2), ("B", 20), ("C", 278)])
    shown = {text.text: text.get("class") for text in parsed(many).iter(f"{SVG}text")}
    assert shown == {"B": "wide", "C": None}


def test_a_form_longer_than_the_piece_is_cut_off() -> None:
    assert section_bounds(read_score(midi_of()), [("A", 3), ("B", 9), ("C", 1)])[1:] == [
        ("B", 0.75, 1)
    ]


def test_the_roll_is_told_in_words() -> None:
    html = roll_svg(read_score(midi_of()), THEME_FORM)
    tree = parsed(html)
    drawing = next(tree.iter(f"{SVG}svg"))
    title, description = (next(tree.iter(f"{SVG}{name}")) for name in ("title", "desc"))
    assert (drawing.get("aria-labelledby") or "").split() == [
        title.get("id"),
        description.get("id"),
    ]
    assert title.text == "Piano roll: flute, strings"
    assert "24 notes in 0:08, from C3 to C5. Sections: A B A C." in (description.text or "")
    assert [item.text for item in tree.iter("li")] == ["flute", "strings"]
    assert pitch_name(61) == "C♯4"


def test_a_hostile_instrument_stays_text() -> None:
    name = "</svg><script>alert(1)</script>"
    html = roll_svg(read_score(midi_of([(104, 0, 1, 60, 80)], names=[name])), [("<b>", 1)])
    assert "<script" not in html
    assert "<b>" not in html
    assert [item.text for item in parsed(html).iter("li")] == [name]


def test_one_note_is_not_drawn_as_a_wall() -> None:
    score = read_score(midi_of([(0, 0, 1, 60, 80)]))
    plane = plane_of(score)
    assert plane.rows >= 30
    assert plane.rows // 3 < plane.top_pitch - 60 < 2 * plane.rows // 3
    assert "1 note in" in describe(score)


def test_ninety_seconds_are_small_and_an_hour_is_bounded() -> None:
    assert len(roll_svg(random_score(2_000, 90, parts=5)).encode()) < 30_000
    hour = roll_svg(random_score(60_000, 3_600, parts=16)).encode()
    assert len(hour) < 200_000


def test_an_hour_keeps_its_length_and_its_pitches() -> None:
    score = random_score(60_000, 3_600, parts=3)
    html = roll_svg(score)
    frame = next(parsed(html).iter("div"))
    assert float(frame.get("data-seconds", "")) == pytest.approx(3_600, rel=0.01)
    for part, notes in zip(score.parts, drawn_notes(html), strict=True):
        assert len({row for _, row, _ in notes}) == len(np.unique(part.pitch))


def pixels_of(png: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Pixels as indices of the palette, shape (height, width), and the palette, shape (n, 3)."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, at = {}, 8
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        kind, content = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        assert struct.unpack(">I", png[at + 8 + size : at + 12 + size])[0] == zlib.crc32(
            kind + content
        )
        chunks[kind] = content
        at += 12 + size
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    return lines[:, 1:], np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(-1, 3)


def test_the_picture_shows_the_instruments_in_their_colours() -> None:
    pixels, palette = pixels_of(roll_png(read_score(midi_of())))
    assert pixels.shape == (630, 1200)
    assert pixels.max() < len(palette)
    assert tuple(palette[pixels[0, 0]]) == GROUND
    seen = palette[pixels].reshape(-1, 3)
    flute = np.array(rgb(0.8, 0.125, HUES[73]))
    assert (np.abs(seen.astype(int) - flute).max(axis=1) < 12).mean() > 0.005


def test_a_picture_of_more_instruments_than_the_palette_has_room_for_is_whole() -> None:
    pixels, palette = pixels_of(roll_png(random_score(800, 60, parts=16)))
    assert len(palette) <= 256
    assert pixels.max() < len(palette)


def test_pictures_of_real_size_are_light() -> None:
    assert len(roll_png(random_score(2_000, 90, parts=5))) < 45_000
    cover = (TEMPLATES / "cover.png").read_bytes()
    pixels, _ = pixels_of(cover)
    assert pixels.shape[0] == pixels.shape[1]
    assert 1_400 <= pixels.shape[0] <= 3_000
    assert len(cover) < 100_000


def test_the_style_sheet_has_the_hues_of_the_pictures() -> None:
    sheet = (TEMPLATES / "style.css").read_text()
    named = {int(p): int(h) for p, h in re.findall(r"\.hue-(\d+) \{ --hue: (\d+); \}", sheet)}
    assert named == HUES
    assert all(family_of(program) in HUES for program in range(128))


def test_colours_are_those_of_oklch() -> None:
    assert rgb(1, 0, 0) == (255, 255, 255)
    assert rgb(0, 0, 0) == (0, 0, 0)
    # Red, green and blue of sRGB in OKLCH, as CSS Color 4 gives them.
    assert rgb(0.62796, 0.25768, 29.234) == (255, 0, 0)
    assert rgb(0.86644, 0.29483, 142.495) == (0, 255, 0)
    assert math.dist(rgb(0.45201, 0.31321, 264.052), (0, 0, 255)) < 2


def test_the_code_that_draws_needs_only_what_the_layer_has() -> None:
    folder = Path(__file__).parents[2] / "midi_save" / "publishing"
    for path in folder.glob("*.py"):
        assert not re.search(r"^(import|from) (PIL|matplotlib)", path.read_text(), re.MULTILINE)
