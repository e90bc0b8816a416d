"""When the music is stuck, and when it is free again."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from generate_tokens.variety import (
    FREE_PITCHES,
    LONGEST_FIGURE,
    REPEATED_NOTES,
    STUCK_PITCHES,
    WINDOW_NOTES,
    Variety,
)


def after(pitches: Iterable[int]) -> Variety:
    """Each gap longer than the one before, so that no figure ever comes again."""
    variety = Variety(range(100))
    for i, pitch in enumerate(pitches):
        variety.add(pitch, i * i)
    return variety


def after_steps(pitches: Iterable[int]) -> Variety:
    variety = Variety(range(100))
    for i, pitch in enumerate(pitches):
        variety.add(pitch, 6 * i)
    return variety


@given(st.lists(st.integers(10, 90), min_size=1, max_size=LONGEST_FIGURE))
def test_a_figure_is_enough_after_sixteen_notes_of_repetition(figure: list[int]) -> None:
    notes = [*figure, *(figure * 2 * REPEATED_NOTES)[: REPEATED_NOTES + 1]]
    assert notes[len(notes) % len(figure)] in after_steps(notes).left_out
    shortest = len(figure) == 1 or len(set(figure)) == len(figure)
    if shortest and len(figure) > 1:
        assert after_steps(notes[:-2]).left_out == set()


def test_a_scale_that_leaves_the_keyboard_names_no_other_token() -> None:
    assert after_steps(range(80, 100)).left_out == set()
    assert after_steps(range(70, 90)).left_out == {90}


def test_another_note_ends_the_figure() -> None:
    assert after_steps([50] * 30).left_out == {50}
    assert after_steps([*[50] * 30, 52]).left_out == set()


def test_a_full_window_of_few_pitches_is_stuck() -> None:
    few = [i % STUCK_PITCHES for i in range(WINDOW_NOTES + 1)]
    assert after(few).left_out == set(range(STUCK_PITCHES))
    assert after(few[:-1]).left_out == set()


def test_one_pitch_more_is_music() -> None:
    assert after(i % (STUCK_PITCHES + 1) for i in range(200)).left_out == set()


def test_what_it_gets_stuck_on_next_is_left_out_too() -> None:
    assert after([1] * 60 + [2] * 60).left_out == {1, 2}


def test_enough_pitches_set_it_free() -> None:
    stuck = [0] * (WINDOW_NOTES + 1)
    assert 0 in after([*stuck, *range(1, FREE_PITCHES - 1)]).left_out
    assert after([*stuck, *range(1, FREE_PITCHES)]).left_out == set()


@given(st.lists(st.integers(0, 20), max_size=300))
def test_music_that_was_never_stuck_is_left_alone(pitches: list[int]) -> None:
    windows = [pitches[i - WINDOW_NOTES : i] for i in range(WINDOW_NOTES, len(pitches) + 1)]
    if all(len(set(window)) > STUCK_PITCHES for window in windows):
        assert after(pitches).left_out == set()
