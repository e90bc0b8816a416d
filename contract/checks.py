"""Values from outside as types: each check returns its value, or raises a TokensError naming it.

``where`` is the value's place in the message. Knows JSON's types and Step Functions' names, not
what a message holds.
"""

from __future__ import annotations

import re
import reprlib
from typing import Any

from contract.errors import TokensError

LARGEST = 1e15  # number in a message: counts and seconds stay far below

# What Step Functions allows: none of these characters, of any alphabet.
# https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html
_EXECUTION_NAME = re.compile(
    r"""[^\s<>{}\[\]?*"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]{1,80}"""
)
_TIMESTAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].*)?")


def require_object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _refused(where, "an object", value)
    return value


def require_list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise _refused(where, "a list", value)
    return value


def require_text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise _refused(where, "a string", value)
    return value


def require_text_or_none(value: object, where: str) -> str | None:
    """A string, or None for a field that is null or absent."""
    return None if value is None else require_text(value, where)


def require_flag(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise _refused(where, "true or false", value)
    return value


def require_number(value: object, where: str) -> float:
    # Compared, because an integer may be too large for a float; NaN is in no range.
    if (
        not isinstance(value, (int, float))
        or isinstance(value, bool)
        or not -LARGEST <= value <= LARGEST
    ):
        raise _refused(where, "a number", value)
    return value


def require_integer(value: object, where: str) -> int:
    number = require_number(value, where)
    if number != int(number):
        raise _refused(where, "an integer", value)
    return int(number)


def require_count(value: object, where: str) -> int:
    number = require_integer(value, where)
    if number < 0:
        raise _refused(where, "a count", value)
    return number


def require_integers(value: object, where: str) -> list[int]:
    return [require_integer(number, where) for number in require_list(value, where)]


def require_execution_name(value: object, where: str) -> str:
    name = require_text(value, where)
    if not _EXECUTION_NAME.fullmatch(name):
        raise TokensError(f"{where} must be a name as Step Functions allows, got {name[:100]!a}")
    return name


def require_timestamp(value: object, where: str) -> str:
    text = require_text(value, where)
    if not _TIMESTAMP.fullmatch(text):
        raise TokensError(f"{where} must be an ISO timestamp, got {text[:60]!a}")
    return text


def _refused(where: str, accepted: str, value: object) -> TokensError:
    return TokensError(f"{where} must be {accepted}, got {reprlib.repr(value)[:60]!a}")
