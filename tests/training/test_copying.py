"""Weights of copies: fitted on ids whose copies are known, and on a tiny dataset."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from music.form import LEVELS
from music.memory import (
    RUN_CLASSES,
    RUNS,
    SUFFIX_CLASSES,
    SUFFIX_LENGTHS,
    CopyWeights,
    Memory,
    class_of,
)
from music.tracker import TEMPO, MusicState
from tests.music.writing import VOCABULARY, joined, piece_of_bars
from tests.training.pieces import dataset_of, piece_of, random_bars
from training.data.plans import plan_of
from training.model.copying import NO_WEIGHTS, fit_weights, fitted, named_of, weights_to_json

A, B = random_bars(1, 4), random_bars(2, 4)


@pytest.mark.parametrize("weight", [0.02, 0.3, 0.9])
def test_em_finds_the_weight_that_made_the_ids(weight: float) -> None:
    rng = np.random.default_rng(0)
    named = rng.uniform(0.05, 0.95, 40_000)  # what the model gives the named id, of two
    right = rng.random(len(named)) < (1 - weight) * named + weight
    # four standard deviations of the estimate, which is no better known than a share of 10,000 ids
    allowed = 4 * np.sqrt(weight * (1 - weight) / 10_000) + 0.01
    assert fitted(np.where(right, named, 1 - named), right) == pytest.approx(weight, abs=allowed)


@given(p=st.lists(st.floats(1e-6, 1), max_size=20), right=st.booleans())
def test_a_few_ids_never_make_a_weight_of_nothing_or_all(p: list[float], right: bool) -> None:
    found = fitted(np.array(p), np.full(len(p), right))
    assert 0 <= found < 1


def test_copies_that_are_always_right_weigh_more_than_those_that_never_are() -> None:
    p = np.full(200, 0.1)
    assert fitted(p, np.ones(200, bool)) > 0.9
    assert fitted(p, np.zeros(200, bool)) < 0.1


def test_what_is_fitted_is_what_the_memory_will_name() -> None:
    varied = [[*bar[:5], (30, 0, 50, 6), *bar[6:]] for bar in A]
    piece = piece_of([*A, *varied, *B, *A])
    plan, _ = plan_of(piece, VOCABULARY)
    assert len(set(plan.levels)) > 1 and plan.lags[12] and not plan.lags[8]
    rows = named_of(piece, VOCABULARY)
    # weights that tell which of them was looked up
    weights = CopyWeights(
        suffix=[0.0] * SUFFIX_CLASSES,
        suffix_in_new_bars=[(c + 1) / 100 for c in range(SUFFIX_CLASSES)],
        plan=[[0.5 + (4 * level + run) / 100 for run in range(RUN_CLASSES)] for level in range(3)],
    )
    state, memory = MusicState(VOCABULARY), Memory(VOCABULARY, weights, plan)
    memory.begin_piece()
    looked_at = set()
    for token, (suffix, suffix_class, named, cell) in zip(piece.ids, rows.tolist(), strict=True):
        if memory.lag:
            assert memory.named == named
            if named:
                assert memory.weight == 0.5 + cell / 100
                looked_at.add(cell)
        else:
            assert cell == -1 and memory.named == suffix
            if memory.weight:
                assert memory.weight == (suffix_class + 1) / 100
        state.step(token)
        memory.step(token, state)
    assert len(looked_at) > RUN_CLASSES


def test_the_named_id_of_a_planned_bar_mostly_comes() -> None:
    piece = piece_of([*A, *B, *A, *A])
    rows = named_of(piece, VOCABULARY)
    planned = rows[:, 3] >= 0
    right = rows[:, 2] == np.array(piece.ids)
    assert right[planned].mean() > 0.95
    assert not right[~planned].any()
    before_first = rows[: len(piece.ids) // 4, 0]
    assert class_of(0, SUFFIX_LENGTHS) == class_of(0, RUNS) == 0
    assert (before_first[:10] == 0).all()  # nothing has come before
    assert VOCABULARY.kind[piece.ids[3]] == TEMPO


def test_weights_fit_a_small_dataset_and_mixing_makes_it_likelier(tiny_model: Any) -> None:
    songs = [
        joined(piece_of_bars([*random_bars(n, 4), *random_bars(n, 4), *random_bars(50 + n, 2)]))
        for n in range(4)
    ]
    dataset = dataset_of([("folk", song) for song in songs])
    weights, facts = fit_weights(tiny_model, dataset, VOCABULARY)
    assert facts["nats_mixed"] < facts["nats_alone"]
    assert facts["ids"] <= sum(len(song) for song in songs)
    assert len(weights.suffix) == len(weights.suffix_in_new_bars) == SUFFIX_CLASSES
    assert [len(row) for row in weights.plan] == [RUN_CLASSES] * len(LEVELS)
    numbers = [
        *weights.suffix,
        *weights.suffix_in_new_bars,
        *(w for row in weights.plan for w in row),
    ]
    assert all(0 <= w < 1 for w in numbers)
    assert weights.suffix[0] == weights.suffix_in_new_bars[0] == 0
    exact = weights.plan[-1]
    assert exact[-1] > 0.8, "a section that has returned so far goes on"
    assert fit_weights(tiny_model, dataset, VOCABULARY)[0] == weights
    assert CopyWeights(**weights_to_json(weights)) == weights


def test_held_out_pieces_have_no_part_in_the_weights(tiny_model: Any) -> None:
    songs = [joined(piece_of_bars(random_bars(n, 4) * 2)) for n in range(3)]
    dataset = dataset_of([("folk", song) for song in songs])
    dataset.validation[2] = True
    alone = dataset_of([("folk", song) for song in songs[:2]])
    found, facts = fit_weights(tiny_model, dataset, VOCABULARY)
    assert (found, facts) == fit_weights(tiny_model, alone, VOCABULARY)


def test_no_weights_believe_nothing() -> None:
    assert set(asdict(NO_WEIGHTS)) == {"suffix", "suffix_in_new_bars", "plan"}
    memory = Memory(VOCABULARY, NO_WEIGHTS)
    memory.begin_piece()
    state = MusicState(VOCABULARY)
    for token in joined(piece_of_bars(A * 3)):
        state.step(token)
        memory.step(token, state)
        assert memory.weight == 0


def test_the_model_keeps_a_part_however_often_a_copy_was_right() -> None:
    always = fitted(np.full(50_000, 1e-6), np.ones(50_000, bool))
    assert 0.999 < always < 1, "1 would be refused by the bundle's reader"
