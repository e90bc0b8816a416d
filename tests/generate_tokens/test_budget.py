"""Composing against the clock: what is reserved, and what happens when time is up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from contract.errors import BudgetError
from generate_tokens.compose import BUDGET, JUDGING, UNFINISHED, Composer
from generate_tokens.deadline import MOST_RESERVED, RESERVED_STEPS, Deadline
from generate_tokens.sequence import PREFIX
from music.tracker import BAR, DURATION, EOS, PITCH
from tests.generate_tokens.composing import StepClock, request_for


def test_a_spent_budget_is_an_error_not_an_endless_loop(composer: Composer) -> None:
    with pytest.raises(BudgetError, match="time-out"):
        composer.compose(request_for(composer), [], [], -1.0)


@pytest.mark.parametrize("candidates", [1, 3])
def test_an_unfinished_piece_stops_well_within_the_budget(
    composer: Composer, candidates: int
) -> None:
    clock = StepClock()
    request = request_for(composer, candidates=candidates)
    made = composer.compose(request, [], [], 50, clock)
    assert made.stopped == UNFINISHED and made.ids == []
    # each step takes a second, as does getting ready
    assert made.sampled == candidates * (50 - 1 - RESERVED_STEPS)
    assert clock.now <= 53


def test_a_slow_step_makes_the_reserve_longer(composer: Composer) -> None:
    class Stall(StepClock):
        def __call__(self) -> float:
            if 20 <= self.now < 21:
                self.now += 9  # the machine was busy
            return super().__call__()

    clock = Stall()
    made = composer.compose(request_for(composer), [], [], 100, clock)
    assert made.sampled == 100 - 1 - 9 - 10 * RESERVED_STEPS


def test_more_is_reserved_before_a_step_that_slides_the_windows(
    composer: Composer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composer, "_slide_s", 10.0)
    monkeypatch.setattr("generate_tokens.compose.JUDGING", 0.0)
    request = request_for(composer, candidates=2, duration_s=3600)
    full = composer.decoder.context - PREFIX
    between = 1.5 * RESERVED_STEPS * 10  # one window's slide is reserved for any step
    made = composer.compose(request, [], [], full + between, StepClock())
    assert [len(ids) - PREFIX for ids in made.candidates] == [full, full]


def test_a_part_of_each_call_is_used_whatever_would_be_reserved(composer: Composer) -> None:
    made = composer.compose(
        request_for(composer), [], [], 101, StepClock(), answer_s=lambda _tokens: 1000.0
    )
    assert made.sampled == (101 - 1) * (1 - MOST_RESERVED)


def test_what_the_answer_takes_is_reserved_too(composer: Composer) -> None:
    made = composer.compose(
        request_for(composer),
        [],
        [],
        100,
        StepClock(),
        answer_s=lambda tokens: 60.0 if tokens > 20 else 0.0,
    )
    assert made.sampled == 100 - 1 - 60 - RESERVED_STEPS


def test_a_budget_of_one_step_is_progress(composer: Composer) -> None:
    assert composer.compose(request_for(composer), [], [], 1.5, StepClock()).sampled == 1


@pytest.mark.parametrize("candidates", [1, 3])
def test_a_piece_can_be_closed_at_a_bar_when_the_budget_ends(
    composer: Composer, in_four: Callable[[bool], None], candidates: int
) -> None:
    in_four(False)
    request = request_for(composer, duration_s=600, budget_end="close", candidates=candidates)
    going_on = replace(request, budget_end="continue")
    cut = composer.compose(going_on, [], [], 600, StepClock()).candidates
    made = composer.compose(request, [], [], 600, StepClock())
    assert made.stopped == BUDGET and made.finished and made.candidates == cut
    kinds = [composer.vocabulary.kind[token] for token in made.ids]
    assert kinds[-2:] == [DURATION, EOS]
    body = made.ids[:-1]
    whole = next(ids for ids in cut if ids[: len(body)] == body)
    rest = [composer.vocabulary.kind[token] for token in whole[len(body) :]]
    assert BAR in rest  # what was dropped began with a bar line
    assert PITCH not in rest[: rest.index(BAR)]
    assert 0 < made.music_s < 600


def test_closing_before_the_first_note_is_an_error(composer: Composer) -> None:
    request = request_for(composer, budget_end="close")
    with pytest.raises(BudgetError, match="note"):
        composer.compose(request, [], [], 1.5, StepClock())


def test_time_to_judge_candidates_is_reserved(
    composer: Composer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composer, "_slide_s", 1.0)
    request = request_for(composer, candidates=2, duration_s=3600)
    made = composer.compose(request, [], [], 1000, StepClock())
    assert made.stopped == UNFINISHED
    assert 1000 - made.decode_s >= RESERVED_STEPS + made.sampled * JUDGING - 2
    assert made.sampled * JUDGING > 4


def steps_of(budget_s: float, clock: StepClock, slides: int = 0) -> int:
    """How many steps a deadline allows, every ``slides``-th of which slides the windows."""
    deadline = Deadline(budget_s, 0.5, 20.0, lambda _ids: 0.0, clock)
    steps = 0
    while deadline.allows_step(steps, slides=bool(slides) and steps % slides == slides - 1):
        steps += 1
        assert steps < 10_000
    return steps


def test_a_deadline_reserves_four_of_the_slowest_steps() -> None:
    assert steps_of(100, StepClock()) == 100 - 1 - 4 * 1


def test_a_deadline_knows_how_long_a_slide_takes_before_the_first() -> None:
    # 4 * 20 s are more than the 3/4 of the budget that may be reserved at most
    assert steps_of(100, StepClock(), slides=30) == 29


@pytest.mark.parametrize("budget_s", [-1.0, 0.0, 1.0])
def test_a_deadline_that_is_over_allows_nothing(budget_s: float) -> None:
    assert steps_of(budget_s, StepClock()) == 0
