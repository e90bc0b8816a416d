"""Reads and verifies the model bundle, the only thing that passes from training to the Lambdas.

Knows the form of bundle.json and which files stand beside it; does not know how a model is run
or how tokens become MIDI. Standard library only, because both functions import it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contract.errors import BundleError, ModelMismatchError, TokensError

FORMAT = 4
MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
MANIFEST_FILE = "bundle.json"
CARD_FILE = "MODEL_CARD.md"
SAMPLING_FIELDS = (
    *("temperature", "top_p", "top_k", "min_p"),
    *("candidates", "duration_s"),
)


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    Attributes:
        vocabulary: the (type, value) of each id, as miditok names them.
        copying: weights of what is copied (`memory.CopyWeights`), by name.
        plans: plans of form as text (`form.Plan`), by style and metre.
        archive: how many pieces the archive has, by style, metre and tempo.
        voices: the styles that are written for voices.
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
    ticks_per_beat: int
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
        manifest = _Manifest(directory / MANIFEST_FILE)
        model_id = manifest.text("model_id")
        actual = model_id_of(directory)
        if actual != model_id:
            raise BundleError(
                f"{directory / MODEL_FILE} and {TOKENIZER_FILE} hash to {actual[:8]}, "
                f"{MANIFEST_FILE} says {model_id[:8]}: a file is truncated, corrupted or from "
                "another release"
            )
        model = manifest.mapping("model")
        if not _is_int(model.get("context")) or model["context"] < 2:
            raise manifest.refused("model.context", "an integer of at least 2")
        tokenizer = manifest.mapping("tokenizer")
        if not isinstance(tokenizer.get("class"), str):
            raise manifest.refused("tokenizer.class", "the name of miditok's class")
        vocabulary = _vocabulary(manifest)
        ids = manifest.mapping("ids")
        styles = ids.get("styles")
        if not isinstance(styles, dict) or not styles:
            raise manifest.refused("ids.styles", "an object with at least one style")
        for name, token_id in [*((n, ids.get(n)) for n in ("pad", "bos", "eos")), *styles.items()]:
            if not _is_int(token_id) or not 0 <= token_id < len(vocabulary):
                raise manifest.refused(f"ids, {name}", "an id in the vocabulary")
        meanings = {n: (n.upper(), "None") for n in ("pad", "bos", "eos")}
        for name, token_id in ids.items():
            if name in meanings and vocabulary[token_id] != meanings[name]:
                raise manifest.refused(f"ids, {name}", f"the id of {name.upper()}")
        for name, token_id in styles.items():
            if vocabulary[token_id] != ("Style", name):
                raise manifest.refused(f"ids.styles, {name}", "the id of that style's token")
        ticks_per_beat = manifest.value("ticks_per_beat")
        if not _is_int(ticks_per_beat) or ticks_per_beat < 1:
            raise manifest.refused("ticks_per_beat", "a positive integer")
        return cls(
            directory=directory,
            model_id=model_id,
            tokenizer_class=tokenizer["class"],
            model=model,
            vocabulary=vocabulary,
            grammar=_grammar(manifest),
            bos_id=ids["bos"],
            eos_id=ids["eos"],
            styles=styles,
            ticks_per_beat=ticks_per_beat,
            sampling=_sampling(manifest),
            copying=_copying(manifest),
            plans=_plans(manifest, styles, vocabulary),
            archive=_archive(manifest, styles, vocabulary),
            voices=_voices(manifest, styles),
            training=manifest.mapping("training"),
        )

    def checked_ids(self, ids: object, where: str) -> list[int]:
        """`ids` as a list of ids of this vocabulary, or TokensError that names `where`."""
        if not isinstance(ids, list):
            raise TokensError(f"{where}: ids must be a list, got {type(ids).__name__}")
        size = len(self.vocabulary)
        for index, token_id in enumerate(ids):
            if not _is_int(token_id) or not 0 <= token_id < size:
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


class _Manifest:
    """bundle.json with errors that name the file and the field."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            content = json.loads(path.read_bytes())
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise BundleError(f"{path} is not JSON: {error}") from error
        if not isinstance(content, dict):
            raise BundleError(f"{path} must hold an object, not {type(content).__name__}")
        self._content: dict[str, Any] = content
        if not _is_int(content.get("format")) or content["format"] != FORMAT:
            raise self.refused("format", f"{FORMAT}, the only one this code reads")

    def refused(self, field: str, accepted: str) -> BundleError:
        return BundleError(f"{self._path}: {field} must be {accepted}")

    def value(self, field: str) -> Any:
        return self._content.get(field)

    def text(self, field: str) -> str:
        value = self.value(field)
        if not isinstance(value, str) or not value:
            raise self.refused(field, "a string")
        return value

    def mapping(self, field: str) -> dict[str, Any]:
        value = self.value(field)
        if not isinstance(value, dict):
            raise self.refused(field, "an object")
        return value


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _vocabulary(manifest: _Manifest) -> tuple[tuple[str, str], ...]:
    entries = manifest.value("vocabulary")
    well_formed = isinstance(entries, list) and all(
        isinstance(entry, list) and len(entry) == 2 and all(isinstance(s, str) for s in entry)
        for entry in entries
    )
    if not well_formed or not entries:
        raise manifest.refused("vocabulary", "a list of [type, value], the index being the id")
    vocabulary = tuple((kind, value) for kind, value in entries)
    if len(set(vocabulary)) != len(vocabulary):
        raise manifest.refused("vocabulary", "free of duplicate tokens")
    return vocabulary


def _grammar(manifest: _Manifest) -> dict[str, tuple[str, ...]]:
    grammar = manifest.mapping("grammar")
    for kind, followers in grammar.items():
        if not isinstance(followers, list) or not all(isinstance(f, str) for f in followers):
            raise manifest.refused(f"grammar, {kind}", "a list of token types")
    return {kind: tuple(followers) for kind, followers in grammar.items()}


def _is_weight(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1


def _copying(manifest: _Manifest) -> dict[str, Any]:
    """The weights; `memory.CopyWeights` knows how many there must be."""
    copying = manifest.mapping("copying")
    for name in ("suffix", "suffix_in_new_bars", "plan"):
        rows = copying.get(name)
        flat = isinstance(rows, list) and (rows if name != "plan" else _flattened(rows))
        if not flat or not all(map(_is_weight, flat)):
            raise manifest.refused(f"copying.{name}", "weights from 0 to below 1")
    return copying


def _flattened(rows: list[Any]) -> list[Any]:
    return [value for row in rows for value in (row if isinstance(row, list) else [row])]


def _plans(
    manifest: _Manifest, styles: Mapping[str, int], vocabulary: tuple[tuple[str, str], ...]
) -> dict[str, dict[str, list[str]]]:
    plans = manifest.mapping("plans")
    for style, by_metre in plans.items():
        if style not in styles or not isinstance(by_metre, dict):
            raise manifest.refused(f"plans, {style}", "a style with plans by metre")
        for metre, texts in by_metre.items():
            known = ("TimeSig", metre) in vocabulary
            if not known or not isinstance(texts, list) or not all(type(t) is str for t in texts):
                raise manifest.refused(f"plans, {style} {metre}", "a metre with a list of texts")
    return plans


def _archive(
    manifest: _Manifest, styles: Mapping[str, int], vocabulary: tuple[tuple[str, str], ...]
) -> dict[str, dict[str, dict[str, int]]]:
    archive = manifest.mapping("archive")
    known = set(vocabulary)
    for style, by_metre in archive.items():
        well_formed = isinstance(by_metre, dict) and all(
            ("TimeSig", metre) in known
            and isinstance(tempi, dict)
            and all(("Tempo", tempo) in known for tempo in tempi)
            and all(_is_int(count) and count > 0 for count in tempi.values())
            for metre, tempi in by_metre.items()
        )
        if style not in styles or not well_formed:
            raise manifest.refused(f"archive, {style}", "a style with pieces by metre and tempo")
    return archive


def _voices(manifest: _Manifest, styles: Mapping[str, int]) -> tuple[str, ...]:
    voices = manifest.value("voices")
    if not isinstance(voices, list) or not all(style in styles for style in voices):
        raise manifest.refused("voices", "a list of styles")
    return tuple(voices)


def _sampling(manifest: _Manifest) -> dict[str, Any]:
    sampling = manifest.mapping("sampling")
    for field in SAMPLING_FIELDS:
        value = sampling.get(field)
        if (
            not isinstance(value, (int, float))
            or isinstance(value, bool)
            or not math.isfinite(value)
        ):
            raise manifest.refused(f"sampling.{field}", "a finite number")
    return sampling
