"""Manifests as people write them: what is beyond doubt is understood, the rest is said."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from tests.training.conftest import write_tune
from training.data.archive import Source, find_sources
from training.data.manifest import rows_of


def sources_of(folder: Path, manifest: str | bytes, *names: str) -> dict[str, Source]:
    for name in names:
        write_tune(folder / name, 1)
    content = manifest.encode() if isinstance(manifest, str) else manifest
    (folder / "manifest.csv").write_bytes(content)
    found = find_sources(folder)
    return {source.path.relative_to(folder).as_posix(): source for source in found}


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ("a/tune.mid", "a/tune.mid"),
        ("a\\tune.mid", "a/tune.mid"),  # as Windows writes it
        (" a/tune.mid ", "a/tune.mid"),
        ("./a/tune.mid", "a/tune.mid"),
        ("a//b/../tune.mid", "a/tune.mid"),
        ("A/Tune.MID", "a/tune.mid"),
        ("a/tune.midi", "a/tune.mid"),
        ("a/tune", "a/tune.mid"),
        ("a/op1.n3", "a/op1.n3.mid"),
        ('"a/tune, the first.mid"', "a/tune, the first.mid"),
        (unicodedata.normalize("NFD", "é.mid"), unicodedata.normalize("NFC", "é.mid")),
        (unicodedata.normalize("NFC", "é.mid"), unicodedata.normalize("NFD", "é.mid")),
    ],
)
def test_a_row_is_matched_where_its_meaning_is_beyond_doubt(
    tmp_path: Path, row: str, name: str
) -> None:
    found = sources_of(tmp_path, f"file,style\n{row}, Folk\n", name)
    assert {n: (s.style, s.why) for n, s in found.items()} == {name: ("folk", "")}
    assert found[name].style_from == f"{tmp_path / 'manifest.csv'}, line 2"


@pytest.mark.parametrize(
    "manifest",
    [
        b"\xef\xbb\xbffile,style\r\na.mid,Folk\r\n",
        b"File ; STYLE\na.mid;Folk\n",
        b"style\tfile\nFolk\ta.mid\n",
        b"\n\nfile,style\n,\na.mid,Folk,and,more\n",
        b'"file","style"\r"a.mid","Folk"\r',
        "file,style\na.mid,Folk\n".encode("utf-16"),
        "file,style,title\na.mid,Folk,Prélude\n".encode("latin-1"),
    ],
)
def test_a_manifest_is_read_whatever_program_wrote_it(tmp_path: Path, manifest: bytes) -> None:
    found = sources_of(tmp_path, manifest, "a.mid")
    assert [source.style for source in found.values()] == ["folk"]
    assert found["a.mid"].facts.get("title", "Prélude") == "Prélude"


def test_a_row_names_a_file_whose_name_is_not_utf8(tmp_path: Path) -> None:
    name = b"Pr\xe9.mid".decode("utf-8", "surrogateescape")
    found = sources_of(tmp_path, "file,style\nPré.mid,Folk\n".encode("latin-1"), name)
    assert [(source.style, source.why) for source in found.values()] == [("folk", "")]


def test_rows_that_name_no_file_or_more_than_one_are_said(tmp_path: Path) -> None:
    manifest = "file,style\ngone.mid,Folk\nop1.n4,Folk\nTUNE.MID,Folk\n,Folk\n"
    found = sources_of(tmp_path, manifest, "Tune.mid", "tune.mid", "op1.mid")
    said = {name: source.why for name, source in found.items() if source.why}
    where = f"named in a manifest, but not there: {tmp_path / 'manifest.csv'}, line"
    assert said == {
        "gone.mid": f"{where} 2",
        "op1.n4": f"{where} 3",
        "TUNE.MID": f"{where} 4",
        ".": f"{where} 5",
    }
    assert {source.style for source in found.values()} == {"other"}


def test_a_style_that_is_none_is_said_and_the_folder_counts(tmp_path: Path) -> None:
    found = sources_of(
        tmp_path, "file,style\nfolk/a.mid,Jazz\nb.mid,Technique\n", "folk/a.mid", "b.mid"
    )
    assert found["folk/a.mid"].style == "folk"
    assert found["folk/a.mid"].note.endswith("manifest.csv, line 2: no style is called 'Jazz'")
    assert found["b.mid"].why == "manifest: a technical study" and not found["b.mid"].note


def test_of_two_rows_for_a_file_the_later_counts_and_it_is_said(tmp_path: Path) -> None:
    found = sources_of(tmp_path, "file,style\na.mid,Folk\n./a.mid,Hymn\n", "a.mid")
    assert found["a.mid"].style == "hymn" and "line 3 counts" in found["a.mid"].note


def test_a_row_that_names_a_file_more_loosely_than_another_is_of_another_file(
    tmp_path: Path,
) -> None:
    manifest = "file,style\nb.midi,Hymn\na.mid,Folk\nA.MID,Hymn\nB.mid,Folk\n"
    found = sources_of(tmp_path, manifest, "a.mid", "b.mid")
    said = {name: source.style if not source.why else "absent" for name, source in found.items()}
    assert said == {"a.mid": "folk", "b.mid": "folk", "A.MID": "absent", "b.midi": "absent"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        *((yes, "") for yes in ("yes", "Yes", "TRUE", "true", "1", " y ")),
        *((no, "manifest: no tempo given") for no in ("no", "No", "FALSE", "0", "")),
        ("perhaps", "manifest: tempo_given is neither yes nor no"),
    ],
)
def test_whether_a_tempo_is_given_is_said_in_many_ways(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "manifest.csv").write_text(f"file,Tempo_Given\na.mid,{text}\n")
    (row,) = rows_of(tmp_path / "manifest.csv")
    assert row.marked_as_bad() == why


@pytest.mark.parametrize(
    ("folder", "style"),
    [
        ("folk", "folk"),
        ("Folk", "folk"),
        ("Bach Chorales", "chorale"),
        ("bach_chorales", "chorale"),
        ("song", "other"),
        ("modern", "other"),
        ("folk songs from home", "other"),
    ],
)
def test_a_folder_is_of_a_style_only_when_it_is_named_after_one(
    tmp_path: Path, folder: str, style: str
) -> None:
    write_tune(tmp_path / folder / "a.mid", 1)
    (source,) = find_sources(tmp_path)
    assert source.style == style
    assert source.style_from == ("" if style == "other" else f"folder {folder}")


def test_a_manifest_that_is_no_file_is_refused_by_name(tmp_path: Path) -> None:
    write_tune(tmp_path / "a.mid", 1)
    os.mkfifo(tmp_path / "manifest.csv")  # to open it would wait for ever
    with pytest.raises(ValueError, match=r"manifest\.csv cannot be read \(it is no file\)"):
        find_sources(tmp_path)


def test_a_quotation_mark_that_is_not_closed_hides_no_row(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text('file,style,title\na.mid,folk,"Elise\nb.mid,folk,x\n')
    with pytest.raises(ValueError, match=r"manifest\.csv cannot be read \(a quotation mark is not"):
        rows_of(tmp_path / "manifest.csv")
