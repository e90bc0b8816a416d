"""Reads the checkpoint of a training run: its model, and the facts of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from training.data import provenance
from training.data.provenance import History
from training.data.tokenizer import make_tokenizer, vocabulary_entries
from training.model.model import ModelConfig, MusicModel


def history_of(checkpoint: Mapping[str, Any], note: str = "") -> History:
    """All that the model of a checkpoint was trained on, this run last."""
    *earlier, this = provenance.from_json(checkpoint["history"])
    tokens = checkpoint["step"] * checkpoint["recipe"]["tokens"]
    return provenance.extended(tuple(earlier), replace(this, tokens=tokens, note=note))


def load_checkpoint(path: Path) -> tuple[MusicModel, dict[str, Any]]:
    """The model in a checkpoint, ready to evaluate, and the checkpoint's other facts."""
    saved = torch.load(path, weights_only=True, map_location="cpu")
    model = MusicModel(ModelConfig(**saved["model_config"]), vocabulary_entries(make_tokenizer()))
    model.load_state_dict(saved["model"])
    model.eval()
    return model, {k: v for k, v in saved.items() if k not in ("model", "optimizers")}
