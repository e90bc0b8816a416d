"""What the sound of a piece follows from, and the tag that its MP3 begins with."""

from __future__ import annotations

import hashlib

from contract.marks import DIGITAL_SOURCE_TYPE, MADE_BY_A_MACHINE
from midi_save.publishing.bank import Bank
from midi_save.publishing.id3 import ALBUM, ARTIST, DATE, TITLE, id3_tag
from midi_save.publishing.making import Material, named
from midi_save.publishing.place import NAME
from midi_save.publishing.sound import render_mp3

RENDERING = 1  # to be raised when the same piece shall sound otherwise: all sounds are made again


class Sounds:
    """Renders pieces on the installation's sound bank."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank

    @property
    def made_with(self) -> str:
        """The bank and the version of the rendering: sounds of others are made again."""
        return f"{RENDERING}-{self._bank.sha256[:12]}"

    def name_of(self, material: Material) -> str:
        parts = (self.made_with.encode(), material.midi, self._tag(material))
        digest = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts))
        return named("sound", material.record, digest, "mp3")

    def render(self, material: Material) -> tuple[bytes, float]:
        """The MP3 and its length in seconds. Raises SoundError."""
        sound = render_mp3(material.midi, self._bank.path, self._tag(material))
        return sound.mp3, sound.duration_s

    @staticmethod
    def _tag(material: Material) -> bytes:
        record = material.record
        texts = {TITLE: material.title, ARTIST: NAME, ALBUM: NAME, DATE: record["date"]}
        own = {"model": str(record["model_id"]), "seed": str(record["seed"])}
        own |= {"digitalSourceType": DIGITAL_SOURCE_TYPE}
        return id3_tag(texts, own, comment=MADE_BY_A_MACHINE)
