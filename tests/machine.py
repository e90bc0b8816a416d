"""statemachine.asl.json on the local AWS, with two tiny functions in the places of the real.

They do what the event's `script` says, so that a test is one event; of a batch, only the pieces in
the script's `pieces` do.
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

from local_aws.server import LocalAws
from local_run.executions import children, history, wait_for

ROOT = Path(__file__).parents[1]
ASL = ROOT / "statemachine.asl.json"
RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"


def allow(actions: str | list[str], *resources: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": resources}


# As deploy.sh has them: an execution for each piece.
BATCHES = [
    allow("states:StartExecution", "arn:aws:states:*:*:stateMachine:machine"),
    allow("states:DescribeExecution", "arn:aws:states:*:*:execution:machine:*"),
]

GENERATE = """
import os, time

failed = set()  # a warm function remembers: which executions have had their one failure

def handler(job, context):
    if job.get("task") == "check":
        return check(**job["job"])
    request = job["request"]
    script = request.get("script", {}) if isinstance(request, dict) else {}
    name = job["execution"]["name"]
    if request and "piece" in request and request["piece"] not in script.get("pieces", ()):
        script = {}
    if script.get("unless_again") and name.endswith("-1"):
        script = {}
    if "raises" in script and not (script.get("once") and name in failed):
        failed.add(name)
        raise type(script["raises"], (RuntimeError,), {})("what went wrong")
    if script.get("exits"):
        os._exit(3)
    time.sleep(script.get("sleeps_s", 0))
    calls = job.get("generation", {}).get("calls", script.get("calls_before", 0)) + 1
    finished = calls >= script.get("calls", 1)
    return {**job, "generation": {"calls": calls, "finished": finished}}

def check(request, execution):
    if request["pieces"] == "many":
        raise type("EventError", (ValueError,), {})("pieces must be a number")
    pieces = list(range(1, request["pieces"] + 1))
    event = {**request, "date": "2026-03-01"}
    name = request.get("script", {}).get("name", execution["name"])
    batch = {"name": name, "date": "2026-03-01", "pieces": len(pieces)}
    return {**batch, "items": pieces, "event": event}
"""
SAVE = """
def handler(event, context):
    if event["task"] == "publish":
        saved, publish = event["saved"], event["saved"]["publish"]
        if publish.get("raises"):
            raise type(publish["raises"], (RuntimeError,), {})("what went wrong")
        calls = publish.get("calls", 0) + 1
        finished = calls >= publish.get("wanted", 1)
        return {**saved, "publish": {**publish, "calls": calls, "finished": finished}}
    job = event["job"]
    raises = job["request"].get("script", {}).get("save_raises") if job["request"] else None
    if raises:
        raise type(raises, (RuntimeError,), {})("what went wrong")
    if event["task"] == "tokenize_prompt":
        return {**job, "prompt": {"source": job["request"]["prompt"]}}
    record = {"calls": job["generation"]["calls"], "job": job}
    if job["request"] and "piece" in job["request"]:
        record |= {"piece": job["request"]["piece"], "seed": 7, "duration_s": 8.5, "notes": 99}
        record["keys"] = {"record": "neural-net/a-piece.json"}
    script = job["request"].get("script", {}) if isinstance(job["request"], dict) else {}
    return {"record": record, "publish": script.get("publish", {})}
"""


def zipped(source: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo("tiny.py")
        entry.external_attr = 0o100644 << 16  # Lambda runs functions as a user of its own
        archive.writestr(entry, source)
    return buffer.getvalue()


class Machine:
    """The real definition on the local AWS, with the tiny functions in the places of the real."""

    def __init__(self, aws: LocalAws, waits: list[float]) -> None:
        """`waits` gets the seconds before each retry, which nobody sleeps."""
        self.aws, self.waits = aws, waits
        arns = {
            "GenerateTokensArn": self._function("generate-tokens", GENERATE),
            "MidiSaveArn": self._function("midi-save", SAVE),
        }
        text = ASL.read_text()
        for name, value in arns.items():
            text = text.replace(f"${{{name}}}", value)
        role = self._role("states", [allow("lambda:InvokeFunction", *arns.values()), *BATCHES])
        self.arn = aws.client("stepfunctions").create_state_machine(
            name="machine", definition=text, roleArn=role
        )["stateMachineArn"]
        self._count = 0

    def run(self, event: object) -> tuple[dict[str, Any], list[str]]:
        """The execution's description and the names of the states that it entered, in order."""
        self._count += 1
        self.waits.clear()
        execution = self.aws.client("stepfunctions").start_execution(
            stateMachineArn=self.arn, name=f"run-{self._count}", input=json.dumps(event)
        )["executionArn"]
        ended = wait_for(self.aws, execution, timeout_s=120)
        entered = [
            step["stateEnteredEventDetails"]["name"]
            for step in history(self.aws, execution)
            if "stateEnteredEventDetails" in step
        ]
        return ended, entered

    def executions(self, parent: dict[str, Any]) -> dict[str, str]:
        """The statuses of the executions that a batch started, by piece and attempt."""
        return {
            attempt["name"].removeprefix(f"{parent['name']}-"): attempt["status"]
            for attempts in children(self.aws, parent["executionArn"]).values()
            for attempt in attempts
        }

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
