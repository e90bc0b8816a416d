"""The trial piece that ends a deployment: ten seconds through the whole chain, under trial/.

A trial that is due is remembered in the artifacts bucket from before the first change until it has
succeeded. So a run that was killed, or whose trial failed, is followed by another trial.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from deploy.aws import Aws, pause
from deploy.errors import DeployError
from deploy.place import Place
from deploy.roles import Role
from deploy.storage import empty_bucket

DUE = "trial.due"
EVENT = {"trial": True, "prompt": "fresh", "duration_s": 10, "date": "2000-01-01"}
LONGEST_S = 900.0
LEARNING_S = 90.0  # within which every service has learnt of a change in IAM
NOT_SEEN_YET_S = 30.0  # a started execution may be unknown so long


def remember(aws: Aws, place: Place) -> None:
    aws.write("s3", "put_object", Bucket=place.bucket("artifacts"), Key=DUE, Body=b"")


def is_due(aws: Aws, place: Place) -> bool:
    bucket = place.bucket("artifacts")
    return aws.read("s3", "get_object", Bucket=bucket, Key=DUE) is not None


def compose(aws: Aws, place: Place, roles: Iterable[Role], advice: str) -> None:
    """Compose the trial piece and delete it again. Raises DeployError, which ends with `advice`.

    If `roles` were changed in this run, an execution that lacks a permission is started again.
    """
    began = time.monotonic()
    changes = [role.changed_at for role in roles if role.changed_at is not None]
    while True:
        arn, ended = _run(aws, place)
        lacking = ended["status"] == "FAILED" and "AccessDenied" in failure(ended)
        lacking = lacking or ended.get("error") == "AccessError"
        if not (lacking and changes and time.monotonic() - max(changes) < LEARNING_S):
            break
        aws.say("the new permissions are not known everywhere yet: the trial piece is tried again")
        pause()
    empty_bucket(aws, place.bucket("music"), "trial/")
    if ended["status"] != "SUCCEEDED":
        raise DeployError(
            f"the trial piece failed with {failure(ended)}\n"
            f"Everything is deployed, but makes no piece. See the execution {arn} in the console. "
            f"The next run tries again{advice}"
        )
    aws.remove("s3", "delete_object", Bucket=place.bucket("artifacts"), Key=DUE)
    aws.say(f"trial piece: composed and deleted, in {time.monotonic() - began:.0f} s")


def _run(aws: Aws, place: Place) -> tuple[str, dict[str, Any]]:
    """An execution's ARN and description at its end."""
    began = time.monotonic()
    started = aws.write(
        "stepfunctions",
        "start_execution",
        stateMachineArn=place.state_machine_arn,
        name=f"smoke-{time.time_ns() // 1_000_000}-{os.getpid()}",
        input=json.dumps(EVENT),
    )
    arn = str(started["executionArn"])
    while True:
        pause(1.0)
        description = aws.read("stepfunctions", "describe_execution", executionArn=arn)
        waited_s = time.monotonic() - began
        if description is not None and description["status"] != "RUNNING":
            return arn, description
        if waited_s > (LONGEST_S if description else NOT_SEEN_YET_S):
            raise DeployError(
                f"the trial piece is not finished after {waited_s:.0f} s: see the execution {arn} "
                "in the console; the next run tries again"
            )


def failure(ended: Mapping[str, Any]) -> str:
    """Error name and message of a failed execution. Lambda's cause is JSON that has the message."""
    cause = ended.get("cause") or ""
    with suppress(ValueError, KeyError, TypeError):  # not from a function: the cause is the message
        cause = json.loads(cause)["errorMessage"]
    return f"{ended.get('error') or ended['status']}: {cause}"
