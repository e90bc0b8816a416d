"""Fetches MIDI from the public sources that the released model was trained on.

    python -m training.data.sources --out data/ [--only archive,chorales,mutopia,lieder ...]

Files that are there already are not fetched again, so an interrupted run can be repeated. Pieces
that are reserved for testing (reserved.txt) are not fetched at all. Your own MIDI needs none of
this: give its folder to `python -m training.data.dataset --data`.

- archive: four collections of the repository reubenson/midi-archive, a few megabytes.
- mutopia: the .mid files that mutopiaproject.org publishes, about 2,000 and one request each. The
  released model had MIDI made from the same scores with LilyPond 2.24 instead, with repeats
  unfolded and pickups filled up, which is not done here: these files give a model of the same kind.
- chorales, lieder, quartets, polish: scores, converted by music21 (scores.py).

The tests run this against a repository and a server of their own. It was written on a machine that
reaches neither github.com nor mutopiaproject.org: what they answer today is not tested. Depends on
neither tokens nor models.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import time
from argparse import ArgumentTypeError
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from tqdm import tqdm

from training import options
from training.data.fetching import FetchError, cloned, count_midi, write_manifest
from training.data.reserved import Reserved, mutopia_piece
from training.data.scores import COLLECTIONS, fetch_chorales, fetch_scores
from training.options import Parser

ARCHIVE_URL = "https://github.com/reubenson/midi-archive"
# Collections that are scores rather than recorded performances, and out of copyright. To fetch
# another one, add a line.
ARCHIVE_COLLECTIONS = {
    "src/assets/perso/midi": "medieval",
    "src/assets/emusic/midi": "renaissance",
    "src/assets/laurasmidiheaven/midi": "classical",
    "src/assets/botproductions/midi": "oratorio",
}
MUTOPIA_URL = "https://github.com/MutopiaProject/MutopiaProject"
MUTOPIA_FILES = "https://www.mutopiaproject.org/ftp"
TIMEOUT_S = 30
ATTEMPTS = 3
LARGEST_BYTES = 8_000_000
AGENT = "midi-archive-lambda (fetches a training set once)"

_HEADER_FIELD = re.compile(r'^\s*(\w+)\s*=\s*"((?:[^"\\]|\\.)*)"', re.MULTILINE)
_VERSION = re.compile(r"(\d\.\d)")


def fetch_archive(
    out: Path, url: str = ARCHIVE_URL, collections: Mapping[str, str] = ARCHIVE_COLLECTIONS
) -> int:
    """The collections as ``out/midi-archive/STYLE/*.mid``; how many files there are now."""
    folder = out / "midi-archive"
    if not (folder / "manifest.csv").exists():
        reserved = Reserved.load()
        with tempfile.TemporaryDirectory() as scratch:
            clone = cloned(url, Path(scratch) / "clone", collections)
            rows, seen = [], set[str]()
            for place, style in collections.items():
                paths = (p for p in (clone / place).glob("*") if p.suffix.lower() == ".mid")
                for path in sorted(paths):
                    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
                    if sha256 in seen or reserved.holds(Path(path.name), sha256):
                        continue
                    seen.add(sha256)
                    (folder / style).mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, folder / style / path.name)
                    source = f"midi-archive, {place}/{path.name}"
                    rows.append({"file": f"{style}/{path.name}", "style": style, "source": source})
        if not rows:
            raise FetchError(
                f"{url} has no MIDI in {', '.join(collections)}: its folders have changed; clone "
                "it and give the folders you want to training.data.dataset --data"
            )
        write_manifest(folder, rows)
    return count_midi(folder)


def fetch_mutopia(out: Path, url: str = MUTOPIA_URL, files: str = MUTOPIA_FILES) -> int:
    """Published MIDI as ``out/mutopia/COMPOSER/.../*.mid``; how many files there are now.

    Titles, licences and typesetters are read from the scores in Mutopia's repository.
    """
    folder, clone = out / "mutopia", out / ".mutopia-scores"
    if not clone.exists():
        partly = out / ".mutopia-scores.partial"
        shutil.rmtree(partly, ignore_errors=True)
        cloned(url, partly, ["ftp"]).replace(clone)
    rows = [row for row in mutopia_rows(clone) if row["licence"]]
    if not rows:
        raise FetchError(
            f"{url} has no scores with a known licence under ftp/: its form has changed; delete "
            f"{clone}, or leave out mutopia"
        )
    write_manifest(folder, rows)
    outcomes: Counter[str] = Counter()
    for row in tqdm(rows, "downloading from Mutopia", unit="file", disable=None):
        target = folder / row["file"]
        if not target.exists():
            outcomes[_download(f"{files}/{quote(row['file'])}", target)] += 1
    if absent := outcomes["absent"]:
        print(f"{absent} pieces have no single .mid at {files} (some have several, zipped)")
        write_manifest(folder, [row for row in rows if (folder / row["file"]).exists()] or rows)
    return count_midi(folder)


def mutopia_rows(clone: Path) -> list[dict[str, str]]:
    """A manifest's row for each piece whose score names its typesetter and is not reserved."""
    reserved = Reserved.load()
    rows: dict[str, dict[str, str]] = {}
    for score in sorted((clone / "ftp").rglob("*.ly")):
        source = score.relative_to(clone).as_posix()
        piece = mutopia_piece(source)
        header = dict(_HEADER_FIELD.findall(score.read_text(encoding="utf-8", errors="replace")))
        if piece in rows or "maintainer" not in header or reserved.holds(Path(source)):
            continue
        rows[piece] = {
            "file": f"{piece}/{piece.rpartition('/')[2]}.mid",
            "title": header.get("mutopiatitle") or header.get("title", ""),
            "composer": header.get("composer", ""),
            "style": header.get("style", ""),
            "licence": _licence(header.get("license") or header.get("copyright", "")),
            "maintainer": header["maintainer"],
            "mutopia_id": header.get("footer", ""),
            "source": source,
        }
    return list(rows.values())


def _licence(text: str) -> str:
    """The short name of a licence that allows training with attribution; empty for others."""
    letters = re.sub(r"[^a-z]", "", text.lower())
    number = _VERSION.search(text)
    after = f" {number[1]}" if number else ""
    if "publicdomain" in letters:
        return "Public Domain"
    if "noncommercial" in letters or "noderiv" in letters or "attribution" not in letters:
        return ""
    return f"CC BY-SA{after}" if "sharealike" in letters else f"CC BY{after}"


def _download(url: str, target: Path) -> str:
    """Writes what ``url`` holds to ``target``: 'fetched', or 'absent' where there is nothing."""
    if not url.startswith("https://"):
        raise FetchError(f"{url} is not https: name a source that is")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            request = Request(url, headers={"User-Agent": AGENT})  # noqa: S310  # https, see above
            with urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
                content = answer.read(LARGEST_BYTES + 1)
            break
        except (OSError, HTTPException) as error:  # URLError and time-outs are OSErrors
            if isinstance(error, HTTPError) and error.code in (404, 410):
                return "absent"
            if attempt == ATTEMPTS:
                raise FetchError(
                    f"{url} cannot be fetched ({error}): run this again to continue, or download "
                    "the files yourself and give their folder to training.data.dataset --data"
                ) from error
            time.sleep(2**attempt)
    if len(content) > LARGEST_BYTES or not content.startswith(b"MThd"):
        return "absent"  # a web page that says so, with status 200
    target.parent.mkdir(parents=True, exist_ok=True)
    partly = target.with_suffix(".partial")
    partly.write_bytes(content)
    partly.replace(target)
    return "fetched"


FETCH: dict[str, Callable[[Path], int]] = {
    "archive": fetch_archive,
    "chorales": fetch_chorales,
    "mutopia": fetch_mutopia,
    **{name: partial(fetch_scores, name) for name in COLLECTIONS},
}


QUICK = ("archive", "chorales", "mutopia")  # minutes; the others take hours


def fetch(out: Path, only: Iterable[str] = QUICK) -> None:
    """Fetches the named sources into ``out`` and says how many files each has.

    Raises:
        FetchError: a source cannot be fetched; those before it have been.
    """
    for name in only:
        if name not in FETCH:
            raise FetchError(f"there is no source {name!r}: choose from {', '.join(FETCH)}")
        print(f"{name}: {FETCH[name](out)} files")


def _names(text: str) -> list[str]:
    unknown = [name for name in text.split(",") if name not in FETCH]
    if unknown:
        raise ArgumentTypeError(f"no source {unknown[0]!r}: choose from {', '.join(FETCH)}")
    return text.split(",")


def main() -> None:
    parser = Parser("training.data.sources", "Fetch MIDI from public sources.")
    parser.add_argument("--out", type=options.new_folder, default="data")
    parser.add_argument(
        "--only",
        type=_names,
        default=",".join(QUICK),
        help=f"any of {','.join(FETCH)}; default: %(default)s, as the others take hours",
    )
    a = parser.parse_args()
    try:
        fetch(a.out, a.only)
    except (FetchError, OSError) as error:
        raise SystemExit(str(error)) from error
    print(f"next: python -m training.data.dataset --data {a.out}")


if __name__ == "__main__":
    main()
