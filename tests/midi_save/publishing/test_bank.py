"""bank.py: the installation's bank is as deploy.sh wrote it, or is refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from contract.errors import SoundError
from midi_save.publishing.bank import Bank


@pytest.fixture
def folder(sounds_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sounds_dir, tmp_path / "sounds"))


def test_the_default_bank_says_what_it_is(
    sounds_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOUNDS_DIR", str(sounds_dir))
    bank = Bank.load()
    assert bank == Bank.load(sounds_dir)
    assert bank.path == sounds_dir / "bank.sf2"
    assert (bank.name, bank.author, bank.licence) == ("TimGM6mb", "Tim Brechbill", "GPL-2.0")
    assert bank.source == "PyPI: pretty_midi 0.2.11.post0"


def test_without_a_layer_the_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SoundError, match=r"nowhere/bank.json cannot be read .*deploy again"):
        Bank.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("bank.json", b"{", "bank.json is not JSON"),
        ("bank.json", b"[" * 100_000, "bank.json is not JSON"),
        ("bank.json", b"[]", "must have texts for name, author"),
        ("bank.json", json.dumps({"name": "x"}).encode(), "must have texts for name, author"),
        ("bank.sf2", b"MThd", "bank.sf2 is no SoundFont"),
        ("bank.sf2", b"RIFF\0\0\0\0sfbk", "bank.sf2 is not the file that bank.json describes"),
        ("bank.sf2", None, "bank.sf2 cannot be read"),
    ],
)
def test_a_damaged_bank_is_refused(
    file: str, content: bytes | None, why: str, folder: Path
) -> None:
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(SoundError, match=why):
        Bank.load(folder)
