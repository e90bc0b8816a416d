"""Draws a MIDI file as a piano roll: time across, pitch up, a colour per instrument.

python training-notebook/piano_roll.py out/2026-11-22_sequence.mid site/piano-roll.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from symusic.core import ScoreSecond

LONGEST_S = 90.0  # more than this is too fine to see in one picture


def draw_piano_roll(score: ScoreSecond, axes: Axes, title: str = "") -> None:
    """One bar per note on ``axes``; louder notes are darker."""
    tracks = [track for track in score.tracks if len(track.notes)]
    colours = mpl.colormaps["tab10"]
    for index, track in enumerate(tracks):
        notes = track.notes.numpy()
        shown = notes["time"] < LONGEST_S
        axes.barh(
            notes["pitch"][shown],
            np.maximum(notes["duration"][shown] - 0.03, 0.03),
            left=notes["time"][shown],
            height=0.85,
            color=[
                (*colours(index % 10)[:3], 0.35 + 0.65 * velocity / 127)
                for velocity in notes["velocity"][shown]
            ],
            label=track.name or f"program {track.program}",
        )
    axes.set_xlabel("seconds")
    axes.set_ylabel("MIDI pitch")
    axes.set_yticks(range(24, 105, 12), [f"C{octave}" for octave in range(1, 8)])
    axes.grid(axis="y", alpha=0.3)
    axes.margins(x=0.01, y=0.05)
    axes.set_title(title, loc="left")
    if tracks:
        axes.legend(loc="upper right", ncols=min(4, len(tracks)), fontsize="small")


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw a MIDI file as a piano roll.")
    parser.add_argument("midi", type=Path)
    parser.add_argument("png", type=Path)
    parser.add_argument("--title", default="")
    arguments = parser.parse_args()
    figure = Figure(figsize=(12, 4), layout="constrained")
    draw_piano_roll(
        ScoreSecond.from_midi(arguments.midi.read_bytes()), figure.subplots(), arguments.title
    )
    figure.savefig(arguments.png, dpi=100)
    print(arguments.png)


if __name__ == "__main__":
    main()
