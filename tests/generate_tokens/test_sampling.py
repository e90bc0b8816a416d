"""The filters one by one, and the sampler as a distribution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from generate_tokens.sampling import Uniforms, min_p_count, sample, top_k_count, top_p_count

P = np.array([0.5, 0.3, 0.15, 0.05])


def draw(logits: np.ndarray, uniform: float, temperature: float = 1.0) -> int:
    """Without any filter."""
    return sample(logits, uniform, temperature, top_k=0, top_p=1.0, min_p=0.0)


@pytest.mark.parametrize(("k", "expected"), [(0, 4), (1, 1), (2, 2), (9, 4)])
def test_top_k_keeps_the_k_likeliest(k: int, expected: int) -> None:
    assert top_k_count(len(P), k) == expected


@pytest.mark.parametrize(
    ("share", "expected"), [(1.0, 4), (0.96, 4), (0.75, 2), (0.4, 1), (1e-300, 1)]
)
def test_top_p_keeps_the_fewest_that_hold_the_share(share: float, expected: int) -> None:
    assert top_p_count(P.cumsum(), share) == expected
    assert top_p_count(3 * P.cumsum(), share) == expected


@pytest.mark.parametrize(("share", "expected"), [(0.0, 4), (0.25, 3), (0.9, 1)])
def test_min_p_is_relative_to_the_likeliest(share: float, expected: int) -> None:
    assert min_p_count(P, share) == expected


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(st.floats(-9, 9), min_size=2, max_size=12, unique=True),
    uniform=st.floats(0, 1, exclude_max=True),
    top_k=st.integers(0, 12),
    top_p=st.floats(0.01, 1),
    min_p=st.floats(0, 0.99),
)
def test_what_is_drawn_has_passed_every_filter(
    values: list[float], uniform: float, top_k: int, top_p: float, min_p: float
) -> None:
    logits = np.array(values, np.float32)
    token = sample(logits, uniform, 1.0, top_k, top_p, min_p)
    p = np.exp(logits.astype(np.float64))
    likelier = p[p > p[token]]
    of_top_k = np.sort(p)[::-1][: top_k or None].sum()
    assert len(likelier) < (top_k or len(p))
    assert likelier.sum() < top_p * of_top_k * (1 + 1e-9)
    assert p[token] >= min_p * p.max() * (1 - 1e-9)


def test_temperature_zero_takes_the_likeliest() -> None:
    logits = np.array([0.0, 3.0, 1.0], np.float32)
    assert draw(logits, 0.999, temperature=0.0) == 1


def test_frequencies_follow_the_softmax() -> None:
    # 20,000 draws: each frequency is within 0.02 of its probability but once in 10^8 runs
    logits = np.log(np.array([0.2, 0.5, 0.3], np.float32))
    uniforms = np.random.default_rng(3).random(20_000)
    drawn = np.bincount([draw(logits, u) for u in uniforms], minlength=3) / 20_000
    assert np.abs(drawn - [0.2, 0.5, 0.3]).max() < 0.02


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=40),
    masked=st.sets(st.integers(0, 39)),
    uniform=st.floats(0, 1, exclude_max=True),
    temperature=st.sampled_from([0.0, 0.1, 1.0, 2.0]),
    top_k=st.integers(0, 50),
    top_p=st.floats(0, 1, exclude_min=True),
    min_p=st.floats(0, 0.99),
)
def test_a_masked_id_is_never_drawn(
    values: list[float],
    masked: set[int],
    uniform: float,
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
) -> None:
    logits = np.array(values, np.float32)
    hidden = [i for i in masked if i < len(logits)][: len(logits) - 1]
    logits[hidden] = -np.inf
    token = sample(logits, uniform, temperature, top_k, top_p, min_p)
    assert token not in hidden and 0 <= token < len(logits)


def test_uniforms_depend_on_seed_and_index_alone() -> None:
    forwards = Uniforms(5)
    values = [forwards[i] for i in range(3000)]
    jumped = Uniforms(5)
    assert [jumped[i] for i in (2999, 0, 1024)] == [values[i] for i in (2999, 0, 1024)]
    assert values[:10] != [Uniforms(6)[i] for i in range(10)]
    assert len(set(values)) == 3000


def test_the_highest_uniform_falls_on_the_last_choice_that_has_a_chance() -> None:
    logits = np.array([0.1, -np.inf, 0.2, -np.inf], np.float32)
    assert draw(logits, 1 - 2**-53) == 0


def test_no_choice_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="finite"):
        draw(np.full(3, -np.inf, np.float32), 0.5)
