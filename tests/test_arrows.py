"""Which folder imports which: the arrows of the design, read from the import statements."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FUNCTIONS = {"contract", "music"}
MAY_IMPORT = {
    "contract": set[str](),
    "music": set[str](),
    "generate_tokens": FUNCTIONS,
    "midi_save": FUNCTIONS,
    # Of the functions: the reader and the writer of MIDI; the composer, for what tries a bundle.
    "training": {*FUNCTIONS, "midi_save", "generate_tokens"},
    "deploy": {"contract"},
    "local_aws": set[str](),
    "local_run": {"contract", "local_aws", "deploy", "midi_save"},
}
# The only modules of training that import generate_tokens.
TRY_A_BUNDLE = (
    "training/evaluation/",
    "training/model/export.py",
    "training/model/archive_facts.py",
)


def imported(path: Path) -> set[str]:
    """The first names of the modules that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names.add((node.module or "").partition(".")[0])
    return names


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_folder_imports_only_what_the_design_says(folder: str) -> None:
    ours = {*MAY_IMPORT, "benchmarks", "tests"}
    for path in (ROOT / folder).rglob("*.py"):
        may = MAY_IMPORT[folder] | {folder}
        place = str(path.relative_to(ROOT))
        if folder == "training" and not place.startswith(TRY_A_BUNDLE):
            may = may - {"generate_tokens"}
        if folder == "local_run":
            assert set(re.findall(r"from midi_save\.(\w+) ", path.read_text())) <= {"prompt"}, place
        if folder == "training":
            of_midi_save = set(re.findall(r"from midi_save\.(\w+) ", path.read_text()))
            assert of_midi_save <= {"clean", "midi_file", "reading", "detokenize"}, place
        assert imported(path) & ours <= may, place


def test_the_functions_import_neither_what_the_other_needs_nor_training() -> None:
    heavy = {"contract": {"numpy", "boto3", "miditok"}, "music": {"boto3", "miditok", "symusic"}}
    heavy |= {"generate_tokens": {"miditok", "mido", "symusic", "torch"}}
    heavy |= {"midi_save": {"onnxruntime", "torch"}}
    for folder, packages in heavy.items():
        for path in (ROOT / folder).rglob("*.py"):
            assert not imported(path) & (packages | {"torch", "onnx"}), path
    for folder in MAY_IMPORT:
        for path in (ROOT / folder).rglob("*.py"):
            assert "sys.path" not in path.read_text(), path


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_name_is_imported_from_the_module_that_defines_it(folder: str) -> None:
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            source = ROOT.joinpath(*node.module.split(".")).with_suffix(".py")
            for alias in node.names if source.exists() else ():
                defined = (
                    rf"^((async )?def|class) {alias.name}\b|^[\w, ]*\b{alias.name}\b[\w, ]*[:=]"
                )
                assert re.search(defined, source.read_text(), re.MULTILINE), (path, alias.name)
