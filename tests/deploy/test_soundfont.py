"""soundfont.py: the default bank, one's own, which stays until another is asked for, and none."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from contract.bundle import Bundle, read_manifest, write_manifest
from deploy import soundfont, wheels
from deploy.errors import DeployError
from deploy.sf2 import Sf2
from tests.deploy.account import difference
from tests.deploy.deployer import ARTIFACTS, NAME, ROOT, Account, Hooks
from tests.sound_fonts import sound_font

TEXTS = [(b"INAM", b"Mine\0"), (b"IENG", b"Me <me@example.org>\0")]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A bank of the user's own, with a piano and a string ensemble."""
    path = tmp_path / "mine.sf2"
    path.write_bytes(sound_font([(0, 0), (0, 48), (0, 100)], texts=TEXTS))
    return path


def packed(own: Path | None, programs: list[int], place: Path) -> tuple[dict[str, str], Sf2, str]:
    """What is in the layer's bank.json and bank.sf2, and what was said."""
    said: list[str] = []
    layer = soundfont.build(own, programs, place, ROOT / "build", said.append)
    archive = zipfile.ZipFile(layer.path)
    facts = json.loads(archive.read("sounds/bank.json"))
    bank = archive.read("sounds/bank.sf2")
    assert facts["sha256"] == hashlib.sha256(bank).hexdigest()
    bill = "sbom/sounds.cdx.json"
    assert archive.namelist() == [bill, "sounds/bank.json", "sounds/bank.sf2"]
    (component,) = json.loads(archive.read(bill))["components"]
    assert component["hashes"] == [{"alg": "SHA-256", "content": facts["sha256"]}]
    assert component["licenses"] == [{"license": {"name": facts["licence"]}}]
    return facts, Sf2.read(bank), "\n".join(said)


def deployed(at: Account) -> dict[str, str]:
    """bank.json of the layer that midi-save uses."""
    named = {"LayerName": f"{NAME}-sounds", "VersionNumber": int(at.sounds()[0])}
    description = at.aws.client("lambda").get_layer_version(**named)["Description"]
    key = f"layers/{NAME}-sounds-{description[:32]}.zip"
    body = at.aws.client("s3").get_object(Bucket=ARTIFACTS, Key=key)["Body"].read()
    facts: dict[str, str] = json.loads(zipfile.ZipFile(io.BytesIO(body)).read("sounds/bank.json"))
    return facts


def test_the_default_bank_has_the_bundles_programs_and_says_whose_it_is(
    bundle: Bundle, tmp_path: Path
) -> None:
    programs = soundfont.programs_of(bundle)
    assert 5 < len(programs) < 20
    facts, bank, said = packed(None, programs, tmp_path)
    assert sorted(bank.presets) == programs
    assert {**facts, "sha256": ""} == {**soundfont.FACTS, "sha256": ""}
    assert said == ""


def test_ones_own_bank_tells_what_its_file_says_and_what_plays_for_what_it_lacks(
    own: Path, tmp_path: Path
) -> None:
    facts, bank, said = packed(own, [0, 6, 52, 68], tmp_path)
    assert (facts["name"], facts["author"]) == ("Mine", "Me <me@example.org>")
    assert (facts["licence"], facts["source"]) == ("not stated", "mine.sf2")
    assert sorted(bank.presets) == [0, 6, 52, 68]
    assert said == "mine.sf2 lacks programs, which others play: 6 by 0, 52 by 48, 68 by 48"


def test_a_program_is_played_by_one_of_its_family_before_a_nearer_one() -> None:
    assert soundfont.nearest_program(40, {39, 47}) == 47
    assert soundfont.nearest_program(40, {39, 100}) == 39
    assert soundfont.nearest_program(40, {0, 40}) == 40


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "mine.sf2 cannot be read: No such file"),
        (b"MThd", "mine.sf2: it is no SoundFont"),
        (sound_font()[:-1], "mine.sf2: it is truncated"),
        (sound_font([(128, 0)]), "mine.sf2: it has no presets in bank 0"),
        (sound_font(sample_type=0x11), r"mine.sf2: .*compressed \(SF3\)"),
    ],
)
def test_what_is_no_soundfont_is_refused_before_any_call_to_aws(
    content: bytes | None, why: str, tmp_path: Path, empty: Account
) -> None:
    path, hooks = tmp_path / "mine.sf2", Hooks()
    if content is not None:
        path.write_bytes(content)
    done = empty.run("--soundfont", str(path), hooks=hooks)
    assert done.code == 1
    assert hooks.calls == []
    with pytest.raises(DeployError, match=why):
        soundfont.trimmed_bank(path, [0])
    assert "--soundfont: " in done.err


def test_ones_own_bank_stays_until_another_is_asked_for(
    empty: Account, own: Path, tmp_path: Path
) -> None:
    empty.deploy()
    assert (empty.sounds(), deployed(empty)["name"]) == (["1"], "TimGM6mb")
    lines = empty.deploy("--soundfont", str(own))
    assert lines[-1] == "changes: 2"
    assert any(f"layer {NAME}-sounds: version 2" in line for line in lines)
    assert (empty.sounds(), deployed(empty)["name"]) == (["2"], "Mine")
    before = empty.state()
    own.rename(tmp_path / "elsewhere.sf2")  # it is not needed any more
    lines = empty.deploy()
    assert lines[-1] == "changes: 0"
    assert any(line.startswith("size midi-save") and "sounds 0.0 MB" in line for line in lines)
    assert difference(before, empty.state()) == []
    empty.deploy("--bundle", empty.retrain("new"))
    assert empty.sounds() == ["2"]
    empty.deploy()  # the bundle before
    default = ("--soundfont", "default")
    assert empty.deploy(*default, "--dry-run")[-1].endswith("changes: 2")
    assert empty.deploy(*default)[-1] == "changes: 2"
    # It was replaced and is wanted again: it becomes the newest, which is the one that stays.
    assert (empty.sounds(), deployed(empty)["name"]) == (["3"], "TimGM6mb")
    assert empty.deploy()[-1] == "changes: 0"


def test_a_bundle_with_other_programs_asks_for_ones_own_bank_again(
    made: Account, own: Path
) -> None:
    made.deploy("--soundfont", str(own))
    bundle = Path(made.retrain("piccolo"))
    manifest: dict[str, Any] = read_manifest(bundle)
    manifest["vocabulary"] = [
        ["Program", "72"] if entry == ["Program", "73"] else entry
        for entry in manifest["vocabulary"]
    ]
    write_manifest(bundle, manifest)
    before = made.state()
    done = made.run("--bundle", str(bundle))
    assert done.code == 1
    assert "lacks 72, which this bundle can write: give --soundfont FILE again" in done.err
    assert difference(before, made.state()) == []
    made.deploy("--bundle", str(bundle), "--soundfont", str(own))
    assert made.sounds() == ["3"]


def test_the_bank_is_fetched_once_and_a_damaged_one_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = soundfont.fetch(ROOT / "build").read_bytes()
    content = [b"another file", real]
    said: list[str] = []

    def install(lock: Path, place: Path, runtime: str, arch: str) -> None:
        assert "--hash=sha256:" in lock.read_text()
        (place / "pretty_midi").mkdir()
        (place / "pretty_midi" / soundfont.FILE).write_bytes(content.pop(0))

    monkeypatch.setattr(wheels, "install", install)
    with pytest.raises(DeployError, match="is not the one that"):
        soundfont.fetch(tmp_path / "build", said.append)
    assert [*(tmp_path / "build").iterdir()] == []
    path = soundfont.fetch(tmp_path / "build", said.append)
    assert path.read_bytes() == real
    assert soundfont.fetch(tmp_path / "build", said.append) == path
    assert len(said) == 2
    path.write_bytes(real[:-1])
    content.append(real)
    assert soundfont.fetch(tmp_path / "build", said.append).read_bytes() == real
