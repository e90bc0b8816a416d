"""benchmarks/ladder.py and tradeoffs.py: sizes are trained, exported, and put in the table once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks import ladder, ladder_speed, tradeoffs
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
    assert (
        again["cpu_minutes"] == 0.1
    )  # 0.05, rounded: what was asked for, as nothing was left to do
    bundle = ladder.exported(tmp_path / "0.05M-0.05.pt", dataset, tmp_path / "bundle", NO_FACTS)
    assert bundle.model["kv_dtype"] == "int8"
    Composer(bundle)


def test_measuring_adds_only_what_the_table_lacks(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def trained(size: str, *_: Any) -> dict[str, Any]:
        made.append(size)
        return {"size": size, "nats": 1.0}

    def judged(bundle: Path, _: Any, candidates: int = 4) -> dict[str, Any]:
        made.append(f"{bundle.name} {candidates}")
        if made == ["small", "small-20 4", "large", "large-20 4", "model 1", "model 2"]:
            raise KeyboardInterrupt
        return {"auc": 0.5}

    def exported(_path: Path, _data: Dataset, folder: Path, _facts: Any) -> SimpleNamespace:
        return SimpleNamespace(directory=folder)

    monkeypatch.setattr(ladder, "TRAINED", ("small", "large"))
    monkeypatch.setattr(ladder, "trained", trained)
    monkeypatch.setattr(ladder, "exported", exported)
    monkeypatch.setattr(ladder_speed, "measure_speed", lambda *_: {"rows": []})
    monkeypatch.setattr(tradeoffs, "judged", judged)
    dataset.save(tmp_path / "data.npz")
    path = tmp_path / "table.json"
    arguments = [f"--table={path}", f"--work={tmp_path}", f"--dataset={tmp_path / 'data.npz'}"]
    with pytest.raises(KeyboardInterrupt):
        tradeoffs.measure([*arguments, f"--real={tmp_path}"])
    table = tradeoffs.read_table(path)
    assert [row["size"] for row in table["trained"]] == ["small", "large"]
    assert list(table["candidates"]) == ["1"]  # the second was interrupted
    made.clear()
    tradeoffs.measure([*arguments, f"--real={tmp_path}"])
    assert made == ["model 2", "model 4", "model 8"]
    del table["trained"][1]["judged"]
    tradeoffs.write_table(path, table)
    made.clear()
    tradeoffs.measure(arguments)  # nothing to judge by
    assert made == []
    tradeoffs.measure([*arguments, f"--real={tmp_path}"])
    assert made[:2] == ["large", "large-20 4"]
