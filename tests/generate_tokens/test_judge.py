"""What a candidate loses: the notes behind the numbers, and which of two pieces is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from symusic.core import ScoreTick

from generate_tokens.judge import NO_END, penalties_of_piece, penalties_so_far
from midi_save.clean import clean_score
from music.features import SCALARS, scalar_features
from music.grammar import REMI_TRANSITIONS, Grammar
from music.notes import music_of
from music.tracker import STYLE, MusicState
from tests.music.writing import VOCABULARY, ids_of
from training.evaluation.excerpt import excerpt

START = ("Bar_None", "TimeSig_4/4", "Position_0", "Tempo", "Program_0")


def walk(seed: int, steps: int) -> list[int]:
    """Ids drawn evenly from what the grammar allows: changes of metre, and notes held over them."""
    grammar = Grammar(VOCABULARY, REMI_TRANSITIONS)
    rng = np.random.default_rng(seed)
    state = MusicState(VOCABULARY)
    state.kind = STYLE
    ids = []
    for _ in range(steps):
        ranges = list(grammar.allowed(state, may_end=False))
        allowed = [i for a, b in ranges for i in range(a, b) if grammar.permits(i, state)]
        ids.append(int(rng.choice(allowed)))
        state.step(ids[-1])
    return ids


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_notes_are_those_that_miditok_decodes(tokenizer: Any, seed: int) -> None:
    ids = walk(seed, 250)
    music, _ = music_of(ids, VOCABULARY)
    notes = [n for t in tokenizer.decode(ids).tracks for n in t.notes]
    if music is None:
        assert not notes
        return
    assert sorted(music.pitch) == sorted(n.pitch for n in notes)
    # miditok decodes a program's notes with its own rounding of beats that are eighths
    onsets = np.array(sorted(n.time for n in notes)) * 12 / tokenizer.time_division
    assert np.abs(onsets - np.sort(music.onset)).max() <= 1


def tune(count: int) -> tuple[str, ...]:
    """Four-part chords on the beats of C major, one bar unlike the other."""
    degrees = (0, 5, 7, 9, 2, 4, 7, 0)
    names: list[str] = []
    for i in range(count):
        if i % 4 == 0:
            names += ["Bar_None", "TimeSig_4/4"]
        names.append(f"Position_{12 * (i % 4)}")
        if i == 0:
            names += ["Tempo", "Program_0"]
        root = 48 + degrees[(i * i) % 8]
        for pitch in (root, root + 7, root + 12, root + 16):
            names += [f"Pitch_{pitch}", "Duration_1.0.12"]
    return tuple(names)


def test_features_of_tokens_are_those_of_the_saved_midi(tokenizer: Any) -> None:
    ids = ids_of(tokenizer, *tune(40))
    music, state = music_of(ids, VOCABULARY)
    assert music is not None
    score = tokenizer.decode(ids)
    clean = clean_score(ScoreTick.from_midi(score.dumps_midi()))
    assert clean is not None
    saved = excerpt(clean, 0.0, 1e4)
    assert saved is not None
    ours, theirs = scalar_features(music), scalar_features(saved)
    assert {n: ours[n] for n in SCALARS} == pytest.approx(theirs, rel=0.02, nan_ok=True)
    assert state.end_s == pytest.approx(saved.ticks / 12 * 60 / saved.qpm, rel=0.02)


def test_one_chord_that_stays_is_a_fault_and_a_tune_is_none(tokenizer: Any) -> None:
    song = ids_of(tokenizer, *tune(60))
    seconds = music_of(song, VOCABULARY)[1].end_s
    assert sum(penalties_so_far(song, VOCABULARY).values()) == 0
    held = []
    for bar in range(15):
        held += ["Bar_None", "TimeSig_4/4", "Position_0"]
        held += [] if bar else ["Tempo", "Program_0"]
        held += ["Pitch_48", "Duration_4.0.4", "Pitch_64", "Duration_4.0.4"]
    penalties = penalties_of_piece(ids_of(tokenizer, *held), VOCABULARY, seconds)
    assert penalties["stasis"] == 1 and penalties["same_top"] == 1


def test_an_end_in_time_on_the_tonic_and_the_right_length_count(tokenizer: Any) -> None:
    song = ids_of(tokenizer, *tune(60))
    seconds = music_of(song, VOCABULARY)[1].end_s
    whole = penalties_of_piece(song, VOCABULARY, seconds)
    early = penalties_of_piece(song, VOCABULARY, 2 * seconds)
    assert early["length"] == pytest.approx(0.5)
    assert early["ending"] == pytest.approx(whole["ending"] + NO_END)
    home = ids_of(tokenizer, *tune(60), "Bar_None", "TimeSig_4/4", "Position_0")
    chord = [name for p in (48, 52, 55, 60) for name in (f"Pitch_{p}", "Duration_4.0.4")]
    home += ids_of(tokenizer, *chord)
    assert penalties_of_piece(home, VOCABULARY, seconds)["ending"] == 0
    sharp = [*home[:-2], *ids_of(tokenizer, "Pitch_61", "Duration_4.0.4")]
    assert penalties_of_piece(sharp, VOCABULARY, seconds)["ending"] >= 0.5


def test_no_note_at_all_loses_everything(tokenizer: Any) -> None:
    silent = ids_of(tokenizer, *START[:2])
    assert penalties_of_piece(silent, VOCABULARY, 60)["length"] == 1
    assert penalties_so_far(silent, VOCABULARY) == {"stasis": 1, "same_top": 1}
