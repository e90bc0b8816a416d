"""The machine that sandboxes run on: its Python, and whether it allows user namespaces."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path

from local_aws.isolate import Spec

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
ISOLATE = Path(__file__).with_name("isolate.py")


@dataclass(frozen=True)
class Host:
    """What all sandboxes of a local AWS share."""

    runtime_dir: Path
    state_dir: Path  # sandboxes keep their files under it
    namespaces: bool
    spawner: Executor  # of one thread: the kernel kills a child when its starting thread ends
    python: str = field(
        default_factory=lambda: os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    )

    def command(
        self, binds: Mapping[str, str], cwd: str, arguments: Sequence[str], tmp_mb: int
    ) -> list[str]:
        """A command to run Python with `arguments` in `isolate.py`; no binds, no namespaces."""
        spec: Spec = {
            "parent_pid": os.getpid(),
            "binds": dict(binds),
            "keep": python_directories(),
            "tmp_mb": tmp_mb,
            "cwd": cwd,
            "argv": [self.python, *arguments],
        }
        return [self.python, "-I", "-S", str(ISOLATE), json.dumps(spec)]


def python_directories() -> list[str]:
    """The directories of this Python: they must stay visible even under /opt, /var or /tmp."""
    directories = [sys.base_prefix, sys.base_exec_prefix]
    # No mount of isolate.py covers /usr.
    return sorted({os.path.realpath(path) for path in directories} - {"/usr"})


def mount_points_in_opt() -> list[str]:
    """Directories to add to the layers' folder, as mount points for a Python under /opt."""
    return [os.path.relpath(path, "/opt") for path in python_directories() if path[:5] == "/opt/"]


def namespaces_work(host: Host) -> bool:
    """Whether `isolate.py` works on this machine: run its whole sequence once."""
    empty = Path(tempfile.mkdtemp(prefix="probe-", dir=host.state_dir))
    for path in mount_points_in_opt():
        (empty / path).mkdir(parents=True, exist_ok=True)
    # Exits with 1 if one of Lambda's read-only directories can be written.
    try_all = (
        "import os\n"
        "open('/tmp/x', 'w').close()\n"
        "for path in ('/var/task/x', '/opt/x', '/var/runtime/x'):\n"
        "    try: open(path, 'w')\n"
        "    except OSError: continue\n"
        "    os._exit(1)\n"
    )
    binds = dict.fromkeys(("/var/task", "/opt", "/var/runtime"), str(empty))
    command = host.command(binds, "/var/task", ["-I", "-S", "-c", try_all], tmp_mb=1)
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=20)
    except subprocess.TimeoutExpired:
        return False
    finally:
        shutil.rmtree(empty, ignore_errors=True)
    return done.returncode == 0
