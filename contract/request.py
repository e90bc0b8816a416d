"""The event: one table of its fields, and the request that they make.

A new field is a row of `FIELDS`, a field of `Request`, and its use. run.sh's options and the table
in docs/event.md are made from the rows. Both functions read events with `parse_request`. Knows the
bundle's styles, metres, tempi and defaults; does not know where a prompt is stored (midi_save
checks that its bucket is ours) or how music is made.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from dataclasses import asdict, dataclass
from typing import Any

from contract.bundle import Bundle
from contract.errors import EventError, TokensError
from contract.field import FROM_BUNDLE, Field, flag, integer, number, one_of, short

SEED_LIMIT = 2**32
LONGEST = 1.15  # times duration_s: no piece is longer
LONGEST_COMPOSED = 1.13  # of a piece in tokens: a MIDI file rounds their ticks and tempo
MOST_PIECES = 1000
MOST_CANDIDATES = 8
TEMPO_RANGE = (40, 250)  # quarter notes a minute
DRAWN, UNPLANNED = "drawn", "none"
BUDGET_ENDS = ("continue", "close")
EARLIEST_DATE = datetime.date(1970, 1, 1)
# Fields that are accepted and have no effect: by the first, Step Functions' console links an
# execution that another started; the console fills the second into a new execution's input; saved
# events may still have the third, of an earlier version.
WITHOUT_EFFECT = ("AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID", "Comment", "recall")

REBUILD = "rebuild_site"  # true, as the only field: no piece, but every page of the site again

_PROMPT_URI = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/prompts/[^\x00-\x1f\x7f]+\.mid")
_LETTERS = re.compile(r"[A-Z]{1,32}")
# A day, a time of which the day counts, or a time with a zone in which the day counts (RFC 9557).
_DATE = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})([T ][^\[\n]{0,40})?(?:\[([A-Za-z0-9_+/-]{1,64})\])?"
)


@dataclass(frozen=True)
class Request:
    """A normalized request. `style`, `metre` and `tempo` are None until they are drawn.

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


def _prompt(value: object, _bundle: Bundle) -> str:
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
        raise ValueError
    return value


def _form(value: object, _bundle: Bundle) -> str:
    if value in (DRAWN, UNPLANNED) or (isinstance(value, str) and _LETTERS.fullmatch(value)):
        return str(value)
    raise ValueError


def _tempo(value: object, bundle: Bundle) -> float:
    return nearest_tempo(
        number(lambda x: TEMPO_RANGE[0] <= x <= TEMPO_RANGE[1])(value, bundle), bundle
    )


def _date(value: object, _bundle: Bundle) -> str:
    """The scheduler sends 2027-03-28T23:30:00Z[Europe/Berlin], which is 2027-03-29: it knows UTC
    only, and of a schedule at 01:30 the UTC day is the local one in winter, not in summer.
    """
    found = _DATE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError
    written, time, zone = found.groups()
    moment = datetime.datetime.fromisoformat(f"{written}{time or ''}")
    day = moment.date() if zone is None else _in_zone(moment, zone)
    if day < EARLIEST_DATE:
        raise ValueError
    return day.isoformat()


def _in_zone(moment: datetime.datetime, zone: str) -> datetime.date:
    """The day at `moment` in an IANA time zone. Raises ValueError."""
    import zoneinfo  # 3 ms, which a cold start without a zone need not pay

    if moment.tzinfo is None:
        raise ValueError
    try:
        return moment.astimezone(zoneinfo.ZoneInfo(zone)).date()
    except (zoneinfo.ZoneInfoNotFoundError, OSError, OverflowError) as error:
        raise ValueError from error


def _styles(bundle: Bundle) -> list[str]:
    return list(bundle.styles)


def _metres(bundle: Bundle) -> list[str]:
    return [value for kind, value in bundle.vocabulary if kind == "TimeSig"]


FIELDS = (
    Field(
        "prompt",
        _prompt,
        '"previous", "fresh" or s3://BUCKET/prompts/NAME.mid',
        "what the piece takes up: the opening motif of the day before, nothing, or the last bars "
        "of a MIDI file, which it continues",
        default="previous",
        option=str,
    ),
    Field(
        "style",
        one_of(_styles),
        lambda bundle: f"one of {', '.join(_styles(bundle))}",
        "the style",
        default_text="drawn, as often as the archive has it",
        option=str,
    ),
    Field(
        "metre",
        one_of(_metres),
        lambda bundle: f"one of {', '.join(_metres(bundle))}",
        "the metre",
        default_text="drawn with the style",
        option=str,
    ),
    Field(
        "tempo",
        _tempo,
        f"a number of quarter notes a minute, from {TEMPO_RANGE[0]} to {TEMPO_RANGE[1]}",
        "the tempo; the nearest that the model knows is taken",
        default_text="drawn with the style",
        option=float,
    ),
    Field(
        "form",
        _form,
        '"drawn", "none" or 1 to 32 letters from A to Z, such as "AABA"',
        "which bars return: as in a real piece of the style, as the model pleases, or sections of "
        "equal length, the same letter for the same music",
        default=DRAWN,
        option=str,
    ),
    Field(
        "duration_s",
        number(lambda x: 5 <= x <= 3600),
        "a number from 5 to 3600",
        "seconds that the piece should last; it ends at a bar line, never after 1.15 times as much",
        default=FROM_BUNDLE,
        option=float,
    ),
    Field(
        "seed",
        integer(0, SEED_LIMIT - 1),
        f"an integer from 0 to {SEED_LIMIT - 1}",
        "what is drawn follows from it: the same seed makes the same piece",
        default_text="from the date",
        option=int,
    ),
    Field(
        "temperature",
        number(lambda x: 0 <= x <= 2),
        "a number from 0 to 2 (0 takes the likeliest token)",
        "how readily the unlikely is drawn",
        default=FROM_BUNDLE,
        option=float,
    ),
    Field(
        "top_p",
        number(lambda x: 0 < x <= 1),
        "a number above 0 and up to 1 (1 is off)",
        "draw only from the likeliest tokens that together have this probability",
        default=FROM_BUNDLE,
        option=float,
    ),
    Field(
        "top_k",
        integer(0, 1000),
        "an integer from 0 to 1000 (0 is off)",
        "draw only from so many likeliest tokens",
        default=FROM_BUNDLE,
        option=int,
    ),
    Field(
        "min_p",
        number(lambda x: 0 <= x < 1),
        "a number from 0 to below 1 (0 is off)",
        "draw only from tokens with at least this share of the likeliest one's probability",
        default=FROM_BUNDLE,
        option=float,
    ),
    Field(
        "candidates",
        integer(1, MOST_CANDIDATES),
        f"an integer from 1 to {MOST_CANDIDATES}",
        "how many pieces are begun; the best of them is kept",
        default=FROM_BUNDLE,
        option=int,
    ),
    Field(
        "budget_end",
        one_of(lambda _bundle: list(BUDGET_ENDS)),
        f"one of {', '.join(BUDGET_ENDS)}",
        "when the function's time ends before the piece does: continue it in another call, or "
        "close it at its last bar line",
        default=BUDGET_ENDS[0],
        option=str,
    ),
    Field(
        "date",
        _date,
        f"YYYY-MM-DD or an ISO timestamp, from {EARLIEST_DATE} on; with [Europe/Berlin] behind it, "
        "the day there",
        "the day that the piece is of, and under which it is kept",
        default_text="the day on which the execution starts",
        option=str,
    ),
    Field(
        "pieces",
        integer(1, MOST_PIECES),
        f"an integer from 1 to {MOST_PIECES}",
        "make a batch of so many pieces, beside the daily one",
        default_text="none: the daily piece",
        option=int,
    ),
    Field(
        "piece",
        integer(1, MOST_PIECES),
        "an integer from 1 to pieces",
        "make this one of the batch alone, the very piece that the batch has",
        default_text="none: all of them",
    ),
    Field(
        "trial",
        flag,
        "true or false",
        "keep the piece under trial/, apart from the daily ones; metrics count it only as a piece",
        default=False,
    ),
)


def parse_request(event: object, bundle: Bundle, started: str) -> Request:
    """Normalize `event`; a field that is absent or null takes its default.

    `started` is the ISO timestamp at which the execution began; its day is the default date.
    Raises EventError, whose message names the field, what it got and what it accepts.
    """
    if not isinstance(event, dict):
        raise EventError(f"the event must be an object, got {short(event)}")
    known = [field.name for field in FIELDS]
    if REBUILD in event:  # with true, the state machine does not come here
        raise _refused(REBUILD, "true, or left out", event[REBUILD])
    unknown = [name for name in event if name not in known and name not in WITHOUT_EFFECT]
    if unknown:
        raise EventError(f"unknown field {short(unknown[0])}; known are {', '.join(known)}")
    values: dict[str, Any] = {}
    for field in FIELDS:
        value = event.get(field.name)
        if value is None:
            values[field.name] = field.default_of(bundle)
            continue
        try:
            values[field.name] = field.parse(value, bundle)
        except ValueError as error:
            raise _refused(field.name, field.accepted(bundle), value) from error
    pieces, piece = values["pieces"], values["piece"]
    if piece is not None and pieces is None:
        raise _refused("piece", "left out unless pieces says how many the batch has", piece)
    if piece is not None and piece > pieces:
        raise _refused("piece", f"an integer from 1 to {pieces} (pieces)", piece)
    if values["date"] is None:
        try:
            values["date"] = _date(started, bundle)
        except ValueError as error:
            raise TokensError(
                f"execution.started must be an ISO timestamp, got {short(started)}: the state "
                "machine fills it in"
            ) from error
    if values["seed"] is None:
        values["seed"] = seed_of(values["date"])
    return Request(**values)


def event_table(bundle: Bundle) -> str:
    """The fields as the table of docs/event.md."""
    rows = [
        f"| `{field.name}` | {field.accepted(bundle)} | {field.default_in_words(bundle)} "
        f"| {field.help} |"
        for field in FIELDS
    ]
    return "\n".join(["| field | accepts | default | what for |", "|---|---|---|---|", *rows])


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


def _refused(name: str, accepted: str, value: object) -> EventError:
    return EventError(f"{name} must be {accepted}, got {short(value)}")
