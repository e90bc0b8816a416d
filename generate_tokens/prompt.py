"""The bars that a new piece goes on from. Knows tokens; not where they were stored."""

from __future__ import annotations

from collections.abc import Sequence

from generate_tokens.state import (
    BAR,
    BOS,
    DURATION,
    EOS,
    PITCH,
    POSITION,
    PROGRAM,
    STYLE,
    TEMPO,
    TIMESIG,
    MusicState,
    Vocabulary,
)


def last_bars(ids: Sequence[int], vocabulary: Vocabulary, limit: int) -> list[int]:
    """The last whole bars of ``ids`` within ``limit`` ids, able to stand alone.

    They open with Bar, TimeSig, Position_0, Tempo, and name their first programme, as every piece
    does. Of a last bar that does not fit alone, the notes that do; empty for ids without notes.
    """
    state = MusicState(vocabulary)
    body = [i for i in ids if vocabulary.kind[i] not in (BOS, STYLE, EOS)]
    bars: list[tuple[int, int]] = []  # (index of the Bar token, programme that is in force)
    tempo: list[int] = []
    for index, token in enumerate(body):
        if vocabulary.kind[token] == BAR:
            bars.append((index, state.program))
        if vocabulary.kind[token] == TEMPO:
            tempo = [token]
        state.step(token)
    added = 3  # Position_0, Tempo and Program at most
    if not bars or not tempo:
        return []
    fitting = [bar for bar in bars if len(body) - bar[0] + added <= limit]
    index, program = fitting[0] if fitting else bars[-1]
    tail = [token for token in body[index:] if vocabulary.kind[token] != TEMPO][: limit - added]
    while tail and vocabulary.kind[tail[-1]] != DURATION:
        tail.pop()  # what stands behind the last whole note
    return _opened(tail, vocabulary, tempo, program) if tail else []


def _opened(tail: list[int], vocabulary: Vocabulary, tempo: list[int], program: int) -> list[int]:
    first_position = vocabulary.ranges[POSITION][0]
    metre, rest = tail[:2], tail[2:]
    rest = rest[1:] if rest and rest[0] == first_position else rest
    first = next((i for i, t in enumerate(rest) if vocabulary.kind[t] in (PROGRAM, PITCH)), None)
    if first is not None and vocabulary.kind[rest[first]] == PITCH:
        rest = [*rest[:first], vocabulary.program_ids[program], *rest[first:]]
    return [*metre, first_position, *tempo, *rest]


def opening_after(prompt: Sequence[int], vocabulary: Vocabulary) -> list[int]:
    """The first ids of a piece that goes on in the metre and tempo of ``prompt``."""
    metres = [i for i in prompt if vocabulary.kind[i] == TIMESIG]
    tempos = [i for i in prompt if vocabulary.kind[i] == TEMPO]
    if not metres or not tempos:
        return []
    bar = vocabulary.ranges[BAR][0]
    return [bar, metres[-1], vocabulary.ranges[POSITION][0], tempos[-1]]
