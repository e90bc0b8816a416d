"""Muon for the blocks' matrices, AdamW for the rest (kellerjordan.github.io/posts/muon).

Muon replaces the momentum of a matrix by the nearest orthogonal matrix, so that the update is
equally large in all directions. PyTorch's Muon treats the packed queries, keys and values as one
matrix, and so gate and up; taking them apart cost time and gained nothing (LOG.md).
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
        # 2-D parameters of the blocks: qkv, out, gate_up and down
        in_block = name.startswith("blocks.") and parameter.ndim == 2
        (matrices if in_block else others).append(parameter)
    return [
        torch.optim.Muon(matrices, lr=0.02, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]
