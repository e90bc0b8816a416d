"""Schedule expressions and time zones are checked as EventBridge Scheduler does."""

from __future__ import annotations

from contextlib import suppress
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.schedule_expression import (
    ScheduleExpressionError,
    check_expression,
    check_timezone,
    hours_without_a_piece,
)


@pytest.mark.parametrize(
    "expression",
    [
        "cron(0 6 * * ? *)",
        "cron(0/15 8-17 ? * MON-FRI *)",
        "cron(30 12 L * ? 2026-2030)",
        "cron(0 0 15W JAN,JUL ? *)",
        "cron(0 0 ? * 6L *)",
        "cron(0 0 ? * TUE#2 *)",
        "cron(*/5 * * * ? *)",
        "rate(1 day)",
        "rate(12 hours)",
        "at(2099-11-22T06:00:00)",
    ],
)
def test_good_expressions_pass(expression: str) -> None:
    check_expression(expression)


@pytest.mark.parametrize(
    ("expression", "part"),
    [
        ("cron(99 6 * * ? *)", "minute value '99'"),
        ("cron(0 24 * * ? *)", "hour value '24'"),
        ("cron(0 6 32 * ? *)", "day-of-month value '32'"),
        ("cron(0 6 * 13 ? *)", "month value '13'"),
        ("cron(0 6 ? * 8 *)", "day-of-week value '8'"),
        ("cron(0 6 * * ? 1969)", "year value '1969'"),
        ("cron(0 6 * * *)", "6 required, 5 provided"),
        ("cron(0 6 * * * *)", "One must be a question mark"),
        ("cron(0 6 ? * ? *)", "One must be"),
        ("cron(0/0 6 * * ? *)", "step must be positive"),
        ("cron(1--2 6 * * ? *)", "minute"),
        ("cron(, 6 * * ? *)", "minute value ','"),
        ("cron(0 6 31 2 ? *)", "never starts"),
        ("cron(0 6 1 1 ? 2020)", "never starts"),
        ("rate(0 days)", "rate"),
        ("rate(1 week)", "rate"),
        ("at(2026-13-01T00:00:00)", "at"),
        ("at(2026-11-22T06:00:00)", "in the past"),
        ("0 6 * * ? *", "write cron"),
        ("", "write cron"),
    ],
)
def test_bad_expressions_are_named(expression: str, part: str) -> None:
    with pytest.raises(ScheduleExpressionError) as caught:
        check_expression(expression)
    assert part in str(caught.value)


@given(st.integers(-5, 70), st.integers(-5, 30))
def test_minutes_and_hours_within_their_ranges_only(minute: int, hour: int) -> None:
    expression = f"cron({minute} {hour} * * ? *)"
    if 0 <= minute <= 59 and 0 <= hour <= 23:
        check_expression(expression)
    else:
        with pytest.raises(ScheduleExpressionError):
            check_expression(expression)


@given(st.text(max_size=30))
def test_any_text_is_refused_by_name_or_accepted(text: str) -> None:
    for expression in (text, f"cron({text})", f"rate({text})", f"at({text})"):
        with suppress(ScheduleExpressionError):
            check_expression(expression)


def test_time_zones() -> None:
    check_timezone("Europe/Berlin")
    for name in ("Mars/Olympus", "", "../etc/passwd"):
        with pytest.raises(ScheduleExpressionError, match="time zone"):
            check_timezone(name)


@pytest.mark.parametrize(
    ("expression", "hours"),
    [
        ("cron(0 6 * * ? *)", 36),
        (
            "cron(* 9-17 ? * MON-FRI *)",
            76,
        ),  # whatever day it is now: each minute by day, no weekends
        ("cron(0/5 * * * ? *)", 13),
        (f"cron(0 6 * * ? {date.today().year}-{date.today().year + 1})", 36),
        ("cron(0 6 ? * MON *)", None),
        ("cron(0 6 1 * ? *)", None),
        ("cron(0 6 * * ? 2024)", None),  # of a deployed schedule whose last start is over
        ("rate(12 hours)", 24),
        ("rate(7 days)", None),
        ("at(2099-01-01T00:00:00)", None),
        ("set in the console", None),
    ],
)
def test_the_longest_pause_without_a_piece(expression: str, hours: int | None) -> None:
    assert hours_without_a_piece(expression) == hours
