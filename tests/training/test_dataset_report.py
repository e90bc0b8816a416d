"""What a data set's reports say: counts, what became of each file, and what one can do about it."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from tests.training.conftest import write_tune
from training.data import held_out
from training.data.dataset import Dataset, prepare
from training.data.dataset_report import FileRow, Report


def archive_with_a_web_page(archive: Path, tmp_path: Path) -> Path:
    shutil.copytree(archive, tmp_path / "in" / "archive")
    (tmp_path / "in" / "page (1).mid").write_text("<html>")
    return tmp_path / "in"


def file_rows(path: Path) -> dict[str, dict[str, str]]:
    """The rows of a table of files, by name."""
    with path.open(newline="", encoding="utf-8") as file:
        return {Path(row["file"]).name: row for row in csv.DictReader(file)}


def test_preparing_writes_what_loading_reads(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = archive_with_a_web_page(archive, tmp_path)
    made = prepare([folder], tmp_path / "new" / "set.npz", workers=1).dataset
    loaded = Dataset.load(tmp_path / "new" / "set.npz")
    assert np.array_equal(made.ids, loaded.ids)
    assert np.array_equal(made.tracked.sounding_now, loaded.tracked.sounding_now)
    report = capsys.readouterr().out
    assert "12 of 13 pieces" in report and "unreadable 1" in report


def test_the_report_counts_what_is_kept_and_names_what_is_not(
    archive: Path, tmp_path: Path
) -> None:
    folder = archive_with_a_web_page(archive, tmp_path)
    prepared = prepare([folder], tmp_path / "set.npz")
    report = Report.load(tmp_path / "set.json")
    assert report == prepared.report
    assert (report.pieces, report.files, report.tokens) == (12, 13, len(prepared.dataset.ids))
    assert report.styles["folk"]["pieces"] == 4 and report.styles["other"]["pieces"] == 4
    assert report.collections["archive"]["notes"] == report.notes == 12 * 240
    assert sum(row["tokens"] for row in report.styles.values()) == report.tokens
    page = str(folder / "page (1).mid")
    assert list(report.left_out["unreadable"]) == [page]
    assert page not in {str(source.path) for source in prepared.sources}
    report.save(tmp_path / "report.md")
    text = (tmp_path / "report.md").read_text()
    assert f"- {page}: " in text and "| folk | 4 |" in text
    report.save(tmp_path / "copy.json")
    assert json.loads((tmp_path / "copy.json").read_text())["pieces"] == 12


def test_a_table_says_of_each_file_what_became_of_it_and_what_to_do(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = archive_with_a_web_page(archive, tmp_path)
    tune = (folder / "archive" / "folk" / "tune0.mid").read_bytes()
    (folder / "tune0 (1).mid").write_bytes(tune)
    (folder / "cut.mid").write_bytes(write_tune(tmp_path / "cut.mid", 99).read_bytes()[:-1])
    (folder / "manifest.csv").write_text("file,style\ngone.mid,Folk\ncut.mid,Jazz\n")
    report = prepare([folder], tmp_path / "set.npz").report
    rows = file_rows(tmp_path / "set.csv")
    assert len(rows) == report.files == 16 and report.pieces == 13
    kept = [row for row in rows.values() if row["used"] != "no"]
    assert len(kept) == 13 and not any(row["reason"] + row["remedy"] for row in kept)
    assert {row["used"] for row in kept} >= {"training", "validation"}
    assert all(row["reason"] and row["remedy"] for row in rows.values() if row["used"] == "no")
    assert rows["tune0 (1).mid"]["reason"].endswith("archive/folk/tune0.mid")
    assert rows["gone.mid"]["reason"].endswith("manifest.csv, line 2")
    assert rows["cut.mid"]["repairs"] and "'Jazz'" in rows["cut.mid"]["note"]
    assert (rows["tune3.mid"]["style"], rows["tune3.mid"]["style from"]) == ("folk", "folder folk")
    said = capsys.readouterr().out
    assert said.endswith(f"what to do: {tmp_path / 'set.csv'}\n")
    assert "copy of another file 1" in said and "named in a manifest, but not there 1" in said
    assert "rows of manifests to look at: 1; first: " in said and "'Jazz'" in said


def test_the_columns_of_the_table_are_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "retrain.md").read_text(encoding="utf-8")
    for column in fields(FileRow):
        assert f"`{column.name.replace('_', ' ')}`" in page


def test_what_is_held_out_or_is_not_is_said_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for count, said in ((1, "nothing is held out"), (2, "too few pieces for one: evaluate on")):
        write_tune(tmp_path / "in" / f"{count}.mid", count)
        prepared = prepare([tmp_path / "in"], tmp_path / "set.npz")
        assert prepared.dataset.training.sum() == 1 and said in capsys.readouterr().out


def test_a_folder_with_nothing_to_train_on_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune = write_tune(tmp_path / "in" / "tune.mid", 1).read_bytes()
    (tmp_path / "list.txt").write_text(f"sha256 {hashlib.sha256(tune).hexdigest()}\n")
    monkeypatch.setattr(held_out, "TEST_PIECES_FILE", tmp_path / "list.txt")
    with pytest.raises(ValueError, match="all 1 usable pieces are held out"):
        prepare([tmp_path / "in"], tmp_path / "set.npz")


def test_folders_without_a_usable_piece_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no \.mid"):
        prepare([tmp_path], tmp_path / "set.npz")
    with pytest.raises(ValueError, match="is no folder"):
        prepare([tmp_path / "absent"], tmp_path / "set.npz")
    write_tune(tmp_path / "short.mid", 1, notes=10)
    (tmp_path / "more.zip").write_bytes(b"PK")
    said = "none of 2 files can be used: .*too few notes 1.*; .*/build/set.csv says of each file"
    with pytest.raises(ValueError, match=said):
        prepare([tmp_path], tmp_path / "build" / "set.npz")
    rows = file_rows(tmp_path / "build" / "set.csv")
    assert rows["short.mid"]["used"] == rows["more.zip"]["used"] == "no"
    assert (
        rows["short.mid"]["reason"] == "too few notes" and "60 notes" in rows["short.mid"]["remedy"]
    )
    assert rows["more.zip"]["remedy"] == "unpack it into the folder"
    tune = write_tune(tmp_path / "tune.mid", 1)
    content = tune.read_bytes()
    prepare([tmp_path], tmp_path / "build" / "set.npz")
    tune.unlink()
    with pytest.raises(ValueError, match=said):
        prepare([tmp_path], tmp_path / "build" / "set.npz")
    tune.write_bytes(content)  # the table is of the run that failed, so it is made anew
    prepare([tmp_path], tmp_path / "build" / "set.npz")
    assert file_rows(tmp_path / "build" / "set.csv")["tune.mid"]["used"] == "training"
