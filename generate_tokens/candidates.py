"""The candidates of one piece, composed in step, and which of them are eliminated on the way.

All have the same tempo, metre and plan of form, and draw different numbers. The model takes a token
of each in one step, which costs little more than a step for one. Depends on neither sampling nor
time.
"""

from __future__ import annotations

from collections.abc import Sequence

from contract.errors import TokensError
from generate_tokens.closing import is_over, penalties_of
from generate_tokens.motif import MotifGuide
from generate_tokens.sequence import PREFIX, Batch, TokenSequence
from music.tracker import PAD, Vocabulary

HALVING = 0.25  # share of the wanted length after which the worse half is eliminated
FINALISTS = 2  # at least so many stay


class Candidates:
    """Candidates on their way through the decoder.

    Args:
        ids: of each, ``BOS style Bar ...``.
        sequences: what the model has been told of each.
        guides: of each, what leads it through a motif, if there is one.
        batch: the sequences in the decoder.

    Attributes:
        ids: as they grow; EOS is behind one that has ended, PAD behind one that is eliminated.
    """

    def __init__(
        self,
        ids: list[list[int]],
        sequences: Sequence[TokenSequence],
        guides: Sequence[MotifGuide | None],
        batch: Batch,
        vocabulary: Vocabulary,
        duration_s: float,
    ) -> None:
        self.ids, self.sequences, self.guides, self.batch = ids, sequences, guides, batch
        self._vocabulary, self._duration_s = vocabulary, duration_s
        self._pad = vocabulary.ranges[PAD][0]
        self.retire()  # those that were over when the call before ended

    @property
    def count(self) -> int:
        """Ids of all candidates."""
        return sum(map(len, self.ids))

    def retire(self) -> list[int]:
        """Takes the candidates that are over out of the batch; returns their numbers."""
        over = [n for n in self.batch.slots if is_over(self.ids[n], self._vocabulary)]
        for number in over:
            self.batch.drop(number)
        return over

    def eliminate(self, ended: Sequence[int]) -> None:
        """Ends the candidates that are not worth continuing, after a step in which some ``ended``.

        As soon as as many as may stay have passed `HALVING`, the worse half of them is eliminated;
        later, when one has ended, each that already has as many penalties as the one that ended.
        """
        if len(self.ids) == 1:
            return
        for number in self._losers(ended):
            self.ids[number].append(self._pad)
            self.batch.drop(number)

    def _losers(self, ended: Sequence[int]) -> list[int]:
        numbers = sorted(self.batch.slots)
        if ended:
            least = min(map(self._penalty, ended))
            return [number for number in numbers if self._penalty(number) >= least]
        stay = max(FINALISTS, (len(numbers) + 1) // 2)
        halved_before = any(self._vocabulary.kind[ids[-1]] == PAD for ids in self.ids)
        if len(numbers) <= stay or halved_before:
            return []
        seconds = sorted((self.sequences[n].state.seconds for n in numbers), reverse=True)
        if seconds[stay - 1] < HALVING * self._duration_s:
            return []
        return sorted(numbers, key=lambda number: (self._penalty(number), number))[stay:]

    def _penalty(self, number: int) -> float:
        return sum(penalties_of(self.ids[number], self._vocabulary, self._duration_s).values())


def require_in_step(
    candidates: Sequence[Sequence[int]], opening: Sequence[int], count: int, vocabulary: Vocabulary
) -> None:
    """Refuses ids from an earlier call that cannot have come from one.

    Raises:
        TokensError: there are not ``count`` candidates, one does not begin with ``opening``, none
            is left to continue, or they have not come equally far.
    """
    if len(candidates) != count:
        raise TokensError(f"there are {len(candidates)} candidates, not {count}")
    for number, ids in enumerate(candidates):
        if list(ids[:PREFIX]) != list(opening):
            raise TokensError(
                f"candidate {number}'s ids do not begin with BOS and the request's style"
            )
    lengths = [len(ids) for ids in candidates if not is_over(ids, vocabulary)]
    if not lengths:
        raise TokensError("every candidate's ids end in EOS or PAD: none is left to continue")
    over = [len(ids) - 1 for ids in candidates if is_over(ids, vocabulary)]
    if len(set(lengths)) > 1 or max(over, default=0) > lengths[0]:
        raise TokensError("the candidates' ids have not come equally far")
