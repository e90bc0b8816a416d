"""Copies from S3 what people look at: a piece with its sound, and the site.

Depends on neither how a piece is made nor what is on the pages.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_aws.server import LocalAws
from local_run.output import check_site_folder, keep

SITE = "site/"
BUILD = Path(__file__).resolve().parents[1] / "build"


@dataclass(frozen=True)
class Copied:
    """Where a piece was copied to."""

    midi: Path
    mp3: Path


def copy_saved(aws: LocalAws, result: Mapping[str, Any], out: Path) -> Copied:
    """Copies MIDI, record and MP3 of the piece that an execution has made.

    `result` is the execution's output. The MIDI file is copied as the record names it. Raises
    KeptElsewhereError if `out` cannot be written.
    """
    s3, record = aws.client("s3"), result["record"]
    midi = out / Path(record["keys"]["archive"]).name
    versions = {"archive": {"VersionId": record["objects"]["archive"]["version"]}}
    files = {}
    for name in ("archive", "record"):
        key = record["keys"][name]
        got = s3.get_object(Bucket=result["bucket"], Key=key, **versions.get(name, {}))
        files[Path(key).name] = got["Body"].read()
    sound = s3.get_object(Bucket=result["bucket"], Key=result["published"]["sound"])
    files[midi.with_suffix(".mp3").name] = sound["Body"].read()
    keep(files, out, [Path(tempfile.gettempdir()), BUILD])
    return Copied(midi, midi.with_suffix(".mp3"))


def copy_site(aws: LocalAws, bucket: str, folder: Path) -> Path:
    """Copies the site and returns its home page. A site that is there is replaced as a whole."""
    check_site_folder(folder)
    s3 = aws.client("s3")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=SITE)
    keys = [found["Key"] for page in pages for found in page.get("Contents", [])]
    # The new site, and in the end the old one: whatever happens, what is in here is removed.
    with tempfile.TemporaryDirectory(prefix=".site.", dir=folder.parent) as scratch:
        new, old = Path(scratch) / "new", Path(scratch) / "old"
        new.mkdir()

        def copy(key: str) -> None:
            path = new / key.removeprefix(SITE)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read())

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(copy, keys))
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    return folder / "index.html"
