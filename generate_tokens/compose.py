"""Composes: token after token under the grammar, until the piece is long enough or time is up.

A call begins the piece or continues it, takes steps until the deadline, and answers with all ids so
far, from which the next call continues. Composing is a pure function of bundle, request, prompt,
motif and ids: how often it was interrupted changes nothing. Depends on neither Lambda nor S3.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from contract.bundle import Bundle
from contract.errors import BudgetError, BundleError, TokensError
from contract.request import Request, parse_request
from generate_tokens.beginning import Beginning
from generate_tokens.candidates import Candidates, require_in_step
from generate_tokens.closing import best_of, body_of, ends_with
from generate_tokens.deadline import Deadline
from generate_tokens.decoder import Decoder
from generate_tokens.draws import drawn
from generate_tokens.motif import Motif
from generate_tokens.next_token import NextToken
from generate_tokens.sampling import Uniforms
from generate_tokens.sequence import PREFIX, Batch
from music.form import Plan
from music.grammar import Grammar
from music.notes import music_of
from music.tracker import BAR, KINDS, LONG_AGO_BARS, STYLE, MusicState, Vocabulary

# Where there are several candidates, they are judged at the end, some of them twice. On a machine
# whose windows slide in 20 ms that takes 14 to 22 µs an id: per id, this part of a slide.
JUDGING = 1 / 400
NO_STYLE = "other"
UNFINISHED, ENDED, BUDGET = "unfinished", "duration", "budget"


@dataclass(frozen=True)
class Composition:
    """How far a call came.

    Attributes:
        candidates: the ids of each as they were sampled, ``BOS style Bar ...``, and EOS once it has
            ended or PAD once it has been eliminated: what the next call continues.
        ids: the finished piece, the best of the candidates; empty before.
        stopped: `UNFINISHED`; or what finished the piece: `ENDED` near its wanted length, or
            `BUDGET`.
        penalties: of each candidate, by name (judge.py), where one of several was chosen.
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


def no_answer(_ids: int) -> float:
    """Seconds that it takes to keep the ids of an answer, where it takes none."""
    return 0.0


class Composer:
    """Keeps the session and the tables of one bundle between invocations.

    Raises BundleError for a bundle with which nothing can be composed, although its hashes are
    right: of another version's exporter, or with weights that are no numbers.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        try:
            self.decoder = Decoder(bundle)
            self.vocabulary = Vocabulary(bundle.vocabulary)
            self.beginning = Beginning(bundle, self.vocabulary)
            self._grammar = Grammar(self.vocabulary, bundle.grammar)
            self._next = NextToken(self.vocabulary, self._grammar)
            self._slide_s = self._time_slide()
        # All of this depends on the bundle alone, so whatever is wrong is wrong with the bundle.
        except Exception as error:
            if isinstance(error, BundleError):
                raise
            raise BundleError(
                f"{bundle.directory}: nothing can be composed with this bundle: "
                f"{type(error).__name__}: {error}"
            ) from error

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
        """Continues ``so_far`` (empty at first) for at most ``budget_s`` seconds.

        Args:
            request: its style, metre and tempo are drawn where they are open (`draws.drawn`).
            prompt: bars that come before the piece, not part of it; at most half the context.
            motif: of another piece, for this one to take up.
            so_far: the `Composition.candidates` of an earlier call.
            answer_s: seconds that it takes to keep so many ids; reserved, too.

        Raises:
            TokensError: prompt or ids that are not music, or candidates that were not in step.
            BudgetError: not one token fits the budget, or a piece that must be closed has no note.
        """
        request = drawn(request, self.bundle)
        several = request.candidates > 1

        def closing_s(ids: int) -> float:
            return (JUDGING * self._slide_s * ids if several else 0.0) + answer_s(ids)

        # A plain step counts as long as the slide of one window: it meets the core's other users.
        slide_s = self._slide_s
        deadline = Deadline(budget_s, slide_s, slide_s * request.candidates, closing_s, clock)

        # Where the piece stands: its plan of form, and what the model was told of each candidate.
        plan, candidates = self._stand(request, prompt, so_far, motif)
        batch, already = candidates.batch, candidates.count

        # The same first ids for all (metre, tempo); then each draws numbers of its own. The number
        # of an id depends on its index alone, so that an interruption changes none of them.
        forced = self.beginning.opening(request)
        uniforms = [Uniforms(request.piece_seed, n) for n in range(request.candidates)]

        # Step by step: every candidate that is not over takes one token, the model takes them all.
        while batch.slots and deadline.allows_step(
            candidates.count + len(batch.slots), slides=batch.slides
        ):
            for slot, number in enumerate(batch.slots):
                sequence, ids = candidates.sequences[number], candidates.ids[number]
                guide = candidates.guides[number]
                index = len(ids) - PREFIX
                if index < len(forced):
                    token = forced[index]
                else:
                    logits, uniform = batch.logits(slot), uniforms[number][index]
                    token = self._next.of(sequence, logits, request, uniform, guide)
                if ends_with(token, sequence, request.duration_s):
                    ids.append(self.bundle.eos_id)
                else:
                    ids.append(token)
                    self.beginning.take(sequence, token, guide)
            ended = candidates.retire()
            if batch.slots:
                batch.push()
            candidates.eliminate(ended)

        sampled = candidates.count - already
        if not sampled:
            raise BudgetError(
                f"{budget_s:.1f} s are too short to continue {already} tokens: raise the "
                "function's time-out or its memory"
            )
        return self._answer(request, plan, candidates, sampled, deadline)

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

    def _time_slide(self) -> float:
        """Seconds that it takes to slide one window; also tries a prefill, a step and a sample."""
        request = drawn(
            parse_request(dict(self.bundle.sampling), self.bundle, "2000-01-01"), self.bundle
        )
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
        took_s = time.perf_counter() - began
        if not np.isfinite(batch.logits(0)).all():
            raise BundleError(f"{self.bundle.model_path} computes no numbers")
        return took_s

    def _stand(
        self,
        request: Request,
        prompt: Sequence[int],
        so_far: Sequence[Sequence[int]],
        motif: Motif | None,
    ) -> tuple[Plan | None, Candidates]:
        """The plan, and the candidates as they stood after the call before, or at the beginning."""
        opening = [self.bundle.bos_id, self.bundle.styles[request.style or ""]]
        pieces = [list(ids) for ids in so_far or [opening] * request.candidates]
        require_in_step(pieces, opening, request.candidates, self.vocabulary)
        bodies = [body_of(ids, self.vocabulary) for ids in pieces]
        for number, body in enumerate(bodies):
            self.check(body, f"candidate {number}'s ids")
        self.check(prompt, "the prompt's ids")
        plan = self.beginning.plan(request, prompt)
        guides = [self.beginning.guide(motif, plan, prompt, request) for _ in pieces]
        sequences = [
            self.beginning.told(prompt, body, request, plan, guide)
            for body, guide in zip(bodies, guides, strict=True)
        ]
        # The model is told all of it again, as it was told step by step: the cache is not kept.
        batch = Batch(self.decoder, sequences)
        batch.replay(len(prompt))
        return plan, Candidates(
            pieces, sequences, guides, batch, self.vocabulary, request.duration_s
        )

    def _answer(
        self,
        request: Request,
        plan: Plan | None,
        candidates: Candidates,
        sampled: int,
        deadline: Deadline,
    ) -> Composition:
        """The best candidate if all are over, or if a piece shall be closed when time is up."""
        in_the_making = bool(candidates.batch.slots)
        stopped = UNFINISHED if in_the_making else ENDED
        if in_the_making and request.budget_end == "close":
            stopped = BUDGET
        chosen: list[int] = []
        penalties: list[dict[str, float]] = []
        taken_up = None
        music_s = max(sequence.state.end_s for sequence in candidates.sequences)
        if stopped != UNFINISHED:
            best, chosen, penalties = best_of(candidates.ids, self.vocabulary, request.duration_s)
            music_s = music_of(chosen[PREFIX:-1], self.vocabulary)[1].end_s
            guide = candidates.guides[best]
            taken_up = guide.to_json() if guide is not None else None
        return Composition(
            candidates=candidates.ids,
            ids=chosen,
            stopped=stopped,
            penalties=penalties,
            plan=plan,
            taken_up=taken_up,
            music_s=round(music_s, 3),
            sampled=sampled,
            decode_s=deadline.spent_s(),
        )
