"""What a piece has done before: its bars by place, and the longest suffix that came earlier.

Both name the id that would come next if the music went on as it did there. They follow the ids of
one piece at a few microseconds an id; they know what tokens mean, and nothing of models, plans or
how far a name is to be believed (`memory.py`).
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
# A place in a bar is one number that ascends with its ids: position, program, pitch.
_POSITION, _PROGRAM = 14, 8  # bits below
_PROGRAMS = (1 << _POSITION - _PROGRAM) - 1


class Bars:
    """The ids of each bar of a sequence, and where in the bar each of them stands."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._kinds = vocabulary.kind
        self._first_pitch, self._end_pitch = vocabulary.ranges[PITCH]
        self._bar_id = vocabulary.ranges[BAR][0]
        self._program_ids = vocabulary.program_ids
        self._program_rank = vocabulary.program_rank
        self._tokens: list[list[int]] = []
        self._places: list[list[int]] = []  # of the same ids, ascending
        self._place = self._position = 0

    @property
    def now(self) -> int:
        """Number of the bar that goes on, from 0; -1 before the first."""
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
            self._place = 1
        self._tokens[-1].append(token)
        self._places[-1].append(self._place)

    def named(self, bar: int, state: MusicState, shift: int = 0) -> int:
        """The first id that an earlier bar has beyond the present place; `NOTHING` for none.

        Its pitches count as ``shift`` semitones higher than they are.

        Behind its last id that is the next bar line. After a pitch it is the length that the same
        pitch has there, or another pitch at the same position. Where the two bars are in
        different programs, it is the token that goes over to the earlier bar's.
        """
        tokens, places, place = self._tokens[bar], self._places[bar], self._place
        pitch = place & (1 << _PROGRAM) - 1
        if shift and pitch:  # where the note would be that is here
            place += max(1, min(pitch - 2 * shift, (1 << _PROGRAM) - 1)) - pitch
        at = bisect_right(places, place)
        if state.kind == PITCH:
            if at < len(tokens) and places[at] == place + 1:
                return tokens[at]
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
            # it is in force already
            return self._moved(tokens[at + 1], shift) if at + 1 < len(tokens) else NOTHING
        if kind == PITCH:
            program = (places[at] >> _PROGRAM & _PROGRAMS) - 1
            if program != state.program:
                return self._program_ids[program]
            return self._moved(token, shift)
        return token

    def _moved(self, pitch_id: int, shift: int) -> int:
        """The id of the pitch that is so many semitones higher."""
        moved = pitch_id + shift
        return moved if self._first_pitch <= moved < self._end_pitch else NOTHING


class Suffix:
    """The longest suffix of the ids so far that occurred before, and the id that followed it there.

    Of several places the most recent counts. The last `SHORTEST` ids are looked up in a table, and
    at most `MOST` of the places found are then followed id by id.

    Attributes:
        token: that id, or `NOTHING`; ``source`` where in ``ids`` it stands.
        length: ids of the suffix; 0 for none.
    """

    SHORTEST = 4
    MOST = 16

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.token = NOTHING
        self.length = self.source = 0
        self._ends: dict[tuple[int, ...], list[int]] = {}  # of the last SHORTEST ids
        self._active: dict[int, int] = {}  # end of an earlier occurrence -> its length

    def step(self, token: int) -> None:
        """Takes the next id."""
        ids, shortest = self.ids, self.SHORTEST
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
