"""Lets one deploy.sh run at a time: it holds the object deploy.lock in the artifacts bucket.

A conditional write lets S3 decide which of two was first. The lock of a dead process is taken over:
at once if the process ran on this machine, otherwise after STALE_S.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from deploy.aws import Aws, pause
from deploy.place import Place
from deploy.storage import anothers

KEY = "deploy.lock"
STALE_S = 1800
LOST = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "404")


@contextmanager
def holding_the_lock(aws: Aws, place: Place, make_bucket: Callable[[], None]) -> Iterator[None]:
    """Waits for the lock, making its bucket if there is none, and gives it back at the end."""
    etag = _take(aws, place, make_bucket)
    try:
        yield
    finally:
        # Only if it is still ours. --destroy deletes the whole bucket. An error here must not hide
        # the one that ends the deployment; the next run takes the lock over.
        with suppress(ClientError, BotoCoreError):
            aws.client("s3").delete_object(Bucket=place.bucket("artifacts"), Key=KEY, IfMatch=etag)


def _take(aws: Aws, place: Place, make_bucket: Callable[[], None]) -> str:
    s3, bucket = aws.client("s3"), place.bucket("artifacts")
    us = {"host": os.uname().nodename, "pid": os.getpid()}
    condition = {"IfNoneMatch": "*"}
    told = False
    while True:
        body = json.dumps({**us, "since": int(time.time())}).encode()
        try:
            taken = s3.put_object(
                Bucket=bucket, Key=KEY, Body=body, ExpectedBucketOwner=place.account, **condition
            )
            return str(taken["ETag"])
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "NoSuchBucket":
                make_bucket()
                continue
            if code in ("AccessDenied", "403"):
                raise anothers(error, bucket) from error
            if code not in LOST:
                raise
        condition = {"IfNoneMatch": "*"}
        found = aws.read("s3", "get_object", Bucket=bucket, Key=KEY)
        if found is None:
            continue  # given back meanwhile
        holder = _holder(found["Body"].read())
        if {"host": holder["host"], "pid": holder["pid"]} == us:
            return str(found["ETag"])  # the answer to our own request was lost on its way
        here = holder["host"] == us["host"]
        if (here and not _is_running(holder["pid"])) or time.time() - holder["since"] > STALE_S:
            condition = {"IfMatch": found["ETag"]}  # unless somebody else takes it over now
            continue
        if not told:
            aws.say(
                f"waiting for another deploy.sh, process {holder['pid']} on {holder['host']}: if "
                f"it is dead, delete s3://{bucket}/{KEY}"
            )
            told = True
        pause()


def _holder(body: bytes) -> dict[str, Any]:
    """Host, process and time of a lock. An unreadable one counts as stale."""
    try:
        lock = json.loads(body)
        return {"host": str(lock["host"]), "pid": int(lock["pid"]), "since": int(lock["since"])}
    except (ValueError, KeyError, TypeError):
        return {"host": "nowhere", "pid": 0, "since": 0}


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
