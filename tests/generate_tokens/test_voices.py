"""Parallel fifths and octaves: which pitches would make one, and which would not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generate_tokens.voices import FARTHEST, PARALLEL, Voices
from music.tracker import MusicState
from tests.music.writing import VOCABULARY


def state_in(program: int) -> MusicState:
    state = MusicState(VOCABULARY)
    state.program = program
    return state


def refused(before: list[int], *struck: int, program: int = 0) -> set[int]:
    """The pitches that would make a parallel when these have been struck over ``before``."""
    voices = Voices()
    voices.move({0: sum(1 << pitch for pitch in before)})
    for pitch in struck:
        voices.strike(pitch, 0)
    return set(voices.parallels(state_in(program)))


@pytest.mark.parametrize(
    ("before", "struck", "pitch"),
    [
        ([24, 31], 26, 33),  # c-g, c goes to d: g must not go to a
        ([24, 31], 33, 26),  # the upper voice first
        ([24, 43], 26, 45),  # a twelfth is a fifth
        ([24, 36], 23, 35),  # an octave
        ([24, 48], 29, 53),  # two octaves, by a leap
        ([24, 31, 40], 26, 33),
    ],
)
def test_a_fifth_or_octave_that_moves_on_as_one_is_refused(
    before: list[int], struck: int, pitch: int
) -> None:
    assert pitch in refused(before, struck)


@pytest.mark.parametrize(
    ("before", "struck", "pitch"),
    [
        ([24, 31], 24, 33),  # the other voice stays
        ([24, 31], 26, 31),  # this one stays
        ([24, 31], 26, 29),  # into a third
        ([24, 28], 26, 33),  # out of a third
        ([24, 31], 31, 24),  # they change places
        ([24, 30], 26, 32),  # a tritone
    ],
)
def test_all_else_is_left_alone(before: list[int], struck: int, pitch: int) -> None:
    assert pitch not in refused(before, struck)


def test_an_octave_by_contrary_motion_is_refused_too() -> None:
    assert 25 in refused([24, 36], 37)  # both move up by a step
    assert 25 in refused([24, 48], 37 + 12)
    assert 31 in refused([29, 41, 60], 43)


def test_what_no_voice_could_reach_is_left_alone() -> None:
    found = refused([0, 7], 7 + FARTHEST + 1)
    assert all(min(abs(pitch - p) for p in (0, 7)) <= FARTHEST for pitch in found)


def test_programs_keep_to_themselves_and_each_onset_begins_anew() -> None:
    assert refused([24, 31], 26, program=1) == set()
    voices = Voices()
    voices.move({0: 1 << 24 | 1 << 31})
    voices.strike(26, 0)
    assert set(voices.parallels(state_in(0)))
    voices.move({0: 1 << 26 | 1 << 33})
    assert set(voices.parallels(state_in(0))) == set()


def test_before_the_first_note_there_is_nothing_to_be_parallel_to() -> None:
    voices = Voices()
    voices.strike(26, 0)
    assert set(voices.parallels(state_in(0))) == set()
    voices.move({0: 0})
    voices.strike(26, 0)
    assert set(voices.parallels(state_in(0))) == set()


@given(
    before=st.lists(st.integers(0, 79), min_size=1, max_size=5, unique=True),
    struck=st.lists(st.integers(0, 79), min_size=1, max_size=3, unique=True),
)
def test_whatever_is_refused_moves_in_parallel_with_a_note_that_was_struck(
    before: list[int], struck: list[int]
) -> None:
    def nearest(pitch: int) -> set[int]:
        """Where a pitch may have come from, as the voice that moves least."""
        least = min(abs(pitch - p) for p in before)
        return {p for p in before if abs(pitch - p) == least}

    for pitch in refused(before, *struck):
        assert any(
            (origin - other) % 12 in {0, *PARALLEL, *(-p % 12 for p in PARALLEL)}
            and (pitch - to) % 12 == (origin - other) % 12
            and to != other
            and pitch != origin
            for origin in nearest(pitch)
            for to in struck
            for other in nearest(to)
        )
