"""Trains `MusicModel` on a prepared dataset: windows, schedule, checkpoints, validation.

Every random draw comes from one seed and the step number, so a run that was killed and resumed
sees the same windows. Knows nothing of MIDI or ONNX.

    python training-notebook/trainer.py --dataset build/dataset.npz --checkpoint build/model.pt
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dataset import Dataset, make_tokenizer, vocabulary_entries
from model import ModelConfig, MusicModel
from optimizer import make_optimizers

from generate_tokens.state import PITCH, Vocabulary, unpack_sounding

PAD_ID = 0
PREFIX = 2  # BOS and the style open every window, as they do when the decoder's window slides
EVALUATED_SECONDS = 60.0
Batch = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class TrainConfig:
    """How to train. ``transpose``: semitones down and up, off for the last part of the run."""

    steps: int = 5500
    batch: int = 16
    seed: int = 0
    warmup_steps: int = 50
    constant_share: float = 0.3
    final_rate: float = 0.01
    clip: float = 1.0
    starts_share: float = 0.15  # of windows that begin with the piece
    ends_share: float = 0.08  # that end with it: EOS would else never be a target
    transpose: tuple[int, int] = (-5, 6)
    transpose_until: float = 0.85
    checkpoint_seconds: float = 120.0

    def rate(self, step: int) -> float:
        """Share of the learning rates at ``step``: warm-up, constant, then linear to the end."""
        done = step / self.steps
        decayed = min(1.0, (1 - done) / (1 - self.constant_share))
        return min(1.0, (step + 1) / self.warmup_steps) * max(self.final_rate, decayed)


class Windows:
    """Draws training windows, and cuts validation pieces into overlapping ones."""

    def __init__(self, dataset: Dataset, vocabulary: Vocabulary, context: int) -> None:
        self.dataset, self.vocabulary, self.context = dataset, vocabulary, context
        self.body = context - PREFIX  # tokens of the piece itself in one window
        lengths = np.diff(dataset.starts) - PREFIX
        self.train = np.flatnonzero(~dataset.validation)
        if not len(self.train):
            raise ValueError("the dataset has no training piece: give more MIDI files")
        self.weights = lengths[self.train] / lengths[self.train].sum()
        first, last = vocabulary.ranges[PITCH]
        self._pitches = (first, last)

    def draw(self, rng: np.random.Generator, config: TrainConfig, transpose: bool) -> Batch:
        """A batch of windows ``[BOS, style, body...]`` of ``context`` inputs, and their targets."""
        pieces = rng.choice(self.train, size=config.batch, p=self.weights)
        places = rng.random(config.batch)
        starts, ends = config.starts_share, config.ends_share
        offsets = rng.random(config.batch)
        shifts = rng.integers(config.transpose[0], config.transpose[1] + 1, config.batch)
        rows = []
        for piece, where, offset, shift in zip(pieces, places, offsets, shifts, strict=True):
            first = self.dataset.starts[piece] + PREFIX
            last = self.dataset.starts[piece + 1] - 1  # EOS: a target, never an input
            room = max(0, last - first - self.body)
            begin = first + (
                0 if where < starts else room if where > 1 - ends else int(offset * room)
            )
            end = min(begin + self.body, last)
            rows.append(self.window(piece, begin, end, int(shift) * transpose))
        return _stack([self._padded(row) for row in rows])

    def _padded(self, row: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """The row of a short piece, filled up to the context; PAD is never a target."""
        missing = self.context + 1 - len(row[0])
        if not missing:
            return row
        return [np.pad(a, [(0, missing)] + [(0, 0)] * (a.ndim - 1)) for a in row]

    def window(self, piece: int, begin: int, end: int, shift: int = 0) -> list[NDArray[Any]]:
        """Arrays of one window: ids [1 + inputs], position, program, tick, sounding [inputs, ...].

        ``begin`` and ``end`` bound the inputs' body; the target of the last input is at ``end``.
        """
        data = self.dataset
        prefix = data.starts[piece]
        body = data.ids[begin : end + 1]
        ids = np.concatenate((data.ids[prefix : prefix + PREFIX], body), dtype=np.int64)
        features = data.features
        rows = np.concatenate((np.arange(prefix, prefix + PREFIX), np.arange(begin, end)))
        tick = features.tick[rows] - features.tick[begin]
        tick[:PREFIX] = 0
        sounding = unpack_sounding(features.sounding[rows], self.vocabulary.pitches)
        if shift:
            ids, sounding = self._transposed(ids, sounding, shift)
        return [
            ids,
            features.position[rows],
            features.program[rows],
            tick.astype(np.float32),
            sounding,
        ]

    def _transposed(
        self, ids: NDArray[np.int64], sounding: NDArray[np.float32], shift: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        first, last = self._pitches
        is_pitch = (ids >= first) & (ids < last)
        moved = ids + shift * is_pitch
        if (moved[is_pitch] < first).any() or (moved[is_pitch] >= last).any():
            return ids, sounding  # the window does not fit in that key
        shifted = np.zeros_like(sounding)
        if shift > 0:
            shifted[:, shift:] = sounding[:, :-shift]
        else:
            shifted[:, :shift] = sounding[:, -shift:]
        return moved, shifted

    def validation(self, pieces: NDArray[np.int64]) -> list[tuple[list[NDArray[Any]], int, int]]:
        """(window, first target that counts, piece) covering the first minute of each piece."""
        windows = []
        for piece in pieces:
            first, last = self.dataset.starts[piece] + PREFIX, self.dataset.starts[piece + 1] - 1
            share = min(1.0, EVALUATED_SECONDS / float(self.dataset.seconds[piece]))
            ticks = self.dataset.features.tick[first:last]  # ascending, and there is one tempo
            stop = first + int(np.searchsorted(ticks, share * ticks[-1], side="right"))
            begin, counted = first, PREFIX - 1  # the style is given, the first Bar is not
            while begin < stop:
                end = min(begin + self.body, stop)
                windows.append((self.window(piece, begin, end), counted, int(piece)))
                if end == stop:
                    break
                begin, counted = begin + self.body // 2, PREFIX + self.body - self.body // 2
        return windows


def _stack(rows: list[list[NDArray[Any]]]) -> Batch:
    ids = torch.from_numpy(np.stack([row[0] for row in rows]))
    rest = (torch.from_numpy(np.stack([row[k] for row in rows])) for k in range(1, 5))
    return (ids[:, :-1].contiguous(), ids[:, 1:].contiguous(), *rest)  # type: ignore[return-value]  # a generator hides the length


def loss_of(model: MusicModel, batch: Batch) -> Tensor:
    """Mean nats per token."""
    ids, targets, *features = batch
    logits = model(ids, *features)
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PAD_ID)


@torch.no_grad()
def nats_per_note(model: MusicModel, windows: Windows, pieces: NDArray[np.int64]) -> float:
    """Summed negative log-likelihood over the first minute of each piece, per note in it."""
    model.eval()
    total, notes = 0.0, 0
    first, last = windows.vocabulary.ranges[PITCH]
    for arrays, counted, _ in windows.validation(pieces):
        ids, targets, *features = _stack([arrays])
        losses = functional.cross_entropy(model(ids, *features)[0], targets[0], reduction="none")[
            counted:
        ]
        total += float(losses.sum())
        kept = targets[0, counted:]
        notes += int(((kept >= first) & (kept < last)).sum())
    model.train()
    return total / max(notes, 1)


def train(
    dataset: Dataset,
    model_config: ModelConfig,
    config: TrainConfig,
    checkpoint: Path,
    compile_model: bool = True,
) -> MusicModel:
    """Trains until ``config.steps``; goes on from ``checkpoint`` when it is there.

    Raises:
        ValueError: the checkpoint was made with another configuration.
    """
    entries = vocabulary_entries(make_tokenizer())
    windows = Windows(dataset, Vocabulary(entries), model_config.context)
    torch.manual_seed(config.seed)
    torch.set_flush_denormal(True)
    model = MusicModel(model_config, entries)
    optimizers = make_optimizers(model)
    rates = [[group["lr"] for group in o.param_groups] for o in optimizers]
    step, spent_s = 0, 0.0
    # What a resumed run must share with its beginning; it may be longer and save more often.
    recipe = {k: v for k, v in asdict(config).items() if k not in ("steps", "checkpoint_seconds")}
    run = {
        "model_config": model_config.to_json(),
        "recipe": {k: list(v) if isinstance(v, tuple) else v for k, v in recipe.items()},
        "dataset_sha256": hashlib.sha256(dataset.ids.tobytes()).hexdigest(),
    }
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        for name, value in run.items():
            if saved[name] != value:
                raise ValueError(
                    f"{checkpoint} was begun with another {name.replace('_', ' ')}: delete it, "
                    "or name another file"
                )
        model.load_state_dict(saved["model"])
        for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        step, spent_s = saved["step"], saved["spent_s"]
    step_loss = torch.compile(loss_of) if compile_model else loss_of
    began = saved_at = time.monotonic()
    smoothed = math.nan
    log = checkpoint.with_suffix(".jsonl")

    def save() -> None:
        partial = checkpoint.with_suffix(".partial")
        state = {
            "model": model.state_dict(),
            "optimizers": [o.state_dict() for o in optimizers],
            "step": step,
            "spent_s": spent_s + time.monotonic() - began,
            **run,
        }
        torch.save(state, partial)
        partial.replace(checkpoint)

    with tqdm(total=config.steps, initial=step, unit="step", disable=None) as progress:
        while step < config.steps:
            rate = config.rate(step)
            for optimizer, base in zip(optimizers, rates, strict=True):
                for group, lr in zip(optimizer.param_groups, base, strict=True):
                    group["lr"] = lr * rate
            rng = np.random.default_rng([config.seed, step])
            loss = step_loss(
                model, windows.draw(rng, config, step < config.transpose_until * config.steps)
            )
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            step += 1
            value = float(loss.detach())
            smoothed = value if math.isnan(smoothed) else 0.98 * smoothed + 0.02 * value
            progress.update()
            if step % 50 == 0 or step == config.steps:
                elapsed = time.monotonic() - began
                progress.set_postfix(loss=f"{smoothed:.3f}")
                with log.open("a") as lines:
                    row = {"step": step, "loss": round(smoothed, 4), "seconds": round(elapsed, 1)}
                    lines.write(json.dumps(row) + "\n")
            if time.monotonic() - saved_at > config.checkpoint_seconds:
                save()
                saved_at = time.monotonic()
    save()
    return model


def load_checkpoint(path: Path) -> tuple[MusicModel, dict[str, Any]]:
    """The model in a checkpoint, ready to evaluate, and the checkpoint's other facts."""
    saved = torch.load(path, weights_only=True)
    model = MusicModel(ModelConfig(**saved["model_config"]), vocabulary_entries(make_tokenizer()))
    model.load_state_dict(saved["model"])
    model.eval()
    return model, {k: v for k, v in saved.items() if k not in ("model", "optimizers")}


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the model; resumes from its checkpoint.")
    parser.add_argument("--dataset", type=Path, default=Path("build/dataset.npz"))
    parser.add_argument("--checkpoint", type=Path, default=Path("build/model.pt"))
    parser.add_argument("--steps", type=int, default=TrainConfig.steps)
    parser.add_argument("--batch", type=int, default=TrainConfig.batch)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--context", type=int, default=ModelConfig.context)
    parser.add_argument("--channels", type=int, default=ModelConfig.channels)
    parser.add_argument("--layers", type=int, default=ModelConfig.layers)
    parser.add_argument("--heads", type=int, default=ModelConfig.heads)
    parser.add_argument("--kv-heads", type=int, default=ModelConfig.kv_heads)
    parser.add_argument("--hidden", type=int, default=ModelConfig.hidden)
    parser.add_argument("--no-transpose", action="store_true")
    parser.add_argument("--no-compile", action="store_true", help="skip torch.compile")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    dataset = Dataset.load(a.dataset)
    vocabulary = Vocabulary(vocabulary_entries(make_tokenizer()))
    model_config = ModelConfig(
        vocabulary=vocabulary.size,
        pitches=vocabulary.pitches,
        programs=vocabulary.programs,
        channels=a.channels,
        layers=a.layers,
        heads=a.heads,
        kv_heads=a.kv_heads,
        hidden=a.hidden,
        context=a.context,
    )
    config = TrainConfig(
        steps=a.steps,
        batch=a.batch,
        seed=a.seed,
        transpose_until=0.0 if a.no_transpose else TrainConfig.transpose_until,
    )
    started, cpu = time.monotonic(), time.process_time()
    model = train(dataset, model_config, config, a.checkpoint, not a.no_compile)
    windows = Windows(dataset, vocabulary, model_config.context)
    held = np.flatnonzero(dataset.validation)
    nats = round(nats_per_note(model, windows, held), 4) if len(held) else None
    facts = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "tokens": config.steps * config.batch * model_config.context,
        "wall_s": round(time.monotonic() - started),
        "cpu_s": round(time.process_time() - cpu),
        "validation_nats_per_note": nats,
        "model": model_config.to_json(),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
