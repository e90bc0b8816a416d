"""The state machine and its schedule."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from deploy.aws import Aws, pause
from deploy.errors import DeployError
from deploy.place import Place
from deploy.resource import Described

LONGEST_DELETION_S = 600.0


class StateMachine(Described):
    """Its `definition` is statemachine.asl.json, with the functions' ARNs filled in."""

    service = "stepfunctions"
    calls = tuple(f"{verb}_state_machine" for verb in ("describe", "create", "update", "delete"))  # type: ignore[assignment]
    changed = "definition"

    def __init__(self, aws: Aws, place: Place, definition: Path) -> None:
        want = {
            "definition": json.dumps(place.document(definition), indent=2),
            "roleArn": place.role_arn("statemachine"),
            "tracingConfiguration": {"enabled": True},
        }
        key = {"stateMachineArn": place.state_machine_arn}
        super().__init__(aws, f"state machine {place.name}", key, want)
        self.new = {"name": place.name, "type": "STANDARD", "tags": place.tags_as("key", "value")}

    def differs(self, have: Any) -> list[str]:
        return ["created"] if _is_going(have) else super().differs(have)

    def write(self, part: str, have: Any) -> str | None:
        """One that is being deleted is waited for."""
        began = time.monotonic()
        if _is_going(have):
            self.aws.say(f"{self.label} is being deleted: waiting until it is gone")
        while _is_going(have):
            if time.monotonic() - began > LONGEST_DELETION_S:
                raise DeployError(
                    f"{self.label} is still being deleted, for which its running executions must "
                    "end: stop them in the console, then run this again"
                )
            pause()
            have = self.read()
        return super().write(part, have)

    def listed(self, have: Any) -> list[str]:
        return [] if _is_going(have) else super().listed(have)


def _is_going(have: Any) -> bool:
    return have is not None and have.get("status") == "DELETING"


class Schedule(Described):
    """The daily start of the state machine; when, is needed to deploy it."""

    service = "scheduler"
    calls = ("get_schedule", "create_schedule", "update_schedule", "delete_schedule")

    def __init__(self, aws: Aws, place: Place, expression: str = "", timezone: str = "") -> None:
        # The scheduler puts in the time that the start was due, also when it retries, in UTC. The
        # piece is of the day there was in the zone. A rate counts hours, without any zone.
        local = timezone != "UTC" and not expression.startswith("rate")
        date = "<aws.scheduler.scheduled-time>" + (f"[{timezone}]" if local else "")
        want = {
            "ScheduleExpression": expression,
            "ScheduleExpressionTimezone": timezone,
            "State": "ENABLED",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "Target": {
                "Arn": place.state_machine_arn,
                "RoleArn": place.role_arn("schedule"),
                "Input": json.dumps({"date": date}),
                # Half a day, as often as the scheduler can. The next day has a start of its own.
                "RetryPolicy": {"MaximumEventAgeInSeconds": 43200, "MaximumRetryAttempts": 185},
                "DeadLetterConfig": {"Arn": place.queue_arn},
            },
        }
        name = f"{place.name}-daily"
        super().__init__(aws, f"schedule {name}", {"Name": name}, want)
        self.new = self.key
        self._when = f"{expression} {timezone}"

    def differs(self, have: Any) -> list[str]:
        return [f"{what}, {self._when}" for what in super().differs(have)]
