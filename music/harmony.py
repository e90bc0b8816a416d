"""Harmony of one piece as a listener notices it: standing still, the ending, parallel voices.

It uses numpy only and is fast (about 2 ms for a minute of music), so that it can judge the
candidates of a piece, too. Depends on neither tokens nor models: notes come as arrays
(`music.features.Music`).

Units: a tick is 1/12 of a quarter note, a beat is a quarter note. Pitch class 0 is C. Chords and
keys are numbers from 0 to 23: the root's pitch class if major, 12 more if minor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from music.features import (
    CONSONANT,
    TICKS_PER_QUARTER,
    FloatArray,
    IntArray,
    Music,
    bar_lines,
    piano_roll,
)

# Seconds. A piece is frozen if it has one chord, or at most FEW_CLASSES pitch classes, for so long.
FROZEN_S = 10.0
FEW_CLASSES = 4
LAST_S = 20.0  # seconds at the end that count twice for the key
VOICES = 4  # parallels are looked for where exactly so many pitches sound
NO_CHORD = -1  # the chord of the beats before the first note

# How well each pitch class above the keynote fits a major and a minor key, as listeners rated it
# (Krumhansl & Kessler 1982, doi:10.1037/0033-295X.89.4.334).
MAJOR_PROFILE = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR_PROFILE = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)

HARMONY = (
    "longest_chord_s",
    "longest_bass_s",
    "fewest_pitch_classes",
    "frozen",
    "parallel_fifths",
    "parallel_octaves",
)
ENDING = (
    "on_tonic",
    "tonic_triad",
    "on_downbeat",
    "dissonant",
    "last_chord_s",
    "last_chord_ratio",
)


@dataclass(frozen=True)
class Ending:
    """The last chord: the notes of the last onset, and those that still sound when it is struck.

    key: the piece's, as of `key_of`. bass: the chord's lowest MIDI pitch. on_tonic: that is the
    keynote, in any octave.
    tonic_triad: all of its pitch classes are in the major or all in the minor triad of the keynote,
    whatever the mode: many pieces in minor end in major (Picardy third).
    on_downbeat: it is struck at a bar line.
    dissonant: two of its notes are a second, tritone or seventh apart (octaves aside).
    last_chord_s: from its onset to the end of its longest note; last_chord_ratio: the same over
    the median length of all notes.
    """

    key: int
    bass: int
    on_tonic: bool
    tonic_triad: bool
    on_downbeat: bool
    dissonant: bool
    last_chord_s: float
    last_chord_ratio: float


def seconds_per_tick(music: Music) -> float:
    return 60 / music.qpm / TICKS_PER_QUARTER


@cache
def triads() -> IntArray:
    """[24, 12]: 1 where a pitch class is in the triad, else 0; the major triads come first."""
    above = np.arange(12) - np.arange(12)[:, None]  # [root, pitch class]
    return np.concatenate([np.isin(above % 12, t) for t in ((0, 4, 7), (0, 3, 7))]).astype(int)


@cache
def key_profiles() -> FloatArray:
    """[24, 12]: the profile of each key, with mean 0 and length 1.

    So normalized, the dot product with a piece's pitch classes ranks keys as correlation does.
    """
    rows = [np.roll(p, key) for p in (MAJOR_PROFILE, MINOR_PROFILE) for key in range(12)]
    profiles = np.array(rows) - np.mean(rows, axis=1, keepdims=True)
    normed: FloatArray = profiles / np.linalg.norm(profiles, axis=1, keepdims=True)
    return normed


def sounding_classes(roll: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[ticks, 12] from a piano roll [ticks, 128]: which pitch classes sound at each tick."""
    classes = np.zeros((len(roll), 12), bool)
    for octave in range(0, 128, 12):
        part = roll[:, octave : octave + 12]
        classes[:, : part.shape[1]] |= part
    return classes


def basses(roll: NDArray[np.bool_]) -> IntArray:
    """[ticks]: the lowest pitch that sounds; in silence the one before, -1 before the first."""
    # ``last`` is the last tick so far that was not silent: silence at ticks 0 and 3 gives -1 1 2 2.
    # argmax finds the first pitch that sounds in a row, which is the lowest.
    last = np.maximum.accumulate(np.where(roll.any(1), np.arange(len(roll)), -1))
    return np.where(last >= 0, roll.argmax(1)[last], -1)


def chords(classes: NDArray[np.bool_], bass: IntArray) -> IntArray:
    """[beats]: the chord of each beat, from `sounding_classes` and `basses`.

    It is the triad that fits best, measured by the sum of the ticks for which its three pitch
    classes sound. If several triads fit equally well, it is the one whose root sounds longest; then
    the one whose root is longest in the bass; then the chord of the beat before; then the first by
    number. A silent beat keeps the chord before it; until the first note it is `NO_CHORD`.

    Example: C and G for a beat fit C major and C minor equally. After C minor it is C minor.
    """
    starts = np.arange(0, len(classes), TICKS_PER_QUARTER)
    ticks = np.add.reduceat(classes.astype(np.int64), starts)  # [beats, 12]
    is_bass = (bass[:, None] % 12 == np.arange(12)) & classes
    bass_ticks = np.add.reduceat(is_bass.astype(np.int64), starts)
    # One number ranks all three criteria: 10,000 times the fit (at most 36 ticks), 100 times the
    # ticks of the root and the ticks of the root in the bass (at most 12 each). So each criterion
    # decides only where those before it are equal.
    by_root = np.tile(100 * ticks + bass_ticks, 2)
    fits = 10_000 * (ticks @ triads().T) + by_root
    best = fits == fits.max(1, keepdims=True)  # [beats, 24], several where all three are equal
    chord = np.where(ticks.any(1), best.argmax(1), NO_CHORD)
    for beat in np.flatnonzero(best[1:].sum(1) > 1) + 1:
        before = chord[beat - 1]
        if before != NO_CHORD and best[beat, before]:
            chord[beat] = before
    return chord


def key_of(music: Music) -> int:
    """The key whose profile correlates best with how long each pitch class sounds.

    The shares of the pitch classes in the whole piece and those in its last 20 s are added. So a
    piece that ends in another key than it was in before gets the last key only if that key is heard
    clearly. (Krumhansl 1990, Cognitive Foundations of Musical Pitch, chapter 4.)
    """
    begin = int((music.onset + music.duration).max()) - round(LAST_S / seconds_per_tick(music))
    return key_heard(music.onset, music.duration, music.pitch, begin)


def key_heard(onset: IntArray, duration: IntArray, pitch: IntArray, begin: float) -> int:
    """`key_of` notes, int64 [notes] each, whose last 20 s begin at ``begin``, in their ticks.

    If none sounds after ``begin``, the key is that of the whole.
    """
    late = np.maximum(onset + duration - np.maximum(onset, begin), 0)  # ticks after ``begin``
    shares = np.zeros(12)
    for length in (duration, late):
        counts = np.bincount(pitch % 12, weights=length, minlength=12)
        shares += counts / max(1, counts.sum())
    return int((key_profiles() @ shares).argmax())


def ending_of(music: Music) -> Ending:
    """How a whole piece ends. ``music`` must hold its end, and should hold its last 20 s."""
    key = key_of(music)
    tonic = triads()[[key % 12, key % 12 + 12]]
    struck = int(music.onset[-1])
    end = music.onset + music.duration
    last = (music.onset == struck) | (end > struck)
    pitches = np.unique(music.pitch[last])
    intervals = [b - a for a, b in combinations(pitches.tolist(), 2)]
    length = int(end[last].max()) - struck
    return Ending(
        key=key,
        bass=int(pitches[0]),
        on_tonic=bool(pitches[0] % 12 == key % 12),
        tonic_triad=bool(tonic[:, pitches % 12].all(1).any()),
        on_downbeat=struck in bar_lines(music)[:-1],
        dissonant=any(interval % 12 not in CONSONANT for interval in intervals),
        last_chord_s=length * seconds_per_tick(music),
        last_chord_ratio=length / float(np.median(music.duration)),
    )


def parallel_counts(music: Music, roll: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Parallel fifths, parallel octaves, and how many changes of a four-part chord there are.

    It compares successive onsets at both of which exactly four pitches sound; the four pitches,
    sorted, are the voices. Two voices are parallel if both move, and their interval is a fifth (an
    octave) both before and after, whatever octaves lie between them.

    Example: C G move to D A, the first in the bass and the second in any voice above it. Both
    intervals are 7 semitones up to octaves: parallel fifths.
    """
    at = roll[np.unique(music.onset)]  # [onsets, 128]
    four = at.sum(1) == VOICES
    pairs = np.flatnonzero(four[:-1] & four[1:])
    voices = np.full((len(at), VOICES), -1)
    voices[four] = np.nonzero(at[four])[1].reshape(-1, VOICES)
    before, after = voices[pairs], voices[pairs + 1]
    moves = before != after
    low, high = np.triu_indices(VOICES, 1)  # the six pairs of voices
    both_move = moves[:, low] & moves[:, high]
    intervals = (before[:, high] - before[:, low]) % 12, (after[:, high] - after[:, low]) % 12
    fifths, octaves = (
        int(np.count_nonzero(both_move & (intervals[0] == i) & (intervals[1] == i))) for i in (7, 0)
    )
    return fifths, octaves, int(np.count_nonzero(moves.any(1)))


def parallels(music: Music, roll: NDArray[np.bool_]) -> tuple[float, float]:
    """Parallel fifths and octaves per 100 changes of chord; nan if no four-part chord changes."""
    fifths, octaves, changes = parallel_counts(music, roll)
    return (100 * fifths / changes, 100 * octaves / changes) if changes else (np.nan, np.nan)


def harmony_features(music: Music) -> dict[str, float]:
    """One number per name of `HARMONY`.

    longest_chord_s: the longest time for which one chord lasts. longest_bass_s: the longest time
    for which one pitch is the lowest, whether it is struck again or not.
    fewest_pitch_classes: the fewest that sound within any 10 s; nan for a shorter piece.
    frozen: 1 if one chord lasts 10 s, or if any 10 s have at most four pitch classes; else 0.
    parallel_fifths, parallel_octaves: see `parallels`.
    """
    roll = piano_roll(music)
    classes, bass = sounding_classes(roll), basses(roll)
    second = seconds_per_tick(music)
    chord_ticks = np.repeat(chords(classes, bass), TICKS_PER_QUARTER)[: len(roll)]
    longest_chord = _longest_run(chord_ticks) * second
    fewest = _fewest(classes, round(FROZEN_S / second))
    fifths, octaves = parallels(music, roll)
    values: Sequence[float] = (
        longest_chord,
        _longest_run(bass) * second,
        fewest,
        float(longest_chord >= FROZEN_S or fewest <= FEW_CLASSES),
        fifths,
        octaves,
    )
    return dict(zip(HARMONY, values, strict=True))


def _longest_run(values: IntArray) -> int:
    """The length of the longest run of equal values, runs of -1 aside; 0 if there is none."""
    edges = np.flatnonzero(np.diff(values)) + 1
    bounds = np.concatenate(([0], edges, [len(values)]))
    lengths = np.diff(bounds)
    return int(lengths[values[bounds[:-1]] != -1].max(initial=0))


def _fewest(classes: NDArray[np.bool_], window: int) -> float:
    """The fewest pitch classes in any ``window`` ticks; nan where there are fewer ticks."""
    if len(classes) < window:
        return np.nan
    # The ticks of a class in a window are the difference of two running sums.
    total = np.concatenate((np.zeros((1, 12), np.int64), classes.cumsum(0)))
    heard = (total[window:] - total[:-window]) > 0
    return float(heard.sum(1).min())
