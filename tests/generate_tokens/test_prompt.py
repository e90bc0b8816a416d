"""The bars a piece goes on from, cut out of a longer piece."""

from __future__ import annotations

from typing import Any

import pytest
from dataset import vocabulary_entries

from generate_tokens.prompt import last_bars, opening_after
from generate_tokens.state import Vocabulary
from tests.generate_tokens.music import ids_of

NOTE = ("Pitch_60", "Duration_1.0.12")
PIECE = (
    "BOS_None",
    "Style_folk",
    *("Bar_None", "TimeSig_3/4", "Position_0", "Tempo", "Program_24", *NOTE),
    *("Bar_None", "TimeSig_3/4", "Position_12", *NOTE),
    *("Bar_None", "TimeSig_2/4", "Position_0", *NOTE, "Program_73", *NOTE),
    "EOS_None",
)


@pytest.fixture(scope="module")
def vocabulary(tokenizer: Any) -> Vocabulary:
    return Vocabulary(vocabulary_entries(tokenizer))


def cut(tokenizer: Any, vocabulary: Vocabulary, limit: int) -> list[int]:
    return last_bars(ids_of(tokenizer, *PIECE), vocabulary, limit)


def test_whole_bars_are_kept_as_far_as_they_fit(tokenizer: Any, vocabulary: Vocabulary) -> None:
    two_bars = (
        "Bar_None",
        "TimeSig_3/4",
        "Position_0",
        "Tempo",
        "Position_12",
        "Program_24",
        *NOTE,
    )
    last = ("Bar_None", "TimeSig_2/4", "Position_0", *NOTE, "Program_73", *NOTE)
    assert cut(tokenizer, vocabulary, 18) == ids_of(tokenizer, *two_bars, *last)


def test_the_cut_names_tempo_and_programme_again(tokenizer: Any, vocabulary: Vocabulary) -> None:
    expected = ("Bar_None", "TimeSig_2/4", "Position_0", "Tempo", "Program_24", *NOTE)
    assert cut(tokenizer, vocabulary, 12) == ids_of(tokenizer, *expected, "Program_73", *NOTE)


def test_of_a_bar_that_does_not_fit_whole_notes_are_kept(
    tokenizer: Any, vocabulary: Vocabulary
) -> None:
    expected = ("Bar_None", "TimeSig_2/4", "Position_0", "Tempo", "Program_24", *NOTE)
    assert cut(tokenizer, vocabulary, 9) == ids_of(tokenizer, *expected)


def test_nothing_is_kept_of_nothing(tokenizer: Any, vocabulary: Vocabulary) -> None:
    assert cut(tokenizer, vocabulary, 6) == []
    assert last_bars([], vocabulary, 100) == []
    assert last_bars(ids_of(tokenizer, *PIECE[:6]), vocabulary, 100) == []


@pytest.mark.parametrize("limit", range(9, 40))
def test_the_cut_never_exceeds_its_limit(
    tokenizer: Any, vocabulary: Vocabulary, limit: int
) -> None:
    assert len(cut(tokenizer, vocabulary, limit)) <= limit


def test_the_next_piece_opens_in_the_same_metre_and_tempo(
    tokenizer: Any, vocabulary: Vocabulary
) -> None:
    prompt = cut(tokenizer, vocabulary, 100)
    expected = ids_of(tokenizer, "Bar_None", "TimeSig_2/4", "Position_0", "Tempo")
    assert opening_after(prompt, vocabulary) == expected
    assert opening_after([], vocabulary) == []
