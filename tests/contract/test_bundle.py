"""The bundle: loads when whole, and is refused by the name of the file when it is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contract.bundle import FORMAT, Bundle, read_manifest, write_manifest
from contract.errors import BundleError, ModelMismatchError, TokensError


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


@pytest.mark.parametrize("value", [1, 4, True, None, "5"])
def test_another_format_is_refused_by_name(value: object, copy: Path) -> None:
    edit_manifest(copy, lambda manifest: manifest.update(format=value))
    with pytest.raises(BundleError, match=rf"bundle\.json: format must be {FORMAT}"):
        Bundle.load(copy)


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.update(model_id="f" * 64),
        lambda manifest: manifest.update(extra=1),
        lambda manifest: manifest.pop("sha256"),
        lambda manifest: manifest.pop("voices"),
        lambda manifest: manifest["sampling"].update(temperature=1.01),
        lambda manifest: manifest["plans"]["folk"]["4/4"].pop(),
        lambda manifest: manifest["copying"]["suffix"].reverse(),
        lambda manifest: manifest["ids"]["styles"].update(folk=4),
    ],
)
def test_a_manifest_that_was_changed_is_refused(
    change: Callable[[dict[str, Any]], object], copy: Path
) -> None:
    edit_manifest(copy, change)
    with pytest.raises(BundleError, match=r"bundle\.json was changed after its export"):
        Bundle.load(copy)


def test_the_layout_of_the_manifest_is_free(copy: Path, bundle: Bundle) -> None:
    manifest = json.loads((copy / "bundle.json").read_text())
    again = dict(sorted(manifest.items(), reverse=True))
    (copy / "bundle.json").write_text(json.dumps(again, indent=3))
    assert Bundle.load(copy).model_id == bundle.model_id


def test_a_manifest_that_is_written_again_is_believed(copy: Path) -> None:
    manifest = read_manifest(copy)
    write_manifest(copy, manifest | {"voices": []})
    assert Bundle.load(copy).voices == ()


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


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.pop("ids"),
        lambda manifest: manifest.update(ids=[]),
        lambda manifest: manifest["ids"].pop("bos"),
        lambda manifest: manifest.update(vocabulary=[["Bar"]]),
        lambda manifest: manifest.update(grammar=None),
        lambda manifest: manifest.update(tokenizer="REMI"),
    ],
)
def test_a_manifest_that_was_written_wrong_is_refused(
    change: Callable[[dict[str, Any]], object], copy: Path
) -> None:
    """Its hash is right: another exporter wrote it so."""
    manifest = read_manifest(copy)
    change(manifest)
    write_manifest(copy, manifest)
    with pytest.raises(BundleError, match=r"bundle\.json lacks a field, or has one of another"):
        Bundle.load(copy)
