"""The log line as CloudWatch reads it: facts, the embedded metric format, errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from contract import log_line as module
from contract.bundle import Bundle
from contract.errors import StorageError
from contract.log_line import LONGEST_MESSAGE, UNITS, log_line, logs_errors
from contract.request import MOST_CANDIDATES
from generate_tokens.judge import penalties_of_piece
from music.tracker import Vocabulary
from tests.emf import EVENT_LIMIT_BYTES, metrics_in

NAMESPACE = "midi-archive"
METRICS = {"TokensPerSecond": 812.3456, "Pieces": 1}
JOB = {"request": {}, "execution": {"name": "run-1", "started": "2026-03-02T06:00:00Z"}}


@pytest.fixture
def namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METRICS_NAMESPACE", NAMESPACE)


@pytest.mark.usefixtures("namespace")
def test_the_line_holds_its_metrics_in_the_embedded_metric_format() -> None:
    line = log_line({"seed": 7}, METRICS)
    assert metrics_in(line) == {
        "TokensPerSecond": (812.346, "Count/Second"),
        "Pieces": (1, "Count"),
    }
    assert json.loads(line)["_aws"]["CloudWatchMetrics"][0]["Namespace"] == NAMESPACE


@pytest.mark.usefixtures("namespace")
def test_every_metric_has_a_unit_that_cloudwatch_knows() -> None:
    line = log_line({}, dict.fromkeys(UNITS, 0))
    assert {name: unit for name, (_, unit) in metrics_in(line).items()} == UNITS
    assert len(UNITS) <= 10  # the custom metrics that an account has free


@pytest.mark.usefixtures("namespace")
def test_the_metrics_have_the_time_that_they_are_given() -> None:
    assert json.loads(log_line({}, METRICS, 1_574_109_732_004))["_aws"]["Timestamp"] == (
        1_574_109_732_004
    )


@pytest.mark.usefixtures("namespace")
def test_the_facts_stay_as_they_are_beside_the_metrics() -> None:
    facts = {"seed": 7, "tokens_per_s": 1.5, "penalties": [{"length": 0.0}], "latest": None}
    line = json.loads(log_line(facts, METRICS))
    assert set(line) == {"level", *facts, *METRICS, "_aws"} and line["level"] == "INFO"
    assert {name: line[name] for name in facts} == facts


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_namespace_the_line_has_facts_only(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("METRICS_NAMESPACE", raising=False)
    if value is not None:
        monkeypatch.setenv("METRICS_NAMESPACE", value)
    assert json.loads(log_line({"seed": 7}, METRICS)) == {"level": "INFO", "seed": 7}


@pytest.mark.usefixtures("namespace")
def test_without_metrics_the_line_has_facts_only() -> None:
    assert json.loads(log_line({"seed": 7}, {})) == {"level": "INFO", "seed": 7}


@pytest.mark.usefixtures("namespace")
def test_the_penalties_of_as_many_candidates_as_there_may_be_fit_in_a_line(bundle: Bundle) -> None:
    penalties = dict.fromkeys(penalties_of_piece([], Vocabulary(bundle.vocabulary), 60), 0.1234)
    line = log_line({"penalties": [penalties] * MOST_CANDIDATES}, METRICS)
    assert metrics_in(line) and len(line) < EVENT_LIMIT_BYTES / 50


def failing(error: Exception) -> module.Handler:
    @logs_errors
    def handler(event: object, context: Any) -> dict[str, Any]:
        raise error

    return handler


@pytest.mark.parametrize("event", [JOB, {"task": "save", "job": JOB}])
def test_a_failure_is_one_line_with_its_name_and_execution(
    event: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StorageError, match="refused"):
        failing(StorageError("S3 refused\na read"))(event, None)
    assert json.loads(capsys.readouterr().out) == {
        "level": "ERROR",
        "error": "StorageError",
        "message": "S3 refused\na read",
        "advice": StorageError.advice,
        "execution": "run-1",
        "function": "tests",
    }


@pytest.mark.parametrize(
    "event",
    [None, [], "x", {}, {"execution": []}, {"execution": {"name": 3}}, {"job": []}, {"job": {}}],
)
def test_a_failure_over_an_event_of_another_form_is_a_line_too(
    event: object, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match="no"):
        failing(ValueError("no"))(event, None)
    line = json.loads(capsys.readouterr().out)
    assert (line["error"], line["execution"]) == ("ValueError", None)


def test_what_a_failure_says_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    job = {"execution": {"name": "x" * 10**6}}
    with pytest.raises(KeyError):
        failing(KeyError("k" * 10**6))(job, None)
    line = capsys.readouterr().out
    assert len(line) < LONGEST_MESSAGE + 400


def test_a_success_says_nothing_of_errors(capsys: pytest.CaptureFixture[str]) -> None:
    @logs_errors
    def handler(event: object, context: Any) -> dict[str, Any]:
        return {"event": event}

    assert handler(3, None) == {"event": 3}
    assert capsys.readouterr().out == ""
