"""Repetition in one piece: how alike its bars are, and which stretches return exactly.

It uses numpy only and is fast (about 2 ms for a minute of music), so that it can judge the
candidates of a piece, too. Depends on neither tokens nor models: notes come as arrays
(`music.features.Music`).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from music.features import FloatArray, IntArray, Music, bar_lines, melody
from music.harmony import seconds_per_tick

LAGS = 16  # bars; the lag curve covers lags from 1 to this one
SHOWN_LAGS = (1, 2, 3, 4, 8, 16)  # the lags at which real music's curve has its peaks, and 3
COVER_S = (8.0, 15.0)  # a phrase and a section, in seconds

REPETITION = (
    "longest_return_s",
    "cover_8s",
    "cover_15s",
    "longest_same_top",
    "distinct_rhythms",
)

Bits = NDArray[np.uint8]


def bar_sets(music: Music, *, programs: bool) -> Bits:
    """[bars, bytes]: for each bar its set of (onset in the bar, pitch), one bit for each member.

    With ``programs`` the members are (onset in the bar, program, pitch).
    """
    lines = bar_lines(music)
    bar = np.searchsorted(lines, music.onset, side="right") - 1
    # One integer for each member: onset above bit 14, program (7 bits) above bit 7, pitch (7 bits).
    member = (music.onset - lines[bar]) << 14 | music.pitch
    if programs:
        member = member | music.program << 7
    # Number the members that occur in the piece from 0: one column of ``has`` for each.
    names, number = np.unique(member, return_inverse=True)
    has = np.zeros((len(lines) - 1, len(names)), bool)
    has[bar, number] = True
    return np.packbits(has, axis=1)


def likeness(bars: Bits) -> FloatArray:
    """[bars, bars]: members that two bars share over members that either has (Jaccard index).

    The similarity of an empty bar to any bar, itself included, is 0.
    """
    sizes = np.bitwise_count(bars).sum(1, dtype=np.int64)
    shared = np.stack([np.bitwise_count(bars & bar).sum(1, dtype=np.int64) for bar in bars])
    either = sizes[:, None] + sizes - shared
    alike: FloatArray = shared / np.maximum(either, 1)
    return alike


def lag_curve(music: Music) -> FloatArray:
    """[16]: the mean `likeness` of bars that lie 1 to 16 bars apart; nan for lags beyond the piece.

    The bars are compared by (onset in the bar, pitch); pairs with an empty bar count as 0.
    """
    alike = likeness(bar_sets(music, programs=False))
    curve = np.full(LAGS, np.nan)
    for lag in range(1, min(LAGS, len(alike) - 1) + 1):
        curve[lag - 1] = np.diagonal(alike, lag).mean()
    return curve


def curve_difference(one: FloatArray, other: FloatArray) -> float:
    """Mean absolute difference of two lag curves (Museformer's similarity error, Yu et al. 2022).

    The mean is over the lags that both curves have; nan if there are none.
    doi:10.48550/arXiv.2210.10349
    """
    differences = np.abs(one - other)
    known = differences[~np.isnan(differences)]
    return float(known.mean()) if len(known) else np.nan


def returns(music: Music) -> Iterator[tuple[int, int, int]]:
    """Exact returns as (first bar, bar after the last, lag).

    Each bar of a return equals the bar that lies ``lag`` bars before it. Equal bars have the same
    set of (onset in the bar, program, pitch); an empty bar equals no bar. A run at one lag that
    lies within a run at a shorter lag is left out: a bar played sixteen times is a return at lag 1,
    and not also a return of eight bars at lag 8.

    Example: bars A B C A B C A are the one return (3, 7, 3): C, at bar 5, is the C of bar 2.
    """
    sets = bar_sets(music, programs=True)
    bar = np.unique(sets, axis=0, return_inverse=True)[1].reshape(-1)  # equal bars, equal numbers
    bar = np.where(sets.any(1), bar, -np.arange(1, len(bar) + 1))  # an empty bar equals no other
    reach = np.zeros(len(bar), np.int64)  # by bar, the last end of the runs it is in
    for lag in range(1, len(bar)):
        same = np.concatenate(([False], bar[lag:] == bar[:-lag], [False]))
        # The False on both sides gives each run of equal bars two edges: its first bar and its end.
        edges = np.flatnonzero(same[1:] != same[:-1]) + lag
        for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            if reach[first] < end:
                reach[first:end] = np.maximum(reach[first:end], end)
                yield first, end, lag


def repetition_features(music: Music) -> dict[str, float]:
    """One number per name of `REPETITION`.

    longest_return_s: length of the longest exact return. A return cannot be longer than its lag, or
    it would overlap what it repeats. A run of more bars than its lag is several returns, each of
    the one before it, and only its first ``lag`` bars count.
    cover_8s, cover_15s: share of the piece's time that lies within exact returns of at least that
    many seconds, or within the music that they repeat.
    longest_same_top: the most onsets in a row with the same highest note.
    distinct_rhythms: the number of different sets of onsets, divided by the number of bars that
    have notes.
    """
    lines = bar_lines(music)
    second = seconds_per_tick(music)
    longest = 0.0
    covered = np.zeros((len(COVER_S), len(lines) - 1), bool)
    for first, end, lag in returns(music):
        length = float(lines[min(end, first + lag)] - lines[first]) * second
        longest = max(longest, length)
        for row, least in zip(covered, COVER_S, strict=True):
            for back in (0, lag):  # the return itself, and the music that it repeats
                row[first - back : end - back] |= length >= least
    cover = (covered @ np.diff(lines)) / max(int(lines[-1]), 1)
    values = (longest, *cover.tolist(), float(longest_same_top(music)), _distinct_rhythms(music))
    return dict(zip(REPETITION, values, strict=True))


def longest_same_top(music: Music) -> int:
    # The most onsets in a row with the same highest note.
    top, _ = melody(music)
    changes = np.flatnonzero(np.diff(top)) + 1
    return int(np.diff(np.concatenate(([0], changes, [len(top)]))).max())


def _distinct_rhythms(music: Music) -> float:
    lines: IntArray = bar_lines(music)
    bar = np.searchsorted(lines, music.onset, side="right") - 1
    onsets = np.unique(np.stack([bar, music.onset - lines[bar]]), axis=1)
    bars = np.split(onsets[1], np.flatnonzero(np.diff(onsets[0])) + 1)
    return len({rhythm.tobytes() for rhythm in bars}) / len(bars)
