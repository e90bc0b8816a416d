"""Overlapped areas of features, and the longest runs of notes that pieces share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from training.evaluation.overlap import (
    longest_shared,
    overlapped_area,
    overlapped_areas,
    steps_of,
)


def random_steps(rng: np.random.Generator, notes: int) -> tuple[Any, Any]:
    """Onsets and pitches of a random line: no run of it is another's by chance."""
    return np.cumsum(rng.integers(1, 30, notes)), rng.integers(30, 100, notes)


def test_a_set_overlaps_itself_and_not_one_far_away() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(size=300)
    assert overlapped_area(samples, samples) == pytest.approx(1)
    assert overlapped_area(samples, samples + 20) < 0.01
    assert overlapped_area(np.zeros(9), np.zeros(4)) == 1
    assert overlapped_area(np.zeros(9), np.ones(4)) < 0.01
    assert np.isnan(overlapped_area(samples, np.zeros(0)))
    # two unit normals one apart: 2 * Phi(-1/2) = 0.617, less a little for the kernels' width
    assert overlapped_area(samples, rng.normal(size=3000) + 1) == pytest.approx(0.617, abs=0.08)


def test_mgevals_areas_fall_when_the_other_set_moves_away() -> None:
    rng = np.random.default_rng(1)
    real = {"a": rng.normal(size=(60, 1)), "b": rng.normal(size=(60, 12))}
    other = {"a": rng.normal(size=(40, 1)), "b": rng.normal(size=(40, 12)) + 3}
    real["a"][5], other["a"][7] = np.nan, np.nan
    areas = overlapped_areas(real, other)
    assert areas["a"] > 0.85 and areas["b"] < 0.2
    assert np.isnan(overlapped_areas({"a": real["a"][:2]}, {"a": other["a"]})["a"])


@pytest.mark.parametrize(("planted", "shift"), [(25, 0), (25, 5), (14, -3), (9, 2)])
def test_the_longest_run_is_the_planted_one_in_any_key(planted: int, shift: int) -> None:
    rng = np.random.default_rng(planted)
    theirs, mine = random_steps(rng, 400), random_steps(rng, 200)
    # 81 notes in, at another time and in another key; the notes around it differ
    gaps = np.diff(theirs[0])[100 : 100 + planted - 1]
    onsets = np.concatenate((np.diff(mine[0], prepend=0)[:81], gaps, [31]))
    onset = np.cumsum(np.concatenate((onsets, rng.integers(1, 30, 50))))
    pitch = rng.integers(30, 100, len(onset))
    pitch[80 : 80 + planted] = theirs[1][100 : 100 + planted] + shift
    corpus = [steps_of(*random_steps(rng, 300)), steps_of(*theirs)]
    pieces = [steps_of(onset, pitch), steps_of(*random_steps(rng, 100))]
    exact = longest_shared(pieces, corpus)
    assert exact[0] == planted and exact[1] < 5
    assert longest_shared([pieces[0], *corpus])[0] == planted


def test_a_run_that_a_piece_repeats_itself_is_not_shared() -> None:
    onset, pitch = random_steps(np.random.default_rng(2), 30)
    twice = np.concatenate((onset, onset + onset[-1] + 5)), np.concatenate((pitch, pitch))
    assert longest_shared([steps_of(*twice), steps_of(onset[:3], pitch[::10])])[0] <= 2
    assert longest_shared([], []) == [] and longest_shared([np.zeros(0, np.uint64)], []) == [0]
