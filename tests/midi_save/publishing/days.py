"""Days that were saved, their publication, and what is in the bucket afterwards."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from contract.objects import Bucket
from midi_save.publishing.making import Material, named
from midi_save.publishing.pages import Pages
from midi_save.publishing.publish import Published, Publisher
from midi_save.storage import PieceStore
from tests.site.pieces import SITE, TEMPLATES, THEME, midi_of
from tests.versioned_s3 import VersionedS3

PAGES = Pages(TEMPLATES, SITE)


FIRST = date(2026, 11, 1)


class Sines:
    """Stands for the rendering of sound, which has its own tests; counts what it renders."""

    def __init__(self, made_with: str = "sines") -> None:
        self.made_with = made_with
        self.rendered: list[str] = []

    def name_of(self, material: Material) -> str:
        import hashlib

        return named("sound", material.record, hashlib.sha256(material.midi), "mp3")

    def render(self, material: Material) -> tuple[bytes, float]:
        self.rendered.append(material.record["date"])
        return b"ID3 " + material.midi[:20], material.score.duration_s + 2


def day(number: int) -> str:
    return str(FIRST + timedelta(days=number))


def saved(s3: Any, date: str, *, seed: int = 1, piece: int | None = None, **more: Any) -> None:
    """Save a day's piece as the chain does: the theme, at the height of its seed."""
    midi = midi_of([(*note[:3], note[3] + seed % 12, note[4]) for note in THEME])
    origin = {"model_id": "ab" * 32, "date": date, "style": "folk", "seed": seed}
    record = {**origin, "duration_s": 8.0, "notes": 24, "continued_from": None, "form": None}
    if piece is not None:
        record |= {"piece": piece, "pieces": 9}
    PieceStore("music", s3).save(midi, {**origin, "ids": [1]}, {**record, **more}, date)


def published(
    s3: Any,
    urgent: str | None = None,
    *,
    sounds: Sines | None = None,
    pages: Pages = PAGES,
    left_s: Callable[[], float] = lambda: 300.0,
    rebuild: bool = False,
    trial: bool = False,
) -> Published:
    publisher = Publisher(Bucket("music", s3), pages, sounds or Sines(), left_s, trial=trial)
    return publisher.publish(urgent, rebuild=rebuild)


def site(s3: VersionedS3) -> dict[str, bytes]:
    return {
        key.removeprefix("site/"): versions[-1]
        for key, versions in s3.objects.items()
        if key.startswith("site/") and versions
    }


def text(s3: VersionedS3, name: str) -> str:
    return site(s3)[name].decode()


def without_catalogue(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: body for name, body in files.items() if name != "catalogue.json"}
