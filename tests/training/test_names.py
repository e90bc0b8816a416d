"""Names of files are bytes: whatever they are, nothing ends, and what is printed is text."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from symusic.core import NoteSecond, ScoreSecond, TrackSecond

from tests.training.conftest import write_tune
from training.data.attribution import attribution_text, credits_of
from training.data.dataset import Dataset, prepare
from training.data.names import folded, shown
from training.evaluation.evaluate import evaluate
from training.evaluation.piano_roll import draw_piano_roll

LATIN = b"Pr\xe9.mid"
ODD = (
    LATIN,
    b'two\nlines, one "quoted".mid',
    b"0 Tu$ne - a_b_c_d$.mid",
    b"-rf.mid",
    "\u202eright to left é.mid".encode(),
    b"=1+1.mid",
    b"x" * 120 + b"\xff" * 131 + b".mid",  # 255 bytes, as many as there may be
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tunes of odd names, in a folder of an odd name."""
    root = tmp_path_factory.mktemp("names")
    for seed, name in enumerate(ODD):
        tune = write_tune(root / "tune.mid", seed)
        target = root / "in" / os.fsdecode(b"caf\xe9 | $x$") / os.fsdecode(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(tune, target)
    row = "caf\xe9 | $x$\\Pr\xe9.mid,Sch\xf6n\n"
    (root / "in" / "manifest.csv").write_text(f"file,style\n{row}", encoding="latin-1")
    return root / "in"


@given(st.binary(min_size=1, max_size=40))
def test_any_name_is_shown_as_printable_text_and_folds_with_itself(name: bytes) -> None:
    text = shown(os.fsdecode(name))
    assert text.isprintable() and text.encode()
    assert folded(os.fsdecode(name)) == folded(Path(os.fsdecode(name)).as_posix()) or b"/" in name


def test_a_byte_that_is_not_utf8_is_shown_as_such() -> None:
    assert shown(os.fsdecode(LATIN)) == r"Pr\xe9.mid" and shown("é\n") == r"é\n"


def test_files_of_any_name_become_a_data_set_with_its_reports(folder: Path, tmp_path: Path) -> None:
    prepared = prepare([folder], tmp_path / "set.npz")
    assert prepared.report.pieces == len(ODD)
    loaded = Dataset.load(tmp_path / "set.npz")
    assert set(map(os.fsencode, loaded.names)) == set(ODD)
    assert prepare([folder], tmp_path / "set.npz").sources == prepared.sources, "taken as it is"
    for suffix in (".md", ".json"):
        prepared.report.save(tmp_path / f"copy{suffix}")
    assert r"caf\xe9 / $x$" in (tmp_path / "copy.md").read_text(encoding="utf-8")
    assert r"Pr\xe9.mid" in (tmp_path / "set.csv").read_text(encoding="utf-8")
    for source in prepared.sources:
        source.facts = {"licence": "CC BY 4.0"}
    text = attribution_text(credits_of(prepared.sources)).encode().decode()
    assert r"Pr\xe9" in text and r"two\nlines" in text


def test_held_out_files_of_any_name_are_copied_and_evaluated(folder: Path, tmp_path: Path) -> None:
    prepared = prepare([folder], tmp_path / "set.npz")
    prepared.dataset.validation[:] = True
    prepared.dataset.test[:] = False
    for _ in range(2):
        real = prepared.copy_held_out(tmp_path / "out") / "validation"
        assert len(list(real.rglob("*.mid"))) == len(ODD)
    (real / os.fsdecode(b"br\xf6ken.mid")).write_bytes(b"<html>")
    shutil.copy(real / "other" / next(os.walk(real / "other"))[2][0], real / "copy (1).mid")
    report = evaluate(None, real, seconds=10, generated=folder, workers=1)
    said = report.table()
    assert said.encode() and r"br\xf6ken.mid: unreadable: not a MIDI file" in said
    assert "copy of another file" in said, "of real pieces one is enough"
    assert len(report.real) == len(report.generated or ()) == len(ODD)


def test_a_name_in_the_title_of_a_picture_is_text_not_a_formula(tmp_path: Path) -> None:
    track = TrackSecond("$a_b_c$", 0, False)
    track.notes.append(NoteSecond(0, 1, 60, 64))
    drums = TrackSecond("", 0, True)
    drums.notes.append(NoteSecond(0, 1, 35, 64))
    score = ScoreSecond(480)
    score.tracks.append(track)
    score.tracks.append(drums)
    figure = Figure()
    axes = figure.subplots()
    draw_piano_roll(score, axes, os.fsdecode(b"$a_b_c$ \xe9.mid"))
    figure.savefig(tmp_path / "roll.png")
    assert axes.get_title(loc="left") == r"$a_b_c$ \xe9.mid"
    (notes,) = axes.containers
    assert np.all([bar.get_y() > 59 for bar in notes]), "drums are no pitches"


def test_a_terminal_that_knows_ascii_only_is_told_in_ascii(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.data.dataset", "--data", str(folder), "--out"]
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    made = subprocess.run(
        [*command, str(tmp_path / "é.npz")],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **plain},
        capture_output=True,
        check=True,
    )
    assert made.stdout.isascii() and b"7 of 7 pieces" in made.stdout
    assert rb"no style is called 'Sch\xf6n'" in made.stdout
