"""Weights as float16, from which training can continue: a bundle's, and those of the long run.

They are stored as .npz rather than as a pickle, since reading an .npz runs no code. The functions
on AWS never read them. `GOING_ON` holds the weights of the long run, whose learning rate has not
decayed yet.

    python -m training.model.weights --checkpoint build/going-on.pt    # writes going-on.npz
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from training import options
from training.data import provenance
from training.data.provenance import History
from training.data.tokenizer import make_tokenizer, vocabulary_entries
from training.model.checkpoints import CHECKPOINT, history_of, load_checkpoint
from training.model.model import ModelConfig, MusicModel
from training.options import Parser

WEIGHTS_FILE = "weights.npz"
GOING_ON = Path(__file__).parents[1] / "going-on.npz"
CONFIG, HISTORY = "config", "history"  # arrays that hold JSON instead of weights


def save_weights(model: MusicModel, path: Path, history: History = ()) -> Path:
    """Writes float16 arrays, the model's sizes, and what it was trained on so far."""
    arrays = {
        name: tensor.detach().cpu().half().numpy() for name, tensor in model.state_dict().items()
    }
    arrays[CONFIG] = np.array(json.dumps(model.config.to_json()))
    arrays[HISTORY] = np.array(provenance.to_json(history))
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(partial, **arrays)
    return partial.replace(path)


def load_weights(path: Path) -> tuple[MusicModel, History]:
    """The model whose weights are in a file or in a bundle's folder, and what it was trained on.

    Raises:
        ValueError: no weights there, or not this code's model.
    """
    path = path / WEIGHTS_FILE if path.suffix != ".npz" else path
    try:
        with np.load(path, allow_pickle=False) as arrays:
            config = ModelConfig(**json.loads(str(arrays[CONFIG])))
            model = MusicModel(config, vocabulary_entries(make_tokenizer()))
            history = provenance.from_json(str(arrays[HISTORY]))
            names = set(arrays.files) - {CONFIG, HISTORY}
            model.load_state_dict({name: torch.from_numpy(arrays[name]).float() for name in names})
    except (OSError, KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"{path} does not hold weights that this code can train further ({error}): name a "
            "bundle that was exported by this version"
        ) from error
    return model, history


def main() -> None:
    parser = Parser("training.model.weights", "Keep a checkpoint's weights in one small file.")
    made = options.file("training.model.trainer")
    parser.add_argument("--checkpoint", type=made, default="build/going-on.pt")
    parser.add_argument("--out", type=options.new_file(".npz"), default=str(GOING_ON))
    a = parser.parse_args()
    model, facts = parser.read("--checkpoint", a.checkpoint, load_checkpoint, CHECKPOINT)
    history = history_of(facts)
    save_weights(model, a.out, history)
    seen = provenance.tokens_of(history) / 1e6
    print(f"{a.out}: {a.out.stat().st_size / 1e6:.1f} MB, after {seen:.1f} million tokens")


if __name__ == "__main__":
    main()
