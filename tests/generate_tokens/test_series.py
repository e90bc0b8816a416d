"""From day to day: yesterday's motif is taken up, and nothing else of it reaches today."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.errors import TokensError
from contract.job import MOST_MOTIF_IDS
from contract.request import parse_request
from generate_tokens import handler as module
from generate_tokens.compose import Composer
from generate_tokens.motif import MOST_BARS, MotifGuide, motif_of
from music.form import Plan
from music.tracker import TEMPO
from tests.generate_tokens.composing import StepClock
from tests.generate_tokens.days import PLENTY, Context, job, store_piece
from tests.music.writing import (
    VOCABULARY,
    comes_in,
    joined,
    line,
    piece_of_bars,
    struck_by_bar,
)

TUNE = [line((0, 67, 12), (12, 69, 12), (24, 71, 24)), line((0, 72, 12), (12, 71, 12))]
DRAWN = ("style", "metre", "tempo")


def ids_of_bars(bars: Sequence[Any]) -> list[int]:
    return joined(piece_of_bars(bars))


def store_yesterday(composer: Composer, s3: Any, body: Sequence[int], date: str) -> None:
    bundle = composer.bundle
    ids = [bundle.bos_id, bundle.styles["hymn"], *body, bundle.eos_id]
    store_piece(s3, date, {"model_id": bundle.model_id, "ids": ids})


@pytest.fixture
def yesterday(lambda_composer: Composer, s3: Any) -> Composer:
    """A composer with a piece of the day before, whose third bar belongs to no motif."""
    store_yesterday(lambda_composer, s3, ids_of_bars([*TUNE, TUNE[0]]), "2026-03-01")
    return lambda_composer


def made(state: dict[str, Any], context: Context = PLENTY) -> dict[str, Any]:
    """The generation that a call answers with, and beside it the answer's request and prompt."""
    answer = module.handler(state, context)
    return {**answer["generation"], **{k: answer.get(k) for k in ("request", "prompt")}}


def test_the_opening_motif_of_yesterday_is_taken_up(yesterday: Composer) -> None:
    today = made(job(duration_s=20))
    assert (today["continued_from"], today["fresh_because"]) == ("2026-03-01", None)
    assert today["prompt"] is None
    assert today["motif_ids"] == ids_of_bars(TUNE)
    motif = motif_of(today["motif_ids"], VOCABULARY)
    assert motif is not None
    taken_up = today["taken_up"]
    moved = [pitch + taken_up["shift"] for pitch in motif.pitches]
    bars = struck_by_bar(today["ids"][2:-1])[taken_up["bar"] :][:MOST_BARS]
    assert taken_up["pitches"] and comes_in(taken_up["pitches"], moved)
    assert comes_in(taken_up["pitches"], (pitch for bar in bars for _, pitch in bar))
    assert today["ids"] != made(job(duration_s=20, prompt="fresh"))["ids"]


def test_ids_behind_the_motif_are_not_looked_at(
    lambda_composer: Composer, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever follows the opening costs nothing: hostile ids took half a minute."""
    bodies, looked_at, look = [], [], lambda_composer.check

    def check(ids: Sequence[int], where: str) -> None:
        looked_at.append(len(ids))
        look(ids, where)

    monkeypatch.setattr(lambda_composer, "check", check)
    for later in ([], ids_of_bars([TUNE[0]] * 50_000)[:240_000]):
        store_yesterday(lambda_composer, s3, [*ids_of_bars([*TUNE, *TUNE]), *later], "2026-03-01")
        began = time.process_time()
        bodies.append(made(job(duration_s=5))["motif_ids"])
        assert time.process_time() - began < 4
    assert bodies[0] == bodies[1] == ids_of_bars(TUNE)
    assert 0 < max(looked_at) <= MOST_MOTIF_IDS + 1


def test_a_motif_that_finds_no_place_is_not_said_to_be_taken_up(
    yesterday: Composer, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = job(duration_s=5)
    today = made(state)
    assert (today["continued_from"], today["taken_up"]) == (None, None)
    assert today["fresh_because"] == "the motif of 2026-03-01 found no place"
    assert today["ids"] == made(job(duration_s=5, prompt="fresh"))["ids"]
    monkeypatch.setattr(yesterday, "compose", partial(yesterday.compose, clock=StepClock()))
    calls = 0
    while not (state := module.handler(state, Context(20_000)))["generation"]["finished"]:
        calls += 1
        begun = state["generation"]
        assert (begun["continued_from"], begun["fresh_because"]) == ("2026-03-01", None)
    same = ("ids", "continued_from", "fresh_because")
    assert calls and {k: state["generation"][k] for k in same} == {k: today[k] for k in same}


def test_a_motif_of_which_no_note_came_is_not_said_to_be_taken_up(
    yesterday: Composer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MotifGuide, "steer", lambda _guide, token, *_: token)
    monkeypatch.setattr(MotifGuide, "step", lambda *_: None)
    today = made(job(duration_s=20))
    assert (today["continued_from"], today["taken_up"]) == (None, None)
    assert today["fresh_because"] == "the motif of 2026-03-01 found no place"


def test_style_metre_and_tempo_are_drawn_by_the_date_whatever_yesterdays_were(
    yesterday: Composer,
) -> None:
    for date in ("2026-03-02", "2026-03-03", "2026-03-05"):
        today, fresh = (
            made(job(duration_s=10, date=date, prompt=prompt))["request"]
            for prompt in ("previous", "fresh")
        )
        assert {k: today[k] for k in DRAWN} == {k: fresh[k] for k in DRAWN}


@pytest.mark.parametrize("candidates", [1, 3])
def test_a_day_can_be_made_again_from_its_record_and_yesterdays_tokens(
    yesterday: Composer, candidates: int
) -> None:
    first = made(job(duration_s=20, candidates=candidates))
    again = job()
    again["request"] = json.loads(json.dumps(first["request"]))
    again["execution"] = {"name": "run-2", "started": "2027-01-01T00:00:00Z"}
    second = made(again)
    same = ("request", "ids", "plan", "taken_up", "motif_ids", "penalties", "continued_from")
    assert {k: second[k] for k in same} == {k: first[k] for k in same}


def test_what_yesterday_lent_goes_from_call_to_call(
    yesterday: Composer, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = job(duration_s=20, candidates=2)
    whole = made(state)
    monkeypatch.setattr(yesterday, "compose", partial(yesterday.compose, clock=StepClock()))
    calls = 0
    while not (state := json.loads(json.dumps(module.handler(state, Context(90_000)))))[
        "generation"
    ]["finished"]:
        calls += 1
        assert state["generation"]["motif_ids"] == whole["motif_ids"] and calls < 500
        assert state["generation"]["plan"] is state["generation"]["taken_up"] is None
        store_yesterday(yesterday, s3, ids_of_bars(TUNE[:1] * 2), "2026-03-01")  # read once only
    assert calls > 1
    same = ("ids", "plan", "taken_up", "motif_ids", "continued_from")
    assert {k: state["generation"][k] for k in same} == {k: whole[k] for k in same}
    assert state["request"] == whole["request"]


def test_the_message_of_an_older_day_without_a_motif_is_whole(lambda_composer: Composer) -> None:
    today = made(job(prompt="fresh"))
    assert (today["motif_ids"], today["taken_up"]) == ([], None)
    assert (today["continued_from"], today["fresh_because"]) == (None, None)


def test_a_trial_takes_up_no_daily_piece(yesterday: Composer) -> None:
    today = made(job(trial=True, duration_s=20))
    assert (today["continued_from"], today["motif_ids"]) == (None, [])


def test_all_pieces_of_a_batch_take_up_the_same(yesterday: Composer) -> None:
    batch = [made(job(pieces=2, piece=piece, duration_s=20)) for piece in (1, 2)]
    assert batch[0]["motif_ids"] == batch[1]["motif_ids"] != []
    assert batch[0]["ids"] != batch[1]["ids"]


def test_a_piece_of_another_model_is_not_taken_up(lambda_composer: Composer, s3: Any) -> None:
    store_piece(s3, "2026-03-01", {"model_id": "f" * 64, "ids": [1, 2]})
    today = made(job())
    assert today["continued_from"] is None and "another model" in today["fresh_because"]


NO_MELODY = "does not open with a melody"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ([], NO_MELODY),
        (ids_of_bars([[], line((0, 60, 48))]), NO_MELODY),
        (ids_of_bars([[]] * MOST_MOTIF_IDS + TUNE), NO_MELODY),
        ([60], "damaged"),
        ([13, 13], "damaged"),
        ([*ids_of_bars(TUNE), 1], "damaged"),
        ([0] * 10, "damaged"),
    ],
    ids=["nothing", "one note", "after a long silence", "a pitch", "two bars", "BOS", "PAD"],
)
def test_what_is_no_melody_is_not_taken_up_and_it_says_why(
    lambda_composer: Composer, s3: Any, body: list[int], reason: str
) -> None:
    store_yesterday(lambda_composer, s3, body, "2026-03-01")
    today = made(job())
    assert (today["continued_from"], today["motif_ids"], today["taken_up"]) == (None, [], None)
    assert reason in today["fresh_because"] and "2026-03-01" in today["fresh_because"]


@pytest.fixture
def begun(lambda_composer: Composer) -> dict[str, Any]:
    """The message of a piece in the making."""
    state = module.handler(job(prompt="fresh", duration_s=20), PLENTY)
    ids = state["generation"]["ids"][:12]
    state["generation"] |= {"ids": ids, "lengths": [12], "finished": False}
    return state


@pytest.mark.parametrize(
    "ids",
    [
        *(None, "13", {"a": 1}, [1.0], [-1], [10**9], [True]),
        *([60, 105], [105], [13, 13], [1], [2], [0], ids_of_bars(TUNE)[1:]),
        [*ids_of_bars(TUNE), 2],
        ids_of_bars([[]] * (1 + MOST_MOTIF_IDS // 2)),
    ],
)
def test_motif_ids_that_are_none_are_refused(begun: dict[str, Any], ids: Any) -> None:
    begun["generation"]["motif_ids"] = ids
    with pytest.raises(TokensError, match="motif_ids"):
        module.handler(begun, PLENTY)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    ids=st.lists(st.integers(0, VOCABULARY.size - 1), max_size=12)
    | st.lists(st.sampled_from(ids_of_bars(TUNE)), max_size=30)
)
def test_any_motif_ids_are_music_or_refused(begun: dict[str, Any], ids: list[int]) -> None:
    state = json.loads(json.dumps(begun))
    state["generation"]["motif_ids"] = ids
    try:
        assert made(state)["motif_ids"] == ids
    except TokensError as error:
        assert "motif_ids" in str(error)  # noqa: PT017 - either outcome is right


def with_prompt(composer: Composer, prompt: dict[str, Any], **request: Any) -> dict[str, Any]:
    """The job of a piece that continues a MIDI file."""
    asked = job(prompt=prompt["source"], **request)
    return asked | {"model_id": composer.bundle.model_id, "prompt": prompt}


def test_what_a_prompt_leaves_open_is_drawn_and_its_last_metre_goes_on(
    lambda_composer: Composer,
) -> None:
    bars = piece_of_bars([line((0, 60, 12))], metre="3/4") + piece_of_bars([line((0, 62, 12))])
    prompt = [token for token in joined(bars) if VOCABULARY.kind[token] != TEMPO]
    source = "s3://a-bucket/prompts/tune.mid"
    message = {"ids": prompt, "source": source}
    today = made(with_prompt(lambda_composer, message))
    assert (today["request"]["metre"], today["request"]["tempo"]) == ("4/4", 115.93)
    assert today["first_bar"] == 2
    bars_made = Plan.parse(today["plan"]).lags[2:]
    asked = parse_request(today["request"], lambda_composer.bundle, "2026-03-02")
    assert len(bars_made) == lambda_composer.beginning.bars_of(asked)


@pytest.mark.parametrize("name", ["style", "metre", "tempo"])
def test_a_prompt_settles_what_the_event_leaves_open(lambda_composer: Composer, name: str) -> None:
    prompt = joined(piece_of_bars([line((0, 60, 12))], metre="3/4", tempo="Tempo_97.09"))
    source = "s3://a-bucket/prompts/tune.mid"
    message = {"ids": prompt, "source": source}
    as_prompt = {
        "style": lambda_composer.likeliest_style(prompt),
        "metre": "3/4",
        "tempo": 97.09,
    }
    other = {"style": "oratorio", "metre": "4/4", "tempo": 115.93}
    today = made(with_prompt(lambda_composer, message, **{name: other[name]}))
    assert (today["prompt"], today["continued_from"]) == (message, source)
    assert {k: today["request"][k] for k in DRAWN} == as_prompt | {name: other[name]}


def test_a_prompt_that_is_no_music_is_refused(lambda_composer: Composer) -> None:
    source = "s3://a-bucket/prompts/tune.mid"
    message = {"ids": [60], "source": source}
    with pytest.raises(TokensError, match="prompt"):
        module.handler(
            with_prompt(lambda_composer, message),
            PLENTY,
        )
