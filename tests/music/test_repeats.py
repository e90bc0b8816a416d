"""What a piece has done before: the longest suffix, and bars read again by place."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from music.repeats import NOTHING, Bars, Suffix
from music.tracker import BAR, TEMPO, MusicState
from tests.music.writing import (
    VOCABULARY,
    Note,
    bars_of_notes,
    id_of,
    joined,
    line,
    piece_of_bars,
    pitch_id,
)

BAR_ID = VOCABULARY.ranges[BAR][0]
FIGURES = [[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 7], [8, 9]]
BEGINNING = line((0, 60, 12))  # a first bar has its tempo at position 0


class Reader:
    """Follows ids as the memory does, which passes over the tempo."""

    def __init__(self) -> None:
        self.state = MusicState(VOCABULARY)
        self.bars = Bars(VOCABULARY)

    def step(self, *ids: int) -> None:
        for token in ids:
            self.state.step(token)
            if self.state.kind != TEMPO:
                self.bars.step(token, self.state)

    def named(self, bar: int, shift: int = 0) -> int:
        return self.bars.named(bar, self.state, shift)


def longest_by_brute_force(ids: list[int]) -> tuple[int, int]:
    """Length of the longest suffix that also ends earlier, and the latest place behind it there."""
    best, source = 0, 0
    for end in range(len(ids) - 1):
        length = 0
        while length <= end and ids[end - length] == ids[-1 - length]:
            length += 1
        if length >= max(best, Suffix.SHORTEST):
            best, source = length, end + 1
    return best, source


@given(
    ids=st.lists(st.integers(1, 3), max_size=40)
    | st.lists(st.sampled_from(FIGURES), max_size=14).map(joined)
)
def test_the_suffix_is_the_longest_earlier_one_and_the_latest_of_these(ids: list[int]) -> None:
    last = Suffix.SHORTEST
    places = Counter(tuple(ids[i : i + last]) for i in range(len(ids) - last + 1))
    assume(max(places.values(), default=0) <= Suffix.MOST)
    suffix = Suffix()
    for count, token in enumerate(ids, 1):
        suffix.step(token)
        length, source = longest_by_brute_force(ids[:count])
        assert suffix.length == length
        assert suffix.token == (ids[source] if length else NOTHING)
        if length:
            assert suffix.source == source


def test_of_music_that_repeats_without_end_the_suffix_is_all_but_one_turn_of_it() -> None:
    suffix = Suffix()
    turns, figure = 5 * Suffix.MOST, [4, 5, 6]
    for token in figure * turns:
        suffix.step(token)
    assert (suffix.token, suffix.length) == (figure[0], len(figure) * (turns - 1))


def names_of(ids: list[int]) -> list[tuple[int, ...]]:
    """After each id: what the suffix names and its length, and what every earlier bar names."""
    reader, suffix = Reader(), Suffix()
    rows: list[tuple[int, ...]] = []
    for token in ids:
        reader.step(token)
        suffix.step(token)
        earlier = range(reader.bars.now)
        rows.append((suffix.token, suffix.length, *(reader.named(bar) for bar in earlier)))
    return rows


pieces = st.lists(bars_of_notes, min_size=1, max_size=6).flatmap(
    lambda bars: st.lists(st.sampled_from(bars), min_size=1, max_size=8)
)


@settings(max_examples=40)
@given(bars=pieces, other=pieces, data=st.data())
def test_a_future_id_changes_no_earlier_name(
    bars: list[list[Note]], other: list[list[Note]], data: st.DataObject
) -> None:
    whole = names_of(joined(piece_of_bars(bars)))
    kept = data.draw(st.integers(0, len(bars)))
    same = len(joined(piece_of_bars(bars[:kept])))
    changed = joined(piece_of_bars([*bars[:kept], *other]))
    assert names_of(changed)[:same] == whole[:same]
    at = data.draw(st.integers(0, len(changed)))
    assert names_of(changed[:at]) == names_of(changed)[:at]


@given(
    before=bars_of_notes,
    source=bars_of_notes,
    between=st.lists(bars_of_notes, max_size=2),
    shift=st.sampled_from([0, 0, -24, -1, 2, 12]),
)
def test_a_copied_bar_is_named_id_by_id_at_any_height_whatever_program_is_in_force(
    before: list[Note], source: list[Note], between: list[list[Note]], shift: int
) -> None:
    higher = [(tick, program, pitch + shift, length) for tick, program, pitch, length in source]
    bars = piece_of_bars([[*BEGINNING, *before], source, *between, higher, []])
    *earlier, copy, after = bars
    reader = Reader()
    reader.step(*joined(earlier), copy[0])
    for token in copy[1:]:
        assert reader.named(1, shift) == token
        reader.step(token)
    assert reader.named(1, shift) == after[0] == BAR_ID


def test_a_wrong_note_has_the_length_of_another_at_its_position() -> None:
    reader = Reader()
    reader.step(*joined(piece_of_bars([line((0, 60, 24), (12, 62, 6), (12, 67, 3))])))
    reader.step(*(id_of(name) for name in ("Bar_None", "TimeSig_4/4", "Position_12", "Pitch_65")))
    assert reader.named(0) in {id_of("Duration_0.6.12"), id_of("Duration_0.3.12")}
    reader.step(id_of("Duration_1.0.12"))
    assert reader.named(0) == id_of("Pitch_67")  # the next in the earlier bar beyond this place


def test_a_note_where_the_earlier_bar_has_none_has_no_length_named() -> None:
    reader = Reader()
    reader.step(*joined(piece_of_bars([line((0, 60, 24), (24, 62, 6))])))
    reader.step(*(id_of(name) for name in ("Bar_None", "TimeSig_4/4", "Position_12", "Pitch_60")))
    assert reader.named(0) == NOTHING
    reader.step(id_of("Duration_1.0.12"))
    assert reader.named(0) == id_of("Position_24")


@pytest.mark.parametrize(("pitch", "shift"), [(100, 12), (30, -12)])
def test_a_pitch_that_has_no_id_is_not_named(pitch: int, shift: int) -> None:
    reader = Reader()
    reader.step(*joined(piece_of_bars([line((0, pitch, 12))])))
    reader.step(*(id_of(name) for name in ("Bar_None", "TimeSig_4/4", "Position_0")))
    assert reader.named(0) == pitch_id(pitch)
    assert reader.named(0, shift) == NOTHING


def test_behind_the_last_id_of_the_earlier_bar_comes_the_bar_line() -> None:
    reader = Reader()
    reader.step(*joined(piece_of_bars([line((0, 60, 24))])))
    reader.step(*(id_of(name) for name in ("Bar_None", "TimeSig_4/4", "Position_12")))
    assert reader.named(0) == BAR_ID
