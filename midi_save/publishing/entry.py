"""A day's piece as its page, the archive and the feeds tell it.

Everything in an entry follows from the record and the MIDI file that the record names, so an entry
can always be made again. Depends on neither S3 nor how pages look.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from midi_save.publishing.words import plain


@dataclass(frozen=True)
class Entry:
    """What the site knows of a day's piece. Names of files are relative to the site's root.

    Attributes:
        date: as in "2026-11-27"; the page is days/DATE.html.
        title: the piece's name, as in "Chorale in G minor".
        style: one of the bundle's.
        key: as in "G minor".
        metre: as in "3/4".
        tempo: in quarter notes a minute.
        duration_s: from the start to the end of the last note.
        notes: how many there are.
        instruments: their names, as people read them.
        form: the sections' letters, as in "A B A"; None for a piece without a plan.
        seed, model_id: what the piece was made with.
        continued_from: the date whose motif it takes up, or the name of the MIDI file that it
            continues; None for a piece that takes up nothing.
        midi, sound, picture: the MIDI file, the MP3 and the piano roll as a PNG, under addresses
            that hold their hash.
        sound_bytes: size of the MP3.
        sound_s: its length, which includes the last chord's fading.
    """

    date: str
    title: str
    style: str
    key: str
    metre: str
    tempo: float
    duration_s: float
    notes: int
    instruments: tuple[str, ...]
    form: str | None
    seed: int
    model_id: str
    continued_from: str | None
    midi: str
    sound: str
    picture: str
    sound_bytes: int
    sound_s: float


def with_plain_text(entry: Entry) -> Entry:
    """The entry with names that HTML, XML and UTF-8 can hold."""
    texts: dict[str, Any] = {
        field.name: plain(value)
        for field in fields(entry)
        if isinstance(value := getattr(entry, field.name), str)
    }
    return replace(entry, **texts, instruments=tuple(map(plain, entry.instruments)))
