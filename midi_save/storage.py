"""Reads prompts from S3 and saves finished pieces there.

A reader of the latest keys never sees a half-written piece: every object is written in one request,
S3 checks its hash before it keeps it, and the latest keys are written last. How token files are
read and which errors S3's errors become is in contract/token_files.py. Depends on neither the
content of the MIDI nor the tokens.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

from contract.errors import EventError, PromptError, TokensError
from contract.token_files import PREFIX, get_object, prefix_of, read_token_file, storage_errors
from midi_save.prompt import SIZE_LIMIT, too_large

LATEST_MIDI = "neural-net/model-prediction.mid"
LATEST_TOKENS = "neural-net/token_sequence.json"

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def archive_keys(date: str, piece: int | None = None, *, trial: bool = False) -> dict[str, str]:
    """The keys under which the piece of `date`, or number `piece` of a batch, is archived."""
    number = "" if piece is None else f"-{piece:04}"
    stem = f"{prefix_of(trial=trial)}{date}{number}"
    return {
        "archive": f"{stem}_sequence.mid",
        "tokens": f"{stem}_tokens.json",
        "record": f"{stem}_sequence.json",
    }


class PieceStore:
    """The music bucket. `client` is boto3's S3 client."""

    def __init__(self, bucket: str, client: Any) -> None:
        self._bucket = bucket
        self._client = client

    def read_prompt(self, uri: str) -> bytes:
        """The prompt MIDI at `uri`, its size checked before a byte of it is read.

        Raises EventError for a URI outside prompts/ of this bucket, PromptError if the prompt is
        missing or too large, StorageError, AccessError.
        """
        key = uri.removeprefix(f"s3://{self._bucket}/")
        if not key.startswith("prompts/") or not key.endswith(".mid"):
            raise EventError(
                f"prompt must be s3://{self._bucket}/prompts/NAME.mid, got {uri[:200]!a}"
            )
        response = get_object(self._client, self._bucket, key)
        if response is None:
            raise PromptError(f"there is no prompt at {uri[:200]!a}: upload it first")
        if response["ContentLength"] > SIZE_LIMIT:
            raise too_large(response["ContentLength"])
        with storage_errors("read", self._bucket, key):
            return bytes(response["Body"].read())

    def save(
        self,
        midi: bytes,
        tokens: dict[str, Any],
        record: dict[str, Any],
        started_day: str,
        *,
        trial: bool = False,
    ) -> tuple[dict[str, Any], str | None]:
        """Write the piece.

        Returns the record as written, with its "sha256" and "keys", and the key of the latest MIDI,
        or None if this piece is not the latest.

        `tokens` is the piece's token file, `record` the rest of its record, `started_day`
        the day on which the execution started. The archive is complete before the latest keys
        change. These never return to an older day, except from a day after `started_day`.
        A piece of a batch is never the latest; a trial has latest keys of its own.
        """
        piece = record.get("piece")
        keys = archive_keys(record["date"], piece, trial=trial)
        latest_midi, latest_tokens = (
            prefix_of(trial=trial) + key.removeprefix(PREFIX)
            for key in (LATEST_MIDI, LATEST_TOKENS)
        )
        latest_date = self._latest_date(latest_tokens) if piece is None else ""
        # A piece with a mistyped date in the future must not stay the latest until that date.
        is_latest = piece is None and (record["date"] >= latest_date or latest_date > started_day)
        # The record does not mention the latest keys, so that running a day again writes the same
        # bytes.
        record = {**record, "sha256": hashlib.sha256(midi).hexdigest(), "keys": keys}
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
            # The tokens come first: their date prevents an older day from becoming the latest.
            self._put(latest_tokens, tokens_json, "application/json", {})
            self._put(latest_midi, midi, "audio/midi", metadata)
        return record, latest_midi if is_latest else None

    def _latest_date(self, key: str) -> str:
        """The day of the latest piece; "" if there is no such piece or it does not say its day."""
        try:
            date = read_token_file(self._client, self._bucket, key).get("date")
        except TokensError:
            return ""
        return date if isinstance(date, str) and _DATE.fullmatch(date) else ""

    def _put(self, key: str, body: bytes, content_type: str, metadata: dict[str, str]) -> None:
        with storage_errors("write", self._bucket, key):
            self._client.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=body,
                ContentType=content_type,
                Metadata=metadata,
                # S3 keeps the object only if what arrived has this hash.
                ChecksumSHA256=base64.b64encode(hashlib.sha256(body).digest()).decode(),
            )


def _to_json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
