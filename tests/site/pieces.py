"""Pieces, entries and sounds for the tests of the site."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import mido

from midi_save.publishing.entry import Entry
from midi_save.publishing.place import Model, Site, SoundBank

TEMPLATES = Path(__file__).parents[2] / "site"
ADDRESS = "https://d111.cloudfront.net"
BANK = SoundBank("Sines", "the tests", "CC0", "tests/site/pieces.py")
SITE = Site(ADDRESS, BANK, Model(parameters=1_911_360, pieces=11_308))
ON_DISK = Site(None, BANK, SITE.model)

# (program, start in quarters, length in quarters, pitch, velocity)
Notes = Sequence[tuple[int, float, float, int, int]]
# A theme in two instruments, whose first bar returns: 16 quarters, eight seconds at 120.
THEME: Notes = (
    *((73, start, 1, pitch, 96) for start, pitch in enumerate((67, 69, 71, 72) * 4)),
    *((48, 4 * bar, 4, pitch, 66) for bar in range(4) for pitch in (48, 55)),
)
THEME_FORM = (("A", 1), ("B", 1), ("A", 1), ("C", 1))


def midi_of(notes: Notes = THEME, tempo: float = 120, names: Sequence[str] = ()) -> bytes:
    """A MIDI file with a track for each program, as midi_save writes it."""
    file = mido.MidiFile(ticks_per_beat=48)
    title = mido.MidiTrack()
    title.append(mido.MetaMessage("time_signature", numerator=4, denominator=4))
    title.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tempo)))
    file.tracks.append(title)
    for channel, program in enumerate(dict.fromkeys(note[0] for note in notes)):
        track = mido.MidiTrack()
        if names:
            track.append(mido.MetaMessage("track_name", name=names[channel]))
        channel += channel >= 9  # the tenth is for drums
        track.append(mido.Message("program_change", channel=channel % 16, program=program))
        events: list[tuple[int, int, str, int, int]] = []
        for _, start, length, pitch, velocity in (note for note in notes if note[0] == program):
            begin, end = round(48 * start), round(48 * (start + length))
            events += [(begin, 1, "note_on", pitch, velocity), (end, 0, "note_off", pitch, 0)]
        now = 0
        for tick, _, kind, pitch, velocity in sorted(events):
            facts = {"channel": channel % 16, "note": pitch, "velocity": velocity}
            track.append(mido.Message(kind, time=tick - now, **facts))
            now = tick
        file.tracks.append(track)
    out = io.BytesIO()
    file.save(file=out)
    return out.getvalue()


def entry(number: int = 0, **changes: Any) -> Entry:
    """The entry of the day so many days after 1 November 2026."""
    day = date(2026, 11, 1) + timedelta(days=number)
    facts: dict[str, Any] = {
        "date": day.isoformat(),
        "title": "Chorale in G minor",
        "style": "chorale",
        "key": "G minor",
        "metre": "4/4",
        "tempo": 120.0,
        "duration_s": 8.0,
        "notes": 24,
        "instruments": ("flute", "strings"),
        "form": "A B A' C",
        "seed": 2584072475,
        "model_id": "f16b2ae3bc767782bcd6bcfff36bf4afee7a4a33f1508148cd2f9cdb6db38368",
        "continued_from": (day - timedelta(days=1)).isoformat(),
        "midi": f"midi/{day}-0123456789ab.mid",
        "sound": f"sound/{day}-0123456789ab.mp3",
        "picture": f"roll/{day}-0123456789ab.png",
        "sound_bytes": 812_000,
        "sound_s": 8.5,
    }
    return Entry(**{**facts, **changes})


def entries(count: int, **changes: Any) -> list[Entry]:
    """So many days, the oldest first, of three styles in turn."""
    styles = ("chorale", "folk", "baroque")
    return [entry(number, **{"style": styles[number % 3], **changes}) for number in range(count)]
