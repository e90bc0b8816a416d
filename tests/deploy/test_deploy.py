"""deploy.sh and the local AWS: what it makes, and that a second run changes nothing.

The scripts are the real ones, in a copy of the tree (deploy_tree.py); what is refused beforehand is
in test_deploy_refusals.py.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.awslambda.responses import LambdaResponse

from contract.bundle import model_id_of, read_manifest, write_manifest
from local_aws.runtime import ensure_runtime
from local_aws.server import LocalAws
from tests.deploy.aws_cli import FastAws
from tests.deploy.deploy_tree import ROOT, RUNTIME, Tree, client_env, make_tree

ACCOUNT = "123456789012"
MUSIC = f"midi-archive-music-{ACCOUNT}-us-east-1"


@pytest.fixture(scope="module")
def aws() -> Iterator[LocalAws]:
    with LocalAws(ensure_runtime(ROOT / ".cache")) as running:
        yield running


@pytest.fixture(scope="module")
def fast(aws: LocalAws) -> Iterator[FastAws]:
    """To deploy behind an endpoint that seems to have TLS, it puts the real one in its place."""
    with FastAws({"https://aws.test": aws.endpoint}) as running:
        yield running


@pytest.fixture(scope="module")
def tree(
    aws: LocalAws,
    fast: FastAws,
    bundle_dir_without_model: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Tree:
    env = {**client_env(), **aws.env, "AWS_ENDPOINT_URL": "https://aws.test"}
    env["PATH"] = fast.path(env["PATH"])
    return make_tree(tmp_path_factory.mktemp("deploy") / "tree", bundle_dir_without_model, env)


@pytest.fixture(scope="module")
def first(tree: Tree) -> subprocess.CompletedProcess[str]:
    """The first deployment; the tests of this module share it."""
    done = tree.deploy("--no-smoke", "--outputs", str(tree.root / "outputs.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def state_of(aws: LocalAws) -> dict[str, Any]:
    """What is deployed, as far as a second run could change it."""
    functions, s3 = aws.client("lambda"), aws.client("s3")
    state: dict[str, Any] = {
        name: functions.get_function_configuration(FunctionName=f"midi-archive-{name}")
        for name in ("generate-tokens", "midi-save")
    }
    for configuration in state.values():
        configuration.pop("ResponseMetadata")
    for layer in ("generate-deps", "save-deps", "model"):
        versions = functions.list_layer_versions(LayerName=f"midi-archive-{layer}")
        state[layer] = [version["Version"] for version in versions["LayerVersions"]]
    machine = machine_of(aws)
    state["machine"] = {name: machine[name] for name in ("definition", "roleArn")}
    schedule = aws.client("scheduler").get_schedule(Name="midi-archive-daily")
    state["schedule"] = {name: schedule[name] for name in ("Target", "State", "CreationDate")}
    state["music"] = s3.get_bucket_lifecycle_configuration(Bucket=MUSIC)["Rules"]
    return state


def machine_of(aws: LocalAws) -> dict[str, Any]:
    arn = f"arn:aws:states:us-east-1:{ACCOUNT}:stateMachine:midi-archive"
    description: dict[str, Any] = aws.client("stepfunctions").describe_state_machine(
        stateMachineArn=arn
    )
    return description


def test_the_last_line_counts_the_changes(
    first: subprocess.CompletedProcess[str],
) -> None:
    changed = [
        line
        for line in first.stdout.splitlines()
        if line.split(" ")[0]
        in {"bucket", "role", "log", "queue", "layer", "schedule", "topic", "alarm", "dashboard"}
        or line.startswith(("state machine midi-archive:", "function midi-archive-"))
    ]
    changed = [line for line in changed if ": " in line]
    assert first.stdout.splitlines()[-1] == f"changes: {len(changed)}"
    assert len(changed) > 20


def test_outputs_name_what_was_deployed(
    first: subprocess.CompletedProcess[str], tree: Tree, aws: LocalAws
) -> None:
    outputs = json.loads((tree.root / "outputs.json").read_text())
    assert outputs["account"] == ACCOUNT
    assert outputs["music_bucket"] == MUSIC
    aws.client("s3").head_bucket(Bucket=outputs["music_bucket"])
    machine = machine_of(aws)
    assert machine["stateMachineArn"] == outputs["state_machine_arn"]
    assert "${" not in machine["definition"]
    for function in outputs["functions"]:
        assert f":function:{function}" in machine["definition"]


def test_buckets_are_private_encrypted_tidied_and_tls_only(
    first: subprocess.CompletedProcess[str], aws: LocalAws
) -> None:
    s3 = aws.client("s3")
    for bucket in (MUSIC, MUSIC.replace("music", "artifacts")):
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
    assert by_id["runs"]["Expiration"]["Days"] == 7
    assert by_id["delete-markers"]["Expiration"] == {"ExpiredObjectDeleteMarker": True}
    assert by_id["old-versions"]["NoncurrentVersionExpiration"]["NoncurrentDays"] == 30


def test_functions_have_their_memory_time_and_layers(
    first: subprocess.CompletedProcess[str], aws: LocalAws
) -> None:
    functions = aws.client("lambda")
    for name, folder, memory_mb, timeout_s, layers in (
        ("generate-tokens", "generate_tokens", 1769, 120, ["generate-deps", "model"]),
        ("midi-save", "midi_save", 1769, 60, ["save-deps", "model"]),
    ):
        have = functions.get_function_configuration(FunctionName=f"midi-archive-{name}")
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
    first: subprocess.CompletedProcess[str], aws: LocalAws
) -> None:
    schedule = aws.client("scheduler").get_schedule(Name="midi-archive-daily")
    assert (schedule["State"], schedule["ScheduleExpressionTimezone"]) == (
        "ENABLED",
        "UTC",
    )
    target = schedule["Target"]
    assert target["RetryPolicy"] == {
        "MaximumEventAgeInSeconds": 3600,
        "MaximumRetryAttempts": 3,
    }
    assert target["DeadLetterConfig"]["Arn"].endswith(":midi-archive-dead-letters")
    assert json.loads(target["Input"]) == {"date": "<aws.scheduler.scheduled-time>"}


def test_no_role_may_do_anything_to_everything(
    first: subprocess.CompletedProcess[str], aws: LocalAws
) -> None:
    iam = aws.client("iam")
    for role in ("generate-tokens", "midi-save", "statemachine", "schedule"):
        policy = iam.get_role_policy(RoleName=f"midi-archive-{role}", PolicyName="least-privilege")[
            "PolicyDocument"
        ]
        for statement in policy["Statement"]:
            assert "*" not in json.dumps(statement["Action"])
            if statement["Sid"] == "Trace":  # X-Ray has no resources to name
                assert {action.split(":")[0] for action in statement["Action"]} == {"xray"}
                continue
            resources = statement["Resource"]
            for resource in [resources] if isinstance(resources, str) else resources:
                assert "midi-archive" in resource or statement["Sid"] == "HearOfTheEnd"


def list_layer_versions_by_one(self: LambdaResponse) -> str:
    """Lambda gives 50 layer versions a page, moto all: this gives one."""
    versions = self.backend.list_layer_versions(self.path.rsplit("/", 2)[-2])
    newest_first = [v.get_layer_version() for v in reversed([*versions])]
    start = int(self._get_param("Marker") or 0)
    page = {"LayerVersions": newest_first[start : start + 1]}
    more = {"NextMarker": str(start + 1)} if start + 1 < len(newest_first) else {}
    return json.dumps({**page, **more})


def test_a_second_run_changes_nothing(
    first: subprocess.CompletedProcess[str],
    tree: Tree,
    aws: LocalAws,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    archive = tree.root / f"build/midi_save-{RUNTIME}-x86_64.zip"
    aws.client("lambda").publish_layer_version(
        LayerName="midi-archive-save-deps",
        Description="from another branch",
        Content={"ZipFile": archive.read_bytes()},
    )
    before = state_of(aws)
    with monkeypatch.context() as patch:
        patch.setattr(LambdaResponse, "list_layer_versions", list_layer_versions_by_one)
        second = tree.deploy()
    assert second.returncode == 0, second.stderr
    assert second.stdout.splitlines()[-1] == "changes: 0"
    assert state_of(aws) == before


def test_a_changed_bundle_and_what_was_changed_by_hand_alone_are_written(
    first: subprocess.CompletedProcess[str], tree: Tree, aws: LocalAws, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(tree.root / "layers" / "model", bundle)
    (bundle / "model.onnx").write_bytes(b"another graph")
    write_manifest(bundle, read_manifest(bundle) | {"model_id": model_id_of(bundle)})
    aws.client("s3").put_bucket_versioning(
        Bucket=MUSIC, VersioningConfiguration={"Status": "Suspended"}
    )
    aws.client("lambda").update_function_configuration(
        FunctionName="midi-archive-midi-save", Timeout=3
    )
    everything = {"Effect": "Allow", "Action": "states:*", "Resource": "*"}
    aws.client("iam").put_role_policy(
        RoleName="midi-archive-schedule",
        PolicyName="least-privilege",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [everything]}),
    )
    done = tree.deploy("--no-smoke", "--bundle", str(bundle))
    assert done.stdout.splitlines()[-1] == "changes: 5", done.stdout + done.stderr
    for line in (
        f"bucket {MUSIC}: versioned",
        "role midi-archive-schedule: policy",
        "layer midi-archive-model: version",
        "function midi-archive-generate-tokens: configuration",
        "function midi-archive-midi-save: configuration",
    ):
        assert f"\n{line}" in done.stdout
    save = aws.client("lambda").get_function_configuration(FunctionName="midi-archive-midi-save")
    assert save["Timeout"] == 60


def test_a_refusal_by_aws_ends_the_deployment(tree: Tree, aws: LocalAws) -> None:
    user = aws.client("iam")
    user.create_user(UserName="nobody")
    key = user.create_access_key(UserName="nobody")["AccessKey"]
    done = tree.deploy(
        AWS_ACCESS_KEY_ID=key["AccessKeyId"],
        AWS_SECRET_ACCESS_KEY=key["SecretAccessKey"],
        AWS_SESSION_TOKEN="",
    )
    assert done.returncode != 0
    assert "AccessDenied" in done.stderr or "not authorized" in done.stderr or "403" in done.stderr
    assert "changes:" not in done.stdout
