"""Schedule expressions and time zones are checked as EventBridge Scheduler does."""

from __future__ import annotations

from contextlib import suppress
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.schedule_expression import (
    ScheduleExpressionError,
    check_expression,
    check_in_zone,
    check_timezone,
    hours_without_a_piece,
)

NEXT_MARCH = date(date.today().year + 1, 3, 31)
LAST_SUNDAY_OF_MARCH = NEXT_MARCH - timedelta(days=(NEXT_MARCH.weekday() + 1) % 7)


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


@pytest.mark.parametrize(
    ("expression", "zone", "times"),
    [
        ("cron(30 2 * * ? *)", "Europe/Berlin", "02:00 to 03:00"),
        ("cron(0 2 ? * SUN *)", "Europe/Berlin", "02:00 to 03:00"),
        ("cron(*/10 2 * * ? *)", "Europe/Berlin", "02:00 to 03:00"),
        ("cron(30 2 L 3 ? *)", "Europe/Berlin", "02:00 to 03:00"),  # a Sunday in 2030
        ("cron(59 1 * * ? *)", "Europe/London", "01:00 to 02:00"),
        ("cron(0 2 * * ? *)", "America/New_York", "02:00 to 03:00"),
        ("cron(0 0 * * ? *)", "Africa/Cairo", "00:00 to 01:00"),
        ("cron(15 23 * * ? *)", "America/Nuuk", "23:00 to 00:00"),
        ("cron(29 2 * * ? *)", "Australia/Lord_Howe", "02:00 to 02:30"),
        ("cron(30 1 * * ? *)", "Antarctica/Troll", "01:00 to 03:00"),
        ("at(2099-03-29T02:30:00)", "Europe/Berlin", None),  # further than is looked
        (f"at({LAST_SUNDAY_OF_MARCH}T02:30:00)", "Europe/Berlin", "02:00 to 03:00"),
        (f"at({LAST_SUNDAY_OF_MARCH}T03:00:00)", "Europe/Berlin", None),
        # A day has another start, or the time is not jumped over: one that comes twice starts once.
        ("cron(0 2,4 * * ? *)", "Europe/Berlin", None),
        ("cron(0 * * * ? *)", "Europe/Berlin", None),
        ("cron(59 1 * * ? *)", "Europe/Berlin", None),
        ("cron(0 3 * * ? *)", "Europe/Berlin", None),
        ("cron(30 2 ? * MON *)", "Europe/Berlin", None),
        ("cron(30 2 * * ? *)", "Asia/Tokyo", None),
        ("cron(30 2 * * ? *)", "UTC", None),
        ("cron(30 2 * * ? *)", "Not/There", None),  # is refused elsewhere
        ("rate(1 day)", "Europe/Berlin", None),
    ],
)
def test_a_time_that_the_clocks_of_the_zone_jump_over_is_refused(
    expression: str, zone: str, times: str | None
) -> None:
    if times is None:
        check_in_zone(expression, zone)
        return
    start, _, end = times.partition(" to ")
    with pytest.raises(ScheduleExpressionError) as caught:
        check_in_zone(expression, zone)
    assert f"the clocks of {zone} go from {start} to {end}, so that the day has no" in str(
        caught.value
    )
    assert str(caught.value).endswith(f"choose a time outside of {times}")
