"""An empty local AWS for each test, and short ways to put small functions into it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from local_aws.host import VERSION
from local_aws.runtime import ensure_runtime
from local_aws.server import LocalAws
from local_run.executions import wait_for

CACHE_DIR = Path(__file__).parents[2] / ".cache"
LOGGING = {
    "Effect": "Allow",
    "Action": ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"],
    "Resource": "arn:aws:logs:*:*:log-group:/aws/lambda/*",
}


class Result(NamedTuple):
    payload: Any
    error: str | None


def zipped(files: Mapping[str, str | bytes], mode: int = 0o644) -> bytes:
    """A zip as a deployment makes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo(name, date_time=(2026, 1, 2, 3, 4, 6))
            member.external_attr = mode << 16
            archive.writestr(member, content)
    return buffer.getvalue()


def allow(actions: str | list[str], resources: str | list[str], **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": resources, **more}


class Cloud:
    """A local AWS and what tests put into it; `log` has the lines it logged."""

    def __init__(self, aws: LocalAws, log: list[str]) -> None:
        self.aws, self.log = aws, log

    def role(self, name: str, service: str, *statements: Mapping[str, Any]) -> str:
        trust = {
            "Effect": "Allow",
            "Principal": {"Service": service},
            "Action": "sts:AssumeRole",
        }
        iam = self.aws.client("iam")
        arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(_document(trust)))[
            "Role"
        ]["Arn"]
        if statements:
            iam.put_role_policy(
                RoleName=name, PolicyName="own", PolicyDocument=json.dumps(_document(*statements))
            )
        return str(arn)

    def function(
        self,
        source: str,
        *statements: Mapping[str, Any],
        name: str = "tiny",
        layers: Sequence[Mapping[str, str | bytes]] = (),
        environment: Mapping[str, str] | None = None,
        timeout_s: int = 10,
        memory_mb: int = 256,
        **settings: Any,
    ) -> str:
        """Deploy `source` as main.py; its handler is `handler`. Returns the function's ARN."""
        client = self.aws.client("lambda")
        arns = [
            client.publish_layer_version(
                LayerName=f"{name}-{number}", Content={"ZipFile": zipped(files)}
            )["LayerVersionArn"]
            for number, files in enumerate(layers)
        ]
        wanted = {
            "FunctionName": name,
            "Runtime": VERSION,
            "Role": self.role(f"{name}-role", "lambda.amazonaws.com", LOGGING, *statements),
            "Handler": "main.handler",
            "Code": {"ZipFile": zipped({"main.py": source})},
            "Timeout": timeout_s,
            "MemorySize": memory_mb,
            "Layers": arns,
            "Environment": {"Variables": dict(environment or {})},
        }
        return str(client.create_function(**(wanted | settings))["FunctionArn"])

    def invoke(self, event: Any = None, name: str = "tiny") -> Result:
        answer = self.aws.client("lambda").invoke(
            FunctionName=name, Payload=json.dumps(event).encode()
        )
        return Result(json.loads(answer["Payload"].read()), answer.get("FunctionError"))

    def state_machine(self, states: Mapping[str, Any], role: str) -> str:
        definition = {"StartAt": next(iter(states)), "States": states}
        made = self.aws.client("stepfunctions").create_state_machine(
            name="machine", definition=json.dumps(definition), roleArn=role
        )
        return str(made["stateMachineArn"])

    def run(self, machine: str, event: Any, name: str = "once") -> dict[str, Any]:
        started = self.aws.client("stepfunctions").start_execution(
            stateMachineArn=machine, name=name, input=json.dumps(event)
        )
        return wait_for(self.aws, started["executionArn"], timeout_s=30)

    def cloudwatch_lines(self, name: str = "tiny") -> list[str]:
        events = self.aws.client("logs").filter_log_events(logGroupName=f"/aws/lambda/{name}")
        return [event["message"] for event in events["events"]]


def task(function_arn: str, **more: Any) -> dict[str, Any]:
    """A Task state that calls a function with the state's input."""
    return {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {"FunctionName": function_arn, "Payload.$": "$"},
        "OutputPath": "$.Payload",
        **({"End": True} | more),
    }


def _document(*statements: Mapping[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


@pytest.fixture(scope="session")
def runtime_dir() -> Path:
    return ensure_runtime(CACHE_DIR)


@pytest.fixture
def start(runtime_dir: Path) -> Iterator[Callable[..., Cloud]]:
    """Starts a local AWS with settings of one's own; ends it after the test."""
    started: list[LocalAws] = []

    def start_one(**settings: Any) -> Cloud:
        log: list[str] = []
        aws = LocalAws(runtime_dir, log=log.append, **settings)
        started.append(aws.__enter__())
        return Cloud(aws, log)

    yield start_one
    for aws in started:
        aws.__exit__()


@pytest.fixture
def cloud(start: Callable[..., Cloud]) -> Cloud:
    return start()
