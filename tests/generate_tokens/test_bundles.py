"""Bundles whose hashes are right, but with which nothing can be composed: refused by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from contract.bundle import Bundle, model_id_of, read_manifest, write_manifest
from contract.errors import BundleError
from generate_tokens.compose import Composer
from tests.generate_tokens.composing import FOREVER_S, request_for


def changed(bundle: Path, to: Path, change: Callable[[dict[str, Any]], object]) -> Bundle:
    """A copy of a bundle with another manifest, whose hash is right."""
    shutil.copytree(bundle, to, dirs_exist_ok=True)
    manifest = read_manifest(to)
    change(manifest)
    write_manifest(to, manifest | {"model_id": model_id_of(to)})
    return Bundle.load(to)


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest["model"]["rotary"].update(by_tick=[1e308] * 16),
        lambda manifest: manifest["model"]["rotary"].update(by_index=[float("nan")] * 16),
        lambda manifest: manifest["model"]["rotary"].update(by_index=[1.0]),
        lambda manifest: manifest["model"].update(context=-1),
        lambda manifest: manifest["model"].update(layers=99),
        lambda manifest: manifest["model"].update(kv_dtype="int3"),
        lambda manifest: manifest["model"].pop("pitches"),
        lambda manifest: manifest["vocabulary"].append(["Loudness", "3"]),
        lambda manifest: manifest["vocabulary"].pop(),
        lambda manifest: manifest.update(copying={}),
        lambda manifest: manifest.update(grammar={}),
        lambda manifest: manifest.update(sampling={}),
        lambda manifest: manifest.update(sampling={"temperature": 9}),
    ],
)
def test_a_manifest_of_nonsense_is_refused(
    change: Callable[[dict[str, Any]], object], tiny_bundle: Path, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match=str(tmp_path)):
        Composer(changed(tiny_bundle, tmp_path, change))


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(
    number: float, tiny_bundle: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_bundle, tmp_path, dirs_exist_ok=True)
    graph = onnx.load(tmp_path / "model.onnx")
    weights = next(w for w in graph.graph.initializer if len(w.dims) == 2)
    array = numpy_helper.to_array(weights).copy()
    array[:, 0] = number
    weights.CopyFrom(numpy_helper.from_array(array, weights.name))
    onnx.save(graph, tmp_path / "model.onnx")
    with pytest.raises(BundleError, match="computes no numbers"):
        Composer(changed(tmp_path, tmp_path / "again", lambda manifest: None))


def test_a_graph_that_is_none_is_refused(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="nothing can be composed with this bundle"):
        Composer(bundle)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_numbers_that_end_in_the_middle_of_a_piece_are_named(
    number: float, composer: Composer, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = type(composer.decoder).step
    steps = iter(range(10**6))

    def failing(decoder: Any, slots: int = 1) -> Any:
        logits = step(decoder, slots)
        if next(steps) > 50:
            logits[:] = number
        return logits

    monkeypatch.setattr(type(composer.decoder), "step", failing)
    with pytest.raises(BundleError, match="computes no numbers"):
        composer.compose(request_for(composer), [], [], FOREVER_S)
