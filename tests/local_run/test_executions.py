"""Waiting for an execution, and the time its tasks took."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_run.executions import history, stages_s, wait_for
from tests.local_aws.conftest import Cloud, allow, task

START = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)


def event(second: float, kind: str, name: str = "") -> dict[str, Any]:
    details = "stateEnteredEventDetails" if kind.endswith("Entered") else "stateExitedEventDetails"
    return {
        "type": kind,
        "timestamp": START + timedelta(seconds=second),
        **({details: {"name": name}} if name else {}),
    }


def test_visits_of_a_task_are_summed_and_other_states_left_out() -> None:
    events = [
        event(0, "ExecutionStarted"),
        event(0, "TaskStateEntered", "Generate"),
        event(2, "TaskStateExited", "Generate"),
        event(2, "ChoiceStateEntered", "Finished?"),
        event(3, "ChoiceStateExited", "Finished?"),
        event(3, "TaskStateEntered", "Generate"),
        event(4.5, "TaskStateExited", "Generate"),
        event(4.5, "TaskStateEntered", "Save"),
        event(5, "TaskStateExited", "Save"),
        event(9, "ExecutionSucceeded"),
    ]
    assert stages_s(events) == {"Generate": 3.5, "Save": 0.5}


def test_task_that_failed_counts_until_the_end() -> None:
    events = [event(1, "TaskStateEntered", "Save"), event(4, "ExecutionFailed")]
    assert stages_s(events) == {"Save": 3}


def test_no_events_no_stages() -> None:
    assert stages_s([]) == {}


def test_real_execution_is_waited_for_and_timed(cloud: Cloud) -> None:
    arn = cloud.function("import time\ndef handler(event, context): time.sleep(0.5)")
    role = cloud.role("states", "states.amazonaws.com", allow("lambda:InvokeFunction", arn))
    machine = cloud.state_machine({"Sleep": task(arn)}, role)
    states = cloud.aws.client("stepfunctions")
    execution = states.start_execution(stateMachineArn=machine, name="x", input="{}")
    seen: list[int] = []

    ended = wait_for(cloud.aws, execution["executionArn"], lambda event: seen.append(event["id"]))

    events = history(cloud.aws, execution["executionArn"])
    assert ended["status"] == "SUCCEEDED"
    assert seen == [event["id"] for event in events]
    assert 0.5 <= stages_s(events)["Sleep"] < 5


def test_waiting_has_an_end(cloud: Cloud) -> None:
    role = cloud.role("states", "states.amazonaws.com")
    machine = cloud.state_machine({"Wait": {"Type": "Wait", "Seconds": 60, "End": True}}, role)
    states = cloud.aws.client("stepfunctions")
    execution = states.start_execution(stateMachineArn=machine, name="x", input="{}")

    with pytest.raises(TimeoutError, match="still runs"):
        wait_for(cloud.aws, execution["executionArn"], timeout_s=0.3)


def test_unknown_execution_is_an_error(cloud: Cloud) -> None:
    arn = f"arn:aws:states:{cloud.aws.region}:{cloud.aws.account}:execution:none:none"
    with pytest.raises(ClientError):
        wait_for(cloud.aws, arn)
