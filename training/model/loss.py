"""How well a model predicts music: nats summed for training, nats per note for comparing.

Nats per note compares models across tokenizers, which nats per token cannot.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from music.inputs import PAD_ID
from music.tracker import PITCH
from training.model.model import MusicModel
from training.model.windows import PREFIX, Batch, Windows, stack


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors on ``device``."""
    inputs, targets = batch
    return {name: tensor.to(device) for name, tensor in inputs.items()}, targets.to(device)


def summed_loss(model: MusicModel, batch: Batch) -> Tensor:
    """Nats, summed over the batch's targets."""
    inputs, targets = batch
    logits = model(inputs)
    return functional.cross_entropy(
        logits.float().flatten(0, 1), targets.flatten(), ignore_index=PAD_ID, reduction="sum"
    )


@torch.no_grad()
def losses_of(
    model: MusicModel, windows: Windows, pieces: NDArray[np.int64]
) -> Iterator[NDArray[np.float32]]:
    """For each piece, the nats [ids] of the ids of its first minute, from its first Bar on."""
    was_training = model.training
    model.eval()
    device = model.norm.device
    for _, parts in groupby(windows.validation(pieces), key=lambda part: part[2]):
        losses = []
        for window, counted, _ in parts:
            inputs, targets = on_device(stack([window]), device)
            nats = functional.cross_entropy(model(inputs)[0], targets[0], reduction="none")
            losses.append(nats[counted:].float().cpu().numpy())
        yield np.concatenate(losses)
    model.train(was_training)


def nats_per_note(model: MusicModel, windows: Windows, pieces: NDArray[np.int64]) -> float:
    """Summed negative log-likelihood over the first minute of each piece, per note in it."""
    total, notes = 0.0, 0
    first, last = windows.vocabulary.ranges[PITCH]
    for piece, losses in zip(pieces, losses_of(model, windows, pieces), strict=True):
        begin = windows.dataset.starts[piece] + PREFIX
        ids = windows.dataset.ids[begin : begin + len(losses)]
        total += float(losses.sum())
        notes += int(((ids >= first) & (ids < last)).sum())
    return total / max(notes, 1)
