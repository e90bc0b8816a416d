"""What may follow what: random walks under the mask stay decodable and free of repeats."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from music.grammar import REMI_TRANSITIONS, Grammar
from music.tracker import DURATION, KINDS, PITCH, STYLE, MusicState, Vocabulary
from tests.music.writing import ids_of, state_after
from training.data.tokenizer import vocabulary_entries

START = ("Bar_None", "TimeSig_4/4", "Position_0", "Tempo", "Program_0")


@pytest.fixture(scope="module")
def grammar(tokenizer: Any) -> Grammar:
    return Grammar(Vocabulary(vocabulary_entries(tokenizer)), REMI_TRANSITIONS)


def allowed_in(grammar: Grammar, state: MusicState) -> list[int]:
    """The ids that the sampler may choose from."""
    struck = set(grammar.struck(state))
    return [token for token in grammar.choices(state).tolist() if token not in struck]


def walk(grammar: Grammar, seed: int, steps: int) -> list[int]:
    """Ids drawn evenly from what the grammar allows."""
    rng = np.random.default_rng(seed)
    state = MusicState(grammar.vocabulary)
    state.kind = STYLE
    ids = []
    for _ in range(steps):
        ids.append(int(rng.choice(allowed_in(grammar, state))))
        state.step(ids[-1])
    return ids


def names_allowed(grammar: Grammar, tokenizer: Any, *names: str) -> set[str]:
    state = state_after(grammar.vocabulary, ids_of(tokenizer, *names))
    by_id = {i: name for name, i in tokenizer.vocab.items()}
    return {by_id[token] for token in allowed_in(grammar, state)}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_every_pitch_of_a_random_walk_decodes_to_its_own_note(
    grammar: Grammar, tokenizer: Any, seed: int
) -> None:
    ids = walk(grammar, seed, 400)
    kinds = [grammar.vocabulary.kind[i] for i in ids]
    last_note = max(i for i, kind in enumerate(kinds) if kind == DURATION) + 1
    score = tokenizer.decode(ids[:last_note])
    notes = [(t.program, n.time, n.pitch) for t in score.tracks for n in t.notes]
    assert len(notes) == kinds[:last_note].count(PITCH)
    assert len(set(notes)) == len(notes)
    assert len(score.tracks) <= 16


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_no_key_is_struck_while_it_sounds(grammar: Grammar, tokenizer: Any, seed: int) -> None:
    state = MusicState(grammar.vocabulary)
    for token in walk(grammar, seed, 300):
        if grammar.vocabulary.kind[token] == PITCH:
            bit = 1 << (token - grammar.vocabulary.ranges[PITCH][0])
            assert not state.sounding_by_program.get(state.program, 0) & bit
        state.step(token)


def test_a_piece_opens_with_metre_tempo_and_program(grammar: Grammar, tokenizer: Any) -> None:
    assert names_allowed(grammar, tokenizer, "BOS_None", "Style_chorale") == {"Bar_None"}
    assert names_allowed(grammar, tokenizer, *START[:2]) == {"Position_0"}
    assert {n.split("_")[0] for n in names_allowed(grammar, tokenizer, *START[:3])} == {"Tempo"}
    after_tempo = {n.split("_")[0] for n in names_allowed(grammar, tokenizer, *START[:4])}
    assert after_tempo == {"Program", "Position", "Bar"}


def test_positions_go_forward_inside_the_bar(grammar: Grammar, tokenizer: Any) -> None:
    note = ("Pitch_60", "Duration_0.1.12")
    allowed = names_allowed(grammar, tokenizer, *START, *note, "Position_40", *note)
    assert {n for n in allowed if n.startswith("Position")} == {
        f"Position_{p}" for p in range(41, 48)
    }


def test_chords_ascend_in_pitch_and_program(grammar: Grammar, tokenizer: Any) -> None:
    allowed = names_allowed(
        grammar, tokenizer, *START[:4], "Program_24", "Pitch_60", "Duration_1.0.12"
    )
    pitches = {int(n[6:]) for n in allowed if n.startswith("Pitch")}
    assert pitches == set(range(61, 104))
    assert {int(n[8:]) for n in allowed if n.startswith("Program")} == {43, 46, 48, 52, 60, 68, 73}
    assert "Bar_None" in allowed and "EOS_None" not in allowed


def test_the_current_program_is_not_named_again(grammar: Grammar, tokenizer: Any) -> None:
    allowed = names_allowed(
        grammar, tokenizer, *START, "Pitch_60", "Duration_1.0.12", "Position_12"
    )
    assert "Program_0" not in allowed and "Program_6" in allowed and "Pitch_59" in allowed


def test_silence_ends_after_the_empty_bars(grammar: Grammar, tokenizer: Any) -> None:
    bar = ("Bar_None", "TimeSig_4/4")
    note = ("Pitch_60", "Duration_1.0.12")
    assert "Bar_None" in names_allowed(grammar, tokenizer, *START, *note, *bar * 2)
    allowed = names_allowed(grammar, tokenizer, *START, *note, *bar * 4)
    assert {n.split("_")[0] for n in allowed} == {"Position"}


def test_the_end_is_allowed_only_when_asked_for(grammar: Grammar, tokenizer: Any) -> None:
    state = state_after(
        grammar.vocabulary, ids_of(tokenizer, *START, "Pitch_60", "Duration_1.0.12")
    )
    eos = tokenizer["EOS_None"]
    assert grammar.permits(eos, state, may_end=True)
    assert not grammar.permits(eos, state, may_end=False)


def test_nothing_may_follow_the_end(grammar: Grammar, tokenizer: Any) -> None:
    state = state_after(grammar.vocabulary, ids_of(tokenizer, "EOS_None"))
    with pytest.raises(ValueError, match="EOS"):
        grammar.choices(state)


def test_a_table_with_unknown_types_is_refused(grammar: Grammar) -> None:
    with pytest.raises(ValueError, match="Velocity"):
        Grammar(grammar.vocabulary, {"Pitch": ("Velocity",)})
    assert set(REMI_TRANSITIONS) <= set(KINDS)
