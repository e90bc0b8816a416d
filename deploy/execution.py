"""Runs the state machine once, for the deployer itself, and waits for the end."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from deploy.aws import Aws, pause
from deploy.errors import DeployError
from deploy.place import Place

NOT_SEEN_YET_S = 30.0  # a started execution may be unknown so long
TOLD_EVERY_S = 60.0


class StillRunningError(DeployError):
    """The execution has not ended after the longest time; it goes on."""


def run(
    aws: Aws, place: Place, name: str, event: Mapping[str, Any], what: str, longest_s: float
) -> tuple[str, dict[str, Any]]:
    """An execution's ARN and description at its end.

    `name` begins its name; `what` is what people wait for. Raises StillRunningError after
    `longest_s`, DeployError if it is never seen.
    """
    began = told = time.monotonic()
    started = aws.write(
        "stepfunctions",
        "start_execution",
        stateMachineArn=place.state_machine_arn,
        name=f"{name}-{time.time_ns() // 1_000_000}-{os.getpid()}",
        input=json.dumps(event),
    )
    arn = str(started["executionArn"])
    while True:
        pause(1.0)
        description = aws.read("stepfunctions", "describe_execution", executionArn=arn)
        now = time.monotonic()
        if description is not None and description["status"] != "RUNNING":
            return arn, description
        late = (
            f"{what} is not finished after {now - began:.0f} s: see the execution {arn} in the "
            "console; the next run tries again"
        )
        if description is None and now - began > NOT_SEEN_YET_S:
            raise DeployError(late)
        if now - began > longest_s:
            raise StillRunningError(late)
        if now - told > TOLD_EVERY_S:
            aws.say(f"{what}: at work for {now - began:.0f} s")
            told = now


def failure(ended: Mapping[str, Any]) -> str:
    """Error name and message of a failed execution. Lambda's cause is JSON that has the message."""
    cause = ended.get("cause") or ""
    with suppress(ValueError, KeyError, TypeError):  # not from a function: the cause is the message
        cause = json.loads(cause)["errorMessage"]
    return f"{ended.get('error') or ended['status']}: {cause}"
