"""Muon for the blocks' matrices, AdamW for the rest (kellerjordan.github.io/posts/muon).

Muon replaces a matrix's momentum by the nearest orthogonal matrix, found by five Newton-Schulz
steps. Matrices that are several maps in one (QKV, gate and up) are orthogonalised map by map.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from model import MusicModel
from torch import Tensor, distributed, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # the quintic's coefficients, from Muon's author


def orthogonalise(stack: Tensor, steps: int = 5) -> Tensor:
    """[N, rows, columns] to matrices with nearly equal singular values, each near 1."""
    a, b, c = NEWTON_SCHULZ
    x = stack / (stack.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    directions: Tensor = x.mT if tall else x
    return directions


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; all parts of one shape in one batched product.

    Of several processes, each orthogonalises its share and all add up what they have.

    Args:
        parts: per matrix, the row counts of the maps that it holds.
    """

    def __init__(
        self,
        parts: Iterable[tuple[nn.Parameter, tuple[int, ...]]],
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ) -> None:
        parts = list(parts)
        self._rows = [rows for _, rows in parts]
        super().__init__(
            [parameter for parameter, _ in parts],
            {"lr": lr, "momentum": momentum, "weight_decay": weight_decay},
        )

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # no caller here passes a closure
        """One update of every matrix that has a gradient."""
        (group,) = self.param_groups
        by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for parameter, rows in zip(group["params"], self._rows, strict=True):
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(parameter)
            momentum = state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
            update = parameter.grad.lerp(momentum, group["momentum"])
            for part, weight in zip(update.split(rows), parameter.split(rows), strict=True):
                by_shape[part.shape].append((part, weight))
        for shape, members in by_shape.items():
            directions = _orthogonalise_together(torch.stack([part for part, _ in members]))
            scale = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
            for (_, weight), direction in zip(members, directions, strict=True):
                weight.mul_(1 - group["lr"] * group["weight_decay"]).sub_(direction, alpha=scale)


def _orthogonalise_together(stack: Tensor) -> Tensor:
    if not distributed.is_initialized():
        return orthogonalise(stack)
    mine = slice(distributed.get_rank(), None, distributed.get_world_size())
    directions = torch.zeros_like(stack)
    if len(stack[mine]):
        directions[mine] = orthogonalise(stack[mine])
    distributed.all_reduce(directions)
    return directions


def make_optimizers(model: MusicModel) -> list[torch.optim.Optimizer]:
    """Muon on the blocks' matrices, AdamW on embeddings and norms."""
    config = model.config
    matrices: list[tuple[nn.Parameter, tuple[int, ...]]] = []
    others = []
    for name, parameter in model.named_parameters():
        if not (name.startswith("blocks.") and parameter.ndim == 2):
            others.append(parameter)
        elif name.endswith("qkv.weight"):
            kv = config.kv_heads * config.head_size
            matrices.append((parameter, (config.heads * config.head_size, kv, kv)))
        elif name.endswith("gate_up.weight"):
            matrices.append((parameter, (config.hidden, config.hidden)))
        else:
            matrices.append((parameter, (parameter.shape[0],)))
    adam = torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    return [Muon(matrices), adam]
