"""Fetching training data: a repository and a server of our own stand for the public ones."""

from __future__ import annotations

import csv
import io
import re
import subprocess
from email.message import Message
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request

import pytest
from mido import MidiFile, MidiTrack, tempo2bpm

from tests.training.conftest import write_tune
from training.data import scores as scores_module
from training.data import sources
from training.data.archive import find_sources
from training.data.fetching import FetchError
from training.data.score_to_midi import Bar, laid_out
from training.data.scores import fetch_chorales, fetch_scores
from training.data.sources import fetch, fetch_archive, fetch_mutopia, mutopia_rows

# Its types would ask for annotations that a test does not need.
corpus: Any = import_module("music21.corpus")
converter: Any = import_module("music21.converter")

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


def test_scores_without_music21_say_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scores_module, "find_spec", lambda _: None)
    with pytest.raises(FetchError, match="pip install music21, or leave out chorales"):
        fetch_chorales(tmp_path)
    with pytest.raises(FetchError, match="pip install music21, or leave out polish"):
        fetch_scores("polish", tmp_path)


def test_chorales_are_converted_but_for_those_kept_for_testing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of music21's own; the first line of bwv269 is repeated, with its pickup."""
    real = corpus.getComposer("bach")
    chosen = [path for path in real if path.stem in ("bwv269", "bwv159.5", "bwv66.6")]
    monkeypatch.setattr(corpus, "getComposer", lambda _: [*chosen, "bwv277.krn.xml"])
    assert fetch_chorales(tmp_path, workers=1) == 2
    found = {source.path.name: source for source in find_sources(tmp_path)}
    assert found.keys() == {"bwv269.mid", "bwv66.6.mid"}
    assert found["bwv269.mid"].style == "chorale"
    assert found["bwv269.mid"].facts["source"] == "music21 corpus, bach/bwv269.mxl"
    midi = MidiFile(found["bwv269.mid"].path)
    voices = [strokes(track) for track in midi.tracks]
    assert len(voices) == 4 and all(voices)
    soprano = voices[0]
    assert soprano[0] == (2.0, 67), "the pickup of 3/4 is the third beat"
    line = [stroke for stroke in soprano if stroke[0] < 23]
    assert [(beat + 21, pitch) for beat, pitch in line] == soprano[len(line) : 2 * len(line)]
    assert [m.program for m in midi.tracks[0] if m.type == "program_change"] == [73]
    tempi = [tempo2bpm(m.tempo) for track in midi.tracks for m in track if m.type == "set_tempo"]
    assert tempi == [pytest.approx(80)]


SONG = """!!!COM: Elsner, Józef
!!!CDT: 1769/06/01-1854/04/18
!!!OTL: A song
!!!ENC: A. B.
**kern
*M3/4
=1
4c
4d
4e
=2
2e
4r
=3:|!
4f
4f
4f
==
*-
"""


def test_scores_of_repositories_become_midi_with_what_they_say_of_themselves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    polish = tmp_path / "polish"
    for name, text in (("song", SONG), ("odd", SONG.replace("3:|!", ":|!")), ("no", "no score")):
        target = polish / "pl-x" / "kern" / f"{name}.krn"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    lieder = tmp_path / "lieder"
    (lieder / "scores" / "Bantock,_G" / "_" / "Two_Songs").mkdir(parents=True)
    (lieder / "data").mkdir()
    rows = "path\tname\tborn\tdied\nBantock,_G\tG. Bantock\t1868\t1946\n"
    (lieder / "data" / "composers.tsv").write_text(rows)
    two = converter.parse("tinyNotation: 4/4 c1 d1 e1 f1").makeMeasures()
    for number, measure in zip((1, 2, 1, 2), two.getElementsByClass("Measure"), strict=True):
        measure.number = number
    two.write("mxl", fp=lieder / "scores" / "Bantock,_G" / "_" / "Two_Songs" / "lc1.mxl")
    out = tmp_path / "data"
    assert fetch_scores("lieder", out, commit(lieder).as_uri(), workers=1) == 2
    assert fetch_scores("polish", out, commit(polish).as_uri(), workers=1) == 2
    assert re.search(
        r"not convert 1 scores, the first of them:\nno\.krn: \w", capsys.readouterr().out
    )
    assert fetch_scores("polish", out, "https://nowhere.invalid/", workers=1) == 2, "kept"
    found = {source.path.name: source for source in find_sources(out)}
    assert found.keys() == {"lc1-1.mid", "lc1-2.mid", "song.mid", "odd.mid"}
    song = found["song.mid"]
    assert (song.style, song.facts["licence"]) == ("classical", "CC BY 4.0")
    assert song.facts["source"] == "pl-wnifc/humdrum-polish-scores, pl-x/kern/song.krn"
    assert song.facts["maintainer"].endswith("encoded by A. B.")
    assert beats(song.path) == [0, 1, 2, 3, 6, 7, 8, 9, 12, 13, 14]
    assert beats(found["odd.mid"].path) == [0, 1, 2, 3, 6, 7, 8], "repeats that make no sense"
    movement = found["lc1-2.mid"]
    assert movement.facts["title"] == "Two Songs" and movement.style == "romantic"
    assert movement.group == found["lc1-1.mid"].group, "movements stay together"
    assert beats(movement.path) == [0, 4]


def beats(path: Path) -> list[float]:
    return [beat for beat, _ in strokes(MidiFile(path).tracks[0])]


def strokes(track: MidiTrack) -> list[tuple[float, int]]:
    """When notes begin, in quarter notes, and their pitches, of a track of music21's 10,080."""
    now, found = 0, []
    for message in track:
        now += message.time
        if message.type == "note_on" and message.velocity:
            found.append((now / 10_080, message.note))
    return found


@pytest.mark.parametrize(
    ("lengths", "rest", "metres"),
    [
        ([4, 4], 0, [(0, 4, 4)]),
        ([1, 4, 3, 1, 4], 3, [(0, 4, 4)]),
        ([4, 5, 4], 0, [(0, 4, 4), (4, 5, 4), (9, 4, 4)]),
        ([4, 4, 3], 0, [(0, 4, 4)]),
        ([4, 3.5, 4], 0, [(0, 4, 4), (4, 7, 8), (7.5, 4, 4)]),
    ],
)
def test_bar_lines_fall_on_the_metre(
    lengths: list[float], rest: float, metres: list[tuple[float, int, int]]
) -> None:
    layout = laid_out([Bar(Fraction(length), (4, 4)) for length in lengths])
    assert float(layout.rest) == rest
    assert [(float(start), *metre) for start, *metre in layout.metres] == metres


@pytest.mark.parametrize(
    ("born", "died", "style"),
    [
        ("1810/03/01", "1849/10/17", "romantic"),
        ("1732", "1809", "classical"),
        ("1770", "1827", "classical"),
        ("1797", "1828", "romantic"),
        ("~1666", "1734/04/30", "baroque"),
        ("1525", "1594", "renaissance"),
        ("1881", "1971", "other"),
        ("", "", "other"),
        ("1990", "", "other"),
    ],
)
def test_a_style_is_the_period_in_which_the_composer_died(born: str, died: str, style: str) -> None:
    assert scores_module.style_of(born, died) == style


def test_a_source_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="archive, chorales, mutopia"):
        fetch(tmp_path, ["jazz"])
