"""The tracker: what it says after each token, and that training and decoding read the same."""

from __future__ import annotations

from typing import Any

import pytest

from music.tracker import (
    BAR_CLASSES,
    DURATION,
    LONG_AGO_BARS,
    MusicState,
    Vocabulary,
    bar_class,
    form_of,
)
from tests.music.writing import ids_of, state_after, tracked_of
from training.data.tokenizer import vocabulary_entries

START = ("Bar_None", "TimeSig_3/4", "Position_0", "Tempo", "Program_0")


@pytest.fixture(scope="module")
def vocabulary(tokenizer: Any) -> Vocabulary:
    return Vocabulary(vocabulary_entries(tokenizer))


def sounding(state: MusicState) -> set[int]:
    bits = state.sounding
    return {p + state.vocabulary.lowest_pitch for p in range(128) if bits >> p & 1}


def test_a_note_sounds_from_its_duration_until_its_end(
    tokenizer: Any, vocabulary: Vocabulary
) -> None:
    ids = ids_of(tokenizer, *START, "Pitch_60", "Duration_1.0.12")
    assert sounding(state_after(vocabulary, ids[:-1])) == set()
    assert sounding(state_after(vocabulary, ids)) == {60}
    assert sounding(state_after(vocabulary, [*ids, *ids_of(tokenizer, "Position_11")])) == {60}
    assert sounding(state_after(vocabulary, [*ids, *ids_of(tokenizer, "Position_12")])) == set()


def test_a_bar_line_moves_the_tick_by_the_metre(tokenizer: Any, vocabulary: Vocabulary) -> None:
    ids = ids_of(tokenizer, *START, "Pitch_60", "Duration_0.6.12", "Bar_None", "TimeSig_6/8")
    state = state_after(vocabulary, ids)
    assert (state.tick, state.bar_ticks, state.position) == (36, 72, -1)
    state.step(ids_of(tokenizer, "Bar_None")[0])
    assert (state.tick, state.empty_bars) == (108, 1)


def test_seconds_follow_tempo_and_the_metres_beat(tokenizer: Any, vocabulary: Vocabulary) -> None:
    names = (*START, "Pitch_60", "Duration_1.0.12", "Bar_None", "TimeSig_6/8", "Bar_None")
    state = state_after(vocabulary, ids_of(tokenizer, *names))
    quarters = 3 + 3  # a 3/4 bar and a 6/8 bar
    assert state.seconds == pytest.approx(quarters * 60 / state.qpm)
    assert state.end_s == pytest.approx(60 / state.qpm)


def test_programs_are_ranked_by_their_number(tokenizer: Any, vocabulary: Vocabulary) -> None:
    numbers = [vocabulary.value[i] for i in vocabulary.program_ids]
    assert numbers == sorted(numbers) and len(numbers) == vocabulary.programs
    assert state_after(vocabulary, []).program == vocabulary.programs
    assert state_after(vocabulary, ids_of(tokenizer, *START)).program == 0


def test_a_new_piece_forgets_the_music_but_not_the_tick(
    tokenizer: Any, vocabulary: Vocabulary
) -> None:
    state = state_after(
        vocabulary, ids_of(tokenizer, *START, "Pitch_60", "Duration_8.0.4", "Position_24")
    )
    state.begin_piece()
    assert (state.tick, state.sounding, state.qpm, state.seconds, state.notes) == (24, 0, 0, 0, 0)


def test_unknown_token_types_are_refused() -> None:
    with pytest.raises(ValueError, match="Velocity"):
        Vocabulary([("BOS", "None"), ("Velocity", "100")])


def test_onsets_ends_and_length_are_those_that_miditok_decodes(
    tokenizer: Any, vocabulary: Vocabulary
) -> None:
    bar = ("Bar_None", "TimeSig_6/8", "Position_30")
    names = (
        *START,
        *("Pitch_60", "Duration_1.6.12", "Pitch_64", "Duration_5.1.4", "Position_25"),
        *("Program_73", "Pitch_72", "Duration_0.3.12", "Bar_None", "TimeSig_3/4"),
        *(*bar, "Pitch_50", "Duration_2.6.12", "Bar_None", "TimeSig_6/8", "Position_71"),
        *("Pitch_51", "Duration_0.6.12"),
    )
    ids = ids_of(tokenizer, *names)
    state = MusicState(vocabulary)
    onsets = []
    for token in ids:
        state.step(token)
        if vocabulary.kind[token] == DURATION:
            onsets.append(state.seconds)
    decoded = tokenizer.decode(ids)
    seconds = decoded.to("second")
    notes = sorted((n.start, n.pitch, n.end) for t in seconds.tracks for n in t.notes)
    assert [start for start, _, _ in notes] == pytest.approx(sorted(onsets))
    assert state.end_s == pytest.approx(max(end for _, _, end in notes))
    assert state.notes == len(notes) == 5


def test_a_note_held_into_another_beat_ends_when_miditok_ends_it(
    tokenizer: Any, vocabulary: Vocabulary
) -> None:
    # two quarters held from the last quarter of a 3/4 bar: one of them is two eighths of the 6/8
    held = ("Position_24", "Pitch_60", "Duration_2.0.12", "Bar_None", "TimeSig_6/8")
    state = state_after(vocabulary, ids_of(tokenizer, *START, *held))
    for position, sounds in ((0, True), (23, True), (24, False)):
        state.step(ids_of(tokenizer, f"Position_{position}")[0])
        assert bool(state.sounding) is sounds, position


@pytest.mark.parametrize(
    ("bars", "expected"), [(0, 0), (1, 1), (4, 4), (5, 5), (8, 5), (9, 6), (16, 6), (17, 7)]
)
def test_bars_are_told_apart_more_coarsely_the_more_they_are(bars: int, expected: int) -> None:
    assert bar_class(bars) == expected
    assert bar_class(bars + 1000) == 7 and bar_class(LONG_AGO_BARS) == 7
    assert form_of(bars, 3) // BAR_CLASSES == expected and form_of(bars, 3) % BAR_CLASSES == 3


def test_the_form_counts_bars_from_the_beginning(tokenizer: Any, vocabulary: Vocabulary) -> None:
    bar = ("Bar_None", "TimeSig_4/4", "Position_0", "Pitch_60", "Duration_1.0.12")
    ids = ids_of(tokenizer, "BOS_None", *START, "Pitch_60", "Duration_1.0.12", *bar, *bar)
    bars = tracked_of(ids, vocabulary).place_in_form // BAR_CLASSES
    assert bars.tolist() == [0] + [1] * 7 + [2] * 5 + [3] * 5


@pytest.mark.parametrize(("bars", "counted"), [(2.3, 2), (2.4, 2), (2.6, 3), (3.0, 3)])
def test_bars_left_count_down_to_the_bar_line_nearest_to_the_wanted_length(
    tokenizer: Any, vocabulary: Vocabulary, bars: float, counted: int
) -> None:
    state = state_after(vocabulary, ids_of(tokenizer, "Bar_None", "TimeSig_4/4"))
    assert state.bars_left(60) is None
    state = state_after(vocabulary, ids_of(tokenizer, *START))
    bar_s = 3 * 60 / state.qpm
    lefts = []
    for _ in range(4):
        lefts.append(state.bars_left(bars * bar_s))
        state.step(ids_of(tokenizer, "Position_24")[0])
        assert state.bars_left(bars * bar_s) == lefts[-1], "the same in the middle of the bar"
        state.step(ids_of(tokenizer, "Bar_None")[0])
    assert lefts == [counted - begun for begun in range(4)]
