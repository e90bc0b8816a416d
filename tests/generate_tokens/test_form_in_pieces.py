"""Composing with plans, memory, guards, voices, a motif and a prompt, by an untrained model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.errors import EventError
from contract.request import LONGEST, UNPLANNED, parse_request
from generate_tokens.compose import NO_STYLE, Composer, Composition
from generate_tokens.draws import drawn
from generate_tokens.motif import Motif, motif_of
from generate_tokens.sequence import PREFIX, Batch, TokenSequence
from music.form import plan_of_letters
from music.memory import CopyWeights
from music.tracker import BAR, LONG_AGO_BARS, TEMPO, TIMESIG
from tests.generate_tokens.composing import FOREVER_S, in_calls, request_for, seconds_of
from tests.music.writing import VOCABULARY, id_of, joined, line, piece_of_bars

TUNE = [line((0, 67, 12), (12, 69, 12), (24, 71, 24)), line((0, 72, 12), (12, 71, 12))]
PROMPT = joined(piece_of_bars([line((0, 60, 12), (12, 64, 12)), line((0, 62, 24))]))
# The second bar, of three quarters, begins with its line: it has neither the program nor a tempo.
IN_TWO_METRES = PROMPT[: PROMPT.index(PROMPT[0], 1)] + [
    id_of(name)
    for name in ("Bar_None", "TimeSig_3/4", "Position_12", "Pitch_62", "Duration_2.0.12")
]
WITHOUT_TEMPO = [token for token in PROMPT if VOCABULARY.kind[token] != TEMPO]


def tune() -> Motif:
    motif = motif_of(joined(piece_of_bars(TUNE)), VOCABULARY)
    assert motif is not None
    return motif


def bars_of(ids: Sequence[int]) -> list[tuple[int, ...]]:
    """The ids of each bar, without the tempo."""
    bars: list[list[int]] = []
    for token in ids:
        if VOCABULARY.kind[token] == BAR:
            bars.append([])
        elif bars and VOCABULARY.kind[token] != TEMPO:
            bars[-1].append(token)
    return [tuple(bar) for bar in bars]


def assert_interruptions_change_nothing(
    composer: Composer,
    budget_s: int,
    prompt: list[int],
    motif: Motif | None = None,
    **fields: Any,
) -> Composition:
    request = request_for(composer, **{"duration_s": 14, **fields})
    whole = composer.compose(request, prompt, [], FOREVER_S, motif=motif)
    parts = in_calls(composer, request, prompt, budget_s, motif)
    assert (parts.candidates, parts.ids) == (whole.candidates, whole.ids)
    assert (parts.plan, parts.taken_up) == (whole.plan, whole.taken_up)
    assert parts.sampled < whole.sampled, "it was interrupted"
    return whole


@pytest.mark.parametrize("form", ["drawn", "none", "AB"])
@pytest.mark.parametrize("candidates", [1, 3])
def test_interruptions_change_nothing_in_a_piece_with_a_motif(
    planned: Composer, candidates: int, form: str
) -> None:
    whole = assert_interruptions_change_nothing(
        planned, 61, [], tune(), candidates=candidates, form=form, duration_s=20
    )
    assert whole.taken_up is not None


@settings(max_examples=5, deadline=None)
@given(budget_s=st.integers(7, 60))
def test_calls_of_any_length_change_nothing(planned: Composer, budget_s: int) -> None:
    assert_interruptions_change_nothing(planned, budget_s, [], tune(), candidates=3, form="AABA")


@pytest.mark.parametrize("form", ["drawn", "none", "AB"])
@pytest.mark.parametrize("style", ["folk", "chorale"])
def test_interruptions_change_nothing_after_a_prompt(
    planned: Composer, style: str, form: str
) -> None:
    whole = assert_interruptions_change_nothing(
        planned, 61, PROMPT, tune(), style=style, form=form, candidates=2
    )
    assert whole.taken_up is None, "a piece with a prompt continues that"
    fresh = request_for(planned, style=style, form=form, candidates=2, duration_s=14)
    assert planned.compose(fresh, [], [], FOREVER_S).ids != whole.ids


@pytest.mark.parametrize("style", ["folk", "chorale"])
@pytest.mark.parametrize(
    ("prompt", "metre"),
    [(IN_TWO_METRES, "3/4"), (IN_TWO_METRES, "4/4"), (WITHOUT_TEMPO, "4/4")],
    ids=["its last metre", "its first metre", "no tempo"],
)
def test_a_prompt_of_two_metres_or_no_tempo_leads_into_the_piece(
    planned: Composer, prompt: list[int], metre: str, style: str
) -> None:
    whole = assert_interruptions_change_nothing(planned, 61, prompt, style=style, metre=metre)
    request = request_for(planned, style=style, metre=metre, duration_s=14)
    assert whole.ids[PREFIX : PREFIX + 4] == planned.beginning.opening(request)
    assert whole.plan is not None
    assert len(whole.plan.lags) == planned.beginning.count_bars(prompt) + planned.beginning.bars_of(
        request
    )
    assert planned.likeliest_style(prompt) in planned.bundle.styles
    assert 0.5 * 14 < seconds_of(planned, whole.ids[PREFIX:-1]) <= LONGEST * 14


def test_what_leads_a_piece_changes_it(planned: Composer) -> None:
    def ids_of(motif: Motif | None = None, **fields: Any) -> tuple[int, ...]:
        made = planned.compose(request_for(planned, **fields), [], [], FOREVER_S, motif=motif)
        return tuple(made.ids[PREFIX:])

    ways = [ids_of(), ids_of(form="none"), ids_of(form="AAAA"), ids_of(form="AABA"), ids_of(tune())]
    ways.append(ids_of(style="chorale"))
    assert len(set(ways)) == len(ways)


@pytest.mark.parametrize("fields", [{}, {"style": None, "metre": None, "tempo": None}])
def test_candidates_share_metre_tempo_and_plan(planned: Composer, fields: dict[str, Any]) -> None:
    request = request_for(planned, candidates=4, **fields)
    made = planned.compose(request, [], [], FOREVER_S)
    asked = drawn(request, planned.bundle)
    opening = planned.beginning.opening(asked)
    assert [VOCABULARY.kind[i] for i in opening][1::2] == [TIMESIG, TEMPO]
    assert VOCABULARY.entries[opening[1]][1] == asked.metre
    assert float(VOCABULARY.entries[opening[3]][1]) == asked.tempo
    assert {tuple(ids[PREFIX : PREFIX + 4]) for ids in made.candidates} == {tuple(opening)}
    assert {ids[1] for ids in made.candidates} == {planned.bundle.styles[asked.style or ""]}
    assert len({tuple(ids) for ids in made.candidates}) == 4
    plan = planned.beginning.plan(asked, [])
    assert plan is not None and made.plan == plan
    assert len(plan.lags) == planned.beginning.bars_of(asked)


@pytest.fixture
def sure_of_copies(planned: Composer, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = CopyWeights([0.0] * 8, [0.0] * 8, [[0.999] * 4] * 3)
    monkeypatch.setattr(planned.beginning, "weights", weights)


@pytest.mark.usefixtures("sure_of_copies")
def test_bars_return_where_the_plan_says_so(planned: Composer) -> None:
    returned = {"AAAA": 0, "A": 0}
    for form in returned:
        for seed in range(4):
            request = request_for(planned, form=form, duration_s=35, seed=seed)
            bars = bars_of(planned.compose(request, [], [], FOREVER_S).ids)
            section = planned.beginning.bars_of(request) // 4
            for bar in range(section, len(bars) - 2):  # the end is led elsewhere
                returned[form] += bars[bar] == bars[bar % section]
    # of 4 * 3 * 4 bars; others have a key that sounds already, or stand still
    assert returned["AAAA"] > 12 and returned["A"] == 0


def test_no_form_is_no_plan_and_a_form_of_letters_is_that(planned: Composer) -> None:
    request = request_for(planned, form=UNPLANNED)
    assert planned.beginning.plan(request, []) is None
    assert planned.compose(request, [], [], FOREVER_S).plan is None
    lettered = request_for(planned, form="ABA", duration_s=18.6)
    bars = planned.beginning.bars_of(lettered)
    assert bars % 3 == 0
    made = planned.compose(lettered, [], [], FOREVER_S)
    assert planned.beginning.plan(lettered, []) == made.plan == plan_of_letters("ABA", bars)
    assert made.plan.sections() == [(letter, bars // 3) for letter in "ABA"]


def test_more_letters_than_bars_are_refused_by_the_name_of_the_field(planned: Composer) -> None:
    bars = planned.beginning.bars_of(request_for(planned, duration_s=8))
    for prompt in ([], PROMPT):
        request = request_for(planned, duration_s=8, form="AB" * bars)
        with pytest.raises(EventError, match=f"form (AB)+ has {2 * bars} sections"):
            planned.compose(request, prompt, [], FOREVER_S)


def test_the_plan_of_a_piece_with_a_prompt_begins_with_the_bars_of_the_prompt(
    planned: Composer,
) -> None:
    request = request_for(planned, seed=5)
    plan, bars = planned.beginning.plan(request, PROMPT), planned.beginning.bars_of(request)
    assert plan is not None and len(plan.lags) == 2 + bars
    made = planned.compose(request, PROMPT, [], FOREVER_S)
    assert made.plan == plan


@given(seed=st.integers(0, 2**32 - 1), duration_s=st.floats(5, 600))
def test_a_plan_has_as_many_bars_as_the_wanted_length(
    planned: Composer, seed: int, duration_s: float
) -> None:
    request = drawn(
        parse_request({"seed": seed, "duration_s": duration_s}, planned.bundle, "2026-01-01"),
        planned.bundle,
    )
    beats, unit = map(int, (request.metre or "").split("/"))
    bar_s = 240 * beats / unit / (request.tempo or 0)
    bars = planned.beginning.bars_of(request)
    assert bars >= 1
    assert abs(bars * bar_s - duration_s) <= bar_s / 2 + 1e-3 or bars == 1


def test_only_styles_in_voices_are_kept_from_parallels(planned: Composer) -> None:
    for style in planned.bundle.styles:
        sequence = planned.beginning.sequence(request_for(planned, style=style), None)
        assert (sequence.voices is not None) == (style in planned.bundle.voices)


def nats_by_style(composer: Composer, prompt: Sequence[int]) -> dict[str, float]:
    """Alone in the decoder, style after style."""
    nats = {}
    for style, style_id in composer.bundle.styles.items():
        sequence = TokenSequence(
            VOCABULARY, composer.bundle.bos_id, style_id, composer.beginning.weights
        )
        sequence.state.bars_before = LONG_AGO_BARS
        batch = Batch(composer.decoder, [sequence])
        batch.replay(0)
        nats[style] = 0.0
        for token in prompt:
            logits = batch.logits(0).astype(np.float64)
            nats[style] += float(np.logaddexp.reduce(logits) - logits[token])
            sequence.append(token)
            batch.push()
    return nats


@pytest.mark.parametrize("bars", [1, 2])
def test_the_likeliest_style_is_the_one_that_finds_the_prompt_least_surprising(
    composer: Composer, bars: int
) -> None:
    prompt = joined(piece_of_bars(TUNE[:bars]))
    nats = nats_by_style(composer, prompt)
    assert len(set(nats.values())) == len(nats)
    named = {style: n for style, n in nats.items() if style != NO_STYLE}
    assert composer.likeliest_style(prompt) == min(named, key=named.__getitem__)


def test_asking_for_the_likeliest_style_changes_no_piece(planned: Composer) -> None:
    request = request_for(planned, candidates=2, duration_s=10)
    before = planned.compose(request, [], [], FOREVER_S).candidates
    planned.likeliest_style(PROMPT)
    assert planned.compose(request, [], [], FOREVER_S).candidates == before
