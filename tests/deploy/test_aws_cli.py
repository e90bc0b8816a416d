"""The quick `aws` of aws_cli.py: that it is the AWS CLI, and what its hooks do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from local_aws.runtime import ensure_runtime
from local_aws.server import LocalAws
from tests.deploy.aws_cli import FastAws, Kill, Refusal
from tests.deploy.aws_cli_server import is_write
from tests.deploy.deploy_tree import ROOT, client_env

STAND_IN = "https://aws.test"
Completed = subprocess.CompletedProcess[bytes]


class Commands:
    """Runs one command line with the quick `aws` first on PATH, or the real one."""

    def __init__(self, fast: FastAws, aws: LocalAws) -> None:
        self.fast, self.endpoint = fast, aws.endpoint
        self.env = {**client_env(), **aws.env, "AWS_ENDPOINT_URL": aws.endpoint}

    def __call__(
        self, script: str, *, real: bool = False, cwd: Path = ROOT, stdin: bytes = b"", **env: str
    ) -> Completed:
        path = self.env["PATH"] if real else self.fast.path(self.env["PATH"])
        return subprocess.run(
            ["bash", "-c", script],
            env={**self.env, "PATH": path, **env},
            cwd=cwd,
            input=stdin,
            capture_output=True,
            timeout=60,
            start_new_session=True,
            check=False,
        )


@pytest.fixture(scope="module")
def run() -> Iterator[Commands]:
    with (
        LocalAws(ensure_runtime(ROOT / ".cache")) as aws,
        FastAws({STAND_IN: aws.endpoint}) as fast,
    ):
        aws.client("s3").create_bucket(Bucket="music")
        yield Commands(fast, aws)


@pytest.fixture(autouse=True)
def no_hooks(run: Commands) -> None:
    run.fast.watch()


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("aws s3api list-buckets --query 'Buckets[].Name' --output text", 0),
        ("aws s3api head-bucket --bucket nowhere", 255),
        ("aws lambda get-function", 2),
        ("aws s3api", 2),
        ("aws --version", 0),
        ("aws configure get region", 0),
        ("aws s3api list-buckets --profile nobody", 255),
        ("AWS_DEFAULT_OUTPUT=yaml aws s3api list-buckets", 255),
        ("aws s3 cp - s3://music/a >/dev/null; aws s3 cp s3://music/a -", 0),
        ("aws s3api put-object --bucket music --key b --body file; aws s3 ls music", 0),
        ("aws iam get-role --role-name file://role.txt", 255),
        ("aws iam get-role --role-name file://nothing.txt", 255),
        ("aws s3api get-object --bucket music --key none out; ls", 0),
        ("unset AWS_ACCESS_KEY_ID; aws sts get-caller-identity", 255),
    ],
)
def test_it_answers_as_the_real_one(run: Commands, tmp_path: Path, script: str, code: int) -> None:
    (tmp_path / "file").write_bytes(b"\0\xff")
    (tmp_path / "role.txt").write_text("composer")
    quick, real = (
        run(script, real=real, cwd=tmp_path, stdin="très\n".encode()) for real in (False, True)
    )
    quick_said, real_said = (
        [line.split()[2:] if "s3 ls" in script else line for line in done.stdout.splitlines()]
        for done in (quick, real)
    )
    assert (quick.returncode, quick_said, quick.stderr) == (real.returncode, real_said, real.stderr)
    assert quick.returncode == code


def test_one_call_leaves_nothing_for_the_next(run: Commands) -> None:
    script = (
        "aws configure list | grep region; AWS_DEFAULT_REGION=eu-west-1 aws configure get region"
    )
    first = run("aws sts get-caller-identity --query Arn", AWS_DEFAULT_REGION="eu-west-1")
    assert first.returncode == 0
    assert run(script).stdout == run(script, real=True).stdout


def test_a_stand_in_for_the_endpoint_is_replaced(run: Commands) -> None:
    done = run(f"aws --endpoint-url {STAND_IN} s3api list-buckets", AWS_ENDPOINT_URL=STAND_IN)
    assert (done.returncode, b"music" in done.stdout) == (0, True)


def test_many_calls_at_once_and_a_journal_of_them(run: Commands) -> None:
    with ThreadPoolExecutor(8) as pool:
        done = [*pool.map(lambda _: run("aws s3api list-buckets").returncode, range(16))]
    assert done == [0] * 16
    run("aws --region us-east-1 sqs create-queue --queue-name jobs")
    calls = run.fast.calls()
    assert [call.command for call in calls] == ["s3api list-buckets"] * 16 + ["sqs create-queue"]
    assert [call.command for call in run.fast.writes()] == ["sqs create-queue"]


@pytest.mark.parametrize("after", [False, True])
def test_the_caller_is_killed_before_or_after_its_second_write(run: Commands, after: bool) -> None:
    run.fast.watch(kill=Kill(2, after=after, spare="lock"))
    prefix = f"{after}".lower()
    script = "; ".join(f"aws s3 mb s3://{prefix}-{name}" for name in ("lock", "a", "b", "c"))
    done = run(script)
    assert done.returncode == -9
    assert len(run.fast.writes()) == 3
    run.fast.watch()
    made = run("aws s3api list-buckets --query 'Buckets[].Name' --output text").stdout.split()
    ours = {name.decode() for name in made if name.decode().startswith(prefix)}
    assert ours == {f"{prefix}-{name}" for name in (["lock", "a", "b"] if after else ["lock", "a"])}


def test_a_refusal_fails_what_it_matches_from_its_turn_on(run: Commands) -> None:
    run.fast.watch(refusals=[Refusal("list-", "ExpiredToken", code=253, let_through=1)])
    done = run("aws s3api list-buckets >/dev/null; aws s3api list-buckets; echo $?")
    assert (done.stdout, done.stderr) == (b"253\n", b"ExpiredToken\n")
    assert run("aws sts get-caller-identity").returncode == 0


def test_a_call_ends_with_its_caller(run: Commands) -> None:
    # The call waits for stdin, which never ends.
    command = [str(run.fast.directory / "aws"), "s3", "cp", "-", "s3://music/late"]
    with subprocess.Popen(command, env=run.env, stdin=subprocess.PIPE) as process:
        deadline = time.monotonic() + 20
        while not children_of(run.fast) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert children_of(run.fast)
        process.kill()
        assert len(run.fast.calls()) == 1  # it waits for calls to end


def children_of(fast: FastAws) -> list[str]:
    listed = ["pgrep", "-P", str(fast.pid)]
    return subprocess.run(listed, capture_output=True, text=True, check=False).stdout.split()


def test_the_server_ends_with_the_tests() -> None:
    script = "import os, sys; from tests.deploy.aws_cli import FastAws; f = FastAws().__enter__()"
    script += "; f.calls(); print(f.pid, f.directory, flush=True); os._exit(0)"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True
    )
    pid, directory = done.stdout.split()
    deadline = time.monotonic() + 20
    while (alive := is_running(int(pid))) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive
    shutil.rmtree(directory)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("arguments", "write"),
    [
        ("--endpoint-url http://x --debug s3api put-object --key get-x", True),
        ("--region=x iam get-role", False),
        ("s3 ls", False),
        ("s3 cp a b", True),
        ("lambda wait function-active-v2", False),
        ("lambda publish-layer-version", True),
        ("configure get region", False),
        ("sts get-caller-identity", False),
        ("stepfunctions validate-state-machine-definition", False),
        ("events test-event-pattern", False),
        ("--version", False),
    ],
)
def test_writes_are_told_from_reads(arguments: str, write: bool) -> None:
    assert is_write(arguments.split()) is write
