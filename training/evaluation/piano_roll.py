"""Draws a MIDI file as a piano roll: time across, pitch up, a colour per instrument.

    python -m training.evaluation.piano_roll out/2026-11-22_sequence.mid piano-roll.png

With ``--record out/2026-11-22_sequence.json`` the sections of the piece's form are drawn above it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from symusic.core import ScoreSecond

from midi_save.midi_file import read_midi
from training import options
from training.data.names import escape_output, shown
from training.options import Parser

LONGEST_S = 90.0  # more than this is too fine to see in one picture
STRIP = 0.08  # height of the sections above the roll, as a share of the roll's

Section = tuple[float, float, str]  # start and end in seconds, letter


def sections_of(record: Mapping[str, Any]) -> list[Section]:
    """The sections of the form that a piece's record names; none where it names no form.

    record["form"]: letters, and how many bars each lasts. record["request"]: tempo in quarter notes
    a minute, metre as "3/4". Raises ValueError for a record without one of these.
    """
    form = record.get("form")
    if not form:
        return []
    try:
        numerator, denominator = map(int, str(record["request"]["metre"]).split("/"))
        # seconds of a quarter note times quarter notes of a bar
        bar_s = 60 / float(record["request"]["tempo"]) * 4 * numerator / denominator
        bounds = [bar_s * bars for bars in accumulate(form["bars"], initial=0)]
        return list(zip(bounds[:-1], bounds[1:], form["letters"], strict=True))
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ValueError(
            f"the record's form cannot be drawn ({error!r}): it needs form.letters, form.bars, "
            "request.tempo and request.metre"
        ) from error


def draw_sections(sections: Sequence[Section], axes: Axes) -> None:
    """Coloured spans with their letters above the roll; A and A' have the same colour."""
    colours = mpl.colormaps["Pastel1"]
    kinds = list(dict.fromkeys(letter.rstrip("'") for *_, letter in sections))
    across = axes.get_xaxis_transform()  # x in seconds; y 0 and 1: the roll's edges
    for start, end, letter in sections:
        stop = min(end, LONGEST_S)
        if start >= stop:
            continue
        colour = colours(kinds.index(letter.rstrip("'")) % 9)
        axes.axvspan(start, stop, color=colour, alpha=0.25, lw=0, zorder=0)
        axes.broken_barh(
            [(start, stop - start)],
            (1, STRIP),
            transform=across,
            facecolor=colour,
            edgecolor="white",
            clip_on=False,
        )
        middle = (start + stop) / 2, 1 + STRIP / 2
        axes.text(*middle, letter, transform=across, ha="center", va="center", clip_on=False)


def draw_piano_roll(
    score: ScoreSecond, axes: Axes, title: str = "", form: Sequence[Section] = ()
) -> None:
    """Draws a bar for each note on ``axes``, darker if louder; above, the sections of ``form``.

    Drums are left out: their keys are no pitches.
    """
    tracks = [track for track in score.tracks if len(track.notes) and not track.is_drum]
    colours = mpl.colormaps["tab10"]
    for index, track in enumerate(tracks):
        notes = track.notes.numpy()
        early = notes["time"] < LONGEST_S
        axes.barh(
            notes["pitch"][early],
            np.maximum(notes["duration"][early] - 0.03, 0.03),
            left=notes["time"][early],
            height=0.85,
            color=[
                (*colours(index % 10)[:3], 0.35 + 0.65 * velocity / 127)
                for velocity in notes["velocity"][early]
            ],
            label=f"program {track.program}",
        )
    axes.set_xlabel("seconds")
    axes.set_ylabel("MIDI pitch")
    axes.set_yticks(range(24, 105, 12), [f"C{octave}" for octave in range(1, 8)])
    axes.grid(axis="y", alpha=0.3)
    axes.margins(x=0.01, y=0.05)
    axes.set_title(shown(title), loc="left", pad=28 if form else None, parse_math=False)
    draw_sections(form, axes)
    if tracks:
        axes.legend(loc="upper right", ncols=min(4, len(tracks)), fontsize="small")


def main() -> None:
    parser = Parser("training.evaluation.piano_roll", "Draw a MIDI file as a piano roll.")
    parser.add_argument("midi", type=options.file())
    parser.add_argument("png", type=options.new_file(".png", ".svg", ".pdf"))
    parser.add_argument("--title", default="")
    parser.add_argument("--record", type=options.file(), help="the piece's .json, to show its form")
    arguments = parser.parse_args()
    escape_output()
    score = parser.read("midi", arguments.midi, _score, "a MIDI file")
    sections: list[Section] = []
    if arguments.record:
        what = "the record of a piece"
        sections = parser.read("--record", arguments.record, _sections_in, what)
    figure = Figure(figsize=(12, 4), layout="constrained")
    draw_piano_roll(score, figure.subplots(), arguments.title, sections)
    figure.savefig(arguments.png, dpi=100)
    print(shown(arguments.png))


def _score(midi: Path) -> ScoreSecond:
    score, _ = read_midi(midi.read_bytes())
    timed: Any = score.to("second")  # symusic types this by its argument's class only
    return cast(ScoreSecond, timed)


def _sections_in(record: Path) -> list[Section]:
    return sections_of(json.loads(record.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
