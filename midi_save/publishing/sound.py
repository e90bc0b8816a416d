"""Turns a MIDI file into an MP3: played on the sound bank, as loud as every other piece.

The piece is gone through twice. The first time its loudness and its peaks are measured; from them
follow one gain for the whole piece and, where peaks would then be too high, a smooth reduction
around each. The second time it is amplified and encoded. The same MIDI and the same bank give the
same bytes. Depends on neither S3 nor records.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import lameenc
import numpy as np
from numpy.typing import NDArray

from contract.errors import SoundError
from midi_save.publishing.convolution import Audio
from midi_save.publishing.loudness import RATE, LoudnessMeter
from midi_save.publishing.playing import Playing
from midi_save.publishing.room import room

TARGET_LUFS = -18.0
CEILING = 10 ** (-2.0 / 20)  # of peaks; encoding can add a decibel
KBIT_PER_S = 96
ENCODER_QUALITY = 5  # of LAME's 0 (best) to 9; 2 takes half as much time again
ENCODER_SCALE = 0.95  # what LAME multiplies sound by, to leave itself room

FADE_S = 1.5  # at the end of the sound
KEPT_FRAMES = 4 * 60 * RATE  # 92 MB: a piece up to this long is played only once
HOP = 128  # frames for each of which one peak is kept
REACH = 40  # hops before and after a peak over which the gain falls and rises, 0.1 s


@dataclass(frozen=True)
class Sound:
    """An MP3 file and its length."""

    mp3: bytes
    duration_s: float


def render_mp3(midi: bytes, bank: Path, tag: bytes) -> Sound:
    """The sound of `midi` on the SoundFont `bank`, as an MP3 that begins with `tag` (ID3v2).

    It lasts TAIL_S longer than the MIDI file, in which the last notes fade away. Raises SoundError
    if the bank cannot be read or makes no sound.
    """
    try:
        playing = Playing(midi, bank.read_bytes())
    except OSError as error:
        raise SoundError(f"{bank} cannot be read ({error.strerror}): deploy again") from error
    # Of an hour there is no room for the sound in memory: it is played once more.
    blocks = [*_in_the_room(playing)] if playing.frames <= KEPT_FRAMES else None
    meter, peaks = LoudnessMeter(), []
    for block in blocks or _in_the_room(playing):
        meter.add(block)
        peaks.append(_peaks(block))
    loudness = meter.integrated()
    if loudness == -np.inf:
        raise SoundError(f"{bank} makes no sound of this piece: deploy again, or with another bank")
    gain = 10 ** ((TARGET_LUFS - loudness) / 20) / ENCODER_SCALE
    gains = gain * limits(gain * np.concatenate(peaks), CEILING)
    encoder = lameenc.Encoder()
    encoder.silence()
    encoder.set_bit_rate(KBIT_PER_S)
    encoder.set_channels(2)
    encoder.set_in_sample_rate(RATE)
    encoder.set_out_sample_rate(RATE)  # else LAME chooses a lower one
    encoder.set_quality(ENCODER_QUALITY)
    mp3 = bytearray(tag)
    start = 0
    for block in blocks or _in_the_room(playing):
        # A hop's gain holds at its middle, and changes steadily from one middle to the next.
        at = (np.arange(start, start + len(block)) + 0.5) / HOP - 0.5
        block *= np.interp(at, np.arange(len(gains)), gains)[:, None].astype(np.float32)
        mp3 += encoder.encode(np.rint(block * 32767).astype(np.int16).tobytes())
        start += len(block)
    mp3 += encoder.flush()
    return Sound(bytes(mp3), playing.frames / RATE)


def limits(peaks: NDArray[np.float32], ceiling: float) -> NDArray[np.float32]:
    """A factor for each hop, at most 1, with which no peak is above `ceiling`.

    It reaches its lowest value smoothly and before the peak comes. For example, a single peak of
    twice the ceiling gets 1 ... 0.9 0.6 0.5 0.6 0.9 ... 1.
    """
    wanted = np.minimum(1, ceiling / np.maximum(peaks, ceiling)).astype(np.float32)
    if wanted.min() == 1:
        return wanted
    around = np.lib.stride_tricks.sliding_window_view(
        np.pad(wanted, 2 * REACH, constant_values=1), 2 * REACH + 1
    )
    lowest = around.min(axis=-1)
    # The mean of the lowest values around a hop is not above what it wants itself, since each of
    # them takes it in. The window is shorter by a hop on each side, so that this also holds between
    # two hops' middles.
    window = np.hanning(2 * REACH + 1)[1:-1]
    return np.convolve(lowest, window / window.sum(), "valid")[1:-1].astype(np.float32)


def _in_the_room(playing: Playing) -> Iterator[Audio]:
    """What `playing` gives, with the room's echoes, and faded out at the end."""
    echoes, fade, start = room(RATE), round(FADE_S * RATE), 0
    for block in playing:
        block += echoes(block)
        to_end = playing.frames - start - np.arange(len(block))
        near = to_end < fade
        block[near] *= np.sin(np.pi / 2 * to_end[near, None] / fade).astype(np.float32) ** 2
        start += len(block)
        yield block


def _peaks(block: Audio) -> NDArray[np.float32]:
    """The highest absolute value of each hop, of both channels."""
    whole = np.pad(np.abs(block), ((0, -len(block) % HOP), (0, 0)))
    return np.asarray(whole.reshape(-1, HOP * 2).max(axis=1))
