"""Trains `MusicModel` on a prepared dataset: schedule, checkpoints, validation.

Every random draw comes from one seed and the step number, so a run that was killed and resumed
sees the same windows, and so do several processes that share the batch. The first part of a run
uses short windows, which are cheaper; the rest uses the model's whole context. Depends on neither
MIDI nor ONNX.

    python -m training.model.trainer --dataset build/dataset.npz --checkpoint build/model.pt
    python -m torch.distributed.run --nproc-per-node 2 -m training.model.trainer ...  # cores, GPUs
    python -m training.model.trainer --start-from layers/model --minutes 5 ...    # fine-tuning
    python -m training.model.trainer --start-from training/going-on.npz --schedule \
        constant --checkpoint build/going-on.pt --minutes 600    # continues the long run
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed
from tqdm import tqdm

from music.inputs import PAD_ID
from music.tracker import Vocabulary
from training.data import provenance
from training.data.dataset import Dataset
from training.data.provenance import History
from training.data.tokenizer import make_tokenizer, vocabulary_entries
from training.model.checkpoints import (
    facts_of_run,
    history_of,
    load_checkpoint,
    refuse_another_run,
)
from training.model.loss import nats_per_note, on_device, summed_loss
from training.model.model import ModelConfig, MusicModel
from training.model.optimizer import make_optimizers
from training.model.recipe import TrainConfig
from training.model.trainer_options import parser_of, read
from training.model.windows import Batch, Windows


def _my_part(batch: Batch) -> tuple[Batch, int]:
    """The rows of the batch for this process, and the number of targets in the whole batch."""
    inputs, targets = batch
    count = int((targets != PAD_ID).sum())
    if not distributed.is_initialized():
        return batch, count
    mine = slice(distributed.get_rank(), None, distributed.get_world_size())
    return ({name: tensor[mine] for name, tensor in inputs.items()}, targets[mine]), count


def _add_up(parameters: Sequence[Tensor], loss: Tensor) -> float:
    """Adds up gradients and loss over all processes, in one message; returns the loss."""
    if not distributed.is_initialized():
        return float(loss)
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([*(g.flatten() for g in gradients), loss.view(1)])
    distributed.all_reduce(flat)
    *parts, total = flat.split([*(g.numel() for g in gradients), 1])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
    return float(total)


def fast_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 faster than float32. A CPU is 1.6 times as fast if it
    has AVX-512's bfloat16 instructions; without them it takes twice as long."""
    return device.type == "cuda" or bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


class Run:
    """A training run that can be saved and resumed.

    Raises:
        AnotherRunError: the checkpoint was begun with another model, recipe or dataset.
    """

    def __init__(
        self,
        dataset: Dataset,
        model_config: ModelConfig,
        config: TrainConfig,
        checkpoint: Path,
        start_from: MusicModel | None = None,
        history: History = (),
    ) -> None:
        self.config, self.checkpoint = config, checkpoint
        self._history = provenance.to_json((*history, dataset.provenance()))
        entries = vocabulary_entries(make_tokenizer())
        vocabulary = Vocabulary(entries)
        short = min(config.short_context, model_config.context)
        self._windows = [Windows(dataset, vocabulary, c) for c in (short, model_config.context)]
        torch.manual_seed(config.seed)
        torch.set_flush_denormal(True)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = MusicModel(model_config, entries)
        if start_from is not None:
            self.model.load_state_dict(start_from.state_dict())
        self.model.to(device)
        self._bfloat16 = fast_bfloat16(device) and not config.float32
        self.optimizers = make_optimizers(self.model, bfloat16=self._bfloat16)
        self._rates = [[group["lr"] for group in o.param_groups] for o in self.optimizers]
        self.step, self.spent_s = 0, 0.0
        self._facts = facts_of_run(model_config, config, dataset.sha256())
        if checkpoint.exists():
            self._resume(torch.load(checkpoint, weights_only=True, map_location=device))

    def _resume(self, saved: dict[str, Any]) -> None:
        refuse_another_run(self.checkpoint, saved, self._facts)
        self.model.load_state_dict(saved["model"])
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.step, self.spent_s = saved["step"], saved["spent_s"]
        self._history = saved["history"]

    def save(self) -> None:
        """Writes the checkpoint. If that fails or is killed, the previous one stays.

        Raises OSError.
        """
        if distributed.is_initialized() and distributed.get_rank():
            return
        partial = self.checkpoint.with_suffix(".partial")
        state = {
            "model": self.model.state_dict(),
            "optimizers": [o.state_dict() for o in self.optimizers],
            "step": self.step,
            "steps": self.config.steps,
            "spent_s": self.spent_s,
            "history": self._history,
            **self._facts,
        }
        try:
            torch.save(state, partial)
        except RuntimeError as error:  # torch's own for a full disk
            partial.unlink(missing_ok=True)
            raise OSError(f"{partial} cannot be written: {error}") from error
        partial.replace(self.checkpoint)

    def one_step(self, step_loss: Callable[[MusicModel, Batch], Tensor]) -> float:
        """Updates the weights once; returns the nats per token of the batch."""
        config, step, model = self.config, self.step, self.model
        rate = config.rate(step)
        for optimizer, base in zip(self.optimizers, self._rates, strict=True):
            for group, lr in zip(optimizer.param_groups, base, strict=True):
                group["lr"] = lr * rate
        windows = self._windows[step >= config.short_share * config.steps]
        batch, targets = _my_part(
            windows.draw(
                np.random.default_rng([config.seed, step]),
                max(1, config.tokens // windows.context),
                transpose=step < config.transpose_until * config.steps,
            )
        )
        device = model.norm.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self._bfloat16):
            loss = step_loss(model, on_device(batch, device)) / targets  # of all processes
        loss.backward()
        parameters = [p for p in model.parameters() if p.grad is not None]
        total = _add_up(parameters, loss.detach())
        torch.nn.utils.clip_grad_norm_(parameters, config.clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return total


def train(
    dataset: Dataset,
    model_config: ModelConfig,
    config: TrainConfig,
    checkpoint: Path,
    *,
    compile_model: bool = True,
    start_from: MusicModel | None = None,
    history: History = (),
    on_log: Callable[[dict[str, float]], None] | None = None,
) -> MusicModel:
    """Trains until ``config.steps``; resumes from ``checkpoint`` if that exists.

    Args:
        start_from: a model of the same sizes whose weights a new run begins with.
        history: what that model was trained on.
        on_log: called every 50 steps with ``step``, ``loss`` (smoothed, nats per token) and
            ``seconds``; the same rows go to the checkpoint's ``.jsonl``.

    Raises:
        AnotherRunError: the checkpoint was begun with another model, recipe or dataset.
    """
    run = Run(dataset, model_config, config, checkpoint, start_from, history)
    step_loss = torch.compile(summed_loss, dynamic=False) if compile_model else summed_loss
    smoothed = math.nan
    first = not distributed.is_initialized() or not distributed.get_rank()
    saved_at = marked = time.monotonic()
    with tqdm(
        total=config.steps, initial=run.step, unit="step", disable=None if first else True
    ) as progress:
        while run.step < config.steps:
            loss = run.one_step(step_loss)
            smoothed = loss if math.isnan(smoothed) else 0.98 * smoothed + 0.02 * loss
            now = time.monotonic()
            run.spent_s += now - marked
            marked = now
            progress.update()
            if first and (run.step % 50 == 0 or run.step == config.steps):
                progress.set_postfix(loss=f"{smoothed:.3f}")
                row = {
                    "step": run.step,
                    "loss": round(smoothed, 4),
                    "seconds": round(run.spent_s, 1),
                }
                with checkpoint.with_suffix(".jsonl").open("a") as lines:
                    lines.write(json.dumps(row) + "\n")
                if on_log:
                    on_log(row)
            if now - saved_at > config.checkpoint_seconds:
                run.save()
                saved_at = now
    run.save()
    return run.model


def steps_within(
    minutes: float,
    dataset: Dataset,
    model_config: ModelConfig,
    config: TrainConfig,
    *,
    compile_model: bool = True,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """How many steps take ``minutes`` of ``clock`` here.

    Measured on a few steps with short windows and a few with whole ones.
    """
    step_loss = torch.compile(summed_loss, dynamic=False) if compile_model else summed_loss
    with tempfile.TemporaryDirectory() as scratch:
        run = Run(dataset, model_config, config, Path(scratch) / "model.pt")
        took = []
        for first in (0, config.steps - 4):
            run.step = first
            run.one_step(step_loss)  # compiles
            began = clock()
            for _ in range(3):
                run.one_step(step_loss)
            took.append((clock() - began) / 3)
    short, whole = took
    steps = [max(1, int(60 * minutes / (config.short_share * (short - whole) + whole)))]
    if distributed.is_initialized():
        distributed.broadcast_object_list(steps)  # with other counts, processes would wait for ever
    return steps[0]


def main() -> None:
    parser = parser_of()
    a = parser.parse_args()
    given = read(parser, a)
    dataset, model_config, config = given.dataset, given.model_config, given.config
    processes = int(os.environ.get("WORLD_SIZE", "1"))  # set by torchrun
    torch.set_num_threads(a.threads or max(1, (os.cpu_count() or 1) // processes))
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))  # a GPU for each process
    if processes > 1:
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    compiled = not a.no_compile
    if a.minutes and not a.checkpoint.exists():
        steps = steps_within(a.minutes, dataset, model_config, config, compile_model=compiled)
        config = replace(config, steps=steps)
    vocabulary = Vocabulary(vocabulary_entries(make_tokenizer()))
    windows = Windows(dataset, vocabulary, model_config.context)
    validation = np.flatnonzero(dataset.validation)
    before = {}
    start_from = given.start_from
    if start_from and len(validation):
        before["nats_per_note_before"] = round(nats_per_note(start_from, windows, validation), 4)
    started, cpu = time.monotonic(), time.process_time()
    try:
        model = train(
            dataset,
            model_config,
            config,
            a.checkpoint,
            compile_model=compiled,
            start_from=start_from,
            history=given.history,
        )
    except OSError as error:
        kept = f"{a.checkpoint} is as last saved" if a.checkpoint.exists() else "nothing was saved"
        raise SystemExit(f"{error}: {kept}") from error
    if processes > 1 and distributed.get_rank():
        return
    nats = round(nats_per_note(model, windows, validation), 4) if len(validation) else None
    facts = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "tokens": provenance.tokens_of(history_of(load_checkpoint(a.checkpoint)[1])),
        "wall_s": round(time.monotonic() - started),
        "cpu_s": round(time.process_time() - cpu),
        **before,
        "validation_nats_per_note": nats,
        "model": model_config.to_json(),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
