"""midi_save as the state machine calls it: both tasks, its border, its log line."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mido
import pytest

from generate_tokens.bundle import Bundle
from generate_tokens.errors import (
    BundleError,
    EventError,
    ModelMismatchError,
    PieceError,
    PromptError,
    TokensError,
)
from generate_tokens.request import parse_request
from generate_tokens.storage import TokenStore
from midi_save.handler import handler, load_parts
from tests.conftest import MUSIC_BUCKET
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
    generation = message["job"]["generation"]
    request = parse_request(generation["request"], bundle, "2026-11-22T06:00:01Z").to_json()
    generation |= {
        "model_id": bundle.model_id,
        "request": request,
        "tokens": {"ids": ids_of(piece_tokens(NOTES, bundle), bundle)},
        **changes,
    }
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
    assert result["stats"] == {"rounds": 1, "decode_s": 2.5, "tokens_per_s": 800.0}
    midi = s3.get_object(Bucket=MUSIC_BUCKET, Key=result["latest"])["Body"].read()
    file = mido.MidiFile(file=io.BytesIO(midi))
    assert sum(m.type == "note_on" for track in file.tracks for m in track) == len(NOTES)
    assert file.length == pytest.approx(record["duration_s"], abs=0.1)
    log = json.loads(capsys.readouterr().out)
    assert (log["task"], log["seed"], log["notes"]) == ("save", 7, len(NOTES))


def test_the_record_has_nothing_that_changes_from_run_to_run(s3: Any, bundle: Bundle) -> None:
    first = save_message(bundle)
    second = save_message(bundle, rounds=3, decode_s=99.0, tokens_per_s=1.0)
    second["job"]["execution"] = {"name": "again", "started": "2027-01-01T00:00:00Z"}
    assert handler(first, None)["record"] == handler(second, None)["record"]


def test_tokens_kept_in_s3_make_the_same_piece(s3: Any, bundle: Bundle) -> None:
    inline = save_message(bundle)
    ids = inline["job"]["generation"]["tokens"]["ids"]
    execution = inline["job"]["execution"]["name"]
    uri = TokenStore(MUSIC_BUCKET, bundle, s3).write_run(execution, 1, ids)
    by_key = save_message(bundle, tokens={"s3_uri": uri, "count": len(ids)})
    assert handler(by_key, None) == handler(inline, None)


def test_the_day_of_the_execution_says_which_latest_piece_is_from_the_future(
    s3: Any, bundle: Bundle
) -> None:
    s3.put_object(
        Bucket=MUSIC_BUCKET, Key="neural-net/token_sequence.json", Body=b'{"date": "2026-12-24"}'
    )
    late = save_message(bundle)
    late["job"]["execution"]["started"] = "2026-12-24T06:00:00Z"
    assert handler(late, None)["latest"] is None
    assert handler(save_message(bundle), None)["latest"] == "neural-net/model-prediction.mid"


def test_a_prompt_becomes_tokens_in_the_job(s3: Any, bundle: Bundle) -> None:
    message = example("tokenize_prompt")
    s3.put_object(Bucket=MUSIC_BUCKET, Key="prompts/tune.mid", Body=midi_file(scale(32)))
    job = handler(message, None)
    assert {name: job[name] for name in message["job"]} == message["job"]
    assert job["prompt"]["model_id"] == bundle.model_id
    assert job["prompt"]["source"] == message["job"]["request"]["prompt"]
    assert bundle.vocabulary[job["prompt"]["ids"][0]] == ("Bar", "None")


@pytest.mark.parametrize("body", [b"", b"<html>", midi_file(scale(16))[:-30], b"MThd" * 500_000])
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
        ({"model_id": "f" * 64}, ModelMismatchError, "made by model 'ffffffff'"),
        ({"model_id": None}, TokensError, "model_id"),
        ({"tokens": {"ids": [99_999]}}, TokensError, r"ids\[0\]"),
        ({"tokens": {"ids": "abc"}}, TokensError, "must be a list"),
        ({"tokens": {}}, TokensError, "s3_uri"),
        ({"tokens": {"s3_uri": "s3://x/y", "count": 1}}, TokensError, "s3_uri must be"),
        ({"tokens": {"s3_uri": "s3://x/y", "count": "1"}}, TokensError, "count"),
        ({"tokens": {"ids": []}}, PieceError, "0 pitches"),
        ({"request": {"style": "polka"}}, EventError, "style must be"),
        ({"request": {}}, TokensError, "style is not resolved"),
        ({"request": None}, TokensError, "request must be an object"),
        ({"continued_from": 5}, TokensError, "continued_from"),
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
    ("path", "value", "reason"),
    [
        (("task",), "publish", "task must be one of tokenize_prompt, save, got 'publish'"),
        (("task",), None, "task must be"),
        (("job",), [], "job must be an object"),
        (("job", "request"), ..., r"job\.request is missing"),
        (("job", "execution"), ..., r"job\.execution must be"),
        (("job", "execution", "name"), "../../x", r"job\.execution\.name"),
        (("job", "execution", "started"), 7, r"job\.execution\.started"),
        (("job", "execution", "started"), "today", r"job\.execution\.started must be an ISO"),
        (("job", "generation"), ..., r"job\.generation must be"),
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
