"""A copy of the repository that tests can deploy: real scripts, layers of one tiny package each, so
that building them needs no network. Knows nothing of what the tests look at.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class Tree:
    """A copy of the repository that can be deployed."""

    root: Path
    env: Mapping[str, str]

    def deploy(self, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.root / "deploy.sh"), "--runtime", RUNTIME, *options],
            env={**self.env, **env},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # aws_cli.Kill strikes a process group: not the tests'
            timeout=300,
            check=False,
        )


def make_wheel(directory: Path) -> Path:
    """A wheel of one module, for pip to install from the disk."""
    wheel = directory / "tiny-1.0-py3-none-any.whl"
    facts = "tiny-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny.py", "value = 1\n")
        archive.writestr("tests/test_tiny.py", "")
        archive.writestr(f"{facts}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr(f"{facts}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{facts}/RECORD", "")
    return wheel


def make_tree(root: Path, bundle: Path, env: Mapping[str, str]) -> Tree:
    root.mkdir()
    for folder in ("deploy", "contract", "music", "generate_tokens", "midi_save", "local_aws"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("deploy.sh", "statemachine.asl.json"):
        shutil.copy2(ROOT / file, root / file)
    shutil.copytree(bundle, root / "layers" / "model")
    wheel = make_wheel(root)
    for folder in ("generate_tokens", "midi_save"):
        (root / folder / "requirements.txt").write_text(f"tiny @ {wheel.as_uri()}\n")
    return Tree(root, env)


def client_env() -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**kept, "PATH": path, "PYTHON": sys.executable}
