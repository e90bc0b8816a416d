"""Watches a state machine's execution through AWS's API: waiting, timings, a batch's pieces."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from local_aws.server import LocalAws

POLL_S = 0.1

Event = Mapping[str, Any]  # of get_execution_history


def wait_for(
    aws: LocalAws,
    execution_arn: str,
    on_event: Callable[[Event], None] | None = None,
    timeout_s: float = 3600,
) -> dict[str, Any]:
    """Wait for the execution's end and return its description (describe_execution).

    `on_event` gets every event of its history once, in order. Raises TimeoutError; the execution
    then still runs.
    """
    states = aws.client("stepfunctions")
    deadline = time.monotonic() + timeout_s
    seen = 0
    while True:
        description: dict[str, Any] = states.describe_execution(executionArn=execution_arn)
        ended = description["status"] != "RUNNING"
        if on_event:
            events = history(aws, execution_arn)
            for event in events[seen:]:
                on_event(event)
            seen = len(events)
        if ended:
            return description
        if time.monotonic() > deadline:
            raise TimeoutError(f"{execution_arn} still runs after {timeout_s} s")
        time.sleep(POLL_S)


def history(aws: LocalAws, execution_arn: str) -> list[dict[str, Any]]:
    """All events of an execution, oldest first."""
    pages = aws.client("stepfunctions").get_paginator("get_execution_history")
    return [
        event for page in pages.paginate(executionArn=execution_arn) for event in page["events"]
    ]


def children(aws: LocalAws, execution_arn: str) -> dict[int, list[dict[str, Any]]]:
    """The executions that a batch has begun for each piece, the last attempt first.

    They are found by the names that statemachine.asl.json gives them: the batch's name, the number
    of the piece, how often the batch was redriven, the attempt.
    """
    head, _, name = execution_arn.rpartition(":")
    machine = head.replace(":execution:", ":stateMachine:")
    pages = aws.client("stepfunctions").get_paginator("list_executions")
    begun: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for page in pages.paginate(stateMachineArn=machine):
        for execution in page["executions"]:
            numbers = execution["name"].removeprefix(f"{name}-").split("-")
            if execution["name"].startswith(f"{name}-") and all(map(str.isdecimal, numbers)):
                begun[int(numbers[0])].append(execution)
    for attempts in begun.values():
        attempts.sort(key=lambda execution: str(execution["name"]), reverse=True)
    return dict(begun)


def stages_s(events: Iterable[Event]) -> dict[str, float]:
    """Seconds spent in each Task state, retries included, summed over its visits.

    A task that failed for good has no exit event: its time counts until the execution's last event.
    """
    spent: dict[str, float] = defaultdict(float)
    entered: dict[str, list[datetime]] = defaultdict(list)
    last = None
    for event in events:
        last = event["timestamp"]
        if event["type"] == "TaskStateEntered":
            entered[event["stateEnteredEventDetails"]["name"]].append(last)
        elif event["type"] == "TaskStateExited":
            name = event["stateExitedEventDetails"]["name"]
            spent[name] += (last - entered[name].pop(0)).total_seconds()
    for name, times in entered.items():
        for moment in times:
            spent[name] += (last - moment).total_seconds() if last else 0.0
    return {name: round(seconds, 3) for name, seconds in spent.items()}
