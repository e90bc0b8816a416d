"""The border of midi_save: what the state machine sends, as types, or TokensError.

Knows the form of the messages between the states; touches neither S3 nor music.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from generate_tokens.bundle import Bundle
from generate_tokens.errors import TokensError
from generate_tokens.request import Request, parse_request

TASKS = ("tokenize_prompt", "save")
_EXECUTION_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")  # what Step Functions allows


@dataclass(frozen=True)
class Job:
    """A job on its way through the state machine; `raw` is the message to pass on."""

    raw: dict[str, Any]
    execution: str
    started: str

    def request(self, bundle: Bundle) -> Request:
        """The event's request. Raises EventError."""
        return parse_request(self.raw["request"], bundle, self.started)


@dataclass(frozen=True)
class Generation:
    """A generated piece: either `ids`, or `ids_count` of them in the run's token file."""

    request: Request
    style: str
    ids: tuple[int, ...] | None
    ids_uri: str | None
    ids_count: int
    continued_from: str | None
    fresh_because: str | None
    stats: dict[str, float]


def parse_message(message: object) -> tuple[str, Job]:
    """The task and the job of {"task", "job"}."""
    fields = _object(message, "message")
    task = fields.get("task")
    if not isinstance(task, str) or task not in TASKS:
        raise TokensError(f"task must be one of {', '.join(TASKS)}, got {str(task)[:60]!a}")
    raw = _object(fields.get("job"), "job")
    if "request" not in raw:
        raise TokensError("job.request is missing")
    execution = _object(raw.get("execution"), "job.execution")
    name = _text(execution.get("name"), "job.execution.name")
    if not _EXECUTION_NAME.fullmatch(name):
        raise TokensError(f"job.execution.name must be letters, digits, - and _, got {name!a}")
    return task, Job(raw, name, _text(execution.get("started"), "job.execution.started"))


def parse_generation(job: Job, bundle: Bundle) -> Generation:
    """The job's `generation`. Raises ModelMismatchError for another bundle's, TokensError."""
    where = "job.generation"
    fields = _object(job.raw.get("generation"), where)
    bundle.require_same_model(fields.get("model_id"), where)
    request = parse_request(_object(fields.get("request"), f"{where}.request"), bundle, job.started)
    if request.style is None:
        raise TokensError(f"{where}.request.style is not resolved")
    tokens = _object(fields.get("tokens"), f"{where}.tokens")
    ids = None
    uri = None
    if "ids" in tokens:
        ids = tuple(bundle.checked_ids(tokens["ids"], f"{where}.tokens"))
        count = len(ids)
    else:
        uri = _text(tokens.get("s3_uri"), f"{where}.tokens.s3_uri")
        count = int(_number(tokens.get("count"), f"{where}.tokens.count"))
    return Generation(
        request=request,
        style=request.style,
        ids=ids,
        ids_uri=uri,
        ids_count=count,
        continued_from=_text_or_none(fields.get("continued_from"), f"{where}.continued_from"),
        fresh_because=_text_or_none(fields.get("fresh_because"), f"{where}.fresh_because"),
        stats={
            name: _number(fields.get(name), f"{where}.{name}")
            for name in ("rounds", "decode_s", "tokens_per_s")
        },
    )


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TokensError(f"{where} must be an object, got {type(value).__name__}")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise TokensError(f"{where} must be a string, got {type(value).__name__}")
    return value


def _text_or_none(value: object, where: str) -> str | None:
    return None if value is None else _text(value, where)


def _number(value: object, where: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise TokensError(f"{where} must be a number, got {str(value)[:40]!a}")
    return value
