"""What each role may do, and which neighbouring actions it is denied, with IAM enforced.

The chain's own tests show that the roles suffice for its work: it runs with nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws.server import LocalAws

Deployed = tuple[LocalAws, dict[str, Any]]
ACCOUNT = "123456789012"
NAME = "midi-archive"
MUSIC = f"{NAME}-music-{ACCOUNT}-us-east-1"
ARTIFACTS = f"{NAME}-artifacts-{ACCOUNT}-us-east-1"
MACHINE = f"arn:aws:states:us-east-1:{ACCOUNT}:stateMachine:{NAME}"
QUEUE = f"{NAME}-dead-letters"
SERVICES = {
    "generate-tokens": "lambda.amazonaws.com",
    "midi-save": "lambda.amazonaws.com",
    "statemachine": "states.amazonaws.com",
    "schedule": "scheduler.amazonaws.com",
}

Keywords = dict[str, Any]
Ask = tuple[str, str, Keywords]


def get(key: str, bucket: str = MUSIC, version: str | None = None) -> Ask:
    of = {} if version is None else {"VersionId": version}
    return "s3", "get_object", {"Bucket": bucket, "Key": key, **of}


def put(key: str, bucket: str = MUSIC) -> Ask:
    return "s3", "put_object", {"Bucket": bucket, "Key": key, "Body": b"x"}


def delete(key: str) -> Ask:
    return "s3", "delete_object", {"Bucket": MUSIC, "Key": key}


def listing(prefix: str, bucket: str = MUSIC) -> Ask:
    return "s3", "list_objects_v2", {"Bucket": bucket, "Prefix": prefix}


def invoke(function: str) -> Ask:
    return "lambda", "invoke", {"FunctionName": function, "InvocationType": "DryRun"}


def start(machine: str = MACHINE) -> Ask:
    return "stepfunctions", "start_execution", {"stateMachineArn": machine, "input": "{}"}


PIECE = "neural-net/2026-01-01_sequence.mid"
EVERYONES = [
    ("iam", "get_role", {"RoleName": f"{NAME}-us-east-1-schedule"}),
    (
        "iam",
        "put_role_policy",
        {"RoleName": f"{NAME}-us-east-1-schedule", "PolicyName": "more", "PolicyDocument": "{}"},
    ),
    ("lambda", "get_function", {"FunctionName": f"{NAME}-generate-tokens"}),
    ("logs", "create_log_group", {"logGroupName": "/aws/lambda/another"}),
    ("sqs", "receive_message", {"QueueUrl": QUEUE}),
    ("s3", "put_bucket_policy", {"Bucket": MUSIC, "Policy": "{}"}),
    ("s3", "delete_bucket", {"Bucket": MUSIC}),
    get("layers/x.zip", ARTIFACTS),
    put("layers/x.zip", ARTIFACTS),
    listing("", ARTIFACTS),
    delete(PIECE),
    delete("runs/x/tokens-1.json"),
]
DENIED: dict[str, list[Ask]] = {
    "generate-tokens": [
        *EVERYONES,
        get(PIECE),  # the music itself
        get(PIECE, version="1"),
        get("neural-net/2026-01-01_sequence.json", version="1"),
        get("neural-net/model-prediction.mid"),
        get("site/index.html"),
        get("prompts/a.mid"),
        put(PIECE),
        put("site/index.html"),
        put("neural-net/model-prediction.mid"),
        put("trial/2026-01-01_tokens.json"),
        listing("prompts/"),
        invoke(f"{NAME}-midi-save"),
        invoke(f"{NAME}-generate-tokens"),
        start(),
        ("logs", "put_log_events", {"logGroupName": f"/aws/lambda/{NAME}-midi-save"}),
    ],
    "midi-save": [
        *EVERYONES,
        get("prompts/a.mid", version="1"),
        get("runs/x/tokens-1.json", version="1"),
        delete("site/index.html"),
        put("runs/x/tokens-1.json"),
        put("prompts/a.mid"),
        put("index.html"),
        listing("index"),
        invoke(f"{NAME}-generate-tokens"),
        start(),
        ("logs", "put_log_events", {"logGroupName": f"/aws/lambda/{NAME}-generate-tokens"}),
    ],
    "statemachine": [
        *EVERYONES,
        invoke("another"),
        invoke(f"{NAME}-another"),
        start(f"{MACHINE}-2"),
        get(PIECE),
        put(PIECE),
        put("trial/x"),
        put("runs/x/tokens-1.json"),
        get("runs/x/tokens-1.json"),
        listing("runs/"),
        ("lambda", "update_function_configuration", {"FunctionName": f"{NAME}-midi-save"}),
        ("stepfunctions", "delete_state_machine", {"stateMachineArn": MACHINE}),
        ("stepfunctions", "describe_execution", {"executionArn": f"{MACHINE}-2:x"}),
        ("stepfunctions", "redrive_execution", {"executionArn": f"{MACHINE}-2:x"}),
    ],
    "schedule": [
        *EVERYONES,
        start(f"{MACHINE}-2"),
        invoke(f"{NAME}-generate-tokens"),
        get(PIECE),
        put("runs/x"),
        ("sqs", "send_message", {"QueueUrl": "another", "MessageBody": "x"}),
        ("sqs", "purge_queue", {"QueueUrl": QUEUE}),
        ("scheduler", "delete_schedule", {"Name": f"{NAME}-daily"}),
        ("stepfunctions", "describe_state_machine", {"stateMachineArn": MACHINE}),
    ],
}
ALLOWED: dict[str, list[Ask]] = {
    "generate-tokens": [
        put("runs/x/tokens-1.json"),
        get("runs/x/tokens-1.json"),
        listing("neural-net/"),
    ],
    "midi-save": [
        *(put(PIECE), put("trial/x"), put("site/x"), listing("prompts/"), listing("site/")),
        *(get(PIECE), get("site/x")),
    ],
    "statemachine": [
        invoke(f"{NAME}-generate-tokens"),
        invoke(f"{NAME}-midi-save"),
    ],
    "schedule": [("sqs", "send_message", {"QueueUrl": QUEUE, "MessageBody": "x"})],
}
PAIRS = [(role, ask) for role, asks in DENIED.items() for ask in asks]


@pytest.fixture(scope="module")
def client_of(deployed: Deployed) -> Callable[[str, str], Any]:
    """A client of a service with the credentials of a role."""
    aws, _ = deployed
    made: dict[tuple[str, str], Any] = {}

    def client(role: str, service: str) -> Any:
        if (role, service) not in made:
            arn = f"arn:aws:iam::{ACCOUNT}:role/{NAME}-us-east-1-{role}"
            source = f"arn:aws:test:us-east-1:{ACCOUNT}:source"
            credentials = aws.assume(arn, SERVICES[role], source)
            made[role, service] = aws.client(service, credentials)
        return made[role, service]

    return client


def asked(client: Any, operation: str, keywords: Keywords, endpoint: str) -> None:
    if "QueueUrl" in keywords:
        keywords = {**keywords, "QueueUrl": f"{endpoint}/{ACCOUNT}/{keywords['QueueUrl']}"}
    if operation == "put_log_events":
        event = {"timestamp": 0, "message": "x"}
        keywords = {**keywords, "logStreamName": "x", "logEvents": [event]}
    getattr(client, operation)(**keywords)


@pytest.mark.parametrize(
    ("role", "ask"),
    PAIRS,
    ids=[f"{role} {s}:{o} {' '.join(map(str, k.values()))[:60]}" for role, (s, o, k) in PAIRS],
)
def test_a_neighbouring_action_is_denied(
    deployed: Deployed, client_of: Callable[[str, str], Any], role: str, ask: Ask
) -> None:
    service, operation, keywords = ask
    with pytest.raises(ClientError) as refusal:
        asked(client_of(role, service), operation, keywords, deployed[0].endpoint)
    assert refusal.value.response["Error"]["Code"] in {"AccessDenied", "AccessDeniedException"}


@pytest.mark.parametrize("role", ALLOWED)
def test_what_a_role_is_for_it_may_do(
    deployed: Deployed, client_of: Callable[[str, str], Any], role: str
) -> None:
    for service, operation, keywords in ALLOWED[role]:
        asked(client_of(role, service), operation, keywords, deployed[0].endpoint)
    for key in (PIECE, "trial/x", "site/x", "runs/x/tokens-1.json"):
        deployed[0].client("s3").delete_object(Bucket=MUSIC, Key=key)


@pytest.mark.parametrize("role", SERVICES)
def test_no_other_service_can_take_a_role(deployed: Deployed, role: str) -> None:
    from local_aws.iam import AssumeRoleError

    arn = f"arn:aws:iam::{ACCOUNT}:role/{NAME}-us-east-1-{role}"
    for service in {*SERVICES.values(), "ec2.amazonaws.com"} - {SERVICES[role]}:
        with pytest.raises(AssumeRoleError):
            deployed[0].assume(arn, service, f"arn:aws:test:us-east-1:{ACCOUNT}:source")
