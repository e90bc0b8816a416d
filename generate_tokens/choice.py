"""Which of several candidates is the best piece: by what real music keeps to, length and ending.

No model and no data are asked: each feature of `measures` has the range in which the middle 80 % of
real pieces lie, and a candidate loses as far as it is outside. Knows ids and notes; not how
candidates are made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from generate_tokens.measures import TICKS_PER_QUARTER, Music, scalar_features
from generate_tokens.state import BAR, DURATION, TICKS_PER_BEAT, TIMESIG, MusicState, Vocabulary

# 10th and 90th percentile over the first 90 s of every tenth training piece, 307 in all, measured
# on 2026-11-22 (LOG.md).
REAL: Mapping[str, tuple[float, float]] = {
    "pitch_range": (22.6, 52.0),
    "mean_interval": (2.36, 8.22),
    "notes_per_second": (3.34, 11.58),
    "pitch_class_entropy": (2.59, 3.20),
    "pitch_entropy": (3.39, 4.83),
    "polyphony": (1.53, 4.0),
    "scale_consistency": (0.854, 1.0),  # purer than most is no fault
    "consonance": (0.792, 1.0),
    "groove": (0.750, 0.959),
    "empty_beats": (0.0, 0.196),
    "bar_repetition": (0.0, 0.488),
    "ngram_repetition": (0.0, 0.462),
}
NO_END = 0.5  # lost by a piece that does not stop about its planned last bar
LATEST_END_BARS = 2  # after the planned last bar; a piece that has not ended by then is cut there
WRONG_LENGTH = 1.0  # lost by a piece of twice the wanted length, or of none


def music_of(ids: Iterable[int], vocabulary: Vocabulary) -> tuple[Music | None, MusicState]:
    """The notes of a piece, None where there is none, and the state after them.

    ``ids`` are those behind BOS and style; a tick of the notes is 1/12 of a quarter note.
    """
    state = MusicState(vocabulary)
    notes: list[tuple[int, int, int, int]] = []  # onset, pitch, duration, programme
    metres: list[tuple[int, int, int]] = []
    bar_start = 0.0  # in quarter notes
    for token in ids:
        if vocabulary.kind[token] == BAR and state.bars:
            bar_start += state.bar_ticks * state.tick_quarters
        state.step(token)
        if state.kind == DURATION:
            onset = bar_start + max(state.position, 0) * state.tick_quarters
            length = vocabulary.value[token] * state.tick_quarters
            ticks = (round(TICKS_PER_QUARTER * quarters) for quarters in (onset, length))
            pitch = int(vocabulary.value[state.last_pitch])
            notes.append((next(ticks), pitch, next(ticks), state.program))
        elif state.kind == TIMESIG:
            beat_quarters = TICKS_PER_BEAT * state.tick_quarters
            metre = (state.bar_ticks // TICKS_PER_BEAT, round(4 / beat_quarters))
            if not metres or metres[-1][1:] != metre:
                metres.append((round(TICKS_PER_QUARTER * bar_start), *metre))
    if not notes:
        return None, state
    onset, pitch, duration, program = np.array(sorted(notes), np.int64).T
    end = int((onset + duration).max())
    music = Music(onset, duration, pitch, program, end, state.qpm, tuple(metres), duplicates=0.0)
    return music, state


def faults_of(ids: Sequence[int], vocabulary: Vocabulary) -> dict[str, float]:
    """What the music so far loses by name, 0 where all is well; the fewer in sum, the better.

    A feature loses as many widths of its real range as it is outside, at most 1.
    """
    music, _ = music_of(ids, vocabulary)
    features = scalar_features(music) if music else {}
    faults = {}
    for name, (low, high) in REAL.items():
        value = features.get(name, np.nan)
        outside = max(low - value, value - high, 0.0) / (high - low)
        faults[name] = 1.0 if np.isnan(value) else round(min(1.0, outside), 4)
    return faults


def faults_of_piece(
    ids: Sequence[int], vocabulary: Vocabulary, duration_s: float
) -> dict[str, float]:
    """The same of a finished piece, and what it loses by its length and by its ending."""
    _, state = music_of(ids, vocabulary)
    length = min(1.0, abs(state.end_s / duration_s - 1))
    left = state.bars_left(duration_s)
    ends = left is not None and -LATEST_END_BARS < left <= 1
    return {
        "length": round(WRONG_LENGTH * length, 4),
        "ending": 0.0 if ends else NO_END,
        **faults_of(ids, vocabulary),
    }
