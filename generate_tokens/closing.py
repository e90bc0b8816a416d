"""How a piece ends: when it is over, what is cut off, and which of several candidates is kept.

A candidate's ids are ``BOS style Bar ...``; then EOS once it has ended, or PAD once it has been
eliminated. Depends on neither how candidates are composed nor how long that may take.
"""

from __future__ import annotations

from collections.abc import Sequence

from contract.errors import BudgetError
from contract.request import LONGEST_COMPOSED
from generate_tokens.judge import LATEST_END_BARS, penalties_of_piece, penalties_so_far
from generate_tokens.sequence import PREFIX, TokenSequence
from music.tracker import BAR, DURATION, EOS, PAD, POSITION, Vocabulary

Penalties = dict[str, float]  # by name, 0 where all is well, at most 1 each


def is_over(ids: Sequence[int], vocabulary: Vocabulary) -> bool:
    """Whether a candidate has ended or been eliminated."""
    return vocabulary.kind[ids[-1]] in (EOS, PAD)


def body_of(ids: Sequence[int], vocabulary: Vocabulary) -> Sequence[int]:
    """A candidate's music: its ids without BOS, style, EOS and PAD."""
    return ids[PREFIX:-1] if is_over(ids, vocabulary) else ids[PREFIX:]


def ends_with(token: int, sequence: TokenSequence, duration_s: float) -> bool:
    """Whether a piece is over with this next token: it ends by itself, or is cut before the token.

    It is cut where the token would begin a bar too late (two bars after the last planned one), or a
    place in which even the shortest note would end later than the piece may last at most.
    """
    state = sequence.state
    kind, value = state.vocabulary.kind[token], state.vocabulary.value[token]
    if kind == EOS or (kind == BAR and (sequence.left or 0) <= -LATEST_END_BARS):
        return True
    if kind not in (BAR, POSITION) or not state.notes:
        return False
    place = state.bar_ticks if kind == BAR else int(value)
    until_s = (state.bar_tick + place - state.tick) * state.seconds_per_tick
    end_s = state.seconds + until_s + state.seconds_per_tick  # of the shortest note there
    return end_s > LONGEST_COMPOSED * duration_s


def closed(ids: Sequence[int], vocabulary: Vocabulary) -> list[int]:
    """The whole piece: EOS after the last note, in the last whole bar unless it ended by itself.

    Empty for a candidate that was eliminated, or has no note.
    """
    kind = vocabulary.kind
    if kind[ids[-1]] == PAD:
        return []
    piece = list(ids)
    if kind[piece[-1]] == EOS:
        piece.pop()
    else:
        # Stopped in the middle of a bar: the bar goes, if there is a note before it.
        bars = [index for index, token in enumerate(piece) if kind[token] == BAR]
        if bars and any(kind[token] == DURATION for token in piece[: bars[-1]]):
            del piece[bars[-1] :]
    while piece and kind[piece[-1]] != DURATION:
        piece.pop()  # what follows the last note: bars and positions without one
    return [*piece, vocabulary.ranges[EOS][0]] if piece else []


def penalties_of(ids: Sequence[int], vocabulary: Vocabulary, duration_s: float) -> Penalties:
    """A candidate's penalties: of the whole piece if it has ended, else of its music so far."""
    if vocabulary.kind[ids[-1]] == EOS:
        body = closed(ids, vocabulary)[PREFIX:-1]
        return penalties_of_piece(body, vocabulary, duration_s)
    return penalties_so_far(body_of(ids, vocabulary), vocabulary)


def best_of(
    candidates: Sequence[Sequence[int]], vocabulary: Vocabulary, duration_s: float
) -> tuple[int, list[int], list[Penalties]]:
    """The number and the ids, BOS to EOS, of the best candidate, and all penalties if several.

    Raises:
        BudgetError: none has a note.
    """
    pieces = [closed(ids, vocabulary) for ids in candidates]
    whole = [number for number, piece in enumerate(pieces) if piece]
    if not whole:
        raise BudgetError("the budget ended before the first whole note: raise the time-out")
    if len(candidates) == 1:
        return 0, pieces[0], []
    penalties = [
        penalties_of(piece or ids, vocabulary, duration_s)
        for piece, ids in zip(pieces, candidates, strict=True)
    ]
    best = min(whole, key=lambda number: (sum(penalties[number].values()), number))
    return best, pieces[best], penalties
