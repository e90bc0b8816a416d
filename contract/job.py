"""The message that goes from state to state: one form, with one reader and one writer.

    {"execution": {"name", "started"},  filled in by the state machine
     "request": {...},                  the event; from the first call on with nothing left open
     "model_id": "...",                 whose ids these are; there as soon as there are any
     "prompt": {"source", "ids"},       the bars of a MIDI file that the piece continues
     "generation": {...}}               the piece in the making, or made: see `Generation`

Both functions read and write it here. Depends on neither how tokens are made nor what they mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from contract.bundle import Bundle
from contract.checks import (
    require_count,
    require_execution_name,
    require_flag,
    require_integer,
    require_integers,
    require_list,
    require_number,
    require_object,
    require_text,
    require_text_or_none,
    require_timestamp,
)
from contract.errors import TokensError
from contract.request import Request, parse_request

MOST_MOTIF_IDS = 2_000  # of the bars that hold a melody, and of empty ones before them
# More ids than these go through S3. They are about 75 kB as JSON, and a state may hold 256 KiB.
INLINE_IDS = 15_000
SETTLED = ("style", "metre", "tempo")  # fields of the request that are drawn in the first call


@dataclass(frozen=True)
class Prompt:
    """The last bars of a MIDI file: ``ids`` of at most half the model's context."""

    source: str
    ids: list[int]


@dataclass(frozen=True)
class Generation:
    """How far a piece has come. The defaults are those of a piece before its first call.

    Attributes:
        continued_from: the date whose motif is taken up, or the prompt's place in S3.
        fresh_because: why nothing is, where yesterday's piece was to be.
        motif_ids: the bars of yesterday's piece whose melody is taken up.
        ids: of all candidates, one after another; of a finished piece, those of the chosen one.
            Empty where they are in S3, at ``stored_at``.
        lengths: how many of the ids each candidate has.
        finished: whether the piece is; ``stopped`` says what finished it.
        plan: its form as text (`music.form.Plan`), a prompt's bars included; None without one.
        first_bar: the bar of the plan with which the piece begins.
        taken_up: what has come of the motif, ``{"bar", "shift", "pitches"}``.
        penalties: of each candidate, by name, where one of several was chosen.
        music_s: seconds of music so far.
        calls: of the function, and ``sampled`` the tokens in them, in ``decode_s`` seconds.
    """

    continued_from: str | None = None
    fresh_because: str | None = None
    motif_ids: list[int] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    stored_at: str | None = None
    lengths: list[int] = field(default_factory=list)
    finished: bool = False
    stopped: str = ""
    plan: str | None = None
    first_bar: int = 0
    taken_up: dict[str, Any] | None = None
    penalties: list[Any] = field(default_factory=list)
    music_s: float = 0.0
    calls: int = 0
    sampled: int = 0
    decode_s: float = 0.0

    @property
    def tokens_per_s(self) -> float:
        return round(self.sampled / max(self.decode_s, 1e-6), 1)


@dataclass(frozen=True)
class Job:
    """The message. ``generation`` is None before the first call of generate_tokens."""

    execution: str
    started: str
    request: Request
    prompt: Prompt | None = None
    generation: Generation | None = None

    @property
    def prompt_ids(self) -> list[int]:
        return self.prompt.ids if self.prompt else []

    def to_json(self, model_id: str) -> dict[str, Any]:
        """The message to pass on; ``model_id`` is of the bundle that its ids belong to."""
        parts = {"prompt": self.prompt, "generation": self.generation}
        return {
            "execution": {"name": self.execution, "started": self.started},
            "request": self.request.to_json(),
            "model_id": model_id,
            **{name: dict(vars(part)) for name, part in parts.items() if part is not None},
        }


def read_job(message: object, bundle: Bundle) -> Job:
    """The job in a message.

    Raises:
        EventError: a field of the request is not as it must be; names it.
        TokensError: another part of the message isn't; names it.
        ModelMismatchError: its ids were made with another bundle.
    """
    fields = require_object(message, "job")
    execution = require_object(fields.get("execution"), "job.execution")
    name = require_execution_name(execution.get("name"), "job.execution.name")
    started = require_timestamp(execution.get("started"), "job.execution.started")
    if "request" not in fields:
        raise TokensError("job.request is missing")
    # Which model the ids are of comes first: another model's request may know other styles.
    if fields.get("prompt") is not None or fields.get("generation") is not None:
        bundle.require_same_model(fields.get("model_id"), "job")
    request = parse_request(fields["request"], bundle, started)
    prompt = generation = None
    if fields.get("prompt") is not None:
        prompt = _prompt(require_object(fields["prompt"], "job.prompt"), bundle)
    if fields.get("generation") is not None:
        generation = _generation(require_object(fields["generation"], "job.generation"), bundle)
        for open_field in SETTLED:
            if getattr(request, open_field) is None:
                raise TokensError(f"job.request.{open_field} is not settled")
    return Job(name, started, request, prompt, generation)


def _prompt(fields: Mapping[str, Any], bundle: Bundle) -> Prompt:
    ids = bundle.checked_ids(fields.get("ids"), "job.prompt.ids")
    if len(ids) > bundle.context // 2:
        raise TokensError(f"job.prompt.ids: a prompt has at most {bundle.context // 2} ids")
    return Prompt(require_text(fields.get("source"), "job.prompt.source"), ids)


def _generation(fields: Mapping[str, Any], bundle: Bundle) -> Generation:
    checks: dict[str, Callable[[object, str], Any]] = {
        "continued_from": require_text_or_none,
        "fresh_because": require_text_or_none,
        "motif_ids": bundle.checked_ids,
        "ids": bundle.checked_ids,
        "stored_at": require_text_or_none,
        "lengths": require_integers,
        "finished": require_flag,
        "stopped": require_text,
        "plan": require_text_or_none,
        "first_bar": require_count,
        "taken_up": _taken_up,
        "penalties": require_list,
        "music_s": require_number,
        "calls": require_count,
        "sampled": require_count,
        "decode_s": require_number,
    }
    where = "job.generation"
    generation = Generation(
        **{name: check(fields.get(name), f"{where}.{name}") for name, check in checks.items()}
    )
    if len(generation.motif_ids) > MOST_MOTIF_IDS:
        raise TokensError(f"{where}.motif_ids: a motif is in {MOST_MOTIF_IDS} ids at most")
    lengths = generation.lengths
    if not all(length > 0 for length in lengths) or not (
        generation.stored_at or sum(lengths) == len(generation.ids)
    ):
        raise TokensError(f"{where}.lengths must say how many ids each candidate has")
    return generation


def _taken_up(value: object, where: str) -> dict[str, Any] | None:
    """What has come of a motif, as `generate_tokens.motif.MotifGuide.to_json` says it."""
    if value is None:
        return None
    fields = require_object(value, where)
    return {
        "bar": require_integer(fields.get("bar"), f"{where}.bar"),
        "shift": require_integer(fields.get("shift"), f"{where}.shift"),
        "pitches": require_integers(fields.get("pitches"), f"{where}.pitches"),
    }
