"""statemachine.asl.json: its rules, and its ways, run by the local AWS with two tiny functions.

The functions do what the event's `script` says, so that each test is one event.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from generate_tokens import errors
from local_aws.executions import history, wait_for
from local_aws.runtime import ensure_runtime
from local_aws.server import LocalAws

ROOT = Path(__file__).parents[1]
ASL = ROOT / "statemachine.asl.json"
RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"

GENERATE = """
import os, time

failed = set()  # a warm function remembers: which executions have had their one failure

def handler(job, context):
    request = job["request"]
    script = request.get("script", {}) if isinstance(request, dict) else {}
    name = job["execution"]["name"]
    if "raises" in script and not (script.get("once") and name in failed):
        failed.add(name)
        raise type(script["raises"], (RuntimeError,), {})("what went wrong")
    if script.get("exits"):
        os._exit(3)
    time.sleep(script.get("sleeps_s", 0))
    rounds = job.get("generation", {}).get("rounds", script.get("rounds_before", 0)) + 1
    finished = rounds >= script.get("rounds", 1)
    return {**job, "generation": {"rounds": rounds, "finished": finished}}
"""
SAVE = """
def handler(event, context):
    job = event["job"]
    raises = job["request"].get("script", {}).get("save_raises") if job["request"] else None
    if raises:
        raise type(raises, (RuntimeError,), {})("what went wrong")
    if event["task"] == "tokenize_prompt":
        return {**job, "prompt": {"source": job["request"]["prompt"]}}
    return {"record": {"rounds": job["generation"]["rounds"], "job": job}}
"""


def definition() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(ASL.read_text())
    return loaded


def tasks() -> list[tuple[str, dict[str, Any]]]:
    return [
        (name, state) for name, state in definition()["States"].items() if state["Type"] == "Task"
    ]


def zipped(source: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo("tiny.py")
        entry.external_attr = 0o100644 << 16  # Lambda runs functions as a user of its own
        archive.writestr(entry, source)
    return buffer.getvalue()


class Machine:
    """The real definition on the local AWS, with the tiny functions in the places of the real."""

    def __init__(self, aws: LocalAws) -> None:
        self.aws = aws
        arns = {
            "GenerateTokensArn": self._function("generate-tokens", GENERATE),
            "MidiSaveArn": self._function("midi-save", SAVE),
        }
        calls = {
            "Effect": "Allow",
            "Action": "lambda:InvokeFunction",
            "Resource": [*arns.values()],
        }
        text = ASL.read_text()
        for name, arn in arns.items():
            text = text.replace(f"${{{name}}}", arn)
        # The same retries, sooner: the waits are what makes these tests slow.
        text = text.replace('"MaxDelaySeconds": 30', '"MaxDelaySeconds": 1')
        self.arn = aws.client("stepfunctions").create_state_machine(
            name="machine", definition=text, roleArn=self._role("states", [calls])
        )["stateMachineArn"]
        self._count = 0

    def run(self, event: object) -> tuple[dict[str, Any], list[str]]:
        """The execution's description and the names of the states that it entered, in order."""
        self._count += 1
        execution = self.aws.client("stepfunctions").start_execution(
            stateMachineArn=self.arn, name=f"run-{self._count}", input=json.dumps(event)
        )["executionArn"]
        ended = wait_for(self.aws, execution, timeout_s=60)
        entered = [
            step["stateEnteredEventDetails"]["name"]
            for step in history(self.aws, execution)
            if "stateEnteredEventDetails" in step
        ]
        return ended, entered

    def attempts(self, ended: dict[str, Any]) -> int:
        """How many times a function was asked for."""
        steps = history(self.aws, ended["executionArn"])
        return sum(step["type"] == "TaskScheduled" for step in steps)

    def _role(self, service: str, statements: list[dict[str, Any]]) -> str:
        iam = self.aws.client("iam")
        trust = {
            "Effect": "Allow",
            "Principal": {"Service": f"{service}.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
        role = iam.create_role(
            RoleName=f"machine-{service}",
            AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
        )["Role"]
        if statements:
            iam.put_role_policy(
                RoleName=role["RoleName"],
                PolicyName="calls",
                PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": statements}),
            )
        return str(role["Arn"])

    def _function(self, name: str, source: str) -> str:
        functions = self.aws.client("lambda")
        role = f"arn:aws:iam::{self.aws.account}:role/machine-lambda"
        if name == "generate-tokens":
            role = self._role("lambda", [])
        return str(
            functions.create_function(
                FunctionName=name,
                Runtime=RUNTIME,
                Role=role,
                Handler="tiny.handler",
                Timeout=1 if name == "generate-tokens" else 5,
                Code={"ZipFile": zipped(source)},
            )["FunctionArn"]
        )


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with LocalAws(ensure_runtime(ROOT / ".cache")) as aws:
        yield Machine(aws)


def test_statelint_finds_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "statelint", str(ASL)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(("name", "state"), tasks())
def test_every_task_ends_retries_with_jitter_and_catches(name: str, state: dict[str, Any]) -> None:
    assert 0 < state["TimeoutSeconds"] <= 900
    for retry in state["Retry"]:
        assert retry["JitterStrategy"] == "FULL"
        assert retry["BackoffRate"] > 1
        assert retry["MaxDelaySeconds"] <= 60
    assert state["Catch"][-1]["ErrorEquals"] == ["States.ALL"]


@pytest.mark.parametrize(("name", "state"), tasks())
def test_only_transient_errors_are_retried(name: str, state: dict[str, Any]) -> None:
    retried = {error for retry in state["Retry"] for error in retry["ErrorEquals"]}
    assert "StorageError" in retried
    assert not retried & {
        "States.ALL",
        "States.TaskFailed",
        "EventError",
        "PromptError",
        "BundleError",
        "ModelMismatchError",
        "TokensError",
        "BudgetError",
        "PieceError",
        "AccessError",
    }


def test_every_error_class_has_a_fail_state_of_its_own_kind() -> None:
    classes = {name for name in vars(errors) if name.endswith("Error") and name[0].isupper()}
    ours = {name for name in classes if getattr(errors, name).__module__ == errors.__name__}
    caught = {
        error for _, state in tasks() for catch in state["Catch"] for error in catch["ErrorEquals"]
    }
    assert ours
    assert ours <= caught


def test_a_piece_goes_from_generation_to_saving(machine: Machine) -> None:
    ended, entered = machine.run({})
    assert ended["status"] == "SUCCEEDED"
    assert entered == ["Start", "PromptIsMidi?", "Generate", "Finished?", "Save"]
    job = json.loads(ended["output"])["record"]["job"]
    assert job["execution"]["name"] == ended["executionArn"].rsplit(":", 1)[1]
    assert job["execution"]["started"].startswith("20")
    assert job["request"] == {}


def test_an_unfinished_piece_is_generated_on(machine: Machine) -> None:
    ended, entered = machine.run({"script": {"rounds": 3}})
    assert entered.count("Generate") == 3
    assert json.loads(ended["output"])["record"]["rounds"] == 3


def test_a_prompt_midi_is_tokenised_first(machine: Machine) -> None:
    ended, entered = machine.run({"prompt": "s3://bucket/prompts/tune.mid"})
    assert entered[2:4] == ["TokenizePrompt", "Generate"]
    job = json.loads(ended["output"])["record"]["job"]
    assert job["prompt"] == {"source": "s3://bucket/prompts/tune.mid"}


@pytest.mark.parametrize(
    "event", [{"prompt": "fresh"}, {"prompt": 7}, {"prompt": None}, [], "x", 3]
)
def test_whatever_the_event_is_the_functions_see_it(machine: Machine, event: object) -> None:
    _, entered = machine.run(event)
    assert entered[:3] == ["Start", "PromptIsMidi?", "Generate"]


def test_a_piece_that_never_ends_is_stopped(machine: Machine) -> None:
    ended, entered = machine.run({"script": {"rounds_before": 199, "rounds": 999}})
    assert entered[-1] == "TooManyRounds"
    assert entered.count("Generate") == 2
    assert (ended["status"], ended["error"]) == ("FAILED", "TooManyRounds")


def test_a_transient_error_is_retried(machine: Machine) -> None:
    ended, _ = machine.run({"script": {"raises": "StorageError", "once": True}})
    assert ended["status"] == "SUCCEEDED"
    assert machine.attempts(ended) == 3  # generation twice, saving once


@pytest.mark.parametrize(
    ("error", "state"),
    [
        ("EventError", "BadRequest"),
        ("PromptError", "BadRequest"),
        ("BundleError", "BundleRefused"),
        ("ModelMismatchError", "BundleRefused"),
        ("BudgetError", "OutOfTime"),
        ("PieceError", "PieceRefused"),
        ("TokensError", "PieceRefused"),
        ("AccessError", "StorageFailed"),
        ("KeyError", "Failed"),
    ],
)
def test_a_lasting_error_fails_at_once_under_its_name(
    machine: Machine, error: str, state: str
) -> None:
    ended, entered = machine.run({"script": {"raises": error}})
    assert entered[-1] == state
    assert (ended["status"], ended["error"]) == ("FAILED", error)
    assert json.loads(ended["cause"])["errorMessage"] == "what went wrong"
    assert machine.attempts(ended) == 1


def test_storage_that_goes_on_failing_is_named(machine: Machine) -> None:
    ended, entered = machine.run({"script": {"save_raises": "StorageError"}})
    assert entered[-1] == "StorageFailed"
    assert ended["error"] == "StorageError"
    assert machine.attempts(ended) == 1 + 5


def test_a_function_killed_at_its_time_out_is_tried_twice_and_named(
    machine: Machine,
) -> None:
    ended, entered = machine.run({"script": {"sleeps_s": 5}})
    assert entered[-1] == "OutOfTime"
    assert ended["error"] == "Sandbox.Timedout"
    assert machine.attempts(ended) == 2


def test_a_function_that_dies_is_retried_and_named(machine: Machine) -> None:
    ended, entered = machine.run({"script": {"exits": True}})
    assert entered[-1] == "Failed"
    assert ended["error"] == "Runtime.ExitError"
    assert machine.attempts(ended) == 5
