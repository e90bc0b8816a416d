"""A field of the event: how its value is checked, and what people are told of it.

Depends on none of the fields that there are: contract/request.py has their table.
"""

from __future__ import annotations

import json
import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from contract.bundle import Bundle

Parser = Callable[[object, Bundle], Any]


def integer(low: int, high: int) -> Parser:
    def parse(value: object, _bundle: Bundle) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError
        return value

    return parse


def number(in_range: Callable[[int | float], bool]) -> Parser:
    def parse(value: object, _bundle: Bundle) -> float:
        # Compared before float(): an integer may be too large for a float; NaN is in no range.
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not in_range(value):
            raise ValueError
        return float(value) + 0.0  # -0.0 becomes 0.0: one request, one text

    return parse


def one_of(values: Callable[[Bundle], list[str]]) -> Parser:
    def parse(value: object, bundle: Bundle) -> str:
        if not isinstance(value, str) or value not in values(bundle):
            raise ValueError
        return value

    return parse


def flag(value: object, _bundle: Bundle) -> bool:
    if not isinstance(value, bool):
        raise ValueError  # noqa: TRY004 - as the other parsers
    return value


FROM_BUNDLE = object()  # as a default: what the bundle says under "sampling"


@dataclass(frozen=True)
class Field:
    """A field of the event.

    Attributes:
        parse: turns a value of the event into the request's; raises ValueError if it is refused.
        accepts: says in words which values are accepted; errors say "must be" before it.
        help: says what the field is for.
        default, default_text: the value for an event without the field, or what it is in words.
        option: the type of run.sh's option of this name; None if run.sh has none.
    """

    name: str
    parse: Parser
    accepts: str | Callable[[Bundle], str]
    help: str
    default: Any = None
    default_text: str = ""
    option: type[str | int | float] | None = None

    def accepted(self, bundle: Bundle) -> str:
        return self.accepts if isinstance(self.accepts, str) else self.accepts(bundle)

    def default_of(self, bundle: Bundle) -> Any:
        if self.default is FROM_BUNDLE:
            return self.parse(bundle.sampling[self.name], bundle)
        return self.default

    def default_in_words(self, bundle: Bundle) -> str:
        return self.default_text or json.dumps(self.default_of(bundle))


def short(value: object) -> str:
    """A printable form of at most 60 characters, whatever the event held."""
    text = reprlib.repr(value).encode("ascii", "backslashreplace").decode("ascii")
    return text if len(text) <= 60 else text[:57] + "..."
