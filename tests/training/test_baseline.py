"""The control experiment: the same pieces and minutes as ours, and figures that mean something."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from symusic.core import ScoreTick
from torch import Tensor

from music.tracker import PITCH, Vocabulary
from tests.training.conftest import write_tune
from training.data.archive import Source
from training.data.dataset import Dataset, build_dataset
from training.data.piece import read_piece
from training.data.tokenizer import make_tokenizer, vocabulary_entries
from training.evaluation import baseline
from training.evaluation.baseline import (
    OriginalConfig,
    OriginalModel,
    draw,
    nats_per_note,
    sample,
    train,
)
from training.evaluation.baseline_corpus import (
    EVALUATED_SECONDS,
    Corpus,
    ids_of,
    minute_windows,
    original_tokenizer,
    read_corpus,
)
from training.model.windows import EVALUATED_SECONDS as WINDOWS_SECONDS
from training.model.windows import Windows

TINY = OriginalConfig(
    vocabulary=len(original_tokenizer()), channels=32, layers=1, heads=2, context=32, batch=8
)
NOTES = 240  # of each tune of the archive


def ticking() -> Callable[[], float]:
    """A clock on which every step takes a second."""
    now = -1.0

    def clock() -> float:
        nonlocal now
        now += 1
        return now

    return clock


def tiny_run(
    corpus: Corpus, seconds: float, path: Path, config: OriginalConfig = TINY
) -> OriginalModel:
    return train(corpus, config, seconds, path, compile_model=False, clock=ticking())[0]


@pytest.fixture(scope="module")
def saved(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("baseline") / "set.npz"
    dataset.save(path)
    return path


@pytest.fixture(scope="module")
def corpus(archive: Path, saved: Path) -> Corpus:
    return read_corpus([archive], saved, saved.with_name("cached.npz"))


def test_the_corpus_has_the_datasets_pieces_in_its_order(
    corpus: Corpus, dataset: Dataset, archive: Path
) -> None:
    assert np.array_equal(corpus.validation, dataset.validation)
    assert np.array_equal(corpus.test, dataset.test) and corpus.test.any()
    paths = sorted(archive.rglob("*.mid"))
    assert corpus.collections.tolist() == [path.parent.name for path in paths]
    for i, path in enumerate(paths):
        ids = corpus.ids[corpus.starts[i] : corpus.starts[i + 1]].tolist()
        assert (
            ids[0] == original_tokenizer()["BOS_None"]
            and ids[-1] == original_tokenizer()["EOS_None"]
        )
        decoded = original_tokenizer().decode(ids[1:-1])
        pitches = [
            sorted(n.pitch for t in s.tracks for n in t.notes)
            for s in (decoded, ScoreTick.from_file(path))
        ]
        assert pitches[0] == pitches[1] and len(pitches[0]) == NOTES


def test_the_corpus_is_read_again_only_for_another_dataset(
    corpus: Corpus, saved: Path, tmp_path: Path
) -> None:
    again = read_corpus([tmp_path / "nowhere"], saved, saved.with_name("cached.npz"))
    assert again.sha256 == corpus.sha256


def test_other_pieces_than_the_datasets_are_refused(saved: Path, tmp_path: Path) -> None:
    write_tune(tmp_path / "more" / "another.mid", 99)
    with pytest.raises(ValueError, match="other than the 12 of"):
        read_corpus([tmp_path / "more"], saved, tmp_path / "cached.npz")


def test_the_first_minute_has_the_notes_that_our_models_has(tmp_path: Path) -> None:
    assert EVALUATED_SECONDS == WINDOWS_SECONDS
    paths = [write_tune(tmp_path / "tunes" / f"{n}.mid", n, notes=n) for n in (100, 300, 400)]
    pieces = [read_piece(Source(p, "folk")) for p in sorted(paths)]
    dataset, _ = build_dataset(pieces)
    dataset.validation[:] = [False, True, True]
    dataset.save(tmp_path / "set.npz")
    corpus = read_corpus([tmp_path / "tunes"], tmp_path / "set.npz", tmp_path / "c.npz")
    vocabulary = Vocabulary(vocabulary_entries(make_tokenizer()))
    first, last = vocabulary.ranges[PITCH]
    ours, theirs = [0] * 3, [0] * 3
    for window, counted, piece in Windows(dataset, vocabulary, 64).validation(np.array([1, 2])):
        targets = window.targets[counted:]
        ours[piece] += int(((targets >= first) & (targets < last)).sum())
    for piece, ids, counted in minute_windows(corpus, 64, corpus.validation):
        theirs[piece] += int(ids_of("Pitch")[ids[1:][counted:]].sum())
    assert ours == theirs and 0 < ours[1] < 600 and 0 < ours[2] < 800


@pytest.mark.parametrize("context", [31, 64])
def test_windows_count_every_target_once_and_see_half_a_window_before(
    corpus: Corpus, context: int
) -> None:
    counted: dict[int, list[int]] = {}
    for piece, ids, first in minute_windows(corpus, context, corpus.validation):
        assert len(ids) <= context + 1
        assert first >= context // 2 or piece not in counted
        counted.setdefault(piece, []).extend(ids[1 + first :].tolist())
    for piece in np.flatnonzero(corpus.validation).tolist():
        whole = corpus.ids[corpus.starts[piece] + 1 : corpus.starts[piece + 1]]  # 30 seconds
        assert counted.pop(piece) == whole.tolist()
    assert not counted


def test_a_model_that_knows_nothing_needs_log_v_nats_a_token(corpus: Corpus) -> None:
    model = OriginalModel(TINY)
    torch.nn.init.zeros_(model.token.weight)  # also the head: all logits are 0
    facts = nats_per_note(model, corpus, TINY.context, corpus.validation)
    per_token = np.log(TINY.vocabulary)
    assert facts["pieces"] == 2
    assert facts["nats_per_note"] == pytest.approx(per_token * (5 * NOTES + 1) / NOTES, abs=1e-3)
    without = facts["nats_per_note_without_velocity"]
    assert without == pytest.approx(per_token * (4 * NOTES + 1) / NOTES, abs=1e-3)
    assert facts["collections"]["attic"] == {k: facts[k] for k in facts["collections"]["attic"]}


def test_the_model_does_not_see_the_future() -> None:
    model = OriginalModel(TINY).eval()
    ids = torch.arange(20)[None]
    changed = ids.clone()
    changed[0, 12:] += 30
    assert torch.equal(model(ids)[:, :12], model(changed)[:, :12])
    assert not torch.equal(model(ids)[:, 12], model(changed)[:, 12])


def test_windows_are_of_training_pieces_in_any_key(corpus: Corpus) -> None:
    is_pitch = ids_of("Pitch")
    config = replace(TINY, batch=64, context=128)
    plain, moved = (
        draw(corpus, np.random.default_rng(4), config, transpose).numpy()
        for transpose in (False, True)
    )
    shifts = moved - plain
    assert not shifts[~is_pitch[plain]].any()
    per_row = [set(row[pitch].tolist()) for row, pitch in zip(shifts, is_pitch[plain], strict=True)]
    assert all(len(found) <= 1 for found in per_row)
    # 64 draws of twelve keys miss one of them with a chance of 12 * (11/12) ** 64 = 0.05
    assert len(set().union(*per_row)) >= 10 and set().union(*per_row) <= set(range(-5, 7))
    held = np.flatnonzero(corpus.validation | corpus.test)
    hidden = b"".join(
        corpus.ids[corpus.starts[i] : corpus.starts[i + 1]].astype(np.int64).tobytes() for i in held
    )
    assert not any(row.tobytes() in hidden for row in plain)


def test_a_window_that_would_leave_the_keyboard_keeps_its_key(corpus: Corpus) -> None:
    ids = np.zeros(100, np.int16) + original_tokenizer()["Velocity_95"]
    ids[[10, 50]] = original_tokenizer()["Pitch_21"], original_tokenizer()["Pitch_109"]
    none = np.array([False])
    wide = replace(corpus, ids=ids, starts=np.array([0, 100]), validation=none, test=none)
    rows = draw(wide, np.random.default_rng(0), replace(TINY, context=128), transpose=True)
    assert (rows[:, :100].numpy() == ids).all() and not rows[:, 100:].any()


def test_training_lowers_the_loss_until_the_budget_is_spent(corpus: Corpus, tmp_path: Path) -> None:
    torch.manual_seed(0)
    held = corpus.validation
    before = nats_per_note(OriginalModel(TINY), corpus, TINY.context, held)["nats_per_note"]
    config = replace(TINY, warmup_steps=5)
    model, spent = train(
        corpus, config, 60, tmp_path / "m.pt", compile_model=False, clock=ticking()
    )
    assert spent == {"steps": 60, "cpu_s": 60}
    assert nats_per_note(model, corpus, TINY.context, held)["nats_per_note"] < before / 2
    assert json.loads((tmp_path / "m.jsonl").read_text().splitlines()[-1])["step"] == 50


def test_the_rate_warms_up_stays_and_falls_with_the_budget() -> None:
    rates = [TINY.rate(step, done) for step, done in ((0, 0), (49, 0.1), (200, 0.3), (900, 0.65))]
    assert rates == pytest.approx([0.02, 1, 1, 0.5])
    assert TINY.rate(5000, 1.0) == TINY.final_rate


def test_a_resumed_run_ends_as_an_uninterrupted_one(corpus: Corpus, tmp_path: Path) -> None:
    whole = tiny_run(corpus, 12, tmp_path / "whole.pt")

    class KilledError(Exception):
        pass

    tick = ticking()

    def dying() -> float:
        if (now := tick()) == 6:
            raise KilledError
        return now

    with pytest.raises(KilledError):
        train(
            corpus,
            TINY,
            12,
            tmp_path / "cut.pt",
            compile_model=False,
            clock=dying,
            checkpoint_s=-1.0,
        )
    assert torch.load(tmp_path / "cut.pt", weights_only=True)["step"] == 5
    resumed = tiny_run(corpus, 12, tmp_path / "cut.pt")
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_checkpoint_of_another_run_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    tiny_run(corpus, 1, path)
    other = replace(corpus, validation=~corpus.validation)
    for run in ((corpus, 2.0, TINY), (corpus, 1.0, replace(TINY, seed=1)), (other, 1.0, TINY)):
        with pytest.raises(ValueError, match="another recipe, budget or data"):
            tiny_run(run[0], run[1], path, run[2])


class Scripted(OriginalModel):
    """Plays one note a beat, always the same five tokens, and ends the piece after each.

    Every other time it ends it at once, so that pieces sampled together get out of step.
    """

    def forward(self, ids: Tensor) -> Tensor:
        names = ("BOS_None", "TimeShift_1.0.8", "Program_0", "Pitch_60", "Velocity_95")
        order = [original_tokenizer()[name] for name in (*names, "Duration_1.0.8", "EOS_None")]
        following = dict(pairwise(order))
        chosen = torch.tensor([[following.get(i, 0) for i in row] for row in ids.tolist()])
        logits = 100.0 * torch.nn.functional.one_hot(chosen, TINY.vocabulary)
        logits[..., order[-1]][ids == order[0]] = 100.0
        return logits


def test_a_sampled_piece_goes_on_after_an_end_and_stops_in_time() -> None:
    pieces = sample(Scripted(TINY), 4, 3, seconds=4)
    assert pieces[0] == pieces[1] == pieces[2]
    (track,) = original_tokenizer().decode(pieces[0]).tracks
    assert [note.start for note in track.notes] == [8 * beat for beat in range(1, 8)]


def test_samples_are_those_of_their_seed(corpus: Corpus, tmp_path: Path) -> None:
    model = tiny_run(corpus, 3, tmp_path / "m.pt")
    first, again, other = (sample(model, TINY.context, 2, 1.0, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert first[0] != first[1]


def test_the_command_explains_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["baseline.py", "--help"])
    with pytest.raises(SystemExit, match="0"):
        baseline.main()
    assert "--cpu-minutes" in capsys.readouterr().out


def test_the_command_ends_with_its_figures(
    archive: Path,
    saved: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        baseline, "OriginalConfig", lambda vocabulary: replace(TINY, seed=vocabulary)
    )
    arguments = (
        f"--data {archive} --dataset {saved} --checkpoint {tmp_path}/b/m.pt --cpu-minutes 0.002 "
        f"--no-compile --samples {tmp_path}/out --count 2 --seconds 2"
    )
    monkeypatch.setattr(sys, "argv", ["baseline.py", *arguments.split()])
    baseline.main()
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert facts["tokens"] == facts["steps"] * 8 * 32 > 0
    assert facts["nats_per_note_without_velocity"] < facts["nats_per_note"]
    assert facts["pieces"] == 2 and facts["test"]["pieces"] == 1
    assert facts["test"]["nats_per_note"] != facts["nats_per_note"]
    assert len(list((tmp_path / "out").glob("*.mid"))) == 2
