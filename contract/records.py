"""The record of a piece: the commit mark of its day. What no record names does not exist.

Two executions of one day can overlap, and one can fail between two writes. So the MIDI file and the
tokens are written first, and then the record, which names the hash and the S3 version of both.
Readers read the record, and then exactly what it names. The record of an earlier version of this
code names no versions; it is believed as it is. Depends on neither music nor models.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from contract.errors import TokensError
from contract.objects import Bucket, json_object

PREFIX = "neural-net/"
TRIAL_PREFIX = "trial/"  # the same keys for trials, which leave no trace among the daily pieces

# The record of a daily piece. The pieces of a batch have a number behind the day.
_DAILY = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})_sequence\.json")

_ARCHIVED = re.compile(
    rf"{PREFIX}([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}(?:-[0-9]{{4}})?)"
    r"_(sequence\.mid|tokens\.json|sequence\.json)"
)

# What a record may name: S3 finds other keys and versions wrong, or cannot even be asked for them.
_KEY = re.compile(rf"({PREFIX}|{TRIAL_PREFIX})[!-~]{{1,200}}")
_VERSION = re.compile(r"[!-~]{1,1024}")


@dataclass(frozen=True)
class Found:
    """What is under a record's key: its ETag, and the record; None for what is not there.

    What is there but is no record, say because a write was torn, has an ETag and no content.
    """

    etag: str | None
    content: dict[str, Any] | None


@dataclass(frozen=True)
class Listed:
    """A record as S3's list shows it. `written` is an aware time."""

    date: str
    etag: str
    written: datetime.datetime

    @property
    def age_s(self) -> float:
        return (datetime.datetime.now(datetime.UTC) - self.written).total_seconds()


def half_made(keys: Iterable[str]) -> list[str]:
    """Of the music bucket's keys: the days that have files but no record, oldest first.

    A piece of a batch is there as YYYY-MM-DD-NNNN.
    """
    kinds: dict[str, set[str]] = {}
    for key in keys:
        matched = _ARCHIVED.fullmatch(key)
        if matched and is_date(matched[1][:10]):
            kinds.setdefault(matched[1], set()).add(matched[2])
    return sorted(day for day, there in kinds.items() if "sequence.json" not in there)


def is_date(text: str) -> bool:
    """Whether it is a day of the calendar, as in "2026-11-07"."""
    try:
        return datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def prefix_of(*, trial: bool) -> str:
    """The prefix of the keys under which pieces are stored."""
    return TRIAL_PREFIX if trial else PREFIX


def archive_keys(date: str, piece: int | None = None, *, trial: bool = False) -> dict[str, str]:
    """The keys under which the piece of `date`, or number `piece` of a batch, is archived."""
    number = "" if piece is None else f"-{piece:04}"
    stem = f"{prefix_of(trial=trial)}{date}{number}"
    return {
        "archive": f"{stem}_sequence.mid",
        "tokens": f"{stem}_tokens.json",
        "record": f"{stem}_sequence.json",
    }


def find_record(bucket: Bucket, key: str) -> Found:
    """The record under `key`. Raises StorageError, AccessError."""
    try:
        stored = bucket.read(key)
    except TokensError:  # far too large
        there = bucket.head(key)
        return Found(there["ETag"] if there else None, None)
    if stored is None:
        return Found(None, None)
    try:
        content = json_object(stored.body, key)
        _named(content, "archive")
        _named(content, "tokens")
    except TokensError:
        return Found(stored.etag, None)
    return Found(stored.etag, content)


def read_named(bucket: Bucket, record: Mapping[str, Any], name: str) -> bytes:
    """The object that the record names as "archive" (the MIDI file) or "tokens".

    In a copy of a bucket the versions are others: there the object's hash tells that it is the one.
    Raises TokensError if it is missing or not the one that the record means, StorageError,
    AccessError.
    """
    key, version, sha256 = _named(record, name)
    stored = bucket.read(key, version)
    if stored is None and version is not None and sha256 is not None:
        stored = bucket.read(key)
    if stored is None:
        raise TokensError(f"{key}, which its record names, is missing: make the day again")
    if sha256 is not None and hashlib.sha256(stored.body).hexdigest() != sha256:
        raise TokensError(f"{key} is not the object that its record names: make the day again")
    return stored.body


def daily_records(bucket: Bucket, prefix: str, first: str = "") -> Iterator[Listed]:
    """The record of each daily piece from the day `first` on, oldest first."""
    for entry in bucket.keys(prefix, after=f"{prefix}{first}"):
        if matched := _DAILY.fullmatch(entry["Key"].removeprefix(prefix)):
            yield Listed(matched[1], entry["ETag"], entry["LastModified"])


def _named(record: Mapping[str, Any], name: str) -> tuple[str, str | None, str | None]:
    """Key, version and hash of what a record names; an older record says less."""
    objects, keys = record.get("objects", {}), record.get("keys")
    named = objects.get(name, {}) if isinstance(objects, dict) else None
    key = keys.get(name) if isinstance(keys, dict) else None
    if not isinstance(key, str) or not _KEY.fullmatch(key) or not isinstance(named, dict):
        raise TokensError(f"a record must name its {name}")
    version, sha256 = named.get("version"), named.get("sha256")
    if name == "archive":
        sha256 = sha256 or record.get("sha256")
    if version is not None and not (isinstance(version, str) and _VERSION.fullmatch(version)):
        raise TokensError(f"a record must name its {name} by version")
    if not isinstance(sha256, (str, type(None))):
        raise TokensError(f"a record must name its {name} by hash")
    return key, version, sha256
