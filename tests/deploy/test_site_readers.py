"""What can be read through the site, and what nobody reads but the functions."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from local_aws.policy import Decision, decide
from tests.deploy.deployer import (
    ACCOUNT,
    ARTIFACTS,
    MUSIC,
    Account,
)
from tests.deploy.test_site import distributions

READABLE = [
    *("site/index.html", "site/days/2026-11-27.html", "site/sound/ab12.mp3", "site/feed.xml"),
    *("neural-net/2026-11-27_sequence.mid", "neural-net/model-prediction.mid"),
    *("neural-net/2026-11-27-0017_sequence.mid", "neural-net/token_sequence.json"),
]


PRIVATE = [
    *("neural-net/2026-11-27_tokens.json", "neural-net/2026-11-27_sequence.json"),
    *("neural-net/", "neural-net/old/token_sequence.json", "neural-net/2026-11-27_sequence.midi"),
    *(
        "prompts/a.mid",
        "runs/x/tokens-1.json",
        "runs/x/prompt.mid",
        "trial/2026-01-01_sequence.mid",
    ),
    *("trial/token_sequence.json", "site.html", "", "index.html", "trial/site/index.html"),
]


@pytest.fixture
def may(up: Account) -> Callable[..., bool]:
    """Whether the deployed policies of the buckets allow a request of a service."""
    s3 = up.aws.client("s3")
    (distribution,) = distributions(up)
    policies = {
        bucket: [json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])]
        for bucket in (MUSIC, ARTIFACTS)
    }

    def may(
        key: str,
        *,
        action: str = "s3:GetObject",
        bucket: str = MUSIC,
        service: str = "cloudfront.amazonaws.com",
        source: str = distribution["ARN"],
        tls: str = "true",
    ) -> bool:
        context = {"aws:SourceArn": source, "aws:SecureTransport": tls}
        arn = f"arn:aws:s3:::{bucket}/{key}".removesuffix("/")
        decision = decide(policies[bucket], action, arn, context, ("Service", service))
        return decision == Decision.ALLOWED

    return may


def test_only_the_site_the_midi_and_the_latest_tokens_can_be_read(
    may: Callable[..., bool],
) -> None:
    assert [key for key in READABLE if not may(key)] == []
    assert [key for key in PRIVATE if may(key)] == []
    assert [key for key in READABLE if may(key, bucket=ARTIFACTS)] == []


def test_nobody_else_may_read_and_the_site_may_do_nothing_else(may: Callable[..., bool]) -> None:
    key = READABLE[0]
    elsewhere = f"arn:aws:cloudfront::{ACCOUNT}:distribution/E1ANOTHER"
    assert may(key)
    assert not may(key, source=elsewhere)
    assert not may(key, source=elsewhere.replace(ACCOUNT, "222222222222"))
    assert not may(key, service="lambda.amazonaws.com")
    assert not may(key, tls="false")
    for action in ("s3:PutObject", "s3:DeleteObject", "s3:GetObjectVersion", "s3:ListBucket"):
        assert not may(key, action=action)
    assert not may("", action="s3:ListBucket")


def test_the_bucket_stays_private(up: Account) -> None:
    s3 = up.aws.client("s3")
    block = s3.get_public_access_block(Bucket=MUSIC)["PublicAccessBlockConfiguration"]
    assert set(block.values()) == {True}
    policy = json.loads(s3.get_bucket_policy(Bucket=MUSIC)["Policy"])
    for statement in policy["Statement"]:
        # S3 takes a statement for public unless a value without wildcards says for whom it is.
        if statement["Effect"] == "Allow":
            assert statement["Principal"] == {"Service": "cloudfront.amazonaws.com"}
            (source,) = statement["Condition"]["StringEquals"].values()
            assert source.startswith(f"arn:aws:cloudfront::{ACCOUNT}:distribution/")
            assert "*" not in source
