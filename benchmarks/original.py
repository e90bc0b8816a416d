"""The original project's form on our pieces: what training, a token and a second of music cost.

The model is a plain decoder with learned absolute positions on the original project's tokens
(`original_corpus.py`), and of its size: 48 thousand parameters, a window of 128. It is trained with
AdamW for a given CPU time on the pieces that our model trains on, its nats per note are of the same
first minutes, and it is sampled as the original project does (`original_decode.py`). So all of this
can be compared with ours.

    python -m benchmarks.original --data FOLDER --samples FOLDER --out build/original.json

The control of half a million parameters: --channels 96 --layers 4 --heads 4.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from benchmarks.candidates import VCPU_GB
from benchmarks.decode_forms import export_onnx
from benchmarks.original_corpus import (
    Corpus,
    beats_of_ids,
    ids_of,
    minute_windows,
    original_tokenizer,
    read_corpus,
)
from benchmarks.original_decode import Task
from training import options
from training.data.dataset import Dataset
from training.model.windows import ENDS_SHARE, STARTS_SHARE, TRANSPOSITIONS
from training.options import DATASET, Parser

PAD_ID = 0
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class OriginalConfig:
    """Sizes of the model and the recipe of its training."""

    vocabulary: int = 416
    channels: int = 34
    layers: int = 2
    heads: int = 2
    context: int = 128
    batch: int = 32
    seed: int = 0
    lr: float = 3e-3
    weight_decay: float = 0.1
    warmup_steps: int = 50
    constant_share: float = 0.3
    final_rate: float = 0.01
    transpose_until: float = 0.85  # share of the run

    def rate(self, step: int, done: float) -> float:
        """The factor on the learning rate at ``step``, with the share ``done`` of the time spent.

        Warm-up goes by steps, decay by the time.
        """
        decayed = min(1.0, (1 - done) / (1 - self.constant_share))
        return min(1.0, (step + 1) / self.warmup_steps) * max(self.final_rate, decayed)


class OriginalBlock(nn.Module):
    """Attention, then a GELU MLP, each with a LayerNorm before it and a residual connection."""

    def __init__(self, config: OriginalConfig) -> None:
        super().__init__()
        c = config.channels
        self.heads = config.heads
        self.norm_1, self.norm_2 = nn.LayerNorm(c), nn.LayerNorm(c)
        self.qkv, self.out = nn.Linear(c, 3 * c), nn.Linear(c, c)
        self.up, self.down = nn.Linear(c, 4 * c), nn.Linear(4 * c, c)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, C], the same."""
        q, k, v = self.qkv(self.norm_1(x)).unflatten(-1, (3, self.heads, -1)).unbind(2)
        attended = functional.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True
        )  # [B, H, T, D]
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        added: Tensor = self.down(functional.gelu(self.up(self.norm_2(x))))
        return x + added


class OriginalModel(nn.Module):
    """A decoder like nanoGPT's (github.com/karpathy/nanoGPT), its head tied to the embedding."""

    def __init__(self, config: OriginalConfig) -> None:
        super().__init__()
        self.token = nn.Embedding(config.vocabulary, config.channels)
        self.position = nn.Embedding(config.context, config.channels)
        self.blocks = nn.ModuleList(OriginalBlock(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.channels)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                deep = name.endswith(("out.weight", "down.weight"))
                std = 0.02 / math.sqrt(2 * config.layers) if deep else 0.02
                nn.init.normal_(parameter, std=std)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, ids: Tensor) -> Tensor:
        """ids int64 [B, T] -> logits [B, T, vocabulary]."""
        x = self.token(ids) + self.position.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        return functional.linear(self.norm(x), self.token.weight)


def _loss(model: OriginalModel, rows: Tensor) -> Tensor:
    """Mean nats per token of rows int64 [B, T + 1]; PAD is no target."""
    logits = model(rows[:, :-1])
    return functional.cross_entropy(
        logits.flatten(0, 1), rows[:, 1:].flatten(), ignore_index=PAD_ID
    )


def draw(
    corpus: Corpus, rng: np.random.Generator, config: OriginalConfig, transpose: bool
) -> Tensor:
    """Random rows of context + 1 tokens, int64 [B, T + 1]; beginnings and ends as in windows.py.

    The probability of a piece is proportional to its length.
    """
    train = np.flatnonzero(~corpus.held_out)
    lengths = np.diff(corpus.starts)[train]
    is_pitch_id = ids_of("Pitch")
    rows = np.full((config.batch, config.context + 1), PAD_ID, np.int64)
    pieces = rng.choice(train, size=config.batch, p=lengths / lengths.sum())
    places, offsets = rng.random(config.batch), rng.random(config.batch)
    shifts = rng.integers(TRANSPOSITIONS[0], TRANSPOSITIONS[1] + 1, config.batch) * transpose
    for row, piece, place, offset, shift in zip(rows, pieces, places, offsets, shifts, strict=True):
        first, last = corpus.starts[piece : piece + 2]
        room = max(0, last - first - len(row))
        inside = 0 if place < STARTS_SHARE else int(offset * room)
        begin = first + (room if place > 1 - ENDS_SHARE else inside)
        window = corpus.ids[begin : min(begin + len(row), last)].astype(np.int64)
        is_pitch = is_pitch_id[window]
        moved = window + shift * is_pitch  # to add transposes: pitch ids ascend by 1
        row[: len(window)] = moved if is_pitch_id[moved[is_pitch]].all() else window
    return torch.from_numpy(rows)


def train(
    corpus: Corpus,
    config: OriginalConfig,
    budget_s: float,
    clock: Callable[[], float] = time.process_time,
) -> tuple[OriginalModel, dict[str, Any]]:
    """Trains until ``budget_s`` of ``clock`` are spent; also what went into it."""
    torch.manual_seed(config.seed)
    torch.set_flush_denormal(True)
    model = OriginalModel(config)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p.ndim == 2]},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups, lr=config.lr, betas=(0.9, 0.95), weight_decay=config.weight_decay, fused=True
    )
    step, began, spent_s, smoothed = 0, clock(), 0.0, math.nan
    with tqdm(total=round(budget_s), unit="CPU-s", disable=None, mininterval=1) as progress:
        while spent_s < budget_s:
            done = spent_s / budget_s
            for group in optimizer.param_groups:
                group["lr"] = config.lr * config.rate(step, done)
            rng = np.random.default_rng([config.seed, step])
            loss = _loss(model, draw(corpus, rng, config, done < config.transpose_until))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            spent_s = clock() - began
            value = float(loss.detach())
            smoothed = value if math.isnan(smoothed) else 0.98 * smoothed + 0.02 * value
            progress.update(round(min(spent_s, budget_s)) - progress.n)
            progress.set_postfix(step=step, loss=f"{smoothed:.3f}", refresh=False)
    tokens = step * config.batch * config.context
    return model.eval(), {"steps": step, "cpu_s": round(spent_s), "tokens_trained": tokens}


def trained(
    corpus: Corpus, config: OriginalConfig, budget_s: float, weights: Path
) -> tuple[OriginalModel, dict[str, Any]]:
    """What `train` returns; taken from the file ``weights`` if it is there, else written to it.

    Raises:
        ValueError: the file is of another configuration, budget or corpus.
    """
    run = {"config": asdict(config), "budget_s": budget_s, "corpus": corpus.sha256}
    if not weights.exists():
        model, facts = train(corpus, config, budget_s)
        torch.save({"model": model.state_dict(), "facts": facts, "run": run}, weights)
        return model, facts
    saved = torch.load(weights, weights_only=True)
    if saved["run"] != run:
        raise ValueError(
            f"{weights} is of another recipe, budget or data: delete it, or name another file"
        )
    model = OriginalModel(config).eval()
    model.load_state_dict(saved["model"])
    return model, saved["facts"]


@torch.no_grad()
def nats_per_note(
    model: OriginalModel, corpus: Corpus, context: int, held_out: NDArray[np.bool_]
) -> dict[str, Any]:
    """Summed negative log-likelihood of the first minutes of the pieces ``held_out``, per note.

    Also without velocity tokens. ``held_out``: bool [pieces].
    """
    is_pitch, is_velocity = ids_of("Pitch"), ids_of("Velocity")
    nats, velocities, notes = 0.0, 0.0, 0
    windows = minute_windows(corpus, context, held_out)
    for ids, counted in tqdm(windows, desc="held-out pieces", unit="window", disable=None):
        row = torch.from_numpy(ids)
        losses = functional.cross_entropy(model(row[None, :-1])[0], row[1:], reduction="none")
        counts, targets = losses[counted:].double().numpy(), ids[1 + counted :]
        nats += float(counts.sum())
        velocities += float(counts[is_velocity[targets]].sum())
        notes += int(is_pitch[targets].sum())
    return {
        "pieces": int(held_out.sum()),
        "nats_per_note": round(nats / max(notes, 1), 4),
        "nats_per_note_without_velocity": round((nats - velocities) / max(notes, 1), 4),
    }


def decode(
    model: OriginalModel, config: OriginalConfig, graph: Path, count: int, seconds: float, seed: int
) -> tuple[list[list[int]], dict[str, Any]]:
    """Samples ``count`` pieces of ``seconds`` from ``graph``, which is written; also its cost.

    They must be long enough to fill a window.
    """
    ids = torch.ones(1, 8, dtype=torch.int64)
    tokens = torch.export.Dim("tokens", min=1, max=config.context)
    export_onnx(model, (ids,), ({1: tokens},), (["ids"], ["logits"]), graph)
    bos, eos = (original_tokenizer()[name] for name in ("BOS_None", "EOS_None"))
    beats = beats_of_ids().tolist()
    task = Task(str(graph.resolve()), config.context, bos, eos, beats, count, seconds, seed)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.original_decode"],
        input=json.dumps(asdict(task)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT,
    )
    facts = json.loads(done.stdout)
    pieces = facts.pop("pieces")
    facts["gb_s_per_three_minutes"] = 180 / facts["music_s_per_cpu_s"] * VCPU_GB
    facts = {name: round(value, 2) for name, value in facts.items()}
    return pieces, {**facts, "file_bytes": graph.stat().st_size}


def main() -> None:
    parser = Parser("benchmarks.original", (__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    files, positive, one = options.file("training.data.dataset"), options.positive, options.whole(1)
    data = "folder of MIDI, as for the data set"
    add("--data", type=options.folder, action="append", required=True, help=data)
    add("--dataset", type=files, default="build/dataset.npz", help="says which pieces to use")
    add("--workers", type=one, default=os.cpu_count(), help="processes that read the pieces")
    for name in ("channels", "layers", "heads"):
        add(f"--{name}", type=one, default=getattr(OriginalConfig, name))
    add("--cpu-minutes", type=positive, default=20.0, help="CPU time to train for; default 20")
    new = options.new_file
    add("--weights", type=new(".pt"), default="build/original.pt", help="used if there")
    add("--samples", type=options.new_folder, help="write the sampled pieces here, as MIDI")
    add("--count", type=one, default=48, help="pieces to sample; default 48")
    add("--seconds", type=positive, default=60.0, help="length of a sampled piece; default 60")
    add("--seed", type=options.whole(0), default=0, help="of the samples")
    add("--out", type=new(".json"), help="write the JSON object here too")
    a = parser.parse_args()
    if a.channels % a.heads:
        parser.error(f"--channels {a.channels} must be a multiple of --heads {a.heads}")
    parser.read("--dataset", a.dataset, Dataset.load, DATASET)
    torch.set_num_threads(1)
    config = OriginalConfig(
        len(original_tokenizer()), channels=a.channels, layers=a.layers, heads=a.heads
    )
    try:
        cached = a.weights.with_name("original_corpus.npz")
        corpus = read_corpus(a.data, a.dataset, cached, a.workers)
        model, facts = trained(corpus, config, a.cpu_minutes * 60, a.weights)
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from error
    facts = {"parameters": sum(p.numel() for p in model.parameters()), **facts}
    for name, held_out in (("validation", corpus.validation), ("test", corpus.test)):
        facts[name] = nats_per_note(model, corpus, config.context, held_out)
    graph = a.weights.with_suffix(".onnx")
    pieces, cost = decode(model, config, graph, a.count, a.seconds, a.seed)
    for i, ids in enumerate(pieces if a.samples else ()):
        original_tokenizer().decode(ids).dump_midi(a.samples / f"original_{i:02}.mid")
    line = json.dumps({**facts, **cost})
    if a.out:
        a.out.write_text(line + "\n")
    print(line)


if __name__ == "__main__":
    main()
