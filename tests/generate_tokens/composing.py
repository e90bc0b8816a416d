"""What the tests of composing share: requests, a clock, a piece made in many calls."""

from __future__ import annotations

from typing import Any

from contract.request import Request, parse_request
from generate_tokens.compose import Composer, Composition
from generate_tokens.motif import Motif
from music.tracker import MusicState

FOREVER_S = 1e9


class StepClock:
    """A clock that each reading moves on by one second: a budget of n s is about n tokens."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def request_for(composer: Composer, **fields: Any) -> Request:
    event = {"style": "folk", "metre": "4/4", "tempo": 116, "seed": 3, "duration_s": 20}
    event |= {"candidates": 1, **fields}
    return parse_request(event, composer.bundle, "2026-01-01T00:00:00Z")


def in_calls(
    composer: Composer,
    request: Request,
    prompt: list[int],
    budget_s: float,
    motif: Motif | None = None,
) -> Composition:
    candidates: list[list[int]] = []
    while True:
        clock = StepClock()
        made = composer.compose(request, prompt, candidates, budget_s, clock, motif=motif)
        if made.finished:
            return made
        candidates = made.candidates


def seconds_of(composer: Composer, ids: list[int]) -> float:
    state = MusicState(composer.vocabulary)
    for token in ids:
        state.step(token)
    return state.seconds
