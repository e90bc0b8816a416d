"""What went into a dataset and what was left out: for the terminal, as Markdown, JSON and CSV.

The CSV has a row for each file, for a person who wants to get it in. Depends on neither MIDI files
nor how they were read.
"""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from training.data.names import shown
from training.data.reasons import kind_of

NOTHING = (
    "\nnothing is held out, so how well a model learns this cannot be measured: add a piece that "
    "is not a version of the others"
)


@dataclass(frozen=True)
class FileRow:
    """What became of one file, in words.

    Attributes:
        used: training, validation, test, or no.
        style_from: the folder or the line of a manifest that gave the style.
        note: what else should be looked at.
    """

    file: str
    used: str
    reason: str = ""
    remedy: str = ""
    repairs: str = ""
    style: str = ""
    style_from: str = ""
    note: str = ""


def write_files(rows: Iterable[FileRow], path: Path) -> None:
    """Writes a row for each file as CSV, with a line of headings."""
    partial = path.with_suffix(".partial.csv")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(f.name.replace("_", " ") for f in fields(FileRow))
        writer.writerows(map(astuple, rows))
    partial.replace(path)


@dataclass
class Report:
    """Counts of a dataset.

    Attributes:
        fingerprint: of the files and the code that the dataset was made of.
        styles, collections: per name, ``pieces``, ``notes``, ``minutes`` and ``tokens``.
        seconds: lengths of the kept pieces, as the quantiles 0, 10, 50, 90 and 100 %.
        kept: the places of the kept files in the list of all.
        left_out: per reason, the paths, each with the details of the reason, if there are any.
        remarks: what should be looked at in manifests, though the files were found.
        mended: per repair that the reader made, the paths of the kept pieces, as in left_out.
        forbidden: per transition, how many tokens the sampler's grammar would have forbidden.
    """

    fingerprint: str
    pieces: int
    files: int
    tokens: int
    notes: int
    minutes: float
    validation: int
    test: int
    styles: dict[str, dict[str, float]]
    collections: dict[str, dict[str, float]]
    seconds: list[float]
    kept: list[int]
    left_out: dict[str, dict[str, str]]
    remarks: list[str] = field(default_factory=list)
    forbidden: dict[str, int] = field(default_factory=dict)
    mended: dict[str, dict[str, str]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Writes JSON, or Markdown to a name that ends in .md."""
        text = self.markdown() if path.suffix == ".md" else json.dumps(asdict(self), indent=1)
        path.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Report:
        """Raises ValueError for a file that is not a report of this version."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(f"{path} is no dataset report: {error}") from error

    def summary(self) -> str:
        """A few lines for people."""
        styles = ", ".join(f"{s} {row['pieces']}" for s, row in self.styles.items())
        out = ", ".join(f"{why} {len(paths)}" for why, paths in self.left_out.items())
        mended = ", ".join(f"{what} {len(paths)}" for what, paths in self.mended.items())
        forbidden = ", ".join(f"{which} {n}" for which, n in self.forbidden.items())
        shortest, _, median, _, longest = self.seconds
        return (
            f"{self.pieces} of {self.files} pieces, {self.minutes / 60:.1f} hours, "
            f"{self.notes:,} notes, {self.tokens:,} tokens, "
            f"{self.validation} for validation, {self.test} for the test"
            f"{self._held_out_said()}\n"
            f"lengths: {shortest:.0f} to {longest:.0f} s, half of them over {median:.0f} s\n"
            f"styles: {styles}\n"
            f"left out: {out or 'none'}\n"
            f"mended: {mended or 'none'}\n"
            f"tokens that the grammar forbids: {forbidden or 'none'}{self._remarks_said()}"
        )

    def _held_out_said(self) -> str:
        if self.test:
            return ""
        return " (too few pieces for one: evaluate on validation/)" if self.validation else NOTHING

    def _remarks_said(self) -> str:
        if not self.remarks:
            return ""
        return f"\nrows of manifests to look at: {len(self.remarks)}; first: {self.remarks[0]}"

    def markdown(self) -> str:
        """The whole report, with each file that was left out."""
        parts = ["# Dataset", self.summary().replace("\n", "\n\n")]
        for title, rows in (("Styles", self.styles), ("Collections", self.collections)):
            parts.append(
                f"## {title}\n| name | pieces | notes | minutes | tokens |\n|---|---|---|---|---|"
            )
            parts[-1] += "".join(
                f"\n| {name.replace('|', '/')} | {row['pieces']:,} | {row['notes']:,} "
                f"| {row['minutes']:,} | {row['tokens']:,} |"
                for name, row in rows.items()
            )
        if self.remarks:
            parts.append("## Manifests\n" + "\n".join(f"- {note}" for note in self.remarks))
        for title, reasons in (("Left out", self.left_out), ("Mended", self.mended)):
            for why, paths in reasons.items():
                lines = (f"- {path}{f': {more}' if more else ''}" for path, more in paths.items())
                parts.append(f"## {title}: {why}\n" + "\n".join(lines))
        return "\n\n".join(parts)


def totals(names: Sequence[str], numbers: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Per name, most pieces first: how many, and the sums of ``notes``, ``seconds``, ``tokens``."""
    rows = {}
    for name, pieces in Counter(names).most_common():
        mine = np.array([n == name for n in names])
        rows[name] = {
            "pieces": pieces,
            "notes": int(numbers["notes"][mine].sum()),
            "minutes": round(float(numbers["seconds"][mine].sum()) / 60, 1),
            "tokens": int(numbers["tokens"][mine].sum()),
        }
    return rows


def by_reason(reasons: Iterable[tuple[str, Path]]) -> dict[str, dict[str, str]]:
    """Paths per reason, the commonest first, each with the reason's details if there are any."""
    paths: dict[str, dict[str, str]] = defaultdict(dict)
    for why, path in reasons:
        kind, more = kind_of(why)
        paths[kind][shown(path)] = more
    return dict(sorted(paths.items(), key=lambda item: -len(item[1])))
