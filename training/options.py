"""Options of the commands `python -m training...`, checked before any work.

A mistake ends a command with status 2 and one line, which names the option and the way out. Depends
on neither data nor models.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import stat
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn, TypeVar

Read = TypeVar("Read")

DATASET = "a data set, as training.data.dataset writes it"  # in messages
HALF_WRITTEN = ".partial"  # as long as what any command adds to the name of a file
ROOM_BYTES = 100e6  # free on the disk that a command is to write to


class Parser(argparse.ArgumentParser):
    """A parser whose refusals are one line. `prog`: the module, such as training.model.export."""

    def __init__(self, module: str, description: str) -> None:
        super().__init__(prog=f"python -m {module}", description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message.removeprefix('argument ')}\n")

    def read(self, option: str, path: Path, reader: Callable[[Path], Read], what: str) -> Read:
        """What `reader` makes of the file or folder; `what` says what it should have been."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch warns of a file before it refuses it
                return reader(path)
        except Exception as error:  # noqa: BLE001  damaged files make readers raise anything
            said = str(error).partition("\n")[0]
            # Messages of ours name the file and the way out; others are about the file's inside.
            if str(path) not in said:
                said = f"{path} is damaged, or is not {what}"
            self.error(f"{option}: {said}")


def file(made_by: str = "") -> Callable[[str], Path]:
    """The type of an option for a file that is there. `made_by` is the module that makes one."""

    def path_of(text: str) -> Path:
        path = Path(text)
        try:
            if stat.S_ISFIFO(path.stat().st_mode):  # it would be waited for, and can be read once
                raise argparse.ArgumentTypeError(f"{text} is a pipe: name a file")
            with path.open("rb"):
                pass
        except FileNotFoundError as error:
            hint = f": {made_by} makes one, or name another" if made_by else ""
            raise argparse.ArgumentTypeError(f"there is no file {text}{hint}") from error
        except OSError as error:
            raise argparse.ArgumentTypeError(f"{text} cannot be read: {error.strerror}") from error
        return path

    return path_of


def folder(text: str) -> Path:
    """The type of an option for a folder that is there."""
    try:
        os.scandir(text).close()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text} cannot be read: {error.strerror}") from error
    return Path(text)


def new_folder(text: str) -> Path:
    """The type of an option for a folder to write into. It is made, and tried."""
    path = Path(text)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as tried:
            tried.write(b"x" * 4096)
            tried.flush()
        free_bytes = shutil.disk_usage(path).free
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f"{text} cannot be written: {error.strerror}: name another folder"
        ) from error
    if free_bytes < ROOM_BYTES:
        raise argparse.ArgumentTypeError(
            f"the disk of {text} has only {free_bytes / 1e6:.0f} MB left: make room, or name "
            "another folder"
        )
    return path


def new_file(*suffixes: str) -> Callable[[str], Path]:
    """The type of an option for a file to write. Its folder is made, and tried."""

    def path_of(text: str) -> Path:
        path = Path(text)
        if suffixes and path.suffix.lower() not in suffixes:
            raise argparse.ArgumentTypeError(
                f"{text} must end in {' or '.join(suffixes)}, as it is written in that format"
            )
        new_folder(str(path.parent))
        try:  # the name that it has while it is written is longer
            with suppress(FileNotFoundError):
                path.with_name(f"{path.stem}{HALF_WRITTEN}{path.suffix}").stat()
        except OSError as error:
            raise argparse.ArgumentTypeError(
                f"{text} cannot be written: {error.strerror}: name another file"
            ) from error
        if path.exists() and not (path.is_file() and os.access(path, os.W_OK)):
            raise argparse.ArgumentTypeError(
                f"{text} is there and cannot be replaced: name another file"
            )
        return path

    return path_of


def whole(low: int) -> Callable[[str], int]:
    """The type of an option for an integer from `low` on."""

    def number_of(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if value < low:
            raise argparse.ArgumentTypeError(f"must be an integer from {low} on, got {text[:40]!r}")
        return value

    return number_of


def positive(text: str) -> float:
    """The type of an option for a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text[:40]!r}")
    return value
