"""midi_save as the state machine calls it: both tasks, its checks, its log line."""

from __future__ import annotations

import copy
import datetime
import io
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mido
import pytest

from contract.bundle import Bundle
from contract.errors import (
    BundleError,
    EventError,
    ModelMismatchError,
    PieceError,
    PromptError,
    TokensError,
)
from contract.request import parse_request, seed_of_piece
from contract.token_files import TokenStore
from midi_save.check import check_piece
from midi_save.detokenize import detokenize, load_tokenizer
from midi_save.handler import handler, load_parts
from midi_save.storage import LATEST_MIDI, LATEST_TOKENS
from tests.conftest import MUSIC_BUCKET
from tests.emf import metrics_in
from tests.midi_save.music import TestNote, ids_of, midi_file, piece_tokens, scale

EVENTS = Path(__file__).parents[2] / "midi_save" / "events"
NOTES = [TestNote(6 * i, program, 48 + i % 24, 6) for i in range(64) for program in (0, 48)]


def example(name: str) -> Any:
    return json.loads((EVENTS / f"{name}.json").read_text())


@pytest.fixture(autouse=True)
def deployed(s3: Any, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The function as on a cold start, with the test bundle as its layer."""
    monkeypatch.setenv("MODEL_DIR", str(bundle.directory))
    monkeypatch.setenv("MUSIC_BUCKET", MUSIC_BUCKET)
    load_parts.cache_clear()
    yield
    load_parts.cache_clear()


def save_message(bundle: Bundle, **changes: Any) -> dict[str, Any]:
    """The example event, its generation made with the test bundle."""
    message = example("save")
    job = message["job"]
    ids = ids_of(piece_tokens(NOTES, bundle), bundle)
    job["model_id"] = bundle.model_id
    job["generation"] |= {"ids": ids, "lengths": [len(ids)], **changes}
    return dict(message)


def keys(s3: Any) -> set[str]:
    listed = s3.list_objects_v2(Bucket=MUSIC_BUCKET).get("Contents", [])
    return {entry["Key"] for entry in listed}


def test_a_generated_piece_is_saved(
    s3: Any, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    result = handler(save_message(bundle), None)
    record = result["record"]
    assert (record["date"], record["seed"], record["style"]) == ("2026-11-22", 7, "chorale")
    assert (record["notes"], record["programs"]) == (len(NOTES), [0, 48])
    assert result["bucket"] == MUSIC_BUCKET
    assert record["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert result["publish"] == {"date": "2026-11-22", "piece": None, "trial": False}
    assert result["stats"] == {"calls": 1, "decode_s": 2.5, "tokens_per_s": 800.0}
    midi = s3.get_object(Bucket=MUSIC_BUCKET, Key=result["latest"])["Body"].read()
    file = mido.MidiFile(file=io.BytesIO(midi))
    assert sum(m.type == "note_on" for track in file.tracks for m in track) == len(NOTES)
    assert file.length == pytest.approx(record["duration_s"], abs=0.1)
    log = json.loads(capsys.readouterr().out)
    assert (log["task"], log["seed"], log["notes"]) == ("save", 7, len(NOTES))


@pytest.mark.parametrize(
    ("stopped", "duration_s", "slows_down"),
    [("duration", 90, True), ("budget", 90, False), ("duration", 5, False)],
)
def test_only_a_piece_that_ended_by_itself_slows_down(
    stopped: str, duration_s: float, slows_down: bool, s3: Any, bundle: Bundle
) -> None:
    message = save_message(bundle, stopped=stopped)
    message["job"]["request"]["duration_s"] = duration_s
    result = handler(message, None)
    midi = s3.get_object(Bucket=MUSIC_BUCKET, Key=result["latest"])["Body"].read()
    ids = message["job"]["generation"]["ids"]
    record = result["record"]
    title = f"midi-archive {record['date']} seed 7 model {bundle.model_id[:8]}"
    tokenizer = load_tokenizer(bundle)
    assert (midi != detokenize(ids, tokenizer, bundle, title).midi) == slows_down
    if slows_down:
        assert midi == detokenize(ids, tokenizer, bundle, title, 1.15 * duration_s).midi
        facts = check_piece(midi, record["notes"], record["programs"])
        assert record["duration_s"] == facts.duration_s


def test_an_execution_that_is_redriven_days_later_does_not_take_the_latest_back(
    s3: Any, bundle: Bundle
) -> None:
    newer = save_message(bundle)
    newer["job"]["request"]["date"] = "2026-11-23"
    newer["job"]["execution"]["started"] = "2026-11-23T06:00:00Z"
    handler(newer, None)
    late = save_message(bundle)  # of the 22nd, on which it was started
    late["job"]["execution"]["started"] = "2026-11-22T06:00:00Z"
    assert handler(late, None)["latest"] is None


def test_a_record_tells_the_form_and_what_was_taken_up(bundle: Bundle) -> None:
    plain = handler(save_message(bundle), None)["record"]
    assert (plain["form"], plain["taken_up"]) == (None, None)
    taken_up = {"bar": 2, "shift": 5, "pitches": [60]}
    plan = "0/36/0 3 1-2v-3 1-4e"
    # one bar of the plan is a prompt's
    message = save_message(bundle, plan=plan, first_bar=1, taken_up=taken_up)
    record = handler(message, None)["record"]
    assert record["taken_up"] == taken_up
    assert record["form"] == {
        "letters": ["A", "B", "A'", "C"],
        "bars": [1, 1, 1, 1],
        "lags": [0, 0, 2, 4],
        "shifts": [0, 0, -3, 0],
    }


def test_the_form_of_an_hour_of_short_bars_is_told(bundle: Bundle) -> None:
    told = handler(save_message(bundle, plan="0/36/0 9999 9000-1e"), None)["record"]["form"]
    assert sum(told["bars"]) == len(told["lags"]) == len(told["shifts"]) == 18_999


def test_a_piece_of_a_batch_says_which_it_is(bundle: Bundle) -> None:
    daily = handler(save_message(bundle), None)["record"]
    assert "piece" not in daily
    message = save_message(bundle)
    request = message["job"]["request"] | {"pieces": 3, "piece": 2}
    message["job"]["request"] = request
    result = handler(message, None)
    record = result["record"]
    assert (record["piece"], record["pieces"], result["latest"]) == (2, 3, None)
    assert record["seed"] == seed_of_piece(7, 2)
    assert record["request"] == request
    assert record["keys"]["archive"] == "neural-net/2026-11-22-0002_sequence.mid"


def test_a_trial_is_saved_apart(s3: Any, bundle: Bundle) -> None:
    message = save_message(bundle)
    message["job"]["request"]["trial"] = True
    handler(message, None)
    assert keys(s3) and all(key.startswith("trial/") for key in keys(s3))


def test_the_record_has_nothing_that_changes_from_run_to_run(s3: Any, bundle: Bundle) -> None:
    first = save_message(bundle)
    second = save_message(bundle, calls=3, decode_s=99.0, sampled=1)
    second["job"]["execution"] = {"name": "again", "started": "2027-01-01T00:00:00Z"}
    assert handler(first, None)["record"] == handler(second, None)["record"]


def test_tokens_kept_in_s3_make_the_same_piece(s3: Any, bundle: Bundle) -> None:
    inline = save_message(bundle)
    ids = inline["job"]["generation"]["ids"]
    execution = inline["job"]["execution"]["name"]
    uri = TokenStore(MUSIC_BUCKET, bundle, s3).write_run(execution, 1, ids)
    by_key = save_message(bundle, ids=[], stored_at=uri)
    assert handler(by_key, None) == handler(inline, None)


def test_the_day_of_the_execution_says_which_latest_piece_is_from_the_future(
    s3: Any, bundle: Bundle
) -> None:
    s3.put_object(
        Bucket=MUSIC_BUCKET, Key="neural-net/token_sequence.json", Body=b'{"date": "2062-12-24"}'
    )
    late = save_message(bundle)
    late["job"]["execution"]["started"] = "2062-12-24T06:00:00Z"
    assert handler(late, None)["latest"] is None
    assert handler(save_message(bundle), None)["latest"] == "neural-net/model-prediction.mid"


@pytest.mark.parametrize(("utc", "latest"), [("18:00", None), ("09:59", LATEST_MIDI)])
def test_a_day_that_has_begun_somewhere_is_not_from_the_future(
    utc: str, latest: str | None, s3: Any, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 18:00 UTC it is 07:00 of the next day in Auckland, whose piece is there by then."""

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Clock:
            return cls.fromisoformat(f"2026-11-27T{utc}:00Z").astimezone(tz)

    own = {"datetime": Clock, "UTC": datetime.UTC}
    monkeypatch.setattr("midi_save.handler.datetime", SimpleNamespace(**own))
    s3.put_object(Bucket=MUSIC_BUCKET, Key=LATEST_TOKENS, Body=b'{"date": "2026-11-28"}')
    assert handler(save_message(bundle), None)["latest"] == latest


def test_a_prompt_becomes_tokens_in_the_job(s3: Any, bundle: Bundle) -> None:
    message = example("tokenize_prompt")
    s3.put_object(Bucket=MUSIC_BUCKET, Key="prompts/tune.mid", Body=midi_file(scale(32)))
    job = handler(message, None)
    asked = parse_request(message["job"]["request"], bundle, message["job"]["execution"]["started"])
    assert (job["execution"], job["model_id"]) == (message["job"]["execution"], bundle.model_id)
    assert job["request"] == asked.to_json()
    assert job["prompt"]["source"] == message["job"]["request"]["prompt"]
    assert bundle.vocabulary[job["prompt"]["ids"][0]] == ("Bar", "None")


@pytest.mark.parametrize("body", [b"", b"<html>", midi_file(scale(16))[:13], b"MThd" * 500_000])
def test_a_bad_prompt_fails_and_changes_nothing(body: bytes, s3: Any) -> None:
    s3.put_object(Bucket=MUSIC_BUCKET, Key="prompts/tune.mid", Body=body)
    with pytest.raises(PromptError):
        handler(example("tokenize_prompt"), None)
    assert keys(s3) == {"prompts/tune.mid"}


def test_a_bad_field_beside_the_prompt_fails_before_the_prompt_is_read() -> None:
    message = example("tokenize_prompt")
    message["job"]["request"]["top_p"] = 2
    with pytest.raises(EventError, match="top_p must be"):
        handler(message, None)


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        ({"ids": [99_999], "lengths": [1]}, TokensError, r"ids\[0\]"),
        ({"ids": "abc"}, TokensError, "must be a list"),
        ({"ids": None}, TokensError, "ids must be a list"),
        ({"ids": [], "stored_at": "s3://x/y"}, TokensError, "stored_at must be"),
        ({"ids": [], "lengths": []}, PieceError, "0 pitches"),
        ({"finished": False}, TokensError, "finished must be true"),
        ({"finished": "yes"}, TokensError, "finished must be true or false"),
        ({"continued_from": 5}, TokensError, "continued_from"),
        ({"plan": ["A"]}, TokensError, "plan must be a string"),
        ({"plan": "AABA"}, TokensError, "plan: 'AABA' is no plan"),
        ({"plan": "0/36/0 4", "first_bar": None}, TokensError, "first_bar must be a number"),
        ({"plan": "0/36/0 4 1-9e"}, TokensError, "plan: .*9 bars"),
        ({"plan": "0/36/0 99999"}, TokensError, "plan: .*more than"),
        ({"plan": "0/36/0 4", "first_bar": 4}, TokensError, "first_bar must be a bar of"),
        ({"plan": "0/36/0 4", "first_bar": -1}, TokensError, "first_bar must be a count"),
        ({"taken_up": {"bar": "2"}}, TokensError, "taken_up.bar must be a number"),
        ({"taken_up": [60]}, TokensError, "taken_up must be an object"),
        ({"decode_s": None}, TokensError, "decode_s"),
    ],
)
def test_a_generation_out_of_form_is_refused_and_nothing_is_written(
    change: dict[str, Any], error: type[Exception], reason: str, s3: Any, bundle: Bundle
) -> None:
    with pytest.raises(error, match=reason):
        handler(save_message(bundle, **change), None)
    assert keys(s3) == set()


@pytest.mark.parametrize(
    ("field", "value", "error", "reason"),
    [
        ("model_id", "f" * 64, ModelMismatchError, "made by model 'ffffffff'"),
        ("model_id", None, TokensError, "model_id"),
        ("request", {"style": "polka"}, EventError, "style must be"),
        ("request", {}, TokensError, "request.style is not settled"),
        ("request", None, EventError, "must be an object"),
        ("generation", [], TokensError, "generation must be an object"),
    ],
)
def test_a_job_out_of_form_is_refused_and_nothing_is_written(
    field: str, value: Any, error: type[Exception], reason: str, s3: Any, bundle: Bundle
) -> None:
    message = save_message(bundle)
    message["job"][field] = value
    with pytest.raises(error, match=reason):
        handler(message, None)
    assert keys(s3) == set()


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("task",), "compose", "task must be one of tokenize_prompt, save, publish, got 'compose'"),
        (("task",), None, "task must be"),
        (("job",), [], "job must be an object"),
        (("job", "request"), ..., r"job\.request is missing"),
        (("job", "execution"), ..., r"job\.execution must be"),
        (("job", "execution", "name"), "../../x", r"job\.execution\.name"),
        (("job", "execution", "started"), 7, r"job\.execution\.started"),
        (("job", "execution", "started"), "today", r"job\.execution\.started must be an ISO"),
        (("job", "generation"), ..., r"job\.generation\.finished must be"),
    ],
)
def test_a_message_out_of_form_is_refused(
    path: tuple[str, ...], value: object, reason: str, bundle: Bundle
) -> None:
    message = copy.deepcopy(save_message(bundle))
    place = message
    for name in path[:-1]:
        place = place[name]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    with pytest.raises(TokensError, match=reason):
        handler(message, None)


def test_a_message_that_is_not_an_object_is_refused() -> None:
    with pytest.raises(TokensError, match="message must be an object"):
        handler(None, None)


def test_a_missing_bundle_is_refused_by_name(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    with pytest.raises(BundleError, match=r"model\.onnx is missing"):
        handler(save_message(bundle), None)


@pytest.fixture
def namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METRICS_NAMESPACE", "midi-archive")


@pytest.mark.usefixtures("namespace")
def test_a_saved_piece_says_its_metrics(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    record = handler(save_message(bundle), None)["record"]
    text = capsys.readouterr().out.removesuffix("\n")
    assert metrics_in(text) == {
        "Notes": (len(NOTES), "Count"),
        "MusicSeconds": (record["duration_s"], "Seconds"),
        "Pieces": (1, "Count"),
    }
    line = json.loads(text)
    assert (line["level"], line["task"], line["notes"]) == ("INFO", "save", len(NOTES))


@pytest.mark.usefixtures("namespace")
def test_a_trial_counts_as_a_piece_and_in_no_other_metric(
    bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    message = save_message(bundle)
    message["job"]["request"]["trial"] = True
    handler(message, None)
    assert metrics_in(capsys.readouterr().out.removesuffix("\n")) == {"Pieces": (1, "Count")}


def test_without_a_namespace_no_metrics_are_said(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("METRICS_NAMESPACE", raising=False)
    handler(save_message(bundle), None)
    assert not {"_aws", "Notes", "Pieces"} & set(json.loads(capsys.readouterr().out))


@pytest.mark.usefixtures("namespace")
def test_a_tokenized_prompt_says_no_metrics(s3: Any, capsys: pytest.CaptureFixture[str]) -> None:
    s3.put_object(Bucket=MUSIC_BUCKET, Key="prompts/tune.mid", Body=midi_file(scale(32)))
    handler(example("tokenize_prompt"), None)
    line = json.loads(capsys.readouterr().out)
    assert (line["level"], line["task"]) == ("INFO", "tokenize_prompt") and "_aws" not in line


@pytest.mark.usefixtures("namespace")
def test_a_failure_is_logged_by_its_name(
    bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    message = save_message(bundle)
    message["job"]["model_id"] = "f" * 64
    with pytest.raises(ModelMismatchError):
        handler(message, None)
    line = json.loads(capsys.readouterr().out)
    assert "made by model" in line.pop("message")
    assert line == {
        "level": "ERROR",
        "error": "ModelMismatchError",
        "execution": message["job"]["execution"]["name"],
        "advice": ModelMismatchError.advice,
        "function": "midi_save",
    }
