"""Finds the pitches that would make parallel fifths or octaves with a note just struck.

Styles that are written for voices avoid them: Bach's chorales have 0.4 of each in 100 changes of
chord, and the model alone made 6 to 8 (LOG.md). A voice moves from a note to the nearest note after
it in the same program. Depends on neither styles nor models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from music.tracker import MusicState

LEAN = 8.0  # nats that such a pitch loses
PARALLEL = (0, 7)  # semitones of the intervals, octaves aside: octave and fifth
FARTHEST = 12  # a voice moves at most so many semitones; a note farther off is another voice's
_OCTAVES = (-36, -24, -12, 0, 12, 24, 36)


class Voices:
    """Follows one sequence by its onsets. Pitches are counted from the lowest that has an id."""

    def __init__(self) -> None:
        self._before: dict[int, list[int]] = {}  # by program, the pitches before this onset
        self._moved: list[tuple[int, int]] = []  # (from, to) of the notes struck at this onset

    def move(self, sounding_by_program: Mapping[int, int]) -> None:
        """Begins a new onset; ``sounding_by_program`` is what sounded up to it, as bits."""
        self._before = {p: _pitches(bits) for p, bits in sounding_by_program.items() if bits}
        self._moved = []

    def strike(self, pitch: int, program: int) -> None:
        """Takes a note that begins at this onset."""
        before = self._before.get(program)
        if before:
            came_from = min(before, key=lambda p: abs(p - pitch))
            if came_from != pitch:
                self._moved.append((came_from, pitch))

    def parallels(self, state: MusicState) -> Iterator[int]:
        """Pitches to which the program in force must not move.

        Example: C4 and G4 sounded (60 and 67), and the lower voice has moved to D4 (62). The fifth
        between them would be parallel if G4 moved to A4 (69), so 69 is one of these pitches.
        """
        before = self._before.get(state.program)
        if not before or not self._moved:
            return
        for origin in before:
            for other_from, other_to in self._moved:
                interval = origin - other_from
                if abs(interval) % 12 not in PARALLEL:
                    continue
                for octaves in _OCTAVES:
                    pitch = other_to + interval + octaves
                    # The voice that was above by a fifth, octaves aside, must stay above: a fifth
                    # above and a fifth below are not the same interval.
                    if interval % 12 and (pitch > other_to) != (interval > 0):
                        continue
                    # It is this voice that moves only if ``origin`` is the nearest note before.
                    moves = abs(pitch - origin)
                    if 0 < moves <= FARTHEST and moves == min(abs(pitch - p) for p in before):
                        yield pitch


def _pitches(bits: int) -> list[int]:
    # x & -x is the lowest set bit: 0b0110 gives 1, then 2.
    found = []
    while bits:
        lowest = bits & -bits
        found.append(lowest.bit_length() - 1)
        bits ^= lowest
    return found
