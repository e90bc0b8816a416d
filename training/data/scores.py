"""Fetches public scores and converts them to MIDI with music21, repeats unfolded.

Run `pip install music21` first: only this needs it. A chorale takes about half a second on one
core, a song two, one of the Polish scores four, a quartet forty: some five hours for all of them on
two cores. Scores that were converted are not converted again, so an interrupted run can be
repeated. Depends on neither how a score becomes MIDI (score_to_midi.py) nor tokens.
"""

from __future__ import annotations

import csv
import multiprocessing
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from tqdm import tqdm

from training.data.fetching import FetchError, cloned, count_midi, write_manifest
from training.data.reserved import Reserved
from training.data.score_to_midi import convert, midi_files

# The scores name the voices, not the instruments. These General MIDI programs, from 0, play them.
CHORALE_PROGRAMS = {"Soprano": 73, "Alto": 68, "Tenor": 60, "Bass": 70, "": 48}
CHORALE_QPM = 80.0

_YEAR = re.compile(r"\d{4}")
_RECORD = re.compile(r"^!!!(\w+):[ \t]*(\S.*?)\s*$", re.MULTILINE)  # of a kern file


@dataclass(frozen=True)
class Score:
    """A score's file, the MIDI file that it becomes, and its row of the manifest."""

    path: Path
    target: Path
    facts: dict[str, str]


def style_of(born: str, died: str) -> str:
    """The period of a composer, by the year of death; "other" where no year is known.

    A composer who died after 1820 is classical if born before 1775, else romantic. One who was born
    in 1880 or later is "other". Example: Beethoven, 1770 to 1827, is classical; Schubert, 1797 to
    1828, romantic.
    """
    birth, death = (int(y[0]) if (y := _YEAR.findall(text)) else 0 for text in (born, died))
    # without a year of death: sixty years after the birth
    death = death or (birth + 60 if birth else 0)
    if not death:
        return "other"
    if birth >= 1880:
        return "other"
    late = "classical" if 0 < birth < 1775 else "romantic"
    limits = ((1400, "medieval"), (1600, "renaissance"), (1750, "baroque"), (1821, "classical"))
    return next((name for limit, name in limits if death < limit), late)


def openscore(clone: Path, folder: Path) -> Iterator[Score]:
    """The scores of a repository of OpenScore: one compressed MusicXML file each."""
    with (clone / "data" / "composers.tsv").open(newline="", encoding="utf-8") as lines:
        composers = {row["path"]: row for row in csv.DictReader(lines, delimiter="\t")}
    for path in sorted((clone / "scores").rglob("*.mxl")):
        place = path.relative_to(clone)
        composer = composers.get(place.parts[1], {})
        facts = {
            "style": style_of(composer.get("born", ""), composer.get("died", "")),
            "composer": composer.get("name") or place.parts[1].replace("_", " "),
            "title": place.parts[-2].replace("_", " "),
            "licence": "CC0 1.0",
            "maintainer": "OpenScore (https://openscore.cc)",
        }
        yield Score(path, folder / f"{path.stem}.mid", facts)


def polish(clone: Path, folder: Path) -> Iterator[Score]:
    """The Polish scores: Humdrum kern files, whose records say what they are."""
    for path in sorted(clone.rglob("*.krn")):
        records = dict(_RECORD.findall(path.read_text(encoding="utf-8", errors="replace")))
        encoder = f", encoded by {records['ENC']}" if "ENC" in records else ""
        born, _, died = records.get("CDT", "").partition("-")
        facts = {
            "style": style_of(born, died),
            "composer": records.get("COM", ""),
            "title": records.get("OTL") or records.get("GTL", ""),
            "licence": "CC BY 4.0",
            "maintainer": "The Fryderyk Chopin Institute (https://nifc.pl), Polish Music Heritage "
            f"in Open Access (https://polishscores.org){encoder}",
        }
        yield Score(path, folder / path.parts[-3] / f"{path.stem}.mid", facts)


@dataclass(frozen=True)
class Collection:
    """A repository of scores: where its MIDI goes, its folders to clone (none: all), its reader."""

    repository: str
    folder: str
    places: tuple[str, ...]
    read: Callable[[Path, Path], Iterator[Score]]


COLLECTIONS = {
    "lieder": Collection("OpenScore/Lieder", "openscore-lieder", ("scores", "data"), openscore),
    "quartets": Collection(
        "OpenScore/StringQuartets", "openscore-quartets", ("scores", "data"), openscore
    ),
    "polish": Collection("pl-wnifc/humdrum-polish-scores", "polish-scores", (), polish),
}


def fetch_scores(name: str, out: Path, url: str = "", workers: int | None = None) -> int:
    """A collection as ``out/FOLDER/**/*.mid``; how many files there are now.

    Args:
        name: one of `COLLECTIONS`.
        url: instead of GitHub's.

    Raises:
        FetchError: music21 is missing, or the repository cannot be cloned or has no such scores.
    """
    _require_music21(name)
    collection = COLLECTIONS[name]
    repository, folder = collection.repository, out / collection.folder
    url = url or f"https://github.com/{repository}"
    clone = out / f".{collection.folder}-scores"
    if not clone.exists():
        partly = clone.with_suffix(".partial")
        shutil.rmtree(partly, ignore_errors=True)
        cloned(url, partly, collection.places).replace(clone)
    try:
        scores = list(collection.read(clone, folder))
    except OSError as error:
        raise FetchError(f"{url} is not as it was ({error}): leave out {name}") from error
    for score in scores:
        score.facts["source"] = f"{repository}, {score.path.relative_to(clone).as_posix()}"
        score.facts["group"] = score.path.stem  # movements stay together
    reserved = Reserved.load()
    scores = [s for s in scores if not reserved.holds(s.path, source=s.facts["source"])]
    if not scores:
        raise FetchError(f"{url} has no scores where they were: leave out {name}")
    return _converted(name, folder, scores, workers)


def fetch_chorales(out: Path, workers: int | None = None) -> int:
    """Bach's chorales as ``out/bach-chorales/*.mid``; how many files there are now."""
    _require_music21("chorales")
    folder, reserved = out / "bach-chorales", Reserved.load()
    scores = [
        Score(
            path,
            folder / f"{path.stem}.mid",
            {"style": "chorale", "source": f"music21 corpus, bach/{path.name}"},
        )
        for path in map(Path, import_module("music21.corpus").getComposer("bach"))
        if path.name.startswith("bwv") and path.suffix == ".mxl" and not reserved.holds(path)
    ]
    by = partial(convert, programs=CHORALE_PROGRAMS, qpm=CHORALE_QPM)
    return _converted("chorales", folder, scores, workers, by)


def _require_music21(name: str) -> None:
    if not find_spec("music21"):
        raise FetchError(
            f"music21, which reads the scores of {name}, is not installed: pip install music21, "
            f"or leave out {name}"
        )


def _converted(
    name: str,
    folder: Path,
    scores: Iterable[Score],
    workers: int | None,
    by: Callable[[Path, Path], None] = convert,
) -> int:
    """Converts what is missing, writes the manifest, and counts the files."""
    scores = list(scores)
    missing = [(s.path, s.target) for s in scores if not midi_files(s.target)]
    # Spawned, not forked: in a notebook torch has threads, and a forked process would hang on its
    # copies of their locks.
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(workers or os.cpu_count(), context) as pool:
            done = pool.map(partial(_convert_one, by=by), missing)
            failed = [n for n in tqdm(done, f"converting {name}", len(missing), disable=None) if n]
    except BrokenProcessPool as error:
        raise FetchError(f"a process that converts {name} was killed: run this again") from error
    if failed:
        print(f"music21 could not convert {len(failed)} scores, the first of them:")
        print(*failed[:5], sep="\n")
    rows = [
        {"file": file.relative_to(folder).as_posix(), **score.facts}
        for score in scores
        for file in midi_files(score.target)
    ]
    if rows:
        write_manifest(folder, rows)
    return count_midi(folder)


def _convert_one(job: tuple[Path, Path], by: Callable[[Path, Path], None]) -> str:
    """Converts one score; returns its name and the reason if that failed, else an empty text."""
    score, target = job
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        by(score, target)
    except Exception as error:  # noqa: BLE001  # music21 raises of all kinds; the others are still wanted
        for partly in target.parent.glob(f"{target.stem}.*.partial"):
            partly.unlink()
        said = str(error).partition("\n")[0][:100] or type(error).__name__
        return f"{score.name}: {said}"
    return ""
