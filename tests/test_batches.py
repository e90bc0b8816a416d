"""Batches: the state machine's ways through many pieces, with tiny functions, on the local AWS."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from local_aws.runtime import ensure_runtime
from local_aws.server import LocalAws
from tests.machine import ASL, BUCKET, ROOT, Machine


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with LocalAws(ensure_runtime(ROOT / ".cache")) as aws:
        yield Machine(aws)


def test_a_batch_has_an_execution_for_each_piece(machine: Machine) -> None:
    ended, entered = machine.run({"pieces": 3, "style": "folk"})
    assert ended["status"] == "SUCCEEDED", ended
    assert entered[:3] == ["Start", "Batch?", "CheckBatch"]
    made = [
        {
            "piece": piece,
            "record": "neural-net/a-piece.json",
            "seed": 7,
            "duration_s": 8.5,
            "notes": 99,
        }
        for piece in (1, 2, 3)
    ]
    output = {"date": "2026-03-01", "pieces": 3, "succeeded": 3, "results": made}
    assert json.loads(ended["output"]) == output
    assert machine.executions(ended) == dict.fromkeys(["1-0", "2-0", "3-0"], "SUCCEEDED")
    piece = machine.aws.client("stepfunctions").describe_execution(
        executionArn=f"{ended['executionArn']}-2-0"
    )
    assert json.loads(piece["input"]) == {
        "pieces": 3,
        "style": "folk",
        "date": "2026-03-01",
        "piece": 2,
        "AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID": ended["executionArn"],
    }


def test_a_wrong_event_fails_before_any_piece_is_made(machine: Machine) -> None:
    ended, entered = machine.run({"pieces": "many"})
    assert (ended["status"], ended["error"]) == ("FAILED", "EventError")
    assert entered[-2:] == ["CheckBatch", "BadRequest"]
    assert machine.attempts(ended) == 1
    assert machine.executions(ended) == {}


def test_a_piece_that_failed_is_made_again_alone(machine: Machine) -> None:
    script = {"raises": "PieceError", "unless_again": True, "pieces": [2]}
    ended, _ = machine.run({"pieces": 3, "script": script})
    assert ended["status"] == "SUCCEEDED", ended
    assert machine.executions(ended) == {
        "1-0": "SUCCEEDED",
        "2-0": "FAILED",
        "2-1": "SUCCEEDED",
        "3-0": "SUCCEEDED",
    }


def test_a_piece_that_fails_again_is_reported_and_the_others_are_made(machine: Machine) -> None:
    script = {"raises": "PieceError", "pieces": [2]}
    ended, entered = machine.run({"pieces": 3, "script": script})
    assert (ended["status"], ended["error"]) == ("FAILED", "SomePiecesFailed")
    assert entered[-1] == "SomePiecesFailed"
    assert machine.executions(ended) == {
        "1-0": "SUCCEEDED",
        "2-0": "FAILED",
        "2-1": "FAILED",
        "3-0": "SUCCEEDED",
    }
    failed = f'[{{"piece":2,"error":"PieceError","execution":"{ended["name"]}-2"}}]'
    assert ended["cause"].startswith(f"2 of 3 pieces were made. The others: {failed}. ")
    assert "date 2026-03-01" in ended["cause"]


def test_an_execution_that_cannot_be_started_is_named(machine: Machine) -> None:
    for taken in ("taken-1-0", "taken-1-1"):
        machine.aws.client("stepfunctions").start_execution(
            stateMachineArn=machine.arn, name=taken, input="{}"
        )
    ended, entered = machine.run({"pieces": 1, "script": {"name": "taken"}})
    assert "ReadWhy" not in entered
    assert ended["error"] == "SomePiecesFailed"
    assert '"error":"StepFunctions.ExecutionAlreadyExists' in ended["cause"]
    assert '"execution":"taken-1"' in ended["cause"]


def test_a_large_batch_leaves_its_results_in_s3(machine: Machine) -> None:
    ended, entered = machine.run({"pieces": 41})
    assert ended["status"] == "SUCCEEDED", ended
    assert "ManyPieces" in entered
    output = json.loads(ended["output"])
    assert (output["pieces"], output["succeeded"]) == (41, 41)
    results = machine.results(output["results"])
    assert set(results) == {"SUCCEEDED"}
    assert sorted(piece["piece"] for piece in results["SUCCEEDED"]) == [*range(1, 42)]


def test_a_large_batch_reports_what_failed_in_s3(machine: Machine) -> None:
    script = {"raises": "PieceError", "pieces": [7, 30]}
    ended, _ = machine.run({"pieces": 41, "script": script})
    assert (ended["status"], ended["error"]) == ("FAILED", "SomePiecesFailed")
    assert ended["cause"].startswith("39 of 41 pieces were made. The others: see FAILED_0.json ")
    failed = {name for name, status in machine.executions(ended).items() if status == "FAILED"}
    assert failed == {"7-0", "7-1", "30-0", "30-1"}
    place = ended["cause"].split(f"s3://{BUCKET}/")[1].split(". ")[0]
    assert place.startswith(f"runs/{ended['name']}/")
    results = machine.results({"Bucket": BUCKET, "Key": place})
    assert len(results["SUCCEEDED"]) == 39
    assert sorted(event["piece"] for event in results["FAILED"]) == [7, 30]


def test_small_and_large_batches_make_a_piece_alike() -> None:
    states = json.loads(ASL.read_text())["States"]
    small, large = states["FewPieces"], states["ManyPieces"]
    for field in ("ItemsPath", "ItemSelector", "MaxConcurrency"):
        assert small[field] == large[field]
    # A new account runs ten functions at once, and the daily piece must find one free.
    assert small["MaxConcurrency"] == 5
    tasks = [
        batch["ItemProcessor"]["States"][name]
        for batch, name in ((small, "MakePiece"), (large, "MakeOneOfMany"))
    ]
    for field in ("Resource", "Parameters", "TimeoutSeconds", "Retry"):
        assert tasks[0][field] == tasks[1][field]
    assert tasks[0]["ResultSelector"] == {"made": tasks[1]["ResultSelector"]}
