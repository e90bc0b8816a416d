"""Turns MIDI into sound for the notebook's player, where a synthesizer is installed.

The project ships no sounds: this module looks for FluidSynth and a General MIDI soundfont on the
machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SOUNDFONT_FOLDERS = (
    "/usr/share/sounds/sf2",
    "/usr/share/sounds/sf3",
    "/usr/share/soundfonts",
    "/usr/local/share/soundfonts",
    "/opt/homebrew/share/soundfonts",
)
HOW_TO_LISTEN = (
    "to hear pieces here, install FluidSynth and a soundfont: on Debian, Ubuntu and Colab "
    "`apt-get install fluidsynth fluid-soundfont-gm`, on a Mac `brew install fluid-synth` and "
    "SOUNDFONT=FILE.sf2 in the environment. Any MIDI player plays the files as well"
)
TIMEOUT_S = 120


def soundfont() -> Path | None:
    """The file that ``SOUNDFONT`` names, else the largest that is installed."""
    if named := os.environ.get("SOUNDFONT"):
        return Path(named) if Path(named).is_file() else None
    found = [p for f in SOUNDFONT_FOLDERS for s in ("*.sf2", "*.sf3") for p in Path(f).glob(s)]
    return max(found, key=lambda path: path.stat().st_size, default=None)


def render(midi: Path, rate: int = 22_050) -> Path | None:
    """A .wav beside ``midi``; None where nothing here can make one."""
    bank, program = soundfont(), shutil.which("fluidsynth")
    if bank is None or program is None:
        return None
    wav = midi.with_suffix(".wav")
    command = [program, "-ni", "-q", "-r", str(rate), "-F", str(wav), str(bank), str(midi)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        return None
    return wav if wav.exists() else None
