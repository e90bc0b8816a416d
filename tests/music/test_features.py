"""Features of hand-made pieces whose values can be counted on one's fingers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from symusic.core import NoteTick, ScoreTick, TempoTick, TimeSignatureTick, TrackTick

from midi_save.clean import clean_score
from music.features import (
    SCALARS,
    VECTORS,
    Music,
    bar_lines,
    scalar_features,
    vector_features,
)
from music.harmony import ending_of
from music.notes import music_of as music_of_ids
from tests.music.writing import TOKENIZER, VOCABULARY, ids_of
from training.evaluation.excerpt import duplicate_share, excerpt

Note = tuple[int, int, int]  # onset and length in ticks of 1/12 quarter note, pitch


def score_of(
    *tracks: Sequence[Note], qpm: float = 120, metres: Sequence[tuple[int, int, int]] = ((0, 4, 4),)
) -> ScoreTick:
    """A score at 480 ticks a quarter note, its tracks on programs 0, 6, 11."""
    score = ScoreTick(480)
    score.tempos.append(TempoTick(0, qpm))
    for tick, numerator, denominator in metres:
        score.time_signatures.append(TimeSignatureTick(tick * 40, numerator, denominator))
    for notes, program in zip(tracks, (0, 6, 11), strict=False):
        track = TrackTick("", program, False)
        for onset, length, pitch in notes:
            track.notes.append(NoteTick(onset * 40, length * 40, pitch, 64))
        score.tracks.append(track)
    return score


def music_of(score: ScoreTick, seconds: float = 60) -> Music:
    clean = clean_score(score)
    assert clean is not None
    music = excerpt(clean, duplicate_share(score), seconds)
    assert music is not None
    return music


def test_a_scale_in_quarters_has_the_features_that_one_counts() -> None:
    scale = [(12 * i, 12, pitch) for i, pitch in enumerate((60, 62, 64, 65, 67, 69, 71, 72))]
    features = scalar_features(music_of(score_of(scale)))
    expected = {
        "pitch_count": 8,
        "pitch_class_count": 7,
        "pitch_range": 12,
        "mean_pitch": 66.25,
        "mean_interval": 12 / 7,
        "notes": 8,
        "notes_per_second": 2,
        "mean_gap": 0.5,
        "mean_length": 1,
        "pitch_class_entropy": 2.75,  # C twice of eight, six others once
        "pitch_entropy": 3,
        "polyphony": 1,
        "polyphony_rate": 0,
        "scale_consistency": 1,
        "consonance": np.nan,  # nothing sounds together
        "groove": 1,
        "empty_beats": 0,
        "bar_repetition": 0,
        "ngram_repetition": np.nan,  # seven intervals
        "duplicates": 0,
        "tempo": 120,
        "programs": 1,
    }
    assert features == pytest.approx(expected, nan_ok=True)
    assert list(features) == list(SCALARS)


def test_consonance_and_polyphony_are_weighed_by_time() -> None:
    third, tritone = [(0, 36, 60), (0, 36, 64)], [(36, 12, 60), (36, 12, 66)]
    features = scalar_features(music_of(score_of(third + tritone)))
    assert features["consonance"] == pytest.approx(0.75)
    assert features["polyphony"] == 2 and features["polyphony_rate"] == 1


def test_a_chromatic_note_counts_against_the_scale() -> None:
    notes = [(12 * i, 12, p) for i, p in enumerate((60, 62, 64, 65, 67, 69, 71, 61))]
    assert scalar_features(music_of(score_of(notes)))["scale_consistency"] == pytest.approx(7 / 8)


@pytest.mark.parametrize(("metre", "bar"), [((3, 4), 36), ((6, 8), 36), ((4, 4), 48)])
def test_bars_repeat_in_their_own_metre(metre: tuple[int, int], bar: int) -> None:
    a, b = [(0, 12, 60), (12, 6, 64)], [(0, 12, 60), (12, 6, 65)]
    bars = (a, a, b, a)  # the second and the fourth came before
    notes = [(i * bar + t, d, p) for i, content in enumerate(bars) for t, d, p in content]
    # the last bar is filled, so that a piece cut short does not change the metre of the test
    notes.append((4 * bar - 6, 6, 72))
    features = scalar_features(music_of(score_of(notes, metres=((0, *metre),))))
    assert features["bar_repetition"] == pytest.approx(0.25)
    notes.pop()
    features = scalar_features(music_of(score_of(notes, metres=((0, *metre),))))
    assert features["bar_repetition"] == pytest.approx(0.5)


def test_groove_counts_the_sixteenths_that_neighbouring_bars_do_not_share() -> None:
    notes = [(0, 12, 60), (48, 12, 60), (48 + 24, 12, 60), (48 + 36, 12, 60)]
    assert scalar_features(music_of(score_of(notes)))["groove"] == pytest.approx(1 - 2 / 16)


def test_a_change_of_metre_moves_the_bar_lines() -> None:
    notes = [(12 * i, 12, 60) for i in range(14)]
    music = music_of(score_of(notes, metres=((0, 4, 4), (96, 3, 4))))
    assert bar_lines(music).tolist() == [0, 48, 96, 132, 168]


def test_metres_behind_the_last_note_are_disregarded() -> None:
    metres = ((0, 4, 4), (24, 2, 4), (48, 3, 4), (84, 4, 4))
    music = replace(music_of(score_of([(0, 12, 60), (12, 12, 60), (24, 12, 60)])), metres=metres)
    assert bar_lines(music).tolist() == [0, 24, 36]
    assert not np.isnan(scalar_features(replace(music, ticks=48))["groove"])


def test_notes_shorter_than_a_tick_of_a_quarter_have_features_too() -> None:
    """A tick of an eighth, in which 3/8 is written, is half a tick of a quarter note."""
    ids = ids_of(
        TOKENIZER,
        *("Bar_None", "TimeSig_3/8", "Position_0", "Tempo"),
        *("Program_0", "Pitch_60", "Duration_0.1.12", "Pitch_67", "Duration_0.1.12"),
    )
    music, _ = music_of_ids(ids, VOCABULARY)
    assert music is not None and music.duration.tolist() == [1, 1]
    assert scalar_features(music)["consonance"] == 1
    assert all(np.isfinite(column).all() for column in vector_features(music).values())
    assert ending_of(music).bass == 60


def test_duplicates_are_counted_within_a_track_and_before_cleaning() -> None:
    notes = [(0, 12, 60), (0, 12, 60), (12, 12, 60), (24, 12, 62)]
    assert duplicate_share(score_of(notes)) == 0.25
    assert duplicate_share(score_of(notes[1:], notes[1:])) == 0
    music = music_of(score_of(notes))
    assert len(music.pitch) == 3 and scalar_features(music)["duplicates"] == 0.25


def test_an_ngram_that_returns_in_another_key_is_a_repetition() -> None:
    motif = (0, 4, 2, 7, 5, 9, 4, 11, 2)  # eight intervals
    notes = [(6 * i, 6, 60 + p) for i, p in enumerate((*motif, 1, *(p + 3 for p in motif)))]
    # twelve runs of eight intervals in twenty notes but one: the last is the first again
    assert scalar_features(music_of(score_of(notes)))["ngram_repetition"] == pytest.approx(1 / 11)


def test_only_the_first_seconds_count() -> None:
    notes = [(12 * i, 24, 60 + i % 12) for i in range(100)]
    music = music_of(score_of(notes, qpm=120), seconds=10)  # 20 quarter notes
    assert len(music.pitch) == 20 and music.ticks == 240
    assert int((music.onset + music.duration).max()) == 240
    clean = clean_score(score_of([(1200, 12, 60)]))
    assert clean is not None and excerpt(clean, 0.0, 10) is None


NOTES = st.lists(
    st.tuples(st.integers(0, 300), st.integers(1, 40), st.integers(40, 80)), min_size=3, max_size=60
)


@settings(max_examples=40, deadline=None)
@given(NOTES, st.integers(-5, 6))
def test_transposing_changes_the_mean_pitch_alone(notes: list[Note], shift: int) -> None:
    moved = [(t, d, p + shift) for t, d, p in notes]
    plain, other = music_of(score_of(notes)), music_of(score_of(moved))
    before, after = scalar_features(plain), scalar_features(other)
    assert after["mean_pitch"] - before["mean_pitch"] == pytest.approx(shift)
    rest = [name for name in SCALARS if name != "mean_pitch"]
    assert [after[n] for n in rest] == pytest.approx([before[n] for n in rest], nan_ok=True)
    vectors = vector_features(plain), vector_features(other)
    for name in ("lengths", "length_steps", "simultaneous"):
        assert np.allclose(vectors[0][name], vectors[1][name])
    assert np.allclose(np.roll(vectors[0]["pitch_classes"], shift), vectors[1]["pitch_classes"])


@settings(max_examples=40, deadline=None)
@given(NOTES)
def test_vectors_are_distributions(notes: list[Note]) -> None:
    vectors = vector_features(music_of(score_of(notes)))
    assert list(vectors) == list(VECTORS)
    for name in ("pitch_classes", "lengths"):
        assert vectors[name].sum() == pytest.approx(1)
