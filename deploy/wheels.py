"""Installs wheels for any runtime and architecture, and only such as have a hash in a lock file.

They come from one index: PyPI, or the one in PIP_INDEX_URL, a mirror. Whatever else the caller's
pip is set to is left out. Depends on neither what the wheels are for nor AWS.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

from deploy import children
from deploy.errors import DeployError

HOST_RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"
# Lambda's name of an architecture: the one in the names of wheels.
MACHINES = {"x86_64": "x86_64", "arm64": "aarch64"}
# With manylinux2014 alone, pip finds no onnxruntime and an old miditok. 2_34, which is the glibc of
# Lambda's Python 3.12 and later, is for midirenderer on arm64; the first that matches is taken.
PLATFORMS = ("manylinux2014", "manylinux_2_27", "manylinux_2_28", "manylinux_2_34")
# Of pip's settings in the environment those that say where the one index is and how to reach it.
# Another would add an index (PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS), a requirement or a platform, or
# install nothing at all (PIP_DRY_RUN).
SETTINGS = (
    *("PIP_INDEX_URL", "PIP_CERT", "PIP_CLIENT_CERT", "PIP_PROXY"),
    *("PIP_TIMEOUT", "PIP_DEFAULT_TIMEOUT", "PIP_RETRIES", "PIP_CACHE_DIR", "PIP_NO_CACHE_DIR"),
)


def host_arch() -> str:
    """Lambda's name of this machine's architecture. Raises DeployError where it has none."""
    machine = platform.machine().lower().replace("amd64", "x86_64").replace("aarch64", "arm64")
    if machine not in MACHINES:
        raise DeployError(f"Lambda has no {machine} machines: use x86_64 or arm64")
    return machine


def install(lock: Path, packages: Path, runtime: str, arch: str) -> dict[str, str]:
    """The wheels that `lock` names, in the folder `packages`; the SHA-256 of each, by its name.

    --no-deps, because the lock is the complete list: what a function can do without is not in it.
    No source distribution is built, so that no code of a package runs here. Raises DeployError.
    """
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        done = children.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
                *("--no-compile", "--no-deps", "--require-hashes", "--target", str(packages)),
                *("--only-binary=:all:", "--implementation", "cp"),
                *("--python-version", runtime.removeprefix("python")),
                *(f"--platform={name}_{MACHINES[arch]}" for name in PLATFORMS),
                *("--requirement", str(lock), "--report", str(report)),
            ],
            environment(),
        )
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if not line.startswith("WARNING")]
            raise DeployError(
                "\n".join(said[-20:])
                + f"\npip could not install {lock} for {runtime} on {arch}: see the lines above. "
                "Is a package index reachable (pip.conf is not read: a mirror goes into "
                "PIP_INDEX_URL, its certificate into PIP_CERT), has each pin a wheel for this "
                "Python, and is the lock of the same versions as requirements.txt?"
            )
        installed = json.loads(report.read_text())["install"]
    return {each["metadata"]["name"]: _sha256(each["download_info"]) for each in installed}


def _sha256(download: dict[str, Any]) -> str:
    """Pip before 23.1 writes it in the older form only."""
    archive = download["archive_info"]
    return str(archive.get("hashes", {}).get("sha256") or archive["hash"].removeprefix("sha256="))


def environment() -> dict[str, str]:
    """The caller's, for pip: of pip's settings only SETTINGS, and no configuration file."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PIP_") or k in SETTINGS}
    return {**kept, "PIP_CONFIG_FILE": os.devnull}
