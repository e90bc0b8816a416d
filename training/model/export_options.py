"""The options of the export, and what they name, read and checked before any work."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from contract.bundle import MANIFEST_FILE
from training import options
from training.data.dataset import Dataset
from training.model.checkpoints import CHECKPOINT, load_checkpoint
from training.model.model_card import COMPARED
from training.options import DATASET, Parser


def bundle_folder(text: str) -> Path:
    """The type of an option for a bundle to write. What is there is replaced, so it must be one."""
    path = Path(text).resolve()
    options.new_folder(str(path.parent))
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a file: name a folder")
    if path.is_dir() and any(path.iterdir()) and not (path / MANIFEST_FILE).exists():
        raise argparse.ArgumentTypeError(
            f"{text} holds something else, which would be deleted: name another folder"
        )
    return path


def evaluation_of(path: Path) -> dict[str, Any]:
    """The JSON that ends the evaluation's output. Raises ValueError for other texts."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8").splitlines()[-1])
        for name in ("model_id", "pieces", "seconds", *COMPARED):
            found[name]
        for name in COMPARED:
            found["real"][name]
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is not what training.evaluation.evaluate --json printed"
        ) from error
    return found


def parse() -> argparse.Namespace:
    """The options; `dataset`, `data_note` and `evaluation` hold what was read."""
    parser = Parser("training.model.export", "Export a checkpoint as the bundle of the layer.")
    add = parser.add_argument
    trained, made = (options.file(f"training.{m}") for m in ("model.trainer", "data.dataset"))
    add("--checkpoint", type=trained, default="build/model.pt", help="default: %(default)s")
    add("--dataset", type=made, default="build/dataset.npz", help="default: %(default)s")
    add("--out", type=bundle_folder, default="layers/model", help="default: %(default)s")
    add(
        "--data-note",
        type=options.file(),
        help="text for the model card: which pieces, from where, with which rights",
    )
    add(
        "--evaluation",
        type=options.file("training.evaluation.evaluate --json"),
        help="what training.evaluation.evaluate --json printed of this model, for its card: "
        "export, evaluate, export again",
    )
    add("--float32", action="store_true", help="no quantization at all")
    a = parser.parse_args()
    note, text = a.data_note, "a text in UTF-8"
    a.data_note = parser.read("--data-note", note, _text, text) if note else ""
    if a.evaluation:
        a.evaluation = parser.read("--evaluation", a.evaluation, evaluation_of, text)
    parser.read("--checkpoint", a.checkpoint, load_checkpoint, CHECKPOINT)
    a.dataset = parser.read("--dataset", a.dataset, Dataset.load, DATASET)
    return a


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
