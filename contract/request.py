"""The request: which fields an event may have, their ranges and their defaults.

The one validator of both functions. Knows the bundle's styles and sampling defaults; does not
know where a prompt is stored (midi_save checks that its bucket is ours) or how music is made.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from contract.bundle import Bundle
from contract.errors import EventError, TokensError

SEED_LIMIT = 2**32
DURATION_RANGE_S = (5.0, 3600.0)
LONGEST = 1.15  # times duration_s: no piece is longer
LONGEST_COMPOSED = 1.13  # of a piece in tokens: a MIDI file rounds their ticks and tempo
MOST_CANDIDATES = 8
MOST_PIECES = 1000
# Step Functions' console links an execution that another started by this field of its event.
STARTED_BY = "AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID"
DRAWN, UNPLANNED = "drawn", "none"
BUDGET_ENDS = ("continue", "close")
TEMPO_RANGE = (40, 250)
RETIRED = ("recall",)  # fields that saved events may still have; they do nothing
FORM_FORM = '"drawn", "none" or 1 to 32 letters from A to Z, such as "AABA"'
EARLIEST_DATE = datetime.date(1970, 1, 1)
PROMPT_FORM = '"previous", "fresh" or s3://BUCKET/prompts/NAME.mid'

_PROMPT_URI = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/prompts/[^\x00-\x1f\x7f]+\.mid")
_LETTERS = re.compile(r"[A-Z]{1,32}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ].{0,40})?")


@dataclass(frozen=True)
class Request:
    """A normalised request. `style`, `metre` and `tempo` are None until they are drawn.

    `tempo` is in quarter notes a minute, one of the bundle's. `seed` is the event's or the day's;
    `piece_seed` is what a piece is composed with. `pieces` and `piece` are None for the daily
    piece; a batch has `pieces`, each of its pieces `piece` too.
    """

    prompt: str
    style: str | None
    seed: int
    duration_s: float
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    form: str
    metre: str | None
    tempo: float | None
    candidates: int
    budget_end: str
    date: str
    pieces: int | None = None
    piece: int | None = None
    trial: bool = False

    @property
    def piece_seed(self) -> int:
        """The seed of this very piece: another for each piece of a batch, whatever the seed."""
        return self.seed if self.piece is None else seed_of_piece(self.seed, self.piece)

    def to_json(self) -> dict[str, Any]:
        """The request as an event: parsing it again gives an equal Request.

        A daily piece has no word of batches and trials in it.
        """
        left_out = ("pieces", "piece", "trial")
        return {k: v for k, v in asdict(self).items() if v or k not in left_out}


def parse_request(event: object, bundle: Bundle, started: str) -> Request:
    """Normalise `event`; a field that is absent or null takes its default.

    `started` is the ISO timestamp at which the execution began; its day is the default date.
    Raises EventError, whose message names the field, what it got and what it accepts.
    """
    if not isinstance(event, dict):
        raise EventError(f"the event must be an object, got {_short(event)}")
    fields: Mapping[str, Callable[[str, object], Any]] = {
        "prompt": _prompt,
        "style": lambda name, value: _style(name, value, bundle),
        "seed": lambda name, value: _integer(name, value, 0, SEED_LIMIT - 1),
        "duration_s": lambda name, value: _number(
            name, value, lambda x: DURATION_RANGE_S[0] <= x <= DURATION_RANGE_S[1], "from 5 to 3600"
        ),
        "temperature": lambda name, value: _number(
            name, value, lambda x: 0 <= x <= 2, "from 0 to 2 (0 takes the likeliest token)"
        ),
        "top_p": lambda name, value: _number(
            name, value, lambda x: 0 < x <= 1, "above 0 and up to 1 (1 is off)"
        ),
        "top_k": lambda name, value: _integer(name, value, 0, 1000),
        "min_p": lambda name, value: _number(
            name, value, lambda x: 0 <= x < 1, "from 0 to below 1 (0 is off)"
        ),
        "form": _form,
        "metre": lambda name, value: _metre(name, value, bundle),
        "tempo": lambda name, value: nearest_tempo(
            _number(
                name,
                value,
                lambda x: TEMPO_RANGE[0] <= x <= TEMPO_RANGE[1],
                f"of quarter notes a minute, from {TEMPO_RANGE[0]} to {TEMPO_RANGE[1]}",
            ),
            bundle,
        ),
        "candidates": lambda name, value: _integer(name, value, 1, MOST_CANDIDATES),
        "budget_end": _budget_end,
        "date": _date,
        "pieces": lambda name, value: _integer(name, value, 1, MOST_PIECES),
        "piece": lambda name, value: _integer(name, value, 1, MOST_PIECES),
        "trial": _flag,
    }
    ignored = (STARTED_BY, *RETIRED)
    unknown = [name for name in event if name not in fields and name not in ignored]
    if unknown:
        raise EventError(f"unknown field {_short(unknown[0])}; known are {', '.join(fields)}")
    given = {
        name: check(name, event[name])
        for name, check in fields.items()
        if event.get(name) is not None
    }
    pieces, piece = given.get("pieces"), given.get("piece")
    if piece is not None and pieces is None:
        raise _refused("piece", piece, "left out unless pieces says how many the batch has")
    if piece is not None and piece > pieces:
        raise _refused("piece", piece, f"an integer from 1 to {pieces} (pieces)")
    date = given.get("date") or _started_date(started)
    return Request(
        prompt=given.get("prompt", "previous"),
        style=given.get("style"),
        seed=given.get("seed", seed_of(date)),
        duration_s=given.get("duration_s", float(bundle.sampling["duration_s"])),
        temperature=given.get("temperature", float(bundle.sampling["temperature"])),
        top_p=given.get("top_p", float(bundle.sampling["top_p"])),
        top_k=given.get("top_k", int(bundle.sampling["top_k"])),
        min_p=given.get("min_p", float(bundle.sampling["min_p"])),
        form=given.get("form", DRAWN),
        metre=given.get("metre"),
        tempo=given.get("tempo"),
        candidates=given.get("candidates", int(bundle.sampling["candidates"])),
        budget_end=given.get("budget_end", BUDGET_ENDS[0]),
        date=date,
        pieces=pieces,
        piece=piece,
        trial=given.get("trial", False),
    )


def seed_of(date: str) -> int:
    """The seed of a day: the same date always composes the same piece with the same bundle."""
    return int.from_bytes(hashlib.sha256(f"midi-archive/{date}".encode()).digest()[:4], "big")


def seed_of_piece(seed: int, piece: int) -> int:
    """The seed of a piece of a batch: no two pieces of a batch have the same."""
    first = hashlib.sha256(f"midi-archive/pieces/{seed}".encode()).digest()[:4]
    return (int.from_bytes(first, "big") + piece) % SEED_LIMIT


def nearest_tempo(tempo: float, bundle: Bundle) -> float:
    """The bundle's tempo that is nearest, in quarter notes a minute."""
    tempi = [float(value) for kind, value in bundle.vocabulary if kind == "Tempo"]
    return min(tempi, key=lambda known: abs(known - tempo))


def _refused(name: str, value: object, accepted: str) -> EventError:
    return EventError(f"{name} must be {accepted}, got {_short(value)}")


def _short(value: object) -> str:
    """A printable form of at most 60 characters, whatever the event held."""
    text = reprlib.repr(value).encode("ascii", "backslashreplace").decode("ascii")
    return text if len(text) <= 60 else text[:57] + "..."


def _prompt(name: str, value: object) -> str:
    if value in ("previous", "fresh"):
        return str(value)
    # An S3 key has at most 1024 bytes and must be encodable (JSON can hold lone surrogates).
    encoded = value.encode("utf-8", "replace") if isinstance(value, str) else b""
    if (
        not isinstance(value, str)
        or not _PROMPT_URI.fullmatch(value)
        or len(encoded) > 1024
        or encoded.decode("utf-8") != value
    ):
        raise _refused(name, value, PROMPT_FORM)
    return value


def _style(name: str, value: object, bundle: Bundle) -> str:
    if not isinstance(value, str) or value not in bundle.styles:
        raise _refused(name, value, f"one of {', '.join(bundle.styles)}")
    return value


def _form(name: str, value: object) -> str:
    if value in (DRAWN, UNPLANNED) or (isinstance(value, str) and _LETTERS.fullmatch(value)):
        return str(value)
    raise _refused(name, value, FORM_FORM)


def _metre(name: str, value: object, bundle: Bundle) -> str:
    metres = [value for kind, value in bundle.vocabulary if kind == "TimeSig"]
    if not isinstance(value, str) or value not in metres:
        raise _refused(name, value, f"one of {', '.join(metres)}")
    return value


def _budget_end(name: str, value: object) -> str:
    if not isinstance(value, str) or value not in BUDGET_ENDS:
        raise _refused(name, value, f"one of {', '.join(BUDGET_ENDS)}")
    return value


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _refused(name, value, "true or false")
    return value


def _integer(name: str, value: object, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise _refused(name, value, f"an integer from {low} to {high}")
    return value


def _number(
    name: str, value: object, in_range: Callable[[int | float], bool], accepted: str
) -> float:
    # Compared before float(): an integer may be too large for a float, and NaN is in no range.
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not in_range(value):
        raise _refused(name, value, f"a number {accepted}")
    return float(value) + 0.0  # -0.0 becomes 0.0: one request, one text


def _date(name: str, value: object) -> str:
    accepted = f"YYYY-MM-DD or an ISO timestamp, from {EARLIEST_DATE} on"
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise _refused(name, value, accepted)
    try:
        day = datetime.date.fromisoformat(value[:10])
    except ValueError as error:
        raise _refused(name, value, accepted) from error
    if day < EARLIEST_DATE:
        raise _refused(name, value, accepted)
    return value[:10]


def _started_date(started: object) -> str:
    try:
        return _date("started", started)
    except EventError as error:
        raise TokensError(f"execution.{error}: the state machine fills it in") from error
