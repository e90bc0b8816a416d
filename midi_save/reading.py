"""The one reader of music: bytes of a MIDI file in, a cleaned score or one reason out.

Prompts, data sets, evaluation and the notebook read with it, so that a file is the same music
wherever it enters. Knows the steps from bytes to a cleaned score; neither files nor tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from symusic.core import NoteTickList, ScoreTick

from midi_save.clean import clean_score
from midi_save.midi_file import UnreadableMidiError, read_midi

GRIDS = (12, 8)  # of a beat: sixteenths and triplet eighths; thirty-seconds
NEAR = 1 / 96  # of a beat: what is as near is on the grid
ON_GRID_SHARE = 0.8  # of the onsets, in music that is written rather than played
# Part of a beat: what an onset there is worth, when the phase is looked for.
STRONG = {1: 1.0, 2: 0.5, 4: 0.25, 3: 0.25}


@dataclass(frozen=True)
class Reading:
    """What was read.

    raw: as it is in the file, mended. score: cleaned, at 12 ticks a beat; None if no note is left.
    on_grid: share of the raw onsets that are near the grid. repairs: what was mended, in words.
    """

    raw: ScoreTick
    score: ScoreTick | None
    on_grid: float
    repairs: tuple[str, ...]


def read_score(midi: bytes) -> Reading:
    """The music in a file.

    Raises:
        UnreadableMidiError: why it cannot be read, in a few words.
    """
    raw, repairs = read_midi(midi)
    onsets = np.concatenate([t.notes.numpy()["time"] for t in raw.tracks] or [np.zeros(1)])
    ticks = raw.ticks_per_quarter
    share = on_grid_share(onsets, ticks)
    if share < ON_GRID_SHARE:
        shift = phase_of(onsets, ticks)
        shifted_share = on_grid_share(np.maximum(onsets - shift, 0), ticks)
        if shifted_share >= ON_GRID_SHARE:
            share = shifted_share
            repairs = (*repairs, "all notes were moved by the same time, onto the beats")
            _move(raw, shift)
    try:
        score = clean_score(raw)
    except (ValueError, OverflowError) as error:  # OverflowError: symusic's, beyond 32 bits
        raise UnreadableMidiError(str(error)[:80]) from error
    return Reading(raw, score, share, repairs)


def on_grid_share(onsets: NDArray[np.generic], ticks_per_quarter: int) -> float:
    """Share of onsets near the 1/12 or the 1/8 of a beat; at least half a tick is near."""
    beats = np.asarray(onsets, np.float64) / ticks_per_quarter
    near = max(NEAR, 0.5 / ticks_per_quarter) * (1 + 1e-9)
    return float(np.mean(np.any([_near(beats, parts, near) for parts in GRIDS], axis=0)))


def _near(beats: NDArray[np.float64], parts: int, near: float) -> NDArray[np.bool_]:
    """Which of the times are near a multiple of 1/parts of a beat."""
    off: NDArray[np.float64] = np.abs(beats * parts - np.round(beats * parts)) / parts
    return off <= near


def phase_of(onsets: NDArray[np.generic], ticks_per_quarter: int) -> int:
    """By how many ticks all onsets are late, at most half a beat early or late.

    The fraction of a grid step is the onsets' circular mean. Of the shifts that differ by whole
    steps the one is taken that puts most onsets on beats and halves, and of equals the smallest.
    """
    beats = np.asarray(onsets, np.float64) / ticks_per_quarter
    best = (0.0, 0.0)
    for parts in GRIDS:
        mean = np.exp(2j * np.pi * parts * beats).mean()
        fraction = float(np.angle(mean)) / (2 * np.pi * parts)
        for step in range(-parts // 2, parts // 2 + 1):
            shift = fraction + step / parts
            worth = sum(
                value * float(_near(beats - shift, of, NEAR).mean()) for of, value in STRONG.items()
            )
            best = max(best, (worth - 0.01 * abs(shift), -shift), key=lambda pair: pair[0])
    return round(-best[1] * ticks_per_quarter)


def _move(score: ScoreTick, shift: int) -> None:
    """Every note earlier by ``shift`` ticks, none before the beginning."""
    for track in score.tracks:
        columns = track.notes.numpy()
        time = np.maximum(columns["time"] - shift, 0).astype(np.int32)
        others = (columns[name] for name in ("duration", "pitch", "velocity"))
        track.notes = NoteTickList.from_numpy(time, *others)
