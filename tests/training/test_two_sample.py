"""The two-sample test: chance where there is nothing to tell, certainty where there is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from music.features import Music
from training.evaluation import two_sample
from training.evaluation.two_sample import (
    FEATURES,
    FEWEST_PIECES,
    SHORTEST_S,
    Sample,
    auc,
    sample_of,
    split_evenly,
    style_weights,
    two_sample_test,
)


@pytest.fixture(autouse=True)
def small_forest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_sample, "TREES", 40)
    monkeypatch.setattr(two_sample, "HALVINGS", 2)


def samples(
    seed: int, pieces: int, shift: float = 0, styles: Sequence[str] = ("folk",)
) -> list[Sample]:
    """Random rows; the first feature is ``shift`` higher, the second is unknown in every third."""
    rows = np.random.default_rng(seed).normal(size=(pieces, len(FEATURES)))
    rows[:, 0] += shift
    rows[::3, 1] = np.nan
    return [Sample(row, styles[i % len(styles)]) for i, row in enumerate(rows)]


def test_sets_of_one_kind_cannot_be_told_apart_and_others_can() -> None:
    # of two sets of 40 of one kind, the AUC has a standard deviation of about .07
    assert 0.3 < auc(samples(0, 40), samples(1, 40)) < 0.7
    assert auc(samples(0, 40), samples(1, 40, shift=5)) > 0.95


def test_the_same_pieces_give_the_same_figure_with_any_number_of_workers() -> None:
    real, made = samples(0, 30), samples(1, 30, shift=1)
    assert auc(real, made) == auc(real, made, workers=2)


def test_styles_in_other_proportions_tell_nothing() -> None:
    """Chorales are alike on both sides, but there are many more of them on one."""
    folk, chorale = samples(2, 80), samples(3, 80, shift=8, styles=["chorale"])
    real = [*folk[:64], *chorale[:16]]
    made = [*folk[64:], *chorale[16:]]
    unweighted = auc([Sample(s.row, "x") for s in real], [Sample(s.row, "x") for s in made])
    assert unweighted > 0.7
    assert 0.25 < auc(real, made) < 0.65


def test_a_style_counts_as_many_pieces_as_the_side_with_fewer_has() -> None:
    styles = ["a", "a", "a", "a", "b", "c", "a", "b", "b", "d"]
    generated = np.arange(10) >= 6
    weights = style_weights(styles, generated)
    assert weights.tolist() == [0.25] * 4 + [1, 0] + [1, 0.5, 0.5, 0]
    assert style_weights(["a", "b"], np.array([False, True])).tolist() == [1, 1]


def test_sets_are_of_one_size_and_share_out_each_style() -> None:
    made = samples(0, 43, styles=["folk", "hymn"])
    sets = split_evenly(made, 4)
    assert [len(part) for part in sets] == [10] * 4
    assert len({id(sample) for part in sets for sample in part}) == 40
    for part in sets:
        assert 5 <= sum(sample.style == "folk" for sample in part) <= 6


def test_each_set_is_judged_and_real_halves_beside_them() -> None:
    found = two_sample_test(samples(0, 50), samples(1, 44, shift=5), sets=2)
    assert len(found.sets) == 2 and min(found.sets) > 0.9
    assert len(found.halves) == 2 and max(found.halves) < 0.85
    facts = found.to_json()
    assert facts["auc"] == pytest.approx(np.mean(found.sets), abs=1e-4)
    assert facts["pieces"] == {"real": 50, "in_each_set": 22}
    assert "of 22 pieces against 50" in found.line()


def test_too_few_pieces_are_not_judged() -> None:
    few = two_sample_test(samples(0, 50), samples(1, FEWEST_PIECES - 1))
    assert few.sets == [] and few.to_json()["auc"] is None and "not measured" in few.line()
    assert two_sample_test([], []).sets == []


def test_a_sample_is_its_pieces_features_and_a_short_piece_has_none() -> None:
    notes = 100
    music = Music(
        onset=np.arange(notes) * 12,
        duration=np.full(notes, 12),
        pitch=60 + np.arange(notes) % 8,
        program=np.zeros(notes, np.int64),
        ticks=12 * notes,
        qpm=100,
        metres=((0, 4, 4),),
        duplicates=0.0,
    )
    sample = sample_of(music, "folk", 60.0)
    assert sample is not None and sample.row.shape == (len(FEATURES),)
    values = dict(zip(FEATURES, sample.row.tolist(), strict=True))
    assert values["pitch_count"] == 8 and values["likeness_at_lag_2"] == 1
    assert values["likeness_at_lag_1"] == 0 and values["longest_same_top"] == 1
    assert sample_of(music, "folk", SHORTEST_S - 1) is None
    assert sample_of(None, "folk", 60.0) is None


def test_nothing_that_tells_the_length_or_the_ending_is_a_feature() -> None:
    assert not {"notes", "duplicates", "tempo"} & set(FEATURES)
    assert not {name for name in FEATURES if "last" in name or "tonic" in name}
    assert len(set(FEATURES)) == len(FEATURES)
