"""Composes: token after token under the grammar, until the piece is long enough or time is up.

Several candidates of one tempo, metre and plan of form are composed in step. After a quarter of the
wanted length the worse half of them leaves, when one has ended those that are worse already, and of
what is finished the best is kept. A pure function of bundle, request, prompt, motif and the ids so
far: how often it was interrupted changes nothing. Knows neither Lambda nor S3.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from contract.bundle import Bundle
from contract.errors import BudgetError, TokensError
from contract.request import LONGEST_COMPOSED, Request, parse_request
from generate_tokens.beginning import Beginning
from generate_tokens.decoder import Decoder
from generate_tokens.draws import drawn
from generate_tokens.judge import LATEST_END_BARS, faults_of, faults_of_piece
from generate_tokens.motif import Motif
from generate_tokens.next_token import NextToken
from generate_tokens.sampling import Uniforms
from generate_tokens.sequence import PREFIX, Batch, TokenSequence
from music.form import Plan
from music.grammar import Grammar
from music.notes import music_of
from music.tracker import (
    BAR,
    DURATION,
    EOS,
    KINDS,
    LONG_AGO_BARS,
    PAD,
    POSITION,
    STYLE,
    MusicState,
    Vocabulary,
)

# What is kept back of the budget, in units of the slowest step of the next one's kind (one that
# slides the windows takes as long as thirty others): the next may be slower than all before, and
# the answer has to be put into words and sent. Both grow where a core is shared.
RESERVE_STEPS = 4
# But a part of what is left when a round has taken up the piece is used: else one that goes on for
# a token a round would never end. Where that is too much, Lambda's time-out says so at once.
MOST_RESERVED = 0.75
# Where there is a choice, candidates are judged at the end: 14 to 22 µs an id, some of them twice,
# on a machine whose windows slide in 20 ms.
JUDGING = 1 / 400  # of such a slide for each id
HALVING = 0.25  # share of the wanted length after which the worse half of the candidates leaves
FINALISTS = 2  # that stay at least
NO_STYLE = "other"
UNFINISHED, ENDED, BUDGET = "unfinished", "duration", "budget"


@dataclass(frozen=True)
class Composition:
    """How far a call came.

    Attributes:
        candidates: the ids of each as they were sampled, ``BOS style Bar ...``, and EOS once it has
            ended or PAD once it has left: what the next call goes on from.
        ids: the finished piece, the best of the candidates; empty before.
        stopped: `UNFINISHED`; or what finished the piece: `ENDED` near its wanted length, or
            `BUDGET`.
        penalties: of each candidate, by name (`judge.faults_of`), where one of several was chosen.
        plan: the form of the prompt's bars and the piece's; None where nothing was planned.
        taken_up: of a finished piece, what has come of its motif (`motif.MotifGuide.to_json`).
        music_s: length of the piece, or of what there is of its longest candidate.
        sampled: tokens of all candidates in this call; ``decode_s`` the time that they took.
    """

    candidates: list[list[int]]
    ids: list[int]
    stopped: str
    penalties: list[dict[str, float]]
    plan: Plan | None
    taken_up: dict[str, Any] | None
    music_s: float
    sampled: int
    decode_s: float

    @property
    def finished(self) -> bool:
        return self.stopped != UNFINISHED


def no_answer(_tokens: int) -> float:
    """Seconds that an answer with so many tokens takes beside `RESERVE_STEPS`."""
    return 0.0


class Composer:
    """Keeps the session and the tables of one bundle between invocations."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.decoder = Decoder(bundle)
        self.vocabulary = Vocabulary(bundle.vocabulary)
        self.beginning = Beginning(bundle, self.vocabulary)
        self._grammar = Grammar(self.vocabulary, bundle.grammar)
        self._next = NextToken(self.vocabulary, self._grammar)
        defaults = parse_request(dict(bundle.sampling), bundle, "2000-01-01")
        self._slide_s = self._try(drawn(defaults, bundle))

    def _try(self, request: Request) -> float:
        """Samples a token, and measures in seconds what it takes to slide a window."""
        sequence = self.beginning.sequence(request, self.beginning.plan(request, []))
        batch = Batch(self.decoder, [sequence])
        batch.replay(0)
        self._next.of(sequence, batch.logits(0), request, 0.5, None)
        bar = self.vocabulary.ranges[BAR][0]
        for _ in range(batch.kept):
            sequence.append(bar)
        began = time.perf_counter()
        batch.replay(batch.kept)
        batch.push()
        return time.perf_counter() - began

    def compose(
        self,
        request: Request,
        prompt: Sequence[int],
        so_far: Sequence[Sequence[int]],
        budget_s: float,
        clock: Callable[[], float] = time.monotonic,
        answer_s: Callable[[int], float] = no_answer,
        motif: Motif | None = None,
    ) -> Composition:
        """Goes on from ``so_far`` (empty at first) for at most ``budget_s`` seconds.

        Args:
            request: its style, metre and tempo are drawn where they are open (`draws.drawn`).
            prompt: bars that come before the piece, not part of it; at most half the context.
            motif: of another piece, for this one to take up.
            so_far: the `Composition.candidates` of an earlier call.
            answer_s: what an answer with so many tokens takes; kept back of the budget, too.

        Raises:
            TokensError: prompt or ids that are not music, or candidates that were not in step.
            BudgetError: not one token fits the budget, or a piece that must be closed has no note.
        """
        began = now = clock()
        deadline = began + budget_s
        request = drawn(request, self.bundle)
        opening = [self.bundle.bos_id, self.bundle.styles[request.style or ""]]
        pieces = [list(ids) for ids in so_far or [opening] * request.candidates]
        self._check_candidates(pieces, request, opening)
        self.check(prompt, "the prompt's ids")
        plan = self.beginning.plan(request, prompt)
        guides = [self.beginning.guide(motif, plan, prompt, request) for _ in pieces]
        sequences = [
            self.beginning.told(prompt, self._body(ids), request, plan, guide)
            for ids, guide in zip(pieces, guides, strict=True)
        ]
        batch = Batch(self.decoder, sequences)
        batch.replay(len(prompt))
        self._drop_over(batch, pieces)  # what left just before the call ended
        forced = self.beginning.opening(request)
        uniforms = [Uniforms(request.piece_seed, number) for number in range(len(pieces))]
        already = sum(map(len, pieces))
        # Not less than the slide of one window for a plain step: it finds a core's other users.
        slowest_s = {True: self._slide_s * len(pieces), False: self._slide_s}
        first = True  # The first step is taken however little time is left: each round comes on.
        slid = False
        most_reserved_s = 0.0
        while batch.slots:
            now, before = clock(), now
            if first:
                most_reserved_s = MOST_RESERVED * (deadline - now)
            if not first:
                slowest_s[slid] = max(slowest_s[slid], now - before)
            slid = batch.slides
            tokens = sum(map(len, pieces)) + len(batch.slots)
            judging_s = JUDGING * self._slide_s * tokens if len(pieces) > 1 else 0.0
            reserve_s = RESERVE_STEPS * slowest_s[slid] + judging_s + answer_s(tokens)
            if now + (0 if first else min(reserve_s, most_reserved_s)) >= deadline:
                break
            first = False
            over = False
            for slot, number in enumerate(batch.slots):
                sequence, ids = sequences[number], pieces[number]
                index = len(ids) - PREFIX
                if index < len(forced):
                    token = forced[index]
                else:
                    uniform = uniforms[number][index]
                    logits = batch.logits(slot)
                    token = self._next.of(sequence, logits, request, uniform, guides[number])
                if self._ends(sequence, token, request):
                    ids.append(self.bundle.eos_id)
                    over = True
                else:
                    ids.append(token)
                    self.beginning.take(sequence, token, guides[number])
            ended = self._drop_over(batch, pieces) if over else []
            if batch.slots:
                batch.push()
            if len(pieces) > 1:
                for number in self._leaving(batch, sequences, pieces, request, ended):
                    pieces[number].append(self.vocabulary.ranges[PAD][0])
                    batch.drop(number)
        stopped = UNFINISHED if batch.slots else ENDED
        if batch.slots and request.budget_end == "close":
            stopped = BUDGET
        sampled = sum(map(len, pieces)) - already
        if not sampled:
            raise BudgetError(
                f"{budget_s:.1f} s are too short to go on from {already} tokens: raise the "
                "function's time-out or its memory"
            )
        longest_s = max(sequence.state.end_s for sequence in sequences)
        chosen: list[int] = []
        faults: list[dict[str, float]] = []
        taken_up = None
        if stopped != UNFINISHED:
            number, chosen, faults = self._choose(pieces, request)
            longest_s = music_of(chosen[PREFIX:-1], self.vocabulary)[1].end_s
            guide = guides[number]
            taken_up = guide.to_json() if guide is not None else None
        return Composition(
            candidates=pieces,
            ids=chosen,
            stopped=stopped,
            penalties=faults,
            plan=plan,
            taken_up=taken_up,
            music_s=round(longest_s, 3),
            sampled=sampled,
            decode_s=clock() - began,
        )

    def likeliest_style(self, prompt: Sequence[int]) -> str:
        """The style under which the prompt's ids cost the fewest nats; never that of no style."""
        styles = [style for style in self.bundle.styles if style != NO_STYLE] or [NO_STYLE]
        sequences = [self.beginning.sequence_in(style, None) for style in styles]
        for sequence in sequences:
            sequence.state.bars_before = LONG_AGO_BARS
        batch = Batch(self.decoder, sequences)
        batch.replay(0)
        nats = np.zeros(len(styles))
        for token in prompt:
            logits = self.decoder.logits[: len(styles)].astype(np.float64)
            nats += np.logaddexp.reduce(logits, axis=1) - logits[:, token]
            for sequence in sequences:
                sequence.append(token)
            batch.push()
        return styles[int(nats.argmin())]

    def _check_candidates(
        self, pieces: Sequence[Sequence[int]], request: Request, opening: list[int]
    ) -> None:
        if len(pieces) != request.candidates:
            raise TokensError(f"there are {len(pieces)} candidates, not {request.candidates}")
        for number, ids in enumerate(pieces):
            where = f"candidate {number}'s ids"
            if list(ids[:PREFIX]) != opening:
                raise TokensError(f"{where} do not begin with BOS and the request's style")
            self.check(self._body(ids), where)
        going_on = [len(ids) for ids in pieces if not self._is_over(ids)]
        if not going_on:
            raise TokensError(
                "every candidate's ids end in EOS or PAD: none is there to go on with"
            )
        over = [len(ids) - 1 for ids in pieces if self._is_over(ids)]
        if len(set(going_on)) > 1 or max(over, default=0) > going_on[0]:
            raise TokensError("the candidates' ids have not come equally far")

    def _drop_over(self, batch: Batch, pieces: Sequence[Sequence[int]]) -> list[int]:
        over = [number for number in batch.slots if self._is_over(pieces[number])]
        for number in over:
            batch.drop(number)
        return over

    def _is_over(self, ids: Sequence[int]) -> bool:
        """Whether a candidate has ended or left."""
        return self.vocabulary.kind[ids[-1]] in (EOS, PAD)

    def _body(self, ids: Sequence[int]) -> Sequence[int]:
        """A candidate's ids behind BOS and style, without the EOS or PAD of one that is over."""
        return ids[PREFIX:-1] if self._is_over(ids) else ids[PREFIX:]

    def _leaving(
        self,
        batch: Batch,
        sequences: Sequence[TokenSequence],
        pieces: Sequence[list[int]],
        request: Request,
        ended: Sequence[int],
    ) -> list[int]:
        """The candidates that leave after a step in which some have ``ended``.

        As soon as as many as may stay have passed `HALVING`, the worse half; then, when one has
        ended, those that have lost as much as it already.
        """
        going_on = sorted(batch.slots)

        def lost(number: int) -> float:
            return sum(self._faults(pieces[number], request).values())

        if ended:
            least = min(map(lost, ended))
            return [number for number in going_on if lost(number) >= least]
        stay = max(FINALISTS, (len(going_on) + 1) // 2)
        if len(going_on) <= stay or any(self.vocabulary.kind[ids[-1]] == PAD for ids in pieces):
            return []
        seconds = sorted((sequences[n].state.seconds for n in going_on), reverse=True)
        if seconds[stay - 1] < HALVING * request.duration_s:
            return []
        return sorted(going_on, key=lambda number: (lost(number), number))[stay:]

    def _faults(self, ids: Sequence[int], request: Request) -> dict[str, float]:
        """What a candidate has lost: of one that goes on or has left, by its music so far."""
        if self.vocabulary.kind[ids[-1]] == EOS:
            body = self._closed(ids)[PREFIX:-1]
            return faults_of_piece(body, self.vocabulary, request.duration_s)
        return faults_of(self._body(ids), self.vocabulary)

    def _ends(self, sequence: TokenSequence, token: int, request: Request) -> bool:
        """Whether the piece is over: by its own end, or cut before a place that is too late."""
        state, kind = sequence.state, self.vocabulary.kind[token]
        if kind == EOS or (kind == BAR and (sequence.left or 0) <= -LATEST_END_BARS):
            return True
        if kind not in (BAR, POSITION) or not state.notes:
            return False
        place = state.bar_ticks if kind == BAR else int(self.vocabulary.value[token])
        until_s = (state.bar_tick + place - state.tick) * state.seconds_per_tick
        end_s = state.seconds + until_s + state.seconds_per_tick  # of the shortest note there
        return end_s > LONGEST_COMPOSED * request.duration_s

    def _choose(
        self, pieces: Sequence[list[int]], request: Request
    ) -> tuple[int, list[int], list[dict[str, float]]]:
        """The best piece's number, its ids from BOS to EOS, and the faults of each, if several."""
        closed = [self._closed(ids) for ids in pieces]
        finalists = [n for n, ids in enumerate(closed) if ids]
        if not finalists:
            raise BudgetError("the budget ended before the first whole note: raise the time-out")
        if len(pieces) == 1:
            return 0, closed[0], []
        faults = [
            self._faults(ids or raw, request) for ids, raw in zip(closed, pieces, strict=True)
        ]
        best = min(finalists, key=lambda n: (sum(faults[n].values()), n))
        return best, closed[best], faults

    def _closed(self, ids: Sequence[int]) -> list[int]:
        """The piece with EOS after its last note, of the last whole bar if it was not over.

        Empty for a candidate that left, or has no note.
        """
        kind = self.vocabulary.kind
        if kind[ids[-1]] == PAD:
            return []
        whole = list(ids)
        if kind[whole[-1]] == EOS:
            whole.pop()
        else:
            lines = [i for i, token in enumerate(whole) if kind[token] == BAR]
            if lines and any(kind[token] == DURATION for token in whole[: lines[-1]]):
                del whole[lines[-1] :]
        while whole and kind[whole[-1]] != DURATION:
            whole.pop()  # bars without a note
        return [*whole, self.bundle.eos_id] if whole else []

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
