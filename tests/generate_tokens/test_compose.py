"""Composing with an untrained model: form, resume, determinism, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.errors import TokensError
from generate_tokens.compose import Composer
from generate_tokens.judge import LATEST_END_BARS
from music.tracker import DURATION, EOS, PITCH, MusicState
from tests.generate_tokens.composing import FOREVER_S, StepClock, in_calls, request_for
from tests.music.writing import ids_of


def is_duration(composer: Composer, token: int) -> bool:
    return composer.vocabulary.kind[token] == DURATION


def bars_left_at_the_end(composer: Composer, ids: list[int], duration_s: float) -> int:
    """Of the piece's planned bars, how many were left in the bar of its last note: 1 is on time."""
    state = MusicState(composer.vocabulary)
    for token in ids[2:-1]:
        state.step(token)
    left = state.bars_left(duration_s)
    assert left is not None
    return left


@pytest.mark.parametrize("duration_s", range(6, 26, 2))
def test_a_piece_that_finds_no_end_is_cut_after_its_last_note(
    composer: Composer, in_four: Callable[[bool], None], duration_s: int
) -> None:
    in_four(False)  # an untrained model hardly ever draws EOS
    made = composer.compose(request_for(composer, duration_s=duration_s), [], [], FOREVER_S)
    kinds = [composer.vocabulary.kind[token] for token in made.ids[-2:]]
    assert made.finished and kinds == [DURATION, EOS]
    assert -LATEST_END_BARS <= bars_left_at_the_end(composer, made.ids, duration_s) <= 1


@pytest.mark.parametrize("duration_s", [6, 17, 33, 60])
def test_an_end_that_the_model_wants_comes_in_the_last_planned_bar(
    composer: Composer, in_four: Callable[[bool], None], duration_s: int
) -> None:
    in_four(True)
    made = composer.compose(request_for(composer, duration_s=duration_s), [], [], FOREVER_S)
    assert made.finished and bars_left_at_the_end(composer, made.ids, duration_s) == 1


def test_a_piece_does_not_stay_on_one_note(composer: Composer, tokenizer: Any) -> None:
    opening = ("Bar_None", "TimeSig_4/4", "Position_0", "Tempo", "Program_0")
    one_note = [
        ("Pitch_60", "Duration_0.1.12"),
        *[
            (
                *(("Bar_None", "TimeSig_4/4") if i % 48 == 0 else ()),
                f"Position_{i % 48}",
                "Pitch_60",
                "Duration_0.1.12",
            )
            for i in range(1, 60)
        ],
    ]
    names = (*opening, *(name for note in one_note for name in note), "Position_20")
    sequence = composer.beginning.sequence(request_for(composer), None)
    for token in ids_of(tokenizer, *names):
        sequence.append(token)
    sequence.stasis.top = (-1, 0.0)  # another guard would see it, too
    sixty = tokenizer["Pitch_60"]
    cold = replace(request_for(composer), temperature=0.0)
    logits = np.zeros(composer.vocabulary.size, np.float32)
    logits[sixty] = 9
    assert composer._next.of(sequence, logits.copy(), cold, 0.5, None) != sixty
    sequence.variety.left_out = frozenset()
    assert composer._next.of(sequence, logits.copy(), cold, 0.5, None) == sixty


def test_the_same_seed_gives_the_same_ids_and_another_does_not(
    composer: Composer, whole: list[int]
) -> None:
    again = composer.compose(request_for(composer), [], [], FOREVER_S).ids
    other = composer.compose(request_for(composer, seed=4), [], [], FOREVER_S).ids
    assert again == whole and other != whole


@settings(max_examples=8, deadline=None)
@given(budget_s=st.integers(2, 400))
def test_interruptions_change_nothing(composer: Composer, whole: list[int], budget_s: int) -> None:
    assert in_calls(composer, request_for(composer), [], budget_s).ids == whole


def test_interruptions_change_nothing_after_a_prompt(composer: Composer, whole: list[int]) -> None:
    opening = whole[2:6]  # an untrained model's bars are too long for half of this context
    note = whole[6 : next(i for i, t in enumerate(whole) if is_duration(composer, t)) + 1]
    prompt = [*opening, *note]
    assert len(prompt) <= composer.bundle.context // 2
    request = request_for(composer, seed=9, candidates=2)
    straight = composer.compose(request, prompt, [], FOREVER_S)
    assert in_calls(composer, request, prompt, 37).candidates == straight.candidates
    assert straight.ids[2:6] == opening  # metre, Position_0 and tempo go on
    assert straight.ids != composer.compose(request, [], [], FOREVER_S).ids


def test_a_finished_piece_decodes_to_every_one_of_its_notes(
    composer: Composer, whole: list[int], tokenizer: Any
) -> None:
    score = tokenizer.decode(whole[2:-1])
    pitches = [i for i in whole if composer.vocabulary.kind[i] == PITCH]
    assert score.note_num() == len(pitches) > 50


@pytest.mark.parametrize(
    "names",
    [
        ("Duration_1.0.12",),
        ("Bar_None", "TimeSig_4/4", "Position_0", "Tempo", "Program_0", "Duration_1.0.12"),
        ("Bar_None", "TimeSig_2/4", "Position_0", "Tempo", "Position_24"),
        ("Bar_None", "TimeSig_2/4", "Position_0", "Tempo", "Position_3", "Pitch_60"),
        ("PAD_None",),
    ],
)
def test_ids_that_are_not_music_are_refused(
    composer: Composer, tokenizer: Any, names: tuple[str, ...]
) -> None:
    ids = ids_of(tokenizer, *names)
    with pytest.raises(TokensError, match=f"id {len(ids) - 1}, "):
        composer.compose(request_for(composer), ids, [], FOREVER_S)


def test_temperature_zero_needs_no_luck(composer: Composer) -> None:
    cold = replace(request_for(composer), temperature=0.0)
    first = composer.compose(cold, [], [], 60, StepClock()).candidates
    second = composer.compose(replace(cold, seed=99), [], [], 60, StepClock()).candidates
    assert first == second


@pytest.mark.parametrize("temperature", [0, 1])
def test_ids_after_which_nothing_can_be_struck_are_refused(
    composer: Composer, tokenizer: Any, temperature: float
) -> None:
    names = ["Bar_None", "TimeSig_4/4", "Position_0", "Tempo", "Program_0"]
    for pitch in range(24, 104):
        names += [f"Pitch_{pitch}", "Duration_16.0.4"]
    ids = ids_of(tokenizer, *names, "Program_6", "Pitch_60", "Duration_1.0.12")
    ids += ids_of(tokenizer, "Position_12", "Program_0")
    opening = [composer.bundle.bos_id, composer.bundle.styles["folk"]]
    request = request_for(composer, temperature=temperature)
    with pytest.raises(TokensError, match="already sounding"):
        composer.compose(request, [], [opening + ids], FOREVER_S)
