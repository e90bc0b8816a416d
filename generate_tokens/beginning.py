"""How a piece begins: its first ids, its plan of form, its motif, and the sequence that it becomes.

All of this is the same for every candidate and every call, so that an interrupted piece continues
as it began. Depends on neither the decoder nor sampling.
"""

from __future__ import annotations

from collections.abc import Sequence

from contract.bundle import Bundle
from contract.errors import EventError
from contract.request import DRAWN, UNPLANNED, Request
from generate_tokens.motif import Motif, MotifGuide, place_for
from generate_tokens.sequence import TokenSequence
from music.form import Plan, Plans, plan_of_letters
from music.memory import CopyWeights
from music.tracker import BAR, LONG_AGO_BARS, POSITION, MusicState, Vocabulary


class Beginning:
    """Begins pieces according to a bundle.

    Raises:
        ValueError: the bundle's weights of copies have another form.
    """

    def __init__(self, bundle: Bundle, vocabulary: Vocabulary) -> None:
        self._bundle, self._vocabulary = bundle, vocabulary
        self._plans = Plans(bundle.plans)
        self.weights = CopyWeights(**bundle.copying)

    def opening(self, request: Request) -> list[int]:
        """The first ids of every candidate: Bar, TimeSig, Position and Tempo."""
        of = self._bundle.vocabulary.index
        tempi = {float(v): i for i, (k, v) in enumerate(self._bundle.vocabulary) if k == "Tempo"}
        bar, position = (self._vocabulary.ranges[kind][0] for kind in (BAR, POSITION))
        return [bar, of(("TimeSig", request.metre or "")), position, tempi[request.tempo or 0]]

    def plan(self, request: Request, prompt: Sequence[int]) -> Plan | None:
        """The plan of form of the prompt's bars and the piece's; None if the piece is unplanned.

        For a piece with a prompt one form is drawn for both, so that the piece may return to bars
        of the prompt. If the event gives the form, the prompt's bars count as new.

        Raises:
            EventError: the event's form has more sections than the piece has bars.
        """
        if request.form == UNPLANNED:
            return None
        bars = self.bars_of(request)
        before = self.count_bars(prompt)
        if request.form == DRAWN:
            asked = (request.style or "", request.metre or "", before + bars, request.piece_seed)
            return self._plans.draw(*asked)
        try:
            return Plan.new(before) + plan_of_letters(request.form, bars)
        except ValueError as error:
            raise EventError(
                f"form {error} at this length, metre and tempo: use fewer letters or a longer "
                "duration_s"
            ) from error

    def bars_of(self, request: Request) -> int:
        """How many bars a piece of the requested length has."""
        state = MusicState(self._vocabulary)
        for token in self.opening(request):
            state.step(token)
        return max(1, state.bars_left(request.duration_s) or 0)

    def count_bars(self, ids: Sequence[int]) -> int:
        return sum(self._vocabulary.kind[token] == BAR for token in ids)

    def sequence(self, request: Request, plan: Plan | None) -> TokenSequence:
        """A sequence behind BOS and the request's style."""
        return self.sequence_in(request.style or "", plan)

    def sequence_in(self, style: str, plan: Plan | None) -> TokenSequence:
        """A sequence behind BOS and a style."""
        return TokenSequence(
            self._vocabulary,
            self._bundle.bos_id,
            self._bundle.styles[style],
            self.weights,
            plan,
            in_voices=style in self._bundle.voices,
        )

    def guide(
        self, motif: Motif | None, plan: Plan | None, prompt: Sequence[int], request: Request
    ) -> MotifGuide | None:
        if motif is None or prompt:
            return None
        place = place_for(plan.lags if plan else [0] * self.bars_of(request), len(motif.notes))
        if place is None:
            return None
        return MotifGuide(self._vocabulary, motif, place, request.metre or "")

    def told(
        self,
        prompt: Sequence[int],
        ids: Sequence[int],
        request: Request,
        plan: Plan | None,
        guide: MotifGuide | None,
    ) -> TokenSequence:
        """The sequence of a candidate so far, with its prompt; ``ids`` are behind BOS and style."""
        sequence = self.sequence(request, plan)
        if prompt:
            sequence.state.bars_before = LONG_AGO_BARS  # it may be from the middle of a piece
        for token in prompt:
            sequence.append(token)
        sequence.begin_piece(request.duration_s)
        for token in ids:
            self.take(sequence, token, guide)
        return sequence

    @staticmethod
    def take(sequence: TokenSequence, token: int, guide: MotifGuide | None) -> None:
        sequence.append(token)
        if guide is not None:
            guide.step(token, sequence.state)
