"""Musical features of one piece, after MGEval (Yang & Lerch 2018) and MusPy (Dong et al. 2020).

The evaluation measures sets of pieces with it, and generate_tokens measures the candidates of a
piece in order to choose one. Depends on neither tokens nor files: notes come as arrays.

Units: a tick is 1/12 of a quarter note. The melody is the highest note of each onset.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

TICKS_PER_QUARTER = 12  # divides into sixteenths and into triplet eighths
MAJOR = (0, 2, 4, 5, 7, 9, 11)  # semitones; each natural minor scale has the notes of a major one
# Semitones: unison and octave, thirds, fourth, fifth, sixths. The fourth counts as consonant even
# above a bass.
CONSONANT = (0, 3, 4, 5, 7, 8, 9)
SIXTEENTH = 3  # ticks
NGRAM = 8  # melodic intervals in a run that is looked for again
# The fewest ticks of each class of length: 32nd, triplet 16th, 16th, triplet 8th, 8th, triplet
# quarter, dotted 8th, quarter, dotted quarter, half, dotted half, whole. Example: 5 and 6 ticks are
# eighths, 7 and 8 are triplet quarters.
LENGTH_CLASSES = np.array([0, 2, 3, 4, 5, 7, 9, 10, 15, 21, 30, 42])

SCALARS = (
    "pitch_count",
    "pitch_class_count",
    "pitch_range",
    "mean_pitch",
    "mean_interval",
    "notes",
    "notes_per_second",
    "mean_gap",
    "mean_length",
    "pitch_class_entropy",
    "pitch_entropy",
    "polyphony",
    "polyphony_rate",
    "scale_consistency",
    "consonance",
    "groove",
    "empty_beats",
    "bar_repetition",
    "ngram_repetition",
    "duplicates",
    "tempo",
    "programs",
)
VECTORS = ("pitch_classes", "pitch_class_steps", "lengths", "length_steps", "simultaneous")


@dataclass(frozen=True)
class Music:
    """The notes of an excerpt, sorted by (onset, pitch); int64 [notes] each, times in ticks.

    ticks: length of the excerpt. metres: (tick, numerator, denominator), the first at 0.
    duplicates: share of the file's notes that are doubles of another note.
    """

    onset: IntArray
    duration: IntArray
    pitch: IntArray
    program: IntArray
    ticks: int
    qpm: float
    metres: tuple[tuple[int, int, int], ...]
    duplicates: float


def melody(music: Music) -> tuple[IntArray, IntArray]:
    """Pitches and lengths [onsets] of the highest note of each onset."""
    # Notes are sorted by (onset, pitch), so the last note of each onset is its highest.
    last = np.append(np.diff(music.onset) > 0, True)
    return music.pitch[last], music.duration[last]


def bar_lines(music: Music) -> IntArray:
    """Ticks of the bar lines [bars + 1]; a change of metre begins a bar wherever it stands.

    The metres of bars behind the last note are disregarded.
    """
    lines: list[int] = []
    last = max(music.ticks, 1)
    ends = [*(min(m[0], last) for m in music.metres[1:]), last]
    for (start, numerator, denominator), end in zip(music.metres, ends, strict=True):
        lines += range(start, end, numerator * 4 * TICKS_PER_QUARTER // denominator)
    return np.array([*lines, ends[-1]], np.int64)


def entropy(counts: IntArray | FloatArray) -> float:
    """Entropy, in bits, of the distribution that ``counts`` are proportional to."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


@cache
def _scales() -> IntArray:
    """[12, 12]: whether a pitch class is in the major scale of a key."""
    return np.stack([np.isin((np.arange(12) - key) % 12, MAJOR) for key in range(12)]).astype(int)


def piano_roll(music: Music) -> NDArray[np.bool_]:
    """[ticks, 128]: which pitches sound at each tick."""
    # +1 where a note begins, -1 where it ends: the running sum is how many notes sound at a tick.
    # Example: a note of ticks 1 and 2 is 0 1 0 -1 in its column, and its running sum is 0 1 1 0.
    edges = np.zeros((int((music.onset + music.duration).max()) + 1, 128), np.int32)
    np.add.at(edges, (music.onset, music.pitch), 1)
    np.add.at(edges, (music.onset + music.duration, music.pitch), -1)
    sounding: NDArray[np.bool_] = edges.cumsum(0)[:-1] > 0
    return sounding


def simultaneous_intervals(roll: NDArray[np.bool_]) -> FloatArray:
    """[12]: for how many ticks pairs of pitches sound together, per interval class."""
    counts = np.zeros(12)
    heard = np.flatnonzero(roll.any(0))
    roll = roll[:, heard[0] : heard[-1] + 1]
    # A matrix product would do, but its threads wait for each other when several processes measure.
    for interval in range(1, roll.shape[1]):
        counts[interval % 12] += np.count_nonzero(roll[:, :-interval] & roll[:, interval:])
    return counts


def consonance(intervals: FloatArray) -> float:
    """Share of the simultaneous intervals that are consonant; nan for a single line."""
    consonant = intervals[[*CONSONANT]].sum()
    return float(consonant / intervals.sum()) if intervals.any() else np.nan


def groove(music: Music, lines: IntArray) -> float:
    """How alike the rhythms of neighbouring bars are, from 0 to 1: MusPy's groove_consistency.

    It is 1 minus the mean share of sixteenths in which only one of two neighbouring bars has an
    onset. Only neighbours of the same length count; nan where there are none.
    """
    struck = np.zeros(lines[-1], bool)
    struck[music.onset] = True
    bars = [
        np.logical_or.reduceat(bar, np.arange(0, len(bar), SIXTEENTH))
        for bar in np.split(struck, lines[1:-1])
    ]
    changed = [np.mean(a != b) for a, b in pairwise(bars) if len(a) == len(b)]
    return 1 - float(np.mean(changed)) if changed else np.nan


def bar_repetition(music: Music, lines: IntArray) -> float:
    """Share of the non-empty bars that have the onsets, pitches and programs of an earlier bar."""
    bar = np.searchsorted(lines, music.onset, side="right") - 1  # the number of each note's bar
    content = np.stack([music.onset - lines[bar], music.pitch, music.program], axis=1)
    bars = [part.tobytes() for part in np.split(content, np.flatnonzero(np.diff(bar)) + 1)]
    return 1 - len(set(bars)) / len(bars)


def ngram_repetition(pitches: IntArray) -> float:
    """Share of the melody's runs of eight intervals that came before; nan if it is too short."""
    steps = np.diff(pitches)
    if len(steps) < NGRAM:
        return np.nan
    runs = sliding_window_view(steps, NGRAM)
    return 1 - len(np.unique(runs, axis=0)) / len(runs)


def empty_beats(music: Music) -> float:
    """Share of the quarter notes in which no note begins."""
    beats = -(-music.ticks // TICKS_PER_QUARTER)  # rounded up
    return 1 - len(np.unique(music.onset // TICKS_PER_QUARTER)) / max(beats, 1)


def scalar_features(music: Music) -> dict[str, float]:
    """One number per name of `SCALARS`; nan where a piece is too short to have one."""
    seconds_per_tick = 60 / music.qpm / TICKS_PER_QUARTER
    line, _ = melody(music)
    gaps = np.diff(np.unique(music.onset))
    classes = np.bincount(music.pitch % 12, minlength=12)
    roll = piano_roll(music)
    voices = roll.sum(1)
    intervals = simultaneous_intervals(roll)
    lines = bar_lines(music)
    values = {
        "pitch_count": len(np.unique(music.pitch)),
        "pitch_class_count": np.count_nonzero(classes),
        "pitch_range": np.ptp(music.pitch),
        "mean_pitch": music.pitch.mean(),
        "mean_interval": np.abs(np.diff(line)).mean() if len(line) > 1 else np.nan,
        "notes": len(music.pitch),
        "notes_per_second": len(music.pitch) / (music.ticks * seconds_per_tick),
        "mean_gap": gaps.mean() * seconds_per_tick if len(gaps) else np.nan,
        "mean_length": music.duration.mean() / TICKS_PER_QUARTER,
        "pitch_class_entropy": entropy(classes),
        "pitch_entropy": entropy(np.bincount(music.pitch)),
        "polyphony": voices[voices > 0].mean(),
        "polyphony_rate": np.mean(voices > 1),
        "scale_consistency": (_scales() @ classes).max() / classes.sum(),
        "consonance": consonance(intervals),
        "groove": groove(music, lines),
        "empty_beats": empty_beats(music),
        "bar_repetition": bar_repetition(music, lines),
        "ngram_repetition": ngram_repetition(line),
        "duplicates": music.duplicates,
        "tempo": music.qpm,
        "programs": len(np.unique(music.program)),
    }
    return {name: float(values[name]) for name in SCALARS}


def vector_features(music: Music) -> dict[str, FloatArray]:
    """One distribution per name of `VECTORS`, each summing to 1 (or 0, where there is none).

    pitch_classes, lengths and simultaneous are [12]. pitch_class_steps and length_steps are [144]:
    entry ``12 * from + to`` counts the steps of the melody from one class to the next.
    """
    line, durations = melody(music)
    lengths = np.searchsorted(LENGTH_CLASSES, durations, side="right") - 1
    every_length = np.searchsorted(LENGTH_CLASSES, music.duration, side="right") - 1
    counts = {
        "pitch_classes": np.bincount(music.pitch % 12, minlength=12),
        "pitch_class_steps": np.bincount(line[:-1] % 12 * 12 + line[1:] % 12, minlength=144),
        "lengths": np.bincount(every_length, minlength=12),
        "length_steps": np.bincount(lengths[:-1] * 12 + lengths[1:], minlength=144),
        "simultaneous": simultaneous_intervals(piano_roll(music)),
    }
    return {name: counts[name] / max(counts[name].sum(), 1) for name in VECTORS}
