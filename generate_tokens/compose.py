"""Composes: token after token under the grammar, until the piece is long enough or time is up.

A pure function of bundle, request, prompt and the ids so far: how often it was interrupted changes
nothing, because a resumed piece fills its window exactly as the uninterrupted one did. Knows
neither Lambda nor S3.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from generate_tokens.bundle import Bundle
from generate_tokens.decoder import Decoder
from generate_tokens.errors import BudgetError, BundleError, TokensError
from generate_tokens.grammar import Grammar
from generate_tokens.prompt import opening_after
from generate_tokens.recall import Recall
from generate_tokens.request import Request, parse_request
from generate_tokens.sampling import Uniforms, sample
from generate_tokens.state import (
    BAR,
    DURATION,
    EOS,
    KINDS,
    LONG_AGO_BARS,
    PITCH,
    STYLE,
    TEMPO,
    TICKS_PER_BEAT,
    FeatureRecorder,
    Features,
    MusicState,
    Vocabulary,
)
from generate_tokens.variety import Variety

PREFIX = 2  # BOS and the style stand at the head of every window
LATEST_END_BARS = 2  # after the planned last bar; a piece that has not ended by then is cut there


@dataclass(frozen=True)
class Composition:
    """``ids`` is the whole piece so far, ``BOS style Bar ...``, with EOS once it is finished."""

    ids: list[int]
    finished: bool
    music_s: float
    sampled: int
    decode_s: float


class _Sequence:
    """What the model has been told: behind BOS and style, the prompt and the piece.

    The window of C rows slides when it is full: the last C/2 tokens move up behind the prefix and
    are prefilled. Where it slides depends on the count of tokens alone.
    """

    def __init__(
        self, bundle: Bundle, vocabulary: Vocabulary, decoder: Decoder, style: int
    ) -> None:
        self._prefix = [bundle.bos_id, style]
        self._decoder = decoder
        self.state = MusicState(vocabulary)
        self._pitches = range(*vocabulary.ranges[PITCH])
        self.variety = Variety(self._pitches)
        self.recall = Recall(vocabulary.ranges[BAR][0])
        self._body: list[int] = []
        self._features = FeatureRecorder(vocabulary)
        self._duration_s: float | None = None
        self._programs = vocabulary.programs
        self._sounding_bytes = (vocabulary.pitches + 7) // 8
        self._capacity = decoder.context - PREFIX
        self._kept = decoder.context // 2
        self._origin_tick = 0

    def begin_piece(self, duration_s: float) -> None:
        """What follows is a piece of about this length; what came before was its prompt."""
        self.state.begin_piece()
        self._duration_s = duration_s

    def bars_left(self) -> int | None:
        """Bars that the piece may still have, this one included; None while that is not known."""
        return None if self._duration_s is None else self.state.bars_left(self._duration_s)

    def append(self, token: int) -> None:
        """Takes a token into the state without running the model."""
        self.state.step(token)
        if self.state.kind != TEMPO:  # only a piece's first bar has one
            self.recall.add(token)
        if token in self._pitches:
            self.variety.add(token, self.state.tick)
        self._body.append(token)
        left = self.bars_left()
        self._features.record(self.state, 0 if left is None else max(1, left))

    def replay(self, from_count: int) -> None:
        """Runs the model as an uninterrupted run did that prefilled its first ``from_count``."""
        count = len(self._body)
        if count > self._capacity:
            stride = self._capacity - self._kept
            slides = (count - self._capacity - 1) // stride
            point = self._capacity + slides * stride
            self._prefill(point - self._kept, point)
        else:
            point = from_count
            self._prefill(0, point)
        for index in range(point, count):
            self._run(index)

    def push(self, token: int) -> None:
        """Appends a token and runs the model on it, sliding the window first when it is full."""
        if self._decoder.row == self._decoder.context:
            end = len(self._body)
            self._prefill(end - self._kept, end)
        self.append(token)
        self._run(len(self._body) - 1)

    def _prefill(self, start: int, stop: int) -> None:
        rows = self._features
        self._origin_tick = rows.tick[start] if start < stop else 0
        pad = [0] * PREFIX
        width = self._sounding_bytes
        packed = b"".join((bytes(PREFIX * width), *rows.sounding[start:stop]))
        features = Features(
            position=np.array(pad + rows.position[start:stop], np.int64),
            program=np.array([self._programs] * PREFIX + rows.program[start:stop], np.int64),
            tick=np.array(pad + [t - self._origin_tick for t in rows.tick[start:stop]], np.int64),
            sounding=np.frombuffer(packed, np.uint8).reshape(-1, width),
            form=np.array(pad + rows.form[start:stop], np.int64),
        )
        self._decoder.prefill(np.array(self._prefix + self._body[start:stop], np.int64), features)

    def _run(self, index: int) -> None:
        rows = self._features
        self._decoder.step(
            self._body[index],
            rows.position[index],
            rows.program[index],
            rows.tick[index] - self._origin_tick,
            int.from_bytes(rows.sounding[index], "little"),
            rows.form[index],
        )


class Composer:
    """Keeps the session and the tables of one bundle between invocations.

    Raises:
        BundleError: bundle.json does not describe the graph beside it, or means what this code
            cannot do. Its hash covers the graph and the tokenizer, not itself, so it is tried.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        try:
            self._decoder = Decoder(bundle)
            self.vocabulary = Vocabulary(bundle.vocabulary)
            self._grammar = Grammar(self.vocabulary, bundle.grammar)
            if bundle.ticks_per_beat != TICKS_PER_BEAT:
                raise ValueError(f"ticks_per_beat must be {TICKS_PER_BEAT}")
            defaults = parse_request(dict(bundle.sampling), bundle, "2000-01-01")
            style = next(iter(bundle.styles))
            sequence = _Sequence(bundle, self.vocabulary, self._decoder, bundle.styles[style])
            sequence.state.kind = STYLE
            sequence.replay(0)
            self._masked = np.zeros(self.vocabulary.size, np.float32)
            self._sample(sequence, defaults, 0.5)
            self._decoder.step(bundle.bos_id, 0, 0, 0, 0, 0)
        except BundleError:
            raise
        except Exception as error:
            raise BundleError(f"{bundle.directory}: bundle.json does not fit: {error}") from error

    def compose(
        self,
        request: Request,
        prompt: Sequence[int],
        so_far: Sequence[int],
        budget_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> Composition:
        """Goes on from ``so_far`` (empty at first) for at most ``budget_s`` seconds.

        Args:
            prompt: bars that come before the piece, not part of it; at most half the context.
            so_far: ids of the piece, ``BOS style Bar ...``, as an earlier call returned them.

        Raises:
            TokensError: prompt or ids that are not music.
            BudgetError: not one token fits the budget.
        """
        began = clock()
        deadline = began + budget_s
        style = self.bundle.styles[request.style or ""]
        sequence = _Sequence(self.bundle, self.vocabulary, self._decoder, style)
        self.check(prompt, "the prompt's ids")
        if prompt:
            sequence.state.bars_before = LONG_AGO_BARS  # the middle of something, so no opening
        for token in prompt:
            sequence.append(token)
        sequence.begin_piece(request.duration_s)
        piece = list(so_far) or [self.bundle.bos_id, style]
        if piece[:PREFIX] != [self.bundle.bos_id, style]:
            raise TokensError("the piece's ids do not begin with BOS and the request's style")
        self.check(piece[PREFIX:], "the piece's ids")
        for token in piece[PREFIX:]:
            sequence.append(token)
        if len(piece) == PREFIX:
            sequence.state.kind = STYLE
        sequence.replay(len(prompt))
        forced = opening_after(prompt, self.vocabulary)
        already = len(piece)
        uniforms = Uniforms(request.seed)
        finished = False
        while clock() < deadline:
            index = len(piece) - PREFIX
            token = (
                forced[index]
                if index < len(forced)
                else self._sample(sequence, request, uniforms[index])
            )
            too_late = (sequence.bars_left() or 0) <= -LATEST_END_BARS
            if self.vocabulary.kind[token] == EOS or (
                too_late and self.vocabulary.kind[token] == BAR
            ):
                while len(piece) > PREFIX and self.vocabulary.kind[piece[-1]] != DURATION:
                    piece.pop()  # bars without a note
                piece.append(self.bundle.eos_id)
                finished = True
                break
            piece.append(token)
            sequence.push(token)
        if len(piece) == already:
            raise BudgetError(
                f"{budget_s:.1f} s are too short to go on from {already} tokens: raise the "
                "function's time-out"
            )
        return Composition(
            ids=piece,
            finished=finished,
            music_s=round(sequence.state.end_s, 3),
            sampled=len(piece) - already,
            decode_s=clock() - began,
        )

    def _sample(self, sequence: _Sequence, request: Request, uniform: float) -> int:
        state = sequence.state
        masked = self._grammar.mask(
            self._decoder.logits,
            state,
            self._masked,
            may_end=(left := sequence.bars_left()) is not None and left <= 1,
        )
        if request.recall:
            for token in sequence.recall.continuations:
                masked[token] += request.recall
        for pitch in sequence.variety.left_out:
            masked[pitch] = -np.inf
        return sample(
            masked, uniform, request.temperature, request.top_k, request.top_p, request.min_p
        )

    def check(self, ids: Sequence[int], where: str) -> None:
        """Refuses ids from outside that are not music: the tracker may trust what passes.

        Raises:
            TokensError: names the first id that cannot stand where it does.
        """
        state = MusicState(self.vocabulary)
        state.kind = STYLE
        for index, token in enumerate(ids):
            kind = KINDS[self.vocabulary.kind[token]]
            if kind == "EOS" or not self._grammar.follows(token, state):
                raise TokensError(f"{where}: id {index}, a {kind}, cannot stand there")
            state.step(token)
