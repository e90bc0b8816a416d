"""Batches: the state machine's ways through many pieces, with tiny functions, on the local AWS."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from contract.request import MOST_PIECES, SEED_LIMIT
from local_aws.runtime import ensure_runtime
from local_aws.server import LocalAws
from local_run.executions import history
from tests.machine import ASL, ROOT, Machine


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    waits: list[float] = []
    with LocalAws(ensure_runtime(ROOT / ".cache"), wait=waits.append) as aws:
        yield Machine(aws, waits)


def test_a_batch_has_an_execution_for_each_piece(machine: Machine) -> None:
    ended, entered = machine.run({"pieces": 3, "style": "folk"})
    assert ended["status"] == "SUCCEEDED", ended
    assert entered[:3] == ["Start", "AskedFor?", "CheckBatch"]
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
    output = {"date": "2026-03-01", "pieces": 3, "results": made}
    assert json.loads(ended["output"]) == output
    assert machine.executions(ended) == dict.fromkeys(["1-0-0", "2-0-0", "3-0-0"], "SUCCEEDED")
    piece = machine.aws.client("stepfunctions").describe_execution(
        executionArn=f"{ended['executionArn']}-2-0-0"
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
    assert entered[-1] == "CheckBatch"
    assert machine.attempts(ended) == 1
    assert machine.executions(ended) == {}


def test_a_piece_that_failed_is_made_again_alone(machine: Machine) -> None:
    script = {"raises": "PieceError", "unless_again": True, "pieces": [2]}
    ended, _ = machine.run({"pieces": 3, "script": script})
    assert ended["status"] == "SUCCEEDED", ended
    assert machine.executions(ended) == {
        "1-0-0": "SUCCEEDED",
        "2-0-0": "FAILED",
        "2-0-1": "SUCCEEDED",
        "3-0-0": "SUCCEEDED",
    }


def test_a_piece_that_fails_again_is_reported_and_the_others_are_made(machine: Machine) -> None:
    script = {"raises": "PieceError", "pieces": [2]}
    ended, entered = machine.run({"pieces": 3, "script": script})
    assert (ended["status"], ended["error"]) == ("FAILED", "SomePiecesFailed")
    assert entered[-1] == "SomePiecesFailed"
    assert machine.executions(ended) == {
        "1-0-0": "SUCCEEDED",
        "2-0-0": "FAILED",
        "2-0-1": "FAILED",
        "3-0-0": "SUCCEEDED",
    }
    assert ended["cause"].startswith("2 of 3 pieces were made, but not [2]: see the executions ")
    assert (
        f"{ended['name']}-PIECE-REDRIVE-ATTEMPT" in ended["cause"]
        and "date 2026-03-01" in ended["cause"]
    )
    failed = machine.aws.client("stepfunctions").describe_execution(
        executionArn=f"{ended['executionArn']}-2-0-1"
    )
    assert (failed["error"], "what went wrong" in failed["cause"]) == ("PieceError", True)


def test_an_execution_that_cannot_be_started_is_named(machine: Machine) -> None:
    for taken in ("taken-1-0-0", "taken-1-0-1"):
        machine.aws.client("stepfunctions").start_execution(
            stateMachineArn=machine.arn, name=taken, input="{}"
        )
    ended, _ = machine.run({"pieces": 1, "script": {"name": "taken"}})
    assert ended["error"] == "SomePiecesFailed"
    assert ended["cause"].startswith("0 of 1 pieces were made, but not [1]: see")


def test_a_thousand_pieces_fit_an_execution_even_if_each_fails_twice(machine: Machine) -> None:
    """Of an execution's history and of its state, by what each piece of a small batch takes."""
    most_events, most_bytes = 25_000, 256 * 1024  # Step Functions' quotas
    for script in ({}, {"raises": "PieceError"}):
        lengths = {}
        for pieces in (1, 2):
            all_of_them = {**script, "pieces": [1, 2]} if script else {}
            ended, _ = machine.run({"pieces": pieces, "script": all_of_them})
            lengths[pieces] = len(history(machine.aws, ended["executionArn"]))
        assert lengths[2] + 998 * (lengths[2] - lengths[1]) < most_events
    made = {
        "piece": MOST_PIECES,
        "record": "neural-net/2026-03-01-1000_sequence.json",
        "seed": SEED_LIMIT - 1,
        "duration_s": 3600.123,
        "notes": 999_999,
    }
    state = [{"made": made}] * MOST_PIECES
    assert len(json.dumps(state, separators=(",", ":"))) + 20_000 < most_bytes


def test_a_batch_leaves_functions_to_the_daily_piece() -> None:
    states = json.loads(ASL.read_text())["States"]
    assert states["MakePieces"]["MaxConcurrency"] == 5  # a new account runs ten at once
