"""Finds the MIDI files of an archive: their styles, their groups, and which are not to be read.

Nothing is dropped silently: a file that cannot be used comes back with the reason. Depends on
neither MIDI nor how pieces are cleaned: no file is opened as MIDI.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from training.data.reserved import Reserved
from training.data.tokenizer import STYLES

# words in a manifest or a folder's name that mean one of the styles
STYLE_WORDS = {
    **{style: style for style in STYLES},
    "romantique": "romantic",
    "romanticism": "romantic",
    "modern": "romantic",
    "avant-garde": "romantic",
    "motet": "renaissance",
    "song": "romantic",
    "bach-chorales": "chorale",
    "chorales": "chorale",
    "hymns": "hymn",
}
SUFFIXES = (".mid", ".midi", ".kar", ".rmi")
MANIFEST = "manifest.csv"
RESERVED = "reserved for testing"
LARGEST_BYTES = 8_000_000  # a symphony has half a megabyte; more is no score
MAX_OUT_OF_RANGE, MAX_BAR_CHECK_FAILURES = 0.05, 10


@dataclass
class Source:
    """One file to read: its style, and the group that must stay on one side of the split.

    ``why`` is set when the file is not to be read; ``facts`` is its row of a manifest;
    ``collection`` is the top-level folder of the archive that it is in, for counts.
    """

    path: Path
    style: str
    group: str = ""
    why: str = ""
    sha256: str = ""
    collection: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


def find_sources(folder: Path, reserved: Reserved | None = None) -> list[Source]:
    """Every MIDI file under ``folder`` in the order of its path, with style, group and hash.

    A ``manifest.csv`` at any level gives, for paths relative to itself, ``style`` and optionally
    ``group``; rows that a manifest marks as badly converted (``tempo_given`` other than yes,
    ``out_of_range`` over 0.05, ``barcheck_failures`` over 10, style Technique) are left out, as
    are the pieces in ``reserved`` (default: reserved.txt beside this module). Links are followed,
    each folder once; hidden files and folders are not looked at.

    Raises:
        ValueError: a manifest or the reserved list cannot be read.
    """
    reserved = Reserved.load() if reserved is None else reserved
    paths, manifests, closed = _walk(folder)
    rows = {path: row for manifest in manifests for path, row in _rows(manifest)}
    found = [_source(path, folder, rows.get(path, {}), reserved) for path in sorted(paths)]
    return found + [Source(path, "other", why=f"unreadable: {w}") for path, w in closed]


def find_all(folders: Iterable[Path]) -> list[Source]:
    """The files of several folders, each read once; copies of a file are marked as such.

    Raises:
        ValueError: a folder is missing, or holds no MIDI file.
    """
    sources: list[Source] = []
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{folder} is no folder: name one that holds .mid files")
        found = find_sources(folder)
        if not found:
            raise ValueError(f"no .mid file under {folder}")
        sources += found
    seen: set[tuple[str, str]] = set()
    for source in sources:
        if not source.why:
            key = (source.path.name, source.sha256)
            source.why = "copy of another file" if key in seen else ""
            seen.add(key)
    return sources


def _walk(folder: Path) -> tuple[list[Path], list[Path], list[tuple[Path, str]]]:
    """Paths named like MIDI, folders too; manifests; folders that cannot be opened, and why.

    No folder is entered twice, whatever links there are.
    """
    paths: list[Path] = []
    manifests: list[Path] = []
    closed: list[tuple[Path, str]] = []
    entered: set[str] = set()

    def refused(error: OSError) -> None:
        closed.append((Path(error.filename), (error.strerror or str(error)).lower()))

    for here, folders, files in os.walk(folder, onerror=refused, followlinks=True):
        real = os.path.realpath(here)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        shown = [name for name in files if not name.startswith(".")]
        paths += [Path(here, n) for n in (*folders, *shown) if n.lower().endswith(SUFFIXES)]
        manifests += [Path(here, n) for n in shown if n == MANIFEST]
    return paths, sorted(manifests), closed


def _rows(manifest: Path) -> list[tuple[Path, dict[str, str]]]:
    """The rows of a manifest by the path of their file."""
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as lines:
            rows = list(csv.DictReader(lines, restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{manifest} cannot be read ({error}): save it as UTF-8 CSV") from error
    if rows and "file" not in rows[0]:
        raise ValueError(f"{manifest} has no column 'file': name the files, relative to it, in one")
    known = [{k: v for k, v in row.items() if isinstance(k, str)} for row in rows]
    return [(manifest.parent / r["file"], {**r, "manifest": str(manifest.parent)}) for r in known]


def _source(path: Path, folder: Path, row: Mapping[str, str], reserved: Reserved) -> Source:
    inside = path.relative_to(folder).parts
    words = [row.get("style", ""), *reversed(inside[:-1]), folder.name]
    style = next((STYLE_WORDS[w.lower()] for w in words if w.lower() in STYLE_WORDS), "other")
    group = f"{row['manifest']}:{row['group']}" if row.get("group") else ""
    collection = inside[0] if len(inside) > 1 else folder.name
    source = Source(path, style, group, collection=collection, facts=row)
    if not path.is_file():  # reading a pipe would never end
        kind = "a folder" if path.is_dir() else "a broken link" if path.is_symlink() else "no file"
        source.why = f"unreadable: {kind}"
        return source
    try:
        if path.stat().st_size > LARGEST_BYTES:
            source.why = f"unreadable: larger than {LARGEST_BYTES // 1_000_000} MB"
            return source
        source.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        source.why = f"unreadable: {(error.strerror or str(error)).lower()}"
        return source
    if reserved.holds(path, source.sha256, row.get("source", "")):
        source.why = RESERVED
    else:
        source.why = _marked_as_bad(row)
    return source


def _marked_as_bad(row: Mapping[str, str]) -> str:
    """Why a manifest's row says that its conversion went wrong; empty when it does not."""
    if row.get("style") == "Technique":
        return "manifest: a technical study"
    if row.get("tempo_given", "yes") != "yes":
        return "manifest: no tempo given"
    if _number(row, "out_of_range") > MAX_OUT_OF_RANGE:
        return "manifest: notes out of range"
    if _number(row, "barcheck_failures") > MAX_BAR_CHECK_FAILURES:
        return "manifest: bars that do not add up"
    return ""


def _number(row: Mapping[str, str], column: str) -> float:
    text = row.get(column) or "0"
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"{row['manifest']}/{MANIFEST}, {row['file']}: {column} must be a number, "
            f"not {text[:20]!r}"
        ) from None
