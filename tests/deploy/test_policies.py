"""Every policy: what a linter says of it, and what the deployer may not do with it. And the example
of a workflow that deploys from GitHub.
"""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from deploy.place import DOCUMENTS, ROLES, Place
from local_aws.policy import Decision, decide
from tests.deploy.deployer import ACCOUNT, NAME, REGION, ROOT, Account, account, make_tree
from tests.deploy.test_deploy_life import BOUNDARY, deployer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it imports pkg_resources
    import parliament

PLACE = Place(NAME, ACCOUNT, REGION)
DISTRIBUTION = f"arn:aws:cloudfront::{ACCOUNT}:distribution/E1"
POLICIES = {
    **{
        path.name: PLACE.document(path, Bucket="b", DistributionArn=DISTRIBUTION)
        for path in DOCUMENTS.glob("*.policy.json")
    },
    **{path.name: PLACE.document(path) for path in DOCUMENTS.glob("*.trust.json")},
    **{
        path.name: json.loads(path.read_text().replace(":ACCOUNT:", f":{ACCOUNT}:"))
        for path in (ROOT / "deploy").glob("*.json")
    },
}
# What parliament says that is meant to be so.
MEANT = {
    # X-Ray, DescribeAlarms, DescribeLogGroups and ListLayerVersions have no resources to name.
    ("RESOURCE_STAR", "xray:"),
    ("RESOURCE_STAR", "cloudwatch:DescribeAlarms"),
    ("RESOURCE_STAR", "logs:DescribeLogGroups"),
    # A new distribution has no ARN to name yet; AWS's newer reference says so.
    ("RESOURCE_STAR", "cloudfront:CreateDistribution"),
    # Only executions of an express state machine have the form that parliament knows.
    ("RESOURCE_MISMATCH", "states:DescribeExecution"),
    # Who writes a bucket's policy can let itself in: deployers are trusted with the music.
    ("RESOURCE_POLICY_PRIVILEGE_ESCALATION", "s3:::midi-archive-music"),
}


@pytest.mark.parametrize("name", POLICIES)
def test_parliament_finds_nothing_but_what_is_meant(name: str) -> None:
    analyzed = parliament.analyze_policy_string(json.dumps(POLICIES[name]))
    for finding in analyzed.findings:
        said = (finding.issue, str(finding.detail))
        if "trust" in name:  # it does not know who may assume a role: a trust names no resource
            assert said[0] in ("MALFORMED", "UNKNOWN_FEDERATION_SOURCE"), said
            assert "Resource" in said[1] or "token.actions.githubusercontent.com" in said[1], said
        else:
            assert any(said[0] == issue and text in said[1] for issue, text in MEANT), said


def test_each_fits_where_it_is_put() -> None:
    def size(name: str) -> int:
        return len(json.dumps(POLICIES[name], separators=(",", ":")))

    for name in POLICIES:  # a role's inline policies may have 10,240 characters together
        assert size(name) <= 10_240
    for name in ("deployer-policy.json", "boundary.json"):  # a managed policy
        assert size(name) <= 6_144
    assert size("deployer-policy.json") > 2_048, "as a user's inline policy it would not fit"


def test_no_role_may_do_more_than_the_boundary_allows() -> None:
    for role in ROLES:
        for statement in POLICIES[f"{role}.policy.json"]["Statement"]:
            for action in _listed(statement["Action"]):
                for resource in _listed(statement["Resource"]):
                    context = {"s3:prefix": "neural-net/x"}
                    allowed = decide([POLICIES["boundary.json"]], action, resource, context)
                    assert allowed == Decision.ALLOWED, (role, action, resource)


def test_a_batch_may_redrive_its_own_executions_only() -> None:
    policies = [POLICIES["statemachine.policy.json"]]
    for name, decision in ((NAME, Decision.ALLOWED), ("another", Decision.NOT_ALLOWED)):
        execution = f"arn:aws:states:{REGION}:{ACCOUNT}:execution:{name}:x"
        assert decide(policies, "states:RedriveExecution", execution, {}) == decision


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


# --- what somebody with the deployer's policy may not do

TRUST = json.dumps({"Version": "2012-10-17", "Statement": []})
ALL = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
    }
)
MINE = f"{NAME}-{REGION}-schedule"
CODE = {"Handler": "x.y", "Runtime": "python3.13", "Code": {"ZipFile": b"PK\5\6" + bytes(18)}}
CONTROL = {
    "Name": "x",
    "OriginAccessControlOriginType": "s3",
    "SigningBehavior": "never",
    "SigningProtocol": "sigv4",
}
FRONT = {
    "CallerReference": "x",
    "Comment": "",
    "Enabled": True,
    "Origins": {
        "Quantity": 1,
        "Items": [
            {
                "Id": "x",
                "DomainName": "x.s3.us-east-1.amazonaws.com",
                "S3OriginConfig": {"OriginAccessIdentity": ""},
            }
        ],
    },
    "DefaultCacheBehavior": {"TargetOriginId": "x", "ViewerProtocolPolicy": "https-only"},
}
OURS = {"Items": [{"Key": "installation", "Value": NAME}]}
ANOTHERS = {"Items": [{"Key": "installation", "Value": "another"}]}
Ask = tuple[str, str, dict[str, Any]]
IDS: dict[str, Any] = {}  # the distributions of others, once they are made
RAISES: list[Ask] = [
    # a role without the boundary, or with a wider one
    ("iam", "create_role", {"RoleName": f"{NAME}-x", "AssumeRolePolicyDocument": TRUST}),
    (
        "iam",
        "create_role",
        {
            "RoleName": f"{NAME}-x",
            "AssumeRolePolicyDocument": TRUST,
            "PermissionsBoundary": "arn:aws:iam::aws:policy/AdministratorAccess",
        },
    ),
    (
        "iam",
        "create_role",
        {
            "RoleName": "another",
            "AssumeRolePolicyDocument": TRUST,
            "PermissionsBoundary": BOUNDARY,
        },
    ),
    # a wider policy for a role that has no boundary, itself or another's
    (
        "iam",
        "put_role_policy",
        {"RoleName": f"{NAME}-unbound", "PolicyName": "x", "PolicyDocument": ALL},
    ),
    ("iam", "put_role_policy", {"RoleName": "another", "PolicyName": "x", "PolicyDocument": ALL}),
    ("iam", "put_user_policy", {"UserName": "deployer", "PolicyName": "x", "PolicyDocument": ALL}),
    (
        "iam",
        "attach_user_policy",
        {"UserName": "deployer", "PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess"},
    ),
    (
        "iam",
        "attach_role_policy",
        {"RoleName": MINE, "PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess"},
    ),
    # the boundary itself: its text, another for a role, none
    (
        "iam",
        "create_policy_version",
        {"PolicyArn": BOUNDARY, "PolicyDocument": ALL, "SetAsDefault": True},
    ),
    ("iam", "delete_policy", {"PolicyArn": BOUNDARY}),
    (
        "iam",
        "put_role_permissions_boundary",
        {
            "RoleName": MINE,
            "PermissionsBoundary": "arn:aws:iam::aws:policy/AdministratorAccess",
        },
    ),
    ("iam", "delete_role_permissions_boundary", {"RoleName": MINE}),
    ("iam", "create_access_key", {"UserName": "administrator"}),
    # another's role for a function of its own, or an own role for a service that does not use it
    (
        "lambda",
        "create_function",
        {"FunctionName": f"{NAME}-x", "Role": f"arn:aws:iam::{ACCOUNT}:role/another", **CODE},
    ),
    (
        "lambda",
        "update_function_configuration",
        {
            "FunctionName": f"{NAME}-midi-save",
            "Role": f"arn:aws:iam::{ACCOUNT}:role/another",
        },
    ),
    (
        "stepfunctions",
        "update_state_machine",
        {
            "stateMachineArn": f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{NAME}",
            "roleArn": f"arn:aws:iam::{ACCOUNT}:role/another",
        },
    ),
    (
        "sts",
        "assume_role",
        {"RoleArn": f"arn:aws:iam::{ACCOUNT}:role/{MINE}", "RoleSessionName": "xx"},
    ),
    # a role of that name which somebody made without the boundary
    (
        "lambda",
        "update_function_configuration",
        {
            "FunctionName": f"{NAME}-midi-save",
            "Role": f"arn:aws:iam::{ACCOUNT}:role/{NAME}-unbound",
        },
    ),
    (
        "iam",
        "update_assume_role_policy",
        {"RoleName": f"{NAME}-unbound", "PolicyDocument": TRUST},
    ),
    # what is not its own
    ("lambda", "delete_function", {"FunctionName": "another"}),
    ("s3", "delete_bucket", {"Bucket": "another"}),
    ("logs", "delete_log_group", {"logGroupName": "/aws/lambda/another"}),
    ("cloudwatch", "delete_alarms", {"AlarmNames": ["another"]}),
    ("s3", "get_object", {"Bucket": f"{NAME}-music-{ACCOUNT}-{REGION}", "Key": "neural-net/x"}),
    # another's distribution: as it is, or by a tag that makes it look like the installation's
    ("cloudfront", "get_distribution", {"Id": "UNTAGGED"}),
    ("cloudfront", "delete_distribution", {"Id": "UNTAGGED", "IfMatch": "x"}),
    ("cloudfront", "delete_distribution", {"Id": "ANOTHERS", "IfMatch": "x"}),
    (
        "cloudfront",
        "update_distribution",
        {"Id": "ANOTHERS", "IfMatch": "x", "DistributionConfig": FRONT},
    ),
    ("cloudfront", "tag_resource", {"Resource": "ANOTHERS", "Tags": OURS}),
    ("cloudfront", "create_distribution", {"DistributionConfig": FRONT}),
    (
        "cloudfront",
        "create_distribution_with_tags",
        {"DistributionConfigWithTags": {"DistributionConfig": FRONT, "Tags": ANOTHERS}},
    ),
    (
        "cloudfront",
        "update_origin_access_control",
        {"Id": "x", "OriginAccessControlConfig": CONTROL},
    ),
]


@pytest.fixture(scope="module")
def bounded(
    tmp_path_factory: pytest.TempPathFactory, bundle_dir_without_model: Path
) -> Iterator[tuple[Account, Any]]:
    """An account deployed by somebody with the deployer's policy, and a client of theirs."""
    import boto3

    root = make_tree(tmp_path_factory.mktemp("policies") / "tree", bundle_dir_without_model)
    with account(root) as at:
        keys = deployer(at)
        at.deploy("--permissions-boundary", BOUNDARY, "--site", env=keys)
        iam = at.aws.client("iam")
        for name in (f"{NAME}-unbound", "another"):
            iam.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)
        front = at.aws.client("cloudfront")
        for name, tags in (("UNTAGGED", {"Items": []}), ("ANOTHERS", ANOTHERS)):
            new: Any = {"DistributionConfig": {**FRONT, "CallerReference": name}, "Tags": tags}
            made = front.create_distribution_with_tags(DistributionConfigWithTags=new)
            IDS[name] = made["Distribution"]
        session: Any = boto3.Session(
            keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"], region_name=REGION
        )
        yield at, lambda service: session.client(service, endpoint_url=at.aws.endpoint)


@pytest.mark.parametrize(
    "ask", RAISES, ids=[f"{s}:{o} {next(iter(k.values()))}"[:70] for s, o, k in RAISES]
)
def test_the_deployer_cannot_raise_itself_or_touch_others(
    bounded: tuple[Account, Any], ask: Ask
) -> None:
    service, operation, keywords = ask
    for name, field in (("Id", "Id"), ("Resource", "ARN")):
        if known := IDS.get(keywords.get(name, "")):
            keywords = {**keywords, name: known[field]}
    with pytest.raises(ClientError) as refusal:
        getattr(bounded[1](service), operation)(**keywords)
    assert refusal.value.response["Error"]["Code"] in {"AccessDenied", "AccessDeniedException"}


def test_a_boundary_bounds_what_a_policy_gives(bounded: tuple[Account, Any]) -> None:
    aws = bounded[0].aws
    iam = aws.client("iam")
    role = f"{NAME}-{REGION}-midi-save"
    iam.put_role_policy(RoleName=role, PolicyName="more", PolicyDocument=ALL)
    source = f"arn:aws:test:{REGION}:{ACCOUNT}:source"
    arn = f"arn:aws:iam::{ACCOUNT}:role/{role}"
    s3 = aws.client("s3", aws.assume(arn, "lambda.amazonaws.com", source))
    key = {"Bucket": f"{NAME}-music-{ACCOUNT}-{REGION}", "Key": "neural-net/x"}
    s3.put_object(**key, Body=b"x")
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.delete_object(**key)
    iam.delete_role_permissions_boundary(RoleName=role)
    s3.delete_object(**key)


# --- GitHub


def test_the_workflow_is_one_and_deploys_tags_without_keys() -> None:
    path = ROOT / "deploy" / "github-workflow.yml"
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema"]
    done = subprocess.run(
        [*command, "vendor.github-workflows", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    import yaml

    workflow = yaml.safe_load(path.read_text())
    deploy = workflow["jobs"]["deploy"]
    assert deploy["needs"] == "test"
    assert deploy["if"] == "startsWith(github.ref, 'refs/tags/v')"
    assert deploy["permissions"] == {"contents": "read", "id-token": "write"}
    assert workflow["permissions"] == {"contents": "read"}
    assert "secrets." not in path.read_text()
    # With an environment, GitHub's token would name that in place of the tag, which the trust asks.
    assert "environment" not in deploy
    condition = POLICIES["github-oidc-trust.json"]["Statement"][0]["Condition"]
    issuer = "token.actions.githubusercontent.com"
    assert condition["StringEquals"] == {f"{issuer}:aud": "sts.amazonaws.com"}
    assert condition["StringLike"][f"{issuer}:sub"].endswith(":ref:refs/tags/v*")
