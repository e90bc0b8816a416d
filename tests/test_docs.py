"""README and docs: no dead links, no command or option that is not there, tables as in the code."""

from __future__ import annotations

import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from contract import errors
from contract.bundle import Bundle
from contract.request import FIELDS, event_table
from local_run.options import MODEL

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
names = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@names
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not link.startswith("https://"):
            assert (page.parent / link).exists(), link


@names
def test_every_module_and_file_that_is_named_is_there(page: Path) -> None:
    text = page.read_text()
    modules = re.findall(r"(?:-m |`)((?:training|benchmarks|tests|local_run)\.[a-z_.]+)", text)
    for module in modules:
        assert find_spec(module.rstrip(".")), module
    folders = "|".join(
        path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "build"
    )
    for path in re.findall(rf"(?<![\w./])((?:{folders})/[\w./-]*\w)", text):
        made = path.startswith(("data", "out"))  # by the commands themselves
        assert made or (ROOT / path).exists(), path


@names
@pytest.mark.parametrize("command", ["./run.sh", "./deploy.sh"])
def test_every_option_that_is_named_is_one(page: Path, command: str) -> None:
    help_text = options_of(command)
    for line in re.findall(rf"{re.escape(command)} ([^#`\n]*)", page.read_text()):
        for option in re.findall(r"--[a-z-]+", line):
            assert option in help_text.split(), f"{command} {option}"


def options_of(command: str) -> str:
    """What it says on --help."""
    if command == "./run.sh":
        own = ["--days", "--bundle", "--out", "--keep", "--help"]
        event = [f"--{field.name.replace('_', '-')}" for field in FIELDS if field.option]
        return " ".join([*own, *event])
    done = subprocess.run(
        [str(ROOT / "deploy.sh"), "--help"], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_what_the_deployer_tells_people_to_read_is_there() -> None:
    files = [path for path in (ROOT / "deploy").rglob("*") if path.suffix in {".py", ".json"}]
    for path in (ROOT / "deploy.sh", *sorted(files)):
        text = path.read_text()
        assert "README" not in text, path
        for page in re.findall(r"docs/[a-z-]+\.md", text):
            assert (ROOT / page).exists(), page
        for heading, page in re.findall(r"'([A-Z][\w ]+)' in (docs/[a-z-]+\.md)", text):
            assert f"## {heading}" in (ROOT / page).read_text(), heading


def test_the_readme_fits_a_screen() -> None:
    text = README.read_text()
    assert len(text.encode()) <= 8_000
    assert text.count("\n") <= 120


def test_every_page_is_linked_from_the_readme() -> None:
    for page in PAGES[1:]:
        assert f"](docs/{page.name})" in README.read_text()


def test_every_folder_has_its_line_in_the_readme() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    folders = {path.partition("/")[0] for path in listed if "/" in path and path[0] != "."}
    tree = README.read_text().partition("## What is where")[2]
    for folder in folders:
        assert f"{folder}/" in tree, folder


def test_the_table_of_the_event_is_that_of_the_code() -> None:
    page = (ROOT / "docs" / "event.md").read_text()
    table = page.partition("<!-- table of fields -->\n")[2].partition("\n<!-- end of table -->")[0]
    assert table == event_table(Bundle.load(MODEL)), ".venv/bin/python -m local_run.options"


def test_the_table_of_errors_is_that_of_the_code() -> None:
    page = (ROOT / "docs" / "operate.md").read_text()
    table = page.partition("<!-- table of errors -->\n")[2].partition("\n<!-- end of table -->")[0]
    assert table == errors.table(), ".venv/bin/python -m contract.errors"
