"""Two ways to find the id that would repeat earlier music: by place in a bar, and by suffix.

`Bars` looks at the same place of an earlier bar, `Suffix` at the longest suffix of the ids that
occurred before. Both name the id that would come next if the music continued as it did there. They
take a few microseconds an id. Depends on neither models nor plans; how much weight a named id gets
is decided in `memory.py`.
"""

from __future__ import annotations

from bisect import bisect_right

from music.tracker import (
    BAR,
    DURATION,
    PITCH,
    POSITION,
    PROGRAM,
    TIMESIG,
    MusicState,
    Vocabulary,
)

NOTHING = 0  # PAD: no id is named
# A place in a bar is one number, which ascends from id to id within the bar. It holds, from the
# highest bits to the lowest: position + 1; program rank + 1 (6 bits); 2 * pitch + 2 for a pitch,
# and 1 more for its duration (8 bits). Pitches count from the lowest that has an id. A part that is
# not known yet is 0. Example: pitch 3 of program 0 at position 0 is at
# (1 << 14) + (1 << 8) + 8 = 16648, and its duration is at 16649.
_POSITION, _PROGRAM = 14, 8  # how many bits lie below the position, and below the program
_PROGRAMS = (1 << _POSITION - _PROGRAM) - 1  # mask of a program, shifted to the lowest bits


class Bars:
    """The ids of each bar of a sequence, and where in the bar each of them stands."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._kinds = vocabulary.kind
        self._first_pitch, self._end_pitch = vocabulary.ranges[PITCH]
        self._bar_id = vocabulary.ranges[BAR][0]
        self._program_ids = vocabulary.program_ids
        self._program_rank = vocabulary.program_rank
        self._tokens: list[list[int]] = []
        self._places: list[list[int]] = []  # the places of the same ids, ascending in each bar
        self._place = self._position = 0

    @property
    def now(self) -> int:
        """Number of the present bar, from 0; -1 before the first."""
        return len(self._tokens) - 1

    def step(self, token: int, state: MusicState) -> None:
        """Takes an id and the tracker's state after it."""
        kind = state.kind
        if kind == PITCH:
            pitch = token - self._first_pitch
            self._place = self._position + (state.program + 1 << _PROGRAM) + 2 * pitch + 2
        elif kind == DURATION:
            self._place += 1
        elif kind == POSITION:
            self._place = self._position = state.position + 1 << _POSITION
        elif kind == PROGRAM:
            self._place = self._position + (state.program + 1 << _PROGRAM)
        elif kind == BAR:
            self._tokens.append([])
            self._places.append([])
            self._place = self._position = 0
        elif kind == TIMESIG:
            self._place = 1  # behind the bar line at 0, before every position
        self._tokens[-1].append(token)
        self._places[-1].append(self._place)

    def named(self, bar: int, state: MusicState, shift: int = 0) -> int:
        """The id with which the present bar would continue if it repeated an earlier one.

        It is the first id of the earlier bar beyond the present place, or the next bar line if
        there is none. After a pitch it is the duration that the same pitch has there, or else that
        of another pitch at the same position. Where the two bars are in different programs, it is
        the id that switches to the earlier bar's program. `NOTHING` if no id fits.

        Args:
            shift: the earlier bar's pitches count as so many semitones higher than they are.
        """
        tokens, places, place = self._tokens[bar], self._places[bar], self._place
        pitch = place & (1 << _PROGRAM) - 1
        # A pitch p of the earlier bar is p + shift here. So in the earlier bar the last note lies
        # ``shift`` pitches lower: two units each, kept within the 8 bits.
        if shift and pitch:
            place += max(1, min(pitch - 2 * shift, (1 << _PROGRAM) - 1)) - pitch
        at = bisect_right(places, place)
        if state.kind == PITCH:
            if at < len(tokens) and places[at] == place + 1:
                return tokens[at]
            # The last duration before this place, or that of the next pitch after it.
            for near in (at - 1, at + 1):
                if (
                    0 <= near < len(tokens)
                    and places[near] >> _POSITION == place >> _POSITION
                    and self._kinds[tokens[near]] == DURATION
                ):
                    return tokens[near]
            return NOTHING
        if at == len(tokens):
            return self._bar_id
        token = tokens[at]
        kind = self._kinds[token]
        if kind == PROGRAM and self._program_rank[token] == state.program:
            # That program is in force already, so its pitch comes next.
            return self._moved(tokens[at + 1], shift) if at + 1 < len(tokens) else NOTHING
        if kind == PITCH:
            program = (places[at] >> _PROGRAM & _PROGRAMS) - 1
            if program != state.program:
                return self._program_ids[program]
            return self._moved(token, shift)
        return token

    def _moved(self, pitch_id: int, shift: int) -> int:
        """The id of the pitch ``shift`` semitones higher; `NOTHING` if it has no id."""
        moved = pitch_id + shift
        return moved if self._first_pitch <= moved < self._end_pitch else NOTHING


class Suffix:
    """The longest suffix of the ids so far that occurred before, and the id that followed it.

    If it occurred in several places, the most recent one counts. The last `SHORTEST` ids are looked
    up in a table, and at most `MOST` of the places found are then followed id by id.

    Example: after the ids 1 2 3 4 5 9 1 2 3 4 the suffix is 1 2 3 4, and the id that followed is 5.

    Attributes:
        token: the id that followed, or `NOTHING`.
        source: the index of that id in ``ids``.
        length: how many ids the suffix has; 0 if there is none.
    """

    SHORTEST = 4
    MOST = 16

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.token = NOTHING
        self.length = self.source = 0
        # SHORTEST ids -> the indices at which they ended, so far
        self._ends: dict[tuple[int, ...], list[int]] = {}
        # index at which an earlier occurrence of the suffix ends -> length of that suffix
        self._active: dict[int, int] = {}

    def step(self, token: int) -> None:
        """Takes the next id."""
        ids, shortest = self.ids, self.SHORTEST
        # Occurrences that this id continues grow by one; all others are over.
        active = {end + 1: n + 1 for end, n in self._active.items() if ids[end + 1] == token}
        ids.append(token)
        here = len(ids) - 1
        if here >= shortest - 1:
            key = tuple(ids[-shortest:])
            ends = self._ends.get(key)
            if ends is None:
                self._ends[key] = [here]
            else:
                for end in ends:
                    if end not in active:
                        active[end] = shortest
                ends.append(here)
                if len(ends) > self.MOST:
                    del ends[0]
                if len(active) > self.MOST:
                    longest = sorted(active.items(), key=lambda place: (place[1], place[0]))
                    active = dict(longest[-self.MOST :])
        self._active = active
        length, where = 0, -1
        for end, n in active.items():
            if n > length or (n == length and end > where):
                length, where = n, end
        self.length, self.source = length, where + 1
        self.token = ids[where + 1] if length else NOTHING
