"""Notices when the music stands still: one harmony for long, or one note on top again and again.

A sampler that copies and a small model both fall into states that they do not leave. Of the pieces
made before this guard, a fifth held one chord for ten seconds or more; of real pieces, 6 % do
(LOG.md). The guard looks once a beat at the pitches that the tracker says are sounding. Depends on
neither models nor sampling.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from music.harmony import triads
from music.tracker import PITCH, TICKS_PER_BEAT, MusicState, Vocabulary

# The harmony stands still if one triad is the best for longer than this,
CHORD_S = 6.0
# or if so few pitch classes, or fewer, sounded in so many seconds.
FEW_CLASSES, FEW_S = 4, 8.0
LEAN = 2.0  # nats that the pitches of such a harmony lose, until the next bar is over
# A note that is on top so often in a row is made rarer by `TOP_LEAN` nats, or is excluded.
TOP_NOTES, MOST_TOP_NOTES = 7, 11
TOP_LEAN = 1.5


class Stasis:
    """Follows one sequence by its onsets.

    Attributes:
        worn_out: pitch ids to make rarer by `LEAN` nats; empty unless the harmony stands still.
        top: (pitch id, nats) of a note that has been on top too often in a row, by how many nats to
            make it rarer, which may be infinite; (-1, 0.0) if there is none.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        first, last = vocabulary.ranges[PITCH]
        classes = [(vocabulary.lowest_pitch + i) % 12 for i in range(last - first)]
        # For each pitch class: its pitch ids, and its pitches as bits, as in `MusicState.sounding`.
        self._ids = [[first + i for i, c in enumerate(classes) if c == k] for k in range(12)]
        self._bits = [sum(1 << i for i, c in enumerate(classes) if c == k) for k in range(12)]
        self._triads = triads().astype(np.float64)
        self._weights = [0.0] * 12  # ticks that each pitch class sounded in this beat
        self._beat = 0
        self._beat_s = 0.0
        self._beats: deque[tuple[float, int]] = deque()  # (end in seconds, classes as bits)
        self._chord, self._chord_since_s = -1, 0.0
        self._until_bar = 0  # `worn_out` holds until this bar is over
        self.worn_out: Sequence[int] = ()
        self._top = self._highest = -1  # the highest pitch id of the last onset, and of this one
        self._times = 0  # how often in a row the last one was on top
        self.top: tuple[int, float] = (-1, 0.0)

    def strike(self, pitch_id: int) -> None:
        """Takes a note that begins."""
        self._highest = max(self._highest, pitch_id)

    def move(self, ticks: int, sounding: int, state: MusicState) -> None:
        """Takes a step in time of ``ticks``, during which ``sounding`` sounded, to ``state``."""
        if self._highest >= 0:
            self._end_onset()
        if not ticks:
            return
        if sounding:
            weights = self._weights
            for pitch_class, bits in enumerate(self._bits):
                if sounding & bits:
                    weights[pitch_class] += ticks
        beat = state.tick // TICKS_PER_BEAT
        if beat != self._beat:
            self._beat = beat
            self._end_beat(state)

    def _end_onset(self) -> None:
        top, self._highest = self._highest, -1
        self._times = self._times + 1 if top == self._top else 1
        self._top = top
        if self._times >= TOP_NOTES:
            self.top = (top, float("inf") if self._times >= MOST_TOP_NOTES else TOP_LEAN)
        else:
            self.top = (-1, 0.0)

    def _end_beat(self, state: MusicState) -> None:
        now_s, weights = state.seconds, self._weights
        began_s, self._beat_s = self._beat_s, now_s
        total = sum(weights)
        if total:
            shares = np.array(weights)
            # The best triad has most of the beat's ticks in its pitch classes. Of triads that fit
            # equally, 1e-4 for each pitch class present prefers the one with more of its notes.
            chord = int((self._triads @ (shares / total + 1e-4 * (shares > 0))).argmax())
            if chord != self._chord:
                self._chord, self._chord_since_s = chord, began_s
            self._beats.append((now_s, sum(1 << k for k in range(12) if weights[k])))
            self._weights = [0.0] * 12
        while self._beats and self._beats[0][0] < now_s - FEW_S:
            self._beats.popleft()
        heard = 0  # the pitch classes of the last FEW_S seconds, as bits
        for _, classes in self._beats:
            heard |= classes
        still = self._chord >= 0 and now_s - self._chord_since_s > CHORD_S
        if still or (now_s >= FEW_S and 0 < heard.bit_count() <= FEW_CLASSES):
            self._until_bar = state.bars + 1
            # Worn out is the triad, or else the few pitch classes that were heard.
            worn = np.flatnonzero(self._triads[self._chord]) if still else range(12)
            self.worn_out = [i for k in worn if still or heard >> k & 1 for i in self._ids[k]]
        elif self.worn_out and state.bars > self._until_bar:
            self.worn_out = ()
