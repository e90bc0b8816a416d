"""The deployed schedule is fired with its own role, Input and dead-letter queue."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from local_aws.schedule import ScheduleError, StartError, fire, fire_for
from local_run.executions import wait_for
from tests.local_aws.conftest import Cloud, allow

WHEN = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)


class Scheduled:
    """A state machine that ends with its input, a queue, and a schedule for it."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud, self.aws = cloud, cloud.aws
        role = cloud.role("states", "states.amazonaws.com")
        self.machine = cloud.state_machine({"End": {"Type": "Succeed"}}, role)
        self.queue = str(self.aws.client("sqs").create_queue(QueueName="dead")["QueueUrl"])
        self.queue_arn = f"arn:aws:sqs:{self.aws.region}:{self.aws.account}:dead"
        self.may_start = allow("states:StartExecution", self.machine)
        self.may_send = allow("sqs:SendMessage", self.queue_arn)

    def create(self, *statements: dict[str, Any], service: str = "scheduler.amazonaws.com",
               target: dict[str, Any] | None = None, **more: Any) -> None:  # fmt: skip
        role = self.cloud.role("schedule", service, *statements)
        wanted: dict[str, Any] = {
            "Name": "daily",
            "ScheduleExpression": "cron(0 6 * * ? *)",
            "ScheduleExpressionTimezone": "Europe/Berlin",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "State": "ENABLED",
            "Target": {
                "Arn": self.machine,
                "RoleArn": role,
                "Input": '{"date":"<aws.scheduler.scheduled-time>"}',
                "RetryPolicy": {"MaximumRetryAttempts": 2, "MaximumEventAgeInSeconds": 600},
                "DeadLetterConfig": {"Arn": self.queue_arn},
                **(target or {}),
            },
        }
        self.aws.client("scheduler").create_schedule(**(wanted | more))

    def dead_letters(self) -> list[dict[str, Any]]:
        answer = self.aws.client("sqs").receive_message(
            QueueUrl=self.queue, MessageAttributeNames=["All"]
        )
        return list(answer.get("Messages", []))


@pytest.fixture
def scheduled(cloud: Cloud) -> Scheduled:
    return Scheduled(cloud)


def test_execution_gets_the_schedules_input(scheduled: Scheduled) -> None:
    scheduled.create(scheduled.may_start)

    ended = wait_for(scheduled.aws, fire(scheduled.aws, "daily", WHEN))

    assert ended["stateMachineArn"] == scheduled.machine
    assert json.loads(ended["input"]) == {"date": "2026-11-22T06:00:00Z"}


def test_scheduled_time_is_in_utc(scheduled: Scheduled) -> None:
    scheduled.create(scheduled.may_start)
    berlin = WHEN.astimezone(timezone(timedelta(hours=1)))

    ended = wait_for(scheduled.aws, fire(scheduled.aws, "daily", berlin))

    assert json.loads(ended["input"])["date"] == "2026-11-22T06:00:00Z"


def test_the_morning_of_a_day_is_that_of_the_schedules_zone(scheduled: Scheduled) -> None:
    scheduled.create(scheduled.may_start, ScheduleExpressionTimezone="America/Los_Angeles")

    ended = wait_for(scheduled.aws, fire_for(scheduled.aws, "daily", WHEN.date(), {}))

    assert json.loads(ended["input"])["date"] == "2026-11-22T14:00:00Z"


def test_overrides_are_laid_over_the_input(scheduled: Scheduled) -> None:
    scheduled.create(scheduled.may_start)

    execution = fire(scheduled.aws, "daily", WHEN, {"seed": 7, "style": 'a "b"'})

    assert json.loads(wait_for(scheduled.aws, execution)["input"]) == {
        "date": "2026-11-22T06:00:00Z",
        "seed": 7,
        "style": 'a "b"',
    }


def test_firing_twice_makes_two_executions(scheduled: Scheduled) -> None:
    scheduled.create(scheduled.may_start)

    assert fire(scheduled.aws, "daily", WHEN) != fire(scheduled.aws, "daily", WHEN)


def test_role_that_may_not_start_fails_and_leaves_a_dead_letter(scheduled: Scheduled) -> None:
    other = scheduled.machine.replace("machine", "other")
    scheduled.create(allow("states:StartExecution", other), scheduled.may_send)

    with pytest.raises(StartError, match=r"AccessDenied.*the message is in dead"):
        fire(scheduled.aws, "daily", WHEN)

    [letter] = scheduled.dead_letters()
    assert json.loads(letter["Body"]) == {"date": "2026-11-22T06:00:00Z"}
    attributes = {k: v["StringValue"] for k, v in letter["MessageAttributes"].items()}
    assert attributes["TARGET_ARN"] == scheduled.machine
    assert (attributes["ERROR_CODE"], attributes["RETRY_ATTEMPTS"]) == (
        "AccessDeniedException",
        "0",
    )


def test_role_that_may_not_write_the_queue_is_named(scheduled: Scheduled) -> None:
    scheduled.create()

    with pytest.raises(StartError, match="nor could its dead-letter queue dead be written"):
        fire(scheduled.aws, "daily", WHEN)
    assert scheduled.dead_letters() == []


def test_passing_trouble_is_retried_as_often_as_the_policy_says(scheduled: Scheduled) -> None:
    scheduled.create(scheduled.may_start, scheduled.may_send)

    fault = scheduled.aws.fail_next("states", "StartExecution", times=2)
    assert fire(scheduled.aws, "daily", WHEN)
    assert fault.hits == 2

    scheduled.aws.fail_next("states", "StartExecution", times=3)
    with pytest.raises(StartError):
        fire(scheduled.aws, "daily", WHEN)
    [letter] = scheduled.dead_letters()
    assert letter["MessageAttributes"]["RETRY_ATTEMPTS"]["StringValue"] == "2"


def test_role_that_does_not_trust_the_scheduler_is_named(scheduled: Scheduled) -> None:
    scheduled.create(scheduled.may_start, service="states.amazonaws.com")

    with pytest.raises(StartError, match=r"scheduler\.amazonaws\.com cannot assume it"):
        fire(scheduled.aws, "daily", WHEN)


def test_disabled_schedule_is_refused(scheduled: Scheduled) -> None:
    scheduled.create(scheduled.may_start, State="DISABLED")

    with pytest.raises(ScheduleError, match="'DISABLED', not ENABLED"):
        fire(scheduled.aws, "daily", WHEN)


def test_absent_schedule_is_named(scheduled: Scheduled) -> None:
    with pytest.raises(ScheduleError, match="no schedule named daily"):
        fire(scheduled.aws, "daily", WHEN)


def test_target_that_is_no_state_machine_is_refused(scheduled: Scheduled) -> None:
    scheduled.create(target={"Arn": scheduled.queue_arn})

    with pytest.raises(ScheduleError, match="no state machine"):
        fire(scheduled.aws, "daily", WHEN)


def test_input_that_overrides_cannot_be_laid_over_is_refused(scheduled: Scheduled) -> None:
    scheduled.create(scheduled.may_start, target={"Input": "[1]"})

    with pytest.raises(ScheduleError, match="no JSON object"):
        fire(scheduled.aws, "daily", WHEN, {"seed": 1})
