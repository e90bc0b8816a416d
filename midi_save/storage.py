"""Reads prompts from S3 and saves finished pieces there.

A day is saved or it is not: contract/records.py says how. Depends on neither the content of the
MIDI nor the tokens.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from contract.errors import ConflictError, EventError, PromptError, StorageError, TokensError
from contract.objects import Bucket, as_json, json_object, storage_errors, unchanged
from contract.records import (
    PREFIX,
    Found,
    archive_keys,
    find_record,
    prefix_of,
    read_named,
)
from midi_save.prompt import SIZE_LIMIT, too_large

LATEST_MIDI = "neural-net/model-prediction.mid"
LATEST_TOKENS = "neural-net/token_sequence.json"
CACHE = "public, max-age=300"  # in browsers: any of these objects can be written again
COMMITS = 2  # a record that another execution changed meanwhile is tried once more
FOLLOWS = 8  # how often the latest keys are looked at, the last time to see that they are right

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True)
class Latest:
    """One of the latest objects as it is; without an ETag there is none."""

    body: bytes
    etag: str | None


class PieceStore:
    """The music bucket. `client` is boto3's S3 client."""

    def __init__(self, bucket: str, client: Any) -> None:
        self._bucket = Bucket(bucket, client)

    def read_prompt(self, uri: str) -> bytes:
        """The prompt MIDI at `uri`, its size checked before a byte of it is read.

        Raises EventError for a URI outside prompts/ of this bucket, PromptError if the prompt is
        missing or too large, StorageError, AccessError.
        """
        bucket = self._bucket.name
        key = uri.removeprefix(f"s3://{bucket}/")
        if not key.startswith("prompts/") or not key.endswith(".mid"):
            raise EventError(f"prompt must be s3://{bucket}/prompts/NAME.mid, got {uri[:200]!a}")
        response = self._bucket.get(key)
        if response is None:
            raise PromptError(f"there is no prompt at {uri[:200]!a}: upload it first")
        if response["ContentLength"] > SIZE_LIMIT:
            raise too_large(response["ContentLength"])
        with storage_errors("read", bucket, key):
            return bytes(response["Body"].read())

    def save(
        self,
        midi: bytes,
        tokens: Mapping[str, Any],
        record: Mapping[str, Any],
        today: str,
        *,
        trial: bool = False,
    ) -> tuple[dict[str, Any], str | None]:
        """Write the piece: MIDI and tokens, the record, then the latest keys.

        Returns the record as written, with its "sha256", "keys" and "objects", and the key of the
        latest MIDI, or None if this piece is not the latest.

        `tokens` is the piece's token file, `record` the rest of its record. The latest keys never
        return to an older day, except from a day after `today`. A piece of a batch is never the
        latest; a trial has latest keys of its own. Saving a piece again changes nothing, and mends
        what an execution that failed has left. Raises ConflictError if other executions keep
        changing the same day, StorageError, AccessError.
        """
        bodies = {"archive": midi, "tokens": as_json(tokens)}
        committed = self._commit(bodies, record, trial=trial)
        if record.get("piece") is not None:
            return committed, None
        return committed, self._follow(committed["keys"]["record"], today, trial=trial)

    def _commit(
        self, bodies: Mapping[str, bytes], record: Mapping[str, Any], *, trial: bool
    ) -> dict[str, Any]:
        keys = archive_keys(record["date"], record.get("piece"), trial=trial)
        hashes = {name: hashlib.sha256(body).hexdigest() for name, body in bodies.items()}
        whole = {**record, "sha256": hashes["archive"], "keys": keys}
        kinds = {"archive": ("audio/midi", _metadata(record)), "tokens": ("application/json", {})}
        for attempt in range(1, COMMITS + 1):
            found = find_record(self._bucket, keys["record"])
            if self._is_committed(found, whole, hashes):
                assert found.content is not None
                return found.content
            objects = {}
            for name, body in bodies.items():
                kind, metadata = kinds[name]
                headers = {"Metadata": metadata, "CacheControl": CACHE}
                version = self._bucket.put(keys[name], body, kind, **headers)
                objects[name] = {"sha256": hashes[name], "version": version}
            committed = {**whole, "objects": objects}
            try:
                # The record is the commit. By condition: another execution of this day that
                # committed since the reading must not be overwritten unseen.
                condition = unchanged(found.etag)
                self._bucket.put(
                    keys["record"], as_json(committed), "application/json", **condition
                )
            except ConflictError:
                if attempt == COMMITS:
                    raise
            else:
                return committed
        raise AssertionError("the last attempt returns or raises")

    def _is_committed(
        self, found: Found, whole: Mapping[str, Any], hashes: Mapping[str, str]
    ) -> bool:
        """Whether the record says this piece, and what it names is still what the keys show."""
        if found.content is None:
            return False
        objects = found.content.get("objects", {})
        # As JSON, since in Python true equals 1.
        if as_json({**whole, "objects": objects}) != as_json(found.content):
            return False
        if not isinstance(objects, dict) or objects.keys() != hashes.keys():
            return False
        for name, sha256 in hashes.items():
            head = self._bucket.head(whole["keys"][name])
            version = head.get("VersionId") if head else None
            # Without versions nothing tells whether the object is still the one that was named.
            if version in (None, "null") or objects[name] != {"sha256": sha256, "version": version}:
                return False
        return True

    def _follow(self, record_key: str, today: str, *, trial: bool) -> str | None:
        """Copy what the record names to the latest keys, unless these have a newer day.

        In this order, so that whoever writes last writes what was committed last: the latest
        objects, then the record, then both objects on condition that their ETags are still the
        same. An ETag is of the content, and another execution can have written the same again in
        between: so all is read once more until nothing is left to write. The tokens come first:
        their date keeps an older day from becoming the latest.
        """
        latest_midi, latest_tokens = (
            prefix_of(trial=trial) + key.removeprefix(PREFIX)
            for key in (LATEST_MIDI, LATEST_TOKENS)
        )
        for _ in range(FOLLOWS):
            now_tokens, now_midi = (self._latest(key) for key in (latest_tokens, latest_midi))
            record = find_record(self._bucket, record_key).content
            if record is None:
                raise StorageError(f"{record_key} was overwritten: start the execution again")
            # A piece with a mistyped date in the future must not stay the latest until that date.
            if record["date"] < _date_of(now_tokens) <= today:
                return None
            tokens = read_named(self._bucket, record, "tokens")
            midi = read_named(self._bucket, record, "archive")
            if (now_tokens.body, now_midi.body) == (tokens, midi):
                return latest_midi
            with suppress(ConflictError):
                headers = {"CacheControl": CACHE, **unchanged(now_tokens.etag)}
                self._bucket.put(latest_tokens, tokens, "application/json", **headers)
                headers = {"CacheControl": CACHE, **unchanged(now_midi.etag)}
                metadata = _metadata(record)
                self._bucket.put(latest_midi, midi, "audio/midi", Metadata=metadata, **headers)
        raise ConflictError(f"{latest_midi} is being changed by other executions")

    def _latest(self, key: str) -> Latest:
        try:
            stored = self._bucket.read(key)
        except TokensError:  # far too large to be one of ours
            head = self._bucket.head(key)
            return Latest(b"", head["ETag"] if head else None)
        return Latest(stored.body, stored.etag) if stored else Latest(b"", None)


def _date_of(tokens: Latest) -> str:
    """The day of the latest piece; "" if it is no token file that says its day: it is replaced."""
    try:
        date = json_object(tokens.body, LATEST_TOKENS).get("date")
    except TokensError:
        return ""
    return date if isinstance(date, str) and _DATE.fullmatch(date) else ""


def _metadata(record: Mapping[str, Any]) -> dict[str, str]:
    """What the MIDI file's headers say of it."""
    return {
        "model-id": record["model_id"],
        "seed": str(record["seed"]),
        "style": record["style"],
        "duration-s": str(record["duration_s"]),
        "notes": str(record["notes"]),
        "date": record["date"],
    }
