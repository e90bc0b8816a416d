"""training/model/optimizer.py: Muon where bfloat16 is slow takes the same steps as PyTorch's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from training.model.optimizer import Float32Muon, make_optimizers, orthogonal

SETTINGS: dict[str, Any] = {"lr": 0.02, "momentum": 0.95, "weight_decay": 0.01}


def moved_by(muon: type[torch.optim.Optimizer], shape: tuple[int, int]) -> tuple[Tensor, Any]:
    """How far some steps move a weight, and the optimizer's state then."""
    generator = torch.Generator().manual_seed(0)
    weight = nn.Parameter(torch.randn(shape, generator=generator))
    begin = weight.detach().clone()
    optimizer = muon([weight], **SETTINGS)
    for _ in range(4):
        weight.grad = torch.randn(shape, generator=generator)
        optimizer.step()
    return weight.detach() - begin, optimizer.state_dict()


@pytest.mark.parametrize("shape", [(24, 64), (64, 24), (32, 32)])
def test_float32_steps_are_those_of_pytorchs_muon(shape: tuple[int, int]) -> None:
    ours, state = moved_by(Float32Muon, shape)
    theirs, their_state = moved_by(torch.optim.Muon, shape)
    # PyTorch's are rounded to one part in 256 ten times a step.
    assert float((ours - theirs).norm() / theirs.norm()) < 0.05
    # A run can be taken up on a machine of the other kind.
    assert state.keys() == their_state.keys()
    assert state["state"][0].keys() == their_state["state"][0].keys()
    assert state["param_groups"] == their_state["param_groups"]


def test_the_update_is_nearly_orthogonal() -> None:
    group = torch.optim.Muon([nn.Parameter(torch.zeros(2, 2))]).param_groups[0]
    x = orthogonal(torch.randn(16, 48, generator=torch.Generator().manual_seed(0)), group)
    singular = torch.linalg.svdvals(x)
    assert 0.5 < float(singular.min()) <= float(singular.max()) < 1.3


def test_bfloat16_is_used_only_where_it_is_fast(tiny_model: Any) -> None:
    assert isinstance(make_optimizers(tiny_model, bfloat16=False)[0], Float32Muon)
    assert type(make_optimizers(tiny_model, bfloat16=True)[0]) is torch.optim.Muon
