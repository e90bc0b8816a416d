"""Muon for the blocks' matrices, AdamW for the rest (kellerjordan.github.io/posts/muon).

Muon replaces a matrix's momentum by the nearest orthogonal matrix. PyTorch's takes QKV, and gate
and up, as one matrix each; taking them apart cost time and gained nothing (LOG.md).
"""

from __future__ import annotations

import torch
from torch import nn

from training.model.model import MusicModel


def make_optimizers(model: MusicModel) -> list[torch.optim.Optimizer]:
    """Muon on the blocks' matrices, AdamW on embeddings and norms."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        in_block = name.startswith("blocks.") and parameter.ndim == 2
        (matrices if in_block else others).append(parameter)
    return [
        torch.optim.Muon(matrices, lr=0.02, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]
