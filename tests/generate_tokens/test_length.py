"""No piece becomes much longer than what was asked for, from the first id to the saved file."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from generate_tokens.bundle import Bundle
from generate_tokens.compose import Composer
from generate_tokens.draws import FITS, drawn
from generate_tokens.grammar import Grammar
from generate_tokens.request import LONGEST, parse_request
from generate_tokens.state import BAR, MusicState
from midi_save.check import check_piece
from midi_save.detokenise import detokenise, load_tokenizer
from tests.generate_tokens.composing import FOREVER_S
from tests.generate_tokens.music import VOCABULARY


@pytest.fixture
def in_one_metre(monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrained model would change the metre, and the length of the bars with it."""
    choices = Grammar.choices

    @cache
    def metre(bar_ticks: int, tick_quarters: float) -> NDArray[np.int64]:
        lengths = zip(VOCABULARY.value, VOCABULARY.tick_quarters, strict=True)
        return np.array([list(lengths).index((bar_ticks, tick_quarters))])

    def chosen(self: Grammar, state: MusicState, may_end: bool = False) -> NDArray[np.int64]:
        if state.kind == BAR:
            return metre(state.bar_ticks, state.tick_quarters)
        return choices(self, state, may_end)

    monkeypatch.setattr(Grammar, "choices", chosen)


@cache
def tokenizer_of(bundle_directory: Any) -> Any:
    return load_tokenizer(Bundle.load(bundle_directory))


@pytest.mark.usefixtures("in_one_metre")
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 10_000), duration_s=st.integers(5, 40), candidates=st.integers(1, 2))
def test_no_piece_is_much_longer_than_was_asked(
    planned: Composer, seed: int, duration_s: int, candidates: int
) -> None:
    bundle = planned.bundle
    event = {"seed": seed, "duration_s": duration_s, "candidates": candidates}
    request = drawn(parse_request(event, bundle, "2026-01-01"), bundle)
    beats, unit = map(int, (request.metre or "").split("/"))
    planned_s = planned.bars_of(request) * 240 * beats / unit / (request.tempo or 0)
    # else the archive has no metre and tempo that fit so short a piece
    assume(planned_s <= (1 + FITS) * duration_s)
    ids = planned.compose(request, [], [], FOREVER_S).ids
    limit_s = LONGEST * duration_s
    piece = detokenise(ids, tokenizer_of(bundle.directory), bundle, "", limit_s)
    assert check_piece(piece.midi, piece.notes, piece.programs).duration_s <= limit_s + 0.05
