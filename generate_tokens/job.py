"""The message between the states, as this function reads and writes it.

Knows the form of a job and where its tokens are; neither how tokens are made nor what they mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from contract.bundle import Bundle
from contract.checks import (
    require_number,
    require_object,
    require_text,
    require_text_or_none,
)
from contract.errors import EventError, TokensError
from contract.request import Request, parse_request

MOST_MOTIF_IDS = 2_000  # of the bars that hold a melody, and of empty ones before them
# About 75 kB as JSON; a state may hold 256 KiB, and holds the job twice, with the form beside it.
INLINE_TOKENS = 15_000


@dataclass(frozen=True)
class Progress:
    """A piece in the making: what it goes on from or takes up, and its candidates.

    ``motif_ids`` are the bars of yesterday's piece whose melody is taken up.
    Their ids follow one another, here or in the round's token file; ``lengths`` says how many each
    has, and is empty before the first round.
    """

    request: Request
    prompt_ids: list[int]
    motif_ids: list[int]
    continued_from: str | None
    fresh_because: str | None
    ids: list[int] | None
    ids_uri: str
    lengths: list[int]
    rounds: int
    sampled: int
    decode_s: float


@dataclass(frozen=True)
class Job:
    """``raw`` is the message to pass on; ``progress`` is None before the first round."""

    raw: dict[str, Any]
    execution: str
    request: Request
    prompt: dict[str, Any] | None
    progress: Progress | None


def parse_job(event: object, bundle: Bundle) -> Job:
    """The job, checked at the border.

    Raises:
        EventError: the request is not as it must be; the message names the field.
        TokensError: another part of the message isn't.
        ModelMismatchError: the prompt or the piece was made with another bundle.
    """
    raw = require_object(event, "job")
    execution = require_object(raw.get("execution"), "job.execution")
    name, started = (
        require_text(execution.get(k), f"job.execution.{k}") for k in ("name", "started")
    )
    prompt = raw.get("prompt")
    if prompt is not None:
        prompt = require_object(prompt, "job.prompt")
        bundle.require_same_model(prompt.get("model_id"), "job.prompt")
        prompt = {
            "ids": _prompt_ids(prompt.get("ids"), bundle, "job.prompt"),
            "source": require_text(prompt.get("source"), "job.prompt.source"),
        }
    progress = None
    if raw.get("generation") is not None:
        progress = _progress(require_object(raw["generation"], "job.generation"), bundle, started)
    request = parse_request(raw.get("request"), bundle, started)
    if request.pieces is not None and request.piece is None:
        raise EventError("piece is missing: the state machine gives each of the pieces its number")
    if request.prompt.startswith("s3://") and prompt is None and progress is None:
        raise TokensError("job.prompt is missing: midi_save tokenises a MIDI prompt first")
    return Job(raw, name, request, prompt, progress)


def _progress(made: dict[str, Any], bundle: Bundle, started: str) -> Progress:
    where = "job.generation"
    bundle.require_same_model(made.get("model_id"), where)
    tokens = require_object(made.get("tokens"), f"{where}.tokens")
    inline = "ids" in tokens
    ids = list(bundle.checked_ids(tokens["ids"], f"{where}.tokens")) if inline else None
    lengths = made.get("candidates")
    if (
        not isinstance(lengths, list)
        or not all(type(length) is int and length > 0 for length in lengths)
        or (ids is not None and sum(lengths) != len(ids))
    ):
        raise TokensError(f"{where}.candidates must be the length of each candidate's ids")
    numbers = {
        k: require_number(made.get(k), f"{where}.{k}") for k in ("rounds", "sampled", "decode_s")
    }
    request = parse_request(made.get("request"), bundle, started)
    for name in ("style", "metre", "tempo"):
        if getattr(request, name) is None:
            raise TokensError(f"{where}.request.{name} is not settled")
    return Progress(
        request=request,
        prompt_ids=_prompt_ids(made.get("prompt_ids"), bundle, f"{where}.prompt_ids"),
        motif_ids=_motif_ids(made.get("motif_ids"), bundle, f"{where}.motif_ids"),
        continued_from=require_text_or_none(made.get("continued_from"), f"{where}.continued_from"),
        fresh_because=require_text_or_none(made.get("fresh_because"), f"{where}.fresh_because"),
        ids=ids,
        ids_uri="" if inline else require_text(tokens.get("s3_uri"), f"{where}.tokens.s3_uri"),
        lengths=lengths,
        rounds=int(numbers["rounds"]),
        sampled=int(numbers["sampled"]),
        decode_s=float(numbers["decode_s"]),
    )


def _prompt_ids(ids: object, bundle: Bundle, where: str) -> list[int]:
    checked = bundle.checked_ids(ids, where)
    if len(checked) > bundle.context // 2:
        raise TokensError(f"{where}: a prompt has at most {bundle.context // 2} ids")
    return checked


def _motif_ids(ids: object, bundle: Bundle, where: str) -> list[int]:
    checked = bundle.checked_ids(ids, where)
    if len(checked) > MOST_MOTIF_IDS:
        raise TokensError(f"{where}: a motif is in {MOST_MOTIF_IDS} ids at most")
    return checked
