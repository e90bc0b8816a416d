"""The border of midi_save: what the state machine sends, as types, or TokensError.

Knows the form of the messages between the states; touches neither S3 nor music.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from contract.bundle import Bundle
from contract.checks import (
    require_execution_name,
    require_list,
    require_number,
    require_object,
    require_text,
    require_text_or_none,
)
from contract.errors import TokensError
from contract.request import Request, parse_request
from music.form import Plan, form_to_json

MOST_BARS = 20_000  # of a message's plan: an hour of the shortest bars, and a prompt's
TASKS = ("tokenize_prompt", "save")
_TIMESTAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].*)?")


@dataclass(frozen=True)
class Job:
    """A job on its way through the state machine; `raw` is the message to pass on."""

    raw: dict[str, Any]
    execution: str
    started: str

    @property
    def started_day(self) -> str:
        """The day on which the execution started, YYYY-MM-DD."""
        return self.started[:10]

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
    rounds: int
    stopped: str
    continued_from: str | None
    fresh_because: str | None
    form: dict[str, Any] | None
    taken_up: dict[str, Any] | None
    stats: dict[str, float]


def parse_message(message: object) -> tuple[str, Job]:
    """The task and the job of {"task", "job"}."""
    fields = require_object(message, "message")
    task = fields.get("task")
    if not isinstance(task, str) or task not in TASKS:
        raise TokensError(f"task must be one of {', '.join(TASKS)}, got {str(task)[:60]!a}")
    raw = require_object(fields.get("job"), "job")
    if "request" not in raw:
        raise TokensError("job.request is missing")
    execution = require_object(raw.get("execution"), "job.execution")
    name = require_execution_name(execution.get("name"), "job.execution.name")
    started = require_text(execution.get("started"), "job.execution.started")
    if not _TIMESTAMP.fullmatch(started):
        raise TokensError(f"job.execution.started must be an ISO timestamp, got {started[:60]!a}")
    return task, Job(raw, name, started)


def parse_generation(job: Job, bundle: Bundle) -> Generation:
    """The job's `generation`. Raises ModelMismatchError for another bundle's, TokensError."""
    where = "job.generation"
    fields = require_object(job.raw.get("generation"), where)
    bundle.require_same_model(fields.get("model_id"), where)
    request = parse_request(
        require_object(fields.get("request"), f"{where}.request"), bundle, job.started
    )
    if request.style is None:
        raise TokensError(f"{where}.request.style is not resolved")
    tokens = require_object(fields.get("tokens"), f"{where}.tokens")
    ids = None
    uri = None
    if "ids" in tokens:
        ids = tuple(bundle.checked_ids(tokens["ids"], f"{where}.tokens"))
        count = len(ids)
    else:
        uri = require_text(tokens.get("s3_uri"), f"{where}.tokens.s3_uri")
        count = int(require_number(tokens.get("count"), f"{where}.tokens.count"))
    return Generation(
        request=request,
        style=request.style,
        ids=ids,
        ids_uri=uri,
        ids_count=count,
        rounds=int(require_number(fields.get("rounds"), f"{where}.rounds")),
        stopped=require_text(fields.get("stopped"), f"{where}.stopped"),
        continued_from=require_text_or_none(
            fields.get("continued_from"), f"{where}.continued_from"
        ),
        fresh_because=require_text_or_none(fields.get("fresh_because"), f"{where}.fresh_because"),
        form=_form(fields.get("form"), f"{where}.form"),
        taken_up=_taken_up(fields.get("taken_up"), f"{where}.taken_up"),
        stats={
            name: require_number(fields.get(name), f"{where}.{name}")
            for name in ("rounds", "decode_s", "tokens_per_s")
        },
    )


def _form(value: object, where: str) -> dict[str, Any] | None:
    """What the record says of {"plan", "from_bar"}, or None."""
    if value is None:
        return None
    form = require_object(value, where)
    text = require_text(form.get("plan"), f"{where}.plan")
    first = int(require_number(form.get("from_bar"), f"{where}.from_bar"))
    try:
        plan = Plan.parse(text, MOST_BARS)
    except ValueError as error:
        raise TokensError(f"{where}.plan: {error}") from error
    if not 0 <= first < len(plan.lags):
        raise TokensError(f"{where}.from_bar must be a bar of the plan, got {first}")
    return form_to_json(plan, first)


def _taken_up(value: object, where: str) -> dict[str, Any] | None:
    """What was taken up, as `generate_tokens.motif.MotifGuide.to_json` writes it, or None."""
    if value is None:
        return None
    taken_up = require_object(value, where)
    return {
        "bar": int(require_number(taken_up.get("bar"), f"{where}.bar")),
        "shift": int(require_number(taken_up.get("shift"), f"{where}.shift")),
        "pitches": _integers(taken_up.get("pitches"), f"{where}.pitches"),
    }


def _integers(value: object, where: str) -> list[int]:
    return [int(require_number(number, where)) for number in require_list(value, where)]
