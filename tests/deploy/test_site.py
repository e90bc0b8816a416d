"""The site in public: put up, kept, taken away; and its neighbours."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from deploy.errors import way_out
from deploy.place import Place
from tests.deploy.account import difference, lasting, what_is_left
from tests.deploy.deployer import (
    ACCOUNT,
    FUNCTIONS,
    MUSIC,
    NAME,
    REGION,
    Account,
    Hooks,
    Killed,
    times,
)
from tests.deploy.test_deploy_life import BOUNDARY, deployer

SITE = f"{NAME}-{REGION}-site"
UP = [
    *("cloudfront CreateOriginAccessControl", "cloudfront CreateDistributionWithTags"),
    *("s3 PutBucketPolicy", "lambda UpdateFunctionConfiguration"),
]
DOWN = [
    *("s3 PutBucketPolicy", "cloudfront UpdateDistribution", "cloudfront DeleteDistribution"),
    *("cloudfront DeleteOriginAccessControl", "lambda UpdateFunctionConfiguration"),
]


def distributions(at: Account) -> list[Any]:
    listed: dict[str, Any] = at.aws.client("cloudfront").list_distributions()["DistributionList"]
    return list(listed.get("Items", []))


def site_url(at: Account) -> str | None:
    variables: dict[str, str] = at.configuration(FUNCTIONS[1])["Environment"]["Variables"]
    return variables.get("SITE_URL")


def operations(hooks: Hooks) -> list[str]:
    return [call.operation for call in hooks.writes()]


def kill_after(operation: str) -> Hooks:
    return Hooks(kill=lambda call: call.operation == operation, after=True)


# --- its life


def test_it_is_put_up_kept_and_taken_away(empty: Account) -> None:
    outputs = empty.root / "outputs.json"
    empty.deploy("--outputs", str(outputs))
    without = empty.state()
    assert (without["distribution"], without["origin access control"]) == ({}, {})
    assert (site_url(empty), json.loads(outputs.read_text())["site"]) == (None, None)

    told, hooks = empty.deploy("--dry-run", "--site", "--outputs", str(outputs)), Hooks()
    assert difference(without, empty.state()) == []
    assert json.loads(outputs.read_text())["site"] is None
    made = empty.deploy("--site", "--outputs", str(outputs), hooks=hooks)
    assert operations(hooks) == UP
    assert told[-1] == f"a dry run, nothing was changed; {made[-1]}"
    assert {line for line in told if ": created" in line} <= {*made}
    (distribution,) = distributions(empty)
    url = f"https://{distribution['DomainName']}"
    assert (site_url(empty), json.loads(outputs.read_text())["site"]) == (url, url)
    assert "SITE_URL" not in empty.configuration(FUNCTIONS[0])["Environment"]["Variables"]
    assert f"site           {url} (takes a few minutes to come up)" in made

    with_site = empty.state()
    lines = empty.deploy("--outputs", str(outputs))
    assert lines[-1] == "changes: 0"
    assert f"site           {url}" in lines
    assert json.loads(outputs.read_text())["site"] == url
    assert difference(with_site, empty.state()) == []

    told, hooks = empty.deploy("--dry-run", "--no-site"), Hooks()
    assert difference(with_site, empty.state()) == []
    taken = empty.deploy("--no-site", hooks=hooks)
    assert operations(hooks) == DOWN
    assert told[-1] == f"a dry run, nothing was changed; {taken[-1]}"
    assert f"distribution {SITE} is taken out of service, which takes some minutes" in taken
    assert difference(lasting(without), lasting(empty.state())) == []
    assert empty.deploy()[-1] == "changes: 0"
    assert empty.deploy("--no-site")[-1] == "changes: 0"


def test_it_says_what_it_is_of_and_serves_by_tls_only(up: Account) -> None:
    state = up.state()
    site = state["distribution"][SITE]
    place = Place(NAME, ACCOUNT, REGION)
    assert site["tags"]["Tags"]["Items"] == place.tags_as("Key", "Value")
    config = site["DistributionConfig"]
    assert config["Comment"] == "midi-archive in us-east-1: a piece of music a day"
    assert (config["DefaultRootObject"], config["HttpVersion"]) == ("index.html", "http2and3")
    assert (config["IsIPV6Enabled"], config["PriceClass"]) == (True, "PriceClass_100")
    behaviors = [config["DefaultCacheBehavior"], *config["CacheBehaviors"]["Items"]]
    for behavior in behaviors:
        assert behavior["ViewerProtocolPolicy"] == "redirect-to-https"
        assert sorted(behavior["AllowedMethods"]["Items"]) == ["GET", "HEAD"]
        assert behavior["ResponseHeadersPolicyId"]
    control = state["origin access control"][SITE]
    assert (control["SigningBehavior"], control["SigningProtocol"]) == ("always", "sigv4")
    for origin in config["Origins"]["Items"]:
        assert origin["OriginAccessControlId"] == control["Id"]
        assert origin["DomainName"] == f"{MUSIC}.s3.{REGION}.amazonaws.com"


def test_quantities_and_origins_of_the_document_are_right() -> None:
    """CloudFront refuses others, which the embedded AWS does not."""
    ids = dict.fromkeys(
        ("OriginAccess", "CachingOptimized", "CachingDisabled", "CorsAndSecurityHeaders"), "x"
    )
    document = Place(NAME, ACCOUNT, REGION).document("distribution.json", **ids)

    def check(value: Any) -> None:
        if isinstance(value, dict):
            assert value.get("Quantity", 0) == len(value.get("Items", []))
            for item in value.values():
                check(item)
        elif isinstance(value, list):
            for item in value:
                check(item)

    check(document)
    origins = {origin["Id"] for origin in document["Origins"]["Items"]}
    behaviors = [document["DefaultCacheBehavior"], *document["CacheBehaviors"]["Items"]]
    assert {behavior["TargetOriginId"] for behavior in behaviors} == origins
    assert len(document["Comment"].replace(NAME, "x" * 30)) <= 128


def test_what_was_changed_by_hand_is_put_right_but_an_own_domain_stays(up: Account) -> None:
    front = up.aws.client("cloudfront")
    (listed,) = distributions(up)
    whole = front.get_distribution(Id=listed["Id"])
    config = whole["Distribution"]["DistributionConfig"]
    config["Aliases"] = {"Quantity": 1, "Items": ["music.example.org"]}
    config["CustomErrorResponses"] = {"Quantity": 0}
    front.update_distribution(Id=listed["Id"], IfMatch=whole["ETag"], DistributionConfig=config)
    lines = up.deploy()
    assert lines[-1] == "changes: 2"
    assert f"distribution {SITE}: configuration" in lines
    config = front.get_distribution(Id=listed["Id"])["Distribution"]["DistributionConfig"]
    assert config["Aliases"]["Items"] == ["music.example.org"]
    assert config["CustomErrorResponses"]["Quantity"] == 2
    assert site_url(up) == "https://music.example.org"
    assert up.deploy()[-1] == "changes: 0"


def test_one_that_is_half_taken_away_goes_or_is_wanted_again(up: Account) -> None:
    assert up.killed(kill_after("cloudfront UpdateDistribution"), "--no-site")
    assert [each["Enabled"] for each in distributions(up)] == [False]
    lines = up.deploy("--site")
    assert f"distribution {SITE}: configuration" in lines
    assert [each["Enabled"] for each in distributions(up)] == [True]
    assert up.killed(kill_after("cloudfront UpdateDistribution"), "--no-site")
    lines = up.deploy()  # with no word of the site
    assert f"distribution {SITE}: taken away" in lines
    assert site_url(up) is None
    assert up.deploy()[-1] == "changes: 0"


def test_with_the_deployer_policy_it_lives_its_whole_life(empty: Account) -> None:
    keys = deployer(empty)
    before = empty.state()
    empty.deploy("--site", "--permissions-boundary", BOUNDARY, env=keys)
    assert empty.deploy(env=keys)[-1] == "changes: 0"
    empty.deploy("--no-site", env=keys)
    assert distributions(empty) == []
    empty.deploy("--site", env=keys)
    empty.deploy("--destroy", "--delete-music", answer=f"{NAME}\n", env=keys)
    assert difference(before, empty.state()) == []


# --- kills


def test_killed_after_any_write_of_its_steps_it_completes(made: Account) -> None:
    """Of those of taking it away and, in between, of those of putting it up again."""
    without = lasting(made.state())
    made.deploy("--site")
    with_site = lasting(made.state())
    for down, up in itertools.zip_longest(DOWN, UP, fillvalue=UP[-1]):
        for option, operation, wanted in (("--no-site", down, without), ("--site", up, with_site)):
            assert made.killed(kill_after(operation), option), operation
            made.deploy(option)
            assert difference(wanted, lasting(made.state())) == [], operation
            assert len(distributions(made)) == (option == "--site"), operation


def test_killed_while_it_is_destroyed_nothing_is_left(up: Account) -> None:
    away = ("--destroy", "--delete-music")
    for operation in DOWN[:-1]:
        with pytest.raises(Killed):
            up.run(*away, answer=f"{NAME}\n", hooks=kill_after(operation))
    listed = up.deploy(*away, "--dry-run")
    assert f"  bucket {MUSIC}, with 0 versions of objects" in listed
    up.deploy(*away, answer=f"{NAME}\n")
    assert what_is_left(up.aws.client, NAME) == []


def test_with_the_music_kept_its_bucket_is_read_by_nobody(up: Account) -> None:
    up.deploy("--destroy", answer=f"{NAME}\n")
    assert what_is_left(up.aws.client, NAME) == [f"bucket {MUSIC}"]
    policy = json.loads(up.aws.client("s3").get_bucket_policy(Bucket=MUSIC)["Policy"])
    assert [statement["Sid"] for statement in policy["Statement"]] == ["TlsOnly"]


# --- what a real account does


def test_one_that_the_list_does_not_have_yet_is_not_made_twice(made: Account) -> None:
    operation = "cloudfront CreateDistributionWithTags"
    assert made.killed(kill_after(operation), "--site")

    class NotListed(Hooks):
        def register(self, session: Any) -> None:
            super().register(session)
            session.events.register("after-call.cloudfront.ListDistributions", self._hide)

        def _hide(self, parsed: Any, **_: Any) -> None:
            parsed["DistributionList"].pop("Items", None)

    lines = made.deploy("--site", hooks=NotListed())
    assert f"distribution {SITE}: created" in lines
    (distribution,) = distributions(made)
    assert site_url(made) == f"https://{distribution['DomainName']}"
    assert made.deploy()[-1] == "changes: 0"


def test_the_reference_of_one_that_was_deleted_is_not_used_again(made: Account) -> None:
    text = "The caller reference is associated with another. Already exists: E1GONE"
    hooks = Hooks(
        answers={
            "cloudfront CreateDistributionWithTags": times(1, "DistributionAlreadyExists", text)
        }
    )
    made.deploy("--site", hooks=hooks)
    (reference,) = made.state()["distribution"]
    assert reference.startswith(f"{SITE}-")
    assert made.deploy()[-1] == "changes: 0"
    made.deploy("--no-site")
    assert distributions(made) == []


def test_while_it_is_taken_out_of_service_it_is_waited_for(up: Account) -> None:
    asked: list[str] = []

    class Slow(Hooks):
        """The change is everywhere after the third time that somebody asks, and a bit later."""

        def register(self, session: Any) -> None:
            super().register(session)
            session.events.register("after-call.cloudfront.GetDistribution", self._slow)

        def _slow(self, parsed: Any, **_: Any) -> None:
            distribution = parsed["Distribution"]
            if not distribution["DistributionConfig"]["Enabled"]:
                asked.append(distribution["Status"])
                if len(asked) <= 3:
                    distribution["Status"] = "InProgress"

    hooks = Slow(
        answers={
            "cloudfront DeleteDistribution": times(2, "DistributionNotDisabled"),
            "cloudfront DeleteOriginAccessControl": times(2, "OriginAccessControlInUse"),
        }
    )
    up.deploy("--no-site", hooks=hooks)
    assert len(asked) == 4
    assert operations(hooks).count("cloudfront DeleteDistribution") == 3
    assert distributions(up) == []


def test_one_that_somebody_else_deletes_meanwhile_is_gone(up: Account) -> None:
    front = up.aws.client("cloudfront")

    def delete() -> tuple[str, str]:
        (listed,) = distributions(up)
        version = front.get_distribution(Id=listed["Id"])["ETag"]
        front.delete_distribution(Id=listed["Id"], IfMatch=version)
        return "NoSuchDistribution", "The specified distribution does not exist."

    up.deploy("--no-site", hooks=Hooks(answers={"cloudfront DeleteDistribution": delete}))
    assert up.state()["origin access control"] == {}
    assert up.deploy()[-1] == "changes: 0"


def test_what_cloudfront_refuses_is_told_with_the_way_out(made: Account) -> None:
    unverified = "Your account must be verified before you can add new CloudFront resources."
    denied = "User: x is not authorized to perform: cloudfront:CreateDistribution on resource: y"
    create = "cloudfront CreateDistributionWithTags"
    for operation, code, message, out in (
        ("cloudfront CreateOriginAccessControl", "TooManyOriginAccessControls", "100", "a quota"),
        (create, "TooManyDistributions", "200 distributions", "a quota"),
        (create, "AccessDenied", unverified, "deploy without --site"),
        (create, "AccessDenied", denied, "call cloudfront:CreateDistribution: deploy/deployer"),
    ):
        hooks = Hooks(answers={operation: times(99, code, message)})
        done = made.run("--site", hooks=hooks)
        assert done.code == 1, code
        assert message in done.err
        assert out in done.err.splitlines()[-1]
    made.deploy("--site")
    hooks = Hooks(answers={"cloudfront UpdateDistribution": times(99, "PreconditionFailed")})
    done = made.run("--no-site", hooks=hooks)
    assert (done.code, "wait a few minutes" in done.err) == (1, True)
    in_use: Any = {"Error": {"Code": "OriginAccessControlInUse", "Message": ""}}
    assert "somebody else made" in way_out(ClientError(in_use, "DeleteOriginAccessControl"))


# --- neighbours


def another(at: Account, reference: str, bucket: str) -> str:
    """A distribution that somebody else made, for a bucket; its id."""
    config = {
        "CallerReference": reference,
        "Comment": "",
        "Enabled": True,
        "Origins": {
            "Quantity": 1,
            "Items": [
                {
                    "Id": "x",
                    "DomainName": f"{bucket}.s3.{REGION}.amazonaws.com",
                    "S3OriginConfig": {"OriginAccessIdentity": ""},
                }
            ],
        },
        "DefaultCacheBehavior": {"TargetOriginId": "x", "ViewerProtocolPolicy": "https-only"},
    }
    front = at.aws.client("cloudfront")
    return str(front.create_distribution(DistributionConfig=config)["Distribution"]["Id"])


def test_other_regions_installations_and_sites_of_others_stay_as_they_are(empty: Account) -> None:
    empty.deploy()
    another(empty, "somebody's own", MUSIC)
    another(empty, f"{SITE}-of-another", "another")
    before = empty.state()
    others = (("--region", "eu-central-1"), ("--name", f"{NAME}-2"))
    for other in others:
        empty.deploy("--site", *other)
    alone = empty.state()
    empty.deploy("--site")
    assert len(distributions(empty)) == 5
    urls = {site_url(empty), *(f"https://{each['DomainName']}" for each in distributions(empty))}
    assert len(urls) == 5
    for options in ((), *others):
        assert empty.deploy(*options)[-1] == "changes: 0"
    empty.deploy("--no-site")
    assert difference(lasting(alone), lasting(empty.state())) == []
    for option, name in zip(others, (NAME, f"{NAME}-2"), strict=True):
        empty.deploy("--destroy", "--delete-music", *option, answer=f"{name}\n")
    now = empty.state()
    for kind in ("distribution", "origin access control"):
        assert difference(before[kind], now[kind]) == []


# --- what can be read through it
