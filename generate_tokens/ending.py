"""Leads a piece to its end: to a last chord like that of the real piece whose form it has.

In the last planned bar the chord comes where the plan's own piece has it, on the same degree of
the key, and is as long; mostly it is the tonic. The pitches before it lean towards the dominant,
nothing is held into it, and then the piece ends. Knows pitches, ticks and the key; not models.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from music.form import LastChord
from music.harmony import key_profiles
from music.tracker import BAR, DURATION, EOS, PITCH, POSITION, MusicState, Vocabulary

KEY_NOTES = 100  # the last ones count once more in the key
ONSETS = 24  # back to which the register of the bass and the number of voices are looked up
OUTSIDE = 8.0  # nats that notes outside the last chord lose, and lengths that do not fit it
NEVER = 32.0
TOWARDS_DOMINANT = 2.0
THIN = 2.0  # nats that the end loses while fewer voices than usual are in the chord
SHORTEST_SHARE, LONGEST_SHARE = 0.75, 1.1  # of the length of the plan's own last chord
LAST_BARS = 2  # in which a piece is led
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10))  # semitones of major, of minor
LONGEST_CHORD_S = 2.4  # that a last chord is held: the plan's piece may have a faster tempo
FEWEST_BARS = 3  # begun before the harmony is led anywhere


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
        self._all = [0.0] * 12  # ticks of each pitch class
        self._recent: deque[tuple[int, int]] = deque(maxlen=KEY_NOTES)  # (pitch class, ticks)
        self._lows: deque[int] = deque(maxlen=ONSETS)  # the lowest pitch of each onset
        self._voices: deque[int] = deque(maxlen=ONSETS)  # pitches that sound at each
        self._by_program: dict[int, deque[int]] = {}  # the last pitches of each
        self._onset = -1
        self._key: int | None = None  # 0 to 11 major, 12 to 23 minor

    def strike(self, pitch: int, ticks: int, state: MusicState) -> None:
        """Takes a note, of a MIDI pitch and a length, and the state after it."""
        self._all[pitch % 12] += ticks
        self._recent.append((pitch % 12, ticks))
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

    def settle_key(self) -> None:
        """The end begins: the key is that of the notes so far, the last ones once more as heavy."""
        if self._key is None and self._recent:
            recent = np.zeros(12)
            for pitch_class, ticks in self._recent:
                recent[pitch_class] += ticks
            heard = np.array(self._all)
            shares = heard / heard.sum() + recent / recent.sum()
            self._key = int((key_profiles() @ shares).argmax())

    def lean(self, logits: NDArray[np.float32], state: MusicState, left: int) -> bool:
        """Changes ``logits`` [vocabulary] when ``left`` bars are left, this one included.

        Returns whether the end has begun, so that nothing is to be copied any more.
        """
        if left > LAST_BARS or not state.seconds_per_tick:
            return False
        key = self._key if state.bars >= FEWEST_BARS else None
        at = self._chord.at if self._chord.at < state.bar_ticks else 0
        began_s = state.seconds - (state.tick - state.bar_tick) * state.seconds_per_tick
        if left <= 1 and began_s < state.seconds_per_tick:  # a piece of one bar: not just a chord
            at = max(at, state.bar_ticks // 2)
        before_last_bar = left == 2
        if before_last_bar or state.position < at:
            to_go = at - max(state.position, 0) + (state.bar_ticks if before_last_bar else 0)
            near = to_go <= state.bar_ticks // 2 + 1
            if near and key is not None and not self._chord.degree:
                self._towards(logits, state, key, (7, 11, 2, 5), 7, TOWARDS_DOMINANT)
            logits[self._durations][self._ticks > to_go] -= NEVER  # nothing is held into it
            if not before_last_bar:
                logits[self._positions][at + 1 :] -= NEVER
                logits[self._bar] -= NEVER
                logits[self._eos] -= NEVER
            return True
        root = self._chord.degree
        length = min(self._chord.length, LONGEST_CHORD_S / state.seconds_per_tick)
        if key is not None:
            third = 4 if (root + 4) % 12 in SCALES[key // 12] else 3
            self._towards(logits, state, key, (root, root + third, root + 7), root, OUTSIDE)
        least = length * SHORTEST_SHARE or state.bar_ticks / 2
        most = max(length * LONGEST_SHARE, 12) if length else state.bar_ticks
        logits[self._durations][(self._ticks < least) | (self._ticks > most)] -= OUTSIDE
        # To go on to another place is to stop here.
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
        """Pitches outside the chord lose; in the bass's register all but the bass's own note.

        ``above_root`` are the chord's pitch classes above the keynote, ``bass`` one of them.
        """
        classes = (self._pitches - key) % 12
        chord = np.isin(classes, np.array(above_root) % 12)
        low = self._pitches <= np.median(self._lows) + 4
        begins = state.last_pitch < 0 or state.last_program != state.program
        lowest = min(self._by_program, key=lambda p: float(np.mean(self._by_program[p])))
        if begins and state.program == lowest:
            low[:] = True
        chord &= ~low | (classes == bass)
        logits[self._first : self._last][~chord] -= nats
