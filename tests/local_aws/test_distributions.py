"""CloudFront's rules: versions, what is in use, what is enabled; and who may change which."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from local_aws.runtime import ensure_runtime
from local_aws.server import LocalAws


@pytest.fixture
def aws() -> Iterator[LocalAws]:
    with LocalAws(ensure_runtime(Path(__file__).parents[2] / ".cache")) as local:
        yield local


def config(reference: str, control: str = "", *, enabled: bool = True) -> dict[str, Any]:
    origin = {
        "Id": "x",
        "DomainName": "music.s3.us-east-1.amazonaws.com",
        "S3OriginConfig": {"OriginAccessIdentity": ""},
        "OriginAccessControlId": control,
    }
    return {
        "CallerReference": reference,
        "Comment": "",
        "Enabled": enabled,
        "Origins": {"Quantity": 1, "Items": [origin]},
        "DefaultCacheBehavior": {"TargetOriginId": "x", "ViewerProtocolPolicy": "https-only"},
    }


CONTROL = {
    "Name": "one",
    "OriginAccessControlOriginType": "s3",
    "SigningBehavior": "always",
    "SigningProtocol": "sigv4",
}


def test_only_what_is_disabled_everywhere_and_unused_is_deleted(aws: LocalAws) -> None:
    front = aws.client("cloudfront")
    made = front.create_origin_access_control(OriginAccessControlConfig=CONTROL)
    control = {"Id": made["OriginAccessControl"]["Id"], "IfMatch": made["ETag"]}
    with pytest.raises(front.exceptions.OriginAccessControlAlreadyExists):
        front.create_origin_access_control(OriginAccessControlConfig=CONTROL)
    new = config("mine", control["Id"])
    made = front.create_distribution(DistributionConfig=new)
    name = {"Id": made["Distribution"]["Id"]}
    with pytest.raises(front.exceptions.OriginAccessControlInUse):
        front.delete_origin_access_control(**control)
    with pytest.raises(front.exceptions.DistributionNotDisabled):
        front.delete_distribution(**name, IfMatch=made["ETag"])
    other = config("other", enabled=False)
    with pytest.raises(front.exceptions.IllegalUpdate):
        front.update_distribution(**name, IfMatch=made["ETag"], DistributionConfig=other)
    disabled = config("mine", control["Id"], enabled=False)
    updated = front.update_distribution(**name, IfMatch=made["ETag"], DistributionConfig=disabled)
    assert updated["Distribution"]["Status"] == "InProgress"
    with pytest.raises(front.exceptions.PreconditionFailed):
        front.update_distribution(**name, IfMatch=made["ETag"], DistributionConfig=new)
    with pytest.raises(front.exceptions.DistributionNotDisabled):
        front.delete_distribution(**name, IfMatch=updated["ETag"])
    found = front.get_distribution(**name)
    assert (found["Distribution"]["Status"], found["ETag"]) == ("Deployed", updated["ETag"])
    front.delete_distribution(**name, IfMatch=found["ETag"])
    front.delete_origin_access_control(**control)
    with pytest.raises(front.exceptions.NoSuchOriginAccessControl):
        front.delete_origin_access_control(**control)


def test_tags_of_the_request_and_of_the_distribution_decide(aws: LocalAws) -> None:
    iam = aws.client("iam")
    statements = [
        {
            "Effect": "Allow",
            "Action": ["cloudfront:GetDistribution", "cloudfront:UpdateDistribution"],
            "Resource": "arn:aws:cloudfront::*:distribution/*",
            "Condition": {"StringEquals": {"aws:ResourceTag/installation": "own"}},
        },
        {
            "Effect": "Allow",
            "Action": ["cloudfront:CreateDistribution", "cloudfront:TagResource"],
            "Resource": "*",
            "Condition": {"StringEquals": {"aws:RequestTag/installation": "own"}},
        },
    ]
    iam.create_user(UserName="somebody")
    document = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_user_policy(UserName="somebody", PolicyName="x", PolicyDocument=document)
    key = iam.create_access_key(UserName="somebody")["AccessKey"]
    session: Any = boto3.Session(key["AccessKeyId"], key["SecretAccessKey"], region_name=aws.region)
    theirs = session.client("cloudfront", endpoint_url=aws.endpoint)

    def create(client: Any, reference: str, owner: str | None) -> str:
        tags = [{"Key": "installation", "Value": owner}] if owner else []
        new = {"DistributionConfig": config(reference), "Tags": {"Items": tags}}
        made = client.create_distribution_with_tags(DistributionConfigWithTags=new)
        return str(made["Distribution"]["Id"])

    own = create(theirs, "1", "own")
    assert theirs.get_distribution(Id=own)["Distribution"]["Id"] == own
    for owner in ("another", None):
        with pytest.raises(ClientError, match="AccessDenied"):
            create(theirs, f"by {owner}", owner)
        not_own = create(aws.client("cloudfront"), f"of {owner}", owner)
        with pytest.raises(ClientError, match="AccessDenied"):
            theirs.get_distribution(Id=not_own)
    with pytest.raises(ClientError, match="AccessDenied"):
        theirs.list_distributions()
