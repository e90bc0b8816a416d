"""The account's state as plain data: that changes, and only changes, show in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tests.deploy.account import Client, difference, lasting, snapshot, what_is_left

TRUST = json.dumps({"Version": "2012-10-17", "Statement": []})


@pytest.fixture
def client() -> Iterator[Client]:
    """An account with a thing of several kinds, some of them with tags."""
    made: dict[str, Any] = {}

    def client(service: str) -> Any:
        if service not in made:
            session: Any = boto3.session.Session()
            made[service] = session.client(service, region_name="us-east-1")
        return made[service]

    with mock_aws():
        client("s3").create_bucket(Bucket="tune-music")
        client("s3").put_object(Bucket="tune-music", Key="a.mid", Body=b"a")
        client("iam").create_role(RoleName="tune-save", AssumeRolePolicyDocument=TRUST)
        client("logs").create_log_group(logGroupName="/aws/lambda/tune-save")
        client("sqs").create_queue(QueueName="tune-dead-letters", tags={"installation": "tune"})
        client("sns").create_topic(Name="tune-alarms")
        client("scheduler").create_schedule(
            Name="tune-daily",
            ScheduleExpression="rate(1 day)",
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={
                "Arn": "arn:aws:states:us-east-1:123456789012:stateMachine:tune",
                "RoleArn": "r",
            },
        )
        yield client


def test_nothing_changed_is_no_difference(client: Client) -> None:
    assert difference(snapshot(client), snapshot(client)) == []


def test_each_change_is_one_line(client: Client) -> None:
    before = snapshot(client)
    client("logs").put_retention_policy(logGroupName="/aws/lambda/tune-save", retentionInDays=30)
    anything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    client("iam").put_role_policy(
        RoleName="tune-save",
        PolicyName="least",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [anything]}),
    )
    client("s3").put_bucket_versioning(
        Bucket="tune-music", VersioningConfiguration={"Status": "Enabled"}
    )
    client("sqs").tag_queue(
        QueueUrl=client("sqs").get_queue_url(QueueName="tune-dead-letters")["QueueUrl"],
        Tags={"installation": "other"},
    )
    policy = {"Statement": [dict(sorted(anything.items()))], "Version": "2012-10-17"}
    assert difference(before, snapshot(client)) == [
        'bucket / tune-music / bucket_versioning / Status: null -> "Enabled"',
        "log group / /aws/lambda/tune-save / retentionInDays: null -> 30",
        'queue / tune-dead-letters / tags / Tags / installation: "tune" -> "other"',
        f"role / tune-save / policies / least: null -> {json.dumps(policy)}",
    ]


def test_an_object_written_again_shows_though_it_is_the_same(client: Client) -> None:
    client("s3").put_bucket_versioning(
        Bucket="tune-music", VersioningConfiguration={"Status": "Enabled"}
    )
    before = snapshot(client)
    client("s3").put_object(Bucket="tune-music", Key="a.mid", Body=b"a")
    client("s3").delete_object(Bucket="tune-music", Key="a.mid")
    lines = difference(before, snapshot(client))
    assert lines and all(line.startswith("bucket / tune-music / objects / a.mid") for line in lines)


def test_a_role_made_anew_shows_but_not_in_what_lasts(client: Client) -> None:
    before = snapshot(client)
    client("iam").delete_role(RoleName="tune-save")
    client("iam").create_role(RoleName="tune-save", AssumeRolePolicyDocument=TRUST)
    after = snapshot(client)
    assert any("RoleId" in line for line in difference(before, after))
    assert difference(lasting(before), lasting(after)) == []


def test_what_is_left_is_of_that_installation(client: Client) -> None:
    client("s3").create_bucket(Bucket="tunes-music")
    client("s3").create_bucket(Bucket="my-tune")
    assert what_is_left(client, "tune") == [
        "bucket tune-music",
        "role tune-save",
        "log group /aws/lambda/tune-save",
        "queue tune-dead-letters",
        "topic tune-alarms",
        "schedule tune-daily",
    ]
