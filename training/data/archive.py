"""Finds the MIDI files of an archive: their styles, their groups, and which are not to be read.

Nothing is dropped silently: a file that cannot be used comes back with the reason. Depends on
neither MIDI nor how pieces are cleaned: no file is opened as MIDI.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from training.data.manifest import (
    MANIFEST,
    STYLE_NAMES,
    SUFFIXES,
    Row,
    matched,
    rows_of,
    style_word,
)
from training.data.names import shown
from training.data.reasons import (
    ABSENT,
    COPY,
    HIDDEN,
    PACKED,
    RESERVED,
    UNNAMED,
    UNREADABLE,
)
from training.data.reserved import Reserved

PACKED_SUFFIXES = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz")
LARGEST_BYTES = 8_000_000  # a symphony has half a megabyte; more is no score


@dataclass
class Source:
    """One file to read: its style, and the group that must stay on one side of the split.

    ``why`` is set when the file is not to be read; ``facts`` is its row of a manifest;
    ``collection`` is the top-level folder of the archive that it is in, for counts; ``style_from``
    says what gave the style, and ``note`` what a person should know of its row. ``sha256`` is of
    its bytes; without one it could not be read at all.
    """

    path: Path
    style: str
    group: str = ""
    why: str = ""
    sha256: str = ""
    collection: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    style_from: str = ""
    note: str = ""


def find_sources(folder: Path, reserved: Reserved | None = None) -> list[Source]:
    """Every MIDI file under ``folder`` in the order of its path, with style, group and hash.

    A ``manifest.csv`` at any level gives, for paths relative to itself, ``style`` and optionally
    ``group``; rows that a manifest marks as badly converted (``tempo_given`` other than yes,
    ``out_of_range`` over 0.05, ``barcheck_failures`` over 10, style Technique) are left out, as
    are the pieces in ``reserved`` (default: reserved.txt beside this module). Links are followed,
    each folder once; hidden folders are not looked at. Behind the MIDI files comes, each with the
    reason, what else may have been meant: folders that cannot be opened, packed files, hidden ones,
    MIDI under other names, and rows of manifests whose file is not there.

    Raises:
        ValueError: a manifest or the reserved list cannot be read.
    """
    reserved = Reserved.load() if reserved is None else reserved
    paths, manifests, others = _walk(folder)
    rows, absent = matched((row for m in manifests for row in rows_of(m)), paths)
    found = [_source(path, folder, rows.get(path), reserved) for path in sorted(paths)]
    for row in absent:
        others.append((row.target, f"{ABSENT}: {row.where}"))
    return found + [Source(path, "other", why=why) for path, why in others]


def find_all(folders: Iterable[Path], reserved: Reserved | None = None) -> list[Source]:
    """The files of several folders, each given once; copies of a file are marked as such.

    Raises:
        ValueError: a folder is missing, or holds no MIDI file.
    """
    sources: dict[str, Source] = {}
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{shown(folder)} is no folder: name one that holds .mid files")
        found = find_sources(folder, reserved)
        if not found:
            raise ValueError(f"no .mid file under {shown(folder)}")
        for source in found:
            path = os.path.abspath(source.path)  # noqa: PTH100  # Path has no such method
            if path not in sources or not sources[path].sha256:
                sources[path] = source
    files = list(sources.values())
    mark_copies(files)
    return files


def mark_copies(sources: Iterable[Source]) -> None:
    """Sets ``why`` of those that have the bytes of another one, whatever their names.

    The original is one that is reserved, if there is any, or else one that a manifest describes; of
    several, the one with the shortest name: ``tune.mid``, not ``tune (1).mid``. So a copy of a file
    that is left out is left out too.
    """
    originals: dict[str, Source] = {}
    for source in sorted((source for source in sources if source.sha256), key=_rank):
        original = originals.setdefault(source.sha256, source)
        if original is not source and not source.why:
            source.why = f"{COPY}: {shown(original.path)}"


def _rank(source: Source) -> tuple[bool, bool, int, str]:
    return source.why != RESERVED, not source.facts, len(source.path.name), str(source.path)


def _walk(folder: Path) -> tuple[list[Path], list[Path], list[tuple[Path, str]]]:
    """Paths named like MIDI, folders too; manifests; other things that may be meant, and why not.

    No folder is entered twice, whatever links there are.
    """
    paths: list[Path] = []
    manifests: list[Path] = []
    others: list[tuple[Path, str]] = []
    entered: set[str] = set()

    def refused(error: OSError) -> None:
        others.append((Path(os.fsdecode(error.filename)), f"{UNREADABLE}: {_said(error)}"))

    for here, folders, files in os.walk(folder, onerror=refused, followlinks=True):
        real = os.path.realpath(here)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths += [Path(here, name) for name in folders if name.lower().endswith(SUFFIXES)]
        for name in sorted(files):
            path = Path(here, name)
            if name.lower() == MANIFEST:
                manifests.append(path)
            elif name.lower().endswith(SUFFIXES) and not name.startswith("."):
                paths.append(path)
            elif why := _perhaps_meant(path):
                others.append((path, why))
    return paths, sorted(manifests), others


def _perhaps_meant(path: Path) -> str:
    """Why a file is not read that may be, or hold, MIDI after all; empty for other files."""
    name = path.name.lower()
    if name.startswith("."):
        return HIDDEN if name.endswith(SUFFIXES) else ""
    if name.endswith(PACKED_SUFFIXES):
        return PACKED
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would never end
            return ""
        with path.open("rb") as file:
            begin = file.read(12)
    except OSError:
        return ""
    midi = begin.startswith(b"MThd") or (begin.startswith(b"RIFF") and begin.endswith(b"RMID"))
    return UNNAMED if midi else ""


def _source(path: Path, folder: Path, row: Row | None, reserved: Reserved) -> Source:
    inside = path.relative_to(folder).parts
    style, style_from = "other", ""
    for name in (*reversed(inside[:-1]), folder.name):
        if style_word(name) in STYLE_NAMES:
            style, style_from = STYLE_NAMES[style_word(name)], f"folder {shown(name)}"
            break
    if row is not None and row.style is not None:
        style, style_from = row.style, row.where
    collection = shown(inside[0] if len(inside) > 1 else folder.name)
    source = Source(path, style, collection=collection, style_from=style_from)
    if row is not None:
        source.group, source.facts, source.note = row.group, row.facts, row.note
    try:
        if why := _not_a_file(path):
            source.why = f"{UNREADABLE}: {why}"
            return source
        source.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        source.why = f"{UNREADABLE}: {_said(error)}"
        return source
    if reserved.holds(path, source.sha256, source.facts.get("source", "")):
        source.why = RESERVED
    elif row is not None:
        source.why = row.marked_as_bad()
    return source


def _not_a_file(path: Path) -> str:
    """Why the path is not one of a file of a usual size; empty if it is. Raises OSError."""
    if path.is_symlink() and not path.exists():
        return "a broken link"
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        return "a folder"
    if not stat.S_ISREG(found.st_mode):  # reading a pipe would never end
        return "no file"
    if found.st_size == 0:
        return "empty"
    if found.st_size > LARGEST_BYTES:
        return f"larger than {LARGEST_BYTES // 1_000_000} MB"
    return ""


def _said(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
