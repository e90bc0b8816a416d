"""deploy.sh and the local AWS: what it makes, and that a second run changes nothing.

What is refused beforehand is in test_deploy_refusals.py.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.awslambda.responses import LambdaResponse

from local_aws.server import LocalAws
from tests.deploy.account import difference, lasting, recordable
from tests.deploy.deployer import (
    ACCOUNT,
    ARTIFACTS,
    FUNCTIONS,
    MUSIC,
    NAME,
    REGION,
    RUNTIME,
    Account,
    Done,
    account,
    make_tree,
)


@pytest.fixture(scope="module")
def at(
    tmp_path_factory: pytest.TempPathFactory, bundle_dir_without_model: Path
) -> Iterator[Account]:
    root = make_tree(tmp_path_factory.mktemp("deploy") / "tree", bundle_dir_without_model)
    with account(root) as empty:
        yield empty


@pytest.fixture(scope="module")
def aws(at: Account) -> LocalAws:
    return at.aws


@pytest.fixture(scope="module")
def first(at: Account) -> Done:
    """The first deployment; the tests of this module share it."""
    done = at.run("--outputs", str(at.root / "outputs.json"), "--alarm-email", "me@example.org")
    assert done.code == 0, done.out + done.err
    return done


def machine_of(aws: LocalAws) -> dict[str, Any]:
    arn = f"arn:aws:states:us-east-1:{ACCOUNT}:stateMachine:midi-archive"
    description: dict[str, Any] = aws.client("stepfunctions").describe_state_machine(
        stateMachineArn=arn
    )
    return description


def test_the_last_line_counts_the_changes(
    first: Done,
) -> None:
    changed = [
        line
        for line in first.lines
        if line.split(" ")[0]
        in {"bucket", "role", "log", "queue", "layer", "schedule", "topic", "alarm", "dashboard"}
        or line.startswith(("state machine midi-archive:", "function midi-archive-"))
    ]
    changed = [line for line in changed if ": " in line]
    assert first.lines[-1] == f"changes: {len(changed)}"
    assert len(changed) > 20


def test_outputs_name_what_was_deployed(first: Done, at: Account, aws: LocalAws) -> None:
    outputs = json.loads((at.root / "outputs.json").read_text())
    assert outputs["account"] == ACCOUNT
    assert outputs["music_bucket"] == MUSIC
    aws.client("s3").head_bucket(Bucket=outputs["music_bucket"])
    machine = machine_of(aws)
    assert machine["stateMachineArn"] == outputs["state_machine_arn"]
    assert "${" not in machine["definition"]
    for function in outputs["functions"]:
        assert f":function:{function}" in machine["definition"]


def test_buckets_are_private_encrypted_tidied_and_tls_only(first: Done, aws: LocalAws) -> None:
    s3 = aws.client("s3")
    for bucket in (MUSIC, ARTIFACTS):
        block = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        assert set(block.values()) == {True}
        rules = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
        assert rules["Rules"][0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
        policy = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"][0]
        assert policy["Effect"] == "Deny"
        assert policy["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert s3.get_bucket_versioning(Bucket=MUSIC)["Status"] == "Enabled"
    lifecycle = s3.get_bucket_lifecycle_configuration(Bucket=MUSIC)["Rules"]
    by_id = {rule["ID"]: rule for rule in lifecycle}
    assert by_id["runs"]["Filter"]["Prefix"] == "runs/"
    assert by_id["runs"]["Expiration"]["Days"] == 15
    assert by_id["delete-markers"]["Expiration"] == {"ExpiredObjectDeleteMarker": True}
    assert by_id["old-site"]["NoncurrentVersionExpiration"]["NoncurrentDays"] == 7
    # A record names a version of its day's files: of these no version is ever deleted.
    days = "neural-net/2026-11-27_sequence.mid"
    expiring = [r["ID"] for r in lifecycle if "NoncurrentVersionExpiration" in r]
    assert not [i for i in expiring if days.startswith(by_id[i]["Filter"]["Prefix"])]


def test_functions_have_their_memory_time_and_layers(first: Done, aws: LocalAws) -> None:
    functions = aws.client("lambda")
    for name, folder, memory_mb, timeout_s, layers in (
        ("generate-tokens", "generate_tokens", 1769, 120, ["generate-deps", "model"]),
        ("midi-save", "midi_save", 1769, 600, ["save-deps", "model", "sounds"]),
    ):
        have = functions.get_function_configuration(FunctionName=f"{NAME}-{name}")
        assert (have["MemorySize"], have["Timeout"]) == (memory_mb, timeout_s)
        assert (have["Runtime"], have["Handler"]) == (
            RUNTIME,
            f"{folder}.handler.handler",
        )
        arns = [layer["Arn"] for layer in have["Layers"]]
        assert [arn.split(":")[-2] for arn in arns] == [f"midi-archive-{layer}" for layer in layers]
        assert have["Environment"]["Variables"] == {
            "MODEL_DIR": "/opt/model",
            "MUSIC_BUCKET": MUSIC,
            "METRICS_NAMESPACE": "midi-archive",
        }
        assert have["TracingConfig"] == {"Mode": "Active"}


def test_the_schedule_has_retries_a_time_zone_and_a_dead_letter_queue(
    first: Done, aws: LocalAws
) -> None:
    schedule = aws.client("scheduler").get_schedule(Name="midi-archive-daily")
    assert (schedule["State"], schedule["ScheduleExpressionTimezone"]) == (
        "ENABLED",
        "UTC",
    )
    target = schedule["Target"]
    assert target["RetryPolicy"] == {
        "MaximumEventAgeInSeconds": 43200,
        "MaximumRetryAttempts": 185,
    }
    assert target["DeadLetterConfig"]["Arn"].endswith(":midi-archive-dead-letters")
    assert json.loads(target["Input"]) == {"date": "<aws.scheduler.scheduled-time>"}


def test_no_role_may_do_anything_to_everything(first: Done, aws: LocalAws) -> None:
    iam = aws.client("iam")
    for role in ("generate-tokens", "midi-save", "statemachine", "schedule"):
        named = {"RoleName": f"{NAME}-{REGION}-{role}", "PolicyName": "least-privilege"}
        policy = iam.get_role_policy(**named)["PolicyDocument"]
        for statement in policy["Statement"]:
            assert "*" not in json.dumps(statement["Action"])
            if statement["Sid"] == "Trace":  # X-Ray has no resources to name
                assert {action.split(":")[0] for action in statement["Action"]} == {"xray"}
                continue
            resources = statement["Resource"]
            for resource in [resources] if isinstance(resources, str) else resources:
                assert "midi-archive" in resource or statement["Sid"] == "HearOfTheEnd"


def one_thing_a_line(account: dict[str, dict[str, Any]]) -> str:
    kinds = []
    for kind, things in sorted(account.items()):
        lines = [f"{json.dumps(n)}: {json.dumps(t, sort_keys=True)}" for n, t in things.items()]
        kinds.append(f"{json.dumps(kind)}: {{\n" + ",\n".join(sorted(lines)) + "\n}")
    return "{\n" + ",\n".join(kinds) + "\n}\n"


def test_it_makes_exactly_what_is_recorded(first: Done, at: Account) -> None:
    """What is deployed changes on purpose only: RECORD_ACCOUNT=1 ./test.sh deploy -k recorded
    writes the record anew, and git shows the difference.
    """
    record = Path(__file__).parent / "recorded_account.json"
    found = recordable(lasting(at.state()))
    if os.environ.get("RECORD_ACCOUNT"):
        record.write_text(one_thing_a_line(found))
    assert difference(json.loads(record.read_text()), found) == []


def list_layer_versions_by_one(self: LambdaResponse) -> str:
    """Lambda gives 50 layer versions a page, moto all: this gives one."""
    versions = self.backend.list_layer_versions(self.path.rsplit("/", 2)[-2])
    newest_first = [v.get_layer_version() for v in reversed([*versions])]
    start = int(self._get_param("Marker") or 0)
    page = {"LayerVersions": newest_first[start : start + 1]}
    more = {"NextMarker": str(start + 1)} if start + 1 < len(newest_first) else {}
    return json.dumps({**page, **more})


def test_a_second_run_changes_nothing(
    first: Done, at: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = at.root / f"build/midi_save-{RUNTIME}-x86_64.zip"
    at.aws.client("lambda").publish_layer_version(
        LayerName="midi-archive-save-deps",
        Description="from another branch",
        Content={"ZipFile": archive.read_bytes()},
    )
    before = at.state()
    with monkeypatch.context() as patch:
        patch.setattr(LambdaResponse, "list_layer_versions", list_layer_versions_by_one)
        second = at.run(smoke=True)
    assert second.code == 0, second.err
    assert "nothing changed, so no trial piece" in second.lines
    assert second.last == "changes: 0"
    assert difference(before, at.state()) == []


def test_a_changed_bundle_and_what_was_changed_by_hand_alone_are_written(
    first: Done, at: Account
) -> None:
    aws = at.aws
    aws.client("s3").put_bucket_versioning(
        Bucket=MUSIC, VersioningConfiguration={"Status": "Suspended"}
    )
    aws.client("lambda").update_function_configuration(FunctionName=FUNCTIONS[1], Timeout=3)
    everything = {"Effect": "Allow", "Action": "states:*", "Resource": "*"}
    aws.client("iam").put_role_policy(
        RoleName=f"{NAME}-{REGION}-schedule",
        PolicyName="least-privilege",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [everything]}),
    )
    lines = at.deploy("--bundle", at.retrain("another"))
    assert lines[-1] == "changes: 5", lines
    for line in (
        f"bucket {MUSIC}: versioned",
        f"role {NAME}-{REGION}-schedule: policy",
        f"layer {NAME}-model: version",
        *(f"function {name}: configuration" for name in FUNCTIONS),
    ):
        assert any(each.startswith(line) for each in lines), line
    assert at.configuration(FUNCTIONS[1])["Timeout"] == 600


def test_a_refusal_by_aws_ends_the_deployment_and_names_the_permission(at: Account) -> None:
    user = at.aws.client("iam")
    user.create_user(UserName="nobody")
    key = user.create_access_key(UserName="nobody")["AccessKey"]
    keys = {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        "AWS_SESSION_TOKEN": "",
    }
    done = at.run(env=keys)
    assert done.code == 1
    assert "AccessDenied" in done.err
    assert "these credentials may not use it" in done.err
    assert "changes:" not in done.out
