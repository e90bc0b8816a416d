"""Convolves stereo sound with an impulse response, block by block.

By overlap-add: each block is transformed, multiplied by the response's spectrum and transformed
back, and what it then has beyond its end is added to the next block. Depends on nothing of ours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float32]
"""(frames, 2)"""


class Convolution:
    """Call it with one block after the other, of any length."""

    def __init__(self, response: Audio, fft: int) -> None:
        """`response`: shape (taps, 1) for both channels or (taps, 2); `fft`: frames at a time."""
        self._fft, self._taps = fft, len(response)
        self._spectrum = np.fft.rfft(response, fft, axis=0)
        self._ringing: Audio = np.zeros((self._taps - 1, 2), np.float32)

    def __call__(self, audio: Audio) -> Audio:
        """As long as `audio`: the ringing of earlier blocks is in it, its own is kept."""
        out = np.empty_like(audio)
        step = self._fft - self._taps + 1
        for start in range(0, len(audio), step):
            block = audio[start : start + step]
            spectrum = np.fft.rfft(block, self._fft, axis=0) * self._spectrum
            ringing = np.fft.irfft(spectrum, self._fft, axis=0)
            whole = np.asarray(ringing[: len(block) + self._taps - 1], np.float32)
            whole[: self._taps - 1] += self._ringing
            out[start : start + step] = whole[: len(block)]
            self._ringing = whole[len(block) :]
        return out
