"""What the model is told: one row a token, the same for the trainer and for the decoder."""

from __future__ import annotations

import numpy as np

from music.inputs import (
    INPUTS,
    LOOKED_UP,
    Inputs,
    Recorder,
    Tracked,
)
from music.tracker import MusicState
from tests.music.writing import TOKENIZER, VOCABULARY, tracked_of

TEMPO = next(token for token in TOKENIZER.vocab if token.startswith("Tempo_"))
OPENING = ("Bar_None", "TimeSig_3/4", "Position_0", TEMPO, "Program_0")
NOTES = ("Pitch_60", "Duration_1.0.12", "Position_12", "Pitch_62")
IDS = [TOKENIZER[token] for token in (*OPENING, *NOTES)]


def test_the_tracker_gives_one_row_a_token() -> None:
    tracked = tracked_of(IDS, VOCABULARY)
    assert tracked.tick.tolist() == [0] * 7 + [12] * 2
    assert tracked.current_program.tolist() == [12] * 4 + [0] * 5
    hot = Inputs.of_window(np.array(IDS), tracked, VOCABULARY.pitches).sounding_now
    assert hot.shape == (9, VOCABULARY.pitches)
    assert hot.sum() == 1 and hot[6, 60 - VOCABULARY.lowest_pitch] == 1


def test_a_row_is_what_the_arrays_say() -> None:
    inputs = Inputs.of_window(np.array(IDS), tracked_of(IDS, VOCABULARY), VOCABULARY.pitches)
    told = inputs.told(6)
    assert told.keys() == set(INPUTS)
    assert all(told[name] == getattr(inputs, name)[6] for name in LOOKED_UP)
    assert told["ids"] == IDS[6]
    assert (told["tick"], told["sounding_now"]) == (0, 1 << 60 - VOCABULARY.lowest_pitch)


def test_ticks_behind_a_prefix_count_from_the_first_row() -> None:
    state, recorder = MusicState(VOCABULARY), Recorder(VOCABULARY)
    for token in IDS:
        state.step(token)
        recorder.record(state)
    later = recorder.tracked(7, 9, prefix=2)
    assert later.tick.tolist() == [0, 0, 0, 0]
    assert later.current_program.tolist() == [VOCABULARY.programs] * 2 + [0] * 2
    assert recorder.tracked(7, 9).tick.tolist() == [12, 12]
    assert len(recorder.tracked(3, 3, prefix=2).tick) == 2


def test_parts_of_tracked_music_join_to_the_whole() -> None:
    whole = tracked_of(IDS, VOCABULARY)
    joined = Tracked.joined([whole[:4], whole[np.arange(4, 9)]])
    for name, array in vars(whole).items():
        assert np.array_equal(getattr(joined, name), array) and array.dtype != np.int64, name


def test_a_slice_of_the_inputs_has_every_one_of_them() -> None:
    inputs = Inputs.of_window(np.array(IDS), tracked_of(IDS, VOCABULARY), VOCABULARY.pitches)
    assert [name for name, _ in inputs[2:5]] == list(INPUTS)
    assert all(len(array) == 3 for _, array in inputs[2:5])
