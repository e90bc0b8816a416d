"""A day as it is in S3, for tests that need one which was not composed."""

from __future__ import annotations

import json
from typing import Any


def put_day(s3: Any, bucket: str, name: str, tokens: bytes, prefix: str = "neural-net/") -> None:
    """Store a token file of the day (or piece of a batch) `name`, and a record that names it.

    The record is one of an earlier version, which names no hashes: so `tokens` may be anything.
    """
    stem = f"{prefix}{name}"
    keys = {"archive": f"{stem}_sequence.mid", "tokens": f"{stem}_tokens.json"}
    s3.put_object(Bucket=bucket, Key=keys["tokens"], Body=tokens)
    record = json.dumps({"date": name, "keys": keys})
    s3.put_object(Bucket=bucket, Key=f"{stem}_sequence.json", Body=record)
