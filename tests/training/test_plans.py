"""Plans of form read off pieces: which bars return, how exactly, and from which pieces."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from music.form import EXACT, MOST_BARS, Plan
from tests.music.writing import VOCABULARY, joined, line, piece_of_bars
from tests.training.pieces import dataset_of, piece_of, random_bars
from training.data.plans import (
    FEWEST_BARS,
    LEAST,
    LEVELS,
    MOST_LAG,
    SWITCH,
    WORTH,
    bars_of,
    lags_of,
    last_chord_of,
    likeness,
    plan_of,
    plans_and_archive,
)

A, B = random_bars(1, 4), random_bars(2, 4)


def test_a_song_of_the_form_aaba_has_its_plan() -> None:
    plan, metre = plan_of(piece_of([*A, *A, *B, *A]), VOCABULARY)
    assert metre == "4/4" and plan.whole
    assert plan.sections() == [("A", 4), ("A", 4), ("B", 4), ("A", 4)]
    assert all(level == EXACT for lag, level in zip(plan.lags, plan.levels, strict=True) if lag)
    assert Plan.parse(plan.text()) == plan


def test_new_music_is_all_new() -> None:
    plan, _ = plan_of(piece_of(random_bars(3, 12)), VOCABULARY)
    assert set(plan.lags) == {0}


@pytest.mark.parametrize("changed", range(8))
def test_how_exactly_a_section_returns_is_told_by_the_notes_that_are_shared(changed: int) -> None:
    notes = 8
    others = [[(t, p, q - 9 - t // 6, n) for t, p, q, n in bar] for bar in A]
    varied = [[*other[:changed], *bar[changed:]] for other, bar in zip(others, A, strict=True)]
    alike = (notes - changed) / (notes + changed)
    plan, _ = plan_of(piece_of([*A, *varied]), VOCABULARY)
    if alike < max(LEAST, WORTH):
        assert set(plan.lags) == {0}
    elif 4 * (alike - WORTH) > SWITCH:
        assert plan.lags[4:] == (4,) * 4
        assert set(plan.levels[4:]) == {sum(alike >= limit for limit in LEVELS)}


@pytest.mark.parametrize("shift", [-12, 2, 7])
def test_a_section_that_returns_at_another_height_is_found_with_its_height(shift: int) -> None:
    higher = [[(t, p, q + shift, n) for t, p, q, n in bar] for bar in A]
    plan, _ = plan_of(piece_of([*A, *higher]), VOCABULARY)
    assert plan.lags == (0,) * 4 + (4,) * 4
    assert plan.shifts == (0,) * 4 + (shift,) * 4
    assert Plan.parse(plan.text()) == plan


def test_what_returns_as_it_was_is_not_read_as_another_bar_moved() -> None:
    plan, _ = plan_of(piece_of([*A, *A, *B, *A]), VOCABULARY)
    assert set(plan.shifts) == {0}


def test_a_note_that_is_higher_does_not_make_the_whole_bar_a_transposed_one() -> None:
    highest = [max(pitch for _, _, pitch, _ in bar) for bar in A]
    varied = [
        [(t, p, q + 5 * (q == top), n) for t, p, q, n in bar]
        for bar, top in zip(A, highest, strict=True)
    ]
    plan, _ = plan_of(piece_of([*A, *varied]), VOCABULARY)
    assert plan.lags == (0,) * 4 + (4,) * 4
    assert set(plan.shifts) == {0}


def worth_of(lags: tuple[int, ...], alike: NDArray[np.float64]) -> float:
    """What a reading of the bars is worth, as plans.py defines it."""
    worth, before = 0.0, 0
    for bar, lag in enumerate(lags):
        if lag:
            if lag > bar or alike[bar, bar - lag] < LEAST:
                return -np.inf
            worth += alike[bar, bar - lag] - WORTH - SWITCH * (lag != before)
        before = lag
    return worth


@settings(max_examples=60, deadline=None)
@given(bars=st.integers(1, 6), seed=st.integers(0, 10_000), exact=st.floats(0, 1))
def test_the_reading_is_the_one_of_all_that_is_worth_most(
    bars: int, seed: int, exact: float
) -> None:
    rng = np.random.default_rng(seed)
    alike = np.where(rng.random((bars, bars)) < exact, 1.0, rng.random((bars, bars)))
    best = max(worth_of(lags, alike) for lags in product(*(range(bar + 1) for bar in range(bars))))
    found = tuple(lags_of(alike))
    assert worth_of(found, alike) == pytest.approx(best)


def test_what_returns_from_too_far_back_is_new() -> None:
    alike = np.zeros((MOST_LAG + 4, MOST_LAG + 4))
    alike[-1, 2] = alike[-2, 1] = alike[-3, 0] = 1.0
    assert set(lags_of(alike)) == {0}
    alike[-1, 3] = alike[-2, 2] = alike[-3, 1] = 1.0
    assert lags_of(alike)[-3:] == [MOST_LAG] * 3


def test_empty_bars_and_bars_of_other_metres_are_unlike_all() -> None:
    bars = [frozenset({(0, 0, 60)}), frozenset(), frozenset(), frozenset({(0, 0, 60)})]
    alike = likeness(bars, ["4/4", "4/4", "4/4", "3/4"])
    assert alike.tolist() == np.diag([1.0, 0.0, 0.0, 1.0]).tolist()
    assert likeness([frozenset()], [""]).shape == (1, 1)


def test_a_bar_is_its_notes_by_position_program_and_pitch() -> None:
    bars, metres = bars_of(
        piece_of([[(0, 0, 60, 12), (0, 73, 72, 6)], [(12, 73, 72, 6)]], metre="3/4"), VOCABULARY
    )
    assert metres == ["3/4", "3/4"]
    ranks = {rank for _, rank, _ in bars[0]}
    assert [len(bar) for bar in bars] == [2, 1] and len(ranks) == 2
    assert {position for position, _, _ in bars[1]} == {12}


def test_the_last_chord_is_read_with_its_place_length_and_degree() -> None:
    tonic = line(*((24, p, 24) for p in (48, 64, 67, 72)))
    cadence = [line(*((12 * i, p, 12) for i in range(4) for p in chord)) for chord in (
        (48, 64, 67, 72), (53, 65, 69, 72), (55, 62, 67, 71), (48, 64, 67, 72),
    )]  # fmt: skip
    chord = last_chord_of(piece_of([*cadence, [*line((0, 55, 12)), *tonic]]), VOCABULARY)
    assert (chord.at, chord.length, chord.degree) == (24, 24, 0)
    dominant = line(*((0, p, 36) for p in (55, 62, 67, 71)))
    chord = last_chord_of(piece_of([*cadence, *cadence, dominant, []]), VOCABULARY)
    assert (chord.at, chord.length, chord.degree) == (0, 36, 7)


def test_a_very_long_piece_is_planned_as_far_as_a_plan_goes() -> None:
    plan, _ = plan_of(piece_of(A * (MOST_BARS // 4 + 1)), VOCABULARY)
    assert len(plan.lags) == MOST_BARS and not plan.whole


def test_a_bundle_has_plans_and_shares_of_training_pieces_alone() -> None:
    long, short = [*A, *A, *B], A[: FEWEST_BARS - 1]
    dataset = dataset_of(
        [
            ("folk", joined(piece_of_bars(long))),
            ("folk", joined(piece_of_bars(long, tempo="Tempo_97.09"))),
            ("hymn", joined(piece_of_bars(short))),  # too short for a plan
            ("chorale", joined(piece_of_bars(long, metre="5/4"))),
            ("chorale", joined(piece_of_bars(long, metre="6/4"))),
        ]
    )
    dataset.validation[3] = dataset.test[4] = True
    plans, archive = plans_and_archive(dataset, VOCABULARY)
    assert {style: [*by_metre] for style, by_metre in plans.items()} == {"folk": ["4/4"]}
    expected = plan_of(piece_of(long), VOCABULARY)[0]
    assert [Plan.parse(text).lags for text in plans["folk"]["4/4"]] == [expected.lags] * 2
    assert plans["folk"]["4/4"][0] == expected.text()
    assert archive == {
        "folk": {"4/4": {"122.99": 1, "97.09": 1}},
        "hymn": {"4/4": {"122.99": 1}},
    }


@given(shift=st.integers(-20, 10))
def test_no_note_is_in_a_plan(shift: int) -> None:
    moved = [[(t, p, q + shift, n) for t, p, q, n in bar] for bar in [*A, *A, *B]]
    plan, _ = plan_of(piece_of(moved), VOCABULARY)
    assert plan.lags == plan_of(piece_of([*A, *A, *B]), VOCABULARY)[0].lags
