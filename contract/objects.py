"""Objects in S3, for both functions: reading, writing by condition, and S3's errors as ours.

The caller passes boto3's S3 client. Depends on neither what the objects hold nor their keys.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from contract.errors import (
    AccessError,
    BucketError,
    ConflictError,
    RequestError,
    StorageError,
    TokensError,
)

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

LARGEST_BYTES = 8_000_000  # eight candidates of an hour are 1,000,000 ids of 5 bytes each
# The configuration of botocore's S3 client in both functions: S3 has 2 s to accept a connection and
# 5 s between bytes. There are two attempts, since total_max_attempts counts the first one, too.
S3_CONFIG: dict[str, Any] = {
    "connect_timeout": 2,
    "read_timeout": 5,
    "retries": {"mode": "standard", "total_max_attempts": 2},
}
# By then a call has failed: two attempts, and up to 1 s that botocore waits between them.
SLOWEST_CALL_S = 2 * (2 + 5) + 1

_MISSING = ("NoSuchKey", "NoSuchVersion", "404")


@dataclass(frozen=True)
class Stored:
    """An object as it was read."""

    body: bytes
    etag: str


@dataclass(frozen=True)
class Bucket:
    """A bucket, and boto3's S3 client. Raises StorageError, or AccessError if S3 refuses."""

    name: str
    client: Any

    def get(self, key: str, version: str | None = None) -> dict[str, Any] | None:
        """S3's answer, with its body not yet read, or None if there is no such object."""
        from botocore.exceptions import ClientError

        of = {} if version is None else {"VersionId": version}
        with storage_errors("read", self.name, key):
            try:
                return dict(self.client.get_object(Bucket=self.name, Key=key, **of))
            except ClientError as error:
                code = error.response["Error"]["Code"]
                # A version of another bucket is an argument that S3 finds invalid.
                if code in _MISSING or (version is not None and code == "InvalidArgument"):
                    return None
                raise

    def read(self, key: str, version: str | None = None) -> Stored | None:
        """The object, or None if there is none. Raises TokensError, unread, if it is too large."""
        answer = self.get(key, version)
        if answer is None:
            return None
        if answer["ContentLength"] > LARGEST_BYTES:
            raise TokensError(
                f"{key} is {answer['ContentLength'] / 1e6:.1f} MB, "
                f"what is read here has at most {LARGEST_BYTES / 1e6:.0f} MB"
            )
        with storage_errors("read", self.name, key):
            body = bytes(answer["Body"].read())
        return Stored(body, answer["ETag"])

    def head(self, key: str) -> dict[str, Any] | None:
        """The headers of the object as it is now, or None if there is none."""
        from botocore.exceptions import ClientError

        with storage_errors("read", self.name, key):
            try:
                return dict(self.client.head_object(Bucket=self.name, Key=key))
            except ClientError as error:
                if error.response["Error"]["Code"] in _MISSING:
                    return None
                raise

    def keys(self, prefix: str, after: str = "") -> Iterator[dict[str, Any]]:
        """Key, ETag and so on of the objects under `prefix` with a key behind `after`, sorted."""
        request = {"Bucket": self.name, "Prefix": prefix} | ({"StartAfter": after} if after else {})
        while True:
            with storage_errors("list", self.name, prefix):
                page = self.client.list_objects_v2(**request)
            yield from page.get("Contents", [])
            if not page.get("IsTruncated"):
                return
            request["ContinuationToken"] = page["NextContinuationToken"]

    def put(self, key: str, body: bytes, content_type: str, **more: Any) -> str | None:
        """Write the object; returns its version. `more` are arguments of put_object."""
        with storage_errors("write", self.name, key):
            answer = self.client.put_object(
                Bucket=self.name,
                Key=key,
                Body=body,
                ContentType=content_type,
                # S3 keeps the object only if what arrived has this hash.
                ChecksumSHA256=base64.b64encode(hashlib.sha256(body).digest()).decode(),
                **more,
            )
        version: str | None = answer.get("VersionId")
        return version


def unchanged(etag: str | None) -> dict[str, str]:
    """The condition of `Bucket.put`: the object still has this ETag; with None, is still missing.

    If it is not so, `put` raises ConflictError.
    """
    return {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}


def as_json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def json_object(body: bytes, where: str) -> dict[str, Any]:
    """The JSON object in `body`. Raises TokensError, which names `where`."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise TokensError(f"{where} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise TokensError(f"{where} must hold an object, not {type(content).__name__}")
    return content


@contextmanager
def storage_errors(verb: str, bucket: str, key: str) -> Iterator[None]:
    """Turns every error of S3 and of the connection to it into one of ours that names the key.

    Raises:
        AccessError: S3 refused the role or its credentials.
        BucketError: the bucket is not there.
        ConflictError: the condition of a write was not met.
        RequestError: S3 finds the request wrong.
        StorageError: what passes: no connection, throttling, an error within S3.
    """
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        ParamValidationError,
        PartialCredentialsError,
    )

    place = f"s3://{bucket}/{key}"
    try:
        yield
    except ClientError as error:
        kind, why = _kind(error, verb)
        raise kind(f"cannot {verb} {place}: {why}{error}") from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise AccessError(f"cannot {verb} {place}: {_CREDENTIALS}: {error}") from error
    except ParamValidationError as error:
        raise RequestError(f"cannot {verb} {place}: {error}") from error
    except BotoCoreError as error:
        raise StorageError(f"cannot {verb} {place}: {error}") from error


_POLICY = "check the policy of the function's role"
_CREDENTIALS = "the credentials of the function's role are not valid"
# S3's codes by what becomes of them, where the HTTP status alone does not tell.
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_KINDS: Mapping[type[RuntimeError], tuple[str, ...]] = {
    AccessError: (
        *("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken"),
        *("TokenRefreshRequired", "InvalidSecurity", "MissingSecurityHeader"),
    ),
    BucketError: ("NoSuchBucket", "PermanentRedirect", "IllegalLocationConstraintException"),
    # Passing: the clock of this machine is wrong, and another has the next call; a slow connection;
    # a write beside another one, of whatever key.
    StorageError: (
        "OperationAborted",
        *("RequestTimeTooSkewed", "RequestExpired", "RequestTimeout", "IncompleteBody"),
        *("SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "Busy"),
    ),
}


def _kind(error: ClientError, verb: str) -> tuple[type[RuntimeError], str]:
    """The class of ours for an error of S3, and a word on it."""
    code = error.response["Error"]["Code"]
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    for kind, codes in _KINDS.items():
        if code in codes:
            return kind, f"{_CREDENTIALS}: " if kind is AccessError else ""
    # 412: it has changed. 409: it is being changed. NoSuchKey: the object to replace is gone.
    if verb == "write" and (status in (409, 412) or code == "NoSuchKey"):
        return ConflictError, "it was changed by another execution: "
    if status in (401, 403):
        return AccessError, f"{_POLICY}: " if code in ("AccessDenied", "403") else ""
    if status == 301:
        return BucketError, ""
    if 400 <= status < 500 and status not in (408, 409, 429):
        return RequestError, ""
    return StorageError, ""
