"""Composing with an untrained model: form, budget, resume, determinism."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from generate_tokens.bundle import Bundle
from generate_tokens.choice import LATEST_END_BARS, faults_of
from generate_tokens.compose import (
    BUDGET,
    HALVING,
    JUDGING,
    RESERVE_STEPS,
    UNFINISHED,
    Composer,
    Composition,
)
from generate_tokens.errors import BudgetError, BundleError, TokensError
from generate_tokens.grammar import Grammar
from generate_tokens.request import Request, parse_request
from generate_tokens.sequence import TokenSequence
from generate_tokens.state import BAR, DURATION, EOS, PAD, PITCH, TIMESIG, MusicState
from tests.generate_tokens.music import ids_of

FOREVER_S = 1e9


class StepClock:
    """A clock that each reading moves on by one second: a budget of n s is about n tokens."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture(scope="module")
def composer(tiny_bundle: Path) -> Composer:
    return Composer(Bundle.load(tiny_bundle))


def request_for(composer: Composer, **fields: Any) -> Request:
    event = {"style": "folk", "seed": 3, "duration_s": 20, "candidates": 1, **fields}
    return parse_request(event, composer.bundle, "2026-01-01T00:00:00Z")


def is_duration(composer: Composer, token: int) -> bool:
    return composer.vocabulary.kind[token] == DURATION


def in_rounds(
    composer: Composer, request: Request, prompt: list[int], budget_s: float
) -> Composition:
    candidates: list[list[int]] = []
    while True:
        made = composer.compose(request, prompt, candidates, budget_s, StepClock())
        if made.finished:
            return made
        candidates = made.candidates


@pytest.fixture(scope="module")
def whole(composer: Composer) -> list[int]:
    """A piece of several windows (the context is 64), made without interruption."""
    made = composer.compose(request_for(composer), [], [], FOREVER_S)
    assert made.finished and len(made.ids) > 3 * composer.bundle.context
    return made.ids


def bars_left_at_the_end(composer: Composer, ids: list[int], duration_s: float) -> int:
    """Of the piece's planned bars, how many were left in the bar of its last note: 1 is on time."""
    state = MusicState(composer.vocabulary)
    for token in ids[2:-1]:
        state.step(token)
    left = state.bars_left(duration_s)
    assert left is not None
    return left


@pytest.fixture
def in_four(composer: Composer, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Keeps every piece in 4/4; called with True, ends it as soon as it may end."""
    choices = Grammar.choices
    bar, four = (
        composer.bundle.vocabulary.index(token) for token in (("Bar", "None"), ("TimeSig", "4/4"))
    )

    def patch(ends: bool) -> None:
        def chosen(self: Grammar, state: MusicState, may_end: bool = False) -> NDArray[np.int64]:
            ids = choices(self, state, may_end)
            if state.kind == BAR:
                return np.array([four])
            if ends and composer.bundle.eos_id in ids:
                return np.array([composer.bundle.eos_id])
            if state.kind == TIMESIG:
                ids = ids[ids != bar]  # no bar without a note
            return ids

        monkeypatch.setattr(Grammar, "choices", chosen)

    return patch


@pytest.mark.parametrize("duration_s", range(6, 26, 2))
def test_a_piece_that_finds_no_end_is_cut_after_its_last_note(
    composer: Composer, in_four: Callable[[bool], None], duration_s: int
) -> None:
    in_four(False)  # an untrained model hardly ever draws EOS
    made = composer.compose(request_for(composer, duration_s=duration_s), [], [], FOREVER_S)
    kinds = [composer.vocabulary.kind[token] for token in made.ids[-2:]]
    assert made.finished and kinds == [DURATION, EOS]
    assert -LATEST_END_BARS <= bars_left_at_the_end(composer, made.ids, duration_s) <= 1


@pytest.mark.parametrize("duration_s", [6, 17, 33, 60])
def test_an_end_that_the_model_wants_comes_in_the_last_planned_bar(
    composer: Composer, in_four: Callable[[bool], None], duration_s: int
) -> None:
    in_four(True)
    made = composer.compose(request_for(composer, duration_s=duration_s), [], [], FOREVER_S)
    assert made.finished and bars_left_at_the_end(composer, made.ids, duration_s) == 1


def test_a_piece_does_not_stay_on_one_note(composer: Composer, tokenizer: Any) -> None:
    opening = ("Bar_None", "TimeSig_4/4", "Position_0", "Tempo", "Program_0")
    one_note = [
        ("Pitch_60", "Duration_0.1.12"),
        *[
            (
                *(("Bar_None", "TimeSig_4/4") if i % 48 == 0 else ()),
                f"Position_{i % 48}",
                "Pitch_60",
                "Duration_0.1.12",
            )
            for i in range(1, 60)
        ],
    ]
    names = (*opening, *(name for note in one_note for name in note), "Position_20")
    sequence = TokenSequence(
        composer.vocabulary, composer.bundle.bos_id, composer.bundle.styles["folk"]
    )
    for token in ids_of(tokenizer, *names):
        sequence.append(token)
    sixty = tokenizer["Pitch_60"]
    cold = replace(request_for(composer), temperature=0.0)
    logits = np.zeros(composer.vocabulary.size, np.float32)
    logits[sixty] = 9
    assert composer._sample(sequence, logits.copy(), cold, 0.5) != sixty
    sequence.variety.left_out = frozenset()
    assert composer._sample(sequence, logits.copy(), cold, 0.5) == sixty


def test_the_same_seed_gives_the_same_ids_and_another_does_not(
    composer: Composer, whole: list[int]
) -> None:
    again = composer.compose(request_for(composer), [], [], FOREVER_S).ids
    other = composer.compose(request_for(composer, seed=4), [], [], FOREVER_S).ids
    assert again == whole and other != whole


@settings(max_examples=8, deadline=None)
@given(budget_s=st.integers(2, 400))
def test_interruptions_change_nothing(composer: Composer, whole: list[int], budget_s: int) -> None:
    assert in_rounds(composer, request_for(composer), [], budget_s).ids == whole


@settings(max_examples=8, deadline=None)
@given(budget_s=st.integers(2, 300), candidates=st.integers(2, 5))
def test_interruptions_change_nothing_of_any_candidate(
    composer: Composer, budget_s: int, candidates: int
) -> None:
    request = request_for(composer, candidates=candidates, duration_s=12)
    straight = composer.compose(request, [], [], FOREVER_S)
    lengths = {len(ids) for ids in straight.candidates}
    assert len(lengths) > 1, "some should drop out early"
    made = in_rounds(composer, request, [], budget_s)
    assert (made.candidates, made.ids) == (straight.candidates, straight.ids)


def test_interruptions_change_nothing_after_a_prompt(composer: Composer, whole: list[int]) -> None:
    opening = whole[2:6]  # an untrained model's bars are too long for half of this context
    note = whole[6 : next(i for i, t in enumerate(whole) if is_duration(composer, t)) + 1]
    prompt = [*opening, *note]
    assert len(prompt) <= composer.bundle.context // 2
    request = request_for(composer, seed=9, candidates=2)
    straight = composer.compose(request, prompt, [], FOREVER_S)
    assert in_rounds(composer, request, prompt, 37).candidates == straight.candidates
    assert straight.ids[2:6] == opening  # metre, Position_0 and tempo go on
    assert straight.ids != composer.compose(request, [], [], FOREVER_S).ids


def test_candidates_of_an_int8_bundle_survive_interruptions_too(
    int8_bundle: Path,
) -> None:
    composer = Composer(Bundle.load(int8_bundle))
    request = request_for(composer, candidates=3, duration_s=12)
    straight = composer.compose(request, [], [], FOREVER_S)
    for budget_s in (7, 40, 150):
        assert in_rounds(composer, request, [], budget_s).candidates == straight.candidates


def test_the_candidate_with_the_fewest_faults_is_kept(composer: Composer) -> None:
    made = composer.compose(request_for(composer, candidates=4, seed=3), [], [], FOREVER_S)
    ended = [n for n, ids in enumerate(made.candidates) if ids[-1] == composer.bundle.eos_id]
    sums = {n: sum(made.faults[n].values()) for n in ended}
    assert len(made.faults) == 4 and len(set(sums.values())) == 2
    best = made.candidates[min(sums, key=sums.__getitem__)]
    body = made.ids[:-1]
    assert best[: len(body)] == body and made.ids[-1] == composer.bundle.eos_id
    assert all(composer.vocabulary.kind[i] != PITCH for i in best[len(body) :])


def seconds_of(composer: Composer, ids: list[int]) -> float:
    state = MusicState(composer.vocabulary)
    for token in ids:
        state.step(token)
    return state.seconds


@pytest.mark.parametrize(("candidates", "stay"), [(3, 2), (4, 2), (7, 4)])
def test_after_a_quarter_the_worse_half_leaves(
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
        sum(faults_of(ids[2 : first - 1], composer.vocabulary).values()) for ids in made.candidates
    ]
    staying = set(range(candidates)) - set(leaving)
    assert max(sums[n] for n in staying) <= min(sums[n] for n in leaving)
    for end, enough in ((first - 1, True), (first - 2, False)):
        passed = [seconds_of(composer, ids[2:end]) >= HALVING * 60 for ids in made.candidates]
        assert (sum(passed) >= stay) == enough


def test_when_one_has_ended_those_that_are_worse_leave(composer: Composer) -> None:
    left = stayed = 0
    for seed in range(8):
        request = request_for(composer, candidates=2, seed=seed)
        made = composer.compose(request, [], [], FOREVER_S)
        kind = composer.vocabulary.kind
        one, two = sorted(made.candidates, key=lambda ids: (kind[ids[-1]] == PAD, len(ids)))
        last = kind[two[-1]]  # PAD, or both have ended, this one later
        first, other = one, two
        if last == EOS and len(one) == len(two):
            continue
        ended = sum(composer._faults(first, request).values())
        so_far = other[2 : len(first)]  # with the token that it took as the first ended
        so_far = so_far[:-1] if kind[so_far[-1]] == PAD else so_far
        then = sum(faults_of(so_far, composer.vocabulary).values())
        assert (then >= ended) == (last == PAD)
        left, stayed = left + (last == PAD), stayed + (last == EOS)
    assert left and stayed


def test_a_single_candidate_is_not_judged(composer: Composer) -> None:
    assert composer.compose(request_for(composer), [], [], FOREVER_S).faults == []


def test_the_first_candidate_draws_what_a_single_one_would(composer: Composer) -> None:
    # of a float32 graph, where rows of a batch have nothing in common but rounding
    alone = composer.compose(request_for(composer), [], [], 60, StepClock()).candidates[0]
    among = composer.compose(request_for(composer, candidates=3), [], [], 60, StepClock())
    shorter = min(len(alone), len(among.candidates[0]))
    assert shorter > 40 and among.candidates[0][:shorter] == alone[:shorter]
    assert among.candidates[1] != among.candidates[0]


def test_a_finished_piece_decodes_to_every_one_of_its_notes(
    composer: Composer, whole: list[int], tokenizer: Any
) -> None:
    score = tokenizer.decode(whole[2:-1])
    pitches = [i for i in whole if composer.vocabulary.kind[i] == PITCH]
    assert score.note_num() == len(pitches) > 50


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
    assert made.sampled == candidates * (50 - 1 - RESERVE_STEPS)
    assert clock.now <= 53


def test_a_slow_step_makes_the_reserve_longer(composer: Composer) -> None:
    class Stall(StepClock):
        def __call__(self) -> float:
            if 20 <= self.now < 21:
                self.now += 9  # the machine was busy
            return super().__call__()

    clock = Stall()
    made = composer.compose(request_for(composer), [], [], 100, clock)
    assert made.sampled == 100 - 1 - 9 - 10 * RESERVE_STEPS


def test_what_the_answer_takes_is_kept_back_too(composer: Composer) -> None:
    made = composer.compose(
        request_for(composer),
        [],
        [],
        100,
        StepClock(),
        answer_s=lambda tokens: 60.0 if tokens > 20 else 0.0,
    )
    assert made.sampled == 100 - 1 - 60 - RESERVE_STEPS


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


@pytest.mark.parametrize(
    "names",
    [
        ("Duration_1.0.12",),
        ("Bar_None", "TimeSig_4/4", "Position_0", "Tempo", "Program_0", "Duration_1.0.12"),
        ("Bar_None", "TimeSig_2/4", "Position_0", "Tempo", "Position_24"),
        ("Bar_None", "TimeSig_2/4", "Position_0", "Tempo", "Position_3", "Pitch_60"),
        ("PAD_None",),
    ],
)
def test_ids_that_are_not_music_are_refused(
    composer: Composer, tokenizer: Any, names: tuple[str, ...]
) -> None:
    ids = ids_of(tokenizer, *names)
    with pytest.raises(TokensError, match=f"id {len(ids) - 1}, "):
        composer.compose(request_for(composer), ids, [], FOREVER_S)


@pytest.mark.parametrize(
    ("section", "changes"),
    [
        ("model", {"layers": 3}),
        ("model", {"kv_heads": 2}),
        ("model", {"head_size": 16}),
        ("model", {"pitches": 10}),
        ("grammar", {"Pitch": ["Velocity"]}),
        ("sampling", {"temperature": -3}),
        ("ids", {"bos": 100}),
        ("ids", {"styles": {"chorale": 200}}),
        ("grammar", {"Style": []}),
    ],
)
def test_a_bundle_json_that_does_not_fit_its_graph_is_refused_by_name(
    tiny_bundle: Path, tmp_path: Path, section: str, changes: dict[str, Any]
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_bundle, folder)
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest[section] |= changes
    (folder / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError):
        Composer(Bundle.load(folder))


def test_temperature_zero_needs_no_luck(composer: Composer) -> None:
    cold = replace(request_for(composer), temperature=0.0)
    first = composer.compose(cold, [], [], 60, StepClock()).candidates
    second = composer.compose(replace(cold, seed=99), [], [], 60, StepClock()).candidates
    assert first == second


def test_bars_come_back_when_they_are_asked_to(composer: Composer) -> None:
    repeated = []
    for recall in (0, 10):
        request = request_for(composer, duration_s=60, recall=recall)
        ids = composer.compose(request, [], [], FOREVER_S).ids
        bar = composer.bundle.vocabulary.index(("Bar", "None"))
        text = " ".join(map(str, ids[2:-1]))
        bars = text.split(f"{bar} ")[1:]
        repeated.append(1 - len(set(bars)) / len(bars))
    assert repeated[1] > repeated[0] + 0.1


def test_time_to_judge_candidates_is_kept_back(
    composer: Composer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composer, "_slide_s", 1.0)
    request = request_for(composer, candidates=2, duration_s=3600)
    made = composer.compose(request, [], [], 1000, StepClock())
    assert made.stopped == UNFINISHED
    assert 1000 - made.decode_s >= 2 * RESERVE_STEPS + made.sampled * JUDGING - 2
    assert made.sampled * JUDGING > 4


@pytest.mark.parametrize("temperature", [0, 1])
def test_ids_after_which_nothing_can_be_struck_are_refused(
    composer: Composer, tokenizer: Any, temperature: float
) -> None:
    names = ["Bar_None", "TimeSig_4/4", "Position_0", "Tempo", "Program_0"]
    for pitch in range(24, 104):
        names += [f"Pitch_{pitch}", "Duration_16.0.4"]
    ids = ids_of(tokenizer, *names, "Program_6", "Pitch_60", "Duration_1.0.12")
    ids += ids_of(tokenizer, "Position_12", "Program_0")
    opening = [composer.bundle.bos_id, composer.bundle.styles["folk"]]
    request = request_for(composer, temperature=temperature)
    with pytest.raises(TokensError, match="sounds already"):
        composer.compose(request, [], [opening + ids], FOREVER_S)
