"""What people call the instruments that a piece can have, in run.sh's report and on the pages."""

from __future__ import annotations

# Names by General MIDI program, counted from 0: one for each family of midi_save/clean.py.
INSTRUMENTS = {
    0: "piano",
    6: "harpsichord",
    11: "vibraphone",
    19: "organ",
    24: "guitar",
    43: "contrabass",
    46: "harp",
    48: "strings",
    52: "choir",
    60: "horn",
    68: "oboe",
    73: "flute",
}
