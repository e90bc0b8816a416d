"""The training weights in a bundle, as float16, so that others can go on from them.

An .npz rather than a pickle: reading one runs no code. The functions never read it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from dataset import make_tokenizer, vocabulary_entries
from model import ModelConfig, MusicModel

WEIGHTS_FILE = "weights.npz"
NEW = ("before", "before_meaning")
CONFIG = "config"  # the array that holds the sizes, as JSON


def save_weights(model: MusicModel, folder: Path) -> Path:
    """Writes ``weights.npz`` into ``folder``: float16 arrays, and the model's sizes."""
    arrays = {
        name: tensor.detach().cpu().half().numpy() for name, tensor in model.state_dict().items()
    }
    arrays[CONFIG] = np.array(json.dumps(model.config.to_json()))
    path = folder / WEIGHTS_FILE
    np.savez_compressed(path, **arrays)
    return path


def load_weights(folder: Path) -> MusicModel:
    """The model whose weights the bundle in ``folder`` carries.

    Raises:
        ValueError: no weights there, or not this code's model.
    """
    path = folder / WEIGHTS_FILE
    try:
        with np.load(path, allow_pickle=False) as arrays:
            config = ModelConfig(**json.loads(str(arrays[CONFIG])))
            model = MusicModel(config, vocabulary_entries(make_tokenizer()))
            saved = {k: torch.from_numpy(arrays[k]).float() for k in arrays.files if k != CONFIG}
            # What a model of an earlier version lacks begins as nothing, and is learned.
            model.load_state_dict({name: model.state_dict()[name] for name in NEW} | saved)
    except (OSError, KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"{path} does not hold weights that this code can train further ({error}): name a "
            "bundle that was exported by this version"
        ) from error
    return model
