"""Checks schedule expressions and time zones as EventBridge Scheduler does, before a deploy.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
"""

import re
import zoneinfo
from datetime import datetime

_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
# Extras: L is the last day, W the weekday nearest to a date, #n the n-th such weekday of the month.
_FIELDS: tuple[tuple[str, int, int, list[str], str], ...] = (  # name, from, to, names, extras
    ("minutes", 0, 59, [], r"\*"),
    ("hours", 0, 23, [], r"\*"),
    ("day of month", 1, 31, [], r"\*|\?|L|LW|(?:[1-9]|[12]\d|3[01])W"),
    ("month", 1, 12, _MONTHS, r"\*"),
    ("day of week", 1, 7, _DAYS, rf"\*|\?|L|(?:[1-7]|{'|'.join(_DAYS)})(?:L|#[1-5])"),
    ("year", 1970, 2199, [], r"\*"),
)


class ScheduleExpressionError(ValueError):
    """Not a cron, rate or at expression, or not a time zone; the message names the part."""


def check_expression(expression: str) -> None:
    """Raises ScheduleExpressionError."""
    found = re.fullmatch(r"(cron|rate|at)\((.*)\)", expression)
    if found is None:
        raise ScheduleExpressionError(f"{expression!r}: write cron(...), rate(...) or at(...)")
    kind, inner = found.groups()
    if kind == "rate" and not re.fullmatch(r"[1-9]\d* (minute|hour|day)s?", inner):
        raise ScheduleExpressionError(f"{expression!r}: write for instance rate(1 day)")
    if kind == "at":
        try:
            datetime.strptime(inner, "%Y-%m-%dT%H:%M:%S")
        except ValueError as error:
            raise ScheduleExpressionError(f"{expression!r}: {error}") from error
    if kind == "cron":
        _check_cron(expression, inner.split())


def check_timezone(name: str) -> None:
    """Raises ScheduleExpressionError."""
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ScheduleExpressionError(
            f"time zone {name!r} is not in the IANA list; write for instance Europe/Berlin"
        ) from error


def _check_cron(expression: str, fields: list[str]) -> None:
    if len(fields) != len(_FIELDS):
        six = ", ".join(field[0] for field in _FIELDS)
        raise ScheduleExpressionError(
            f"{expression!r} has {len(fields)} fields instead of six: {six}"
        )
    for text, (name, low, high, names, extras) in zip(fields, _FIELDS, strict=True):
        for part in text.split(","):
            if not re.fullmatch(extras, part) and not _is_range(part, low, high, names):
                raise ScheduleExpressionError(
                    f"{expression!r}: {name} is {part!r}, not within {low}-{high}"
                )
    if (fields[2] == "?") == (fields[4] == "?"):
        raise ScheduleExpressionError(
            f"{expression!r}: exactly one of day of month and day of week must be ?"
        )


def _is_range(part: str, low: int, high: int, names: list[str]) -> bool:
    """A number, a range, or either with a step: 5, MON-FRI, 0/15, */2."""
    span, slash, step = part.partition("/")
    if slash and (not step.isascii() or not step.isdigit() or int(step) < 1):
        return False
    if span == "*":
        return bool(slash)
    ends = [_number(text, names) for text in span.split("-")]
    return len(ends) <= 2 and all(end is not None and low <= end <= high for end in ends)


def _number(text: str, names: list[str]) -> int | None:
    if text in names:
        return names.index(text) + 1
    return int(text) if text.isascii() and text.isdigit() else None
