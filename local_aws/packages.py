"""Unpacks deployed zips as Lambda does: permission bits, links and dates are kept.

A file that the function's user cannot read on Lambda cannot be read here either: each file gets the
mode that the zip gives to "others", without write permission. Each set of zips is unpacked once and
shared by all sandboxes, which see it read-only. Depends on neither functions nor sandboxes.
"""

import calendar
import hashlib
import io
import os
import shutil
import stat
import threading
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

FILE_MODE = 0o644


class PackageError(RuntimeError):
    """A zip that cannot be unpacked: no zip, or one with a path that leads out of its folder."""


class PackageStore:
    """Unpacked zips under one directory, by content."""

    def __init__(self, directory: Path, log: Callable[[str], None]) -> None:
        self._directory, self._log = directory, log
        self._lock = threading.Lock()
        self._unpacked: dict[str, Path] = {}
        self._closed = False

    def close(self) -> None:
        """Waits for what is being unpacked. Nothing is from now on: the directory is removed."""
        with self._lock:
            self._closed = True

    def unpacked(self, zips: Sequence[bytes], mount_points: Sequence[str] = ()) -> Path:
        """One directory with all `zips` laid over each other in order, later files winning.

        `mount_points` are relative paths of directories that are also made in it.
        """
        digests = [hashlib.sha256(data).hexdigest() for data in zips]
        key = hashlib.sha256("\n".join([*digests, *mount_points]).encode()).hexdigest()[:16]
        with self._lock:
            if self._closed:
                raise PackageError("the local AWS is shutting down")
            if key not in self._unpacked:
                target = self._directory / key
                target.mkdir(parents=True)
                for data in zips:
                    unpack(data, target, self._log)
                for path in mount_points:
                    (target / path).mkdir(parents=True, exist_ok=True)
                self._unpacked[key] = target
            return self._unpacked[key]


def unpack(data: bytes, target: Path, log: Callable[[str], None]) -> None:
    """Unpack one zip into `target`; later files replace earlier ones.

    Raises PackageError.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except zipfile.BadZipFile as error:
        raise PackageError(f"a deployed package is not a zip: {error}") from error
    root = target.resolve()
    with archive:
        for member in archive.infolist():
            path = target / member.filename
            if not path.parent.resolve().is_relative_to(root) or ".." in path.parts:
                raise PackageError(f"{member.filename}: leads out of the package")
            _unpack_member(archive, member, path, log)


def _unpack_member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, log: Callable[[str], None]
) -> None:
    mode = member.external_attr >> 16  # the Unix mode, in the upper half
    if member.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if stat.S_ISLNK(mode):
        path.symlink_to(archive.read(member).decode())
        return
    with archive.open(member) as source, path.open("wb") as copy:
        shutil.copyfileobj(source, copy)
    permissions = stat.S_IMODE(mode) or FILE_MODE  # 0: made by a tool without Unix modes
    if not permissions & stat.S_IROTH:
        log(
            f"{member.filename} has mode {permissions:o} in its zip: Lambda's user cannot read it. "
            "Give it 644 (755 for programs)."
        )
    for_others = permissions & 0o005
    path.chmod(for_others << 6 | for_others << 3 | for_others)
    # Keep the zip's date: with another one, precompiled bytecode would count as out of date and be
    # compiled again.
    moment = calendar.timegm((*member.date_time, 0, 0, 0))
    os.utime(path, (moment, moment))


def remove_tree(directory: Path) -> None:
    """Remove a directory with read-only files and folders in it; a missing one is no error."""
    for parent, _, _ in os.walk(directory):
        Path(parent).chmod(0o700)  # private, as the whole was
    shutil.rmtree(directory, ignore_errors=True)
