"""The control experiment: the original project's model on our pieces, measured as ours is.

The model is a plain decoder with learned absolute positions on the original project's tokens
(`baseline_corpus.py`). It is trained with AdamW for a given CPU time, and sampled from the whole
distribution without a mask. It trains on the pieces that our model trains on, and its nats per note
are of the same first minutes, so the two can be compared. Depends on neither our model nor musical
state nor the bundle.

    python -m training.evaluation.baseline --data FOLDER --cpu-minutes 60 --samples FOLDER
"""

from __future__ import annotations

import json
import math
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

from training import options
from training.data.dataset import Dataset
from training.evaluation.baseline_corpus import (
    Corpus,
    beats_of_ids,
    ids_of,
    minute_windows,
    original_tokenizer,
    read_corpus,
)
from training.model.windows import ENDS_SHARE, STARTS_SHARE, TRANSPOSITIONS
from training.options import DATASET, Parser

PAD_ID = 0
SAMPLE_QPM = 120  # the tokens have no tempo, so their music has MIDI's default
MOST_TOKENS_PER_S = 250  # fifty notes; ends the sampling of a piece whose time stands still


@dataclass(frozen=True)
class OriginalConfig:
    """Sizes of the model and the recipe of its training."""

    vocabulary: int = 416
    channels: int = 96
    layers: int = 4
    heads: int = 4
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
    """Random rows of context + 1 tokens, int64 [B, T + 1], as windows.py draws them.

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
    checkpoint: Path,
    *,
    compile_model: bool = True,
    clock: Callable[[], float] = time.process_time,
    checkpoint_s: float = 120.0,
) -> tuple[OriginalModel, dict[str, Any]]:
    """Trains until ``budget_s`` of ``clock`` are spent; resumes from ``checkpoint`` if it exists.

    Returns the model, and the steps and seconds that went into it.

    Raises:
        ValueError: the checkpoint was begun with another configuration, budget or corpus.
    """
    torch.manual_seed(config.seed)
    torch.set_flush_denormal(True)
    model = OriginalModel(config)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p.ndim == 2]},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(
        groups,
        lr=config.lr,
        betas=(0.9, 0.95),
        weight_decay=config.weight_decay,
        fused=True,
    )
    run = {
        "config": asdict(config),
        "budget_s": budget_s,
        "corpus": corpus.sha256,
    }
    step, spent_s = 0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        if any(saved[name] != value for name, value in run.items()):
            raise ValueError(
                f"{checkpoint} was begun with another recipe, budget or data: delete it, or name "
                "another file"
            )
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        step, spent_s = saved["step"], saved["spent_s"]

    def save() -> None:
        partial = checkpoint.with_suffix(".partial")
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save({**state, "step": step, "spent_s": spent_s, **run}, partial)
        partial.replace(checkpoint)

    step_loss = torch.compile(_loss, dynamic=False) if compile_model else _loss
    marked, saved_at, smoothed = clock(), time.monotonic(), math.nan
    with tqdm(
        total=round(budget_s), initial=round(spent_s), unit="CPU-s", disable=None, mininterval=1
    ) as progress:
        while spent_s < budget_s:
            done = spent_s / budget_s
            for group in optimizer.param_groups:
                group["lr"] = config.lr * config.rate(step, done)
            rng = np.random.default_rng([config.seed, step])
            loss = step_loss(model, draw(corpus, rng, config, done < config.transpose_until))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            now = clock()
            spent_s, marked = spent_s + now - marked, now
            value = float(loss.detach())
            smoothed = value if math.isnan(smoothed) else 0.98 * smoothed + 0.02 * value
            progress.update(round(min(spent_s, budget_s)) - progress.n)
            if step % 50 == 0:
                progress.set_postfix(step=step, loss=f"{smoothed:.3f}")
                row = {"step": step, "loss": round(smoothed, 4), "cpu_s": round(spent_s, 1)}
                with checkpoint.with_suffix(".jsonl").open("a") as lines:
                    lines.write(json.dumps(row) + "\n")
            if time.monotonic() - saved_at > checkpoint_s:
                save()
                saved_at = time.monotonic()
    save()
    return model.eval(), {"steps": step, "cpu_s": round(spent_s)}


@torch.no_grad()
def nats_per_note(
    model: OriginalModel, corpus: Corpus, context: int, held_out: NDArray[np.bool_]
) -> dict[str, Any]:
    """Summed negative log-likelihood of the first minutes, per note; also without velocity tokens.

    Measured on the pieces ``held_out``, bool [pieces]: all together, by collection and by style.
    """
    is_pitch, is_velocity = ids_of("Pitch"), ids_of("Velocity")
    sums = np.zeros((len(held_out), 3))  # nats, the velocities' part of them, notes
    windows = minute_windows(corpus, context, held_out)
    for piece, ids, counted in tqdm(windows, desc="held-out pieces", unit="window", disable=None):
        row = torch.from_numpy(ids)
        nats = functional.cross_entropy(model(row[None, :-1])[0], row[1:], reduction="none")
        counts, targets = nats[counted:].double().numpy(), ids[1 + counted :]
        sums[piece] += counts.sum(), counts[is_velocity[targets]].sum(), is_pitch[targets].sum()

    def per_note(members: NDArray[np.bool_]) -> dict[str, Any]:
        nats, velocities, notes = sums[members].sum(0)
        return {
            "pieces": int(members.sum()),
            "nats_per_note": round(nats / max(notes, 1), 4),
            "nats_per_note_without_velocity": round((nats - velocities) / max(notes, 1), 4),
        }

    groups = {"collections": corpus.collections, "styles": corpus.styles}
    facts = per_note(held_out)
    for name, labels in groups.items():
        found = np.unique(labels[held_out])
        facts[name] = {str(label): per_note(held_out & (labels == label)) for label in found}
    return facts


@torch.no_grad()
def sample(
    model: OriginalModel, context: int, count: int, seconds: float, seed: int = 0
) -> list[list[int]]:
    """Samples ``count`` pieces of ``seconds`` in one batch: temperature 1, no mask, no cut-off.

    The model sees the last ``context`` tokens before each one that is drawn. After an EOS the
    window begins again with BOS, and the piece continues.
    """
    rng = torch.Generator().manual_seed(seed)
    bos, eos = original_tokenizer()["BOS_None"], original_tokenizer()["EOS_None"]
    beats, wanted = beats_of_ids(), seconds * SAMPLE_QPM / 60
    windows = [[bos] for _ in range(count)]
    pieces: list[list[int]] = [[] for _ in range(count)]
    reached = np.zeros(count)
    with tqdm(total=round(count * wanted), desc="sampling", unit="beat", disable=None) as progress:
        for _ in range(math.ceil(seconds * MOST_TOKENS_PER_S)):
            active = np.flatnonzero(reached < wanted).tolist()
            if not active:
                break
            last = torch.tensor([len(windows[i]) - 1 for i in active])
            rows = torch.full((len(active), int(last.max()) + 1), PAD_ID)
            for row, i in zip(rows, active, strict=True):
                row[: len(windows[i])] = torch.tensor(windows[i])
            chances = model(rows)[torch.arange(len(active)), last].softmax(-1)
            drawn = torch.multinomial(chances, 1, generator=rng)[:, 0].tolist()
            for i, token in zip(active, drawn, strict=True):
                if token == eos:
                    windows[i] = [bos]
                    continue
                windows[i] = [*windows[i], token][-context:]
                reached[i] += beats[token]
                if reached[i] < wanted:
                    pieces[i].append(token)
            progress.update(round(np.minimum(reached, wanted).sum()) - progress.n)
    return pieces


def main() -> None:
    parser = Parser(
        "training.evaluation.baseline",
        "Train and measure the original project's architecture on our pieces. The last line of "
        "the output is one JSON object.",
    )
    add = parser.add_argument
    files, positive, one = options.file("training.data.dataset"), options.positive, options.whole(1)
    add(
        "--data",
        type=options.folder,
        action="append",
        required=True,
        help="folder of MIDI, as for the data set",
    )
    add("--dataset", type=files, default="build/dataset.npz", help="says which pieces to use")
    add(
        "--checkpoint",
        type=options.new_file(".pt"),
        default="build/baseline.pt",
        help="continued if there",
    )
    add("--cpu-minutes", type=positive, default=60.0, help="CPU time to train for; default 60")
    add("--threads", type=one, default=1, help="default 1")
    add("--no-compile", action="store_true", help="skip torch.compile, which saves about 5 %%")
    add("--samples", type=options.new_folder, help="write sampled pieces here, as MIDI")
    add("--count", type=one, default=48, help="pieces to sample; default 48")
    add("--seconds", type=positive, default=60.0, help="length of a sampled piece; default 60")
    add("--seed", type=options.whole(0), default=0, help="of the samples")
    a = parser.parse_args()
    parser.read("--dataset", a.dataset, Dataset.load, DATASET)
    torch.set_num_threads(a.threads)
    try:
        corpus = read_corpus(a.data, a.dataset, a.checkpoint.with_suffix(".npz"))
        config = OriginalConfig(vocabulary=len(original_tokenizer()))
        model, facts = train(
            corpus, config, a.cpu_minutes * 60, a.checkpoint, compile_model=not a.no_compile
        )
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from error
    facts["parameters"] = sum(p.numel() for p in model.parameters())
    facts["tokens"] = facts["steps"] * config.batch * config.context
    facts |= nats_per_note(model, corpus, config.context, corpus.validation)
    facts["test"] = nats_per_note(model, corpus, config.context, corpus.test)
    if a.samples:
        for i, ids in enumerate(sample(model, config.context, a.count, a.seconds, a.seed)):
            original_tokenizer().decode(ids).dump_midi(a.samples / f"baseline_{i:02}.mid")
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
