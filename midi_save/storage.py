"""What midi_save reads from S3 and writes to it, and in which order.

Knows keys, sizes and S3's errors. A reader of the latest keys never sees a half-written piece:
every object is put whole, S3 checks its hash before it keeps it, and the latest keys come last.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from generate_tokens.bundle import Bundle
from generate_tokens.errors import EventError, PromptError, StorageError, TokensError
from midi_save.prompt import SIZE_LIMIT, too_large

LATEST_MIDI = "neural-net/model-prediction.mid"
LATEST_TOKENS = "neural-net/token_sequence.json"
TOKENS_SIZE_LIMIT = 4_000_000  # bytes; an hour of music is about 125,000 ids of 4 characters

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MISSING = ("NoSuchKey", "404")


def archive_keys(date: str) -> dict[str, str]:
    """The keys under which the piece of `date` stays."""
    return {
        "archive": f"neural-net/{date}_sequence.mid",
        "tokens": f"neural-net/{date}_tokens.json",
        "record": f"neural-net/{date}_sequence.json",
    }


def make_s3_client() -> Any:
    config = Config(
        connect_timeout=3, read_timeout=10, retries={"mode": "standard", "max_attempts": 3}
    )
    return boto3.client("s3", config=config)


class PieceStore:
    """The music bucket. `client` is boto3's S3 client."""

    def __init__(self, bucket: str, client: Any) -> None:
        self._bucket = bucket
        self._client = client

    def read_prompt(self, uri: str) -> bytes:
        """The prompt MIDI at `uri`, its size checked before a byte of it is read.

        Raises EventError for a place that is not ours, PromptError if it is missing or too
        large, StorageError.
        """
        key = uri.removeprefix(f"s3://{self._bucket}/")
        if not key.startswith("prompts/") or not key.endswith(".mid"):
            raise EventError(
                f"prompt must be s3://{self._bucket}/prompts/NAME.mid, got {uri[:200]!a}"
            )
        response = self._get(key)
        if response is None:
            raise PromptError(f"there is no prompt at {uri[:200]!a}: upload it first")
        if response["ContentLength"] > SIZE_LIMIT:
            raise too_large(response["ContentLength"])
        return self._body(response, key)

    def read_run_tokens(self, execution: str, uri: str, count: int, bundle: Bundle) -> list[int]:
        """The ids that generate_tokens left for this execution. Raises TokensError if they are
        not as it writes them, ModelMismatchError, StorageError.
        """
        key = f"runs/{execution}/tokens.json"
        if uri != f"s3://{self._bucket}/{key}":
            raise TokensError(f"tokens.s3_uri must be s3://{self._bucket}/{key}, got {uri[:200]!a}")
        response = self._get(key)
        if response is None:
            raise TokensError(f"{key} is missing")
        if response["ContentLength"] > TOKENS_SIZE_LIMIT:
            raise TokensError(
                f"{key} is {response['ContentLength'] / 1e6:.1f} MB, "
                f"token files have at most {TOKENS_SIZE_LIMIT / 1e6:.0f} MB"
            )
        content = _json_object(self._body(response, key))
        if content is None:
            raise TokensError(f"{key} must hold a JSON object")
        bundle.require_same_model(content.get("model_id"), key)
        ids = bundle.checked_ids(content.get("ids"), key)
        if len(ids) != count:
            raise TokensError(f"{key} holds {len(ids)} ids, the message says {count}")
        return ids

    def save(self, midi: bytes, tokens: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
        """Write the piece; returns the record as written, with its "sha256" and "keys".

        `tokens` is the day's token file, `record` the rest of the piece's record. The archive is
        complete before the latest keys change, and they never go back to an older day.
        """
        keys = archive_keys(record["date"])
        is_latest = record["date"] >= self._latest_date()
        record = {
            **record,
            "sha256": hashlib.sha256(midi).hexdigest(),
            "keys": {**keys, "latest": LATEST_MIDI if is_latest else None},
        }
        metadata = {
            "model-id": record["model_id"],
            "seed": str(record["seed"]),
            "style": record["style"],
            "duration-s": str(record["duration_s"]),
            "notes": str(record["notes"]),
            "date": record["date"],
        }
        tokens_json = _to_json(tokens)
        self._put(keys["archive"], midi, "audio/midi", metadata)
        self._put(keys["tokens"], tokens_json, "application/json", {})
        self._put(keys["record"], _to_json(record), "application/json", {})
        if is_latest:
            self._put(LATEST_MIDI, midi, "audio/midi", metadata)
            self._put(LATEST_TOKENS, tokens_json, "application/json", {})
        return record

    def _latest_date(self) -> str:
        """The day of the latest piece; "" if there is none, or none that says its day."""
        response = self._get(LATEST_TOKENS)
        if response is None or response["ContentLength"] > TOKENS_SIZE_LIMIT:
            return ""
        content = _json_object(self._body(response, LATEST_TOKENS)) or {}
        date = content.get("date")
        return date if isinstance(date, str) and _DATE.fullmatch(date) else ""

    def _get(self, key: str) -> dict[str, Any] | None:
        with self._storage_errors("read", key):
            try:
                return dict(self._client.get_object(Bucket=self._bucket, Key=key))
            except ClientError as error:
                if error.response["Error"]["Code"] in _MISSING:
                    return None
                raise

    def _body(self, response: dict[str, Any], key: str) -> bytes:
        with self._storage_errors("read", key):
            return bytes(response["Body"].read())

    def _put(self, key: str, body: bytes, content_type: str, metadata: dict[str, str]) -> None:
        with self._storage_errors("write", key):
            self._client.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=body,
                ContentType=content_type,
                Metadata=metadata,
                # S3 keeps the object only if what arrived has this hash.
                ChecksumSHA256=base64.b64encode(hashlib.sha256(body).digest()).decode(),
            )

    @contextmanager
    def _storage_errors(self, verb: str, key: str) -> Iterator[None]:
        """Turn every error of S3 and of the way to it into StorageError that names the key."""
        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise StorageError(f"cannot {verb} s3://{self._bucket}/{key}: {error}") from error


def _to_json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
