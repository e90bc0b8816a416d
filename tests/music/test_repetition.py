"""Returns and likeness in pieces made of lettered bars."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from music.features import Music
from music.repetition import (
    LAGS,
    REPETITION,
    bar_sets,
    curve_difference,
    lag_curve,
    likeness,
    repetition_features,
    returns,
)

BAR = 48  # ticks of a bar of 4/4; at 120 quarter notes a minute it lasts 2 s


def music_of(notes: list[tuple[int, int, int]], bars: int) -> Music:
    """Notes of (onset in ticks, pitch, program), each an eighth long."""
    onset, pitch, program = np.array(sorted(notes), np.int64).reshape(-1, 3).T
    duration = np.full(len(onset), 6)
    return Music(onset, duration, pitch, program, bars * BAR, 120, ((0, 4, 4),), 0.0)


def piece(form: str) -> Music:
    """A bar per letter: four notes that no other letter has. A dot is an empty bar."""
    notes = [
        (number * BAR + 12 * beat, 30 + 2 * (ord(letter) - ord("A")) + beat % 2, 0)
        for number, letter in enumerate(form)
        for beat in range(4)
        if letter != "."
    ]
    return music_of(notes, len(form))


@pytest.mark.parametrize(
    ("form", "found"),
    [
        ("ABCABC", [(3, 6, 3)]),
        ("ABCABCA", [(3, 7, 3)]),
        ("ABCDE", []),
        ("AABCAABC", [(1, 2, 1), (5, 6, 1), (4, 5, 3), (4, 8, 4)]),
        ("AAAAAAAA", [(1, 8, 1)]),  # not four bars by four as well
        ("ABABABAB", [(2, 8, 2)]),
        ("ABCDABXD", [(4, 6, 4), (7, 8, 4)]),
        ("..A..A", [(5, 6, 3)]),  # silence returns nowhere
    ],
)
def test_returns_are_runs_at_one_lag(form: str, found: list[tuple[int, int, int]]) -> None:
    assert list(returns(piece(form))) == found


@pytest.mark.parametrize(
    ("form", "longest_s", "cover_8s", "cover_15s"),
    [
        ("ABCDABCDXY", 8, 0.8, 0),  # what returns, and what it returns to
        ("ABCABC", 6, 0, 0),
        ("ABCDABCDABCD", 8, 1, 0),  # two returns of four bars, not one of eight
        ("ABCDEFGHABCDEFGH", 16, 1, 1),
        ("AAAAAAAAAAAAAAAA", 2, 0, 0),
        ("ABABABABABABABAB", 4, 0, 0),
        ("AABCDDAABCDDXYZU", 12, 12 / 16, 0),
        ("ABCDE", 0, 0, 0),
    ],
)
def test_a_return_is_no_longer_than_what_it_repeats(
    form: str, longest_s: float, cover_8s: float, cover_15s: float
) -> None:
    features = repetition_features(piece(form))
    assert list(features) == list(REPETITION)
    assert features["longest_return_s"] == pytest.approx(longest_s)
    assert features["cover_8s"] == pytest.approx(cover_8s)
    assert features["cover_15s"] == pytest.approx(cover_15s)


@settings(max_examples=60, deadline=None)
@given(st.text("ABC.", min_size=2, max_size=24).filter(lambda form: form.strip(".")))
def test_every_bar_of_a_return_is_its_source_and_every_repeated_bar_is_in_one(form: str) -> None:
    found = list(returns(piece(form)))
    for first, end, lag in found:
        assert form[first:end] == form[first - lag : end - lag]
        # as long as it can be
        assert first == lag or form[first - 1] != form[first - 1 - lag] or form[first - 1] == "."
    repeated = {i for i, letter in enumerate(form) if letter != "." and letter in form[:i]}
    assert {i for first, end, _ in found for i in range(first, end)} == repeated


def test_a_bar_for_another_instrument_is_no_exact_return_but_as_alike() -> None:
    notes = [(beat * 12 + bar * BAR, 60 + beat, 6 * bar) for bar in (0, 1) for beat in range(4)]
    music = music_of(notes, 2)
    assert list(returns(music)) == []
    assert lag_curve(music)[0] == 1
    assert likeness(bar_sets(music, programs=True))[0, 1] == 0


def test_likeness_is_what_two_bars_share_over_what_they_have() -> None:
    first = [(0, 60, 0), (12, 62, 0), (24, 64, 0)]
    second = [(BAR, 60, 0), (BAR + 12, 62, 0), (BAR + 36, 64, 0)]  # the third note is late
    music = music_of([*first, *second], 3)
    alike = likeness(bar_sets(music, programs=False))
    assert alike.tolist() == [[1, 0.5, 0], [0.5, 1, 0], [0, 0, 0]]


def test_the_lag_curve_peaks_where_bars_come_back() -> None:
    curve = lag_curve(piece("ABCDABCDAB"))
    assert curve.shape == (LAGS,)
    assert curve[:9].tolist() == [0, 0, 0, 1, 0, 0, 0, 1, 0]
    assert np.isnan(curve[9:]).all()  # no two bars are ten apart
    assert curve_difference(curve, curve) == 0
    assert curve_difference(curve, lag_curve(piece("ABCDEFGHIJ"))) == pytest.approx(2 / 9)
    assert np.isnan(curve_difference(curve, np.full(LAGS, np.nan)))


def test_the_top_note_is_the_highest_of_each_onset() -> None:
    low = [(12 * i, 40 + i, 0) for i in range(10)]
    top = [(12 * i, 72 if 2 <= i < 7 else 60 + i, 0) for i in range(10)]
    assert repetition_features(music_of([*low, *top], 3))["longest_same_top"] == 5


def test_rhythms_differ_by_onsets_whatever_the_pitches() -> None:
    quarters = [(12 * i, 60, 0) for i in range(4)]
    others = [(BAR + 12 * i, 64, 0) for i in range(4)]
    half = [(2 * BAR, 60, 0), (2 * BAR + 24, 60, 0)]
    features = repetition_features(music_of([*quarters, *others, *half, (2 * BAR, 67, 0)], 4))
    assert features["distinct_rhythms"] == pytest.approx(2 / 3)  # the fourth bar is empty
