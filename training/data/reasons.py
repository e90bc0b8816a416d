"""Why a file is left out of a data set, and what one can do about it.

A reason is a few words; for some of them details follow, after a colon. Depends on no file.
"""

from __future__ import annotations

MIN_NOTES, MAX_NOTES = 60, 100_000  # of a piece, after cleaning
MIN_SECONDS, MAX_SECONDS = 12.0, 1500.0

UNREADABLE = "unreadable"
COPY = "copy of another file"
ABSENT = "named in a manifest, but not there"
RESERVED = "reserved for testing"
HIDDEN = "hidden"
PACKED = "packed"
UNNAMED = "MIDI without a suffix of MIDI"
TOO_FEW, TOO_MANY = "too few notes", "too many notes"
OFF_THE_GRID = "off the grid"
LENGTH = "too short or too long"
MANIFEST = "manifest"  # a manifest says that its conversion went wrong

REMEDIES = {
    UNREADABLE: "make it a MIDI file that you may read: export it again, or change its permissions",
    COPY: "nothing: one of them is enough",
    ABSENT: "correct the name in that line; it is relative to the manifest",
    RESERVED: "nothing: the released model is measured on it",
    HIDDEN: "if it is music, give it a name without a dot in front",
    PACKED: "unpack it into the folder",
    UNNAMED: "if it is music, give it a name that ends in .mid",
    TOO_FEW: f"nothing: it needs {MIN_NOTES} notes, without drums and unpitched sounds",
    TOO_MANY: f"divide it: {MAX_NOTES:,} notes are the limit",
    OFF_THE_GRID: "quantize it: it was played, and its notes do not follow its beats",
    LENGTH: f"divide it, or leave it: {MIN_SECONDS:g} s to {MAX_SECONDS / 60:g} min are usable",
    MANIFEST: "correct its row in the manifest, if the row is wrong",
}
DETAILED = (UNREADABLE, COPY, ABSENT)  # their details differ from file to file


def kind_of(why: str) -> tuple[str, str]:
    """The reason as it is counted, and its details, which may be empty."""
    kind, _, details = why.partition(": ")
    return (kind, details) if kind in DETAILED else (why, "")


def remedy_for(why: str) -> str:
    """What one can do about a file that was left out, in words."""
    return REMEDIES[why.partition(": ")[0]]
