"""run.sh and venv.sh as scripts: where they may lie, and which Python they start."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
# In the place of .venv/bin/python: keeps its arguments and what it finds of the caller's settings.
STAND_IN = """#!/usr/bin/env bash
printf '%s|' "$INVOKED_FROM" "${PYTHONPATH-}" "${PIP_TARGET-}" "${PIP_INDEX_URL-}" "$@" >>calls
printf '\\n' >>calls
"""


def test_in_any_folder_only_python_is_started(tmp_path: Path) -> None:
    """In a folder with spaces and quotes, or a path of 300 characters, pip's scripts do not run."""
    clone = tmp_path / "a b" / "'q \"q $HOME" / ("x" * 150) / ("y" * 150)
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / "local_run").mkdir()
    for file in ("run.sh", "venv.sh", "requirements.txt", "local_run/requirements.txt"):
        shutil.copy2(ROOT / file, clone / file)
    (clone / "local_run" / "requirements.lock").touch()
    (clone / ".venv" / "location").write_text(f"{clone}\n")
    (clone / ".venv" / "bin" / "python").write_text(STAND_IN)
    (clone / ".venv" / "bin" / "python").chmod(0o755)
    (tmp_path / "link").symlink_to(clone / "run.sh")
    settings = {"PYTHONPATH": "/nowhere", "PIP_TARGET": "/nowhere", "PIP_INDEX_URL": "https://a.b"}
    done = subprocess.run(
        [tmp_path / "link", "--seed", "a b"],
        cwd=tmp_path,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "CDPATH": str(clone), **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    calls = [line.split("|") for line in (clone / "calls").read_text().splitlines()]
    assert {tuple(call[:4]) for call in calls} == {(str(tmp_path), "", "", "https://a.b")}
    assert calls[1][4:8] == ["-m", "pip", "install", "-qq"]
    assert calls[-1][4:] == ["-m", "local_run", "--seed", "a b", ""]


def test_without_a_new_enough_python_it_says_so(tmp_path: Path) -> None:
    for command in ("bash", "dirname", "readlink", "date", "cat", "cksum", "env"):
        (tmp_path / command).symlink_to(shutil.which(command) or command)
    (tmp_path / "clone").mkdir()
    for script in ("run.sh", "venv.sh"):
        shutil.copy2(ROOT / script, tmp_path / "clone" / script)
    done = subprocess.run(
        [str(tmp_path / "clone" / "run.sh")],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Python 3.11 or later is needed" in done.stderr


def test_a_python_without_venv_and_a_folder_with_a_colon_are_named(tmp_path: Path) -> None:
    python = tmp_path / "python"  # as Debian's without python3-venv
    python.write_text(
        '#!/bin/sh\n[ "$2" != venv ] || { echo No module named ensurepip; exit 1; }\n'
    )
    python.chmod(0o755)
    for name, told in (("clone", "install its venv module"), ("a:b", "rename the folder")):
        (tmp_path / name).mkdir()
        for script in ("run.sh", "venv.sh"):
            shutil.copy2(ROOT / script, tmp_path / name / script)
        done = subprocess.run(
            [tmp_path / name / "run.sh"],
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHON": str(python)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert told in done.stderr
