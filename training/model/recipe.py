"""How a model is trained: the sizes of steps and windows, and the schedule of the learning rates.

Depends on neither the model nor the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Schedules of the learning rates, by name. A long run uses "constant", so that it can be continued
# without end. A release is made from it with "decay", a short run in which the rates fall.
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
        tokens: in one step, over all processes.
        peak: the greatest factor on the learning rates; 1 is for a model that begins from nothing.
        short_context: length of the windows in the first ``short_share`` of the steps.
        transpose_until: share of the steps after which every piece keeps its key.
        float32: never use bfloat16, even where the device multiplies it faster.
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
        """The factor on the learning rates at ``step``.

        It rises linearly for ``warmup_steps``, is constant up to ``constant_share`` of the steps,
        and then falls linearly until the end, but not below ``final_rate``.
        """
        done = step / self.steps
        # 1e-9: no division by zero where the rates are constant to the end
        decayed = min(1.0, (1 - done) / max(1 - self.constant_share, 1e-9))
        warm = min(1.0, (step + 1) / self.warmup_steps)
        return self.peak * warm * max(self.final_rate, decayed)
