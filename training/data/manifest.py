"""What a ``manifest.csv`` says of the MIDI files beside and below it.

A row is matched with a file where its meaning is beyond doubt, whatever program or system wrote it.
Rows that match no file are returned too, so that they can be reported. Depends on neither MIDI nor
folders.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from training.data.names import folded, shown
from training.data.tokenizer import STYLES

MANIFEST = "manifest.csv"
SUFFIXES = (".mid", ".midi", ".kar", ".rmi")  # of MIDI files, in lower case
DELIMITERS = ",;\t"
# Words in the names of folders that mean one of the styles.
STYLE_NAMES = {
    **{style: style for style in STYLES},
    "romantique": "romantic",
    "romanticism": "romantic",
    "bach-chorales": "chorale",
    "chorales": "chorale",
    "hymns": "hymn",
}
# Words in the column "style". Those that are added are categories of the Mutopia Project and of
# midi-archive; as the name of a folder, "song" or "modern" says nothing about a style.
STYLE_WORDS = {
    **STYLE_NAMES,
    "modern": "romantic",
    "avant-garde": "romantic",
    "motet": "renaissance",
    "song": "romantic",
}
TECHNIQUE = "technique"
YES, NO = ("yes", "y", "true", "t", "1"), ("no", "n", "false", "f", "0", "")
MAX_OUT_OF_RANGE, MAX_BAR_CHECK_FAILURES = 0.05, 10


@dataclass
class Row:
    """One row; ``facts`` has its columns, in lower case, and ``manifest``, the manifest's folder.

    ``where`` names the row; ``target`` is the file that it names, relative to its manifest.
    ``note`` says what a person should know of it.
    """

    where: str
    target: Path
    facts: Mapping[str, str]
    note: str = ""

    @property
    def group(self) -> str:
        """Its group, unlike those of other manifests; empty for none."""
        name = self.facts.get("group", "")
        return f"{self.facts['manifest']}:{name}" if name else ""

    @property
    def style(self) -> str | None:
        """The style of its word for one; None where there is none, or it is not known."""
        return STYLE_WORDS.get(style_word(self.facts.get("style", "")))

    def marked_as_bad(self) -> str:
        """Why it says that the conversion of its file went wrong; empty where it does not.

        Raises:
            ValueError: a number is none.
        """
        if style_word(self.facts.get("style", "")) == TECHNIQUE:
            return "manifest: a technical study"
        given = self.facts.get("tempo_given", "yes").lower()
        if given in NO:
            return "manifest: no tempo given"
        if given not in YES:
            return "manifest: tempo_given is neither yes nor no"
        if not self._number("out_of_range") <= MAX_OUT_OF_RANGE:  # nan is out of range too
            return "manifest: notes out of range"
        if not self._number("barcheck_failures") <= MAX_BAR_CHECK_FAILURES:
            return "manifest: bars that do not add up"
        return ""

    def _number(self, column: str) -> float:
        text = self.facts.get(column) or "0"
        try:
            return float(text)
        except ValueError:
            raise ValueError(
                f"{self.where}, {self.facts['file']}: {column} must be a number, not {text[:20]!r}"
            ) from None


def style_word(text: str) -> str:
    """A word for a style as the tables have it: ``Bach Chorales`` becomes ``bach-chorales``."""
    return "-".join(folded(text).replace("_", " ").split())


def rows_of(manifest: Path) -> list[Row]:
    """The rows of a manifest.

    Commas, semicolons or tabs may divide its columns, and it may be UTF-8, UTF-16 or Latin-1.

    Raises:
        ValueError: it cannot be read, or has no column ``file``.
    """
    try:
        if not manifest.is_file():  # reading a pipe would never end
            raise OSError("it is no file")
        text = _text(manifest.read_bytes()).strip()
        delimiter = max(DELIMITERS, key=text.partition("\n")[0].count)
        # strict: a quotation mark that is never closed would take in all rows behind it
        reader = csv.DictReader(
            io.StringIO(text, newline=""), restval="", delimiter=delimiter, strict=True
        )
        reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
        if text and "file" not in reader.fieldnames:
            raise ValueError(
                f"{shown(manifest)} has no column 'file': name the files, relative to it, in one"
            )
        rows = [_row(manifest, reader.line_num, row) for row in reader if any(row.values())]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        said = getattr(error, "strerror", None) or error
        if "end of data" in str(error):
            said = "a quotation mark is not closed"
        raise ValueError(
            f"{shown(manifest)} cannot be read ({said}): save it as CSV in UTF-8, or move it away"
        ) from error
    return rows


def _text(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _row(manifest: Path, line: int, cells: Mapping[str | None, str | list[str]]) -> Row:
    # cells beyond the header's columns are a list, under None
    facts = {name: str(cell).strip() for name, cell in cells.items() if name is not None}
    row = Row(
        f"{shown(manifest)}, line {line}",
        manifest.parent / str(cells["file"]),
        {**facts, "manifest": str(manifest.parent)},
    )
    word = facts.get("style", "")
    if word and row.style is None and style_word(word) != TECHNIQUE:
        row.note = f"{row.where}: no style is called {word!r}"
    return row


def matched(rows: Iterable[Row], paths: Iterable[Path]) -> tuple[dict[Path, Row], list[Row]]:
    """The row of each path that has one, and the rows whose file is not there.

    A row names a path exactly; or else after backslashes are turned into slashes, spaces around it
    are taken away, and case, Unicode normal form and encoding are disregarded; or else with another
    suffix. Where several paths are meant equally, none is. Of several rows that name a path in the
    same of these ways the last counts; one that names it more loosely is of another file.
    """
    exact: dict[str, Path] = {}
    loose, bare = defaultdict[str, list[Path]](list), defaultdict[str, list[Path]](list)
    for path in paths:
        name = os.path.normpath(path)
        exact[name] = path
        loose[folded(name)].append(path)
        bare[folded(name)[: -len(path.suffix)]].append(path)
    ways: tuple[list[tuple[Path, Row]], ...] = ([], [], [])
    absent = []
    for row in rows:
        written = row.facts["file"].replace("\\", "/")
        name = folded(os.path.normpath(Path(row.facts["manifest"], written)))
        suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")
        named = exact.get(os.path.normpath(row.target))
        meant = ([named] if named else [], loose[name], bare[name.removesuffix(suffix)])
        number = next((n for n, those in enumerate(meant) if those), None)
        if number is None or len(meant[number]) > 1:
            absent.append(row)
        else:
            ways[number].append((meant[number][0], row))
    found: dict[Path, Row] = {}
    for way in ways:
        before = set(found)
        for path, row in way:
            if path in before:
                absent.append(row)
                continue
            if path in found:
                again = f"{row.where} counts, not the row before it in {found[path].where}"
                row.note = "; ".join(filter(None, (again, row.note)))
            found[path] = row
    return found, absent
