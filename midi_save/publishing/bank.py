"""The installation's sound bank: the file that the pieces are played on, and what is said of it.

deploy.sh puts it into a layer (deploy/soundfont.py). Depends on neither how it is played nor on
pages.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from contract.errors import SoundError
from contract.sound_bank import BANK_FILE, FACTS, FACTS_FILE, is_sound_font

AGAIN = "deploy again: ./deploy.sh puts it there"


@dataclass(frozen=True)
class Bank:
    """A verified sound bank. The texts are for the page's colophon."""

    path: Path
    name: str
    author: str
    licence: str
    source: str
    sha256: str

    @classmethod
    def load(cls, folder: Path | None = None) -> Bank:
        """The bank in `folder`, by default that of the environment's SOUNDS_DIR.

        Raises SoundError, which names the file at fault.
        """
        folder = folder or Path(os.environ.get("SOUNDS_DIR", "/opt/sounds"))
        path, facts_path = folder / BANK_FILE, folder / FACTS_FILE
        try:
            facts = json.loads(facts_path.read_bytes())
            sound_font = path.read_bytes()
        except OSError as error:
            raise SoundError(
                f"{error.filename} cannot be read ({error.strerror}): {AGAIN}"
            ) from error
        except (ValueError, RecursionError) as error:
            raise SoundError(f"{facts_path} is not JSON ({error}): {AGAIN}") from error
        if not isinstance(facts, dict) or not all(isinstance(facts.get(n), str) for n in FACTS):
            raise SoundError(f"{facts_path} must have texts for {', '.join(FACTS)}: {AGAIN}")
        if not is_sound_font(sound_font):
            raise SoundError(f"{path} is no SoundFont: {AGAIN}")
        if hashlib.sha256(sound_font).hexdigest() != facts["sha256"]:
            raise SoundError(f"{path} is not the file that {FACTS_FILE} describes: {AGAIN}")
        return cls(path, **{name: facts[name] for name in FACTS})
