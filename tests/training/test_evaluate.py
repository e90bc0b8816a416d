"""Evaluation: the decoder's nats, styles, steps of a dataset, and the command line."""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from symusic.core import NoteTick, ScoreTick, TrackTick
from torch.nn import functional

from contract.bundle import Bundle
from generate_tokens.compose import Composer
from midi_save.clean import clean_score
from music.memory import Memory
from music.tracker import BAR, MusicState, Vocabulary
from training.data.archive import Source
from training.data.dataset import Dataset
from training.data.tokenizer import make_tokenizer, vocabulary_entries
from training.evaluation import evaluate, two_sample
from training.evaluation.evaluate import EvaluationError, style_in_name, styles_evenly, styles_like
from training.evaluation.overlap import Hashes, steps_of, training_steps
from training.evaluation.scoring import nats_of, token_logits
from training.model.windows import PREFIX, Windows, stack

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
    "listener",
    "two_sample",
    "skipped",
    "model_id",
    "samples",
    "seed",
}


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
    held = dataset.validation | dataset.test
    expected = [steps_of_file(files[n]) for n in dataset.names[~held]]
    found = list(training_steps(tmp_path / "dataset.npz", VOCABULARY))
    assert len(found) == len(expected) > 0
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_styles_are_sampled_in_the_real_pieces_proportions() -> None:
    styles = ["folk"] * 6 + ["chorale"] * 3 + ["hymn"]
    assert styles_like(styles, 20) == ["chorale"] * 6 + ["folk"] * 12 + ["hymn"] * 2
    assert len(styles_like(styles, 7)) == 7 and styles_like(styles, 1) == ["folk"]


def test_even_styles_go_round() -> None:
    assert styles_evenly(["folk", "hymn", "other"], 7) == ["folk", "hymn", "other"] * 2 + ["folk"]
    assert styles_evenly(["folk"], 0) == []


def test_a_composed_piece_is_of_the_style_that_its_name_begins_with() -> None:
    names = ("chorale-17.mid", "Hymn-3.mid", "piece-4.mid")
    found = [style_in_name(Source(Path("made", name), "other")).style for name in names]
    assert found == ["chorale", "hymn", "other"]
    assert style_in_name(Source(Path("folk", "2026-01-02.mid"), "folk")).style == "folk"


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
        inputs, targets = stack([windows.window(piece, int(begin), int(end))])
        losses = functional.cross_entropy(tiny_model(inputs)[0], targets[0], reduction="none")
        expected += float(losses[PREFIX - 1 + int(done - begin) :].sum())
        begin, done = end - composer.bundle.context // 3, end + 1
    nats = nats_of(composer, dataset.ids[first:last].tolist(), "folk")
    assert nats.tokens == last - first + 1 > 3 * windows.body
    assert nats.notes == dataset.notes[piece]
    assert nats.alone == pytest.approx(expected, rel=1e-5)
    assert nats.total == nats.alone  # this bundle believes no copy
    assert nats.forbidden == 0


def test_what_the_memory_names_is_mixed_into_the_nats(
    planned_bundle: Path, dataset: Dataset
) -> None:
    composer = Composer(Bundle.load(planned_bundle))
    once = dataset.ids[dataset.starts[3] + PREFIX : dataset.starts[4] - 1].tolist()
    bars = [i for i, token in enumerate(once) if VOCABULARY.kind[token] == BAR]
    twice = [*once[: bars[4]], *once[bars[1] : bars[4]]]  # three bars come again
    first, both = (nats_of(composer, ids, "folk") for ids in (twice[: bars[4]], twice))
    assert both.alone > first.alone
    # again they cost less than half of what they cost the model alone, and EOS costs the same
    assert both.total - first.total < (both.alone - first.alone) / 2
    expected, memory = 0.0, Memory(VOCABULARY, composer.beginning.weights)
    memory.begin_piece()
    state = MusicState(VOCABULARY)
    targets = [*twice, composer.bundle.eos_id]
    for target, (logits, _) in zip(targets, token_logits(composer, twice, "folk"), strict=True):
        p = torch.from_numpy(logits).double().softmax(0)[target].item()
        weight = memory.weight
        expected -= math.log((1 - weight) * p + weight * (target == memory.named))
        if target != composer.bundle.eos_id:
            state.step(target)
            memory.step(target, state)
    assert both.total == pytest.approx(expected)


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
        *("--bundle", tiny_bundle, "--real", real, "--samples", 2, "--candidates", 1, "--seed", 2),
        *("--save", tmp_path / "made"),
    )
    assert found.keys() >= KEYS
    assert found["nats_per_note"] > 5 and 0 < found["oa"] < 1
    assert found["samples"] == len(list((tmp_path / "made").glob("*.mid"))) == 2
    means = found["listener"]["means"]
    assert means["last_chord_s"]["real"]["pieces"] == 3
    assert means["last_chord_s"]["generated"]["pieces"] == 2
    assert len(found["listener"]["lag_curve"]["generated"]) == 16
    assert found["two_sample"]["auc"] is None  # two pieces cannot be judged
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
    assert again["listener"] == found["listener"]


def test_even_styles_are_composed_with_one_seed_after_the_other(
    capsys: pytest.CaptureFixture[str], tiny_bundle: Path, real: Path, tmp_path: Path
) -> None:
    styles = list(Bundle.load(tiny_bundle).styles)
    found = run(
        capsys, "--bundle", tiny_bundle, "--real", real, "--samples", 3, "--candidates", 1,
        "--seed", 7, "--styles", "even", "--save", tmp_path / "made",
    )  # fmt: skip
    made = {path.name for path in (tmp_path / "made").iterdir()}
    assert made == {f"{styles[i % len(styles)]}-{7 + i}.mid" for i in range(3)}
    assert found["styles"] == "even"


def test_the_two_sample_test_sees_copies_and_strangers(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(two_sample, "TREES", 40)
    rng = np.random.default_rng(0)
    for folder, step in (("real", 4), ("alike", 4), ("strange", 1)):
        (tmp_path / folder).mkdir()
        for number in range(24):
            score = ScoreTick(480)
            score.tracks.append(TrackTick("", 0, False))
            for beat in range(100):  # 50 s
                pitch = 60 + int(rng.integers(-step, step + 1)) * 2
                score.tracks[0].notes.append(NoteTick(beat * 480, 480, pitch, 64))
            score.dump_midi(tmp_path / folder / f"folk-{number}.mid")
    alike, strange = (
        run(
            capsys, "--real", tmp_path / "real", "--generated", tmp_path / name,
            "--sets", 1, "--workers", 1,
        )["two_sample"]
        for name in ("alike", "strange")
    )  # fmt: skip
    assert alike["pieces"] == {"real": 24, "in_each_set": 24}
    # of two sets of 24 of one kind, the AUC has a standard deviation of about .08
    assert 0.2 < alike["auc"] < 0.8 and strange["auc"] > 0.95


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
    assert plot.with_name("features_lag_curve.png").stat().st_size > 5_000
    assert found["listener"]["means"]["frozen"]["generated"] is None


def test_pieces_copied_from_the_training_set_are_flagged(
    capsys: pytest.CaptureFixture[str], real: Path, dataset: Dataset, archive: Path, tmp_path: Path
) -> None:
    dataset.save(tmp_path / "dataset.npz")
    made = tmp_path / "made"
    made.mkdir()
    shutil.copy(next(archive.rglob(str(dataset.names[-1]))), made)
    found = run(capsys, "--generated", made, "--real", real, "--dataset", tmp_path / "dataset.npz")
    assert found["longest_shared_run"] == 48  # all notes of its six seconds
    assert found["shared_runs"]["generated"]["flagged"] == 1
    assert found["shared_runs"]["against"] == "the training set"


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
