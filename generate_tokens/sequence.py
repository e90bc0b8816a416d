"""Sequences on their way through the decoder, alone or several in step, and their sliding windows.

A window of C rows slides when it is full: the last C/3 tokens move up behind BOS and the style and
are prefilled. Where it slides depends on the count of tokens alone, so a resumed piece fills its
windows exactly as the uninterrupted one did. Knows tokens' meanings through the tracker; samples
nothing.
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
from music.inputs import PAD_ID, TICK, Inputs, Recorder
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
    """One sequence: what the model has been told behind BOS and style, the prompt and the piece.

    Args:
        weights: of what would be copied.
        plan: of all its bars, those of the prompt included; None for a piece without one.
        in_voices: whether parallel fifths and octaves are kept track of.

    Attributes:
        body: its ids.
        state, memory, variety, stasis, ending, voices: after the last of them.
        left: bars that the piece may still have, this one included; None while that is not known.
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
        self._told = [PAD_ID, bos, style]  # and then the body: three ids before each of it
        self._recorder = Recorder(vocabulary)
        self._duration_s: float | None = None
        self._pitches = vocabulary.pitches
        self._first_pitch = vocabulary.ranges[PITCH][0]
        self._kinds, self._values = vocabulary.kind, vocabulary.value
        self._origin_tick = 0

    def begin_piece(self, duration_s: float | None) -> None:
        """What follows is a piece of about this length; what came before was its prompt."""
        self.state.begin_piece()
        self.state.kind = STYLE  # a Bar comes first
        self.stasis = Stasis(self.state.vocabulary)  # the seconds begin anew
        self.memory.begin_piece()
        self._duration_s = duration_s

    def append(self, token: int) -> None:
        """Takes a token."""
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
        self._told.append(token)
        if self._duration_s is not None and kind in (BAR, TIMESIG, TEMPO):  # as long as a bar
            self.left = state.bars_left(self._duration_s)
            if self.left is not None and self.left <= LAST_BARS:
                self.ending.settle_key()
        self._recorder.record(state, 0 if self.left is None else max(1, self.left))

    def _move(self, token: int) -> None:
        """Time goes on to a bar line or to a position."""
        state = self.state
        tick, sounding = state.tick, state.sounding
        before = dict(state.sounding_by_program) if self.voices is not None else {}
        state.step(token)
        self.stasis.move(state.tick - tick, sounding, state)
        # a bar's first position is where its line is: what sounded up to it is known already
        if self.voices is not None and (state.kind == BAR or state.tick != tick):
            self.voices.move(before)

    def window(self, start: int, stop: int) -> Inputs:
        """A window of ``body[start:stop]`` behind BOS and style, for the decoder to prefill.

        The ticks of `put` count from the same token from now on.
        """
        self._origin_tick = self._recorder.rows[start][TICK] if start < stop else 0
        ids = np.array(self._told[1 : 1 + PREFIX] + self.body[start:stop], np.int64)
        return Inputs.of_window(ids, self._recorder.tracked(start, stop, PREFIX), self._pitches)

    def put(self, decoder: Decoder, slot: int, index: int) -> None:
        """The token at ``index`` of the body is the next that the decoder takes in ``slot``."""
        row = self._recorder.rows[index]
        three, two, one, token = self._told[index : index + 4]
        before = {"one_before": one, "two_before": two, "three_before": three}
        decoder.put(slot, {**row, **before, "ids": token, TICK: row[TICK] - self._origin_tick})


class Batch:
    """Sequences that go in step through one decoder; one that has ended or left drops out.

    The int8 activations of a batch share a scale, so the company of a sequence has a part in its
    logits: `replay` gives each the company that it had.

    Attributes:
        slots: for each slot of the decoder in use, the number of its sequence.
        kept: tokens that stay in a window when it slides.
    """

    def __init__(self, decoder: Decoder, sequences: Sequence[TokenSequence]) -> None:
        decoder.reserve(len(sequences))
        self._decoder = decoder
        self._sequences = sequences
        self._capacity = decoder.context - PREFIX
        self.kept = decoder.context // 3  # more costs more prefilling, less costs nats (LOG.md)
        self.slots = list(range(len(sequences)))

    @property
    def slides(self) -> bool:
        """Whether the windows are full: the next `push` slides them first."""
        return self._decoder.row == self._decoder.context

    def logits(self, slot: int) -> NDArray[np.float32]:
        """What may come next in a slot, [vocabulary]; the next `push` overwrites it."""
        row: NDArray[np.float32] = self._decoder.logits[slot]
        return row

    def replay(self, from_count: int) -> None:
        """Runs the bodies as an uninterrupted run did that prefilled its first ``from_count``."""
        lengths = [len(sequence.body) for sequence in self._sequences]
        longest = max(lengths)
        start, point = 0, from_count
        if longest > self._capacity:
            stride = self._capacity - self.kept
            slides = (longest - self._capacity - 1) // stride
            point = self._capacity + slides * stride
            start = point - self.kept
        self._drop(number for number in list(self.slots) if lengths[number] < point)
        self._fill(start, point)
        for index in range(point, longest):
            self._drop(number for number in list(self.slots) if lengths[number] <= index)
            self._run(index)

    def drop(self, number: int) -> None:
        """A sequence has ended, or left."""
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
