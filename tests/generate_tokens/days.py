"""What the tests of the handler share: Lambda's context, jobs, and pieces of earlier days."""

from __future__ import annotations

import json
from typing import Any

from tests.conftest import MUSIC_BUCKET
from tests.stored import put_day


class Context:
    """Lambda's context, with a fixed time left."""

    def __init__(self, milliseconds: int) -> None:
        self.milliseconds = milliseconds

    def get_remaining_time_in_millis(self) -> int:
        return self.milliseconds


PLENTY = Context(600_000)


def job(**request: Any) -> dict[str, Any]:
    return {
        "request": {"duration_s": 6, "date": "2026-03-02", "candidates": 1, **request},
        "execution": {"name": "run-1", "started": "2026-03-02T06:00:00Z"},
    }


def store_piece(s3: Any, date: str, content: dict[str, Any]) -> None:
    put_day(s3, MUSIC_BUCKET, date, json.dumps(content).encode())
