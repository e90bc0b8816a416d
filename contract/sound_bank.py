"""The sound bank's folder: what deploy/ puts into the layer and midi_save's publishing reads.

Depends on neither what a SoundFont holds nor how it is played.
"""

from __future__ import annotations

BANK_FILE, FACTS_FILE = "bank.sf2", "bank.json"
# The fields of bank.json, all of them texts: what the bank is called, who made it, under which
# licence it is, where it is from; and the sha256 (hex) of the file beside it.
FACTS = ("name", "author", "licence", "source", "sha256")


def is_sound_font(beginning: bytes) -> bool:
    """Whether a file that begins so says that it is a SoundFont."""
    return beginning[:4] == b"RIFF" and beginning[8:12] == b"sfbk"
