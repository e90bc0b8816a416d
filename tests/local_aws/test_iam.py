"""Roles are enforced: of functions, of the state machine, and when a service assumes one."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError

from tests.local_aws.conftest import Cloud, allow, task

S3_CALLS = """
import boto3, botocore
s3 = boto3.client("s3")
def handler(event, context):
    try:
        answer = getattr(s3, event["call"])(**event["with"])
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]["Code"]
    return answer["ResponseMetadata"]["HTTPStatusCode"]
"""

ECHO = "def handler(event, context): return event"


def put(bucket: str, key: str) -> dict[str, object]:
    return {"call": "put_object", "with": {"Bucket": bucket, "Key": key, "Body": "x"}}


def get(bucket: str, key: str) -> dict[str, object]:
    return {"call": "get_object", "with": {"Bucket": bucket, "Key": key}}


def listing(bucket: str, prefix: str) -> dict[str, object]:
    return {"call": "list_objects_v2", "with": {"Bucket": bucket, "Prefix": prefix}}


@pytest.fixture
def music(cloud: Cloud) -> Cloud:
    """Two buckets, and a function that may use one prefix of the first."""
    s3 = cloud.aws.client("s3")
    for bucket in ("music", "other"):
        s3.create_bucket(Bucket=bucket)
        for key in ("prompts/a.mid", "runs/a.json"):
            s3.put_object(Bucket=bucket, Key=key, Body=b"MThd")
    cloud.function(
        S3_CALLS,
        allow(["s3:GetObject", "s3:PutObject"], "arn:aws:s3:::music/prompts/*"),
        allow(
            "s3:ListBucket",
            "arn:aws:s3:::music",
            Condition={"StringLike": {"s3:prefix": ["prompts/*"]}},
        ),
    )
    return cloud


def test_function_may_do_what_its_role_allows(music: Cloud) -> None:
    for call in (put("music", "prompts/b.mid"), get("music", "prompts/a.mid")):
        assert music.invoke(call).payload == 200
    assert music.invoke(listing("music", "prompts/")).payload == 200


def test_other_bucket_prefix_or_action_is_denied(music: Cloud) -> None:
    copy = {"Bucket": "music", "Key": "prompts/c", "CopySource": "other/prompts/a.mid"}
    calls: list[dict[str, object]] = [
        put("other", "prompts/a.mid"),
        put("music", "runs/a.json"),
        get("other", "prompts/a.mid"),
        get("music", "runs/a.json"),
        listing("music", "runs/"),
        listing("music", ""),
        listing("other", "prompts/"),
        {"call": "delete_object", "with": {"Bucket": "music", "Key": "prompts/a.mid"}},
        {"call": "list_buckets", "with": {}},
        {"call": "copy_object", "with": copy},
    ]

    answers = [(call, music.invoke(call).payload) for call in calls]

    assert [call for call, answer in answers if answer != "AccessDenied"] == []
    assert any("iam: arn:aws:sts::123456789012:assumed-role/tiny-role/" in x for x in music.log)


def test_missing_object_is_denied_without_permission_to_list(music: Cloud) -> None:
    """AWS hides what exists from whom may not list the bucket (s3:prefix is absent in a GET)."""
    assert music.invoke(get("music", "prompts/none.mid")).payload == "AccessDenied"

    music.aws.client("iam").put_role_policy(
        RoleName="tiny-role",
        PolicyName="list",
        PolicyDocument=json.dumps({"Statement": allow("s3:ListBucket", "arn:aws:s3:::music")}
                                  | {"Version": "2012-10-17"}),
    )  # fmt: skip
    assert music.invoke(get("music", "prompts/none.mid")).payload == "NoSuchKey"


def test_bucket_policy_that_demands_tls_lets_the_loopback_pass(music: Cloud) -> None:
    deny = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": ["arn:aws:s3:::music", "arn:aws:s3:::music/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    policy = {"Version": "2012-10-17", "Statement": [deny]}
    music.aws.client("s3").put_bucket_policy(Bucket="music", Policy=json.dumps(policy))

    assert music.invoke(get("music", "prompts/a.mid")).payload == 200


def test_bucket_policy_that_denies_is_obeyed(music: Cloud) -> None:
    deny = {
        "Effect": "Deny",
        "Principal": {"AWS": "*"},
        "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::music/*",
    }
    policy = {"Version": "2012-10-17", "Statement": [deny]}
    music.aws.client("s3").put_bucket_policy(Bucket="music", Policy=json.dumps(policy))

    assert music.invoke(get("music", "prompts/a.mid")).payload in ("403", "AccessDenied")


def test_unknown_condition_operator_refuses_rather_than_passes(music: Cloud) -> None:
    odd = allow("s3:PutObject", "*", Condition={"DateLessThan": {"aws:CurrentTime": "2099-01-01"}})
    music.aws.client("iam").put_role_policy(
        RoleName="tiny-role",
        PolicyName="odd",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [odd]}),
    )

    assert music.invoke(put("music", "prompts/b.mid")).payload == "AccessDenied"
    assert any("DateLessThan is not known" in line for line in music.log)


def test_function_whose_role_does_not_trust_lambda_fails(cloud: Cloud) -> None:
    role = cloud.role("for-states", "states.amazonaws.com")
    cloud.function(ECHO, Role=role)

    result = cloud.invoke({})

    assert result.error == "Unhandled"
    assert "lambda.amazonaws.com cannot assume it" in result.payload["errorMessage"]


def test_state_machine_may_invoke_what_its_role_allows(cloud: Cloud) -> None:
    arn = cloud.function(ECHO)
    role = cloud.role("states", "states.amazonaws.com", allow("lambda:InvokeFunction", arn))
    machine = cloud.state_machine({"Echo": task(arn)}, role)

    ended = cloud.run(machine, {"seed": 7})

    assert (ended["status"], json.loads(ended["output"])) == ("SUCCEEDED", {"seed": 7})


def test_state_machine_may_not_invoke_another_function(cloud: Cloud) -> None:
    arn = cloud.function(ECHO)
    cloud.function(ECHO, name="secret")
    role = cloud.role("states", "states.amazonaws.com", allow("lambda:InvokeFunction", arn))
    machine = cloud.state_machine({"Echo": task(arn.replace("tiny", "secret"))}, role)

    ended = cloud.run(machine, {})

    assert (ended["status"], ended["error"]) == ("FAILED", "Lambda.AccessDeniedException")
    assert "not authorized to perform: lambda:InvokeFunction" in ended["cause"]
    assert not any("[secret]" in line for line in cloud.log)


def test_state_machine_whose_role_does_not_trust_states_fails(cloud: Cloud) -> None:
    arn = cloud.function(ECHO)
    role = cloud.role("wrong", "lambda.amazonaws.com", allow("lambda:InvokeFunction", arn))
    machine = cloud.state_machine({"Echo": task(arn)}, role)

    ended = cloud.run(machine, {})

    assert (ended["status"], ended["error"]) == ("FAILED", "Lambda.AccessDeniedException")


def test_exception_name_reaches_the_catcher(cloud: Cloud) -> None:
    arn = cloud.function(
        "class PromptError(ValueError): pass\n"
        "def handler(event, context): raise PromptError('no notes')"
    )
    role = cloud.role("states", "states.amazonaws.com", allow("lambda:InvokeFunction", arn))
    caught = {"ErrorEquals": ["PromptError"], "ResultPath": "$.error", "Next": "Refused"}
    machine = cloud.state_machine(
        {
            "Work": task(arn, Catch=[caught]),
            "Refused": {"Type": "Fail", "Error": "Refused", "CausePath": "$.error.Cause"},
        },
        role,
    )

    ended = cloud.run(machine, {})

    assert ended["error"] == "Refused"
    assert "no notes" in ended["cause"]


def test_unknown_credentials_are_refused(cloud: Cloud) -> None:
    import boto3

    stranger = boto3.client(
        "lambda",
        endpoint_url=cloud.aws.endpoint,
        region_name=cloud.aws.region,
        aws_access_key_id="AKIAUNKNOWN",
        aws_secret_access_key="unknown",
    )
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        stranger.list_functions()
