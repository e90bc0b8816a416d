"""Evaluation: overlapped areas, shared runs, the decoder's nats, and the command line."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import pytest
import torch
from dataset import Dataset
from evaluate import EvaluationError, styles_like
from overlap import (
    GRAM_NOTES,
    Hashes,
    RunIndex,
    longest_shared,
    overlapped_area,
    overlapped_areas,
    steps_of,
    training_steps,
)
from scoring import nats_of
from symusic.core import ScoreTick
from tokenizer import make_tokenizer, vocabulary_entries
from torch.nn import functional
from windows import PREFIX, Windows

from generate_tokens.bundle import Bundle
from generate_tokens.compose import Composer
from generate_tokens.state import Vocabulary
from midi_save.clean import clean_score

VOCABULARY = Vocabulary(vocabulary_entries(make_tokenizer()))
KEYS = {
    "nats_per_note",
    "oa",
    "duplicates",
    "consonance",
    "scale_consistency",
    "groove",
    "bar_repetition",
    "longest_shared_run",
    "real",
    "oa_features",
    "skipped",
    "model_id",
    "samples",
    "seed",
}


@pytest.fixture(autouse=True)
def without_a_shipped_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(evaluate, "INDEX", tmp_path / "none.npz")


def random_steps(rng: np.random.Generator, notes: int) -> tuple[Any, Any]:
    """Onsets and pitches of a random line: no run of it is another's by chance."""
    return np.cumsum(rng.integers(1, 30, notes)), rng.integers(30, 100, notes)


def test_a_set_overlaps_itself_and_not_one_far_away() -> None:
    rng = np.random.default_rng(0)
    samples = rng.normal(size=300)
    assert overlapped_area(samples, samples) == pytest.approx(1)
    assert overlapped_area(samples, samples + 20) < 0.01
    assert overlapped_area(np.zeros(9), np.zeros(4)) == 1
    assert overlapped_area(np.zeros(9), np.ones(4)) < 0.01
    assert np.isnan(overlapped_area(samples, np.zeros(0)))
    # two unit normals one apart: 2 * Phi(-1/2) = 0.617, less a little for the kernels' width
    assert overlapped_area(samples, rng.normal(size=3000) + 1) == pytest.approx(0.617, abs=0.08)


def test_mgevals_areas_fall_when_the_other_set_moves_away() -> None:
    rng = np.random.default_rng(1)
    real = {"a": rng.normal(size=(60, 1)), "b": rng.normal(size=(60, 12))}
    other = {"a": rng.normal(size=(40, 1)), "b": rng.normal(size=(40, 12)) + 3}
    real["a"][5], other["a"][7] = np.nan, np.nan
    areas = overlapped_areas(real, other)
    assert areas["a"] > 0.85 and areas["b"] < 0.2
    assert np.isnan(overlapped_areas({"a": real["a"][:2]}, {"a": other["a"]})["a"])


@pytest.mark.parametrize(("planted", "shift"), [(25, 0), (25, 5), (14, -3), (9, 2)])
def test_the_longest_run_is_the_planted_one_in_any_key(planted: int, shift: int) -> None:
    rng = np.random.default_rng(planted)
    theirs, mine = random_steps(rng, 400), random_steps(rng, 200)
    # 81 notes in, at another time and in another key; the notes around it differ
    gaps = np.diff(theirs[0])[100 : 100 + planted - 1]
    onsets = np.concatenate((np.diff(mine[0], prepend=0)[:81], gaps, [31]))
    onset = np.cumsum(np.concatenate((onsets, rng.integers(1, 30, 50))))
    pitch = rng.integers(30, 100, len(onset))
    pitch[80 : 80 + planted] = theirs[1][100 : 100 + planted] + shift
    corpus = [steps_of(*random_steps(rng, 300)), steps_of(*theirs)]
    pieces = [steps_of(onset, pitch), steps_of(*random_steps(rng, 100))]
    exact = longest_shared(pieces, corpus)
    assert exact[0] == planted and exact[1] < 5
    indexed = RunIndex.build(corpus).longest(pieces)
    assert indexed == [max(planted, GRAM_NOTES - 1), GRAM_NOTES - 1]
    assert longest_shared([pieces[0], *corpus])[0] == planted


def test_a_run_that_a_piece_repeats_itself_is_not_shared() -> None:
    onset, pitch = random_steps(np.random.default_rng(2), 30)
    twice = np.concatenate((onset, onset + onset[-1] + 5)), np.concatenate((pitch, pitch))
    assert longest_shared([steps_of(*twice), steps_of(onset[:3], pitch[::10])])[0] <= 2
    assert longest_shared([], []) == [] and longest_shared([np.zeros(0, np.uint64)], []) == [0]


def test_going_round_in_circles_is_no_long_run_to_the_index() -> None:
    onset, pitch = random_steps(np.random.default_rng(4), 40)
    circles = np.arange(300), np.resize(pitch[:5], 300)
    known = np.arange(30), np.resize(pitch[:5], 30)
    index = RunIndex.build([steps_of(*known), steps_of(onset, pitch)])
    assert index.longest([steps_of(*circles), steps_of(onset, pitch)]) == [11 + 5, 40]
    assert longest_shared([steps_of(*circles)], [steps_of(*known)]) == [30]


def test_an_index_reads_back_as_it_was_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    corpus = [steps_of(*random_steps(rng, n)) for n in (400, 50, 3)]
    index = RunIndex.build(corpus)
    index.save(tmp_path / "runs.npz")
    again = RunIndex.load(tmp_path / "runs.npz")
    assert np.array_equal(again.known, index.known)
    assert (again.pieces, again.notes) == (3, 453) and again.longest(corpus) == [400, 50, 3]
    assert RunIndex.build([]).longest(corpus) == [11, 11, 3]
    (tmp_path / "other.npz").write_bytes(b"PK not an index")
    with pytest.raises(ValueError, match="other.npz is no index.*--write-index"):
        RunIndex.load(tmp_path / "other.npz")


def steps_of_file(path: Path) -> Hashes:
    clean = clean_score(ScoreTick.from_midi(path.read_bytes(), sanitize_data=True))
    assert clean is not None
    notes = [track.notes.numpy() for track in clean.tracks]
    onset, pitch = (np.concatenate([n[k] for n in notes]).astype(int) for k in ("time", "pitch"))
    return steps_of(onset, pitch)


def test_a_datasets_training_pieces_have_the_steps_of_their_files(
    dataset: Dataset, archive: Path, tmp_path: Path
) -> None:
    dataset.save(tmp_path / "dataset.npz")
    files = {path.name: path for path in archive.rglob("*.mid")}
    held = dataset.validation
    expected = [steps_of_file(files[n]) for n in dataset.names[~held]]
    found = list(training_steps(tmp_path / "dataset.npz", VOCABULARY))
    assert len(found) == len(expected) > 0
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_styles_are_sampled_in_the_real_pieces_proportions() -> None:
    styles = ["folk"] * 6 + ["chorale"] * 3 + ["hymn"]
    assert styles_like(styles, 20) == ["chorale"] * 6 + ["folk"] * 12 + ["hymn"] * 2
    assert len(styles_like(styles, 7)) == 7 and styles_like(styles, 1) == ["folk"]


@torch.no_grad()
def test_the_decoders_nats_are_those_of_teacher_forcing_in_the_same_windows(
    tiny_model: Any, tiny_bundle: Path, dataset: Dataset
) -> None:
    composer = Composer(Bundle.load(tiny_bundle))
    windows = Windows(dataset, VOCABULARY, composer.bundle.context)
    piece = 3
    first, last = dataset.starts[piece] + PREFIX, dataset.starts[piece + 1] - 1
    expected, begin, done = 0.0, first, first
    while done <= last:  # a full window slides: its last third moves up
        end = min(begin + windows.body, last)
        ids, *rest = windows.window(piece, int(begin), int(end))
        logits = tiny_model(*(torch.from_numpy(a)[None] for a in (ids[:-1], *rest)))[0]
        losses = functional.cross_entropy(logits, torch.from_numpy(ids[1:]), reduction="none")
        expected += float(losses[PREFIX - 1 + int(done - begin) :].sum())
        begin, done = end - composer.bundle.context // 3, end + 1
    nats = nats_of(composer, dataset.ids[first:last].tolist(), "folk")
    assert nats.tokens == last - first + 1 > 3 * windows.body
    assert nats.notes == dataset.notes[piece]
    assert nats.total == pytest.approx(expected, rel=1e-5)
    # an untrained model gives the grammar's few choices hardly more than their share of 396 ids
    assert nats.masked < 0.9 * nats.total and nats.forbidden == 0


def test_only_the_first_minute_counts(tiny_bundle: Path, dataset: Dataset) -> None:
    composer = Composer(Bundle.load(tiny_bundle))
    once = dataset.ids[dataset.starts[3] + PREFIX : dataset.starts[4] - 1].tolist()
    assert float(dataset.seconds[3]) == pytest.approx(30, abs=1)
    nats = nats_of(composer, once * 3, "folk")
    # the tempo's token is a little slower or faster than the tempo
    assert nats.notes == pytest.approx(2 * dataset.notes[3], rel=0.05)


@pytest.fixture
def real(archive: Path, tmp_path: Path) -> Path:
    """Three tunes in nested folders, a file that is none, and one without a note."""
    folder = tmp_path / "real"
    (folder / "folk" / "deep").mkdir(parents=True)
    shutil.copy(archive / "folk" / "tune0.mid", folder / "folk" / "deep" / "a.MID")
    shutil.copy(archive / "chorales" / "tune1.mid", folder / "b.midi")
    shutil.copy(archive / "folk" / "tune3.mid", folder / "folk" / "c.mid")
    (folder / "broken.mid").write_text("<html>404</html>")
    ScoreTick(480).dump_midi(folder / "silent.mid")
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    """The JSON in the last line of the command's output."""
    sys.argv = ["evaluate.py", "--json", "--seconds", "6", *map(str, arguments)]
    evaluate.main()
    last = capsys.readouterr().out.splitlines()[-1]
    found: dict[str, Any] = json.loads(last)
    return found


def test_the_command_ends_with_one_line_of_json(
    capsys: pytest.CaptureFixture[str], tiny_bundle: Path, real: Path, tmp_path: Path
) -> None:
    found = run(
        capsys,
        *("--bundle", tiny_bundle, "--real", real, "--samples", 2, "--candidates", 1, "--seed", 1),
        *("--save", tmp_path / "made"),
    )
    assert found.keys() >= KEYS
    assert found["nats_per_note"] > 5 and 0 < found["oa"] < 1
    assert found["samples"] == len(list((tmp_path / "made").glob("*.mid"))) == 2
    assert found["duplicates"] == 0 and found["longest_shared_run"] > 0
    assert found["nats"].keys() == {
        "all",
        "style folk",
        "style other",
        "source folk",
        "source real",
    }
    assert {row["file"] for row in found["skipped"]} == {"broken.mid", "silent.mid"}
    assert all(row["why"].startswith("unreadable") for row in found["skipped"])
    again = run(capsys, "--generated", tmp_path / "made", "--real", real)
    assert again["nats_per_note"] is None and again["model_id"] is None
    assert again["oa_features"] == found["oa_features"]
    assert again["longest_shared_run"] == found["longest_shared_run"]


def test_one_real_piece_and_no_samples_give_nats_alone(
    capsys: pytest.CaptureFixture[str], tiny_bundle: Path, real: Path, tmp_path: Path
) -> None:
    plot = tmp_path / "plots" / "features.png"
    found = run(
        capsys, "--bundle", tiny_bundle, "--real", real / "folk" / "deep", "--samples", 0,
        "--plot", plot,
    )  # fmt: skip
    assert found["nats_per_note"] > 5 and found["oa"] is None and found["samples"] == 0
    assert found["longest_shared_run"] is None and found["real"]["longest_shared_run"] == 0
    assert found["real"]["groove"] == 1
    assert plot.stat().st_size > 10_000


def test_pieces_copied_from_the_training_set_are_flagged(
    capsys: pytest.CaptureFixture[str], real: Path, dataset: Dataset, archive: Path, tmp_path: Path
) -> None:
    dataset.save(tmp_path / "dataset.npz")
    made = tmp_path / "made"
    made.mkdir()
    shutil.copy(next(archive.rglob(str(dataset.names[-1]))), made)
    sys.argv = ["evaluate.py", "--dataset", str(tmp_path / "dataset.npz"), "--write-index"]
    sys.argv.append(str(tmp_path / "runs.npz"))
    evaluate.main()
    for name, path in (("--dataset", "dataset.npz"), ("--train-index", "runs.npz")):
        found = run(capsys, "--generated", made, "--real", real, name, tmp_path / path)
        assert found["longest_shared_run"] == 48  # all notes of its six seconds
        assert found["shared_runs"]["generated"]["flagged"] == 1
        assert found["shared_runs"]["against"].startswith("the training set")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "--real is missing"),
        (["--real", "nowhere"], "give --bundle or --generated"),
        (["--real", "nowhere", "--bundle", "missing"], "missing/model.onnx is missing"),
        (["--real", "nowhere", "--generated", "made"], "nowhere is no folder"),
        (["--write-index", "x.npz"], "--write-index needs --dataset"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *arguments])
    with pytest.raises(SystemExit, match=named):
        evaluate.main()


def test_options_out_of_range_and_empty_folders_are_refused(
    tiny_bundle: Path, real: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="temperature must be a number from 0 to 2"):
        evaluate.evaluate(tiny_bundle, real, 1, 6, sampling={"temperature": 3.0})
    (tmp_path / "empty").mkdir()
    with pytest.raises(EvaluationError, match=r"no \.mid file under .*empty"):
        evaluate.evaluate(tiny_bundle, tmp_path / "empty", 1)
    (tmp_path / "empty" / "a.mid").write_text("nothing")
    with pytest.raises(EvaluationError, match=r"no usable MIDI file under .*: a\.mid"):
        evaluate.evaluate(tiny_bundle, tmp_path / "empty", 1)
