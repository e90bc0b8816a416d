"""Token files in S3, for both functions: yesterday's tokens, and the tokens of a run.

This module defines the keys and the form of token files, checks whatever it reads, and turns S3's
errors into ours. The caller passes the S3 client. Depends on neither music nor models.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from contract.bundle import Bundle
from contract.errors import AccessError, StorageError, TokensError
from contract.job import Job

PREFIX = "neural-net/"
TRIAL_PREFIX = "trial/"  # the same keys for trials, which leave no trace among the daily pieces
LOOK_BACK_DAYS = 31
TOKENS_SIZE_LIMIT = 8_000_000  # bytes; eight candidates of an hour are 1,000,000 ids of 5 each
# The configuration of botocore's S3 client in both functions: S3 has 2 s to accept a connection and
# 5 s between bytes. There are two attempts, since total_max_attempts counts the first one, too.
S3_CONFIG: dict[str, Any] = {
    "connect_timeout": 2,
    "read_timeout": 5,
    "retries": {"mode": "standard", "total_max_attempts": 2},
}
# By then a call has failed: two attempts, and up to 1 s that botocore waits between them.
SLOWEST_CALL_S = 2 * (2 + 5) + 1

# The name of a daily piece. The pieces of a batch have a number behind the day, and no later piece
# continues them.
_TOKENS_NAME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})_tokens\.json")
_MISSING = ("NoSuchKey", "404")


@dataclass(frozen=True)
class Previous:
    """An earlier day's piece. If there is none, `ids` is empty and `fresh_because` says why."""

    date: str | None
    ids: tuple[int, ...]
    fresh_because: str | None


class TokenStore:
    """Token files in the music bucket. `client` is boto3's S3 client."""

    def __init__(self, bucket: str, bundle: Bundle, client: Any) -> None:
        self._bucket = bucket
        self._bundle = bundle
        self._client = client

    def previous(self, date: str, *, trial: bool = False) -> Previous:
        """The newest daily piece of the 31 days before `date`, if this bundle's model made it.

        All pieces of a batch have this previous piece, too; a trial looks at trials only. Damaged
        tokens are no error, or else no piece would be composed for 31 days: the next piece starts
        afresh and says why.

        Raises:
            StorageError, AccessError: S3 could not be read.
        """
        prefix = prefix_of(trial=trial)
        found = self._newest_before(datetime.date.fromisoformat(date), prefix)
        if found is None:
            reason = f"no piece in the {LOOK_BACK_DAYS} days before {date}"
            return Previous(date=None, ids=(), fresh_because=reason)
        try:
            return self._piece_of(found, prefix)
        except TokensError as error:
            reason = f"the tokens of {found} are damaged: {error}"
            return Previous(date=None, ids=(), fresh_because=reason)

    def write_run(self, execution: str, calls: int, ids: list[int]) -> str:
        """Stores the ids of an execution after so many calls; returns their URI.

        Raises:
            TokensError: there are more ids than the reader accepts.
            StorageError, AccessError: S3 refused the write.
        """
        key = _run_key(execution, calls)
        body = json.dumps({"model_id": self._bundle.model_id, "ids": ids}).encode()
        if len(body) > TOKENS_SIZE_LIMIT:
            raise TokensError(f"{key}: {len(ids)} ids are more than the reader accepts")
        with storage_errors("write", self._bucket, key):
            self._client.put_object(
                Bucket=self._bucket, Key=key, Body=body, ContentType="application/json"
            )
        return f"s3://{self._bucket}/{key}"

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
        if made.stored_at != f"s3://{self._bucket}/{key}":
            raise TokensError(
                f"job.generation.stored_at must be s3://{self._bucket}/{key}, "
                f"got {made.stored_at[:200]!a}"
            )
        content = read_token_file(self._client, self._bucket, key)
        self._bundle.require_same_model(content.get("model_id"), key)
        ids = self._bundle.checked_ids(content.get("ids"), key)
        if len(ids) != count:
            raise TokensError(f"{key} holds {len(ids)} ids, the message says {count}")
        return ids

    def _piece_of(self, found: str, prefix: str) -> Previous:
        key = f"{prefix}{found}_tokens.json"
        content = read_token_file(self._client, self._bucket, key)
        model_id = content.get("model_id")
        if not isinstance(model_id, str):
            raise TokensError(f"{key}: model_id must be a string, got {type(model_id).__name__}")
        if model_id != self._bundle.model_id:
            reason = f"the piece of {found} was made by another model ({model_id[:8]!a})"
            return Previous(date=None, ids=(), fresh_because=reason)
        ids = self._bundle.checked_ids(content.get("ids"), key)
        styles = self._bundle.styles.values()
        if len(ids) < 2 or ids[0] != self._bundle.bos_id or ids[1] not in styles:
            raise TokensError(f"{key}: ids must begin with BOS and a style")
        return Previous(date=found, ids=tuple(ids), fresh_because=None)

    def _newest_before(self, date: datetime.date, prefix: str) -> str | None:
        first = date - datetime.timedelta(days=LOOK_BACK_DAYS)
        request = {"Bucket": self._bucket, "Prefix": prefix, "StartAfter": f"{prefix}{first}"}
        newest = None
        while True:
            with storage_errors("list", self._bucket, prefix):
                page = self._client.list_objects_v2(**request)
            for entry in page.get("Contents", []):  # sorted by key, hence by date
                if entry["Key"] >= f"{prefix}{date}":
                    return newest
                matched = _TOKENS_NAME.fullmatch(entry["Key"].removeprefix(prefix))
                if matched:
                    newest = matched[1]
            if not page.get("IsTruncated"):
                return newest
            request["ContinuationToken"] = page["NextContinuationToken"]


def prefix_of(*, trial: bool) -> str:
    """The prefix of the keys under which pieces are stored."""
    return TRIAL_PREFIX if trial else PREFIX


def get_object(client: Any, bucket: str, key: str) -> dict[str, Any] | None:
    """S3's answer, with its body not yet read, or None if there is no such object."""
    from botocore.exceptions import ClientError

    with storage_errors("read", bucket, key):
        try:
            return dict(client.get_object(Bucket=bucket, Key=key))
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                return None
            raise


def read_token_file(client: Any, bucket: str, key: str) -> dict[str, Any]:
    """The JSON object under `key`; its size is checked before any of it is read.

    Raises:
        TokensError: it is missing, too large or not a JSON object.
        StorageError, AccessError: S3 could not be read.
    """
    response = get_object(client, bucket, key)
    if response is None:
        raise TokensError(f"{key} is missing")
    if response["ContentLength"] > TOKENS_SIZE_LIMIT:
        raise TokensError(
            f"{key} is {response['ContentLength'] / 1e6:.1f} MB, "
            f"token files have at most {TOKENS_SIZE_LIMIT / 1e6:.0f} MB"
        )
    with storage_errors("read", bucket, key):
        body = response["Body"].read()
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise TokensError(f"{key} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise TokensError(f"{key} must hold an object, not {type(content).__name__}")
    return content


@contextmanager
def storage_errors(verb: str, bucket: str, key: str) -> Iterator[None]:
    """Turns every error of S3 and of the connection to it into one of ours that names the key.

    Raises:
        AccessError: S3 refused the credentials; no retry helps.
        StorageError: any other error.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    place = f"s3://{bucket}/{key}"
    try:
        yield
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 403:
            raise AccessError(
                f"may not {verb} {place}: check the policy of the function's role: {error}"
            ) from error
        raise StorageError(f"cannot {verb} {place}: {error}") from error
    except BotoCoreError as error:
        raise StorageError(f"cannot {verb} {place}: {error}") from error


def _run_key(execution: str, calls: int) -> str:
    # One file for each call: if a call dies after it has written its file, its retry still finds
    # the file that the call began with.
    return f"runs/{execution}/tokens-{calls}.json"
