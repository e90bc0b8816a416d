"""Windows, trainer and export: what is trained is what is decoded."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from contract.bundle import Bundle
from generate_tokens.decoder import Decoder
from generate_tokens.sequence import Batch, TokenSequence
from music.inputs import INPUTS, MULTI_HOT
from music.tracker import (
    BAR,
    BAR_CLASSES,
    PITCH,
    Vocabulary,
    bar_class,
)
from training.data import provenance
from training.data.attribution import together
from training.data.dataset import Dataset
from training.data.provenance import Training
from training.data.tokenizer import make_tokenizer, vocabulary_entries
from training.model import trainer, weights
from training.model.checkpoints import history_of, load_checkpoint
from training.model.copying import NO_WEIGHTS
from training.model.export import compare, export_bundle, refuse_if_apart
from training.model.loss import nats_per_note, summed_loss
from training.model.model import ModelConfig, MusicModel
from training.model.recipe import SCHEDULES, TrainConfig
from training.model.trainer import train
from training.model.weights import WEIGHTS_FILE, load_weights, save_weights
from training.model.windows import LONGEST_DRAWN, PREFIX, Windows, drawing_weights, stack

TEXTS = {"MODEL_CARD.md": "# For tests"}
VOCABULARY = Vocabulary(vocabulary_entries(make_tokenizer()))
SHORT = TrainConfig(steps=30, tokens=256, short_context=32, warmup_steps=5)


@pytest.fixture(scope="module")
def windows(dataset: Dataset) -> Windows:
    return Windows(dataset, VOCABULARY, 64)


def small() -> ModelConfig:
    return ModelConfig(
        vocabulary=VOCABULARY.size,
        pitches=VOCABULARY.pitches,
        programs=VOCABULARY.programs,
        channels=64,
        layers=2,
        heads=2,
        kv_heads=2,
        hidden=64,
        context=64,
    )


def test_windows_open_with_bos_and_style_and_draw_the_same_for_a_seed(windows: Windows) -> None:
    first = windows.draw(np.random.default_rng([0, 7]), 4, transpose=True)
    again = windows.draw(np.random.default_rng([0, 7]), 4, transpose=True)
    other = windows.draw(np.random.default_rng([0, 8]), 4, transpose=True)
    assert all(torch.equal(array, again[0][name]) for name, array in first[0].items())
    assert torch.equal(first[1], again[1])
    ids, targets = first[0]["ids"], first[1]
    assert not torch.equal(ids, other[0]["ids"])
    tokenizer = make_tokenizer()
    assert set(ids[:, 0].tolist()) == {tokenizer["BOS_None"]}
    assert set(ids[:, 1].tolist()) == {tokenizer["Style_folk"]}
    assert torch.equal(ids[:, 1:], targets[:, :-1])
    assert {name: array.shape[2:] for name, array in first[0].items()} == {
        name: (VOCABULARY.pitches,) if name == MULTI_HOT else () for name in INPUTS
    }
    assert all(array.shape[:2] == (4, 64) for array in first[0].values())


def test_what_the_model_is_told_hides_an_unknown_style_everywhere(windows: Windows) -> None:
    piece, other = int(windows.train[0]), make_tokenizer()["Style_other"]
    begin = int(windows.dataset.starts[piece]) + PREFIX
    inputs = windows.window(piece, begin, begin + 62, style=other).inputs
    assert make_tokenizer()["Style_folk"] not in inputs.ids


def test_styles_are_drawn_by_the_root_of_their_tokens_and_long_pieces_are_capped() -> None:
    lengths = np.array([100, 300, 1600, 10 * LONGEST_DRAWN, LONGEST_DRAWN])
    weights = drawing_weights(lengths, np.array([3, 3, 4, 5, 5], np.int16))
    assert weights.sum() == pytest.approx(1)
    assert weights[1] == pytest.approx(3 * weights[0])
    assert weights[2] == pytest.approx(2 * (weights[0] + weights[1]))
    assert weights[3] == pytest.approx(weights[4])


def test_transposing_moves_pitches_and_what_sounds_together(windows: Windows) -> None:
    piece = int(windows.train[0])
    begin = int(windows.dataset.starts[piece]) + PREFIX
    plain = windows.window(piece, begin, begin + 62)
    moved = windows.window(piece, begin, begin + 62, shift=3)
    first, last = VOCABULARY.ranges[PITCH]
    old, new = plain.inputs.ids, moved.inputs.ids
    assert np.array_equal(new - old, 3 * ((old >= first) & (old < last)))
    assert np.array_equal(moved.targets[:-1], moved.inputs.ids[1:])
    assert np.array_equal(moved.inputs.sounding_now[:, 3:], plain.inputs.sounding_now[:, :-3])


def test_a_key_out_of_range_is_left_where_it_is(windows: Windows) -> None:
    piece = int(windows.train[0])
    begin = int(windows.dataset.starts[piece]) + PREFIX
    plain, moved = (windows.window(piece, begin, begin + 62, shift=s) for s in (0, 60))
    for name, array in plain.inputs:
        assert np.array_equal(array, getattr(moved.inputs, name)), name


def test_half_the_windows_are_told_how_many_bars_are_left(windows: Windows) -> None:
    piece = int(windows.train[0])
    first, last = windows.dataset.starts[piece : piece + 2]
    begin, end = int(last) - 1 - windows.body, int(last) - 1
    plain, told = (
        windows.window(piece, begin, end, left_known=known).inputs.place_in_form
        for known in (False, True)
    )
    bars = np.cumsum(windows.dataset.ids[first:last] == VOCABULARY.ranges[BAR][0])
    left = 1 + bars[-1] - bars[begin - first : end - first]
    assert left[-1] == 1 and left[0] > 1
    assert told[PREFIX:].tolist() == (plain[PREFIX:] + [bar_class(n) for n in left]).tolist()
    assert told[:PREFIX].tolist() == [0] * PREFIX
    drawn = windows.draw(np.random.default_rng(0), 400, transpose=False)[0]["place_in_form"]
    known = (drawn[:, PREFIX] % BAR_CLASSES != 0).float().mean()
    assert 0.4 < float(known) < 0.6  # 400 fair coins leave this once in 16,000 runs


def test_a_tenth_of_the_windows_have_an_unknown_style(windows: Windows) -> None:
    drawn = windows.draw(np.random.default_rng(0), 400, transpose=False)[0]["ids"]
    unknown = (drawn[:, 1] == make_tokenizer()["Style_other"]).float().mean()
    assert 0.04 < float(unknown) < 0.17  # 400 draws leave this less than once in 30,000 runs


def test_training_lowers_the_loss(windows: Windows, dataset: Dataset, tmp_path: Path) -> None:
    torch.manual_seed(0)
    batch = windows.draw(np.random.default_rng(5), 4, transpose=False)
    untrained = MusicModel(small(), vocabulary_entries(make_tokenizer()))
    before = summed_loss(untrained, batch).item() / 256
    model = train(dataset, small(), SHORT, tmp_path / "m.pt", compile_model=False)
    after = summed_loss(model, batch).item() / 256
    assert after < before - 1
    assert nats_per_note(model, windows, np.flatnonzero(dataset.validation)) < 12
    log = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == SHORT.steps


def test_a_resumed_run_ends_as_an_uninterrupted_one(dataset: Dataset, tmp_path: Path) -> None:
    whole = train(dataset, small(), SHORT, tmp_path / "whole.pt", compile_model=False)

    class KilledError(Exception):
        pass

    stop_after = 11
    original = TrainConfig.rate

    def dying(self: TrainConfig, step: int) -> float:
        if step == stop_after:
            raise KilledError
        return original(self, step)

    eager = replace(SHORT, checkpoint_seconds=0.0)
    TrainConfig.rate = dying  # type: ignore[method-assign]  # the kill, at a known step
    try:
        with pytest.raises(KilledError):
            train(dataset, small(), eager, tmp_path / "cut.pt", compile_model=False)
    finally:
        TrainConfig.rate = original  # type: ignore[method-assign]
    assert load_checkpoint(tmp_path / "cut.pt")[1]["step"] == stop_after
    resumed = train(dataset, small(), eager, tmp_path / "cut.pt", compile_model=False)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_checkpoint_of_another_run_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    once, path = replace(SHORT, steps=1), tmp_path / "m.pt"
    train(dataset, small(), once, path, compile_model=False)
    with pytest.raises(ValueError, match="another model config"):
        train(dataset, replace(small(), layers=1), once, path, compile_model=False)
    with pytest.raises(ValueError, match="another recipe"):
        train(dataset, small(), replace(once, seed=1), path, compile_model=False)
    changed = replace(dataset, ids=dataset.ids[::-1].copy())
    with pytest.raises(ValueError, match="another dataset"):
        train(changed, small(), once, path, compile_model=False)
    train(dataset, small(), replace(once, steps=2), path, compile_model=False)
    assert load_checkpoint(path)[1]["step"] == 2


def test_the_end_of_a_piece_is_sometimes_a_target(windows: Windows) -> None:
    # each of 400 windows ends its piece with probability 0.08: none does but once in 10^14 runs
    eos = make_tokenizer()["EOS_None"]
    _, targets = windows.draw(np.random.default_rng(0), 400, transpose=False)
    assert 400 * 0.02 < int((targets == eos).any(1).sum()) < 400 * 0.2


def test_validation_counts_every_target_of_the_first_minute_once(windows: Windows) -> None:
    piece = int(np.flatnonzero(windows.dataset.validation)[0])
    first, last = windows.dataset.starts[piece : piece + 2]
    share = 60 / float(windows.dataset.seconds[piece])
    counted = [
        token
        for window, start, _ in windows.validation(np.array([piece]))
        for token in window.targets[start:].tolist()
    ]
    whole = windows.dataset.ids[first + PREFIX : last].tolist()
    assert share > 1, "the tune is short, so all of it counts"
    assert counted == whole


def test_two_processes_make_the_step_that_one_makes(dataset: Dataset, tmp_path: Path) -> None:
    dataset.save(tmp_path / "set.npz")
    script = ["-m", trainer.__name__]
    sizes = {"context": 64, "channels": 64, "layers": 2, "heads": 2, "kv-heads": 2, "hidden": 64}
    options = [f"--{name}={size}" for name, size in sizes.items()]
    ends = []
    for name, launch in (
        ("one", [sys.executable]),
        (
            "two",
            [
                sys.executable,
                "-m",
                "torch.distributed.run",
                "--rdzv-endpoint=127.0.0.1:0",
                "--rdzv-backend=c10d",
                "--nproc-per-node=2",
            ],
        ),
    ):
        checkpoint = tmp_path / f"{name}.pt"
        command = [*launch, *script, "--dataset", str(tmp_path / "set.npz"), *options]
        command += ["--checkpoint", str(checkpoint), "--steps=4", "--tokens=512", "--threads=1"]
        command += ["--float32"]  # sums of bfloat16 depend on how a batch is shared
        subprocess.run([*command, "--no-compile"], check=True, capture_output=True)
        ends.append(load_checkpoint(checkpoint)[0].state_dict())
    for name, tensor in ends[0].items():
        rounding = 1e-4 if name.startswith("blocks.") else 1e-5  # Muon's products are in bfloat16
        assert torch.allclose(tensor, ends[1][name], atol=rounding), name


def test_the_weights_of_the_long_run_are_where_the_command_keeps_them() -> None:
    assert load_weights(weights.GOING_ON)[0].config.layers == 4


def test_going_on_from_a_bundles_weights_begins_where_they_are(
    dataset: Dataset, tmp_path: Path
) -> None:
    torch.manual_seed(4)
    released = MusicModel(small(), vocabulary_entries(make_tokenizer()))
    earlier = Training("other", 3, 500, {}, 1000, "what it was")
    save_weights(released, tmp_path / WEIGHTS_FILE, (earlier,))
    config = replace(SHORT, steps=1, peak=1e-9)
    loaded, history = load_weights(tmp_path)
    tuned = train(
        dataset,
        small(),
        config,
        tmp_path / "m.pt",
        compile_model=False,
        start_from=loaded,
        history=history,
    )
    facts = load_checkpoint(tmp_path / "m.pt")[1]
    assert history_of(facts) == (earlier, replace(dataset.provenance(), tokens=config.tokens))
    for a, b in zip(released.parameters(), tuned.parameters(), strict=True):
        assert torch.allclose(a, b, atol=2e-3)  # float16
    with pytest.raises(ValueError, match="weights.npz"):
        load_weights(tmp_path / "nowhere")


def test_trainings_on_the_same_data_are_one_and_others_follow() -> None:
    first = Training("a", 3, 100, {"CC0": {"me": {"x": 1}}}, 10, "songs")
    more = provenance.extended((first,), replace(first, tokens=5, note=""))
    assert more == (replace(first, tokens=15),)
    other = Training("b", 4, 200, {"CC0": {"me": {"x": 3, "y": 0}}, "": {"": {"z": 2}}}, 7)
    both = provenance.extended(more, other)
    assert both == (*more, other) and provenance.tokens_of(both) == 22
    assert provenance.from_json(provenance.to_json(both)) == both
    assert together(training.credits for training in both) == {
        "CC0": {"me": {"x": 3, "y": 0}},
        "": {"": {"z": 2}},
    }


def test_a_long_run_keeps_its_rate_and_a_release_lets_it_fall(
    dataset: Dataset, tmp_path: Path
) -> None:
    constant, decay = (
        TrainConfig(steps=100, warmup_steps=5, **SCHEDULES[name]) for name in ("constant", "decay")
    )
    assert {constant.rate(step) for step in range(5, 100)} == {0.5}
    rates = [decay.rate(step) for step in range(5, 100)]
    assert rates == sorted(rates, reverse=True) and rates[0] > 0.45 and rates[-1] < 0.01
    checkpoint, kept = tmp_path / "going-on.pt", tmp_path / "going-on.npz"
    train(dataset, small(), SHORT, checkpoint, compile_model=False)
    command = [sys.executable, "-m", weights.__name__]
    command += [f"--checkpoint={checkpoint}", f"--out={kept}"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.startswith(f"{kept}: ") and "after 0.0 million tokens" in said
    assert provenance.tokens_of(load_weights(kept)[1]) == SHORT.steps * SHORT.tokens


def test_minutes_become_steps(dataset: Dataset) -> None:
    few, many = (
        trainer.steps_within(minutes, dataset, small(), SHORT, compile_model=False)
        for minutes in (0.001, 1.0)
    )
    assert 1 <= few < many


@pytest.mark.parametrize("kv_heads", [1, 2])
def test_the_exported_graph_agrees_with_pytorch(
    windows: Windows, dataset: Dataset, tmp_path: Path, kv_heads: int
) -> None:
    torch.manual_seed(2)
    config = replace(small(), kv_heads=kv_heads)
    model = MusicModel(config, vocabulary_entries(make_tokenizer())).eval()
    exact = export_bundle(model, tmp_path / "exact", {}, None, TEXTS)
    difference = compare(model, exact, windows, 0, (1, 2, 17, 50))
    assert difference["max_logit_difference"] < 1e-4
    held = np.flatnonzero(dataset.validation)
    int8 = export_bundle(model, tmp_path / "int8", {}, (windows, held), TEXTS)
    assert int8.model["kv_dtype"] == "int8" and int8.model_id != exact.model_id
    difference = compare(model, int8, windows, 0, (1, 2, 17, 50))
    assert difference["kl"] < 0.01


@torch.no_grad()
def test_decoding_with_the_tracker_gives_the_training_loss(
    tiny_model: Any, tiny_bundle: Path, windows: Windows
) -> None:
    piece = int(windows.train[1])
    begin = int(windows.dataset.starts[piece]) + PREFIX
    window = windows.window(piece, begin, begin + windows.body)
    inputs, targets = stack([window])
    trained = functional.cross_entropy(tiny_model(inputs)[0], targets[0], reduction="none")

    decoder = Decoder(Bundle.load(tiny_bundle))
    bos, style, *body = window.inputs.ids.tolist()
    sequence = TokenSequence(VOCABULARY, bos, style, NO_WEIGHTS)
    out = [decoder.prefill(0, sequence.window(0, 0)).copy()]
    for index, token in enumerate(body):
        sequence.append(token)
        sequence.put(decoder, 0, index)
        out.append(decoder.step()[0].copy())
    decoded = functional.cross_entropy(
        torch.from_numpy(np.stack(out)), targets[0, PREFIX - 1 :], reduction="none"
    )
    assert torch.allclose(trained[PREFIX - 1 :], decoded, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("prompted", [0, 20])
def test_the_composers_windows_are_the_trainers(
    tiny_model: Any, tiny_bundle: Path, windows: Windows, prompted: int
) -> None:
    bundle = Bundle.load(tiny_bundle)
    piece = int(windows.train[2])
    first = int(windows.dataset.starts[piece]) + PREFIX
    body = windows.dataset.ids[first : first + 200].tolist()
    sequence = TokenSequence(VOCABULARY, bundle.bos_id, bundle.styles["folk"], NO_WEIGHTS)
    batch = Batch(Decoder(bundle), [sequence])
    for token in body[:prompted]:
        sequence.append(token)
    batch.replay(prompted)
    begin = 0
    for count in range(prompted + 1, len(body)):
        if count > begin + windows.body:  # full: its last third moves up
            begin = count - 1 - bundle.context // 3
        sequence.append(body[count - 1])
        batch.push()
        if count % 7 == 0 or count - begin < bundle.context // 3 + 4:
            inputs, _ = stack([windows.window(piece, first + begin, first + count)])
            expected = tiny_model(inputs)[0, -1].numpy()
            assert np.abs(batch.logits(0) - expected).max() < 1e-4, count


def test_an_export_that_disagrees_with_the_model_is_refused() -> None:
    agreed = {"max_logit_difference": 1e-5, "kl": 1e-6}
    refuse_if_apart({"parity_float32": agreed, "parity_int8": {"kl": 1e-3}})
    refuse_if_apart({"parity_float32": agreed})
    with pytest.raises(SystemExit, match="not exported"):
        refuse_if_apart({"parity_float32": agreed, "parity_int8": {"kl": 5.0}})
    with pytest.raises(SystemExit, match="not exported"):
        refuse_if_apart({"parity_float32": {"max_logit_difference": 0.5}})
