"""The handler on an in-process S3: first call, resume, ids through S3; test_series.py: days."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from contract.errors import BudgetError, EventError, ModelMismatchError, TokensError
from generate_tokens import handler as module
from generate_tokens import progress
from generate_tokens.compose import Composer
from tests.conftest import MUSIC_BUCKET
from tests.emf import metrics_in
from tests.generate_tokens.composing import StepClock
from tests.generate_tokens.days import PLENTY, Context, job, store_piece

EVENTS = Path(module.__file__).parent / "events"


@pytest.fixture
def composer(lambda_composer: Composer) -> Composer:
    return lambda_composer


def test_the_first_day_starts_fresh_and_says_so(composer: Composer) -> None:
    answer = module.handler(job(), PLENTY)
    made = answer["generation"]
    assert made["finished"] and made["continued_from"] is None
    assert "no piece in the 31 days before 2026-03-02" in made["fresh_because"]
    assert answer["request"]["style"] in composer.bundle.styles


def test_pieces_of_a_batch_differ_and_one_made_alone_is_the_same(composer: Composer) -> None:
    batch = {"pieces": 3, "prompt": "fresh", "style": "folk", "seed": 7}
    made = [
        module.handler(job(**batch, piece=piece), PLENTY)["generation"]["ids"]
        for piece in (1, 2, 3, 2)
    ]
    assert made[1] == made[3]
    assert len(set(map(tuple, made))) == 3


def test_a_piece_of_a_batch_made_in_calls_keeps_its_seed(
    composer: Composer, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = job(pieces=3, piece=2, prompt="fresh", duration_s=30)
    whole = module.handler(event, PLENTY)["generation"]
    monkeypatch.setattr(composer, "compose", partial(composer.compose, clock=StepClock()))
    state = module.handler(event, Context(60_000))
    while not state["generation"]["finished"]:
        state = module.handler(json.loads(json.dumps(state)), Context(60_000))
    assert state["generation"]["calls"] > 1
    assert state["generation"]["ids"] == whole["ids"]


def test_a_batch_is_checked_and_never_composed(composer: Composer) -> None:
    checked = module.handler({"task": "check", "job": job(pieces=2)}, PLENTY)
    assert checked["items"] == [1, 2]
    with pytest.raises(EventError, match="piece is missing"):
        module.handler(job(pieces=2), PLENTY)


def test_an_unfinished_piece_is_taken_up_where_it_stopped(composer: Composer) -> None:
    state = module.handler(job(prompt="fresh"), PLENTY)
    whole = state["generation"]
    begun = {"ids": whole["ids"][:50], "lengths": [50], "finished": False}
    resumed = module.handler(state | {"generation": whole | begun}, PLENTY)["generation"]
    assert resumed["ids"] == whole["ids"] and resumed["calls"] == 2


def test_many_ids_travel_by_key(
    composer: Composer, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    inline = module.handler(job(prompt="fresh"), PLENTY)["generation"]["ids"]
    monkeypatch.setattr(progress, "INLINE_IDS", 10)
    made = module.handler(job(prompt="fresh"), PLENTY)["generation"]
    uri = f"s3://{MUSIC_BUCKET}/runs/run-1/tokens-1.json"
    assert (made["ids"], made["stored_at"], made["lengths"]) == ([], uri, [len(inline)])
    stored = s3.get_object(Bucket=MUSIC_BUCKET, Key="runs/run-1/tokens-1.json")["Body"].read()
    assert json.loads(stored)["ids"] == inline


@pytest.mark.parametrize("inline_ids", [10, 10_000])
def test_candidates_go_from_call_to_call(
    composer: Composer, monkeypatch: pytest.MonkeyPatch, inline_ids: int
) -> None:
    monkeypatch.setattr(progress, "INLINE_IDS", inline_ids)
    monkeypatch.setattr(module, "SLOWEST_CALL_S", 0.0)
    state = job(prompt="fresh", candidates=3, duration_s=20)
    straight = module.handler(state, PLENTY)["generation"]
    monkeypatch.setattr(composer, "compose", partial(composer.compose, clock=StepClock()))
    calls = 0
    while not (state := module.handler(state, Context(90_000)))["generation"]["finished"]:
        calls += 1
        assert len(state["generation"]["lengths"]) == 3 and calls < 500
    made = state["generation"]
    assert calls > 1 and len(made["penalties"]) == 3
    same = ("lengths", "penalties", "music_s", "sampled")
    assert {k: made[k] for k in same} == {k: straight[k] for k in same}
    if inline_ids > 10:
        assert made["ids"] == straight["ids"]


@pytest.mark.parametrize("lengths", [None, "3", [], [0, 9], [2, 2], [True] * 9, [9.5]])
def test_candidates_of_other_lengths_are_refused(composer: Composer, lengths: Any) -> None:
    made = module.handler(job(prompt="fresh"), PLENTY)
    made["generation"] |= {"ids": made["generation"]["ids"][:9], "lengths": lengths}
    with pytest.raises(TokensError, match="lengths"):
        module.handler(made, PLENTY)


def test_a_prompt_of_another_model_is_refused(composer: Composer) -> None:
    prompt = {"ids": [], "source": "s3://x/prompts/y.mid"}
    with pytest.raises(ModelMismatchError, match="job was made by model '00000000'"):
        module.handler(job() | {"model_id": "0" * 64, "prompt": prompt}, PLENTY)


def test_a_generation_of_another_model_is_refused(composer: Composer) -> None:
    made = module.handler(job(prompt="fresh"), PLENTY)
    made["model_id"] = "0" * 64
    with pytest.raises(ModelMismatchError, match="job was made"):
        module.handler(made, PLENTY)


@pytest.mark.parametrize(
    ("request_", "field"),
    [({"duration_s": -1}, "duration_s"), ({"top_p": 2}, "top_p"), ({"style": "polka"}, "style")],
)
def test_a_bad_field_is_named_before_any_work(
    composer: Composer, s3: Any, request_: dict[str, Any], field: str
) -> None:
    with pytest.raises(EventError, match=field):
        module.handler(job(**request_), PLENTY)
    assert "Contents" not in s3.list_objects_v2(Bucket=MUSIC_BUCKET)


@pytest.mark.parametrize("message", [None, [], {}, {"request": {}}, job() | {"prompt": 3}])
def test_a_message_of_another_form_is_refused(composer: Composer, message: Any) -> None:
    with pytest.raises(TokensError):
        module.handler(message, PLENTY)


@pytest.mark.parametrize("path", sorted(EVENTS.glob("*.json")), ids=lambda p: p.stem)
def test_the_example_events_compose(composer: Composer, path: Path) -> None:
    event = json.loads(path.read_text())
    event["request"]["duration_s"] = 5
    prompt = event.get("prompt")
    event["model_id"] = composer.bundle.model_id
    answer = module.handler(event, PLENTY)
    assert answer["generation"]["finished"]
    assert answer.get("prompt") == prompt
    assert answer["generation"]["continued_from"] == (prompt["source"] if prompt else None)


def test_a_midi_prompt_that_was_not_tokenized_is_refused(composer: Composer) -> None:
    with pytest.raises(TokensError, match=r"job\.prompt is missing"):
        module.handler(job(prompt=f"s3://{MUSIC_BUCKET}/prompts/tune.mid"), PLENTY)


def test_an_overlong_prompt_is_refused(composer: Composer) -> None:
    prompt = {"source": "s3://x", "ids": [13] * 33}
    with pytest.raises(TokensError, match="at most 32"):
        module.handler(job() | {"model_id": composer.bundle.model_id, "prompt": prompt}, PLENTY)


def test_no_time_at_all_is_named(composer: Composer) -> None:
    with pytest.raises(BudgetError, match="time-out"):
        module.handler(job(prompt="fresh"), Context(0))


def test_a_retired_field_does_nothing(composer: Composer) -> None:
    plain, with_it = (
        module.handler(job(prompt="fresh", **more), PLENTY)["generation"]["ids"]
        for more in ({}, {"recall": 2.5})
    )
    assert plain == with_it


@pytest.mark.parametrize("calls", [10**400, float("inf"), float("nan"), "3", True, -1, 1.5])
def test_calls_that_are_no_count_are_refused(composer: Composer, calls: Any) -> None:
    made = module.handler(job(prompt="fresh"), PLENTY)
    made["generation"] |= {"calls": calls}
    with pytest.raises(TokensError, match=r"generation\.calls must be"):
        module.handler(made, PLENTY)


@pytest.mark.parametrize("field", ["style", "metre", "tempo"])
def test_a_generation_whose_request_is_still_open_is_refused(
    composer: Composer, field: str
) -> None:
    made = module.handler(job(prompt="fresh"), PLENTY)
    del made["request"][field]
    with pytest.raises(TokensError, match=f"request.{field} is not settled"):
        module.handler(made, PLENTY)


@pytest.fixture
def namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METRICS_NAMESPACE", "midi-archive")


@pytest.mark.usefixtures("namespace")
@pytest.mark.parametrize(("candidates", "rejected"), [(1, 0), (3, 2)])
def test_a_finished_piece_says_its_metrics(
    composer: Composer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    candidates: int,
    rejected: int,
) -> None:
    context, compose = Context(600_000), composer.compose

    def composed(*a: Any, **k: Any) -> Any:
        made = compose(*a, **k)
        context.milliseconds = 450_000
        return made

    monkeypatch.setattr(composer, "compose", composed)
    made = module.handler(job(prompt="fresh", candidates=candidates), context)["generation"]
    text = capsys.readouterr().out.removesuffix("\n")
    metrics, line = metrics_in(text), json.loads(text)
    speed, unit = metrics.pop("TokensPerSecond")
    assert speed == pytest.approx(line["tokens_per_s"], rel=0.2) and unit == "Count/Second"
    assert metrics == {"BudgetUsed": (25.0, "Percent"), "CandidatesRejected": (rejected, "Count")}
    assert (line["level"], line["execution"], line["finished"]) == ("INFO", "run-1", True)
    assert line["sampled"] == made["sampled"] and "ids" not in line


@pytest.mark.usefixtures("namespace")
def test_an_unfinished_call_says_its_own_speed_and_no_choice(
    composer: Composer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(composer, "compose", partial(composer.compose, clock=StepClock()))
    first = module.handler(job(prompt="fresh", candidates=3, duration_s=60), Context(90_000))
    second = module.handler(first, Context(60_000))
    before, after = first["generation"], second["generation"]
    assert not after["finished"]
    metrics = metrics_in(capsys.readouterr().out.splitlines()[-1])
    sampled, seconds = (after[name] - before[name] for name in ("sampled", "decode_s"))
    assert metrics == {
        "TokensPerSecond": (round(sampled / seconds, 3), "Count/Second"),
        "BudgetUsed": (0.0, "Percent"),
    }
    assert metrics["TokensPerSecond"][0] != round(after["sampled"] / after["decode_s"], 3)


@pytest.mark.usefixtures("namespace")
def test_damaged_tokens_of_yesterday_are_counted_for_the_alarm(
    composer: Composer, s3: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    store_piece(s3, "2026-03-01", {"model_id": composer.bundle.model_id, "ids": [1, 3, 3]})
    module.handler(job(duration_s=5), PLENTY)
    assert metrics_in(capsys.readouterr().out.removesuffix("\n"))["Damaged"] == (1.0, "Count")
    module.handler(job(duration_s=5, prompt="fresh"), PLENTY)
    assert "Damaged" not in capsys.readouterr().out


@pytest.mark.usefixtures("namespace")
def test_a_trial_says_no_metrics(composer: Composer, capsys: pytest.CaptureFixture[str]) -> None:
    assert module.handler(job(prompt="fresh", trial=True), PLENTY)["generation"]["finished"]
    line = json.loads(capsys.readouterr().out)
    assert line["level"] == "INFO" and not [name for name in line if name != name.lower()]
    assert "_aws" not in line


def test_without_a_namespace_no_metrics_are_said(
    composer: Composer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("METRICS_NAMESPACE", raising=False)
    module.handler(job(prompt="fresh"), PLENTY)
    line = json.loads(capsys.readouterr().out)
    assert "_aws" not in line and "TokensPerSecond" not in line


@pytest.mark.usefixtures("namespace")
def test_a_failure_is_logged_by_its_name(
    composer: Composer, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(EventError):
        module.handler(job(top_p=2), PLENTY)
    line = json.loads(capsys.readouterr().out)
    assert "top_p" in line.pop("message")
    assert line == {
        "level": "ERROR",
        "error": "EventError",
        "execution": "run-1",
        "advice": EventError.advice,
        "function": "generate_tokens",
    }
