"""Token files in S3, for both functions: yesterday's tokens, and the tokens of a run.

Checks whatever it reads. Depends on neither music nor how S3 is spoken to (objects.py).
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from contract.bundle import Bundle
from contract.errors import TokensError
from contract.job import Job
from contract.objects import LARGEST_BYTES, Bucket, json_object
from contract.records import archive_keys, daily_records, find_record, prefix_of, read_named

LOOK_BACK_DAYS = 31
_DAMAGED = " are damaged: "
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
MOST_IDS = 250_000  # of a piece: twice what an hour of dense music has


@dataclass(frozen=True)
class Previous:
    """An earlier day's piece. If there is none, `ids` is empty and `fresh_because` says why."""

    date: str | None
    ids: tuple[int, ...]
    fresh_because: str | None


class TokenStore:
    """Token files in the music bucket. `client` is boto3's S3 client."""

    def __init__(self, bucket: str, bundle: Bundle, client: Any) -> None:
        self._bucket = Bucket(bucket, client)
        self._bundle = bundle

    def previous(self, date: str, *, trial: bool = False) -> Previous:
        """The newest daily piece of the 31 days before `date`, if this bundle's model made it.

        All pieces of a batch have this previous piece, too; a trial looks at trials only. Damaged
        tokens are no error, or else no piece would be composed for 31 days: the next piece starts
        afresh and says why.

        Raises:
            StorageError, AccessError: S3 could not be read.
        """
        found = self._newest_before(date, prefix_of(trial=trial))
        if found is None:
            reason = f"no piece in the {LOOK_BACK_DAYS} days before {date}"
            return Previous(date=None, ids=(), fresh_because=reason)
        try:
            return self._piece_of(found, trial=trial)
        except TokensError as error:
            return Previous(date=None, ids=(), fresh_because=damaged(found, error))

    def write_run(self, execution: str, calls: int, ids: list[int]) -> str:
        """Stores the ids of an execution after so many calls; returns their URI.

        Raises:
            TokensError: there are more ids than the reader accepts.
            StorageError, AccessError: S3 refused the write.
        """
        key = _run_key(execution, calls)
        body = json.dumps({"model_id": self._bundle.model_id, "ids": ids}).encode()
        if len(body) > LARGEST_BYTES:
            raise TokensError(f"{key}: {len(ids)} ids are more than the reader accepts")
        self._bucket.put(key, body, "application/json")
        return f"s3://{self._bucket.name}/{key}"

    def ids_of(self, job: Job) -> list[int]:
        """The ids of a job's generation, from the message or from where `write_run` stored them.

        Raises:
            TokensError: the file is missing or damaged, or is not the one of this job.
            ModelMismatchError: another bundle made the ids.
            StorageError, AccessError: S3 could not be read.
        """
        made = job.generation
        if made is None or made.stored_at is None:
            return made.ids if made else []
        key, count = _run_key(job.execution, made.calls), sum(made.lengths)
        if made.stored_at != f"s3://{self._bucket.name}/{key}":
            raise TokensError(
                f"job.generation.stored_at must be s3://{self._bucket.name}/{key}, "
                f"got {made.stored_at[:200]!a}"
            )
        stored = self._bucket.read(key)
        if stored is None:
            raise TokensError(f"{key} is missing")
        content = json_object(stored.body, key)
        self._bundle.require_same_model(content.get("model_id"), key)
        ids = self._bundle.checked_ids(content.get("ids"), key)
        if len(ids) != count:
            raise TokensError(f"{key} holds {len(ids)} ids, the message says {count}")
        return ids

    def _piece_of(self, found: str, *, trial: bool) -> Previous:
        keys = archive_keys(found, trial=trial)
        record = find_record(self._bucket, keys["record"]).content
        if record is None:
            raise TokensError(f"{keys['record']} is no record")
        key = keys["tokens"]
        content = json_object(read_named(self._bucket, record, "tokens"), key)
        model_id = content.get("model_id")
        if not isinstance(model_id, str):
            raise TokensError(f"{key}: model_id must be a string, got {type(model_id).__name__}")
        if model_id != self._bundle.model_id:
            reason = f"the piece of {found} was made by another model ({model_id[:8]!a})"
            return Previous(date=None, ids=(), fresh_because=reason)
        ids = self._bundle.checked_ids(content.get("ids"), key)
        if len(ids) > MOST_IDS:
            raise TokensError(
                f"{key} holds {len(ids)} ids, an hour of music has {MOST_IDS} at most"
            )
        styles = self._bundle.styles.values()
        if len(ids) < 2 or ids[0] != self._bundle.bos_id or ids[1] not in styles:
            raise TokensError(f"{key}: ids must begin with BOS and a style")
        return Previous(date=found, ids=tuple(ids), fresh_because=None)

    def _newest_before(self, date: str, prefix: str) -> str | None:
        first = datetime.date.fromisoformat(date) - datetime.timedelta(days=LOOK_BACK_DAYS)
        newest = None
        for found in daily_records(self._bucket, prefix, str(first)):
            if found.date >= date:
                break
            newest = found.date
        return newest


def damaged(date: str, why: object) -> str:
    """`fresh_because` of a day whose tokens are damaged."""
    return f"the tokens of {date}{_DAMAGED}{why}"


def is_damaged(fresh_because: str | None) -> bool:
    return _DAMAGED in (fresh_because or "")


def _run_key(execution: str, calls: int) -> str:
    # One file for each call: if a call dies after it has written its file, its retry still finds
    # the file that the call began with.
    # An execution's name can have any letters, or dots, which not every client leaves in a path.
    plain = _PLAIN.fullmatch(execution)
    folder = execution if plain else hashlib.sha256(execution.encode()).hexdigest()
    return f"runs/{folder}/tokens-{calls}.json"
