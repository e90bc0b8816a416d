"""Reads the bytes of a MIDI file into a cleaned score, or raises an error with the reason.

Prompts, data sets, evaluation and the notebook all read with this module, so that a file is the
same music for all of them. Depends on neither the file system nor tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from symusic.core import NoteTickList, ScoreTick

from midi_save.clean import clean_score, known_metre, written_as
from midi_save.midi_file import METRE_PASSED_OVER, UnreadableMidiError, read_midi

GRIDS = (12, 8)  # of a beat: 12 for sixteenths and triplet eighths, 8 for thirty-seconds
MOST_BEATS = 20_000  # quarter notes: over an hour of any music; more is a damaged time stamp
NEAR = 1 / 96  # of a beat: an onset that is this near to the grid is on it
ON_GRID_SHARE = 0.8  # of the onsets; more are on the grid if music is notated rather than played
# Parts into which a beat is divided -> weight of an onset on that grid, to find the phase.
STRONG = {1: 1.0, 2: 0.5, 4: 0.25, 3: 0.25}
# Mean weight of an onset. Notes on every twelfth of a beat have more than WEAK. If notes on the
# grid have less, and STRONGER times as much when moved, they lie a step or two off the beats.
WEAK, STRONGER = 0.3, 3


@dataclass(frozen=True)
class Reading:
    """What was read.

    raw: the score in the file, repaired. score: cleaned, at 12 ticks a quarter; None if no note is
    left. on_grid: share of the raw onsets that are near the grid. repairs: what was repaired, in
    words.
    """

    raw: ScoreTick
    score: ScoreTick | None
    on_grid: float
    repairs: tuple[str, ...]


def read_score(midi: bytes) -> Reading:
    """The music in a file.

    Raises:
        UnreadableMidiError: it cannot be read; the message says why in a few words.
    """
    raw, repairs = read_midi(midi)
    onsets = np.concatenate([t.notes.numpy()["time"] for t in raw.tracks] or [np.zeros(1)])
    ticks = raw.ticks_per_quarter
    share = on_grid_share(onsets, ticks)
    # All notes may lie off the beats by the same time: move them onto the beats if that puts enough
    # onsets on the grid.
    weight = _weight(onsets / ticks)
    if share < ON_GRID_SHARE or weight < WEAK:
        shift = phase_of(onsets, ticks)
        shifted_share = on_grid_share(np.maximum(onsets - shift, 0), ticks)
        stronger = _weight((onsets - shift) / ticks) >= STRONGER * weight
        if shifted_share >= ON_GRID_SHARE and (share < ON_GRID_SHARE or stronger):
            share = shifted_share
            repairs = (*repairs, "all notes were moved by the same time, onto the beats")
            _move(raw, shift)
    repairs = (*repairs, *_of_metres(raw))
    try:
        score = clean_score(raw)
    except (ValueError, OverflowError) as error:  # OverflowError: symusic's, beyond 32 bits
        raise UnreadableMidiError(str(error)[:80]) from error
    return Reading(raw, score, share, tuple(sorted(set(repairs))))


def _of_metres(raw: ScoreTick) -> set[str]:
    """What cleaning does to metres that the tokenizer does not have, in words."""
    repairs = set()
    for metre in {(s.numerator, s.denominator) for s in raw.time_signatures}:
        if not written_as(*metre):
            repairs.add(METRE_PASSED_OVER)
        elif known_metre(*metre) is None:
            repairs.add("a metre was written in bars of others, as 7/8 in 4/8 and 3/8")
    return repairs


def on_grid_share(onsets: NDArray[np.generic], ticks_per_quarter: int) -> float:
    """Share of onsets near a 1/12 or 1/8 of a beat: within NEAR, or half a tick if that is more."""
    beats = np.asarray(onsets, np.float64) / ticks_per_quarter
    near = max(NEAR, 0.5 / ticks_per_quarter) * (1 + 1e-9)
    return float(np.mean(np.any([_near(beats, parts, near) for parts in GRIDS], axis=0)))


def _near(beats: NDArray[np.float64], parts: int, near: float) -> NDArray[np.bool_]:
    """Which of the times are near a multiple of 1/parts of a beat."""
    off: NDArray[np.float64] = np.abs(beats * parts - np.round(beats * parts)) / parts
    return off <= near


def phase_of(onsets: NDArray[np.generic], ticks_per_quarter: int) -> int:
    """The ticks by which all onsets are late (negative: early), at most half a beat.

    Within a grid step, the shift is the circular mean of the onsets. Of the shifts that differ from
    it by whole steps, the result is the one that puts most onsets on strong parts of the beat, as
    STRONG weighs them; of equal ones, the smallest.
    """
    beats = np.asarray(onsets, np.float64) / ticks_per_quarter
    best = (0.0, 0.0)
    for parts in GRIDS:
        # An onset is a point on a circle, once around per grid step; the mean's angle is the shift.
        mean = np.exp(2j * np.pi * parts * beats).mean()
        fraction = float(np.angle(mean)) / (2 * np.pi * parts)
        for step in range(-parts // 2, parts // 2 + 1):
            shift = fraction + step / parts
            worth = _weight(beats - shift) - 0.01 * abs(shift)
            best = max(best, (worth, -shift), key=lambda pair: pair[0])
    return round(-best[1] * ticks_per_quarter)


def _weight(beats: NDArray[np.float64]) -> float:
    """Mean weight of onsets: how much they lie on strong parts of the beat."""
    return sum(weight * float(_near(beats, of, NEAR).mean()) for of, weight in STRONG.items())


def _move(score: ScoreTick, shift: int) -> None:
    """Move every note earlier by ``shift`` ticks, but none before tick 0.

    Metres move along, but for those that are nearer to an eighth note where they are.
    """
    eighth = score.ticks_per_quarter / 2
    for metre in score.time_signatures:
        places = (metre.time, max(metre.time - shift, 0))
        metre.time = min(places, key=lambda tick: abs(tick - eighth * round(tick / eighth)))
    for track in score.tracks:
        columns = track.notes.numpy()
        time = np.maximum(columns["time"] - shift, 0).astype(np.int32)
        others = (columns[name] for name in ("duration", "pitch", "velocity"))
        track.notes = NoteTickList.from_numpy(time, *others)
