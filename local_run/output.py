"""Where pieces and their site are written: checked before the work, kept elsewhere if it fails.

Depends on neither AWS nor how a piece is made.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

CATALOGUE = "catalogue.json"
# The folders of a site, and what its other files are called.
FOLDERS = {"archive", "days", "midi", "roll", "sound"}
FILE = re.compile(r"(404|index)\.html|catalogue\.json|cover\.png|feed.*|(icon|script|style)-.*")


class SiteFolderError(RuntimeError):
    """The folder for the site holds something else; the message says so, for people."""


class KeptElsewhereError(RuntimeError):
    """Files could not be written where they belong; they are in `folder`, as the message says."""

    def __init__(self, message: str, folder: Path) -> None:
        super().__init__(message)
        self.folder = folder


def check_folder(name: str, folder: Path, needed_bytes: float) -> None:
    """Raises ValueError, beginning with `name`, if so many bytes cannot be written there.

    The folder is made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x" * 4096)  # the first block of a file on a full disk fails, too
            file.flush()
        free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        raise ValueError(
            f"{name}: {folder} cannot be written: {error.strerror}: name another folder"
        ) from error
    if free_bytes < needed_bytes:
        raise ValueError(
            f"{name}: {needed_bytes / 1e6:.0f} MB are needed in {folder}, and its disk has "
            f"{free_bytes / 1e6:.0f} MB left: make room, or name another folder"
        )


def check_site_folder(folder: Path) -> None:
    """Raises SiteFolderError if copying the site would delete something of the user's."""
    if not folder.exists() and not folder.is_symlink():
        return
    if folder.is_symlink() or not folder.is_dir():
        raise SiteFolderError(f"{folder} is not a folder: choose another --out")
    names = sorted(path.name for path in folder.iterdir())
    others = [name for name in names if name not in FOLDERS and not FILE.fullmatch(name)]
    if others:
        raise SiteFolderError(
            f"{folder} holds {others[0]}, which run.sh has not made: choose another --out"
        )
    if names and not _is_catalogue(folder / CATALOGUE):
        raise SiteFolderError(f"{folder} is not a site of run.sh: choose another --out")


def _is_catalogue(path: Path) -> bool:
    try:
        return set(json.loads(path.read_bytes())) == {"form", "days"}
    except (OSError, ValueError, TypeError):
        return False


def keep(files: Mapping[str, bytes], out: Path, elsewhere: Iterable[Path]) -> None:
    """Writes files to `out`: each appears there whole.

    If that fails, as on a full disk or in a folder that was removed, they go into a new folder in
    the first of `elsewhere` that takes them. Raises KeptElsewhereError then, or OSError.
    """
    try:
        _write(files, out)
    except OSError as error:
        for parent in elsewhere:
            try:
                rescue = Path(tempfile.mkdtemp(prefix="pieces-", dir=parent))
                _write(files, rescue)
            except OSError:
                continue
            raise KeptElsewhereError(
                f"{out} cannot be written any more ({error.strerror}): {', '.join(files)} are in "
                f"{rescue} instead",
                rescue,
            ) from error
        raise


def _write(files: Mapping[str, bytes], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".piece.", dir=out) as half:
        for name, content in files.items():
            (Path(half) / name).write_bytes(content)
        for name in files:
            (Path(half) / name).replace(out / name)
