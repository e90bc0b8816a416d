"""Turns folders of MIDI into arrays that a trainer can draw windows from.

Reads files on all cores, keeps near-duplicates on one side of the split, and caches the result.
Depends on neither the model, nor how a piece is read (piece.py), nor the rule of the split
(held_out.py).

    python -m training.data.dataset --data FOLDER [--data FOLDER ...] --out dataset.npz
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from itertools import compress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from midi_save import clean as clean_module
from midi_save import midi_file as midi_file_module
from midi_save import reading as reading_module
from music import grammar as grammar_module
from music import inputs as inputs_module
from music import tracker as tracker_module
from music.inputs import TRACKED, Tracked
from training import options
from training.data import archive, held_out, manifest, near_duplicates, reasons, reserved
from training.data import attribution as attribution_module
from training.data import names as names_module
from training.data import piece as piece_module
from training.data import tokenizer as tokenizer_module
from training.data.archive import Source, find_all
from training.data.attribution import Credits, credits_of
from training.data.dataset_report import FileRow, Report, by_reason, totals, write_files
from training.data.names import escape_output, shown
from training.data.near_duplicates import grouped
from training.data.piece import Piece, read_piece, tokens_of_process
from training.data.provenance import Training
from training.data.reasons import remedy_for
from training.options import Parser

FEW_FILES = 64  # fewer are read in this process: starting others takes longer


@dataclass
class Dataset:
    """All pieces end to end, each ``BOS style ... EOS``.

    ids int16 [N]; tracked: what the tracker says after each [N]; starts int64 [pieces + 1]; for
    each piece its style id, notes, seconds, name and whether it is for validation or for the test:
    never for both, and a training piece for neither. credits: whom the licences ask to name.
    """

    ids: NDArray[np.int16]
    tracked: Tracked
    starts: NDArray[np.int64]
    style_ids: NDArray[np.int16]
    notes: NDArray[np.int32]
    seconds: NDArray[np.float32]
    validation: NDArray[np.bool_]
    test: NDArray[np.bool_]
    names: NDArray[np.str_]
    credits: Credits

    @property
    def training(self) -> NDArray[np.bool_]:
        """Which pieces are trained on, bool [pieces]."""
        return ~(self.validation | self.test)

    def parts(self) -> list[str]:
        """For what each piece is used: ``training``, ``validation`` or ``test``."""
        found = np.where(self.validation, "validation", np.where(self.test, "test", "training"))
        return [str(part) for part in found]

    def save(self, path: Path) -> None:
        arrays = {k: v for k, v in vars(self).items() if k not in ("tracked", "credits")}
        partial = path.with_suffix(".partial.npz")
        arrays["credits"] = np.array(json.dumps(self.credits))
        np.savez(partial, **arrays, **vars(self.tracked))
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Dataset:
        """Raises ValueError for a dataset of another version."""
        with np.load(path) as arrays:
            names = [k for k in cls.__dataclass_fields__ if k != "tracked"]
            if missing := {*names, *TRACKED} - set(arrays.files):
                raise ValueError(
                    f"{path} was written by another version, without {', '.join(sorted(missing))}: "
                    "run training.data.dataset again, or give another --dataset"
                )
            fields = {k: arrays[k] for k in names}
            fields["credits"] = json.loads(str(fields["credits"]))
            return cls(tracked=Tracked(**{k: arrays[k] for k in TRACKED}), **fields)

    def sha256(self) -> str:
        """A hash of the pieces and their split: of what a training learns and must not see."""
        digest = hashlib.sha256(self.ids.tobytes())
        digest.update(self.validation.tobytes() + self.test.tobytes())
        return digest.hexdigest()

    def provenance(self) -> Training:
        """The record that a model trained on this dataset keeps of it."""
        return Training(
            self.sha256(), int(self.training.sum()), len(self.ids), credits=self.credits
        )


def build_dataset(pieces: list[Piece]) -> tuple[Dataset, Counter[str]]:
    """The dataset of the usable pieces, and how many tokens the grammar would have forbidden."""
    groups = grouped([(p.source.group, p.shingles) for p in pieces])
    sources = [piece.source for piece in pieces]
    validation, test = held_out.split(sources, groups)
    tokenizer = tokens_of_process().tokenizer
    dataset = Dataset(
        starts=np.cumsum([0, *(len(p.ids) for p in pieces)], dtype=np.int64),
        ids=np.concatenate([p.ids for p in pieces]),
        tracked=Tracked.joined(p.tracked for p in pieces if p.tracked),
        style_ids=np.array([tokenizer[f"Style_{s.style}"] for s in sources], np.int16),
        notes=np.array([p.notes for p in pieces], np.int32),
        seconds=np.array([p.seconds for p in pieces], np.float32),
        validation=validation,
        test=test,
        names=np.array([source.path.name for source in sources]),
        credits=credits_of(sources),
    )
    return dataset, sum((p.forbidden for p in pieces), Counter())


@dataclass
class Prepared:
    """A dataset, the report on it, and the files that are in it."""

    dataset: Dataset
    report: Report
    sources: list[Source]

    def copy_held_out(self, folder: Path) -> Path:
        """Copies the held-out files to ``folder/validation/STYLE/`` and ``folder/test/STYLE/``.

        They replace those of an earlier call. Returns ``folder``.
        """
        for part in ("validation", "test"):
            held_out.copy(compress(self.sources, getattr(self.dataset, part)), folder / part)
        return folder


def prepare(
    folders: Iterable[Path], out: Path, workers: int | None = None, *, fresh: bool = False
) -> Prepared:
    """Reads every folder, writes the dataset to ``out`` and its report beside it, as JSON.

    What became of each file is written beside it too, as CSV, also when none can be used. An
    existing dataset of the same files, made by the same code, is used as it is, unless ``fresh``.

    Raises:
        ValueError: a folder without MIDI, a manifest that cannot be read, or no usable piece.
    """
    sources = find_all(folders)
    fingerprint = _fingerprint(sources)
    report_path, files_path = out.with_suffix(".json"), out.with_suffix(".csv")
    if not fresh and files_path.exists() and (made := _made_before(out, report_path, fingerprint)):
        print(f"{shown(out)}: same files and code as when it was made, so it is taken as it is")
        return _prepared(*made, sources, files_path)
    pieces = _read_all(sources, workers or os.cpu_count() or 1)
    kept = [i for i, piece in enumerate(pieces) if not piece.why]
    left_out = by_reason((piece.why, piece.source.path) for piece in pieces if piece.why)
    out.parent.mkdir(parents=True, exist_ok=True)
    # Whatever ends this run from here on, the next one does not take these files for a whole.
    report_path.unlink(missing_ok=True)
    if not kept:
        write_files((_row_of(piece) for piece in pieces), files_path)
        counts = ", ".join(f"{why} {len(paths)}" for why, paths in left_out.items())
        raise ValueError(
            f"none of {len(pieces)} files can be used: {counts}; {shown(files_path)} says of each "
            "file what to do"
        )
    dataset, forbidden = build_dataset([pieces[i] for i in kept])
    numbers = {
        "notes": dataset.notes,
        "seconds": dataset.seconds,
        "tokens": np.diff(dataset.starts),
    }
    report = Report(
        fingerprint=fingerprint,
        pieces=len(kept),
        files=len(pieces),
        tokens=len(dataset.ids),
        notes=int(dataset.notes.sum()),
        minutes=round(float(dataset.seconds.sum()) / 60, 1),
        validation=int(dataset.validation.sum()),
        test=int(dataset.test.sum()),
        styles=totals([sources[i].style for i in kept], numbers),
        collections=totals([sources[i].collection for i in kept], numbers),
        seconds=[round(float(np.quantile(dataset.seconds, q)), 1) for q in (0, 0.1, 0.5, 0.9, 1)],
        kept=kept,
        left_out=left_out,
        remarks=[source.note for source in sources if source.note],
        forbidden=dict(forbidden.most_common()),
        mended=by_reason((r, pieces[i].source.path) for i in kept for r in pieces[i].repairs),
    )
    used = dict(zip(kept, dataset.parts(), strict=True))
    write_files((_row_of(piece, used.get(i)) for i, piece in enumerate(pieces)), files_path)
    if not dataset.training.any():
        raise ValueError(
            f"all {len(kept)} usable pieces are held out, as versions of one that is reserved for "
            f"the test: add others; {shown(files_path)} names them"
        )
    dataset.save(out)
    report.save(report_path)
    return _prepared(dataset, report, sources, files_path)


def _prepared(
    dataset: Dataset, report: Report, sources: list[Source], files_path: Path
) -> Prepared:
    print(report.summary())
    print(f"what became of each file, and what to do: {shown(files_path)}")
    return Prepared(dataset, report, [sources[i] for i in report.kept])


def _row_of(piece: Piece, used: str | None = None) -> FileRow:
    """What became of a file; ``used`` says for what it is used, if for anything."""
    source = piece.source
    return FileRow(
        file=shown(source.path),
        used=used or "no",
        reason=piece.why,
        remedy=remedy_for(piece.why) if piece.why else "",
        repairs="; ".join(piece.repairs),
        style=source.style,
        style_from=source.style_from,
        note=source.note,
    )


def _read_all(sources: list[Source], workers: int) -> list[Piece]:
    progress = tqdm(total=len(sources), desc="reading MIDI", unit="file", disable=None)
    pieces = []
    with progress:
        if workers == 1 or len(sources) < FEW_FILES:
            for source in sources:
                pieces.append(read_piece(source))
                progress.update()
            return pieces
        # Spawned, not forked: torch, which miditok imports, has threads, and a forked process would
        # hang on its copies of their locks.
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            for piece in pool.map(read_piece, sources, chunksize=16):
                pieces.append(piece)
                progress.update()
    return pieces


def _fingerprint(sources: list[Source]) -> str:
    """A hash of the files and of all code that decides what becomes of them."""
    digest = hashlib.sha256(version("miditok").encode())
    digest.update(version("symusic").encode())
    modules = (
        archive,
        attribution_module,
        held_out,
        manifest,
        names_module,
        near_duplicates,
        piece_module,
        reasons,
        reserved,
        tokenizer_module,
        clean_module,
        midi_file_module,
        reading_module,
        inputs_module,
        tracker_module,
        grammar_module,
    )
    code = (__file__, *(module.__file__ for module in modules))
    for file in (*code, held_out.TEST_PIECES_FILE):
        digest.update(Path(file or "").read_bytes())
    for s in sources:
        facts = (str(s.path), s.style, s.group, s.why, s.sha256, s.note, dict(s.facts))
        digest.update(json.dumps(facts).encode())
    return digest.hexdigest()


def _made_before(out: Path, report_path: Path, fingerprint: str) -> tuple[Dataset, Report] | None:
    if not out.exists() or not report_path.exists():
        return None
    try:
        report, dataset = Report.load(report_path), Dataset.load(out)
    except (ValueError, OSError, KeyError):  # written by another version, or damaged
        return None
    same = report.fingerprint == fingerprint and report.tokens == len(dataset.ids)
    return (dataset, report) if same else None


def main() -> None:
    parser = Parser("training.data.dataset", "Prepare a training set from folders of MIDI.")
    add = parser.add_argument
    add("--data", type=options.folder, action="append", required=True, help="folder of MIDI")
    # A report of the same name in .json lies beside it.
    add("--out", type=options.new_file(".npz"), default="build/dataset.npz")
    add(
        "--report",
        type=options.new_file(".md", ".json"),
        help="write what was kept and why not; .md or .json",
    )
    add("--fresh", action="store_true", help="read all files again")
    add("--workers", type=options.whole(1), help="processes; default: one per core")
    add(
        "--held-out",
        type=options.new_folder,
        help="copy the held-out files here, to validation/ and test/, for the evaluation",
    )
    a = parser.parse_args()
    escape_output()
    inside = [f for f in a.data if a.held_out and a.held_out.resolve().is_relative_to(f.resolve())]
    if inside:
        parser.error(f"--held-out: in {inside[0]} the copies would be read as data: name another")
    try:
        prepared = prepare(a.data, a.out, a.workers, fresh=a.fresh)
        if a.report:
            prepared.report.save(a.report)
        if a.held_out:
            prepared.copy_held_out(a.held_out)
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
