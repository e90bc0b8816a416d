"""Makes a day's entry and its files (MIDI, sound, picture) from its record and its MIDI file.

Depends on neither S3 nor what pages look like.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from contract.checks import (
    require_integer,
    require_integers,
    require_list,
    require_object,
    require_text,
    require_text_or_none,
)
from contract.errors import PieceError, TokensError
from contract.records import is_date
from midi_save.publishing.entry import Entry
from midi_save.publishing.files import FOR_EVER, SiteFile
from midi_save.publishing.picture import roll_png
from midi_save.publishing.roll import Sections, roll_svg
from midi_save.publishing.score import Score, read_score
from music.features import TICKS_PER_QUARTER, Music
from music.harmony import key_of

MAJOR_KEYS = ("C", "D♭", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
MINOR_KEYS = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "G♯", "A", "B♭", "B")
# What a piece of a style is called, where it is not "Romantic piece".
NAMES = {
    "chorale": "Chorale",
    "hymn": "Hymn",
    "folk": "Folk tune",
    "oratorio": "Oratorio movement",
    "other": "Piece",
}
TICK_S = 0.01  # the resolution at which the key is sought


@dataclass(frozen=True)
class Material:
    """A committed day: its record, the MIDI file that the record names, and its notes."""

    record: Mapping[str, Any]
    midi: bytes
    score: Score

    @property
    def sections(self) -> Sections:
        """Letter and number of bars of each section; none for a piece without a plan."""
        form = self.record.get("form") or {}
        return tuple(zip(form.get("letters", ()), form.get("bars", ()), strict=True))

    @cached_property
    def key(self) -> str:
        """As in "G minor"."""
        return key_name(self.score)

    @property
    def title(self) -> str:
        """As in "Chorale in G minor"."""
        style = str(self.record.get("style") or "other")
        return f"{NAMES.get(style, f'{style.capitalize()} piece')} in {self.key}"

    @property
    def roll(self) -> str:
        """The piano roll as an SVG."""
        return roll_svg(self.score, self.sections)


def material_of(record: Mapping[str, Any], midi: bytes, date: str) -> Material:
    """The day's material.

    Raises TokensError if the record is not that of `date`, or a field that is published is not as
    it must be; PieceError if the MIDI file cannot be read.
    """
    where = f"the record of {date}"
    if record.get("date") != date or not is_date(date):
        raise TokensError(f"{where} says that it is of {str(record.get('date'))[:40]!a}")
    require_integer(record.get("seed"), f"{where}: seed")
    require_text(record.get("model_id"), f"{where}: model_id")
    require_text_or_none(record.get("style"), f"{where}: style")
    require_text_or_none(record.get("continued_from"), f"{where}: continued_from")
    if (form := record.get("form")) is not None:
        fields = require_object(form, f"{where}: form")
        letters = require_list(fields.get("letters"), f"{where}: form.letters")
        for letter in letters:
            require_text(letter, f"{where}: form.letters")
        if len(require_integers(fields.get("bars"), f"{where}: form.bars")) != len(letters):
            raise TokensError(f"{where}: form.bars must have a number for each letter")
    try:
        return Material(record, midi, read_score(midi))
    except (ValueError, OSError, EOFError, LookupError) as error:
        raise PieceError(f"the MIDI file of {date} cannot be read: {error}") from error


def entry_of(
    material: Material, picture: str, sound: str, sound_s: float, sound_bytes: int
) -> Entry:
    """The entry, once the sound is there. An older record may say less: then the MIDI file does."""
    record, score = material.record, material.score
    letters = [letter for letter, _ in material.sections]
    return Entry(
        date=record["date"],
        title=material.title,
        style=str(record.get("style") or "other"),
        key=material.key,
        metre=score.metre,
        tempo=score.tempo,
        duration_s=round(score.duration_s, 2),
        notes=score.notes,
        instruments=tuple(part.name for part in score.parts),
        form=" ".join(letters) if letters else None,
        seed=int(record["seed"]),
        model_id=str(record["model_id"]),
        continued_from=_source(record.get("continued_from")),
        midi=midi_name(material),
        sound=sound,
        picture=picture,
        sound_bytes=sound_bytes,
        sound_s=round(sound_s, 2),
    )


def key_name(score: Score) -> str:
    """As in "G minor"."""
    start, end, pitch = (
        np.concatenate([getattr(part, name) for part in score.parts])
        for name in ("start_s", "end_s", "pitch")
    )
    onset = np.round(start / TICK_S).astype(np.int64)
    duration = np.maximum(np.round(end / TICK_S).astype(np.int64) - onset, 1)
    ticks = int((onset + duration).max())
    qpm = 60 / (TICK_S * TICKS_PER_QUARTER)
    music = Music(onset, duration, pitch, np.zeros_like(pitch), ticks, qpm, ((0, 4, 4),), 0.0)
    mode, tonic = divmod(key_of(music), 12)
    return f"{(MAJOR_KEYS, MINOR_KEYS)[mode][tonic]} {('major', 'minor')[mode]}"


def midi_name(material: Material) -> str:
    return named("midi", material.record, hashlib.sha256(material.midi), "mid")


def picture_of(material: Material) -> tuple[str, SiteFile]:
    """The piano roll as a PNG, and its name."""
    png = roll_png(material.score)
    name = named("roll", material.record, hashlib.sha256(png), "png")
    return name, SiteFile(png, "image/png", FOR_EVER)


def named(folder: str, record: Mapping[str, Any], digest: Any, suffix: str) -> str:
    """A name that holds a hash of what the file follows from: it never means another file."""
    number = f"-{record['piece']:04}" if record.get("piece") is not None else ""
    return f"{folder}/{record['date']}{number}-{digest.hexdigest()[:12]}.{suffix}"


def _source(continued_from: object) -> str | None:
    """A date as it is; of a prompt's place in S3 its name only: the rest names the account."""
    return str(continued_from).rpartition("/")[2] if continued_from else None
