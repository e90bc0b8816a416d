"""When the music is stuck, and when it is free again."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from generate_tokens.variety import FREE_PITCHES, STUCK_PITCHES, WINDOW_NOTES, Variety


def after(pitches: Iterable[int]) -> Variety:
    variety = Variety()
    for pitch in pitches:
        variety.add(pitch)
    return variety


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
