"""Checks schedule expressions and time zones before a deploy, and says how often pieces come.

EventBridge Scheduler would refuse them only after everything else has been made.
https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
"""

from __future__ import annotations

import re
import zoneinfo
from datetime import UTC, datetime, timedelta

from aws_croniter import AwsCroniter
from aws_croniter.exceptions import AwsCroniterExpressionError

LATE_H = 12  # how late a piece may be before its alarm goes off
LONGEST_ALARM_H = 7 * 24  # CloudWatch looks back no further
LOOK_AHEAD = timedelta(days=15)  # for the longest pause of a cron expression: two weeks and more


class ScheduleExpressionError(ValueError):
    """Not a cron, rate or at expression, or not a time zone; the message names the part."""


def check_expression(expression: str) -> None:
    """Raises ScheduleExpressionError."""
    kind, inner = _parts(expression)
    if kind == "rate" and not re.fullmatch(r"[1-9]\d{0,8} (minute|hour|day)s?", inner):
        raise ScheduleExpressionError(f"{expression!r}: write for instance rate(1 day)")
    if kind == "at":
        try:
            start = datetime.strptime(inner, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
        except ValueError as error:
            raise ScheduleExpressionError(f"{expression!r}: {error}") from error
        if start < datetime.now(UTC) - timedelta(days=1):  # a day: it may be of any time zone
            raise ScheduleExpressionError(f"{expression!r} is in the past")
    if kind == "cron":
        _cron(expression, inner)


def check_timezone(name: str) -> None:
    """Raises ScheduleExpressionError. Without time zone data here the scheduler checks it."""
    if name == "UTC" or not zoneinfo.available_timezones():
        return
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ScheduleExpressionError(
            f"time zone {name!r} is not in the IANA list; write for instance Europe/Berlin"
        ) from error


def hours_without_a_piece(expression: str) -> int | None:
    """After how many hours without a piece something is wrong; None if no alarm can tell.

    That is the longest pause of the schedule and LATE_H, at most a week. A schedule with a pause
    of a week or more has no such alarm, nor has one that starts once.
    """
    try:
        kind, inner = _parts(expression)
        if kind == "at":
            return None
        if kind == "rate":
            count, unit = inner.split()
            pause = timedelta(**{f"{unit.rstrip('s')}s": int(count)})
        else:
            pause = _longest_pause(_cron(expression, inner))
    except ScheduleExpressionError:  # set in the console, or its last start is over
        return None
    hours = -(-pause // timedelta(hours=1))  # rounded up
    return min(hours + LATE_H, LONGEST_ALARM_H) if hours < LONGEST_ALARM_H else None


def _parts(expression: str) -> tuple[str, str]:
    found = re.fullmatch(r"(cron|rate|at)\((.*)\)", expression)
    if found is None:
        raise ScheduleExpressionError(f"{expression!r}: write cron(...), rate(...) or at(...)")
    return found[1], found[2]


def _cron(expression: str, inner: str) -> AwsCroniter:
    try:
        cron = AwsCroniter(inner)
    except (AwsCroniterExpressionError, ValueError) as error:
        raise ScheduleExpressionError(f"{expression!r}: {error}") from error
    if cron.occurrence(datetime.now(UTC)).next() is None:
        raise ScheduleExpressionError(f"{expression!r} never starts a piece from now on")
    return cron


def _longest_pause(cron: AwsCroniter) -> timedelta:
    """Between two starts from now on, as far as LOOK_AHEAD; at most what an alarm can span."""
    longest = timedelta(0)
    first = last = cron.occurrence(datetime.now(UTC)).next()
    while last - first < LOOK_AHEAD and longest < timedelta(hours=LONGEST_ALARM_H):
        following = cron.occurrence(last).next()
        if following is None:
            break
        longest, last = max(longest, following - last), following
    return longest
