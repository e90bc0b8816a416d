"""The local AWS as a whole: where it listens, what it leaves, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from deploy.aws import clients_of
from local_aws.server import STATE_PREFIX, AlreadyRunningError, LocalAws
from tests.local_aws.conftest import CACHE_DIR, Cloud

ROOT = Path(__file__).parents[2]
NOTHING_BUT_PYTHON = {"PATH": "/nonexistent", "PYTHONPATH": str(ROOT), "HOME": "/nonexistent"}


def state_directories(pid: int) -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"{STATE_PREFIX}{pid}-*"))


def test_listens_on_the_loopback_only(cloud: Cloud) -> None:
    cloud.function("def handler(event, context): return 1")
    cloud.invoke()
    own = {str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in own:
                listening.append(fields[1].split(":")[0])

    assert len(listening) >= 2  # moto and the sandbox's Runtime API
    assert set(listening) == {"0100007F"}  # 127.0.0.1


def test_environment_makes_a_client_of_this_aws(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "someone-elses")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "someone-elses")
    for name, value in cloud.aws.env.items():
        monkeypatch.setenv(name, value)

    assert boto3.session.Session().client("sts").get_caller_identity()["Arn"] == (
        "arn:aws:iam::123456789012:user/administrator"
    )


def test_one_at_a_time_in_a_process(cloud: Cloud, runtime_dir: Path) -> None:
    with pytest.raises(AlreadyRunningError), LocalAws(runtime_dir):
        pass


def test_of_many_conditional_writes_at_once_one_succeeds(cloud: Cloud) -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that threads meet between a comparison and its write
    s3 = cloud.aws.client("s3")
    s3.create_bucket(Bucket="contended")

    def put(key: str) -> bool:
        try:
            s3.put_object(Bucket="contended", Key=key, Body=b"x", IfNoneMatch="*")
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 412:
                return False
            raise
        return True

    try:
        with ThreadPoolExecutor(8) as threads:
            for number in range(20):
                assert sum(threads.map(put, [f"key-{number}"] * 8)) == 1
    finally:
        sys.setswitchinterval(before)


def test_upload_that_a_loaded_machine_takes_late_is_not_sent_again(cloud: Cloud) -> None:
    """An upload that times out is sent once more while the first is still being read."""
    ours = cloud.aws.client("s3").meta.config
    assert ours.connect_timeout == ours.read_timeout > 900  # the former is that of sending
    assert ours.retries["total_max_attempts"] == 1
    deployers = clients_of(boto3.session.Session(), "us-east-1")("s3").meta.config
    assert deployers.read_timeout >= 300


def test_starts_empty_and_leaves_nothing_after_an_exception(runtime_dir: Path) -> None:
    before = threading.active_count()
    with suppress(ZeroDivisionError), LocalAws(runtime_dir) as aws:
        aws.client("s3").create_bucket(Bucket="music")
        assert state_directories(os.getpid())
        raise ZeroDivisionError
    assert state_directories(os.getpid()) == []
    with LocalAws(runtime_dir) as aws:
        assert aws.client("s3").list_buckets()["Buckets"] == []
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.05)  # connections that are being closed
    assert threading.active_count() <= before


def test_directories_of_dead_processes_are_cleared(runtime_dir: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    left_over = Path(tempfile.mkdtemp(prefix=f"{STATE_PREFIX}{process.pid}-"))

    with LocalAws(runtime_dir):
        assert not left_over.exists()


def test_nothing_outside_is_contacted_and_docker_is_not_needed(tmp_path: Path) -> None:
    """A whole chain, in a process that notes each connection and each look-up of a name."""
    script = tmp_path / "chain.py"
    script.write_text(
        "import json, sys\n"
        "contacted = set()\n"
        "def note(event, arguments):\n"
        "    if event == 'socket.connect' and isinstance(arguments[1], tuple):\n"
        "        contacted.add(arguments[1][0])\n"
        "    elif event.startswith('socket.get'):  # getaddrinfo, gethostbyaddr, gethostbyname\n"
        "        contacted.add(arguments[0])\n"
        "sys.addaudithook(note)\n"
        "from pathlib import Path\n"
        "from local_aws.runtime import ensure_runtime\n"
        "from local_aws.server import LocalAws\n"
        "from tests.local_aws.conftest import Cloud, allow, task\n"
        f"with LocalAws(ensure_runtime(Path({str(CACHE_DIR)!r}))) as aws:\n"
        "    cloud = Cloud(aws, [])\n"
        "    aws.client('s3').create_bucket(Bucket='music')\n"
        "    arn = cloud.function('def handler(event, context): return event')\n"
        "    role = cloud.role('r', 'states.amazonaws.com', allow('lambda:InvokeFunction', arn))\n"
        "    ended = cloud.run(cloud.state_machine({'Echo': task(arn)}, role), {})\n"
        "print(json.dumps([ended['status'], sorted(contacted), 'docker' in sys.modules]))\n"
    )
    done = subprocess.run(
        [sys.executable, script],
        env={
            **NOTHING_BUT_PYTHON,
            "AWS_ENDPOINT_URL": "https://192.0.2.1",
            "HTTP_PROXY": "http://192.0.2.1:3128",
        },
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )

    assert json.loads(done.stdout.splitlines()[-1]) == ["SUCCEEDED", ["127.0.0.1"], False]
    assert done.stderr == ""


@contextmanager
def serving() -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "local_aws", "serve", "--cache-dir", str(CACHE_DIR)],
        cwd=ROOT,
        env={**NOTHING_BUT_PYTHON, "AWS_PROFILE": "someone-elses"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task").glob("*/children")
    direct = [int(child) for file in children for child in file.read_text().split()]
    return direct + [grandchild for child in direct for grandchild in descendants(child)]


def running(pids: list[int]) -> list[int]:
    def is_running(pid: int) -> bool:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        return state != "Z"

    return [pid for pid in pids if is_running(pid)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left_after_a_signal(
    runtime_dir: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one function is idle and another computes."""
    with serving() as (server, ready):
        keys = {name: ready["env"][name] for name in ready["env"] if name.startswith("AWS_")}
        for name, value in keys.items():
            monkeypatch.setenv(name, value)
        cloud = Cloud(EnvironmentClient(), [])  # type: ignore[arg-type]
        cloud.function("def handler(event, context): return 1")
        cloud.invoke()
        cloud.function("def handler(event, context):\n    while True: pass", name="busy",
                       timeout_s=60)  # fmt: skip
        cloud.aws.client("lambda").invoke(
            FunctionName="busy", InvocationType="Event", Payload=b"{}"
        )
        deadline = time.monotonic() + 10
        while len(sandboxes := descendants(server.pid)) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(sandboxes) == 2
        time.sleep(0.5)  # into the endless loop

        server.send_signal(number)
        status = server.wait(timeout=10)

        deadline = time.monotonic() + 5
        while running(sandboxes) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert running(sandboxes) == []
        if number != signal.SIGKILL:
            assert status == 0
            assert state_directories(server.pid) == []


class EnvironmentClient:
    """Looks like a LocalAws as far as `Cloud` uses one, but is a client of another process's."""

    def client(self, service: str) -> Any:
        return boto3.session.Session().client(service)  # type: ignore[call-overload]


def test_sigterm_unwinds_a_program_that_uses_the_library(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        "import time\n"
        "from pathlib import Path\n"
        "from local_aws.runtime import ensure_runtime\n"
        "from local_aws.server import LocalAws\n"
        f"with LocalAws(ensure_runtime(Path({str(CACHE_DIR)!r}))):\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
    )
    program = subprocess.Popen(
        [sys.executable, script], env=NOTHING_BUT_PYTHON, stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    assert state_directories(program.pid)

    program.terminate()
    program.communicate(timeout=10)

    assert program.returncode == 128 + signal.SIGTERM
    assert state_directories(program.pid) == []


def test_help_of_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "local_aws", "--help"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    assert "serve" in done.stdout
