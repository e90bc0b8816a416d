"""Finding files: styles, manifests, what is kept for testing, attributions."""

from __future__ import annotations

import hashlib
import os
import shutil
import string
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.conftest import write_tune
from training.data.archive import Source, find_all, find_sources
from training.data.attribution import attribution_text, credits_of, together
from training.data.reasons import RESERVED
from training.data.reserved import Reserved, bach_work, mutopia_piece

NAMES = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=12)


def left_out(folder: Path) -> dict[str, str]:
    return {source.path.name: source.why for source in find_sources(folder)}


def test_styles_come_from_manifest_then_folder(archive: Path, tmp_path: Path) -> None:
    shutil.copytree(archive, tmp_path / "a")
    (tmp_path / "a" / "manifest.csv").write_text("file,style\nattic/tune2.mid,Romantic\n")
    styles = {s.path.name: s.style for s in find_sources(tmp_path / "a")}
    assert (styles["tune0.mid"], styles["tune1.mid"]) == ("folk", "chorale")
    assert (styles["tune2.mid"], styles["tune5.mid"]) == ("romantic", "other")


def test_rows_marked_as_badly_converted_are_left_out(tmp_path: Path) -> None:
    for name in ("good", "no_tempo", "out", "bars", "study"):
        write_tune(tmp_path / f"{name}.mid", 1)
    (tmp_path / "manifest.csv").write_text(
        "file,style,tempo_given,out_of_range,barcheck_failures\n"
        "good.mid,Folk,yes,0.0,0\nno_tempo.mid,Folk,,0.0,0\nout.mid,Folk,yes,0.2,0\n"
        "bars.mid,Folk,yes,0.0,11\nstudy.mid,Technique,yes,0.0,0\n"
    )
    assert left_out(tmp_path) == {
        "good.mid": "",
        "no_tempo.mid": "manifest: no tempo given",
        "out.mid": "manifest: notes out of range",
        "bars.mid": "manifest: bars that do not add up",
        "study.mid": "manifest: a technical study",
    }


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (b"name,style\na.mid,Folk\n", "no column 'file'"),
        (b"\xff\xfef\0i", "cannot be read .* save it as CSV in UTF-8"),
        (b"file,out_of_range\na.mid,much\n", "a.mid: out_of_range must be a number, not 'much'"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_named(
    tmp_path: Path, manifest: bytes, message: str
) -> None:
    write_tune(tmp_path / "a.mid", 1)
    (tmp_path / "manifest.csv").write_bytes(manifest)
    with pytest.raises(ValueError, match=message) as refused:
        find_sources(tmp_path)
    assert str(tmp_path / "manifest.csv") in str(refused.value)


def test_what_is_no_file_is_left_out_with_a_reason(tmp_path: Path) -> None:
    write_tune(tmp_path / "good.mid", 1)
    (tmp_path / "folder.mid").mkdir()
    (tmp_path / "round.mid").symlink_to("round.mid")
    (tmp_path / "gone.mid").symlink_to("nothing")
    os.mkfifo(tmp_path / "pipe.mid")
    (tmp_path / "empty.mid").touch()
    with (tmp_path / "huge.mid").open("wb") as huge:
        huge.truncate(9_000_000)
    assert left_out(tmp_path) == {
        "good.mid": "",
        "folder.mid": "unreadable: a folder",
        "round.mid": "unreadable: a broken link",
        "gone.mid": "unreadable: a broken link",
        "pipe.mid": "unreadable: no file",
        "empty.mid": "unreadable: empty",
        "huge.mid": "unreadable: larger than 8 MB",
    }


def test_what_may_not_be_read_is_left_out_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a stand-in for the refusal: the tests may run as a user who may read everything."""
    write_tune(tmp_path / "good.mid", 1)
    write_tune(tmp_path / "secret.mid", 1)
    (tmp_path / "closed").mkdir()
    read_bytes, scandir = Path.read_bytes, os.scandir

    def refusing_read(path: Path) -> bytes:
        if path.name == "secret.mid":
            raise PermissionError(13, "Permission denied", str(path))
        return read_bytes(path)

    def refusing_scan(path: str) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(Path, "read_bytes", refusing_read)
    monkeypatch.setattr(os, "scandir", refusing_scan)
    assert left_out(tmp_path) == {
        "good.mid": "",
        "secret.mid": "unreadable: permission denied",
        "closed": "unreadable: permission denied",
    }


def test_linked_folders_are_read_once_and_rings_end(tmp_path: Path) -> None:
    write_tune(tmp_path / "elsewhere" / "a.mid", 1)
    folder = tmp_path / "archive"
    write_tune(folder / "b.MID", 2)
    write_tune(folder / ".trash" / "c.mid", 3)
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "again").symlink_to(tmp_path / "elsewhere")
    (folder / "ring").symlink_to(folder)
    assert sorted(left_out(folder)) == ["a.mid", "b.MID"]


def test_overlapping_folders_give_each_file_once(archive: Path) -> None:
    sources = find_all([archive, archive / "folk"])
    assert len(sources) == 12 and not any(source.why for source in sources)


def test_what_may_hold_music_after_all_is_left_out_with_a_reason(tmp_path: Path) -> None:
    tune = write_tune(tmp_path / "x.Mid", 1).read_bytes()
    riff = b"RIFF\0\0\0\0RMIDdata\0\0\0\0" + tune
    for name, content in {
        "a.kar": tune,
        "b.RMI": riff,
        "tune": tune,
        "tune.mid.bak": riff,
        "._x.mid": b"\0\5\x16\7",  # macOS keeps a file's attributes beside it
        "__MACOSX/._x.mid": b"\0\5\x16\7",
        ".DS_Store": b"",
        "more.zip": b"PK\3\4",
        "readme.txt": b"MIDI",
        "sound.wav": b"RIFF\0\0\0\0WAVE",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "pipe")
    found = {s.path.relative_to(tmp_path).as_posix(): s.why for s in find_sources(tmp_path)}
    assert found == {
        "a.kar": "",
        "b.RMI": "",
        "x.Mid": "",
        "tune": "MIDI without a suffix of MIDI",
        "tune.mid.bak": "MIDI without a suffix of MIDI",
        "._x.mid": "hidden",
        "__MACOSX/._x.mid": "hidden",
        "more.zip": "packed",
    }


def test_a_folder_that_lists_names_but_gives_no_file_does_not_end_the_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one without the right to enter it; by a stand-in, as the tests may run as root."""
    write_tune(tmp_path / "shut" / "a.mid", 1)
    real = Path.stat

    def refusing(path: Path, **options: bool) -> os.stat_result:
        if path.parent.name == "shut":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", refusing)
    assert left_out(tmp_path) == {"a.mid": "unreadable: permission denied"}


def test_exact_copies_are_one_piece_whatever_they_are_called(tmp_path: Path) -> None:
    """The one that a manifest describes, or else has the shortest name, is read."""
    tune = write_tune(tmp_path / "a" / "tune.mid", 1)
    for name in ("a/tune (1).mid", "a/tune.MIDI", "b/copy of tune.mid"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(tune, tmp_path / name)
    (tmp_path / "linked.mid").symlink_to(tune)

    def copied() -> dict[str, str]:
        files = {s.path.relative_to(tmp_path).as_posix(): s.why for s in find_all([tmp_path])}
        assert list(files.values()).count("") == 1
        return files

    first = copied()
    assert first["a/tune.mid"] == "" and first["linked.mid"].startswith("copy of another file: ")
    assert first["a/tune (1).mid"] == f"copy of another file: {tune}"
    (tmp_path / "b" / "manifest.csv").write_text("file,style\ncopy of tune.mid,Hymn\n")
    assert copied()["b/copy of tune.mid"] == ""


def test_a_copy_of_what_is_left_out_is_left_out(tmp_path: Path) -> None:
    reserved = write_tune(tmp_path / "BWV159.5.mid", 1)
    shutil.copyfile(reserved, tmp_path / "a.mid")
    study = write_tune(tmp_path / "b.mid", 2)
    shutil.copyfile(study, tmp_path / "c.mid")
    (tmp_path / "manifest.csv").write_text("file,style\nc.mid,Technique\na.mid,Folk\n")
    found = {s.path.name: s.why for s in find_all([tmp_path], Reserved.parse(["bach bwv159.5"]))}
    assert found["BWV159.5.mid"] == RESERVED and found["c.mid"] == "manifest: a technical study"
    assert found["a.mid"].endswith("BWV159.5.mid") and found["b.mid"].endswith("c.mid")


def test_every_form_of_a_reserved_piece_is_left_out(tmp_path: Path) -> None:
    names = {
        "bach-chorales/bwv159.5.mid": True,
        "x/BWV159.5.mxl.mid": True,
        "x/bwv159.50.mid": False,
        "x/bwv15.mid": False,
        "x/bwv159.5-a.mid": False,
        "mutopia/ftp/AguadoD/O11/op11n03/op11n03.mid": True,
        "AguadoD/O11/op11n03/op11n03-mids/one.mid": True,
        "AguadoD/O11/op11n04/op11n03.mid": False,
        "renamed.mid": True,
        "bytes.mid": True,
        "other.mid": False,
    }
    for seed, name in enumerate(names):
        write_tune(tmp_path / name, seed)
    (tmp_path / "manifest.csv").write_text(
        "file,source\nrenamed.mid,ftp/AguadoD/O11/op11n03/op11n03.ly\nother.mid,\n"
    )
    digest = hashlib.sha256((tmp_path / "bytes.mid").read_bytes()).hexdigest()
    reserved = Reserved.parse(
        ["bach bwv159.5", "mutopia ftp/AguadoD/O11/op11n03/op11n03.ly", f"sha256 {digest}"]
    )
    found = {
        source.path.relative_to(tmp_path).as_posix(): source.why == RESERVED
        for source in find_sources(tmp_path, reserved)
    }
    assert found == names


def test_the_shipped_list_is_read_whole() -> None:
    reserved = Reserved.load()
    assert (len(reserved.works), len(reserved.hashes)) == (32, 62)
    assert "159.5" in reserved.works and "AguadoD/O11/aguado-op11n03" in reserved.pieces
    assert not reserved.holds(
        Path("/music/bwv1.6.mid"), "0" * 64, "music21 corpus, bach/bwv1.6.mxl"
    )


@pytest.mark.parametrize(
    "line",
    ["sha256 abc", "bach prelude", "mutopia", "mutopia AguadoD/x.ly", "bwv159.5", "piece a/b"],
)
def test_a_line_that_would_keep_nothing_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"line 2: .* is none of"):
        Reserved.parse(["# comment", line])


@given(st.lists(NAMES, min_size=2, max_size=4), st.sampled_from(["", "-lys", "-mids"]), NAMES)
def test_a_reserved_mutopia_piece_is_known_in_whatever_folder_it_lies(
    piece: list[str], parts: str, name: str
) -> None:
    folder = "/".join(piece)
    inner = f"/{piece[-1]}{parts}" if parts else ""
    reserved = Reserved.parse([f"mutopia ftp/{folder}{inner}/{name}.ly"])
    assert reserved.holds(Path("/data/scores") / folder / f"{name}.mid")
    assert reserved.holds(Path(f"/data/ftp/{folder}{inner}/{name}.mid"))
    assert reserved.holds(Path("/data/x.mid"), source=f"ftp/{folder}/{name}.ly")
    assert not reserved.holds(Path(f"/data/{folder}-2/{name}.mid"))
    assert mutopia_piece(f"ftp/{folder}{inner}/{name}.ly") == folder


def test_a_score_is_known_by_where_it_came_from_whoever_converted_it() -> None:
    reserved = Reserved.parse(["source owner/scores, kern/a.krn"])
    assert reserved.holds(Path("/data/any-1.mid"), source="owner/scores, kern/a.krn")
    assert not reserved.holds(Path("/data/a.mid"), source="owner/scores, kern/b.krn")
    with pytest.raises(ValueError, match="line 1"):
        Reserved.parse(["source kern/a.krn"])


@given(st.integers(1, 1200), st.integers(0, 80), st.sampled_from([".mid", ".mxl", ".mxl.mid", ""]))
def test_a_work_number_is_read_whole(work: int, movement: int, suffix: str) -> None:
    number = f"{work}.{movement}" if movement else str(work)
    assert bach_work(f"bwv{number}{suffix}") == bach_work(f"BWV {number}{suffix}") == number
    assert bach_work(f"bwv{number}7{suffix}") != number


@given(st.lists(st.text(max_size=80)))
def test_any_lines_are_read_or_refused(lines: list[str]) -> None:
    with suppress(ValueError):
        Reserved.parse(lines)


def piece(**facts: str) -> Source:
    return Source(Path("a/file.mid"), "folk", collection="attic", facts=facts)


def test_attributions_name_piece_composer_typesetter_licence_and_source_once() -> None:
    scores = [f"owner/scores, kern/{n}.krn" for n in range(3)]
    facts = {
        "title": "Study [1]; in A\nminor",
        "composer_name": "Dionisio Aguado (1784–1849)",
        "maintainer": "Glen | Larsen",
        "licence": "CC BY-SA 3.0",
        "mutopia_id": "Mutopia-2015/01/25-1833",
    }
    found = credits_of(
        [
            piece(**facts),
            piece(**facts),
            piece(licence="Public Domain", source="ftp/x/y.ly"),
            piece(source="midi-archive, src/assets/perso/midi/a.mid"),
            piece(),
            *(piece(licence="CC BY 4.0", maintainer="An Office", source=s) for s in scores),
        ]
    )
    text = attribution_text(together([found, found]))
    by_sa = "## CC BY-SA 3.0: https://creativecommons.org/licenses/by-sa/3.0/\n"
    assert by_sa + "- Glen Larsen: Study 1 in A minor, Dionisio Aguado [1833]\n" in text
    assert "## Public Domain\n- not named: file [ftp/x/y.ly]\n" in text
    assert "- attic: 1 files\n- midi-archive, src/assets/perso/midi: 1 files\n" in text
    assert "by/4.0/\n- An Office: 3 of https://github.com/owner/scores\n" in text
    assert text.count("1833") == 1
