"""The notebook runs from top to bottom, on a small archive and with a tiny model."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from contract.bundle import Bundle
from contract.request import parse_request
from generate_tokens.compose import Composer
from tests.training.conftest import write_tune

NOTEBOOK = Path(__file__).resolve().parents[2] / "training-notebook" / "train.ipynb"


def notebook_read() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]  # it has no types


@pytest.fixture(scope="module")
def cells() -> list[Any]:
    found: list[Any] = notebook_read().cells
    return found


def code_of(cells: list[Any]) -> list[str]:
    return [cell.source for cell in cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[Any]]]:
    """The folder that holds the bundle, and the cells with their outputs."""
    folder = tmp_path_factory.mktemp("notebook")
    # The first and the last file are drawn. A dollar sign begins a formula in matplotlib.
    names = ["0 Tu$ne - a_b_c_d$.mid", *(f"{n}.Mid" for n in range(6)), os.fsdecode(b"z\xe9.mid")]
    for seed, name in enumerate(names):
        style = ("chorales", "folk")[seed % 2]
        write_tune(folder / "midi" / style / name, seed, program=(19, 0)[seed % 2])
    (folder / "midi" / "page.mid").write_text("<html>")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "MIDI_TRAIN_SMOKE": "1",
            "MIDI_DATA": str(folder / "midi"),
            "BUILD_DIR": str(folder / "build"),
            "BUNDLE_OUT": str(folder / "bundle"),
            "OMP_NUM_THREADS": "1",
            "IPYTHONDIR": str(folder / "ipython"),
        }.items():
            patch.setenv(name, value)
        notebook = notebook_read()
        place = {"metadata": {"path": str(NOTEBOOK.parent)}}
        NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place).execute()
        yield folder, notebook.cells


def test_the_bundle_that_it_writes_composes(executed: tuple[Path, list[Any]]) -> None:
    bundle = Bundle.load(executed[0] / "bundle")
    assert bundle.training["steps"] == 100 and bundle.training["validation_pieces"] >= 1
    request = parse_request({"style": "folk", "duration_s": 5}, bundle, "2000-01-01")
    composition = Composer(bundle).compose(request, [], [], budget_s=120)
    assert composition.finished and composition.ids[-1] == bundle.eos_id
    assert "Without a licence" in (executed[0] / "bundle" / "ATTRIBUTION.md").read_text()


def test_it_shows_what_it_does(executed: tuple[Path, list[Any]]) -> None:
    outputs = [output for cell in executed[1] for output in cell.get("outputs", [])]
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) == 6, "dataset, two piano rolls, loss, samples, features, lag curve"
    text = "".join(o.text for o in outputs if o.output_type == "stream")
    assert "8 of 9 pieces" in text and "unreadable 1" in text
    assert "100 steps" in text and re.search(r"\d\.\d\d nats per note on 1 validation", text)
    assert "BOS_None Style_" in text and "./run.sh" in text
    bars = [
        o.data["text/plain"] for o in outputs if "%|" in o.get("data", {}).get("text/plain", "")
    ]
    assert len(bars) >= 4 and "\r" not in text, "a bar is one output, not a line for each step"


def test_with_nothing_held_out_no_figure_is_shown(
    cells: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    none = np.zeros(1, bool)
    prepared = SimpleNamespace(copy_held_out=lambda folder: folder)
    dataset = SimpleNamespace(validation=none, test=none)
    place = {"prepared": prepared, "dataset": dataset, "BUILD": Path("build")}
    for source in code_of(cells):
        if any(name in source for name in ("nats_per_note(", "copy_held_out", "lag_curve")):
            exec(source, place)  # noqa: S102  # the committed notebook's own cells
    assert capsys.readouterr().out.count("not measured: no piece is held out") == 2


def test_the_committed_notebook_has_no_outputs(cells: list[Any]) -> None:
    for cell in cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


def test_it_defines_nothing_and_explains_every_step(cells: list[Any]) -> None:
    for source in code_of(cells):
        plain = "\n".join(line for line in source.splitlines() if not line.startswith("%"))
        defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        assert not [node for node in ast.walk(ast.parse(plain)) if isinstance(node, defined)]
    kinds = [cell.cell_type for cell in cells]
    assert kinds[:4] == ["markdown", "markdown", "code", "markdown"]
    assert "version" in code_of(cells)[0] and "SMOKE" in code_of(cells)[1]


def test_alone_it_finds_the_repository_in_an_uploaded_zip(cells: list[Any], tmp_path: Path) -> None:
    """As on Colab: only the notebook, and a zip of the repository as GitHub makes it."""
    first = "\n".join(s for s in code_of(cells)[0].splitlines() if not s.startswith("%"))
    command = [sys.executable, "-c", first]
    alone = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "set REPOSITORY above" in alone.stderr
    root = NOTEBOOK.parents[1]
    with zipfile.ZipFile(tmp_path / "midi-archive-lambda-main.zip", "w") as upload:
        for name in ("training-notebook/train.ipynb", "pyproject.toml"):
            upload.write(root / name, f"midi-archive-lambda-main/{name}")
    environment = {**os.environ, "PIP_NO_INDEX": "1"}  # nothing is missing, so nothing is asked for
    found = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=True, env=environment
    )
    assert f"in {tmp_path / 'midi-archive-lambda-main'}" in found.stdout
    assert "torch" in found.stdout
