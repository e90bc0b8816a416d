"""How well a model foretells music: nats summed for training, nats per note for comparing.

Nats per note compares models across tokenizers, which nats per token cannot.
"""

from __future__ import annotations

import numpy as np
import torch
from model import MusicModel
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from windows import Batch, Windows, stack

from generate_tokens.state import PITCH

PAD_ID = 0


def summed_loss(model: MusicModel, batch: Batch) -> Tensor:
    """Nats, summed over the batch's targets."""
    ids, targets, *features = batch
    logits = model(ids, *features)
    return functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=PAD_ID, reduction="sum"
    )


@torch.no_grad()
def nats_per_note(model: MusicModel, windows: Windows, pieces: NDArray[np.int64]) -> float:
    """Summed negative log-likelihood over the first minute of each piece, per note in it."""
    model.eval()
    total, notes = 0.0, 0
    first, last = windows.vocabulary.ranges[PITCH]
    device = model.norm.device
    for arrays, counted, _ in windows.validation(pieces):
        ids, targets, *features = (tensor.to(device) for tensor in stack([arrays]))
        losses = functional.cross_entropy(model(ids, *features)[0], targets[0], reduction="none")[
            counted:
        ]
        total += float(losses.sum())
        kept = targets[0, counted:]
        notes += int(((kept >= first) & (kept < last)).sum())
    model.train()
    return total / max(notes, 1)
