"""Shapes the end of a piece as players do: it slows down and holds its last chord.

The tokens have one tempo, so without this a piece would end abruptly. Nothing is random, and every
note keeps its start tick and its velocity. `clean_score` still reads the tempo in which the piece
was composed, because the slower tempos last for less than half of the piece. Depends on neither
tokens nor storage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from symusic.core import NoteTickList, ScoreTick, TempoTick, TempoTickList, TrackTick

from midi_save.dynamics import bars_of

# Tempo of the last chord as a share of the piece's tempo: the first that the limit allows is used.
FINAL_TEMPOS = tuple(percent / 100 for percent in range(80, 100, 2))
BARS = 2  # number of last bars over which a piece slows down
FEWEST_BARS = 6  # that a piece must have for this
SHORT_SHARE = 5  # a shorter piece slows down over its last fifth, which is less than a bar

SHORTEST_HOLD_S = 1.2  # of a last chord; longer ones are lengthened by the ritardando alone

Tempos = Sequence[tuple[int, int]]
"""(tick, microseconds per quarter note) in order of time."""
_DEFAULT_TEMPO = (0, 500_000)  # MIDI's default where no tempo is written

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class LastChord:
    """The last chord and the beats before it, in ticks.

    `onset` is the last onset and `end` the end of the last note. `beat` is the start of the beat in
    which the chord is struck, `beat_ticks` the length of that beat. `rit_beats` are the starts of
    the beats before it, over which the piece slows down.
    """

    onset: int
    end: int
    beat: int
    beat_ticks: int
    rit_beats: tuple[int, ...]


def broaden(score: ScoreTick, limit_s: float) -> None:
    """Let `score` slow down and hold its last chord, as far as it ends within `limit_s` seconds.

    If the limit does not allow both, the hold is shortened first, then the ritardando. `score` must
    have notes, and metres from tick 0; each note must end before its key is struck again.
    """
    quarter = score.ticks_per_quarter
    written = [(tempo.time, tempo.mspq) for tempo in score.tempos]
    chord = last_chord(score)
    # The file ends one tick after its last note, and that tick may have a slower tempo: twice its
    # time is reserved.
    limit_s -= 2 * seconds_between(chord.end, chord.end + 1, written, quarter)
    tempos, room_s = fitting_tempos(written, chord, quarter, limit_s)
    if tempos != written:
        score.tempos = TempoTickList([TempoTick(tick, mspq=mspq) for tick, mspq in tempos])
    tick_s = seconds_between(chord.end, chord.end + 1, tempos, quarter)
    length_s = seconds_between(chord.onset, chord.end, tempos, quarter)
    wanted_s = SHORTEST_HOLD_S - length_s
    longer_ticks = min(round(wanted_s / tick_s), int(room_s / tick_s))
    if longer_ticks > 0:
        for track in score.tracks:
            _hold(track, chord, longer_ticks)


def fitting_tempos(
    written: Tempos, chord: LastChord, ticks_per_quarter: int, limit_s: float
) -> tuple[Tempos, float]:
    """The tempos with the slowest ritardando that fits, and the seconds that are left for the hold.

    A piece with several tempos of its own gets no ritardando, and neither does one where none fits.
    The seconds are negative if the piece is longer than `limit_s` already.
    """
    one_tempo = len(written) == 1 and written[0][0] == 0
    if one_tempo and chord.rit_beats:
        first = chord.rit_beats[0]
        in_tempo_s = seconds_between(0, first, written, ticks_per_quarter)
        for final_tempo in FINAL_TEMPOS:
            tempos = [*written, *ritardando(written[0][1], chord, final_tempo)]
            slow_s = seconds_between(first, chord.end, tempos, ticks_per_quarter)
            # The slower part must be shorter than the part in tempo, so that the median tempo is
            # still the piece's own; shorter by a millisecond, because readers round.
            room_s = min(limit_s - in_tempo_s, in_tempo_s - 1e-3) - slow_s
            if room_s >= 0:
                return tempos, room_s
    return written, limit_s - seconds_between(0, chord.end, written, ticks_per_quarter)


def ritardando(mspq: int, chord: LastChord, final_tempo: float) -> Tempos:
    """A tempo for each beat of the ritardando and one for the last chord's beat.

    `mspq` are the microseconds per quarter note before it, `final_tempo` the share of that tempo
    which the last chord has. The tempo v falls like the speed of a runner who comes to a stop
    (Friberg and Sundberg, "Does music performance allude to locomotion?", 1999): with the position
    x from 0 to 1, v(x) = (1 + (v(1)^3 - 1) x)^(1/3). Each beat has the tempo at its middle. For
    example, four beats down to 0.8 have 0.979, 0.935, 0.886, 0.831 of the tempo, the chord 0.8.
    """
    count = len(chord.rit_beats)
    at = [(number + 0.5) / count for number in range(count)]
    shares = [(1 + (final_tempo**3 - 1) * x) ** (1 / 3) for x in at]
    beats = (*chord.rit_beats, chord.beat)
    return [(b, round(mspq / v)) for b, v in zip(beats, [*shares, final_tempo], strict=True)]


def last_chord(score: ScoreTick) -> LastChord:
    """The last chord of `score` and the beats that lead to it. In 6/8 a beat is three eighths."""
    metres = [(s.time, s.numerator, s.denominator) for s in score.time_signatures]
    onset = max(int(track.notes.numpy()["time"].max()) for track in score.tracks if track.notes)
    bar_starts: list[int] = []  # of up to six bars, the last first
    beats: list[int] = []  # of these bars, up to the chord's; the last first
    tick = onset  # in the loop, a tick of the bar to look at; it goes back one bar at a time
    while tick >= 0 and len(bar_starts) < FEWEST_BARS:
        bar_start, beat_ticks = bars_of(np.array([tick]), metres, score.ticks_per_quarter)
        bar_starts.append(int(bar_start[0]))
        beats += reversed(range(bar_starts[-1], tick + 1, int(beat_ticks[0])))
        if tick == onset:
            chord_beat_ticks = int(beat_ticks[0])
        tick = bar_starts[-1] - 1
    beat = beats[0]
    long = len(bar_starts) == FEWEST_BARS
    first = bar_starts[BARS - 1] if long else beat - beat // SHORT_SHARE
    rit_beats = tuple(tick for tick in reversed(beats) if first <= tick < beat)
    return LastChord(onset, int(score.end()), beat, chord_beat_ticks, rit_beats)


def seconds_between(start: int, end: int, tempos: Tempos, ticks_per_quarter: int) -> float:
    """The seconds from tick `start` to tick `end`."""
    tempos = tempos if tempos and tempos[0][0] <= 0 else [_DEFAULT_TEMPO, *tempos]
    begins = [tick for tick, _ in tempos]
    microseconds = 0.0
    for (begin, mspq), stop in zip(tempos, [*begins[1:], end], strict=True):
        ticks = max(0, min(stop, end) - max(begin, start))
        microseconds += ticks * mspq / ticks_per_quarter
    return microseconds / 1e6


def _hold(track: TrackTick, chord: LastChord, longer_ticks: int) -> None:
    """Lengthen the notes of the last chord in `track`, so that the last ends `longer_ticks` later.

    Notes that sound after the last onset and end within a beat of the piece's end are lengthened so
    that they end together. Shorter notes of the last chord are lengthened in proportion. All others
    stay as they are.
    """
    arrays = track.notes.numpy()
    time, duration = (arrays[name].astype(np.int64) for name in ("time", "duration"))
    ends = time + duration
    growth = 1 + longer_ticks / (chord.end - chord.onset)
    struck = np.where(time == chord.onset, (duration * growth).astype(np.int64), duration)
    together = (ends > chord.onset) & (ends >= chord.end - chord.beat_ticks)
    held = np.where(together, chord.end + longer_ticks - time, struck)
    track.notes = NoteTickList.from_numpy(
        arrays["time"], held.astype(np.int32), arrays["pitch"], arrays["velocity"]
    )
