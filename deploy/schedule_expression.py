"""Checks schedule expressions and time zones before a deploy, and says how often pieces come.

EventBridge Scheduler would refuse them only after everything else has been made.
https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
"""

from __future__ import annotations

import re
import zoneinfo
from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta

from aws_croniter import AwsCroniter
from aws_croniter.exceptions import AwsCroniterExpressionError

LATE_H = 12  # how late a piece may be before its alarm goes off
LONGEST_ALARM_H = 7 * 24  # CloudWatch looks back no further
LOOK_AHEAD = timedelta(days=15)  # for the longest pause of a cron expression: two weeks and more
YEARS_AHEAD = 10  # for changes of the clocks
DAY_MIN = 24 * 60


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
        if name in ("localtime", "Factory") or name.startswith(("posix", "right/")):
            raise ValueError(name)  # of this machine's files, not of the list
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ScheduleExpressionError(
            f"time zone {name!r} is not in the IANA list; write for instance Europe/Berlin"
        ) from error


def check_in_zone(expression: str, timezone: str) -> None:
    """Whether the schedule has a start on each of its days, whatever the zone's clocks do.

    The scheduler leaves out a start at a local time that the clocks jump over, and starts once at
    one that comes twice ('Daylight savings time' on the page above). So a day of which all starts
    are jumped over has no piece. Raises ScheduleExpressionError.
    """
    kind, inner = _parts(expression)
    if kind == "rate":  # counts hours, in whatever zone
        return
    schedule = _cron(expression, inner) if kind == "cron" else datetime.fromisoformat(inner)
    for gap, end in _gaps(timezone):
        for day in {gap.date(), (end - timedelta(minutes=1)).date()}:
            starts = _starts(schedule, datetime.combine(day, time(), UTC))
            first = next(starts, None)
            if first and all(gap <= start < end for start in (first, *starts)):
                raise ScheduleExpressionError(
                    f"{expression!r}: on {day} the clocks of {timezone} go from {gap:%H:%M} to "
                    f"{end:%H:%M}, so that the day has no {first:%H:%M} and would have no piece: "
                    f"choose a time outside of {gap:%H:%M} to {end:%H:%M}"
                )


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


def _starts(schedule: AwsCroniter | datetime, midnight: datetime) -> Iterator[datetime]:
    """The day's local times, written as if they were UTC, which is all that cron knows."""
    if isinstance(schedule, datetime):
        start = schedule.replace(tzinfo=UTC)
        if start.date() == midnight.date():
            yield start
        return
    start = midnight - timedelta(minutes=1)
    while (start := schedule.occurrence(start).next()) and start.date() == midnight.date():
        yield start


def _gaps(timezone: str) -> Iterator[tuple[datetime, datetime]]:
    """The local times that the zone's clocks jump over from now on, written as if they were UTC:
    the first that there is not, and the first that there is again. None without time zone data.
    """
    try:
        zone = zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):  # check_timezone's to refuse
        return

    def local(minute: int) -> datetime:
        moment = datetime.fromtimestamp(minute * 60, zone)
        return moment.replace(tzinfo=UTC)

    today = int(datetime.now(UTC).timestamp()) // 60
    for day in range(today, today + YEARS_AHEAD * 365 * DAY_MIN, DAY_MIN):
        if local(day + DAY_MIN) - local(day) > timedelta(days=1):
            minutes = range(day, day + DAY_MIN + 1)
            change = minutes[
                bisect_left(
                    minutes, True, key=lambda m: local(m) - local(day) > timedelta(minutes=m - day)
                )
            ]
            yield local(change - 1) + timedelta(minutes=1), local(change)


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
