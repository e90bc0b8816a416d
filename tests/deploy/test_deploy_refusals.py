"""What deploy.sh refuses before it calls AWS: a stand-in for `aws` writes down each call.

Nothing here needs a local AWS.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.deploy_tree import RUNTIME, Tree, client_env, make_tree


@pytest.fixture
def calls(tmp_path: Path, bundle_dir_without_model: Path) -> Tree:
    """A tree whose `aws` only writes down that it was called, in `calls`."""
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "aws").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\nexit 1\n')
    (commands / "aws").chmod(0o755)
    env = client_env()
    env |= {
        "PATH": f"{commands}{os.pathsep}{env['PATH']}",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": "https://aws.test",  # any runtime that the machine may have is taken
    }
    return make_tree(tmp_path / "tree", bundle_dir_without_model, env)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--name", "Midi"], "--name"),
        (["--name", "a" * 31], "30 characters"),
        (["--region", "mars"], "--region"),
        (["--runtime", "python3.10"], "--runtime"),
        (["--runtime", "python3.15"], "--runtime"),
        (["--arch", "riscv"], "--arch"),
        (["--schedule", "cron(99 6 * * ? *)"], "--schedule"),
        (["--schedule", "daily"], "--schedule"),
        (["--timezone", "Mars/Olympus"], "--timezone"),
        (["--bundle", "/nowhere"], "--bundle"),
        (["--colour", "red"], "--colour"),
        (["--name"], "--name needs a value"),
        (["--memory", "511"], "512 to 10240"),
        (["--memory", "a lot"], "512 to 10240"),
        (["--memory", "99999"], "512 to 10240"),
        (["--alarm-email", "me@home"], "me@example.org"),
        (["--delete-music"], "--destroy"),
        (["--destroy", "--rollback"], "do not go together"),
    ],
)
def test_a_wrong_option_is_refused_before_any_call(
    calls: Tree, options: list[str], message: str
) -> None:
    done = calls.deploy(*options)
    assert done.returncode == 1
    assert message in done.stderr
    assert not (calls.root.parent / "calls").exists()


def test_a_runtime_too_old_for_the_packages_is_for_a_local_aws_only(calls: Tree) -> None:
    refused = calls.deploy("--runtime", "python3.11", AWS_ENDPOINT_URL="")
    assert refused.returncode == 1
    assert "python3.11 cannot run on Lambda" in refused.stderr
    for taken in (
        calls.deploy("--runtime", "python3.11", "--arch", "riscv"),
        calls.deploy("--runtime", "python3.12", "--arch", "riscv", AWS_ENDPOINT_URL=""),
    ):
        assert "--arch" in taken.stderr
        assert "--runtime" not in taken.stderr
    assert not (calls.root.parent / "calls").exists()


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_damaged_bundle_is_refused_before_any_call(calls: Tree, damage: str) -> None:
    model = calls.root / "layers" / "model" / "model.onnx"
    if damage == "missing":
        model.unlink()
    else:
        model.write_bytes(b"")
    done = calls.deploy()
    assert done.returncode == 1
    assert "model.onnx" in done.stderr
    assert not (calls.root.parent / "calls").exists()


def test_over_250_mb_is_refused_before_anything_is_made(calls: Tree) -> None:
    # An account in which there is nothing yet; the lock can be had.
    (calls.root.parent / "bin" / "aws").write_text(
        f"""#!/bin/sh
echo "$4" >>{calls.root.parent}/calls
case "$*" in
  *get-caller-identity*) printf '123456789012\\tarn:aws:iam::123456789012:user/me\\n' ;;
  *deploy.lock*) echo '"an-etag"' ;;
  *) echo 'ResourceNotFoundException: nothing there' >&2; exit 254 ;;
esac
"""
    )
    layer = f"build/midi_save-{RUNTIME}-x86_64.zip"
    subprocess.run(
        ["deploy/build_layer.sh", "midi_save", RUNTIME, "x86_64", layer],
        cwd=calls.root,
        env=calls.env,
        check=True,
    )
    facts_path = calls.root / f"{layer}.json"
    facts = json.loads(facts_path.read_text())
    facts_path.write_text(json.dumps({**facts, "unzipped_bytes": 262_140_000}))
    done = calls.deploy()
    assert done.returncode == 1
    assert "midi-save would be 262 MB unzipped (dependencies 262.1 MB" in done.stderr
    made = (calls.root.parent / "calls").read_text().split()
    assert set(made) == {
        *("get-caller-identity", "put-object", "delete-object"),  # the lock
        *("get-function-configuration", "get-schedule"),
    }


def test_a_missing_aws_command_is_named(calls: Tree) -> None:
    commands = calls.root.parent / "bin"
    (commands / "aws").unlink()
    for command in ("bash", "cat", "dirname", "env"):
        (commands / command).symlink_to(shutil.which(command) or command)
    done = calls.deploy(PATH=str(commands))
    assert done.returncode == 1
    assert "the AWS CLI is missing" in done.stderr
