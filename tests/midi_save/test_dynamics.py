"""Velocities: accents follow the metre, the top voice stands out, all stay in range."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from midi_save.dynamics import (
    BEAT,
    DOWNBEAT,
    LOUDEST,
    OFF_BEAT,
    QUIETEST,
    TOP_VOICE,
    bars_of,
    is_top_voice,
    velocities,
)


def of(onset: list[int], pitch: list[int], metres: list[tuple[int, int, int]]) -> list[int]:
    ticks = np.array(onset)
    bar_start, beat_ticks = bars_of(ticks, metres, 12)
    return [int(v) for v in velocities(ticks, np.array(pitch), bar_start, beat_ticks)]


def test_downbeat_beat_and_off_beat_differ() -> None:
    expected = [DOWNBEAT, OFF_BEAT, BEAT, OFF_BEAT, DOWNBEAT]
    loud = of([0, 6, 12, 13, 48], [60] * 5, [(0, 4, 4)])
    assert loud == [velocity + TOP_VOICE for velocity in expected]


def test_a_beat_of_six_eighths_has_three_of_them() -> None:
    loud = of([0, 6, 12, 18, 36], [60] * 5, [(0, 6, 8)])
    expected = [DOWNBEAT, OFF_BEAT, OFF_BEAT, BEAT, DOWNBEAT]
    assert loud == [velocity + TOP_VOICE for velocity in expected]


def test_bars_are_counted_from_the_change_of_metre() -> None:
    bar_start, beat_ticks = bars_of(np.array([47, 48, 84, 90]), [(0, 4, 4), (48, 3, 4)], 12)
    assert bar_start.tolist() == [0, 48, 84, 84]
    assert beat_ticks.tolist() == [12] * 4


def test_only_the_highest_note_of_an_onset_is_the_top_voice() -> None:
    top = is_top_voice(np.array([0, 0, 0, 12]), np.array([60, 72, 48, 40]))
    assert top.tolist() == [False, True, False, True]
    inner, melody = of([0, 0], [60, 61], [(0, 4, 4)])
    assert inner == DOWNBEAT
    assert melody == DOWNBEAT + TOP_VOICE


def test_a_high_melody_is_louder_than_a_low_one() -> None:
    low, high = of([0, 48], [55, 79], [(0, 4, 4)])
    assert low < high


@given(
    notes=st.lists(st.tuples(st.integers(0, 500), st.integers(0, 127)), min_size=1),
    numerator=st.integers(1, 12),
    denominator=st.sampled_from([1, 2, 4, 8, 16]),
)
def test_every_velocity_is_in_range(
    notes: list[tuple[int, int]], numerator: int, denominator: int
) -> None:
    onset, pitch = (list(column) for column in zip(*notes, strict=True))
    loud = of(onset, pitch, [(0, numerator, denominator)])
    assert min(loud) >= QUIETEST
    assert max(loud) <= LOUDEST
