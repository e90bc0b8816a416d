"""Mistakes in the commands' options: each is one line that names the option, before any work."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from training import options
from training.data.dataset import Dataset
from training.model import trainer_options

SHIPPED = Path(__file__).parents[2] / "layers" / "model"


@pytest.fixture(scope="module")
def mistakes(tmp_path_factory: pytest.TempPathFactory, archive: Path, dataset: Dataset) -> Path:
    """A folder with a good data set and MIDI, and with what may be named instead of them."""
    folder = tmp_path_factory.mktemp("mistakes")
    shutil.copytree(archive, folder / "midi")
    dataset.save(folder / "good.npz")
    whole = (folder / "good.npz").read_bytes()
    (folder / "half.npz").write_bytes(whole[: len(whole) // 2])
    validation = dataset.validation.copy()
    dataset.validation[:] = True
    dataset.save(folder / "held-out.npz")
    dataset.validation[:] = validation
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "pickle.pt").write_bytes(pickle.dumps({"model": print}))
    (folder / "text.json").write_text(json.dumps({"oa": 1}))
    (folder / "empty").mkdir()
    os.mkfifo(folder / "pipe")
    return folder


TRAINER = "training.model.trainer --dataset good.npz"
EXPORT = "training.model.export --dataset good.npz --checkpoint pickle.pt"
EVALUATE = f"training.evaluation.evaluate --real midi --bundle {SHIPPED}"
DATASET = "training.data.dataset --data midi"
TABLE = {
    "training.model.trainer --dataset no.npz": "--dataset: there is no file no.npz: training.data",
    "training.model.trainer --dataset empty": "--dataset: empty cannot be read: Is a directory",
    "training.model.trainer --dataset picture.png": "--dataset: picture.png is damaged, or is not",
    "training.model.trainer --dataset half.npz": "--dataset: half.npz is damaged, or is not",
    "training.model.trainer --dataset held-out.npz": "--dataset: all pieces of held-out.npz are",
    f"{TRAINER} --minutes nan": "--minutes: must be a number above 0, got 'nan'",
    f"{TRAINER} --minutes 0": "--minutes: must be a number above 0",
    f"{TRAINER} --steps 0": "--steps: must be an integer from 1 on",
    f"{TRAINER} --threads 0": "--threads: must be an integer from 1 on",
    f"{TRAINER} --seed -1": "--seed: must be an integer from 0 on",
    f"{TRAINER} --heads 5": "--channels 192 must be a multiple of 8 times --heads 5",
    f"{TRAINER} --context 2": "--context must be above 2",
    f"{TRAINER} --minute 3": "unrecognized arguments: --minute",
    f"{TRAINER} --checkpoint pickle.pt": "--checkpoint: pickle.pt is damaged, or is not",
    f"{TRAINER} --checkpoint text.json": "--checkpoint: text.json must end in .pt",
    f"{TRAINER} --checkpoint /proc/no/model.pt": "--checkpoint: /proc/no cannot be written",
    f"{TRAINER} --start-from empty": "--start-from: empty/weights.npz does not hold weights",
    f"{TRAINER} --start-from {SHIPPED} --layers 3": "--layers: --start-from keeps its own sizes",
    "training.model.export": "--checkpoint: there is no file build/model.pt: training.model.trai",
    EXPORT: "--checkpoint: pickle.pt is damaged, or is not",
    f"{EXPORT} --out midi": "--out: midi holds something else, which would be deleted",
    f"{EXPORT} --out picture.png": "--out: picture.png is a file",
    f"{EXPORT} --data-note no.md": "--data-note: there is no file no.md",
    f"{EXPORT} --data-note picture.png": "--data-note: picture.png is damaged, or is not a text",
    f"{EXPORT} --evaluation text.json": "--evaluation: text.json is not what training.evaluation",
    "training.model.weights --checkpoint no.pt": "--checkpoint: there is no file no.pt",
    "training.model.weights --checkpoint pickle.pt --out a.npz": "--checkpoint: pickle.pt is dam",
    "training.model.archive_facts --dataset good.npz --bundle empty": "--bundle: empty/model.onnx",
    "training.data.dataset --data no": "--data: no cannot be read: No such file",
    "training.data.dataset --data picture.png": "--data: picture.png cannot be read: Not a dir",
    "training.model.trainer --dataset pipe": "--dataset: pipe is a pipe: name a file",
    # the name itself has 254 bytes; while it is written it has more
    f"{DATASET} --out {'x' * 250}.npz": "cannot be written: File name too long: name another file",
    f"{DATASET} --out a.json": "--out: a.json must end in .npz",
    f"{DATASET} --report a.txt": "--report: a.txt must end in .md or .json",
    f"{DATASET} --workers 0": "--workers: must be an integer from 1 on",
    f"{DATASET} --held-out midi/held": "--held-out: in midi the copies would be read as data",
    "training.data.sources --only archive,x": "--only: no source 'x'",
    "training.data.sources --out picture.png": "--out: picture.png cannot be written",
    "training.evaluation.evaluate": "--real",
    "training.evaluation.evaluate --real midi": "--bundle is missing",
    "training.evaluation.evaluate --real no --generated midi": "--real: no cannot be read",
    f"{EVALUATE} --seconds nan": "--seconds: must be a number above 0",
    f"{EVALUATE} --seconds 4000": "--seconds must be a number from 5 to 3600, got 4000.0",
    f"{EVALUATE} --top-p 2": "--top-p must be a number above 0 and up to 1",
    f"{EVALUATE} --dataset picture.png": "--dataset: picture.png is damaged, or is not",
    f"{EVALUATE} --plot /proc/no/a.png": "--plot: /proc/no cannot be written",
    f"{EVALUATE} --plot a.txt": "--plot: a.txt must end in .png",
    f"{EVALUATE} --bundle empty": "--bundle: empty/model.onnx is missing",
    "benchmarks.original --data midi --dataset half.npz": "--dataset: half.npz is damaged",
    "benchmarks.original --data midi --cpu-minutes inf": "--cpu-minutes: must be a number",
    "benchmarks.original --data midi --dataset good.npz --heads 3": "--channels 34 must be a mult",
    "training.evaluation.piano_roll picture.png a.png": "midi: picture.png is damaged, or is not",
}


@pytest.mark.parametrize(("command", "told"), TABLE.items())
def test_a_mistake_is_one_line_that_names_the_option(
    command: str,
    told: str,
    mistakes: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module, *arguments = command.split(" ")
    monkeypatch.chdir(mistakes)
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(module).main()
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith(f"python -m {module}: ") and told in said
    assert said.count("\n") == 1


def test_a_full_disk_is_met_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5e6))
    parser = options.Parser("training.x", "for this test")
    parser.add_argument("--out", type=options.new_file())
    with pytest.raises(SystemExit):
        parser.parse_args(["--out", str(tmp_path / "a")])
    assert "has only 5 MB left" in capsys.readouterr().err


def test_what_is_right_is_read(mistakes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mistakes)
    parser = trainer_options.parser_of()
    a = parser.parse_args(
        ["--dataset", "good.npz", "--checkpoint", "new/model.pt", "--minutes", "1"]
    )
    given = trainer_options.read(parser, a)
    assert given.model_config.layers == 4 and given.start_from is None
    assert Path("new").is_dir() and not a.checkpoint.exists()
