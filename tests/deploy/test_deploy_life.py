"""An installation's life: tried without changing anything, deployed, retrained, rolled back,
pruned, deployed twice at once, refused, destroyed. Judged by the whole account's state.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

from tests.deploy.account import difference, lasting, what_is_left
from tests.deploy.deployer import (
    ARTIFACTS,
    FUNCTIONS,
    LOCK,
    NAME,
    ROOT,
    RUNTIME,
    Account,
    Hooks,
    times,
)

SECOND_MUSIC = "midi-archive-2-music-123456789012-us-east-1"
BOUNDARY = "arn:aws:iam::123456789012:policy/midi-archive-boundary"


def deployer(at: Account) -> dict[str, str]:
    """Keys of somebody who may do what deploy/deployer-policy.json says, and nothing else."""
    iam = at.aws.client("iam")
    document = (ROOT / "deploy" / "boundary.json").read_text()
    iam.create_policy(PolicyName="midi-archive-boundary", PolicyDocument=document)
    iam.create_user(UserName="deployer")
    document = (ROOT / "deploy" / "deployer-policy.json").read_text()
    policy = iam.create_policy(PolicyName="midi-archive-deployer", PolicyDocument=document)
    iam.attach_user_policy(UserName="deployer", PolicyArn=policy["Policy"]["Arn"])
    key = iam.create_access_key(UserName="deployer")["AccessKey"]
    return {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        "AWS_SESSION_TOKEN": "",
    }


def versions(at: Account) -> list[int]:
    listed = at.aws.client("lambda").list_layer_versions(LayerName=f"{NAME}-model")
    return sorted(version["Version"] for version in listed["LayerVersions"])


def test_a_dry_run_tells_what_a_run_then_does_and_changes_nothing(empty: Account) -> None:
    before = empty.state()
    given = ("--schedule", "rate(12 hours)", "--memory", "3008", "--alarm-email", "me@example.org")
    hooks = Hooks()
    told = empty.deploy("--dry-run", *given, hooks=hooks)
    assert difference(before, empty.state()) == []
    assert [call for call in hooks.calls if call.writes] == []
    made = empty.deploy(*given)
    assert told[-1] == f"a dry run, nothing was changed; {made[-1]}"
    assert len([line for line in told if "version new" in line]) == 4
    changes = {line for line in told if line.startswith(("bucket", "role", "function", "alarm"))}
    assert len(changes) > 20
    assert changes <= set(made)
    deployed = empty.state()
    options = ("--bundle", empty.retrain("new"), "--memory", "2048", "--timezone", "Asia/Tokyo")
    told = empty.deploy("--dry-run", *options)
    assert told[-1].endswith("changes: 4"), told
    assert difference(deployed, empty.state()) == []


def test_retraining_rolling_back_pruning_and_destroying_with_the_deployer_policy(
    empty: Account,
) -> None:
    keys = deployer(empty)
    before = empty.state()
    done = empty.run(env=keys)
    assert done.code == 1 and "not allowed to call iam:CreateRole" in done.err
    assert "--permissions-boundary" in done.err
    empty.deploy("--permissions-boundary", BOUNDARY, env=keys)
    first = empty.state()
    bounds = [role["PermissionsBoundary"] for role in first["role"].values()]
    assert [bound["PermissionsBoundaryArn"] for bound in bounds] == [BOUNDARY] * 4
    assert empty.deploy(env=keys)[-1] == "changes: 0"
    assert difference(first, empty.state()) == []

    empty.deploy("--bundle", empty.retrain("second"), env=keys)
    changed = difference(first, empty.state())
    beginnings = ("layer / midi-archive-model", *(f"function / {name}" for name in FUNCTIONS))
    own = (*beginnings, f"bucket / {ARTIFACTS}")
    assert [line for line in changed if not line.startswith(own)] == []
    assert any("Layers" in line for line in changed)
    assert empty.models() == ["2", "2"]

    assert empty.deploy("--rollback", env=keys)[-1] == "changes: 2"
    assert empty.models() == ["1", "1"]
    changed = difference(lasting(first), lasting(empty.state()))
    assert [line for line in changed if line.startswith("function")] == []
    done = empty.run("--rollback", env=keys)
    assert done.code == 1 and "version 1 is the oldest" in done.err

    for description in ("third", "fourth"):  # that somebody else made
        empty.aws.client("lambda").publish_layer_version(
            LayerName=f"{NAME}-model",
            Description=description,
            Content={"ZipFile": b"PK\5\6" + bytes(18)},
        )
    fifth = empty.retrain("fifth")
    told = empty.deploy("--dry-run", "--bundle", fifth, env=keys)
    made = empty.deploy("--bundle", fifth, env=keys)
    assert told[-1] == f"a dry run, nothing was changed; {made[-1]}"
    assert versions(empty) == [3, 4, 5]
    assert empty.models() == ["5", "5"]
    # Half rolled back, it is completed, not taken a version further.
    layers = [layer["Arn"] for layer in empty.configuration(FUNCTIONS[0])["Layers"]]
    empty.aws.client("lambda").update_function_configuration(
        FunctionName=FUNCTIONS[0], Layers=[arn.replace("-model:5", "-model:4") for arn in layers]
    )
    assert empty.deploy("--rollback", env=keys)[-1] == "changes: 1"
    assert empty.models() == ["4", "4"]
    # One that was replaced is wanted again: it becomes the newest, which a rollback can leave.
    empty.deploy("--bundle", empty.retrain("second"), env=keys)
    assert empty.models() == ["6", "6"]
    done = empty.run("--name", "another", env=keys)
    assert done.code == 1 and "deployer-policy.json" in done.err
    empty.deploy("--destroy", "--delete-music", answer=f"{NAME}\n", env=keys)
    assert difference(before, empty.state()) == []


def test_one_installation_is_destroyed_and_its_neighbour_stays(empty: Account) -> None:
    before = empty.state()
    empty.deploy()
    alone = empty.state()
    second = ("--name", "midi-archive-2")
    empty.deploy(*second)
    s3 = empty.aws.client("s3")
    for body in (b"one", b"two"):
        s3.put_object(Bucket=SECOND_MUSIC, Key="neural-net/x.mid", Body=body)
    both = empty.state()
    done = empty.run("--destroy", *second, answer="yes\n")
    assert done.code == 1 and "nothing was deleted" in done.err
    assert "account 123456789012, region us-east-1, as arn:aws:iam::123456789012:user/" in done.out
    assert empty.deploy("--destroy", "--dry-run", *second)[-1].startswith("a dry run")
    assert difference(both, empty.state()) == []

    empty.deploy("--destroy", *second, answer="midi-archive-2\n")
    left = difference(alone, empty.state())
    assert {line.split(" / ")[1].split(":")[0] for line in left} == {SECOND_MUSIC}
    empty.deploy("--destroy", "--delete-music", *second, answer="midi-archive-2\n")
    assert difference(alone, empty.state()) == []
    empty.deploy("--destroy", "--delete-music", answer=f"{NAME}\n")
    assert what_is_left(empty.aws.client, NAME) == []
    assert difference(before, empty.state()) == []
    assert empty.deploy("--destroy")[-2:] == ["there is nothing to delete", "changes: 0"]


def test_two_at_once_leave_one_bundle_in_both_functions(empty: Account) -> None:
    empty.deploy()
    running = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "deploy", "--runtime", RUNTIME, "--no-smoke"),
                *("--bundle", empty.retrain(words)),
            ],
            cwd=empty.root,
            env={**os.environ, **empty.aws.env},
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
    assert empty.models() == ["3", "3"]


def test_the_lock_of_one_that_died_is_taken_over(empty: Account) -> None:
    empty.deploy()
    s3 = empty.aws.client("s3")
    dead = subprocess.Popen(["true"])
    dead.wait()
    here = {"host": os.uname().nodename, "pid": dead.pid, "since": int(time.time())}
    old = {"host": "elsewhere", "pid": 1, "since": int(time.time()) - 3600}
    for lock in (json.dumps(here), json.dumps(old), "{not a lock", json.dumps({"since": "a[0]"})):
        s3.put_object(Bucket=ARTIFACTS, Key=LOCK, Body=lock.encode())
        assert empty.deploy()[-1] == "changes: 0"
        assert s3.list_objects_v2(Bucket=ARTIFACTS, Prefix="deploy")["KeyCount"] == 0


def test_the_lock_of_one_at_work_is_waited_for(empty: Account) -> None:
    s3 = empty.aws.client("s3")
    s3.create_bucket(Bucket=ARTIFACTS)
    lock = {"host": "elsewhere", "pid": 1, "since": int(time.time())}
    s3.put_object(Bucket=ARTIFACTS, Key=LOCK, Body=json.dumps(lock).encode())
    command = [sys.executable, "-u", "-m", "deploy", "--runtime", RUNTIME, "--no-smoke"]
    with subprocess.Popen(
        command,
        cwd=empty.root,
        env={**os.environ, **empty.aws.env},
        stdout=subprocess.PIPE,
        text=True,
    ) as waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline().startswith("deploying midi-archive to account")
        line = waiting.stdout.readline()
        assert "waiting for another deploy.sh, process 1 on elsewhere" in line
        assert [r["RoleName"] for r in empty.aws.client("iam").list_roles()["Roles"]] == []
        s3.delete_object(Bucket=ARTIFACTS, Key=LOCK)
        assert waiting.stdout.read().splitlines()[-1].startswith("changes: ")
    assert waiting.returncode == 0


def test_what_goes_wrong_is_said_with_the_way_out(empty: Account) -> None:
    denied = "User: x is not authorized to perform: iam:CreateRole on resource: y"
    for operation, code, message, way_out in (
        ("sts GetCallerIdentity", "ExpiredToken", "The token is expired", "sign in again"),
        ("s3 PutObject", "AccessDenied", "Access Denied", "belongs to another account, or"),
        ("s3 CreateBucket", "TooManyBuckets", "100 buckets", "a quota"),
        ("s3 CreateBucket", "BucketAlreadyExists", "not available", "choose another --name"),
        ("iam CreateRole", "AccessDenied", denied, "call iam:CreateRole: deploy/deployer"),
        ("lambda PublishLayerVersion", "CodeStorageExceededException", "75 GB", "a quota"),
        ("lambda CreateFunction", "ExpiredTokenException", "expired", "sign in again"),
        ("cloudwatch PutDashboard", "InternalServiceFault", "try again", "run this again"),
    ):
        done = empty.run(hooks=Hooks(answers={operation: times(99, code, message)}, in_turn=True))
        assert done.code == 1, operation
        assert message in done.err
        assert way_out in done.err.splitlines()[-1]
        assert "changes:" not in done.out
    assert empty.deploy()[-1] != "changes: 0"
