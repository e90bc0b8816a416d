"""The bundle: loads when whole, and is refused by the name of the file when it is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contract.bundle import Bundle
from contract.errors import BundleError, ModelMismatchError, TokensError

COPYING = {"suffix": [0.5], "suffix_in_new_bars": [0.5], "plan": [[0.5]]}


@pytest.fixture
def copy(bundle_dir_without_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle_dir_without_model, tmp_path / "bundle"))


def edit_manifest(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = directory / "bundle.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def test_a_whole_bundle_loads(bundle: Bundle) -> None:
    assert bundle.context == 512
    assert bundle.vocabulary[bundle.bos_id] == ("BOS", "None")
    assert bundle.vocabulary[bundle.styles["chorale"]] == ("Style", "chorale")
    assert "TimeSig" in bundle.grammar["Bar"]
    assert bundle.ticks_per_beat == 12


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "bundle.json", "MODEL_CARD.md"])
def test_a_missing_file_is_named(name: str, copy: Path) -> None:
    (copy / name).unlink()
    with pytest.raises(BundleError, match=rf"{name} is missing"):
        Bundle.load(copy)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_truncated_file_is_refused_by_its_hash(name: str, copy: Path) -> None:
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[:-1])
    with pytest.raises(BundleError, match=r"model\.onnx and tokenizer\.json hash to"):
        Bundle.load(copy)


def test_a_single_changed_bit_is_refused(copy: Path) -> None:
    content = bytearray((copy / "model.onnx").read_bytes())
    content[3] ^= 1
    (copy / "model.onnx").write_bytes(content)
    with pytest.raises(BundleError, match="corrupted"):
        Bundle.load(copy)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_a_manifest_that_is_no_json_object_is_named(content: bytes, copy: Path) -> None:
    (copy / "bundle.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"bundle\.json"):
        Bundle.load(copy)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", 1),
        ("format", True),
        ("model_id", None),
        ("model", {"context": "512"}),
        ("tokenizer", {}),
        ("vocabulary", []),
        ("vocabulary", [["PAD", "None"], ["PAD", "None"]]),
        ("vocabulary", ["PAD_None"]),
        ("grammar", {"Bar": "TimeSig"}),
        ("ids", {"pad": 0, "bos": 1, "eos": 2, "styles": {}}),
        ("ids", {"pad": 0, "bos": 1, "eos": 100_000, "styles": {"folk": 3}}),
        ("ticks_per_beat", 0),
        ("sampling", {"temperature": 1}),
        ("copying", {}),
        ("copying", {**COPYING, "suffix": [1.0]}),
        ("copying", {**COPYING, "suffix_in_new_bars": "0.5"}),
        ("copying", {**COPYING, "plan": [[0.5, True]]}),
        ("copying", {**COPYING, "plan": [0.5, [-0.1]]}),
        ("plans", []),
        ("plans", {"polka": {}}),
        ("plans", {"folk": {"4/4": "0/12 4"}}),
        ("plans", {"folk": {"4/4": [3]}}),
        ("plans", {"folk": {"5/17": ["0/12/0 4"]}}),
        ("plans", {"folk": {"4/4": [], "": []}}),
        ("archive", {"polka": {}}),
        ("archive", {"folk": {"5/17": {"97.09": 1}}}),
        ("archive", {"folk": {"4/4": {"97": 1}}}),
        ("archive", {"folk": {"4/4": {"97.09": 0}}}),
        ("archive", {"folk": {"4/4": {"97.09": True}}}),
        ("archive", {"folk": {"4/4": 3}}),
        ("voices", "chorale"),
        ("voices", ["polka"]),
        ("training", None),
    ],
)
def test_a_field_out_of_form_is_named(field: str, value: object, copy: Path) -> None:
    edit_manifest(copy, lambda manifest: manifest.update({field: value}))
    with pytest.raises(BundleError, match=rf"bundle\.json: {field}"):
        Bundle.load(copy)


def test_ids_within_the_vocabulary_pass(bundle: Bundle) -> None:
    assert bundle.checked_ids([0, len(bundle.vocabulary) - 1], "here") == [
        0,
        len(bundle.vocabulary) - 1,
    ]


@pytest.mark.parametrize("bad", [-1, 100_000, 1.0, "3", True, None])
def test_an_id_outside_the_vocabulary_is_named_with_its_place(bad: object, bundle: Bundle) -> None:
    with pytest.raises(TokensError, match=r"a file: ids\[1\] must be an integer from 0"):
        bundle.checked_ids([0, bad], "a file")


def test_another_models_tokens_are_refused(bundle: Bundle) -> None:
    bundle.require_same_model(bundle.model_id, "the job")
    with pytest.raises(ModelMismatchError, match="the job was made by model 'ffffffff'"):
        bundle.require_same_model("f" * 64, "the job")
    with pytest.raises(TokensError):
        bundle.require_same_model(None, "the job")
