"""Runs deploy.sh against the local AWS, as a person would against theirs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from local_aws.server import LocalAws
from local_run.progress import progress

ROOT = Path(__file__).resolve().parents[1]
ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


class DeploymentError(RuntimeError):
    """deploy.sh failed; the message is what it said."""


def deploy(aws: LocalAws, bundle: Path | None = None) -> dict[str, Any]:
    """The names that deploy.sh deployed. ``bundle`` is the model's folder, if not layers/model.

    Raises DeploymentError.
    """
    machine = os.uname().machine
    if machine not in ARCHITECTURES:
        raise DeploymentError(f"Lambda has no {machine} machines: use x86_64 or arm64")
    outputs = ROOT / "build" / f"outputs-{os.getpid()}.json"
    command = [
        str(ROOT / "deploy.sh"),
        *("--runtime", f"python{sys.version_info.major}.{sys.version_info.minor}"),
        *("--arch", ARCHITECTURES[machine]),
        *("--outputs", str(outputs), "--no-smoke"),
        *(("--bundle", str(bundle)) if bundle else ()),
    ]
    lines = [""]
    # A session of its own, so that it and all its children end with us, however we end.
    process = subprocess.Popen(
        command,
        env={**os.environ, **aws.env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        with progress("deploying", lambda: lines[-1]):
            lines.extend(line.rstrip() for line in process.stdout)
        if process.wait() != 0:
            raise DeploymentError("deploy.sh failed:\n" + "\n".join(lines[1:]))
        deployed: dict[str, Any] = json.loads(outputs.read_text())
        return deployed
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
        outputs.unlink(missing_ok=True)
