"""Which ids may come next: the tokens' grammar, and what music must not do.

It allows no sequence that miditok could not decode, no repeated or overlapping (position, program,
pitch), and no position outside the bar. Every sampled id must pass this mask: ids that break the
grammar decode to near silence without any error. Depends on neither the model nor sampling.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from music.tracker import (
    BAR,
    EOS,
    KINDS,
    PITCH,
    POSITION,
    PROGRAM,
    TEMPO,
    TIMESIG,
    MusicState,
    Vocabulary,
)

# type -> the types that may follow it. The export writes this table into every bundle.
REMI_TRANSITIONS: dict[str, tuple[str, ...]] = {
    "BOS": ("Style",),
    "Style": ("Bar",),
    "Bar": ("TimeSig",),
    "TimeSig": ("Position", "Bar"),
    "Position": ("Tempo", "Program", "Pitch"),
    "Tempo": ("Program", "Position", "Bar"),
    "Program": ("Pitch",),
    "Pitch": ("Duration",),
    "Duration": ("Pitch", "Program", "Position", "Bar", "EOS"),
    "PAD": (),
    "EOS": (),
}


class Grammar:
    """Turns a `MusicState` into the set of ids that may follow.

    Args:
        vocabulary: the ids' meanings.
        transitions: type name -> names of the types that may follow, from ``bundle.json``.
        max_empty_bars: how many bars in a row may be empty before a bar must have a note.

    Raises:
        ValueError: the table names a type that does not exist.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        transitions: Mapping[str, Sequence[str]],
        max_empty_bars: int = 2,
    ) -> None:
        names = set(transitions) | {name for after in transitions.values() for name in after}
        if not names <= set(KINDS):
            raise ValueError(f"the grammar names unknown types: {sorted(names - set(KINDS))}")
        self.vocabulary = vocabulary
        self.max_empty_bars = max_empty_bars
        self._after = [
            tuple(KINDS.index(name) for name in transitions.get(kind, ())) for kind in KINDS
        ]

        self._choices: dict[tuple[tuple[int, int], ...], NDArray[np.int64]] = {}
        self._members: dict[int, frozenset[int]] = {}  # of the arrays in _choices
        n = vocabulary.programs
        # By the highest program rank at this position so far (-1 for none), then by the rank of the
        # current program (n for none). All are made here, so that a step only looks one up.
        self._programs = {
            last: [self._program_ranges(last, current) for current in range(n + 1)]
            for last in range(-1, n)
        }

    def _program_ranges(self, last: int, current: int) -> tuple[tuple[int, int], ...]:
        """Half-open id ranges of the programs that may be named at a position.

        These are the programs ranked above ``last``, without ``current``: to name the program that
        is in force already would be redundant.
        """
        ids = [
            token
            for rank, token in enumerate(self.vocabulary.program_ids)
            if rank > last and rank != current
        ]
        # Adjacent ids join into one range: ids 3 4 5 8 become (3, 6), (8, 9).
        ranges: list[tuple[int, int]] = []
        for token in sorted(ids):
            if ranges and ranges[-1][1] == token:
                ranges[-1] = (ranges[-1][0], token + 1)
            else:
                ranges.append((token, token + 1))
        return tuple(ranges)

    def allowed(self, state: MusicState, may_end: bool) -> Iterator[tuple[int, int]]:
        """Half-open id ranges that may follow; the caller still excludes the pitches of `struck`.

        Every piece opens with Bar, TimeSig, Position_0, Tempo, Program: without these it could not
        be decoded on its own.
        """
        ranges = self.vocabulary.ranges
        for kind in self._after[state.kind]:
            if kind not in ranges:
                continue
            start, stop = ranges[kind]
            if kind == POSITION:
                if not state.qpm:
                    stop = start + 1  # the tempo must come at position 0
                else:  # positions ascend, and stay inside the bar
                    start, stop = (
                        start + state.position + 1,
                        min(stop, start + state.bar_ticks),
                    )
            elif kind == PITCH:
                if state.program == self.vocabulary.programs:
                    continue  # no program has been named yet
                # Within one program and position pitches ascend, so no note is written twice.
                if state.last_pitch >= 0 and state.last_program == state.program:
                    start = state.last_pitch + 1
            elif kind == PROGRAM:
                if state.kind == POSITION and not state.qpm:
                    continue  # the tempo comes first
                yield from self._programs[state.last_program][state.program]
                continue
            elif (
                # A second tempo; an end too early; a next bar while this one lacks tempo or a note.
                (kind == TEMPO and state.qpm)
                or (kind == EOS and not may_end)
                or (
                    kind == BAR
                    and (not state.qpm or state.empty_bars >= self.max_empty_bars)
                    and state.kind in (TIMESIG, TEMPO)
                )
            ):
                continue
            if start < stop:
                yield start, stop

    def choices(self, state: MusicState, may_end: bool = False) -> NDArray[np.int64]:
        """Ids that may follow; the caller still excludes the pitches of `struck`.

        Each array is made once and cached.

        Raises:
            ValueError: nothing may follow, which the transitions of `REMI_TRANSITIONS` never
                let happen before EOS.
        """
        ranges = tuple(self.allowed(state, may_end))
        ids = self._choices.get(ranges)
        if ids is None:
            if not ranges:
                name = KINDS[state.kind]
                raise ValueError(f"the grammar lets nothing follow {name} here")
            ids = self._choices[ranges] = np.concatenate([np.arange(a, b) for a, b in ranges])
            self._members[id(ids)] = frozenset(ids.tolist())
        return ids

    def members(self, choices: NDArray[np.int64]) -> frozenset[int]:
        """The ids of an array that `choices` returned, as a set for fast look-up."""
        return self._members.get(id(choices)) or frozenset(choices.tolist())

    def struck(self, state: MusicState) -> Iterator[int]:
        """Pitch ids that sound now in the current program, so must not be struck again."""
        sounding = state.sounding_by_program.get(state.program, 0)
        first = self.vocabulary.ranges[PITCH][0]
        # x & -x is the lowest set bit: of 0b0110 it is 0b0010. It is yielded, then cleared.
        while sounding:
            lowest = sounding & -sounding
            yield first + lowest.bit_length() - 1
            sounding ^= lowest

    def follows(self, token: int, state: MusicState) -> bool:
        """Whether the token may stand here in *any* music, real music included.

        Checks only that its type may follow, that a position is inside its bar, and that a pitch
        has a program. Weaker than `permits`, since real music also strikes a key again while it
        still sounds.
        """
        kind = self.vocabulary.kind[token]
        if kind not in self._after[state.kind]:
            return False
        if kind == POSITION:
            return state.position < self.vocabulary.value[token] < state.bar_ticks
        return kind != PITCH or state.program < self.vocabulary.programs

    def permits(self, token: int, state: MusicState, may_end: bool = True) -> bool:
        """Whether this one id may be sampled next."""
        return any(a <= token < b for a, b in self.allowed(state, may_end)) and (
            self.vocabulary.kind[token] != PITCH or token not in set(self.struck(state))
        )
