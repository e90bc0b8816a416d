"""An installation's life: tried without changing anything, deployed, retrained, rolled back,
pruned, deployed twice at once, refused, destroyed. Judged by the whole account's state.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from contract.bundle import model_id_of, read_manifest, write_manifest
from tests.deploy.account import difference, lasting, snapshot, what_is_left
from tests.deploy.aws_cli import FastAws, Refusal
from tests.deploy.deploy_tree import ROOT, RUNTIME, Tree
from tests.deploy.kill_at_every_step import Site, site

FUNCTIONS = ("midi-archive-generate-tokens", "midi-archive-midi-save")
ARTIFACTS = "midi-archive-artifacts-123456789012-us-east-1"
SECOND_MUSIC = "midi-archive-2-music-123456789012-us-east-1"
POLICY = ROOT / "deploy" / "deployer-policy.json"


@dataclass(frozen=True)
class Account:
    """An account, and the tree to deploy to it."""

    aws: Any
    tree: Tree
    fast: FastAws

    def deploy(self, *options: str, answer: str = "", **env: str) -> list[str]:
        """The lines that deploy.sh prints; it must succeed."""
        done = self.run(*options, answer=answer, **env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()

    def run(self, *options: str, answer: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        runtime = () if {"--destroy", "--rollback"} & set(options) else ("--runtime", RUNTIME)
        smoke = () if "--destroy" in options else ("--no-smoke",)
        return subprocess.run(
            [str(self.tree.root / "deploy.sh"), *runtime, *smoke, *options],
            env={**self.tree.env, **env},
            capture_output=True,
            text=True,
            input=answer,
            timeout=300,
            check=False,
        )

    def state(self) -> Any:
        return snapshot(self.aws.client)

    def models(self) -> list[str]:
        """The model version that each function uses."""
        functions = self.aws.client("lambda")
        layers = [
            functions.get_function_configuration(FunctionName=name)["Layers"] for name in FUNCTIONS
        ]
        return [
            each["Arn"].rpartition(":")[2]
            for two in layers
            for each in two
            if "-model:" in each["Arn"]
        ]

    def versions(self) -> list[int]:
        listed = self.aws.client("lambda").list_layer_versions(LayerName="midi-archive-model")
        return sorted(version["Version"] for version in listed["LayerVersions"])

    def publish(self, *descriptions: str) -> None:
        """Model versions that somebody else made."""
        for description in descriptions:
            self.aws.client("lambda").publish_layer_version(
                LayerName="midi-archive-model",
                Description=description,
                Content={"ZipFile": b"PK\5\6" + bytes(18)},
            )

    def retrain(self, words: str) -> Path:
        """A bundle that differs from all with other words."""
        bundle = self.tree.root.parent / f"bundle-{words}"
        shutil.copytree(self.tree.root / "layers" / "model", bundle)
        (bundle / "model.onnx").write_text(words)
        write_manifest(bundle, read_manifest(bundle) | {"model_id": model_id_of(bundle)})
        return bundle


@pytest.fixture(scope="module")
def ground(
    tmp_path_factory: pytest.TempPathFactory, bundle_dir_without_model: Path
) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("life"), bundle_dir_without_model) as at:
        yield at


@contextmanager
def account_on(ground: Site) -> Iterator[Account]:
    with ground.account() as (aws, tree):
        yield Account(aws, tree, ground.fast)


@pytest.fixture
def account(ground: Site, request: pytest.FixtureRequest) -> Iterator[Account]:
    """An empty account. Bundles of an earlier test are gone."""
    for old in ground.tree.root.parent.glob("bundle-*"):
        shutil.rmtree(old)
    with account_on(ground) as empty:
        yield empty


def restricted(account: Account) -> Account:
    """The same for somebody who may do what deploy/deployer-policy.json says, and nothing else."""
    iam = account.aws.client("iam")
    iam.create_user(UserName="deployer")
    iam.put_user_policy(UserName="deployer", PolicyName="deploy", PolicyDocument=POLICY.read_text())
    key = iam.create_access_key(UserName="deployer")["AccessKey"]
    env = {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        "AWS_SESSION_TOKEN": "",
    }
    return replace(account, tree=replace(account.tree, env={**account.tree.env, **env}))


def test_a_dry_run_tells_what_a_run_then_does_and_changes_nothing(account: Account) -> None:
    empty = account.state()
    given = ("--schedule", "rate(12 hours)", "--memory", "3008", "--alarm-email", "me@example.org")
    told = account.deploy("--dry-run", *given)
    assert difference(empty, account.state()) == []
    assert account.fast.writes() == []
    made = account.deploy(*given)
    assert told[-1] == f"a dry run, nothing was changed; {made[-1]}"
    versions = {line for line in told if "version new" in line}
    changes = {line for line in told if line.startswith(("bucket", "role", "function", "alarm"))}
    assert len(versions) == 3 and len(changes) > 20
    assert changes <= set(made)
    deployed = account.state()
    options = (
        "--bundle",
        str(account.retrain("new")),
        "--memory",
        "2048",
        "--timezone",
        "Asia/Tokyo",
    )
    told = account.deploy("--dry-run", *options)
    assert told[-1].endswith("changes: 4"), told
    assert difference(deployed, account.state()) == []


def test_retraining_rolling_back_pruning_and_destroying_with_the_deployer_policy(
    account: Account,
) -> None:
    account = restricted(account)
    empty = account.state()
    account.deploy()
    first = account.state()
    assert account.deploy()[-1] == "changes: 0"
    assert difference(first, account.state()) == []

    account.deploy("--bundle", str(account.retrain("second")))
    changed = difference(first, account.state())
    beginnings = ("layer / midi-archive-model", *(f"function / {name}" for name in FUNCTIONS))
    assert [
        line for line in changed if not line.startswith((*beginnings, f"bucket / {ARTIFACTS}"))
    ] == []
    assert any("Layers" in line for line in changed)
    assert account.models() == ["2", "2"]

    assert account.deploy("--rollback")[-1] == "changes: 2"
    assert account.models() == ["1", "1"]
    changed = difference(lasting(first), lasting(account.state()))
    assert [line for line in changed if line.startswith("function")] == []
    done = account.run("--rollback")
    assert done.returncode == 1 and "version 1 is the oldest" in done.stderr

    account.publish("third", "fourth")
    account.deploy("--bundle", str(account.retrain("fifth")))
    assert account.versions() == [3, 4, 5]
    assert account.models() == ["5", "5"]
    # Half rolled back, it is completed, not taken a version further.
    functions = account.aws.client("lambda")
    layers = functions.get_function_configuration(FunctionName=FUNCTIONS[0])["Layers"]
    older = [layer["Arn"].replace("-model:5", "-model:4") for layer in layers]
    functions.update_function_configuration(FunctionName=FUNCTIONS[0], Layers=older)
    assert account.deploy("--rollback")[-1] == "changes: 1"
    assert account.models() == ["4", "4"]
    # One that was replaced is wanted again: it becomes the newest, which a rollback can leave.
    account.deploy("--bundle", str(account.tree.root.parent / "bundle-second"))
    assert account.models() == ["6", "6"]
    done = account.run("--name", "another")
    assert done.returncode == 1 and "deployer-policy.json" in done.stderr
    account.deploy("--destroy", "--delete-music", answer="midi-archive\n")
    assert difference(empty, account.state()) == []


def test_one_installation_is_destroyed_and_its_neighbour_stays(account: Account) -> None:
    empty = account.state()
    account.deploy()
    alone = account.state()
    second = ("--name", "midi-archive-2")
    account.deploy(*second)
    s3 = account.aws.client("s3")
    for body in (b"one", b"two"):
        s3.put_object(Bucket=SECOND_MUSIC, Key="neural-net/x.mid", Body=body)
    both = account.state()
    done = account.run("--destroy", *second, answer="yes\n")
    assert done.returncode == 1 and "nothing was deleted" in done.stderr
    assert "account 123456789012" in done.stdout and "us-east-1" in done.stdout
    assert account.deploy("--destroy", "--dry-run", *second)[-1].startswith("a dry run")
    assert difference(both, account.state()) == []

    account.deploy("--destroy", *second, answer="midi-archive-2\n")
    left = difference(alone, account.state())
    assert {line.split(" / ")[1].split(":")[0] for line in left} == {SECOND_MUSIC}
    account.deploy("--destroy", "--delete-music", *second, answer="midi-archive-2\n")
    assert difference(alone, account.state()) == []
    account.deploy("--destroy", "--delete-music", answer="midi-archive\n")
    assert what_is_left(account.aws.client, "midi-archive") == []
    assert difference(empty, account.state()) == []
    assert account.deploy("--destroy")[-2:] == ["there is nothing to delete", "changes: 0"]


def test_two_at_once_leave_one_bundle_in_both_functions(account: Account) -> None:
    account.deploy()
    command = [str(account.tree.root / "deploy.sh"), "--runtime", RUNTIME, "--no-smoke", "--bundle"]
    running = [
        subprocess.Popen(
            [*command, str(account.retrain(words))],
            env=dict(account.tree.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for words in ("mine", "yours")
    ]
    said = [process.communicate(timeout=200)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert sum("waiting for another deploy.sh" in words for words in said) == 1
    assert account.models() == ["3", "3"]


def test_the_lock_of_one_that_died_is_taken_over(account: Account) -> None:
    account.deploy()
    s3 = account.aws.client("s3")
    dead = subprocess.Popen(["true"])
    dead.wait()
    here = {"host": os.uname().nodename, "pid": dead.pid, "since": int(time.time())}
    old = {"host": "elsewhere", "pid": 1, "since": int(time.time()) - 3600}
    for lock in (json.dumps(here), json.dumps(old), "{not a lock", json.dumps({"since": "a[0]"})):
        s3.put_object(Bucket=ARTIFACTS, Key="deploy.lock", Body=lock.encode())
        assert account.deploy()[-1] == "changes: 0"
        assert s3.list_objects_v2(Bucket=ARTIFACTS, Prefix="deploy")["KeyCount"] == 0


def test_the_lock_of_one_at_work_is_waited_for(account: Account) -> None:
    s3 = account.aws.client("s3")
    s3.create_bucket(Bucket=ARTIFACTS)
    lock = {"host": "elsewhere", "pid": 1, "since": int(time.time())}
    s3.put_object(Bucket=ARTIFACTS, Key="deploy.lock", Body=json.dumps(lock).encode())
    command = [str(account.tree.root / "deploy.sh"), "--runtime", RUNTIME, "--no-smoke"]
    with subprocess.Popen(
        command, env=dict(account.tree.env), stdout=subprocess.PIPE, text=True
    ) as waiting:
        assert waiting.stdout is not None
        first_line = waiting.stdout.readline()
        assert "waiting for another deploy.sh, process 1 on elsewhere" in first_line
        assert {write.command for write in account.fast.writes()} == {"s3api put-object"}
        s3.delete_object(Bucket=ARTIFACTS, Key="deploy.lock")
        assert waiting.stdout.read().splitlines()[-1].startswith("changes: ")
    assert waiting.returncode == 0


def test_what_goes_wrong_is_said_with_the_way_out(account: Account) -> None:
    for pattern, said, way_out in (
        ("sts", "An error occurred (ExpiredToken): The token is expired", "sign in again"),
        ("sts", "Unable to locate credentials", "aws configure"),
        ("put-object", "Unknown options: --if-none-match", "too old"),
        ("create-role", "An error occurred (AccessDenied)", "deploy/deployer-policy.json"),
        ("create-function", "An error occurred (ExpiredTokenException)", "sign in again"),
        ("get-dashboard", "[Errno 28] No space left on device", "the disk is full"),
        ("describe-alarms", 'Could not connect to the endpoint URL: "x"', "the network"),
    ):
        account.fast.watch(refusals=[Refusal(pattern, said)])
        done = account.run()
        assert done.returncode == 1, pattern
        assert said in done.stderr
        assert way_out in done.stderr.splitlines()[-1]
        assert "changes:" not in done.stdout
    account.fast.watch()
    assert account.deploy()[-1] != "changes: 0"


def test_no_room_for_temporary_files_is_said(account: Account) -> None:
    done = account.run(TMPDIR="/nonexistent")
    assert done.returncode == 1 and "no room for temporary files" in done.stderr
