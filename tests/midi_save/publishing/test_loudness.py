"""loudness.py against the standard's own reference signal and pyloudnorm."""

from __future__ import annotations

import numpy as np
import pyloudnorm
import pytest
from numpy.typing import NDArray

from midi_save.publishing.loudness import RATE, LoudnessMeter

SECONDS = np.arange(8 * RATE) / RATE


def sine(hz: float, amplitude: float = 0.5) -> NDArray[np.float64]:
    return np.stack([amplitude * np.sin(2 * np.pi * hz * SECONDS)] * 2, axis=1)


def noise(amplitude: float) -> NDArray[np.float64]:
    return np.random.default_rng(1).standard_normal((len(SECONDS), 2)) * amplitude


def measured(audio: NDArray[np.float64], block: int = 77_777) -> float:
    meter = LoudnessMeter()
    for start in range(0, len(audio), block):
        meter.add(audio[start : start + block].astype(np.float32))
    return meter.integrated()


SIGNALS = {
    **{f"sine of {hz} Hz": sine(hz) for hz in (40, 100, 997, 4000, 12_000)},
    "noise": noise(0.1),
    "noise on one side": noise(0.1) * [1, 0],
    "loud, silent, soft": np.concatenate([noise(0.1), noise(0), noise(0.002), noise(0.05)]),
    "an echo 9 LU softer counts": np.concatenate([noise(0.1), noise(0.035)]),
    "almost nothing": noise(1e-5),
}


@pytest.mark.parametrize("name", SIGNALS)
def test_it_measures_what_pyloudnorm_measures(name: str) -> None:
    expected = pyloudnorm.Meter(RATE).integrated_loudness(SIGNALS[name])
    if expected == -np.inf:
        assert measured(SIGNALS[name]) == -np.inf
    else:
        assert measured(SIGNALS[name]) == pytest.approx(expected, abs=0.1)


def test_the_standards_reference_tone_has_its_loudness() -> None:
    """BS.1770: 997 Hz at full scale in one channel is -3.01 LKFS."""
    assert measured(sine(997, 1.0) * [1, 0]) == pytest.approx(-3.01, abs=0.01)


@pytest.mark.parametrize("block", [997, 4799, 4800, 61_441, 10**6])
def test_blocks_of_any_length_give_the_same(block: int) -> None:
    audio = noise(0.1)[: 2 * RATE]
    assert measured(audio, block) == pytest.approx(measured(audio), abs=1e-4)


def test_silence_and_less_than_a_block_have_no_loudness() -> None:
    assert LoudnessMeter().integrated() == -np.inf
    assert measured(noise(0)) == -np.inf
    assert measured(noise(0.1)[: RATE // 4]) == -np.inf
