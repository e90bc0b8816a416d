"""Reads and verifies the model bundle, the only thing that passes from training to the Lambdas.

bundle.json carries two hashes: ``model_id``, of the graph and the tokenizer beside it, and
``sha256``, of itself. So a bundle either is as the exporter wrote it or is refused, and its fields
need no further checks. Depends on neither how a model is run nor how tokens become MIDI.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.errors import BundleError, ModelMismatchError, TokensError

FORMAT = 5
MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
MANIFEST_FILE = "bundle.json"
CARD_FILE = "MODEL_CARD.md"


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    Attributes:
        model_id: sha256 (hex) of the graph and the tokenizer.
        tokenizer_class: miditok's, by name.
        model: sizes of the graph.
        vocabulary: the (type, value) of each id, as miditok names them.
        grammar: which token types may follow each type.
        styles: the id of each style's token.
        sampling: defaults of the event's fields, by name.
        copying: weights of what is copied (`music.memory.CopyWeights`), by name.
        plans: plans of form as text (`music.form.Plan`), by style and metre.
        archive: how many pieces the archive has, by style, metre and tempo.
        voices: the styles that are written for voices.
        training: facts about the training, for people.
    """

    directory: Path
    model_id: str
    tokenizer_class: str
    model: Mapping[str, Any]
    vocabulary: tuple[tuple[str, str], ...]
    grammar: Mapping[str, tuple[str, ...]]
    bos_id: int
    eos_id: int
    styles: Mapping[str, int]
    sampling: Mapping[str, Any]
    copying: Mapping[str, Any]
    plans: Mapping[str, Mapping[str, list[str]]]
    archive: Mapping[str, Mapping[str, Mapping[str, int]]]
    voices: tuple[str, ...]
    training: Mapping[str, Any]

    @property
    def context(self) -> int:
        """Positions that the model's cache holds."""
        return int(self.model["context"])

    @property
    def model_path(self) -> Path:
        return self.directory / MODEL_FILE

    @property
    def tokenizer_path(self) -> Path:
        return self.directory / TOKENIZER_FILE

    @classmethod
    def load(cls, directory: str | Path) -> Bundle:
        """Read the bundle in `directory`. Raises BundleError, which names the file at fault."""
        directory = Path(directory)
        for name in (MODEL_FILE, TOKENIZER_FILE, MANIFEST_FILE, CARD_FILE):
            if not (directory / name).is_file():
                raise BundleError(f"{directory / name} is missing: release the bundle again")
        manifest = read_manifest(directory)
        actual = model_id_of(directory)
        if actual != manifest["model_id"]:
            raise BundleError(
                f"{directory / MODEL_FILE} and {TOKENIZER_FILE} hash to {actual[:8]}, "
                f"{MANIFEST_FILE} says {manifest['model_id'][:8]}: a file is truncated, corrupted "
                "or from another release"
            )
        try:
            return cls._of(manifest, directory)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BundleError(
                f"{directory / MANIFEST_FILE} lacks a field, or has one of another form: "
                f"{type(error).__name__} {error}: export the model again"
            ) from error

    @classmethod
    def _of(cls, manifest: Mapping[str, Any], directory: Path) -> Bundle:
        ids = manifest["ids"]
        return cls(
            directory=directory,
            model_id=manifest["model_id"],
            tokenizer_class=manifest["tokenizer"]["class"],
            model=manifest["model"],
            vocabulary=tuple((kind, value) for kind, value in manifest["vocabulary"]),
            grammar={kind: tuple(after) for kind, after in manifest["grammar"].items()},
            bos_id=ids["bos"],
            eos_id=ids["eos"],
            styles=ids["styles"],
            sampling=manifest["sampling"],
            copying=manifest["copying"],
            plans=manifest["plans"],
            archive=manifest["archive"],
            voices=tuple(manifest["voices"]),
            training=manifest["training"],
        )

    def checked_ids(self, ids: object, where: str) -> list[int]:
        """`ids` as a list of ids of this vocabulary, or TokensError that names `where`."""
        if not isinstance(ids, list):
            raise TokensError(f"{where}: ids must be a list, got {type(ids).__name__}")
        size = len(self.vocabulary)
        for index, token_id in enumerate(ids):
            if type(token_id) is not int or not 0 <= token_id < size:
                raise TokensError(
                    f"{where}: ids[{index}] must be an integer from 0 to {size - 1}, "
                    f"got {str(token_id)[:40]!a}"
                )
        return list(ids)

    def require_same_model(self, model_id: object, where: str) -> None:
        """Raise ModelMismatchError unless `model_id` is this bundle's."""
        if not isinstance(model_id, str):
            raise TokensError(f"{where}: model_id must be a string, got {type(model_id).__name__}")
        if model_id != self.model_id:
            raise ModelMismatchError(
                f"{where} was made by model {model_id[:8]!a}, this function has "
                f"{self.model_id[:8]!a}: deploy both functions with the same bundle"
            )


def model_id_of(directory: Path) -> str:
    """sha256 (hex) over the bytes of model.onnx, then tokenizer.json."""
    digest = hashlib.sha256()
    for name in (MODEL_FILE, TOKENIZER_FILE):
        try:
            digest.update((directory / name).read_bytes())
        except OSError as error:
            raise BundleError(f"{directory / name} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def read_manifest(directory: Path) -> dict[str, Any]:
    """What bundle.json says. Raises BundleError unless it is as `write_manifest` wrote it."""
    path = directory / MANIFEST_FILE
    try:
        manifest = json.loads(path.read_bytes())
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is not JSON: {error}") from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if type(found) is not int or found != FORMAT:
        raise BundleError(
            f"{path}: format must be {FORMAT}, the only one that this code reads, got "
            f"{str(found)[:20]!a}: export the model again, or deploy the version that fits it"
        )
    if manifest.get("sha256") != _digest(manifest):
        raise BundleError(f"{path} was changed after its export: export the model again")
    return dict(manifest)


def write_manifest(directory: Path, manifest: Mapping[str, Any]) -> None:
    """Write bundle.json into `directory`, with this code's format and its own hash."""
    manifest = {**manifest, "format": FORMAT}
    manifest["sha256"] = _digest(manifest)
    (directory / MANIFEST_FILE).write_text(json.dumps(manifest, indent=1) + "\n")


def _digest(manifest: Mapping[str, Any]) -> str:
    """sha256 (hex) over all fields but the hash itself, whatever their order and layout."""
    fields = {name: value for name, value in manifest.items() if name != "sha256"}
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
