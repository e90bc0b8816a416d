"""The next token of one sequence, from the model's logits and the rules that guide a piece.

The steps, in this order:

1. The grammar determines which ids may follow.
2. The ending, the guards against standing still, the voices and a motif make some of them less
   likely.
3. The memory is mixed in: its named id is taken with the probability of its weight.
4. Otherwise the model's logits go through the sampling filters, and an id is drawn.
5. A motif may replace that id by one that leads to its next note.

Depends on neither the decoder nor how many sequences there are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contract.errors import BundleError, TokensError
from contract.request import LONGEST_COMPOSED, Request
from generate_tokens.motif import COVERED, MotifGuide
from generate_tokens.sampling import sample
from generate_tokens.sequence import TokenSequence
from generate_tokens.stasis import LEAN
from generate_tokens.voices import LEAN as PARALLEL_LEAN
from music.grammar import Grammar
from music.tracker import BAR, DURATION, PITCH, POSITION, Vocabulary

# Bars. A bar that returns to one so far back, or farther, repeats a section. That is not a harmony
# that stands still, and the guard lets it be.
SECTION_LAG = 3

Logits = NDArray[np.float32]


class NextToken:
    """Chooses the next id of a sequence."""

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
        """The id that ``uniform`` in [0, 1) selects; changes ``logits`` [vocabulary].

        Raises:
            TokensError: nothing can follow, which happens only after ids from outside.
            BundleError: the model computes NaN or infinity.
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
            # One uniform serves the whole mixture (memory.py). Below the weight it selects the
            # named id. Above it, the part that is left is stretched to [0, 1) again and selects
            # the model's own choice. Example, with a weight of 0.6: 0.5 selects the named id, and
            # 0.7 becomes (0.7 - 0.6) / 0.4 = 0.25. At temperature 0 nothing is random: the named
            # id is taken if its weight is more than 0.5.
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
        except FloatingPointError as error:
            raise BundleError(f"model.onnx computes no numbers: {error}") from error
        if guide is not None and following:
            return guide.steer(token, state, lambda i: i in may_follow and logits[i] > -np.inf)
        return token

    def _lean(self, sequence: TokenSequence, logits: Logits, *, stands_still: bool) -> None:
        """Lowers the logits of ids that should not follow; to those that must not it gives -inf."""
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
        """Excludes notes that would end beyond the longest that a piece may last.

        Nor may the first note be struck after that. Behind a pitch the shortest duration is always
        allowed: a place too late even for that ends the piece (closing.py).
        """
        state = sequence.state
        if not state.seconds_per_tick or (state.kind != PITCH and state.notes):
            return
        room_ticks = (LONGEST_COMPOSED * duration_s - state.seconds) / state.seconds_per_tick
        if state.kind == PITCH:
            if room_ticks < self._ticks[-1]:
                logits[self._durations][1:][self._ticks[1:] > room_ticks] = -np.inf
            return
        # Before the first note: the ticks from this bar's line to that time.
        bar_ticks = room_ticks + state.tick - state.bar_tick
        if bar_ticks <= state.bar_ticks:
            logits[self._positions][max(1, int(bar_ticks)) :] = -np.inf
            logits[self._bar] = -np.inf
