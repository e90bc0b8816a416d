"""benchmarks/original.py: the same pieces and minutes as ours, and figures that mean something."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from symusic.core import ScoreTick

from benchmarks import original
from benchmarks.original import (
    OriginalConfig,
    OriginalModel,
    decode,
    draw,
    nats_per_note,
    train,
    trained,
)
from benchmarks.original_corpus import (
    EVALUATED_SECONDS,
    Corpus,
    beats_of_ids,
    ids_of,
    minute_windows,
    original_tokenizer,
    read_corpus,
)
from benchmarks.original_decode import Speed, Task, sample
from music.tracker import PITCH, Vocabulary
from tests.training.conftest import write_tune
from training.data.archive import Source
from training.data.dataset import Dataset, build_dataset
from training.data.piece import read_piece
from training.data.tokenizer import make_tokenizer, vocabulary_entries
from training.model.windows import EVALUATED_SECONDS as WINDOWS_SECONDS
from training.model.windows import Windows

TINY = OriginalConfig(
    vocabulary=len(original_tokenizer()), channels=32, layers=1, heads=2, context=32, batch=8
)
NOTES = 240  # of each tune of the archive
BOS, EOS = original_tokenizer()["BOS_None"], original_tokenizer()["EOS_None"]


def ticking() -> Callable[[], float]:
    """A clock on which every step takes a second."""
    now = -1.0

    def clock() -> float:
        nonlocal now
        now += 1
        return now

    return clock


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As the benchmark itself; and what training sets for its whole process is set back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    torch.set_flush_denormal(False)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    for seed in range(12):
        write_tune(folder / "folk" / f"tune{seed:02}.mid", seed)
    return folder


@pytest.fixture(scope="module")
def dataset(archive: Path) -> Dataset:
    pieces = [read_piece(Source(p, "folk")) for p in sorted(archive.rglob("*.mid"))]
    made, _ = build_dataset(pieces)
    made.validation[:] = np.arange(12) < 2
    made.test[:] = np.arange(12) == 2
    return made


@pytest.fixture(scope="module")
def saved(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("original") / "set.npz"
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
    assert len(corpus.starts) == len(paths) + 1
    for i, path in enumerate(paths):
        ids = corpus.ids[corpus.starts[i] : corpus.starts[i + 1]].tolist()
        assert ids[0] == BOS and ids[-1] == EOS
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
    for piece in (1, 2):
        for ids, counted in minute_windows(corpus, 64, np.arange(3) == piece):
            theirs[piece] += int(ids_of("Pitch")[ids[1:][counted:]].sum())
    assert ours == theirs and 0 < ours[1] < 600 and 0 < ours[2] < 800


@pytest.mark.parametrize("context", [31, 64])
def test_windows_count_every_target_once_and_see_half_a_window_before(
    corpus: Corpus, context: int
) -> None:
    for piece in np.flatnonzero(corpus.validation):
        counted: list[int] = []
        for ids, first in minute_windows(corpus, context, np.arange(12) == piece):
            assert len(ids) <= context + 1
            assert first >= context // 2 or not counted
            counted.extend(ids[1 + first :].tolist())
        whole = corpus.ids[corpus.starts[piece] + 1 : corpus.starts[piece + 1]]  # 30 seconds
        assert counted == whole.tolist()


def test_a_model_that_knows_nothing_needs_log_v_nats_a_token(corpus: Corpus) -> None:
    model = OriginalModel(TINY)
    torch.nn.init.zeros_(model.token.weight)  # also the head: all logits are 0
    facts = nats_per_note(model, corpus, TINY.context, corpus.validation)
    per_token = np.log(TINY.vocabulary)
    assert facts["pieces"] == 2
    assert facts["nats_per_note"] == pytest.approx(per_token * (5 * NOTES + 1) / NOTES, abs=1e-3)
    without = facts["nats_per_note_without_velocity"]
    assert without == pytest.approx(per_token * (4 * NOTES + 1) / NOTES, abs=1e-3)


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


def test_it_has_the_size_of_the_original() -> None:
    model = OriginalModel(OriginalConfig(len(original_tokenizer())))
    assert sum(p.numel() for p in model.parameters()) == 47_192


def test_training_lowers_the_loss_until_the_budget_is_spent(corpus: Corpus) -> None:
    torch.manual_seed(0)
    held = corpus.validation
    before = nats_per_note(OriginalModel(TINY), corpus, TINY.context, held)["nats_per_note"]
    model, spent = train(corpus, replace(TINY, warmup_steps=5), 60, ticking())
    assert spent == {"steps": 60, "cpu_s": 60, "tokens_trained": 60 * 8 * 32}
    assert nats_per_note(model, corpus, TINY.context, held)["nats_per_note"] < before / 2


def test_the_rate_warms_up_stays_and_falls_with_the_budget() -> None:
    rates = [TINY.rate(step, done) for step, done in ((0, 0), (49, 0.1), (200, 0.3), (900, 0.65))]
    assert rates == pytest.approx([0.02, 1, 1, 0.5])
    assert TINY.rate(5000, 1.0) == TINY.final_rate


def test_weights_are_used_again_by_the_same_run_only(corpus: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    first, again = (trained(corpus, TINY, 0.1, path) for _ in range(2))
    assert first[1] == again[1]
    for a, b in zip(first[0].parameters(), again[0].parameters(), strict=True):
        assert torch.equal(a, b)
    other = replace(corpus, validation=~corpus.validation)
    for run in ((corpus, TINY, 0.2), (corpus, replace(TINY, seed=1), 0.1), (other, TINY, 0.1)):
        with pytest.raises(ValueError, match="another recipe, budget or data"):
            trained(*run, path)


NAMES = ("TimeShift_1.0.8", "Program_0", "Pitch_60", "Velocity_95", "Duration_1.0.8")
ORDER = [BOS, *(original_tokenizer()[name] for name in NAMES), EOS]
TASK = Task("", 4, BOS, EOS, beats_of_ids().tolist(), count=1, seconds=4, seed=0)


def one_note_a_beat(ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """Logits of always the same five tokens; after them an end is likelier than the next note."""
    following = dict(pairwise([*ORDER[:-1], ORDER[1]]))
    logits = np.full(TINY.vocabulary, -100, np.float32)
    logits[following[int(ids[-1])]] = 100
    logits[EOS] = 150 if ids[-1] == ORDER[-2] else -100
    return logits


def test_a_sampled_piece_has_no_end_but_the_wanted_one() -> None:
    speed = Speed()
    piece, lasts_s = sample(one_note_a_beat, TASK, np.random.default_rng(0), speed)
    (track,) = original_tokenizer().decode(piece).tracks
    assert [note.start for note in track.notes] == [8 * beat for beat in range(1, 8)]
    assert lasts_s == 4
    # Seven times five tokens, and the TimeShift that ends it; before three the window wasn't full.
    assert (speed.tokens, speed.full_tokens) == (36, 33)


def test_the_model_sees_the_last_tokens_only() -> None:
    seen: list[list[int]] = []

    def spied(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        seen.append(ids.tolist())
        return one_note_a_beat(ids)

    piece, _ = sample(spied, TASK, np.random.default_rng(0), Speed())
    whole = [BOS, *piece]
    assert seen == [whole[max(0, i - 4) : i] for i in range(1, 37)]


def test_a_piece_whose_time_stands_still_ends() -> None:
    def still(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.where(np.arange(TINY.vocabulary) == ORDER[3], 100, -100).astype(np.float32)

    piece, lasts_s = sample(still, TASK, np.random.default_rng(0), Speed())
    assert len(piece) == 4 * 250 and lasts_s == 0


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    def three_to_one(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        logits = np.full(TINY.vocabulary, -np.inf, np.float32)
        logits[[ORDER[3], ORDER[4]]] = np.log([0.75, 0.25])
        return logits

    piece, _ = sample(three_to_one, TASK, np.random.default_rng(0), Speed())
    # Of 1,000 draws 750 with a deviation of 14; five deviations.
    assert set(piece) == {ORDER[3], ORDER[4]} and abs(piece.count(ORDER[3]) - 750) < 70


def test_the_exported_graph_samples_what_the_model_would(corpus: Corpus, tmp_path: Path) -> None:
    torch.manual_seed(3)
    model, _ = train(corpus, TINY, 5, ticking())
    pieces, cost = decode(model, TINY, tmp_path / "m.onnx", 2, 40.0, seed=1)
    task = replace(TASK, context=TINY.context, seconds=40.0)

    @torch.no_grad()
    def logits_of(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = model(torch.from_numpy(ids)[None])[0, -1].numpy()
        return logits

    speed = Speed()
    expected = [sample(logits_of, task, np.random.default_rng([1, i]), speed)[0] for i in (0, 1)]
    assert pieces == expected and pieces[0] != pieces[1]
    assert cost["tokens_per_music_s"] == pytest.approx(speed.tokens / 80, abs=0.01)
    rate = cost["tokens_per_s"] / cost["tokens_per_music_s"]
    assert cost["music_s_per_cpu_s"] == pytest.approx(rate, rel=0.01) and speed.full_tokens
    three_minutes = 180 / cost["music_s_per_cpu_s"] * 1769 / 1024
    assert cost["gb_s_per_three_minutes"] == pytest.approx(three_minutes, rel=0.05, abs=0.01)
    assert cost["file_bytes"] > 4 * sum(p.numel() for p in model.parameters())
    assert 20 < cost["peak_mb"] < 200  # with PyTorch it would be more


def test_the_command_ends_with_its_figures(
    archive: Path,
    saved: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = (
        f"--data {archive} --dataset {saved} --weights {tmp_path}/b/m.pt --cpu-minutes 0.002 "
        f"--channels 16 --layers 1 --workers 1 --samples {tmp_path}/out --count 2 --seconds 60 "
        f"--out {tmp_path}/facts.json"
    )
    monkeypatch.setattr(sys, "argv", ["original.py", *arguments.split()])
    original.main()
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert json.loads((tmp_path / "facts.json").read_text()) == facts
    assert facts["tokens_trained"] == facts["steps"] * 32 * 128 > 0
    for name, pieces in (("validation", 2), ("test", 1)):
        assert facts[name]["pieces"] == pieces
        assert facts[name]["nats_per_note_without_velocity"] < facts[name]["nats_per_note"]
    assert facts["test"]["nats_per_note"] != facts["validation"]["nats_per_note"]
    assert len(list((tmp_path / "out").glob("*.mid"))) == 2
