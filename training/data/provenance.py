"""What a model was trained on from its very beginning, one training after the other.

Every file that holds weights holds this history as well. So no data set is forgotten, and nobody
whom a licence asks to name, however often a model is trained further. Depends on neither weights
nor music.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from training.data.attribution import Credits


@dataclass(frozen=True)
class Training:
    """One training on one data set.

    Attributes:
        pieces, dataset_tokens: of the data set.
        tokens: how many the model was trained on, all repetitions counted.
        note: which pieces, from where, with which rights; printed in the model card.
    """

    dataset_sha256: str
    pieces: int
    dataset_tokens: int
    credits: Credits = field(default_factory=dict)
    tokens: int = 0
    note: str = ""

    def facts(self) -> dict[str, Any]:
        """What bundle.json says of it: without the credits, which ATTRIBUTION.md has."""
        return {k: v for k, v in asdict(self).items() if k != "credits"}


History = tuple[Training, ...]


def extended(history: History, training: Training) -> History:
    """The history with one more training.

    If the last one was on the same data set, the two become one, whose tokens are added up.
    """
    if not history or history[-1].dataset_sha256 != training.dataset_sha256:
        return (*history, training)
    *earlier, last = history
    note = training.note or last.note
    return (*earlier, replace(training, tokens=last.tokens + training.tokens, note=note))


def tokens_of(history: Iterable[Training]) -> int:
    """How many tokens a model was trained on, from its very beginning."""
    return sum(training.tokens for training in history)


def to_json(history: History) -> str:
    return json.dumps([asdict(training) for training in history])


def from_json(text: str) -> History:
    """Raises ValueError or TypeError for what `to_json` has not written."""
    return tuple(Training(**row) for row in json.loads(text))
