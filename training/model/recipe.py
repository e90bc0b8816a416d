"""How a model is trained: sizes of steps and windows, and how the learning rates go.

Knows numbers; neither the model nor the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# How the rates go, by name. A long run keeps them up, so that it can go on for ever; a release is
# made of it by letting them fall for a short while.
SCHEDULES: dict[str, dict[str, Any]] = {
    "from-nothing": {},
    "fine-tuning": {"peak": 0.2},  # the weights are good already
    "constant": {"peak": 0.5, "constant_share": 1.0, "short_share": 0.0, "transpose_until": 1.0},
    "decay": {"peak": 0.5, "constant_share": 0.0, "short_share": 0.0},
}


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Attributes:
        tokens: of one step, over all processes.
        peak: of the learning rates; 1 is for a model that begins from nothing.
        short_context: length of the windows in the first ``short_share`` of the steps.
        transpose_until: share of the steps after which every piece keeps its key.
        float32: also where the device multiplies bfloat16 faster.
    """

    steps: int = 4600
    tokens: int = 8192
    seed: int = 0
    peak: float = 1.0
    short_context: int = 256
    short_share: float = 0.5
    warmup_steps: int = 50
    constant_share: float = 0.3
    final_rate: float = 0.01
    clip: float = 1.0
    transpose_until: float = 0.85
    checkpoint_seconds: float = 120.0
    float32: bool = False

    def rate(self, step: int) -> float:
        """Share of the learning rates at ``step``: warm-up, constant, then linear to the end."""
        done = step / self.steps
        decayed = min(1.0, (1 - done) / max(1 - self.constant_share, 1e-9))
        warm = min(1.0, (step + 1) / self.warmup_steps)
        return self.peak * warm * max(self.final_rate, decayed)
