"""Sequences on their way through the decoder, alone or several in step, and their sliding windows.

A window of C rows slides when it is full: it is filled anew with BOS, the style and the last C/3
tokens, which are prefilled. Where it slides depends on the number of tokens alone, so a resumed
piece fills its windows exactly as an uninterrupted one. Depends on neither sampling nor the
grammar.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from generate_tokens.decoder import Decoder
from generate_tokens.ending import LAST_BARS, Ending
from generate_tokens.stasis import Stasis
from generate_tokens.variety import Variety
from generate_tokens.voices import Voices
from music.form import LastChord, Plan
from music.inputs import TICK, Inputs, Recorder
from music.memory import CopyWeights, Memory
from music.tracker import (
    BAR,
    DURATION,
    PITCH,
    POSITION,
    STYLE,
    TEMPO,
    TIMESIG,
    MusicState,
    Vocabulary,
)

PREFIX = 2  # BOS and the style stand at the head of every window


class TokenSequence:
    """One sequence: the ids of a prompt and a piece, and the states that are updated with each id.

    Args:
        weights: the weights of copies in the mixture (`Memory`).
        plan: the plan of all bars, those of the prompt included; None for a piece without one.
        in_voices: whether parallel fifths and octaves are tracked.

    Attributes:
        body: the ids behind BOS and style.
        state, memory, variety, stasis, ending, voices: their states after the last id.
        left: how many bars are left, this one included; None as long as that is not known.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        bos: int,
        style: int,
        weights: CopyWeights,
        plan: Plan | None = None,
        *,
        in_voices: bool = False,
    ) -> None:
        self.body: list[int] = []
        self.state = MusicState(vocabulary)
        self.state.kind = STYLE
        self.memory = Memory(vocabulary, weights, plan)
        self.variety = Variety(range(*vocabulary.ranges[PITCH]))
        self.stasis = Stasis(vocabulary)
        self.ending = Ending(vocabulary, plan.ending if plan else LastChord())
        self.voices = Voices() if in_voices else None
        self.left: int | None = None
        self._prefix = [bos, style]
        self._recorder = Recorder(vocabulary)
        self._duration_s: float | None = None
        self._pitches = vocabulary.pitches
        self._first_pitch = vocabulary.ranges[PITCH][0]
        self._kinds, self._values = vocabulary.kind, vocabulary.value
        self._origin_tick = 0  # of the window's first token: from it the decoder's ticks count

    def begin_piece(self, duration_s: float | None) -> None:
        """Marks the end of the prompt: what follows is a piece of about this length."""
        self.state.begin_piece()
        self.state.kind = STYLE  # so that a Bar comes first
        self.stasis = Stasis(self.state.vocabulary)  # since its seconds start again at 0
        self.memory.begin_piece()
        self._duration_s = duration_s

    def append(self, token: int) -> None:
        """Takes the next token, and updates all that follows the sequence."""
        state, kind = self.state, self._kinds[token]
        if kind in (POSITION, BAR):
            self._move(token)
        else:
            state.step(token)
            if kind == PITCH:
                self.variety.add(token, state.tick)
                self.stasis.strike(token)
                if self.voices is not None:
                    self.voices.strike(token - self._first_pitch, state.program)
            elif kind == DURATION:
                pitch, ticks = self._values[state.last_pitch], self._values[token]
                self.ending.strike(int(pitch), int(ticks), state)
        self.memory.step(token, state)
        self.body.append(token)
        # The number of bars left changes only at a bar line, or with the length of a bar.
        if self._duration_s is not None and kind in (BAR, TIMESIG, TEMPO):
            self.left = state.bars_left(self._duration_s)
            if self.left is not None and self.left <= LAST_BARS:
                self.ending.settle_key(state, self.left)
        # The model is told 0 for unknown, and 1 also in bars after the last planned one.
        self._recorder.record(state, 0 if self.left is None else max(1, self.left))

    def _move(self, token: int) -> None:
        """Moves on to a bar line or a position, and tells the guards what sounded up to it."""
        state = self.state
        tick, sounding = state.tick, state.sounding
        before = dict(state.sounding_by_program) if self.voices is not None else {}
        state.step(token)
        self.stasis.move(state.tick - tick, sounding, state)
        # Position 0 has the tick of the bar line, at which the voices have been moved already.
        if self.voices is not None and (state.kind == BAR or state.tick != tick):
            self.voices.move(before)

    def window(self, start: int, stop: int) -> Inputs:
        """The inputs for BOS, style and ``body[start:stop]``, for the decoder to prefill.

        From now on the ticks of `put` count from the same token, ``body[start]``.
        """
        self._origin_tick = self._recorder.rows[start][TICK] if start < stop else 0
        ids = np.array(self._prefix + self.body[start:stop], np.int64)
        return Inputs.of_window(ids, self._recorder.tracked(start, stop, PREFIX), self._pitches)

    def put(self, decoder: Decoder, slot: int, index: int) -> None:
        """Sets ``body[index]`` as the token that the decoder's next step takes in ``slot``."""
        row = self._recorder.rows[index]
        decoder.put(slot, {**row, "ids": self.body[index], TICK: row[TICK] - self._origin_tick})


class Batch:
    """Sequences that go in step through one decoder; those that end or are eliminated drop out.

    The int8 activations of a batch share a scale, so a sequence's logits also depend on the others
    in its batch. So `replay` runs each token in the same batch as the first time.

    Attributes:
        slots: for each slot of the decoder in use, the number of its sequence.
        kept: how many tokens stay in a window when it slides.
    """

    def __init__(self, decoder: Decoder, sequences: Sequence[TokenSequence]) -> None:
        decoder.reserve(len(sequences))
        self._decoder = decoder
        self._sequences = sequences
        self._capacity = decoder.context - PREFIX  # tokens of the body in a full window
        self.kept = decoder.context // 3  # more: more to prefill; fewer: more nats (LOG.md)
        self.slots = list(range(len(sequences)))

    @property
    def slides(self) -> bool:
        """Whether the windows are full: the next `push` slides them first."""
        return self._decoder.row == self._decoder.context

    def logits(self, slot: int) -> NDArray[np.float32]:
        """The logits [vocabulary] of the next token in a slot; the next `push` overwrites them."""
        row: NDArray[np.float32] = self._decoder.logits[slot]
        return row

    def replay(self, from_count: int) -> None:
        """Runs the bodies as an uninterrupted run did that prefilled its first ``from_count`` ids.

        Only the last window matters: what was in the windows before it is no longer in the cache.
        The window is full at ``capacity`` ids, and again after each further ``capacity - kept``.

        Example: 10 ids fit and 4 are kept, so windows slide after 10, 16 and 22 ids. Of 17 ids, the
        ids 12 to 15 are prefilled (``start`` is 12, ``point`` is 16), and id 16 is run alone.
        """
        lengths = [len(sequence.body) for sequence in self._sequences]
        longest = max(lengths)
        start, point = 0, from_count
        if longest > self._capacity:
            stride = self._capacity - self.kept
            slides = (longest - self._capacity - 1) // stride  # slides after the first one
            point = self._capacity + slides * stride
            start = point - self.kept
        # A sequence that had ended before ``point`` was no longer in the batch.
        self._drop(number for number in list(self.slots) if lengths[number] < point)
        self._fill(start, point)
        for index in range(point, longest):
            self._drop(number for number in list(self.slots) if lengths[number] <= index)
            self._run(index)

    def drop(self, number: int) -> None:
        """Takes a sequence out of the batch; the one in the last slot moves into its slot.

        So the slots in use are always the first ones.
        """
        slot = self.slots.index(number)
        last = self.slots.pop()
        if last != number:
            self._decoder.move(len(self.slots), slot)
            self.slots[slot] = last

    def push(self) -> None:
        """Runs the model on the token that each sequence has taken, sliding full windows first."""
        end = len(self._sequences[self.slots[0]].body)
        if self.slides:
            self._fill(end - 1 - self.kept, end - 1)
        self._run(end - 1)

    def _drop(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self.drop(number)

    def _fill(self, start: int, stop: int) -> None:
        for slot, number in enumerate(self.slots):
            self._decoder.prefill(slot, self._sequences[number].window(start, stop))

    def _run(self, index: int) -> None:
        for slot, number in enumerate(self.slots):
            self._sequences[number].put(self._decoder, slot, index)
        self._decoder.step(len(self.slots))
