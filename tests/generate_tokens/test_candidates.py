"""Several candidates in one batch: who is eliminated, who is kept, and what changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.bundle import Bundle
from contract.errors import TokensError
from generate_tokens.candidates import HALVING
from generate_tokens.compose import Composer
from generate_tokens.judge import penalties_so_far
from music.tracker import EOS, PAD, PITCH
from tests.generate_tokens.composing import FOREVER_S, StepClock, in_calls, request_for, seconds_of


@settings(max_examples=8, deadline=None)
@given(budget_s=st.integers(2, 300), candidates=st.integers(2, 5))
def test_interruptions_change_nothing_of_any_candidate(
    composer: Composer, budget_s: int, candidates: int
) -> None:
    request = request_for(composer, candidates=candidates, duration_s=12)
    straight = composer.compose(request, [], [], FOREVER_S)
    lengths = {len(ids) for ids in straight.candidates}
    assert len(lengths) > 1, "some should drop out early"
    made = in_calls(composer, request, [], budget_s)
    assert (made.candidates, made.ids) == (straight.candidates, straight.ids)


def test_candidates_of_an_int8_bundle_survive_interruptions_too(
    int8_bundle: Path,
) -> None:
    composer = Composer(Bundle.load(int8_bundle))
    request = request_for(composer, candidates=3, duration_s=12)
    straight = composer.compose(request, [], [], FOREVER_S)
    for budget_s in (7, 40, 150):
        assert in_calls(composer, request, [], budget_s).candidates == straight.candidates


@pytest.fixture
def judged_by_an_early_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge who never changes his mind: he looks at an id that every candidate soon has."""
    for module in ("closing", "candidates"):
        monkeypatch.setattr(f"generate_tokens.{module}.penalties_of", by_an_early_id)


def by_an_early_id(ids: Sequence[int], *_: object) -> dict[str, float]:
    return {"early": sum(ids[6:12]) % 7 / 7, "other": 0.125}


@pytest.mark.usefixtures("judged_by_an_early_id")
@pytest.mark.parametrize("seed", range(6))
def test_the_candidate_with_the_fewest_penalties_is_kept(composer: Composer, seed: int) -> None:
    made = composer.compose(request_for(composer, candidates=4, seed=seed), [], [], FOREVER_S)
    ended = [n for n, ids in enumerate(made.candidates) if ids[-1] == composer.bundle.eos_id]
    sums = {n: sum(made.penalties[n].values()) for n in ended}
    assert len(made.penalties) == 4 and ended
    best = made.candidates[min(sums, key=sums.__getitem__)]
    body = made.ids[:-1]
    assert best[: len(body)] == body and made.ids[-1] == composer.bundle.eos_id
    assert all(composer.vocabulary.kind[i] != PITCH for i in best[len(body) :])


@pytest.mark.parametrize(("candidates", "stay"), [(3, 2), (4, 2), (7, 4)])
def test_after_a_quarter_the_worse_half_is_eliminated(
    composer: Composer, candidates: int, stay: int
) -> None:
    request = request_for(composer, candidates=candidates, duration_s=60)
    made = composer.compose(request, [], [], FOREVER_S)
    kind = composer.vocabulary.kind
    lengths = sorted(len(ids) for ids in made.candidates if kind[ids[-1]] == PAD)
    first = lengths[0]  # with PAD
    leaving = [n for n, ids in enumerate(made.candidates) if len(ids) == first]
    assert len(leaving) == candidates - stay
    sums = [
        sum(penalties_so_far(ids[2 : first - 1], composer.vocabulary).values())
        for ids in made.candidates
    ]
    staying = set(range(candidates)) - set(leaving)
    assert max(sums[n] for n in staying) <= min(sums[n] for n in leaving)
    for end, enough in ((first - 1, True), (first - 2, False)):
        passed = [seconds_of(composer, ids[2:end]) >= HALVING * 60 for ids in made.candidates]
        assert (sum(passed) >= stay) == enough


@pytest.mark.usefixtures("judged_by_an_early_id")
def test_when_one_has_ended_those_that_are_worse_are_eliminated(composer: Composer) -> None:
    left = stayed = 0
    for seed in range(12):
        request = request_for(composer, candidates=2, seed=seed)
        made = composer.compose(request, [], [], FOREVER_S)
        kind = composer.vocabulary.kind
        one, two = sorted(made.candidates, key=lambda ids: (kind[ids[-1]] == PAD, len(ids)))
        last = kind[two[-1]]  # PAD, or both have ended, this one later
        first, other = one, two
        if last == EOS and len(one) == len(two):
            continue
        ended, then = (sum(by_an_early_id(ids).values()) for ids in (first, other))
        assert (then >= ended) == (last == PAD)
        if last == PAD:  # at once
            assert len(other) == len(first) + 1
        left, stayed = left + (last == PAD), stayed + (last == EOS)
    assert left and stayed


def test_a_single_candidate_is_not_judged(composer: Composer) -> None:
    assert composer.compose(request_for(composer), [], [], FOREVER_S).penalties == []


def test_the_first_candidate_draws_what_a_single_one_would(composer: Composer) -> None:
    # of a float32 graph, where rows of a batch have nothing in common but rounding
    alone = composer.compose(request_for(composer), [], [], 60, StepClock()).candidates[0]
    among = composer.compose(request_for(composer, candidates=3), [], [], 60, StepClock())
    shorter = min(len(alone), len(among.candidates[0]))
    assert shorter > 40 and among.candidates[0][:shorter] == alone[:shorter]
    assert among.candidates[1] != among.candidates[0]


def test_candidates_that_are_not_of_one_run_are_refused(
    composer: Composer, whole: list[int]
) -> None:
    with pytest.raises(TokensError, match="style"):
        composer.compose(request_for(composer, style="hymn"), [], [whole[:40]], FOREVER_S)
    with pytest.raises(TokensError, match="EOS"):
        composer.compose(request_for(composer), [], [whole], FOREVER_S)
    two = request_for(composer, candidates=2)
    with pytest.raises(TokensError, match="2"):
        composer.compose(two, [], [whole[:40]], FOREVER_S)
    with pytest.raises(TokensError, match="equally far"):
        composer.compose(two, [], [whole[:40], whole[:41]], FOREVER_S)
    with pytest.raises(TokensError, match="equally far"):
        composer.compose(two, [], [whole[:40], whole], FOREVER_S)
