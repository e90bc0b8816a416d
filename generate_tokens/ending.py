"""Leads a piece to its end: to a last chord like that of the real piece whose form it has.

In the last planned bar the chord comes where the real piece has it, on the same degree of the key,
and lasts about as long; mostly it is the tonic. The pitches before it lean towards the dominant, no
note is held into it, and then the piece ends. All of this is done by changing logits. Depends on
neither models nor sampling.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from music.form import LastChord
from music.harmony import LAST_S, key_heard
from music.tracker import BAR, DURATION, EOS, PITCH, POSITION, MusicState, Vocabulary

ONSETS = 24  # so many last onsets show the register of the bass and the number of voices
OUTSIDE = 8.0  # nats that notes outside the last chord lose, and durations that do not fit it
NEVER = 32.0  # nats that ids lose which are to be chosen only if nothing else is possible
TOWARDS_DOMINANT = 2.0  # nats that notes outside the dominant seventh lose before the last chord
THIN = 2.0  # nats that EOS loses while the last chord has fewer voices than the piece usually has
SHORTEST_SHARE, LONGEST_SHARE = 0.75, 1.1  # of the length of the last chord in the plan
LAST_BARS = 2  # the ending has an effect in so many last bars
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10))  # semitones of major, of minor
LONGEST_CHORD_S = 2.4  # limit for the last chord: the piece of the plan may have a faster tempo
FEWEST_BARS = 3  # in a piece with fewer bars so far, the harmony is not led


class Ending:
    """Follows one sequence, and changes the logits of its last bars."""

    def __init__(self, vocabulary: Vocabulary, last: LastChord) -> None:
        self._first, self._last = vocabulary.ranges[PITCH]
        self._durations = slice(*vocabulary.ranges[DURATION])
        self._positions = slice(*vocabulary.ranges[POSITION])
        self._bar, self._eos = vocabulary.ranges[BAR][0], vocabulary.ranges[EOS][0]
        self._pitches = vocabulary.lowest_pitch + np.arange(self._last - self._first)
        self._ticks = np.array(vocabulary.value[self._durations])
        self._chord = last
        self._notes: list[tuple[int, int, int]] = []  # (tick, ticks of length, pitch)
        self._lows: deque[int] = deque(maxlen=ONSETS)  # the lowest pitch of each onset
        self._voices: deque[int] = deque(maxlen=ONSETS)  # how many pitches sound at each onset
        self._by_program: dict[int, deque[int]] = {}  # the last 12 pitches of each program
        self._onset = -1
        self._key: int | None = None  # 0 to 11 major, 12 to 23 minor

    def strike(self, pitch: int, ticks: int, state: MusicState) -> None:
        """Takes a note as its MIDI pitch and its duration, and the state after it."""
        self._notes.append((state.tick, ticks, pitch))
        pitches = self._by_program.get(state.program)
        if pitches is None:
            pitches = self._by_program[state.program] = deque(maxlen=12)
        pitches.append(pitch)
        if state.tick != self._onset:
            self._onset = state.tick
            self._lows.append(pitch)
            self._voices.append(0)
        elif pitch < self._lows[-1]:
            self._lows[-1] = pitch
        self._voices[-1] = state.sounding.bit_count()

    def settle_key(self, state: MusicState, left: int) -> None:
        """Determines the key from the notes so far, once: later calls do not change it.

        It is the key that `music.harmony.key_of` will find in the whole piece, as far as that can
        be told: the degrees of planned last chords count from there. So what is heard of the
        piece's last 20 s counts twice, and those end with the ``left`` bars that are still to come.
        """
        if self._key is None and self._notes:
            end = state.bar_tick + left * state.bar_ticks
            begin = end - LAST_S / state.seconds_per_tick
            onset, duration, pitch = np.array(self._notes, np.int64).T
            self._key = key_heard(onset, duration, pitch, begin)

    def lean(self, logits: NDArray[np.float32], state: MusicState, left: int) -> bool:
        """Changes ``logits`` [vocabulary] in the last `LAST_BARS` bars of a piece.

        Args:
            left: how many bars are left, this one included.

        Returns:
            Whether the end has begun, after which nothing is copied any more.
        """
        if left > LAST_BARS or not state.seconds_per_tick:
            return False
        key = self._key if state.bars >= FEWEST_BARS else None
        at = self._chord.at if self._chord.at < state.bar_ticks else 0
        began_s = state.seconds - (state.tick - state.bar_tick) * state.seconds_per_tick
        # A piece of one bar should not be a chord alone, so the chord comes no sooner than in the
        # middle of the bar.
        if left <= 1 and began_s < state.seconds_per_tick:
            at = max(at, state.bar_ticks // 2)
        # Before the last chord, in this bar or the next: ``to_go`` is the ticks until then.
        before_last_bar = left == 2
        if before_last_bar or state.position < at:
            to_go = at - max(state.position, 0) + (state.bar_ticks if before_last_bar else 0)
            near = to_go <= state.bar_ticks // 2 + 1
            # If the last chord is the tonic, the half bar before it leans towards the dominant
            # seventh chord: in C, that is G B D F with G in the bass.
            if near and key is not None and not self._chord.degree:
                self._towards(logits, state, key, (7, 11, 2, 5), 7, TOWARDS_DOMINANT)
            logits[self._durations][self._ticks > to_go] -= NEVER  # no note is held into the chord
            if not before_last_bar:  # the chord's position must not be skipped
                logits[self._positions][at + 1 :] -= NEVER
                logits[self._bar] -= NEVER
                logits[self._eos] -= NEVER
            return True
        # The last chord itself.
        root = self._chord.degree
        length = min(self._chord.length, LONGEST_CHORD_S / state.seconds_per_tick)
        if key is not None:
            # The third is the one that the key has. Example: on degree 9 of C major, which is A,
            # the major third would be C sharp. C major lacks it, so the chord is A minor.
            third = 4 if (root + 4) % 12 in SCALES[key // 12] else 3
            self._towards(logits, state, key, (root, root + third, root + 7), root, OUTSIDE)
        least = length * SHORTEST_SHARE or state.bar_ticks / 2
        most = max(length * LONGEST_SHARE, 12) if length else state.bar_ticks
        logits[self._durations][(self._ticks < least) | (self._ticks > most)] -= OUTSIDE
        # Where the model would move to a later position or bar, the piece ends instead: EOS gets
        # the probability of all these ids together, log(sum(exp(logits))).
        going_on = np.append(logits[self._positions], logits[[self._bar, self._eos]])
        logits[self._eos] = np.logaddexp.reduce(going_on.astype(np.float64))
        if self._voices and state.sounding.bit_count() < np.median(self._voices):
            logits[self._eos] -= THIN
        logits[self._positions] -= NEVER
        logits[self._bar] -= NEVER
        return True

    def _towards(
        self,
        logits: NDArray[np.float32],
        state: MusicState,
        key: int,
        above_root: tuple[int, ...],
        bass: int,
        nats: float,
    ) -> None:
        """Lowers the logits of pitches outside a chord, and in the bass of all but its own note.

        Args:
            above_root: the chord's pitch classes, in semitones above the keynote.
            bass: the one of them that the bass has.
            nats: by how much the logits are lowered.
        """
        classes = (self._pitches - key) % 12
        chord = np.isin(classes, np.array(above_root) % 12)
        # The register of the bass: up to a major third above the median of the lowest notes.
        low = self._pitches <= np.median(self._lows) + 4
        # The pitches of a program ascend, so the first one of the lowest program is the bass,
        # whatever its register.
        begins = state.last_pitch < 0 or state.last_program != state.program
        lowest = min(self._by_program, key=lambda p: float(np.mean(self._by_program[p])))
        if begins and state.program == lowest:
            low[:] = True
        chord &= ~low | (classes == bass)
        logits[self._first : self._last][~chord] -= nats
