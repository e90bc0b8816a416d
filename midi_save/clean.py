"""Cleans all MIDI that the model reads, training data and prompts alike, in the same way.

A cleaned score holds only what the tokenizer can encode: twelve instrument families, one tempo,
a grid of twelve ticks a quarter note, and the metres in METRES. Depends on neither files nor
tokens.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from itertools import cycle

import numpy as np
from numpy.typing import NDArray
from symusic.core import NoteTickList, ScoreTick, TempoTick, TimeSignatureTick, TrackTick

from music.features import TICKS_PER_QUARTER

LOWEST_PITCH, HIGHEST_PITCH = 24, 103
LONGEST_NOTE_TICKS = 16 * TICKS_PER_QUARTER
EIGHTH_TICKS = TICKS_PER_QUARTER // 2
TEMPO_RANGE_QPM = (40.0, 250.0)
LONGEST_METRE = 64  # beats; a greater number is damaged data, not a metre
MOST_SPLIT_BARS = 5_000  # that a piece's irregular metres are split into; more is damaged data
DEFAULT_TEMPO_QPM = 120.0  # MIDI's default where no tempo is written

# Denominator -> numerators. Halves and whole notes are excluded as beats: miditok divides each beat
# of the denominator into twelve positions, so a sixteenth would have no position in a 4/2 bar.
METRES = {
    4: (1, 2, 3, 4, 5, 6, 7, 9),
    8: (2, 3, 4, 5, 6, 8, 9, 12),
    16: (9, 12),
}

# Family (the General MIDI program, counted from 0, that stands for it) -> its programs.
FAMILIES: dict[int, tuple[int, ...]] = {
    0: (0, 1, 2, 3, 4, 5, 7),  # piano: grand and electric pianos, clavinet
    6: (6,),  # harpsichord
    11: (*range(8, 16), 108, 112, 114),  # vibraphone: mallets and bells, kalimba, steel drums
    19: (*range(16, 24),),  # church organ: organs, accordions, harmonica
    24: (*range(24, 32), 104, 105, 106, 107),  # guitar: guitars; sitar, banjo, shamisen, koto
    43: (*range(32, 40), 42, 43, 47),  # contrabass: basses, cello, timpani (low and single)
    46: (46,),  # harp
    # String ensemble: violin, viola, fiddle (a high line on the contrabass sounds wrong),
    # tremolo, pizzicato, ensembles, orchestra hit, pads and effects (they sustain).
    48: (40, 41, 44, 45, 48, 49, 50, 51, 55, 88, 89, 90, *range(92, 104), 110),
    52: (52, 53, 54, 91),  # choir: choirs and voices, choir pad
    60: (*range(56, 64),),  # French horn: brass
    68: (*range(64, 72), 109, 111),  # oboe: saxophones, reeds, bagpipe, shanai
    73: (*range(72, 80), *range(80, 88)),  # flute: pipes; synthesizer leads (single lines)
}
# Not in any family, hence dropped like drums: 113 and 115-127, which have no clear pitch.
FAMILY_OF = {program: family for family, members in FAMILIES.items() for program in members}

IntArray = NDArray[np.int64]
Metres = list[tuple[int, int, int]]  # (tick, numerator, denominator) of each change


def clean_score(score: ScoreTick) -> ScoreTick | None:
    """A cleaned copy of `score` at 12 ticks a quarter note, or None if no note is left.

    Drums, unpitched programs and pitches outside 24..103 are dropped, and each program becomes
    that of its family in FAMILIES. Notes lie on the grid, last 1 to 192 ticks, and are sorted by
    (time, pitch) without duplicates. There is one tempo, and all metres are in METRES. An upbeat
    that is shorter than any bar becomes the end of a longer one. Cleaning a cleaned score changes
    nothing.
    Raises ValueError for a score without a time division, and OverflowError (from symusic) for one
    whose ticks do not fit 32 bits.
    """
    if score.ticks_per_quarter < 1:
        raise ValueError(f"the time division is {score.ticks_per_quarter} ticks a quarter note")
    tempo_qpm = median_tempo_qpm(score)
    resampled = score.resample(TICKS_PER_QUARTER, min_dur=1)
    metres, later = _with_whole_bars(_clean_metres(resampled))
    columns: dict[int, list[IntArray]] = {}
    for track in resampled.tracks:
        family = FAMILY_OF.get(track.program)
        if track.is_drum or family is None or len(track.notes) == 0:
            continue
        arrays = track.notes.numpy()
        columns.setdefault(family, []).append(
            np.stack(
                [arrays[k].astype(np.int64) for k in ("time", "duration", "pitch", "velocity")]
            )
        )
    clean = ScoreTick(TICKS_PER_QUARTER)
    for family in sorted(columns):
        notes = _clean_notes(np.concatenate(columns[family], axis=1))
        notes[0] += later
        if notes.shape[1] > 0:
            cleaned = TrackTick("", family, False)
            cleaned.notes = NoteTickList.from_numpy(
                notes[0].astype(np.int32),
                notes[1].astype(np.int32),
                notes[2].astype(np.int8),
                notes[3].astype(np.int8),
            )
            clean.tracks.append(cleaned)
    if len(clean.tracks) == 0:
        return None
    clean.tempos.append(TempoTick(0, tempo_qpm))
    for metre in metres:
        clean.time_signatures.append(TimeSignatureTick(*metre))
    return clean


def median_tempo_qpm(score: ScoreTick) -> float:
    """The median tempo, weighted by how long each tempo lasts, clipped to 40..250."""
    end = score.end()
    # The sort is stable, so of two tempos at one tick the later one in the file is in force.
    timed = [(max(0, tempo.time), tempo.qpm) for tempo in score.tempos]
    changes = sorted(timed, key=lambda change: change[0])
    if not changes or changes[0][0] > 0:
        changes.insert(0, (0, DEFAULT_TEMPO_QPM))
    weighted = []  # (tempo, seconds x ticks per quarter note / 60 that it lasts)
    for index, (start, qpm) in enumerate(changes):
        stop = changes[index + 1][0] if index + 1 < len(changes) else end
        weighted.append((qpm, max(0, min(stop, end) - start) / max(qpm, 1e-3)))
    weighted.sort()
    half = sum(weight for _, weight in weighted) / 2
    passed = 0.0
    median = changes[0][1]
    for qpm, weight in weighted:
        passed += weight
        if weight > 0 and passed >= half:
            median = qpm
            break
    return min(max(median, TEMPO_RANGE_QPM[0]), TEMPO_RANGE_QPM[1])


def known_metre(numerator: int, denominator: int) -> tuple[int, int] | None:
    """The metre of METRES to write instead of this one, or None if there is none.

    A metre of METRES stays as it is. Otherwise it becomes one of the same length (2/2 -> 4/4,
    6/16 -> 3/8), otherwise one whose bars divide its bar evenly (4/2 -> 4/4, 12/4 -> 6/4), so that
    every old bar line is still a bar line.
    """
    if numerator < 1 or denominator < 1:
        return None
    if numerator in METRES.get(denominator, ()):
        return numerator, denominator
    length = Fraction(numerator, denominator)
    for parts in (1, 2, 3, 4):
        for beat, numerators in METRES.items():
            beats = length * beat / parts
            if beats in numerators:
                return int(beats), beat
    return None


@cache  # a file may have a metre at every tick
def written_as(numerator: int, denominator: int) -> tuple[tuple[int, int], ...]:
    """The metres to write, in turn, for bars of this metre.

    The one of `known_metre`, if there is one. Otherwise bars of eighths with the same length in
    total: 7/8 -> 4/8 + 3/8. If a bar is not a whole number of eighths, several bars are taken
    together: two of 5/16 -> 5/8, two of 7/16 -> 4/8 + 3/8. If no such bars exist, there are none,
    and the metre before stays in force.
    """
    if known := known_metre(numerator, denominator):
        return (known,)
    if not 0 < numerator <= LONGEST_METRE or denominator < 1:
        return ()
    for bars in (1, 2, 4, 8, 16):
        eighths = Fraction(numerator * bars * 8, denominator)
        if eighths.denominator == 1 and (parts := _in_eighths(int(eighths))):
            return tuple((beats, 8) for beats in parts)
    return ()


def _in_eighths(eighths: int) -> list[int]:
    """Numerators of METRES[8] with this sum, by halving: 7 -> 4 + 3; empty for one eighth."""
    if eighths < 2 or eighths in METRES[8]:
        return [eighths] * (eighths > 1)
    return _in_eighths(-(-eighths // 2)) + _in_eighths(eighths // 2)


def _clean_notes(notes: IntArray) -> IntArray:
    """Select, shorten and sort notes: an array (4, n) of time, duration, pitch and velocity.

    Returns such an array with at most as many columns.
    """
    time, duration, pitch, velocity = notes
    keep = (pitch >= LOWEST_PITCH) & (pitch <= HIGHEST_PITCH) & (time >= 0) & (velocity > 0)
    notes = notes[:, keep]
    notes[1] = np.clip(notes[1], 1, LONGEST_NOTE_TICKS)
    time, duration, pitch, velocity = notes
    # Of notes with the same time and pitch only the longest is kept; of those, the loudest.
    notes = notes[:, np.lexsort((-velocity, -duration, pitch, time))]
    first = np.ones(notes.shape[1], dtype=bool)
    first[1:] = (np.diff(notes[0]) != 0) | (np.diff(notes[2]) != 0)
    notes = notes[:, first]
    # A note ends where its key is struck again: MIDI cannot say which of two notes on one key ends.
    by_pitch = np.lexsort((notes[0], notes[2]))
    onsets = notes[0, by_pitch]
    same = np.diff(notes[2, by_pitch]) == 0
    room = np.where(same, np.diff(onsets), LONGEST_NOTE_TICKS)
    struck_again = by_pitch[:-1]
    notes[1, struck_again] = np.minimum(notes[1, struck_again], room)
    return notes


def _clean_metres(resampled: ScoreTick) -> Metres:
    """Each change of metre, to one of METRES; the first is at tick 0."""
    metres = [(0, 4, 4)]  # MIDI's default where no metre is written
    signatures = sorted(resampled.time_signatures, key=lambda s: s.time)
    ends = [*(signature.time for signature in signatures[1:]), resampled.end()]
    split = 0
    for signature, end in zip(signatures, ends, strict=False):  # no signature: ends is longer
        bars = written_as(signature.numerator, signature.denominator)
        if not bars or signature.time < 0:
            continue
        tick = signature.time
        # A regular metre is written once; the parts of an irregular one take turns until the next
        # signature (7/8: 4/8, 3/8, 4/8, 3/8, ...).
        for metre in cycle(bars):
            if metres[-1][0] == tick:
                metres.pop()
            if not metres or metres[-1][1:] != metre:
                metres.append((tick, *metre))
            tick += 4 * TICKS_PER_QUARTER * metre[0] // metre[1]
            split += 1
            if len(set(bars)) == 1 or tick >= end or split > MOST_SPLIT_BARS:
                break
    return metres


def _with_whole_bars(metres: Metres) -> tuple[Metres, int]:
    """Gives a bar that the next metre cuts short, such as an upbeat, a metre of its own length.

    Otherwise the tokenizer would complete the bar, and each bar line after it would be too late. A
    bar too short for that is taken together with the one before. If it is the first of all, as an
    upbeat of 1/8, there is none: then all music begins later, which is the second result, in ticks.
    """
    later = 0
    if len(metres) > 1:
        first = metres[1][0]
        if first < _bar_ticks(metres[0]) and first % 3 == 0 and not _of_length(first):
            later = max(TICKS_PER_QUARTER, -(-first // EIGHTH_TICKS) * EIGHTH_TICKS) - first
    moved = [metres[0], *((tick + later, n, beat) for tick, n, beat in metres[1:])]
    whole: Metres = []
    for metre, (end, *_) in zip(moved, [*moved[1:], moved[-1]], strict=True):
        tick, bar = metre[0], _bar_ticks(metre)
        whole.append(metre)
        rest = max(0, end - tick) % bar
        parts = _of_length(rest)
        if rest and not parts and end - rest - bar >= tick:
            rest += bar
            parts = _of_length(rest)
        begin = end - rest
        for part in parts:
            while whole and whole[-1][0] >= begin:
                whole.pop()
            whole.append((begin, *part))
            begin += _bar_ticks(whole[-1])
    pairs = zip([None, *whole], whole, strict=False)
    return [metre for before, metre in pairs if before is None or before[1:] != metre[1:]], later


def _bar_ticks(metre: tuple[int, int, int]) -> int:
    return 4 * TICKS_PER_QUARTER * metre[1] // metre[2]


@cache
def _of_length(ticks: int) -> tuple[tuple[int, int], ...]:
    """Metres whose bars last so long one after the other; none if there are none."""
    if known := known_metre(ticks, 4 * TICKS_PER_QUARTER):
        numerator, denominator = known
        if _bar_ticks((0, numerator, denominator)) == ticks:
            return (known,)
    eighths, rest = divmod(ticks, EIGHTH_TICKS)
    return () if rest or eighths < 2 else tuple((beats, 8) for beats in _in_eighths(eighths))
