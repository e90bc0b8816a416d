"""Requests that a test makes fail, seen from a client and from a function."""

from __future__ import annotations

import time

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from tests.local_aws.conftest import Cloud, allow

WRITER = """
import boto3
s3 = boto3.client("s3")
def handler(event, context):
    s3.put_object(Bucket="music", Key=event["key"], Body=b"MThd")
"""


@pytest.fixture
def writer(cloud: Cloud) -> Cloud:
    cloud.aws.client("s3").create_bucket(Bucket="music")
    cloud.function(WRITER, allow("s3:PutObject", "arn:aws:s3:::music/*"), timeout_s=60)
    return cloud


def keys(cloud: Cloud) -> list[str]:
    listed = cloud.aws.client("s3").list_objects_v2(Bucket="music")
    return [entry["Key"] for entry in listed.get("Contents", [])]


def test_fault_within_boto3s_own_attempts_is_not_seen(writer: Cloud) -> None:
    fault = writer.aws.fail_next("s3", "PutObject", "neural-net/", times=1)

    assert writer.invoke({"key": "neural-net/a.mid"}).error is None
    assert (fault.hits, keys(writer)) == (1, ["neural-net/a.mid"])


def test_fault_that_lasts_is_the_functions_error(writer: Cloud) -> None:
    fault = writer.aws.fail_next("s3", "PutObject", "neural-net/", times=100, status=500,
                                 code="InternalError")  # fmt: skip

    result = writer.invoke({"key": "neural-net/a.mid"})

    assert "InternalError" in result.payload["errorMessage"]
    assert fault.hits > 1  # boto3's own attempts
    assert keys(writer) == []


def test_other_keys_and_operations_are_spared(cloud: Cloud) -> None:
    s3 = cloud.aws.client("s3")
    s3.create_bucket(Bucket="music")
    cloud.aws.fail_next("s3", "PutObject", "neural-net/", times=100)

    s3.put_object(Bucket="music", Key="runs/a", Body=b"x")
    assert s3.list_objects_v2(Bucket="music", Prefix="neural-net/")["KeyCount"] == 0
    with pytest.raises(ClientError, match=r"503|ServiceUnavailable"):
        s3.put_object(Bucket="music", Key="neural-net/a", Body=b"x" * 100_000)
    cloud.aws.clear_faults()
    s3.put_object(Bucket="music", Key="neural-net/a", Body=b"x")


@pytest.mark.parametrize(
    ("operation", "call"),
    [
        ("GetObject", lambda s3: s3.get_object(Bucket="music", Key="a")),
        ("HeadObject", lambda s3: s3.head_object(Bucket="music", Key="a")),
        ("DeleteObject", lambda s3: s3.delete_object(Bucket="music", Key="a")),
        ("ListObjectsV2", lambda s3: s3.list_objects_v2(Bucket="music")),
        ("CopyObject", lambda s3: s3.copy_object(Bucket="music", Key="b", CopySource="music/a")),
    ],
)
def test_each_operation_is_told_by_its_name(cloud: Cloud, operation: str, call: object) -> None:
    s3 = cloud.aws.client("s3")
    s3.create_bucket(Bucket="music")
    s3.put_object(Bucket="music", Key="a", Body=b"x")
    fault = cloud.aws.fail_next("s3", operation)

    assert callable(call)
    with pytest.raises(ClientError):
        call(s3)
    call(s3)
    assert fault.hits == 1


def test_json_services_fail_by_name_too(cloud: Cloud) -> None:
    cloud.function("def handler(event, context): return 1")
    cloud.aws.fail_next("lambda", "Invoke", status=429, code="TooManyRequestsException")

    with pytest.raises(ClientError, match="TooManyRequestsException"):
        cloud.invoke()
    assert cloud.invoke().payload == 1


@pytest.mark.parametrize("done", [False, True])
def test_connection_is_lost_before_or_after_the_request_takes_effect(
    cloud: Cloud, done: bool
) -> None:
    s3 = cloud.aws.client("s3")
    s3.create_bucket(Bucket="music")
    cloud.aws.fail_next("s3", "PutObject", drop=True, done=done)

    with pytest.raises(ConnectionClosedError):
        s3.put_object(Bucket="music", Key="a", Body=b"x" * 100_000)
    assert keys(cloud) == ["a"] * done
    s3.put_object(Bucket="music", Key="a", Body=b"x")


def test_fault_may_come_late(cloud: Cloud) -> None:
    s3 = cloud.aws.client("s3")
    s3.create_bucket(Bucket="music")
    cloud.aws.fail_next("s3", "ListObjectsV2", status=400, code="SlowDown", delay_s=0.3)

    began = time.monotonic()
    with pytest.raises(ClientError, match="SlowDown"):
        keys(cloud)
    assert time.monotonic() - began >= 0.3
