"""Fetching training data: a repository and a server of our own stand for the public ones."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from contextlib import nullcontext
from email.message import Message
from pathlib import Path
from types import ModuleType, SimpleNamespace
from urllib.error import HTTPError
from urllib.request import Request

import pytest
import sources
from archive import find_sources
from sources import FetchError, fetch, fetch_archive, fetch_chorales, fetch_mutopia, mutopia_rows

from tests.training.conftest import write_tune

SCORE = """\\header {{
  title = "A {name}"
  composer = "D. Aguado"
  style = "Classical"
  license = "{licence}"
  maintainer = "{maintainer}"
  footer = "Mutopia-2015/01/25-1833"
}}
"""


def commit(repository: Path) -> Path:
    """Makes a folder a git repository with one commit."""
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "all"]):
        subprocess.run(["git", "-C", repository, *command], check=True)
    return repository


def score(folder: Path, path: str, licence: str = "Public Domain", maintainer: str = "B") -> None:
    target = folder / "ftp" / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(SCORE.format(name=target.stem, licence=licence, maintainer=maintainer))


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """A repository like Mutopia's: two free pieces, one that is not, one kept for testing."""
    folder = tmp_path / "scores"
    score(folder, "AguadoD/O1/one/one.ly")
    score(folder, "AguadoD/two/two-lys/a.ly", "Creative Commons Attribution-ShareAlike 3.0")
    score(folder, "AguadoD/two/two-lys/b.ly", "Creative Commons Attribution-ShareAlike 3.0")
    score(folder, "AguadoD/three/three.ly", "Creative Commons Attribution-NonCommercial 3.0")
    score(folder, "AguadoD/O11/aguado-op11n03/aguado-op11n03.ly")
    (folder / "ftp" / "AguadoD" / "include.ily").write_text("")
    return commit(folder)


def served(monkeypatch: pytest.MonkeyPatch, pages: dict[str, bytes | int]) -> list[str]:
    """Answers requests from ``pages``, contents or the status of an error; what was asked for."""
    asked: list[str] = []

    def urlopen(request: Request, timeout: float) -> io.BytesIO:
        assert timeout > 0
        asked.append(request.full_url)
        page = pages.get(request.full_url, 404)
        if isinstance(page, int):
            raise HTTPError(request.full_url, page, "no", Message(), None)
        return io.BytesIO(page)

    monkeypatch.setattr(sources, "urlopen", urlopen)
    monkeypatch.setattr(sources, "time", SimpleNamespace(sleep=lambda _: None))
    return asked


def test_collections_are_copied_into_folders_of_their_style(tmp_path: Path) -> None:
    repository = tmp_path / "archive"
    for name, seed in (("a.MID", 1), ("b.mid", 2), ("copy.mid", 1)):
        write_tune(repository / "src" / "old" / name, seed)
    write_tune(repository / "src" / "games" / "theme.mid", 3)
    commit(repository)
    out = tmp_path / "data"
    assert fetch_archive(out, repository.as_uri(), {"src/old": "medieval"}) == 2
    found = {s.path.name: (s.style, s.facts["source"]) for s in find_sources(out)}
    assert found == {
        "a.MID": ("medieval", "midi-archive, src/old/a.MID"),
        "b.mid": ("medieval", "midi-archive, src/old/b.mid"),
    }
    assert fetch_archive(out, "https://nowhere.invalid/") == 2, "what is there is not fetched again"


def test_a_repository_that_cannot_be_cloned_is_named_with_the_way_round(tmp_path: Path) -> None:
    url = (tmp_path / "none").as_uri()
    with pytest.raises(FetchError, match=f"{url} cannot be cloned .*--data"):
        fetch_archive(tmp_path / "data", url)
    write_tune(tmp_path / "moved" / "new" / "a.mid", 1)
    moved = commit(tmp_path / "moved").as_uri()
    with pytest.raises(FetchError, match="folders have changed"):
        fetch_archive(tmp_path / "data", moved, {"src/old": "medieval"})
    assert not list((tmp_path / "data").glob("**/manifest.csv")), "a failed fetch leaves no trace"


def test_rows_of_scores_name_licence_and_typesetter_and_leave_out_the_reserved(
    scores: Path,
) -> None:
    rows = {row["file"]: row for row in mutopia_rows(scores)}
    assert {name: row["licence"] for name, row in rows.items()} == {
        "AguadoD/O1/one/one.mid": "Public Domain",
        "AguadoD/two/two.mid": "CC BY-SA 3.0",
        "AguadoD/three/three.mid": "",
    }
    assert rows["AguadoD/two/two.mid"]["maintainer"] == "B"


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("Public Domain", "Public Domain"),
        ("Creative Commons Attribution 4.0", "CC BY 4.0"),
        ("Creative Commons Attribution-ShareAlike 4.0", "CC BY-SA 4.0"),
        ("Creative Commons Attribution-ShareAlike", "CC BY-SA"),
        ("Creative Commons Attribution-NoDerivs 3.0", ""),
        ("(c) 1999 by me", ""),
        ("", ""),
    ],
)
def test_only_licences_that_allow_training_have_a_name(text: str, licence: str) -> None:
    assert sources._licence(text) == licence


def test_published_files_are_downloaded_once_each(
    scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune = write_tune(tmp_path / "tune.mid", 1).read_bytes()
    one, two = (
        f"{sources.MUTOPIA_FILES}/AguadoD/{name}" for name in ("O1/one/one.mid", "two/two.mid")
    )
    asked = served(monkeypatch, {one: tune, two: b"<html>moved</html>"})
    out = tmp_path / "data"
    assert fetch_mutopia(out, scores.as_uri()) == 1
    assert asked == [one, two]
    (found,) = find_sources(out)
    assert found.path.read_bytes() == tune and found.facts["licence"] == "Public Domain"
    assert found.style == "classical"
    served(monkeypatch, {two: tune})
    assert fetch_mutopia(out, "https://nowhere.invalid/") == 2, "only the missing one is asked for"
    with (out / "mutopia" / "manifest.csv").open(encoding="utf-8") as lines:
        assert len(list(csv.DictReader(lines))) == 2


def test_a_server_that_fails_is_asked_three_times_and_named(
    scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = f"{sources.MUTOPIA_FILES}/AguadoD/O1/one/one.mid"
    asked = served(monkeypatch, {one: 503})
    with pytest.raises(FetchError, match=f"{one} cannot be fetched .*503.* run this again"):
        fetch_mutopia(tmp_path / "data", scores.as_uri())
    assert asked == [one] * 3


def test_only_https_is_spoken(scores: Path, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="is not https"):
        fetch_mutopia(tmp_path / "data", scores.as_uri(), "http://example.org")


def test_chorales_without_music21_say_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "music21", None)
    with pytest.raises(FetchError, match="pip install music21"):
        fetch_chorales(tmp_path)


def test_chorales_are_converted_but_for_those_kept_for_testing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for music21, in one process: the real one was run by hand."""
    names = ["bwv1.6.mxl", "bwv159.5.mxl", "bwv10.7.mxl", "bwv277.krn.xml", "riemenschneider.rntxt"]
    corpus, converter = ModuleType("music21.corpus"), ModuleType("music21.converter")
    corpus.getComposer = lambda _: names  # type: ignore[attr-defined]

    class Parsed:
        def write(self, form: str, fp: Path) -> None:
            assert form == "midi"
            write_tune(fp, 1)

    def parse(path: Path) -> Parsed:
        if path.name == "bwv10.7.mxl":
            raise KeyError("a bar that music21 does not like")
        return Parsed()

    converter.parse = parse  # type: ignore[attr-defined]
    for module in (ModuleType("music21"), corpus, converter):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    here = nullcontext(SimpleNamespace(map=map))
    monkeypatch.setattr(sources, "ProcessPoolExecutor", lambda *_: here)
    assert fetch_chorales(tmp_path) == 1
    (found,) = find_sources(tmp_path)
    assert (found.path.name, found.style) == ("bwv1.6.mid", "chorale")
    assert found.facts["source"] == "music21 corpus, bach/bwv1.6.mxl"


def test_a_source_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="archive, chorales, mutopia"):
        fetch(tmp_path, ["jazz"])
