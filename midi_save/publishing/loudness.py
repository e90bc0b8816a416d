"""Measures how loud music is, as ITU-R BS.1770-5 defines it, while the music passes by in blocks.

The signal is filtered as the ear hears (K-weighting), its energy is taken over 400 ms every 100 ms,
and what is silent or much softer than the rest does not count (gating). Depends on neither where
the music comes from nor what is done with it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from midi_save.publishing.convolution import Audio, Convolution

RATE = 48_000  # Hz; the standard's coefficients are for this rate
STEP = RATE // 10  # frames; a gating block is four steps
GATE_STEPS = 4
ABSOLUTE_GATE_LUFS, RELATIVE_GATE_LU = -70.0, -10.0
OFFSET_LU = -0.691  # so that a sine of 997 Hz at full scale in one channel has -3.01 LUFS

# The two filters of K-weighting, (numerator, denominator): a shelf for the head's reflections, and
# a high-pass because the ear hears low tones as softer (BS.1770-5, tables 1 and 2).
SHELF = (
    (1.53512485958697, -2.69169618940638, 1.19839281085285),
    (1.0, -1.69065929318241, 0.73248077421585),
)
HIGH_PASS = ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621))
TAPS = 4096  # of the impulse response: at its end it is below a millionth
FFT = 1 << 16  # frames of a transform


class LoudnessMeter:
    """Add blocks of any length one after the other, then ask for `integrated`."""

    def __init__(self) -> None:
        self._weighting = Convolution(_impulse_response(), FFT)
        self._rest: Audio = np.zeros((0, 2), np.float32)  # not a whole step yet
        self._steps: list[NDArray[np.float64]] = []  # mean square of each step, both channels

    def add(self, audio: Audio) -> None:
        waiting = np.concatenate([self._rest, self._weighting(audio)])
        whole = len(waiting) // STEP * STEP
        squares = np.square(waiting[:whole].reshape(-1, STEP * 2))
        self._steps.append(squares.sum(axis=1, dtype=np.float64) / STEP)
        self._rest = waiting[whole:]

    def integrated(self) -> float:
        """The loudness in LUFS of all that was added; -inf of silence and of less than 400 ms."""
        steps = np.concatenate([np.zeros(0), *self._steps])
        if len(steps) < GATE_STEPS:
            return -np.inf
        blocks = np.convolve(steps, np.ones(GATE_STEPS) / GATE_STEPS, "valid")
        loud = blocks[blocks > _energy(ABSOLUTE_GATE_LUFS)]
        if not len(loud):
            return -np.inf
        gate = loud.mean() * 10 ** (RELATIVE_GATE_LU / 10)
        return float(OFFSET_LU + 10 * np.log10(loud[loud > gate].mean()))


def _energy(lufs: float) -> float:
    return float(10 ** ((lufs - OFFSET_LU) / 10))


def _impulse_response() -> Audio:
    """What the two filters make of a single 1, shape (TAPS, 1)."""
    signal = [1.0] + [0.0] * (TAPS - 1)
    for (b0, b1, b2), (_, a1, a2) in (SHELF, HIGH_PASS):
        x1 = x2 = y1 = y2 = 0.0
        for n, x in enumerate(signal):
            y = b0 * x + b1 * x1 + b2 * x2 - a1 * y1 - a2 * y2
            x1, x2, y1, y2 = x, x1, y, y1
            signal[n] = y
    return np.array(signal, np.float32)[:, None]
