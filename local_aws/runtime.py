"""Builds the replacement of Lambda's managed Python runtime: a directory for /var/runtime.

It is installed once from `runtime-requirements.lock`, by hash, and kept. Depends on neither
functions nor sandboxes.
"""

import compileall
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("runtime-requirements.lock")


class RuntimeBuildError(RuntimeError):
    """pip could not install the runtime; the message holds the end of its output."""


def ensure_runtime(cache_dir: Path) -> Path:
    """The runtime's directory under `cache_dir`, built first when it is not there yet.

    Its name holds the Python version and the pins' hash, so that a change of either leads to a new
    build. It is built under another name and then renamed, so that an interrupted build is never
    used. Raises RuntimeBuildError.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stamp = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    directory = cache_dir.resolve() / f"lambda-runtime-python{version}-{stamp}"
    if directory.is_dir():
        return directory
    cache_dir.mkdir(parents=True, exist_ok=True)
    with (cache_dir / "lambda-runtime.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two builds at a time: the second waits for the first
        if directory.is_dir():
            return directory
        for left_over in cache_dir.glob("lambda-runtime-building-*"):
            shutil.rmtree(left_over, ignore_errors=True)
        building = Path(tempfile.mkdtemp(prefix="lambda-runtime-building-", dir=cache_dir))
        try:
            _install(building)
            building.chmod(0o755)
            building.rename(directory)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return directory


def _install(target: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--no-deps"]
    command += ["--disable-pip-version-check", "--require-hashes", "--only-binary=:all:"]
    command += ["--target", str(target), "-r", str(REQUIREMENTS)]
    done = subprocess.run(
        command, capture_output=True, check=False, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode != 0:
        raise RuntimeBuildError(
            f"pip could not install {REQUIREMENTS.name} (is the network there?):\n"
            + done.stderr[-2000:]
        )
    # Bytecode is written whatever PYTHONDONTWRITEBYTECODE says: without it each cold start costs a
    # second.
    compileall.compile_dir(
        str(target), ddir="/var/runtime", quiet=2, workers=min(2, os.cpu_count() or 1)
    )
