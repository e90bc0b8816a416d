"""The next token of one sequence, from the model's logits and all that keeps a piece on its way.

In this order: the grammar says which ids may follow; the ending, the guards, the voices and a
motif make some of them less likely; the memory is mixed in; the model's share goes through the
sampling filters; a motif has the last word. Depends on neither the decoder nor on how many
sequences there are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contract.errors import TokensError
from contract.request import LONGEST_COMPOSED, Request
from generate_tokens.motif import COVERED, MotifGuide
from generate_tokens.sampling import sample
from generate_tokens.sequence import TokenSequence
from generate_tokens.stasis import LEAN
from generate_tokens.voices import LEAN as PARALLEL_LEAN
from music.grammar import Grammar
from music.tracker import BAR, DURATION, PITCH, POSITION, Vocabulary

# bars: what returns from so far back is a section, not a harmony that stands still
SECTION_LAG = 3

Logits = NDArray[np.float32]


class NextToken:
    """Chooses ids for the sequences of one vocabulary."""

    def __init__(self, vocabulary: Vocabulary, grammar: Grammar) -> None:
        self._grammar = grammar
        self._pitches = range(*vocabulary.ranges[PITCH])
        self._positions = slice(*vocabulary.ranges[POSITION])
        self._bar = vocabulary.ranges[BAR][0]
        self._durations = slice(*vocabulary.ranges[DURATION])
        self._ticks = np.array(vocabulary.value[self._durations])

    def of(
        self,
        sequence: TokenSequence,
        logits: Logits,
        request: Request,
        uniform: float,
        guide: MotifGuide | None,
    ) -> int:
        """The id that ``uniform`` in [0, 1) falls on; changes ``logits`` [vocabulary].

        Raises:
            TokensError: nothing can follow, which happens only after ids from outside.
        """
        state, memory, left = sequence.state, sequence.memory, sequence.left
        ids = self._grammar.choices(state, may_end=left is not None and left <= 1)
        ends = left is not None and sequence.ending.lean(logits, state, left)
        stands_still = bool(sequence.stasis.worn_out) and memory.lag < SECTION_LAG
        self._lean(sequence, logits, stands_still=stands_still)
        self._limit(sequence, logits, request.duration_s)
        following = guide is not None and guide.active
        if guide is not None:
            for token in guide.covering(state):
                logits[token] -= COVERED
        may_follow = self._grammar.members(ids)
        named, weight = memory.named, memory.weight
        if (
            weight
            and not (stands_still or ends or following)
            and named in may_follow
            and logits[named] > -np.inf
        ):
            # One uniform for the whole mixture (memory.py): below the weight it takes the named
            # id, above it the rest of it is the uniform of the model's own choice. At temperature
            # 0 the model is certain, so the named id needs more than half of the weight.
            if (uniform if request.temperature else 0.5) < weight:
                return named
            uniform = (uniform - weight) / (1 - weight) if request.temperature else uniform
        settings = (request.temperature, request.top_k, request.top_p, request.min_p)
        try:
            token = int(ids[sample(logits[ids], uniform, *settings)])
        except ValueError as error:
            raise TokensError(
                "no pitch can follow these ids: all of them are already sounding"
            ) from error
        if guide is not None and following:
            return guide.steer(token, state, lambda i: i in may_follow and logits[i] > -np.inf)
        return token

    def _lean(self, sequence: TokenSequence, logits: Logits, *, stands_still: bool) -> None:
        """What must not follow gets -inf, and what should not loses some nats."""
        state = sequence.state
        if stands_still:
            for token in sequence.stasis.worn_out:
                logits[token] -= LEAN
        top, nats = sequence.stasis.top
        if nats:
            logits[top] -= nats
        if sequence.voices is not None:
            for pitch in sequence.voices.parallels(state):
                if 0 <= pitch < len(self._pitches):
                    logits[self._pitches[pitch]] -= PARALLEL_LEAN
        for token in self._grammar.struck(state):
            logits[token] = -np.inf
        for token in sequence.variety.left_out:
            logits[token] = -np.inf

    def _limit(self, sequence: TokenSequence, logits: Logits, duration_s: float) -> None:
        """No note is held beyond what a piece may last at most, nor is the first struck after that.

        The shortest duration always fits: a later place than that ends the piece (compose.py).
        """
        state = sequence.state
        if not state.seconds_per_tick or (state.kind != PITCH and state.notes):
            return
        room_ticks = (LONGEST_COMPOSED * duration_s - state.seconds) / state.seconds_per_tick
        if state.kind == PITCH:
            if room_ticks < self._ticks[-1]:
                logits[self._durations][1:][self._ticks[1:] > room_ticks] = -np.inf
            return
        bar_ticks = room_ticks + state.tick - state.bar_tick
        if bar_ticks <= state.bar_ticks:
            logits[self._positions][max(1, int(bar_ticks)) :] = -np.inf
            logits[self._bar] = -np.inf
