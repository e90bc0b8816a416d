"""The session: refuses what it cannot run, and steps as it prefills."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generate_tokens.bundle import Bundle, model_id_of
from generate_tokens.decoder import Decoder
from generate_tokens.errors import BundleError
from generate_tokens.state import FORMS, Features


def features(decoder: Decoder, count: int, seed: int = 0) -> Features:
    rng = np.random.default_rng(seed)
    return Features(
        position=rng.integers(0, 48, count),
        program=rng.integers(0, 12, count),
        tick=np.sort(rng.integers(0, 200, count)),
        sounding=rng.integers(0, 256, (count, 10), dtype=np.uint8),
        form=rng.integers(0, FORMS, count),
    )


def part(rows: Features, count: int) -> Features:
    return Features(*(array[:count] for array in vars(rows).values()))


def put(decoder: Decoder, slot: int, ids: Any, rows: Features, i: int) -> None:
    decoder.put(
        slot,
        int(ids[i]),
        int(rows.position[i]),
        int(rows.program[i]),
        int(rows.tick[i]),
        int.from_bytes(rows.sounding[i].tobytes(), "little"),
        int(rows.form[i]),
    )


def test_prefilling_and_stepping_give_the_same_logits(tiny_bundle: Path) -> None:
    decoder = Decoder(Bundle.load(tiny_bundle))
    ids = np.random.default_rng(1).integers(3, 300, 20)
    rows = features(decoder, 20)
    whole = decoder.prefill(0, ids, rows).copy()
    decoder.prefill(0, ids[:5], part(rows, 5))
    for i in range(5, 20):
        put(decoder, 0, ids, rows, i)
        stepped = decoder.step()[0]
    assert np.abs(stepped - whole).max() < 1e-4
    assert decoder.row == 20


def test_each_slot_goes_its_own_way(tiny_bundle: Path) -> None:
    bundle = Bundle.load(tiny_bundle)
    rng = np.random.default_rng(2)
    pieces = [rng.integers(3, 300, 30) for _ in range(3)]
    rows = [features(Decoder(bundle), 30, seed) for seed in range(3)]
    alone = []
    for ids, row in zip(pieces, rows, strict=True):
        decoder = Decoder(bundle)
        alone.append(decoder.prefill(0, ids, row).copy())
    decoder = Decoder(bundle)
    decoder.reserve(3)
    for slot in range(3):
        decoder.prefill(slot, pieces[slot][:10], part(rows[slot], 10))
    for i in range(10, 20):
        for slot in range(3):
            put(decoder, slot, pieces[slot], rows[slot], i)
        decoder.step(3)
    decoder.move(2, 0)  # the first has ended
    for i in range(20, 30):
        for slot, piece in enumerate((2, 1)):
            put(decoder, slot, pieces[piece], rows[piece], i)
        logits = decoder.step(2)
    assert np.abs(logits[0] - alone[2]).max() < 1e-4
    assert np.abs(logits[1] - alone[1]).max() < 1e-4
    assert np.abs(logits[0] - alone[0]).max() > 1e-2


def test_steps_in_a_row_leave_no_memory_behind(tiny_bundle: Path) -> None:
    decoder = Decoder(Bundle.load(tiny_bundle), slots=2)
    ids, rows = np.full(64, 20), features(decoder, 64)
    left, used = [], []
    for _ in range(4):  # of which the best: other tests' garbage may be collected meanwhile
        for slot in range(2):
            decoder.prefill(slot, ids[:8], part(rows, 8))
        for i in range(8, 64):
            if i == 16:  # what is made once, is made
                tracemalloc.start()
                before = tracemalloc.get_traced_memory()[0]
            for slot in range(2):
                put(decoder, slot, ids, rows, i)
            decoder.step(2)
        after, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        left.append(after - before)
        used.append(peak - before)
    assert min(left) < 500  # 48 steps: less than a float each
    assert min(used) < 3_000  # the logits of a step alone would be 3,168


def test_a_full_window_is_refused(tiny_bundle: Path) -> None:
    decoder = Decoder(Bundle.load(tiny_bundle))
    decoder.prefill(0, np.full(64, 20), features(decoder, 64))
    with pytest.raises(ValueError, match="full"):
        decoder.step()
    with pytest.raises(ValueError, match="64"):
        decoder.prefill(0, np.full(65, 20), features(decoder, 65))


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
