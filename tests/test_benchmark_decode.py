"""benchmarks/decode.py on an untrained model: what it compares is the same thing done otherwise.

How fast anything is, these tests do not ask.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import decode
from benchmarks.decode_plain import GENAI
from contract.bundle import Bundle
from training.model.export import bundle_config, folded_weights, write_bundle
from training.model.onnx_graph import build_graph, quantize_weights

NEEDS = {  # figures that lack when a package does
    decode.EXPORTER: {"naive", "onnx_concat"},
    GENAI: {name for name in decode.FORMS if "genai" in name},
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As the benchmark itself: for so small a model two threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def int8_bundle(tmp_path_factory: pytest.TempPathFactory, tiny_model: Any) -> Bundle:
    """The tiny model as it would be released."""
    config = bundle_config(tiny_model, quantized=True)
    greatest = math.sqrt(config["head_size"])  # of what is normalized per head
    scales = np.full((config["layers"], 2), greatest / 127, np.float32)
    graph = quantize_weights(build_graph(config, *folded_weights(tiny_model), scales))
    folder = tmp_path_factory.mktemp("int8") / "model"
    return write_bundle(folder, graph, config, {}, {"MODEL_CARD.md": "# For tests"}, tiny_model)


@pytest.fixture(scope="module")
def facts(int8_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return decode.measure(int8_bundle, 1, 1, tmp_path_factory.mktemp("forms"))


@pytest.fixture(scope="module")
def missing() -> set[str]:
    """Forms whose package this machine does not have."""
    return {name for package in NEEDS if not decode.installed(package) for name in NEEDS[package]}


def test_every_float32_form_gives_pytorchs_logits(facts: dict[str, Any], missing: set[str]) -> None:
    for name in {*decode.EXACT} - missing:
        assert facts["max_diff"][name] < 1e-3, name
    assert facts["max_diff_fp32"] == max(facts["max_diff"][n] for n in {*decode.EXACT} - missing)


def test_int8_forms_are_near_pytorchs_and_not_the_same(facts: dict[str, Any]) -> None:
    for name in decode.ROUNDED:
        assert 1e-9 < facts["kl"][name] < 0.02, name
    assert facts["kl_int8"] == facts["kl"]["ours_int8_cache"]


def test_both_ways_of_decoding_plain_weights_give_the_same_logits(facts: dict[str, Any]) -> None:
    if decode.installed(GENAI):
        assert facts["plain_max_diff_fp32"] < 1e-3
    else:
        assert facts["plain_max_diff_fp32"] is None


def test_the_json_line_has_every_form_at_every_position(
    facts: dict[str, Any], missing: set[str]
) -> None:
    speeds = json.loads(json.dumps(facts))["tokens_per_s"]
    assert list(speeds) == list(decode.FORMS)
    for name, by_position in speeds.items():
        assert list(by_position) == ["100", "500", "1000"]
        assert all((speed is None) == (name in missing) for speed in by_position.values()), name
    for ratio in decode.WANTED:
        lacks = ("naive" in ratio and "naive" in missing) or (
            "genai" in ratio and not decode.installed(GENAI)
        )
        assert (facts[ratio] is None) == lacks, ratio


def test_without_the_extras_their_figures_are_missing_and_the_others_stand(
    int8_bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(decode, "installed", lambda _package: False)
    facts = decode.measure(int8_bundle, 1, 1, tmp_path)
    absent = {name for name, speeds in facts["tokens_per_s"].items() if None in speeds.values()}
    assert absent == set.union(*NEEDS.values())
    assert facts["vs_naive_500"] is facts["vs_genai_500"] is facts["vs_genai_1000"] is None
    assert facts["vs_torch_500"] > 0

    decode.print_table(facts)
    table = capsys.readouterr().out.splitlines()
    assert table[1].split() == ["naive", "missing", "missing", "missing"]
    decode.draw(facts, tmp_path / "plots" / "decode.png")
    assert (tmp_path / "plots" / "decode.png").read_bytes().startswith(b"\x89PNG")


def test_logits_that_are_off_are_found(int8_bundle: Bundle) -> None:
    class Off:
        """Gives logits of its own."""

        name = "off"

        def rewind(self, count: int) -> None:
            pass

        def step(self, index: int) -> decode.Logits:
            return np.log(np.array([0.5, 0.25, 0.25], np.float32)) + index

    wanted = np.log(np.array([[0.25, 0.25, 0.5], [0.5, 0.25, 0.25]], np.float32))
    greatest, divergence = decode.distance(Off(), wanted, range(2))
    assert greatest == pytest.approx(
        1, abs=1e-6
    )  # a constant in all logits means nothing, but is off
    assert divergence == pytest.approx(0.25 * math.log(2) / 2, abs=1e-6)
