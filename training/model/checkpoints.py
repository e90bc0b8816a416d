"""Reads the checkpoint of a training run: its model, and the facts of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from training.data import provenance
from training.data.provenance import History
from training.data.tokenizer import make_tokenizer, vocabulary_entries
from training.model.model import ModelConfig, MusicModel
from training.model.recipe import TrainConfig

CHECKPOINT = "a checkpoint, as training.model.trainer writes it"  # in messages


def history_of(checkpoint: Mapping[str, Any], note: str = "") -> History:
    """All that the model of a checkpoint was trained on, this run last."""
    *earlier, this = provenance.from_json(checkpoint["history"])
    tokens = checkpoint["step"] * checkpoint["recipe"]["tokens"]
    return provenance.extended(tuple(earlier), replace(this, tokens=tokens, note=note))


class AnotherRunError(ValueError):
    """A checkpoint that was begun with another model, recipe or data set."""


def facts_of_run(
    model_config: ModelConfig, config: TrainConfig, dataset_sha256: str
) -> dict[str, Any]:
    """What a resumed run must keep. It may be longer and save more often."""
    free = ("steps", "checkpoint_seconds")
    return {
        "model_config": model_config.to_json(),
        "recipe": {k: v for k, v in asdict(config).items() if k not in free},
        "dataset_sha256": dataset_sha256,
    }


def refuse_another_run(path: Path, saved: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Raises AnotherRunError if the checkpoint `saved` is not one of the run with these facts."""
    for name, value in facts.items():
        if saved[name] != value:
            raise AnotherRunError(
                f"{path} was begun with another {name.replace('_', ' ')}: delete it, or name "
                "another file"
            )


def load_checkpoint(path: Path) -> tuple[MusicModel, dict[str, Any]]:
    """The model in a checkpoint, ready to evaluate, and the checkpoint's other facts."""
    saved = torch.load(path, weights_only=True, map_location="cpu")
    model = MusicModel(ModelConfig(**saved["model_config"]), vocabulary_entries(make_tokenizer()))
    model.load_state_dict(saved["model"])
    model.eval()
    return model, {k: v for k, v in saved.items() if k not in ("model", "optimizers")}
