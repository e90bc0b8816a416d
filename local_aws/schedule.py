"""Fires a deployed schedule now, in place of EventBridge Scheduler's clock.

It starts the target as the service does: with the schedule's own role and Input, and with one
execution per firing. If the target cannot be started, the message goes to the dead-letter queue.
At most five retries follow, without waiting. The target must be a state machine. Depends on neither
the state machine's definition nor the functions.
https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule.html
"""

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from botocore.exceptions import ClientError

from local_aws.iam import AssumeRoleError, Credentials
from local_aws.server import LocalAws

SERVICE = "scheduler.amazonaws.com"
SCHEDULED_HOUR = 6  # the hour of day that deploy.sh sets
# Parts of the codes of errors that a retry would meet again.
FINAL_ERRORS = ("AccessDenied", "NotFound", "DoesNotExist", "Invalid", "Validation")


class ScheduleError(RuntimeError):
    """The schedule cannot fire: it is absent, disabled, or has a wrong kind of target or Input."""


class StartError(RuntimeError):
    """The target could not be started; says whether the dead-letter queue has the message."""


def fire(
    aws: LocalAws,
    schedule_name: str,
    scheduled_time: datetime,
    overrides: Mapping[str, Any] | None = None,
) -> str:
    """Start the schedule's target as of `scheduled_time` and return the execution's ARN.

    `overrides` replace fields of its Input. Raises ScheduleError, StartError.
    """
    schedule = _deployed(aws, schedule_name)
    target = schedule["Target"]
    execution_id = str(uuid.uuid4())
    keywords = {
        "scheduled-time": f"{scheduled_time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "execution-id": execution_id,
        "schedule-arn": schedule["Arn"],
        "attempt-number": "1",
    }
    text = target.get("Input", "{}")
    for keyword, value in keywords.items():
        text = text.replace(f"<aws.scheduler.{keyword}>", value)
    if overrides:
        text = _merged(schedule_name, text, overrides)
    try:
        credentials = aws.assume(target["RoleArn"], SERVICE, schedule["Arn"])
    except AssumeRoleError as error:
        raise StartError(f"schedule {schedule_name}: {error}") from error
    states = aws.client("stepfunctions", credentials)
    attempts = 1 + min(5, target.get("RetryPolicy", {}).get("MaximumRetryAttempts", 185))
    name = f"{schedule_name[:40]}-{scheduled_time.astimezone(UTC):%Y%m%d}-{execution_id[:13]}"
    for attempt in range(1, attempts + 1):
        try:
            started = states.start_execution(stateMachineArn=target["Arn"], name=name, input=text)
            return str(started["executionArn"])
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if attempt == attempts or any(part in code for part in FINAL_ERRORS):
                fate = _to_dead_letters(aws, credentials, schedule, text, keywords, error, attempt)
                raise StartError(
                    f"schedule {schedule_name} could not start {target['Arn']}: {error}; {fate}"
                ) from error
    raise AssertionError("unreachable: the last attempt returns or raises")


def fire_for(aws: LocalAws, schedule_name: str, day: date, event: Mapping[str, Any]) -> str:
    """Fire it as of the morning of `day`, with the event's fields; return the execution's ARN."""
    zone = ZoneInfo(_deployed(aws, schedule_name)["ScheduleExpressionTimezone"])
    scheduled = datetime(day.year, day.month, day.day, SCHEDULED_HOUR, tzinfo=zone)
    return fire(aws, schedule_name, scheduled, event)


def _deployed(aws: LocalAws, name: str) -> dict[str, Any]:
    """The schedule as deployed, if it can fire."""
    scheduler = aws.client("scheduler")
    try:
        schedule: dict[str, Any] = scheduler.get_schedule(Name=name)
    except scheduler.exceptions.ResourceNotFoundException as error:
        raise ScheduleError(f"no schedule named {name}: deploy it first") from error
    if schedule.get("State") != "ENABLED":
        raise ScheduleError(
            f"schedule {name} has state {schedule.get('State')!r}, not ENABLED: "
            "pass --state ENABLED on create and update"
        )
    if ":stateMachine:" not in schedule["Target"]["Arn"]:
        raise ScheduleError(f"schedule {name} starts {schedule['Target']['Arn']}: no state machine")
    return schedule


def _merged(name: str, text: str, overrides: Mapping[str, Any]) -> str:
    try:
        event = json.loads(text)
    except ValueError as error:
        raise ScheduleError(f"the Input of schedule {name} is no JSON: {text}") from error
    if not isinstance(event, dict):
        raise ScheduleError(f"the Input of schedule {name} is no JSON object: {text}")
    return json.dumps(event | dict(overrides))


def _to_dead_letters(
    aws: LocalAws,
    credentials: Credentials,
    schedule: Mapping[str, Any],
    text: str,
    keywords: Mapping[str, str],
    cause: ClientError,
    attempt: int,
) -> str:
    """Send what could not be delivered, as the schedule's role; says what became of it."""
    queue_arn = schedule["Target"].get("DeadLetterConfig", {}).get("Arn")
    if queue_arn is None:
        return "it has no dead-letter queue"
    attributes = {
        "ERROR_CODE": cause.response["Error"]["Code"],
        "ERROR_MESSAGE": cause.response["Error"]["Message"] or "-",
        "EXECUTION_ID": keywords["execution-id"],
        "RETRY_ATTEMPTS": str(attempt - 1),
        "SCHEDULED_TIME": keywords["scheduled-time"],
        "SCHEDULE_ARN": schedule["Arn"],
        "TARGET_ARN": schedule["Target"]["Arn"],
    }
    queue_name = queue_arn.rsplit(":", 1)[1]
    try:
        aws.client("sqs", credentials).send_message(
            QueueUrl=f"{aws.endpoint}/{aws.account}/{queue_name}",
            MessageBody=text,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value}
                for name, value in attributes.items()
            },
        )
    except ClientError as error:
        return f"nor could its dead-letter queue {queue_name} be written: {error}"
    return f"the message is in {queue_name}"
