"""Which pieces are reserved for testing, so that no training set may hold them.

Reads the lines of reserved.txt, and recognizes a file as one of its pieces by its bytes, its Bach
work number, its folder in the Mutopia Project or the score that it was made from. Depends on
neither MIDI nor manifests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

RESERVED_FILE = Path(__file__).with_name("reserved.txt")
KINDS_OF_LINES = ("sha256", "bach", "mutopia", "source")  # in the order of Reserved's fields

_WORK = re.compile(r"bwv[-_ ]?0*(\d[\w.-]*?)(\.(midi?|mxl|xml|musicxml|krn|ly))*")
_HASH = re.compile(r"[0-9a-f]{64}")
_PARTS_OF_A_PIECE = re.compile(r"-(lys|mids)$")  # Mutopia's folders for a piece of several files


def bach_work(name: str) -> str | None:
    """The work number that a file is named after: ``159.5`` for BWV159.5.mxl; None for others.

    A variant has a number of its own: ``190.7-inst``.
    """
    found = _WORK.fullmatch(name.lower())
    return found[1] if found else None


def mutopia_piece(path: str) -> str:
    """The folder of a file's piece in Mutopia, such as ``AguadoD/O11/aguado-op11n03``."""
    folder = PurePosixPath(path.replace("\\", "/")).parent
    while _PARTS_OF_A_PIECE.search(folder.name):
        folder = folder.parent
    parts = folder.parts
    return "/".join(parts[parts.index("ftp") + 1 :] if "ftp" in parts else parts)


@dataclass(frozen=True)
class Reserved:
    """The reserved pieces: hashes, Bach work numbers, Mutopia's folders, other scores."""

    hashes: frozenset[str] = frozenset()
    works: frozenset[str] = frozenset()
    pieces: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, lines: Iterable[str]) -> Reserved:
        """Raises ValueError with the line that is none of the four forms."""
        found: dict[str, set[str]] = {kind: set() for kind in KINDS_OF_LINES}
        for number, line in enumerate(lines, start=1):
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            kind, _, value = text.partition(" ")
            value = value.strip()
            key: str | None = None
            if kind == "sha256" and _HASH.fullmatch(value.lower()):
                key = value.lower()
            elif kind == "bach":
                key = bach_work(value)
            elif kind == "mutopia" and "/" in mutopia_piece(value):  # no folder of a composer
                key = mutopia_piece(value)
            elif kind == "source" and ", " in value:
                key = value
            if key is None:
                raise ValueError(
                    f"reserved pieces, line {number}: {text[:60]!r} is none of 'sha256 HASH', "
                    "'bach bwvN.N', 'mutopia PATH', 'source COLLECTION, PATH'"
                )
            found[kind].add(key)
        return cls(*(frozenset(found[kind]) for kind in KINDS_OF_LINES))

    @classmethod
    def load(cls, path: Path = RESERVED_FILE) -> Reserved:
        """Raises ValueError for a line that cannot be read: its piece would be trained on."""
        return cls.parse(path.read_text(encoding="utf-8").splitlines())

    def holds(self, path: Path, sha256: str = "", source: str = "") -> bool:
        """Whether a file is one of the pieces, by its bytes, its name or where it came from.

        Args:
            source: where a manifest says that the file came from, such as ``ftp/A/B/b/b.ly``.
        """
        return (
            sha256 in self.hashes
            or bach_work(path.name) in self.works
            or bach_work(PurePosixPath(source).name) in self.works
            or mutopia_piece(source) in self.pieces
            or source in self.sources
            or self._in_a_reserved_folder(path.parent.as_posix())
        )

    def _in_a_reserved_folder(self, folder: str) -> bool:
        parts = [part for part in folder.split("/") if part]
        return any(
            "/".join(parts[first:last]) in self.pieces
            for first in range(len(parts))
            for last in range(first + 2, len(parts) + 1)
        )
