"""benchmarks/ladder.py: the sizes of the trade-off explorer are trained and exported."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import ladder
from generate_tokens.compose import Composer
from training.data.dataset import Dataset
from training.model.archive_facts import NO_FACTS


def test_a_size_is_trained_for_processor_time_and_exported(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    made = ladder.trained("0.05M", 0.05, dataset, tmp_path)
    assert made["parameters"] == 47_072
    assert made["tokens"] >= ladder.TOKENS
    again = ladder.trained("0.05M", 0.05, dataset, tmp_path)  # its checkpoint is there
    assert (again["tokens"], again["nats"]) == (made["tokens"], made["nats"])
    bundle = ladder.exported(tmp_path / "0.05M-0.05.pt", dataset, tmp_path / "bundle", NO_FACTS)
    assert bundle.model["kv_dtype"] == "int8"
    Composer(bundle)
