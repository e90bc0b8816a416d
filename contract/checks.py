"""Values of a message between the states as types, or TokensError that names their place.

Shared by both functions' borders. Knows JSON's types and Step Functions' names, not what
a message holds.
"""

from __future__ import annotations

import re
import reprlib
from typing import Any

from contract.errors import TokensError

_EXECUTION_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")  # what Step Functions allows
LARGEST = 1e15  # number in a message: counts and seconds stay far below


def require_object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TokensError(f"{where} must be an object, got {type(value).__name__}")
    return value


def require_list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise TokensError(f"{where} must be a list, got {type(value).__name__}")
    return value


def require_text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise TokensError(f"{where} must be a string, got {type(value).__name__}")
    return value


def require_number(value: object, where: str) -> float:
    # Compared, because an integer may be too large for a float; NaN is in no range.
    if (
        not isinstance(value, (int, float))
        or isinstance(value, bool)
        or not -LARGEST <= value <= LARGEST
    ):
        raise TokensError(f"{where} must be a number, got {reprlib.repr(value)[:40]!a}")
    return value


def require_execution_name(value: object, where: str) -> str:
    name = require_text(value, where)
    if not _EXECUTION_NAME.fullmatch(name):
        raise TokensError(f"{where} must be letters, digits, - and _, got {name[:100]!a}")
    return name


def require_text_or_none(value: object, where: str) -> str | None:
    """A string, or None for a field that is null or absent."""
    return None if value is None else require_text(value, where)
