"""A small room around dry sound: what its walls send back, a little later and darker.

The echo of a room is dense after a moment, and then sounds as noise that dies away (Moorer, "About
this reverberation business", 1979). Each ear hears other noise, which makes the sound wide. Depends
on nothing but convolution.
"""

from __future__ import annotations

import numpy as np

from midi_save.publishing.convolution import Audio, Convolution

SEED = 20  # any: the same room for all pieces
LENGTH_S = 1.0
PRE_DELAY_S, RISE_S = 0.012, 0.015  # until the first echo, and from there until they are dense
# Seconds until the echo is 60 dB softer, for low and for high tones; walls swallow high ones first.
DECAY_LOW_S, DECAY_HIGH_S = 1.1, 0.5
CROSSOVER_HZ = 1800
HIGH_SHARE = 0.5  # of the high tones' amplitude, relative to the low ones
LOWEST_HZ = 150  # echoes of the bass make music muddy
ECHO_DB = -9.0  # energy of all echoes, relative to the dry sound
FFT = 1 << 17


def room(rate: int) -> Convolution:
    """Makes echoes of what it is called with; the dry sound is not in them."""
    return Convolution(_echo(rate), FFT)


def _echo(rate: int) -> Audio:
    frames = round(LENGTH_S * rate)
    noise = np.random.default_rng(SEED).standard_normal((frames, 2))
    hz = np.fft.rfftfreq(frames, 1 / rate)[:, None]
    low = 1 / (1 + (hz / CROSSOVER_HZ) ** 2)
    spectrum = np.fft.rfft(noise, axis=0) * hz**2 / (hz**2 + LOWEST_HZ**2)
    seconds = np.arange(frames)[:, None] / rate
    echo = np.zeros((frames, 2))
    for share, decay_s in ((low, DECAY_LOW_S), ((1 - low) * HIGH_SHARE, DECAY_HIGH_S)):
        echo += np.fft.irfft(spectrum * share, frames, axis=0) * 10 ** (-3 * seconds / decay_s)
    echo *= np.clip((seconds - PRE_DELAY_S) / RISE_S, 0, 1)
    energy = 10 ** (ECHO_DB / 10)
    return np.asarray(echo * np.sqrt(energy / np.square(echo).sum(axis=0)), np.float32)
