"""Copies from S3 what people look at: a piece with its sound, and the site.

Depends on neither how a piece is made nor what is on the pages.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_aws.server import LocalAws

SITE = "site/"
CATALOGUE = "catalogue.json"
# The folders of a site, and what its other files are called.
FOLDERS = {"archive", "days", "midi", "roll", "sound"}
FILE = re.compile(r"(404|index)\.html|catalogue\.json|cover\.png|feed.*|(icon|script|style)-.*")


class SiteFolderError(RuntimeError):
    """The folder for the site holds something else; the message says so, for people."""


@dataclass(frozen=True)
class Copied:
    """Where a piece was copied to."""

    midi: Path
    mp3: Path


def copy_saved(aws: LocalAws, result: Mapping[str, Any], out: Path) -> Copied:
    """Copies MIDI, record and MP3 of the piece that an execution has made.

    `result` is the execution's output. The MIDI file is copied as the record names it.
    """
    s3, record = aws.client("s3"), result["record"]
    midi = out / Path(record["keys"]["archive"]).name
    versions = {"archive": {"VersionId": record["objects"]["archive"]["version"]}}
    out.mkdir(parents=True, exist_ok=True)
    for name in ("archive", "record"):
        key = record["keys"][name]
        got = s3.get_object(Bucket=result["bucket"], Key=key, **versions.get(name, {}))
        (out / Path(key).name).write_bytes(got["Body"].read())
    sound = s3.get_object(Bucket=result["bucket"], Key=result["published"]["sound"])
    midi.with_suffix(".mp3").write_bytes(sound["Body"].read())
    return Copied(midi, midi.with_suffix(".mp3"))


def check_site_folder(folder: Path) -> None:
    """Raises SiteFolderError if copying the site would delete something of the user's."""
    if not folder.exists() and not folder.is_symlink():
        return
    if folder.is_symlink() or not folder.is_dir():
        raise SiteFolderError(f"{folder} is not a folder: choose another --out")
    names = sorted(path.name for path in folder.iterdir())
    others = [name for name in names if name not in FOLDERS and not FILE.fullmatch(name)]
    if others:
        raise SiteFolderError(
            f"{folder} holds {others[0]}, which run.sh has not made: choose another --out"
        )
    if names and not _is_catalogue(folder / CATALOGUE):
        raise SiteFolderError(f"{folder} is not a site of run.sh: choose another --out")


def _is_catalogue(path: Path) -> bool:
    try:
        return set(json.loads(path.read_bytes())) == {"form", "days"}
    except (OSError, ValueError, TypeError):
        return False


def copy_site(aws: LocalAws, bucket: str, folder: Path) -> Path:
    """Copies the site and returns its home page. A site that is there is replaced as a whole."""
    check_site_folder(folder)
    s3 = aws.client("s3")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=SITE)
    keys = [found["Key"] for page in pages for found in page.get("Contents", [])]
    half = Path(tempfile.mkdtemp(prefix=".site.", dir=folder.parent))

    def copy(key: str) -> None:
        path = half / key.removeprefix(SITE)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(copy, keys))
    if folder.exists():
        shutil.rmtree(folder)
    half.chmod(0o755)  # a temporary folder is for its owner only
    half.rename(folder)
    return folder / "index.html"
