"""What all modules share that fetch public music: clones, manifests and an error class.

Depends on neither the sources nor the music.
"""

from __future__ import annotations

import csv
import os
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path

CLONE_TIMEOUT_S = 1800


class FetchError(RuntimeError):
    """A source cannot be fetched; the message names it and what to do instead."""


def cloned(url: str, folder: Path, places: Collection[str]) -> Path:
    """Clones ``url`` shallowly into ``folder``, with only its folders ``places`` (none: all)."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    clone = ["git", "clone", "--quiet", "--depth", "1", "--filter=blob:none"]
    commands: list[Sequence[str | Path]] = [[*clone, url, folder]]
    if places:
        commands = [
            [*clone, "--sparse", url, folder],
            ["git", "-C", folder, "sparse-checkout", "set", *places],
        ]
    print(f"cloning {url} ...")
    try:
        for command in commands:
            environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}  # fail instead of asking
            subprocess.run(
                command,
                check=True,
                capture_output=True,
                text=True,
                timeout=CLONE_TIMEOUT_S,
                env=environment,
            )
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1][:200]
        raise FetchError(
            f"{url} cannot be cloned ({said}): download it yourself, unpack it, and give the "
            "folders you want to training.data.dataset --data"
        ) from error
    return folder


def write_manifest(folder: Path, rows: list[dict[str, str]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    partly = folder / "manifest.partial"
    # surrogateescape: the names of files are bytes, which need not be UTF-8
    with partly.open("w", newline="", encoding="utf-8", errors="surrogateescape") as lines:
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    partly.replace(folder / "manifest.csv")


def count_midi(folder: Path) -> int:
    return sum(path.suffix.lower() == ".mid" for path in folder.rglob("*"))
