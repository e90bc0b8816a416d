"""Muon for the blocks' matrices, AdamW for the rest (kellerjordan.github.io/posts/muon).

Muon replaces the momentum of a matrix by the nearest orthogonal matrix, so that the update is
equally large in all directions. PyTorch's Muon treats the packed queries, keys and values as one
matrix, and so gate and up; taking them apart cost time and gained nothing (LOG.md).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from training.model.model import MusicModel


class Float32Muon(torch.optim.Muon):
    """PyTorch's Muon with its products in float32.

    PyTorch's own are in bfloat16. A processor without instructions for that takes a hundred times
    as long for them, and so several times as long for a step of a model of this size.
    """

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            weights: list[Tensor] = []
            gradients: list[Tensor] = []
            averages: list[Tensor] = []
            self._init_group(group, weights, gradients, averages)
            for weight, gradient, average in zip(weights, gradients, averages, strict=True):
                average.lerp_(gradient, 1 - group["momentum"])
                update = orthogonal(gradient.lerp(average, group["momentum"]), group)
                wide = max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update, alpha=-group["lr"] * wide)


def orthogonal(matrix: Tensor, group: dict[str, Any]) -> Tensor:
    """About the nearest orthogonal matrix, by the Newton-Schulz iteration of Muon's ``group``."""
    a, b, c = group["ns_coefficients"]
    x = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = x / x.norm().clamp(min=group["eps"])  # no singular value is above 1
    for _ in range(group["ns_steps"]):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x if matrix.shape[0] <= matrix.shape[1] else x.T


def make_optimizers(model: MusicModel, *, bfloat16: bool) -> list[torch.optim.Optimizer]:
    """Muon on the blocks' matrices, AdamW on embeddings and norms.

    bfloat16: whether the device multiplies it fast.
    """
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        # 2-D parameters of the blocks: qkv, out, gate_up and down
        in_block = name.startswith("blocks.") and parameter.ndim == 2
        (matrices if in_block else others).append(parameter)
    muon = torch.optim.Muon if bfloat16 else Float32Muon
    return [
        muon(matrices, lr=0.02, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]
