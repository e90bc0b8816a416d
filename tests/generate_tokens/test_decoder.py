"""The session: refuses what it cannot run, and steps as it prefills."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from generate_tokens.bundle import Bundle, model_id_of
from generate_tokens.decoder import Decoder
from generate_tokens.errors import BundleError
from generate_tokens.state import FORMS, Features


def features(decoder: Decoder, count: int) -> Features:
    rng = np.random.default_rng(0)
    return Features(
        position=rng.integers(0, 48, count),
        program=rng.integers(0, 12, count),
        tick=np.sort(rng.integers(0, 200, count)),
        sounding=rng.integers(0, 256, (count, 10), dtype=np.uint8),
        form=rng.integers(0, FORMS, count),
    )


def test_prefilling_and_stepping_give_the_same_logits(tiny_bundle: Path) -> None:
    decoder = Decoder(Bundle.load(tiny_bundle))
    ids = np.random.default_rng(1).integers(3, 300, 20)
    rows = features(decoder, 20)
    whole = decoder.prefill(ids, rows).copy()
    first = Features(*(array[:5] for array in vars(rows).values()))
    decoder.prefill(ids[:5], first)
    for i in range(5, 20):
        stepped = decoder.step(
            int(ids[i]),
            int(rows.position[i]),
            int(rows.program[i]),
            int(rows.tick[i]),
            int.from_bytes(rows.sounding[i].tobytes(), "little"),
            int(rows.form[i]),
        )
    assert np.abs(stepped - whole).max() < 1e-4
    assert decoder.row == 20


def test_a_full_window_is_refused(tiny_bundle: Path) -> None:
    decoder = Decoder(Bundle.load(tiny_bundle))
    decoder.prefill(np.full(64, 20), features(decoder, 64))
    with pytest.raises(ValueError, match="full"):
        decoder.step(20, 0, 0, 0, 0, 0)
    with pytest.raises(ValueError, match="64"):
        decoder.prefill(np.full(65, 20), features(decoder, 65))


def test_a_graph_that_is_none_is_named(bundle_dir_without_model: Path) -> None:
    with pytest.raises(BundleError, match=r"model\.onnx"):
        Decoder(Bundle.load(bundle_dir_without_model))


def test_a_truncated_graph_is_refused_even_with_a_matching_hash(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_bundle, folder)
    graph = folder / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1000])
    with pytest.raises(BundleError, match=r"model\.onnx"):
        Bundle.load(folder)
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["model_id"] = model_id_of(folder)
    (folder / "bundle.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"model\.onnx"):
        Decoder(Bundle.load(folder))
