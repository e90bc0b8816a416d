"""Makes moto refuse the schedules that EventBridge Scheduler refuses."""

from contextlib import ExitStack
from typing import Any

from moto.scheduler.exceptions import ValidationException
from moto.scheduler.models import EventBridgeSchedulerBackend

from local_aws.cron import ScheduleExpressionError, check_expression, check_timezone
from local_aws.replacing import replace


def install(stack: ExitStack) -> None:
    """Check expression and time zone on create and update, until `stack` closes."""
    for name in ("create_schedule", "update_schedule"):
        replace(stack, EventBridgeSchedulerBackend, name, _checked(name))


def _checked(name: str) -> Any:
    original = getattr(EventBridgeSchedulerBackend, name)

    def method(backend: EventBridgeSchedulerBackend, **fields: Any) -> Any:
        try:
            check_expression(fields["schedule_expression"])
            check_timezone(fields["schedule_expression_timezone"] or "UTC")
        except ScheduleExpressionError as error:
            raise ValidationException(str(error)) from error
        return original(backend, **fields)

    return method
