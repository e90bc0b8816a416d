"""Weights as float16, so that others can train on from them: a bundle's, and the long run's.

An .npz rather than a pickle: reading one runs no code. The functions never read it. `GOING_ON` are
the weights of the long run, whose rate has not decayed yet.

    python training-notebook/weights.py --checkpoint build/going-on.pt    # writes going-on.npz
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from checkpoints import load_checkpoint, tokens_seen
from dataset import make_tokenizer, vocabulary_entries
from model import ModelConfig, MusicModel

from generate_tokens.bundle import MANIFEST_FILE

WEIGHTS_FILE = "weights.npz"
GOING_ON = Path(__file__).with_name("going-on.npz")
# Arrays that are no weights: the model's sizes, as JSON, and a number.
CONFIG, TOKENS_SEEN = "config", "tokens_seen"
NEW = ("before", "before_meaning")  # weights that a model of an earlier version lacks


def save_weights(model: MusicModel, path: Path, tokens_seen: int = 0) -> Path:
    """Writes float16 arrays, the model's sizes, and how many tokens it was trained on so far."""
    arrays = {
        name: tensor.detach().cpu().half().numpy() for name, tensor in model.state_dict().items()
    }
    arrays[CONFIG] = np.array(json.dumps(model.config.to_json()))
    arrays[TOKENS_SEEN] = np.array(tokens_seen)
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(partial, **arrays)
    return partial.replace(path)


def load_weights(path: Path) -> tuple[MusicModel, int]:
    """The model whose weights a file, or the bundle in a folder, carries; tokens seen so far.

    Raises:
        ValueError: no weights there, or not this code's model.
    """
    path = path / WEIGHTS_FILE if path.suffix != ".npz" else path
    try:
        with np.load(path, allow_pickle=False) as arrays:
            config = ModelConfig(**json.loads(str(arrays[CONFIG])))
            model = MusicModel(config, vocabulary_entries(make_tokenizer()))
            tokens_seen = int(arrays[TOKENS_SEEN]) if TOKENS_SEEN in arrays else _of_bundle(path)
            names = set(arrays.files) - {CONFIG, TOKENS_SEEN}
            saved = {name: torch.from_numpy(arrays[name]).float() for name in names}
            # What it lacks begins as nothing, and is learned.
            model.load_state_dict({name: model.state_dict()[name] for name in NEW} | saved)
    except (OSError, KeyError, TypeError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"{path} does not hold weights that this code can train further ({error}): name a "
            "bundle that was exported by this version"
        ) from error
    return model, tokens_seen


def _of_bundle(weights: Path) -> int:
    """Tokens seen by the model of an older bundle, whose weights do not say it."""
    manifest = weights.with_name(MANIFEST_FILE)
    if not manifest.exists():
        return 0
    return int(json.loads(manifest.read_text())["training"].get("tokens_seen", 0))


def main() -> None:
    parser = argparse.ArgumentParser(description="Keep a checkpoint's weights in one small file.")
    parser.add_argument("--checkpoint", type=Path, default=Path("build/going-on.pt"))
    parser.add_argument("--out", type=Path, default=GOING_ON)
    a = parser.parse_args()
    model, facts = load_checkpoint(a.checkpoint)
    seen = tokens_seen(facts)
    save_weights(model, a.out, seen)
    print(f"{a.out}: {a.out.stat().st_size / 1e6:.1f} MB, after {seen / 1e6:.1f} million tokens")


if __name__ == "__main__":
    main()
