"""S3's errors become ours, each by its kind, and each names its key."""

from __future__ import annotations

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ReadTimeoutError,
)

from contract import errors
from contract.objects import Bucket, storage_errors
from tests.versioned_s3 import VersionedS3, refused

POLICY, CREDENTIALS = "check the policy", "credentials of the function's role"
# (code, HTTP status) -> our class for a read, what its message says beside S3's own.
KINDS = [
    ("AccessDenied", 403, errors.AccessError, POLICY),
    ("403", 403, errors.AccessError, POLICY),  # HEAD: no body, so no code
    ("AllAccessDisabled", 403, errors.AccessError, ""),
    ("InvalidObjectState", 403, errors.AccessError, ""),  # moved to Glacier by hand
    ("InvalidAccessKeyId", 403, errors.AccessError, CREDENTIALS),
    ("SignatureDoesNotMatch", 403, errors.AccessError, CREDENTIALS),
    ("ExpiredToken", 400, errors.AccessError, CREDENTIALS),
    ("InvalidToken", 400, errors.AccessError, CREDENTIALS),
    ("RequestTimeTooSkewed", 403, errors.StorageError, ""),
    ("OperationAborted", 409, errors.StorageError, ""),
    ("RequestTimeout", 400, errors.StorageError, ""),
    ("SlowDown", 503, errors.StorageError, ""),
    ("InternalError", 500, errors.StorageError, ""),
    ("ServiceUnavailable", 503, errors.StorageError, ""),
    ("BadGateway", 502, errors.StorageError, ""),
    ("TooManyRequests", 429, errors.StorageError, ""),
    ("NoSuchBucket", 404, errors.BucketError, ""),
    ("PermanentRedirect", 301, errors.BucketError, ""),
    ("301", 301, errors.BucketError, ""),
    ("BadDigest", 400, errors.RequestError, ""),
    ("XAmzContentSHA256Mismatch", 400, errors.RequestError, ""),
    ("EntityTooLarge", 400, errors.RequestError, ""),
    ("MethodNotAllowed", 405, errors.RequestError, ""),
    ("", 0, errors.StorageError, ""),  # an answer that is none
]


@pytest.mark.parametrize(("code", "status", "kind", "says"), KINDS)
def test_an_error_of_s3_becomes_ours_by_its_kind(
    code: str, status: int, kind: type[Exception], says: str
) -> None:
    def fail(_operation: str, _key: str) -> None:
        raise refused(code, status)

    bucket = Bucket("music", VersionedS3(before=fail))
    # A list has the prefix in the place of a key.
    calls = (lambda: bucket.read("a/key"), lambda: list(bucket.keys("a/key")))
    for call in (*calls, lambda: bucket.put("a/key", b"body", "text/plain")):
        with pytest.raises(kind, match=f"s3://music/a/key: .*{says}") as raised:
            call()
        assert type(raised.value) is kind
        assert POLICY not in str(raised.value) or says == POLICY


@pytest.mark.parametrize(
    ("code", "status"),
    [("PreconditionFailed", 412), ("ConditionalRequestConflict", 409), ("NoSuchKey", 404)],
)
def test_a_condition_that_is_not_met_is_a_conflict(code: str, status: int) -> None:
    with pytest.raises(errors.ConflictError), storage_errors("write", "music", "a/key"):
        raise refused(code, status)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (EndpointConnectionError(endpoint_url="https://s3"), errors.StorageError),
        (ConnectionClosedError(endpoint_url="https://s3"), errors.StorageError),
        (ReadTimeoutError(endpoint_url="https://s3"), errors.StorageError),
        (NoCredentialsError(), errors.AccessError),
        (ParamValidationError(report="an empty key"), errors.RequestError),
        (PartialCredentialsError(provider="env", cred_var="key"), errors.AccessError),
    ],
)
def test_an_error_of_the_connection_becomes_ours(
    error: BotoCoreError, kind: type[Exception]
) -> None:
    with pytest.raises(kind, match="s3://music/a/key"), storage_errors("read", "music", "a/key"):
        raise error


def test_what_is_missing_is_no_error_but_a_missing_bucket_is() -> None:
    bucket = Bucket("music", VersionedS3())
    assert bucket.read("a/key") is None and bucket.head("a/key") is None

    def fail(_operation: str, _key: str) -> None:
        raise refused("NoSuchBucket", 404)

    with pytest.raises(errors.BucketError, match="NoSuchBucket"):
        Bucket("music", VersionedS3(before=fail)).read("a/key")


def test_every_error_says_what_to_do() -> None:
    kinds = [kind for kind in vars(errors).values() if hasattr(kind, "advice")]
    assert len(kinds) > 10
    for kind in kinds:
        assert errors.advice_on(kind("x")) == vars(kind)["advice"] != ""
    assert errors.advice_on(KeyError("x")) == errors.BY_ANY_OTHER_NAME
    assert isinstance(refused("x", 400), ClientError)
