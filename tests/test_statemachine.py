"""statemachine.asl.json: its rules, and its ways with one piece; those of batches: test_batches."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from contract import errors
from deploy.place import FUNCTIONS, Place
from local_aws.runtime import ensure_runtime
from local_aws.server import LocalAws
from tests.machine import ASL, ROOT, Machine

# What no retry mends: our exception classes, but for those that are transient or may be chance.
OUR_ERRORS = sorted(
    name
    for name, value in vars(errors).items()
    if isinstance(value, type)
    and value.__module__ == errors.__name__
    and name not in {"StorageError", "ConflictError", "RequestError"}
)


TO_GENERATE = ["Start", "AskedFor?", "PromptIsMidi?"]


def definition() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(ASL.read_text())
    return loaded


def tasks() -> list[tuple[str, dict[str, Any]]]:
    """The states that call a function."""
    return [
        (name, state)
        for name, state in definition()["States"].items()
        if state.get("Resource") == "arn:aws:states:::lambda:invoke"
    ]


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    waits: list[float] = []
    with LocalAws(ensure_runtime(ROOT / ".cache"), wait=waits.append) as aws:
        yield Machine(aws, waits)


def test_statelint_finds_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "statelint", str(ASL)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(("name", "state"), tasks())
def test_every_task_ends_and_retries_with_jitter(name: str, state: dict[str, Any]) -> None:
    # Half a minute for Lambda beside the function's own time-out.
    timeouts_s = {f"-{row.name}": row.timeout_s for row in FUNCTIONS}
    named = Place("n", "1", "r").document(ASL)["States"][name]["Parameters"]["FunctionName"]
    assert [
        state["TimeoutSeconds"] - s for end, s in timeouts_s.items() if named.endswith(end)
    ] == [30]
    for retry in state["Retry"]:
        assert retry["JitterStrategy"] == "FULL"
        assert retry["BackoffRate"] > 1
    assert "Catch" not in state, "an error fails the execution under its own name"


@pytest.mark.parametrize(("name", "state"), tasks())
def test_only_transient_errors_are_retried(name: str, state: dict[str, Any]) -> None:
    retried = {error for retry in state["Retry"] for error in retry["ErrorEquals"]}
    assert {"StorageError", "Lambda.ResourceConflictException"} <= retried
    assert not retried & {"States.ALL", "States.TaskFailed", *OUR_ERRORS}


def test_operate_md_says_what_to_do_about_every_error_that_is_retried() -> None:
    page = (ROOT / "docs" / "operate.md").read_text()
    retried = [retry["ErrorEquals"] for _, state in tasks() for retry in state["Retry"]]
    assert [error for errors in retried for error in errors if f"`{error}`" not in page] == []


def test_the_name_of_a_batchs_piece_tells_how_often_the_batch_was_redriven() -> None:
    """moto redrives nothing: a redriven batch would otherwise ask for names that are taken."""
    pieces = json.loads(ASL.read_text())["States"]["MakePieces"]["ItemProcessor"]["States"]
    assert "$$.Execution.RedriveCount" in pieces["MakePiece"]["Parameters"]["Name.$"]


def test_a_piece_goes_from_generation_to_saving(machine: Machine) -> None:
    ended, entered = machine.run({})
    assert ended["status"] == "SUCCEEDED"
    assert entered == [
        *TO_GENERATE,
        "Generate",
        "Finished?",
        "Save",
        "Publish",
        "Published?",
        "Done",
    ]
    job = json.loads(ended["output"])["record"]["job"]
    assert job["execution"]["name"] == ended["executionArn"].rsplit(":", 1)[1]
    assert job["execution"]["started"].startswith("20")
    assert job["request"] == {}


def test_an_unfinished_piece_is_generated_on(machine: Machine) -> None:
    ended, entered = machine.run({"script": {"calls": 3}})
    assert entered.count("Generate") == 3
    assert json.loads(ended["output"])["record"]["calls"] == 3


def test_a_prompt_midi_is_tokenized_first(machine: Machine) -> None:
    ended, entered = machine.run({"prompt": "s3://bucket/prompts/tune.mid"})
    assert entered[:5] == [*TO_GENERATE, "TokenizePrompt", "Generate"]
    job = json.loads(ended["output"])["record"]["job"]
    assert job["prompt"] == {"source": "s3://bucket/prompts/tune.mid"}


@pytest.mark.parametrize(
    "event",
    [
        *({"prompt": "fresh"}, {"prompt": 7}, {"prompt": None}, [], "x", 3),
        *({"rebuild_site": False}, {"rebuild_site": "yes"}, {"rebuild_site": None}),
        *({"pieces": None}, {"piece": 1}, {"pieces": 3, "piece": 2}, {"pieces": "x", "piece": "y"}),
    ],
)
def test_whatever_the_event_is_the_functions_see_it(machine: Machine, event: object) -> None:
    _, entered = machine.run(event)
    assert entered[:4] == [*TO_GENERATE, "Generate"]


def test_publishing_goes_on_until_it_is_finished(machine: Machine) -> None:
    ended, entered = machine.run({"script": {"publish": {"wanted": 3}}})
    assert entered.count("Publish") == 3
    output = json.loads(ended["output"])
    assert output["publish"]["calls"] == 3
    assert "job" in output["record"], "the piece is in the output as it was saved"


def test_publishing_that_never_ends_is_stopped(machine: Machine) -> None:
    ended, entered = machine.run({"script": {"publish": {"wanted": 999, "calls": 199}}})
    assert (ended["status"], entered[-1]) == ("FAILED", "TooManyCallsToPublish")
    assert entered.count("Publish") == 2


def test_publishing_that_fails_fails_the_execution_by_name(machine: Machine) -> None:
    ended, entered = machine.run({"script": {"publish": {"raises": "SoundError"}}})
    assert (ended["status"], ended["error"]) == ("FAILED", "SoundError")
    assert entered[-2:] == ["Save", "Publish"], "a redrive continues with publishing"


def test_the_site_can_be_rebuilt_without_a_piece(machine: Machine) -> None:
    ended, entered = machine.run({"rebuild_site": True})
    assert entered == ["Start", "AskedFor?", "RebuildSite", "Publish", "Published?", "Done"]
    assert json.loads(ended["output"])["publish"]["rebuild"] is True


def test_a_piece_that_never_ends_is_stopped(machine: Machine) -> None:
    ended, entered = machine.run({"script": {"calls_before": 199, "calls": 999}})
    assert entered[-1] == "TooManyCalls"
    assert entered.count("Generate") == 2
    assert (ended["status"], ended["error"]) == ("FAILED", "TooManyCalls")


def test_a_transient_error_is_retried(machine: Machine) -> None:
    ended, _ = machine.run({"script": {"raises": "StorageError", "once": True}})
    assert ended["status"] == "SUCCEEDED"
    assert machine.attempts(ended) == 4  # generating twice, saving and publishing once


@pytest.mark.parametrize("error", [*OUR_ERRORS, "KeyError"])
def test_a_lasting_error_fails_at_once_under_its_name(machine: Machine, error: str) -> None:
    ended, entered = machine.run({"script": {"raises": error}})
    assert (ended["status"], ended["error"]) == ("FAILED", error)
    assert json.loads(ended["cause"])["errorMessage"] == "what went wrong"
    assert entered[-1] == "Generate", "the state at which a redrive goes on"
    assert machine.attempts(ended) == 1


def test_storage_that_goes_on_failing_is_named(machine: Machine) -> None:
    ended, entered = machine.run({"script": {"save_raises": "StorageError"}})
    assert entered[-1] == "Save"
    assert ended["error"] == "StorageError"
    assert machine.attempts(ended) == 1 + 21
    assert len(machine.waits) == 20


def test_waits_outlast_an_outage_of_a_quarter_of_an_hour() -> None:
    """Full jitter draws each wait between 0 and its longest: 1,000 draws of all of them."""
    draw = random.Random(1)
    for name, state in tasks():
        rule = next(rule for rule in state["Retry"] if "StorageError" in rule["ErrorEquals"])
        assert "Lambda.TooManyRequestsException" in rule["ErrorEquals"], name
        longest = [
            min(rule["IntervalSeconds"] * rule["BackoffRate"] ** n, rule["MaxDelaySeconds"])
            for n in range(rule["MaxAttempts"])
        ]
        totals = [sum(draw.uniform(0, s) for s in longest) for _ in range(1000)]
        assert min(totals) > 900
        assert sum(longest) < 2 * 3600, "the next day comes"


def test_a_function_killed_at_its_time_out_is_tried_again_and_named(
    machine: Machine,
) -> None:
    ended, entered = machine.run({"script": {"sleeps_s": 5}})
    assert entered[-1] == "Generate"
    assert ended["error"] == "Sandbox.Timedout"
    assert machine.attempts(ended) == 3


def test_a_function_that_dies_is_retried_and_named(machine: Machine) -> None:
    ended, entered = machine.run({"script": {"exits": True}})
    assert entered[-1] == "Generate"
    assert ended["error"] == "Runtime.ExitError"
    assert machine.attempts(ended) == 3
