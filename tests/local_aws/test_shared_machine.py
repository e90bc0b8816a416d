"""A local AWS on a machine with other users: what they try is refused and changes nothing.

The attacks (attack.py) are made as another user where the tests run as root, which may become one.
Elsewhere they are made as the tests' own user; only what concerns files needs the other one.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from local_aws.server import STATE_PREFIX, LocalAws
from tests.local_aws.conftest import Cloud

NOBODY = 65534
ATTACK = Path(__file__).with_name("attack.py").read_text()
# The tests' own Python may be in a folder that others cannot enter.
SYSTEM_PYTHON = shutil.which("python3", path="/usr/bin:/bin")
AS_OTHER = os.getuid() == 0 and SYSTEM_PYTHON is not None
needs_other_user = pytest.mark.skipif(
    not AS_OTHER, reason="needs root, to become another user, and a Python that all can run"
)

FUNCTION = """
import os, socket, tempfile
def handler(event, context):
    if event:
        with socket.create_connection(("127.0.0.1", event["wait_for"])) as connection:
            connection.recv(1)
    open(os.path.join(tempfile.gettempdir(), "notes"), "w").close()
    return os.environ["AWS_LAMBDA_RUNTIME_API"], os.getpid()
"""


def attack(**targets: Any) -> dict[str, list[list[str]]]:
    python = SYSTEM_PYTHON if AS_OTHER and SYSTEM_PYTHON else sys.executable
    other: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    done = subprocess.run(
        [python, "-I", "-c", ATTACK, json.dumps(targets)],
        cwd="/",
        capture_output=True,
        check=True,
        text=True,
        **(other if AS_OTHER else {}),
    )
    return dict(json.loads(done.stdout))


def test_those_without_a_key_get_and_change_nothing(cloud: Cloud) -> None:
    """While a function waits, so that the answer to its invocation may be forged."""
    s3 = cloud.aws.client("s3")
    s3.create_bucket(Bucket="music")
    s3.put_object(Bucket="music", Key="kept", Body=b"MThd", ACL="public-read")
    cloud.function(FUNCTION, timeout_s=60)
    address, pid = cloud.invoke().payload
    runtime_port = int(address.partition("/")[0].partition(":")[2])

    with ThreadPoolExecutor(1) as caller, socket.create_server(("127.0.0.1", 0)) as waiting:
        call = caller.submit(cloud.invoke, {"wait_for": waiting.getsockname()[1]})
        with waiting.accept()[0]:
            came = attack(aws=int(cloud.aws.endpoint.rpartition(":")[2]), runtime_api=runtime_port)
        answered = call.result()

    assert [tried for tried in came["aws"] if tried[1] != "403"] == []
    assert [tried for tried in came["runtime_api"] if tried[1] != "404"] == []
    assert answered.payload == [address, pid]
    assert cloud.invoke().payload == [address, pid]
    assert s3.get_object(Bucket="music", Key="kept")["Body"].read() == b"MThd"
    users = cloud.aws.client("iam").list_users()["Users"]
    assert [user["UserName"] for user in users] == ["administrator"]


@needs_other_user
@pytest.mark.parametrize("namespaces", [None, False])
def test_no_other_user_can_read_the_files(
    start: Callable[..., Cloud], namespaces: bool | None
) -> None:
    """The client's configuration, the functions' code, temporary files and environments."""
    cloud = start(namespaces=namespaces)
    cloud.function(FUNCTION, layers=[{"python/shared.py": "NAME = 1"}])
    _, pid = cloud.invoke().payload
    state_dir = Path(cloud.aws.env["AWS_CONFIG_FILE"]).parent
    files = [state_dir, *state_dir.rglob("*")]
    names = {path.name for path in files}
    assert {"aws-config", "main.py", "shared.py"} <= names
    assert "notes" in names or cloud.aws.namespaces  # where it is in a mount of the sandbox alone
    files += [Path(f"/proc/{process}/environ") for process in (pid, os.getpid())]
    files.append(Path(f"/proc/{pid}/root/tmp/notes"))

    came = attack(files=[str(path) for path in files])

    assert [tried for tried in came["files"] if tried[1] != "PermissionError"] == []


def test_only_own_directories_are_cleared(
    runtime_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody can make what has such a name in /tmp: a link, a directory, an odd number."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    temporary, elsewhere = tmp_path / "tmp", tmp_path / "elsewhere"
    temporary.mkdir()
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    for number in (process.pid, 10**30, "²"):
        (temporary / f"{STATE_PREFIX}{number}-link").symlink_to(elsewhere)
    if os.getuid() == 0:
        foreign = temporary / f"{STATE_PREFIX}{process.pid}-foreign"
        foreign.mkdir()
        os.chown(foreign, NOBODY, NOBODY)
    before = set(temporary.iterdir())

    with LocalAws(runtime_dir):
        pass

    assert set(temporary.iterdir()) == before
    assert (elsewhere / "kept").exists()
