"""Fixtures of the tests of composing: an untrained model, and one held to a metre."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from contract.bundle import Bundle
from contract.token_files import TokenStore
from generate_tokens import handler
from generate_tokens.compose import Composer
from music.grammar import Grammar
from music.tracker import BAR, TIMESIG, MusicState
from tests.conftest import MUSIC_BUCKET
from tests.generate_tokens.composing import FOREVER_S, request_for


@pytest.fixture(scope="module")
def composer(tiny_bundle: Path) -> Composer:
    return Composer(Bundle.load(tiny_bundle))


@pytest.fixture(scope="module")
def planned(planned_bundle: Path) -> Composer:
    """The same model, with plans of form and a memory."""
    return Composer(Bundle.load(planned_bundle))


@pytest.fixture
def lambda_composer(planned: Composer, s3: Any, monkeypatch: pytest.MonkeyPatch) -> Composer:
    """`planned`, as what the handler finds, with the in-process S3."""
    store = TokenStore(MUSIC_BUCKET, planned.bundle, s3)
    monkeypatch.setattr(handler, "load_composer", lambda: planned)
    monkeypatch.setattr(handler, "load_store", lambda: store)
    return planned


@pytest.fixture(scope="module")
def whole(composer: Composer) -> list[int]:
    """A piece of several windows (the context is 64), made without interruption."""
    made = composer.compose(request_for(composer), [], [], FOREVER_S)
    assert made.finished and len(made.ids) > 3 * composer.bundle.context
    return made.ids


@pytest.fixture
def in_four(composer: Composer, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Keeps every piece in 4/4; called with True, ends it as soon as it may end."""
    choices = Grammar.choices
    bar, four = (
        composer.bundle.vocabulary.index(token) for token in (("Bar", "None"), ("TimeSig", "4/4"))
    )

    def patch(ends: bool) -> None:
        def chosen(self: Grammar, state: MusicState, may_end: bool = False) -> NDArray[np.int64]:
            ids = choices(self, state, may_end)
            if state.kind == BAR:
                return np.array([four])
            if ends and composer.bundle.eos_id in ids:
                return np.array([composer.bundle.eos_id])
            if state.kind == TIMESIG:
                ids = ids[ids != bar]  # no bar without a note
            return ids

        monkeypatch.setattr(Grammar, "choices", chosen)

    return patch
