"""Strategies that damage valid input in a few places, for property tests.

Each gets a function that makes the valid input, so that none is made before it is needed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

ODD = ["", "\ud800", "9" * 5000, 1e308, 2**64, -1, 10**400, [], {}, [[]], {"a": 1}, None, True]
JUNK: st.SearchStrategy[Any] = (
    st.sampled_from(ODD) | st.integers() | st.floats() | st.text(max_size=20)
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a JSON value; of a long list the first and the last."""
    keys = list(value) if isinstance(value, dict) else []
    if isinstance(value, list):
        keys = sorted({*range(len(value))[:4], *range(len(value))[-2:]})
    return [(value, key) for key in keys] + [at for key in keys for at in places(value[key])]


@st.composite
def damaged_json(draw: Any, make: Callable[[], Any]) -> Any:
    """A JSON value with junk, holes or repetitions in one to three places."""
    whole = {"": json.loads(json.dumps(make()))}
    for number in range(draw(st.integers(1, 3))):
        at, key = draw(st.sampled_from(places(whole)))
        how = draw(st.sampled_from(("junk", "junk", "hole", "again")))
        if how == "hole" and at is not whole:
            del at[key]
        elif how == "again" and isinstance(at[key], list):
            at[key] = at[key] * (2 if number else draw(st.sampled_from((2, 1000))))
        else:
            at[key] = deepcopy(draw(JUNK))
    return whole[""]


@st.composite
def damaged_bytes(draw: Any, make: Callable[[], bytes]) -> bytes:
    """Bytes that are cut, overwritten, left out or repeated in one to four places."""
    data = bytearray(make())
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(0, len(data) - 1)))
        new = draw(st.binary(max_size=4) | st.just(bytes(data[start : start + 64]) * 50))
        data[start : start + draw(st.sampled_from((0, 1, 1, 2, 4, 64, 10**6)))] = new
    return bytes(data)


def damaged_file(make: Callable[[], Any]) -> st.SearchStrategy[bytes]:
    """A file of JSON whose values or whose bytes are damaged."""
    values = damaged_json(make).map(lambda value: json.dumps(value).encode())
    return values | damaged_bytes(lambda: json.dumps(make()).encode())
