"""Gives each note a velocity, since the music is composed without dynamics.

The tokens hold no velocities (they would cost a quarter more tokens). The rules are deliberately
few: accents follow the metre, and the top note of a chord stands out. They use onsets, bars and
pitches. Nothing is random: the same notes always get the same velocities. Depends on neither
phrases nor styles.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# MIDI velocities. 72 is about mezzo-forte in General MIDI banks. The steps are small: in
# recordings of notated music, metrical accents are a few velocity units, not dozens.
OFF_BEAT = 66
BEAT = 72
DOWNBEAT = 80
# The highest note of an onset is usually the melody; players bring it out by about this much.
TOP_VOICE = 8
# The melody is louder by this much per octave above middle C, and softer by as much below it.
TOP_VOICE_PER_OCTAVE = 4
CONTOUR_CENTRE_PITCH = 60
QUIETEST, LOUDEST = 50, 104

IntArray = NDArray[np.int64]


def velocities(
    onset: IntArray, pitch: IntArray, bar_start: IntArray, beat_ticks: IntArray
) -> IntArray:
    """Velocities, shape (n,), of notes given by arrays of the same shape, all times in ticks.

    `bar_start` is the tick at which the note's bar begins, `beat_ticks` the length of its beat.
    """
    in_bar = onset - bar_start
    velocity = np.where(in_bar % beat_ticks == 0, BEAT, OFF_BEAT)
    velocity = np.where(in_bar == 0, DOWNBEAT, velocity)
    octaves = (pitch - CONTOUR_CENTRE_PITCH) / 12
    contour = np.rint(TOP_VOICE + TOP_VOICE_PER_OCTAVE * octaves).astype(np.int64)
    velocity = velocity + np.where(is_top_voice(onset, pitch), contour, 0)
    return np.clip(velocity, QUIETEST, LOUDEST)


def is_top_voice(onset: IntArray, pitch: IntArray) -> NDArray[np.bool_]:
    """Whether each note is the highest of those that begin with it. Shape (n,)."""
    _, chord = np.unique(onset, return_inverse=True)
    highest = np.zeros(len(onset), dtype=np.int64)
    np.maximum.at(highest, chord, pitch)
    return np.asarray(pitch == highest[chord])


def bars_of(
    onset: IntArray, metres: Sequence[tuple[int, int, int]], ticks_per_quarter: int
) -> tuple[IntArray, IntArray]:
    """(bar_start, beat_ticks) of each onset.

    `metres` are (tick, numerator, denominator) in order of time, the first at tick 0. In 6/8,
    9/8, 12/8 and the like the beat is three eighths.
    """
    start = np.array([tick for tick, _, _ in metres], dtype=np.int64)
    bar_ticks = np.array([n * 4 * ticks_per_quarter // d for _, n, d in metres], dtype=np.int64)
    compound = [d >= 8 and n > 3 and n % 3 == 0 for _, n, d in metres]
    beat_ticks = np.array(
        [
            4 * ticks_per_quarter // d * (3 if three else 1)
            for (_, _, d), three in zip(metres, compound, strict=True)
        ],
        dtype=np.int64,
    )
    # The index of the metre in force at each onset, and the whole bars since that metre began.
    metre = np.searchsorted(start, onset, side="right") - 1
    since = onset - start[metre]
    return start[metre] + since // bar_ticks[metre] * bar_ticks[metre], beat_ticks[metre]
