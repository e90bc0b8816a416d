"""What a bundle says of its archive: styles in voices, the command, and the export."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contract.bundle import Bundle
from contract.request import parse_request
from generate_tokens.compose import Composer
from music.form import Plans
from tests.music.writing import VOCABULARY, joined, line, piece_of_bars
from tests.training.pieces import dataset_of
from training.data.dataset import Dataset
from training.data.provenance import Training
from training.data.tokenizer import make_tokenizer, vocabulary_entries
from training.model import archive_facts
from training.model.archive_facts import (
    FEWEST_CHANGES,
    FEWEST_PIECES,
    MOST_PIECES,
    NO_FACTS,
    facts_of,
    styles_in_voices,
)
from training.model.export import export_bundle, release
from training.model.model import ModelConfig
from training.model.recipe import TrainConfig
from training.model.trainer import train
from training.model.weights import load_weights

# The inner voices move by thirds and sixths; all voices in parallel.
IN_VOICES = ((48, 55, 64, 72), (48, 57, 65, 72), (48, 55, 64, 72), (47, 55, 62, 74))
IN_PARALLEL = ((48, 55, 60, 64), (50, 57, 62, 65), (52, 59, 64, 67), (50, 57, 62, 65))


def piece(chords: tuple[tuple[int, ...], ...], bars: int = 2 + FEWEST_CHANGES // 4) -> list[int]:
    bar = line(*((12 * i, pitch, 12) for i, chord in enumerate(chords) for pitch in chord))
    return joined(piece_of_bars([bar] * bars))


def test_styles_without_parallels_are_in_voices() -> None:
    solo = joined(piece_of_bars([line((0, 60, 24), (24, 62, 24))] * 8))
    dataset = dataset_of(
        [
            *[("chorale", piece(IN_VOICES))] * FEWEST_PIECES,
            *[("folk", piece(IN_PARALLEL))] * FEWEST_PIECES,
            *[("hymn", piece(IN_VOICES))] * (FEWEST_PIECES - 1),  # too few to say
            *[("romantic", solo)] * FEWEST_PIECES,  # not in four parts
            *[("medieval", piece(IN_VOICES))] * FEWEST_PIECES,
        ]
    )
    assert styles_in_voices(dataset, VOCABULARY) == ["chorale", "medieval"]
    dataset.validation[0] = dataset.test[-1] = True  # what is held out has no part in it
    assert styles_in_voices(dataset, VOCABULARY) == []


def test_of_many_pieces_of_a_style_some_are_looked_at_from_first_to_last() -> None:
    pieces = [("folk", piece(IN_VOICES))] * MOST_PIECES + [("folk", piece(IN_PARALLEL))] * 60
    assert styles_in_voices(dataset_of(pieces), VOCABULARY) == []


def test_pieces_with_hardly_a_change_of_chord_say_nothing() -> None:
    few = FEWEST_CHANGES // 4  # bars; each has four chords
    dataset = dataset_of([("folk", piece(IN_VOICES, few))] * FEWEST_PIECES)
    assert styles_in_voices(dataset, VOCABULARY) == []


@pytest.fixture
def plain(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A bundle that says nothing of its archive."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "model"))


def run(monkeypatch: pytest.MonkeyPatch, bundle: Path, dataset: Path) -> None:
    arguments = ["archive_facts.py", "--bundle", str(bundle), "--dataset", str(dataset)]
    monkeypatch.setattr(sys, "argv", arguments)
    archive_facts.main()


def test_the_command_gives_a_bundle_what_it_lacks_and_leaves_its_model(
    plain: Path,
    dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dataset.save(tmp_path / "dataset.npz")
    model, before = (
        (plain / "model.onnx").read_bytes(),
        json.loads((plain / "bundle.json").read_text()),
    )
    run(monkeypatch, plain, tmp_path / "dataset.npz")
    bundle = Bundle.load(plain)
    assert (plain / "model.onnx").read_bytes() == model
    assert bundle.model_id == before["model_id"]
    assert sum(len(p) for metres in bundle.plans.values() for p in metres.values()) > 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["voices"] == list(bundle.voices) and told["copying"] == bundle.copying
    assert sorted(path.name for path in plain.iterdir()) == sorted(
        ["MODEL_CARD.md", "bundle.json", "model.onnx", "tokenizer.json", "weights.npz"]
    )
    composer = Composer(bundle)
    request = parse_request({"duration_s": 8, "candidates": 1}, bundle, "2026-01-01")
    made = composer.compose(request, [], [], 1e9)
    assert made.finished and made.plan is not None
    run(monkeypatch, plain, tmp_path / "dataset.npz")  # again: the same
    assert Bundle.load(plain) == bundle


def test_a_bundle_that_would_be_refused_is_left_as_it_is(
    plain: Path,
    dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dataset.save(tmp_path / "dataset.npz")
    (plain / "MODEL_CARD.md").unlink()
    before = (plain / "bundle.json").read_bytes()
    with pytest.raises(SystemExit):
        run(monkeypatch, plain, tmp_path / "dataset.npz")
    assert "MODEL_CARD.md is missing" in capsys.readouterr().err
    assert (plain / "bundle.json").read_bytes() == before


@pytest.mark.parametrize("missing", ["dataset", "weights"])
def test_what_is_missing_is_named_and_nothing_is_written(
    plain: Path,
    dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    missing: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = (plain / "bundle.json").read_bytes()
    if missing == "weights":
        dataset.save(tmp_path / "dataset.npz")
        (plain / "weights.npz").unlink()
    with pytest.raises(SystemExit):
        run(monkeypatch, plain, tmp_path / "dataset.npz")
    assert f"{missing}.npz" in capsys.readouterr().err
    assert (plain / "bundle.json").read_bytes() == before


def test_facts_are_the_manifests_fields(tiny_model: Any, dataset: Dataset, tmp_path: Path) -> None:
    facts = facts_of(tiny_model, dataset)
    assert facts.keys() == NO_FACTS.keys()
    bundle = export_bundle(tiny_model, tmp_path / "model", {}, None, {"MODEL_CARD.md": "#"}, facts)
    assert {name: getattr(bundle, name) for name in facts} == facts | {
        "voices": tuple(facts["voices"])
    }
    for style, metres in bundle.plans.items():
        assert all(Plans(bundle.plans).of(style, metre) for metre in metres)
    pieces = sum(
        n for metres in bundle.archive.values() for t in metres.values() for n in t.values()
    )
    assert pieces == int(dataset.training.sum())


def test_a_bundle_without_facts_loads_and_composes_in_any_metre(tiny_bundle: Path) -> None:
    bundle = Bundle.load(tiny_bundle)
    assert (bundle.plans, bundle.archive, bundle.voices) == ({}, {}, ())
    request = parse_request(
        {"duration_s": 8, "candidates": 1, "metre": "6/8", "tempo": 90}, bundle, "2026-01-01"
    )
    assert Composer(bundle).compose(request, [], [], 1e9).finished


def test_the_export_writes_plans_shares_and_weights(dataset: Dataset, tmp_path: Path) -> None:
    vocabulary = vocabulary_entries(make_tokenizer())
    config = ModelConfig(
        vocabulary=len(vocabulary),
        pitches=VOCABULARY.pitches,
        programs=VOCABULARY.programs,
        channels=64,
        layers=1,
        heads=2,
        kv_heads=1,
        hidden=64,
        context=64,
    )
    recipe = TrainConfig(steps=2, tokens=256, short_context=32, warmup_steps=1)
    earlier = Training("other", 3, 70, {"CC0 1.0": {"A. B.": {"Old song": 0}}}, 700, "Old songs.")
    train(dataset, config, recipe, tmp_path / "m.pt", compile_model=False, history=(earlier,))
    bundle = release(tmp_path / "m.pt", dataset, tmp_path / "model", float32=True)
    assert set(bundle.copying) == {"suffix", "suffix_in_new_bars", "plan"}
    assert any(bundle.plans.values()) and any(bundle.archive.values())
    assert bundle.training["steps"] == 2
    assert bundle.training["tokens_seen"] == 700 + 512
    this = replace(dataset.provenance(), tokens=512)
    assert load_weights(tmp_path / "model")[1] == (earlier, this)
    named = (tmp_path / "model" / "ATTRIBUTION.md").read_text()
    assert "A. B.: Old song" in named and "a folder of files" in named
    assert "> Old songs." in (tmp_path / "model" / "MODEL_CARD.md").read_text()
    before = (tmp_path / "model" / "bundle.json").read_bytes()
    other = replace(dataset, test=~dataset.test)
    with pytest.raises(SystemExit, match="another data set"):
        release(tmp_path / "m.pt", other, tmp_path / "model", float32=True)
    of_another = {"model_id": "ab" * 32}
    with pytest.raises(
        SystemExit, match=f"of the model abababababab, .* is {bundle.model_id[:12]}"
    ):
        release(tmp_path / "m.pt", dataset, tmp_path / "model", "", of_another, float32=True)
    assert (tmp_path / "model" / "bundle.json").read_bytes() == before
