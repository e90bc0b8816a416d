"""Harmony of hand-made pieces whose chords, keys and endings one can read off."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from music.features import Music, piano_roll
from music.harmony import (
    ENDING,
    HARMONY,
    NO_CHORD,
    Ending,
    basses,
    chords,
    ending_of,
    harmony_features,
    key_of,
    parallels,
    sounding_classes,
)

Note = tuple[int, int, int]  # onset and length in beats of a quarter note, pitch
MINOR = 12  # added to the root's pitch class

C, D_MINOR, F, G, A_MINOR = (60, 64, 67), (62, 65, 69), (65, 69, 72), (55, 59, 62), (57, 60, 64)


def music_of(notes: Sequence[Note], qpm: float = 60, metre: tuple[int, int] = (4, 4)) -> Music:
    """At 60 quarter notes a minute a beat is a second."""
    onset, duration, pitch = np.array(sorted(notes, key=lambda n: (n[0], n[2])), np.int64).T
    return Music(
        onset=onset * 12,
        duration=duration * 12,
        pitch=pitch,
        program=np.zeros(len(pitch), np.int64),
        ticks=int((onset + duration).max()) * 12,
        qpm=qpm,
        metres=((0, *metre),),
        duplicates=0.0,
    )


def in_row(*struck: tuple[Sequence[int], int]) -> list[Note]:
    """Chords one after the other: (pitches, beats) each; a rest has no pitches."""
    notes: list[Note] = []
    now = 0
    for pitches, beats in struck:
        notes += [(now, beats, pitch) for pitch in pitches]
        now += beats
    return notes


def chords_of(music: Music) -> list[int]:
    roll = piano_roll(music)
    return [int(chord) for chord in chords(sounding_classes(roll), basses(roll))]


def test_a_beats_chord_is_the_triad_that_sounds_most() -> None:
    music = music_of(in_row((C, 2), (D_MINOR, 1), (G, 1), (A_MINOR, 1)))
    assert chords_of(music) == [0, 0, 2 + MINOR, 7, 9 + MINOR]
    # a foreign note beside the triad does not change it, one third of a beat of another neither
    with_passing_note = music_of([*in_row((C, 1)), (0, 1, 62)])
    assert chords_of(with_passing_note) == [0]


def test_a_broken_chord_is_the_same_as_a_struck_one() -> None:
    broken = music_of([(0, 1, 60), (1, 1, 64), (2, 1, 67)])
    thirds = Music(
        broken.onset // 3, broken.duration // 3, broken.pitch, broken.program, 12, 60,
        broken.metres, 0.0,
    )  # fmt: skip
    assert chords_of(thirds) == [0]


def test_of_equally_good_triads_the_one_before_stays() -> None:
    fifth = (60, 67)
    assert chords_of(music_of(in_row((fifth, 1)))) == [0]
    assert chords_of(music_of(in_row(((60, 63, 67), 1), (fifth, 2), (C, 1), (fifth, 1)))) == [
        0 + MINOR, 0 + MINOR, 0 + MINOR, 0, 0,
    ]  # fmt: skip


def test_a_triad_whose_root_sounds_is_better_than_one_without() -> None:
    assert chords_of(music_of(in_row(((55, 64), 1)))) == [4 + MINOR]  # not C major without its C


def test_an_augmented_triad_is_taken_for_the_one_on_its_bass() -> None:
    assert chords_of(music_of(in_row(((56, 60, 64), 1), ((52, 56, 60), 1)))) == [8, 4]


def test_silence_keeps_the_chord_and_begins_without_one() -> None:
    music = music_of(in_row(((), 2), (C, 1), ((), 3), (G, 1)))
    assert chords_of(music) == [NO_CHORD, NO_CHORD, 0, 0, 0, 0, 7]
    features = harmony_features(music)
    assert features["longest_chord_s"] == 4 and features["longest_bass_s"] == 4


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([C, D_MINOR, F, G, A_MINOR]), st.integers(1, 6)), min_size=2,
             max_size=20),
    st.integers(-11, 11),
)  # fmt: skip
def test_transposing_moves_chords_and_key_and_changes_no_feature(
    struck: list[tuple[tuple[int, ...], int]], shift: int
) -> None:
    plain = music_of(in_row(*struck))
    moved = music_of(in_row(*(([p + shift for p in pitches], n) for pitches, n in struck)))
    expected = [(c + shift) % 12 + c // 12 * 12 for c in chords_of(plain)]
    assert chords_of(moved) == expected
    assert harmony_features(moved) == pytest.approx(harmony_features(plain), nan_ok=True)


def test_one_chord_for_ten_seconds_is_frozen_and_for_nine_is_not() -> None:
    scale = [((p,), 1) for p in (62, 64, 65, 67, 69, 71, 72, 62, 65, 69, 59)]
    for beats, frozen in ((9, 0), (10, 1)):
        struck = [(C, 1)] * beats
        # a moving voice, so that there are more than four pitch classes all the time
        notes = [*in_row(*struck, *scale), *((i, 1, 74 + (i * 3) % 7) for i in range(beats))]
        features = harmony_features(music_of(notes))
        assert features["longest_chord_s"] == beats
        assert features["frozen"] == frozen and features["fewest_pitch_classes"] > 4


def test_few_pitch_classes_within_ten_seconds_are_frozen_whatever_their_chords() -> None:
    few = [(p,) for p in (60, 62, 67, 69)] * 3
    many = [(p,) for p in (60, 61, 62, 63, 64, 65, 66)] * 2
    features = harmony_features(music_of(in_row(*((p, 1) for p in (*many, *few, *many)))))
    assert features["fewest_pitch_classes"] == 4 and features["frozen"] == 1
    assert features["longest_chord_s"] < 10
    features = harmony_features(music_of(in_row(*((p, 1) for p in (*many, *few[:7], *many)))))
    assert features["fewest_pitch_classes"] > 4 and features["frozen"] == 0


def test_a_piece_shorter_than_ten_seconds_has_no_window_to_freeze_in() -> None:
    features = harmony_features(music_of(in_row((C, 4), (G, 4))))
    assert np.isnan(features["fewest_pitch_classes"]) and features["frozen"] == 0
    assert list(features) == list(HARMONY)


def test_a_bass_that_is_struck_again_has_not_changed() -> None:
    pedal = [(i, 1, 36) for i in range(6)]
    melody = [(i, 1, 60 + i) for i in range(8)]
    music = music_of([*pedal, *melody])
    assert harmony_features(music)["longest_bass_s"] == 6
    # twice as fast, half as long
    assert harmony_features(music_of([*pedal, *melody], qpm=120))["longest_bass_s"] == 3


CADENCE = [(C, 2), (F, 2), (C, 1), (G, 3)]  # two bars of 4/4 in C major, up to the dominant


def ending(last: Sequence[int], beats: int = 4, before: int = 0) -> Ending:
    return ending_of(music_of(in_row(*CADENCE, *([(G, before)] if before else []), (last, beats))))


def test_a_cadence_ends_on_the_tonic_in_its_key() -> None:
    assert [field for field in vars(ending(C)) if field not in ("key", "bass")] == list(ENDING)
    found = ending((48, 55, 64))
    assert (
        (found.key, found.bass) == (0, 48)
        and found.on_tonic
        and found.tonic_triad
        and not found.dissonant
    )
    assert found.on_downbeat and found.last_chord_s == 4
    # lengths of the notes: 2 (six), 1 (three), 3 (three), 4 (three)
    assert found.last_chord_ratio == 4 / 2
    assert not ending(C, before=1).on_downbeat


@pytest.mark.parametrize(
    ("last", "on_tonic", "triad", "dissonant"),
    [
        ((60, 63, 67), True, True, False),  # the other mode's third is right, too
        ((64, 67, 72), False, True, False),  # an inversion
        ((60, 64, 67, 69), True, False, True),  # added sixth: a second above the fifth
        ((60, 65, 69), True, False, False),  # a fourth above the bass is no dissonance here
        ((60, 66), True, False, True),
        ((60, 70), True, False, True),
        ((60,), True, True, False),
        ((60, 63, 64, 67), True, False, True),  # both thirds
    ],
)
def test_last_chords_are_judged_by_their_notes(
    last: tuple[int, ...], on_tonic: bool, triad: bool, dissonant: bool
) -> None:
    found = ending(last)
    assert found.key % 12 == 0
    assert (found.on_tonic, found.tonic_triad, found.dissonant) == (on_tonic, triad, dissonant)


def test_what_still_sounds_belongs_to_the_last_chord() -> None:
    notes = [*in_row(*CADENCE), (8, 6, 48), (9, 2, 52), (10, 2, 55)]
    found = ending_of(music_of(notes))
    assert found.on_tonic and not found.on_downbeat  # the bass was struck before
    assert found.last_chord_s == 4  # from beat 10 to the bass's end
    ended = ending_of(music_of([*in_row(*CADENCE), (8, 2, 48), (9, 1, 52), (10, 2, 55)]))
    assert not ended.on_tonic


def test_the_last_twenty_seconds_count_twice_for_the_key() -> None:
    in_c = [(C, 2), (F, 2), (G, 2), (C, 2)] * 4  # 32 s
    in_d = [((62, 66, 69), 2), ((67, 71, 74), 2), ((57, 61, 64), 2), ((62, 66, 69), 2)]
    assert key_of(music_of(in_row(*in_c))) == 0
    assert key_of(music_of(in_row(*in_c, *in_d * 2, *in_d[:2]))) == 2
    assert key_of(music_of(in_row(*in_d * 3, *in_c))) == 0
    assert key_of(music_of(in_row(*in_c, *in_d[:1]))) == 0  # one chord alone changes no key


def test_parallels_are_counted_between_the_four_voices() -> None:
    fifths = in_row(((48, 55, 64, 72), 1), ((50, 57, 65, 69), 1))  # bass and tenor C-G to D-A
    music = music_of(fifths)
    assert parallels(music, piano_roll(music)) == (100, 0)
    octaves = in_row(((48, 55, 64, 72), 1), ((50, 59, 65, 74), 1), ((50, 59, 65, 74), 1))
    music = music_of(octaves)  # bass and soprano; the chord that is struck again is no change
    assert parallels(music, piano_roll(music)) == (0, 100)
    good = in_row(((48, 55, 64, 72), 1), ((43, 59, 62, 74), 1), ((43, 55, 62, 71), 1))
    music = music_of(good)
    assert parallels(music, piano_roll(music)) == (0, 0)


def test_parallels_need_four_voices_before_and_after() -> None:
    three = in_row(((48, 55, 72), 1), ((50, 57, 74), 1), ((48, 55, 64, 72), 1), ((50, 57, 74), 1))
    music = music_of(three)
    assert np.isnan(parallels(music, piano_roll(music))).all()
    # a voice that is held is one of the four
    held = [(0, 2, 48), *((t, 1, p + t) for t in (0, 1) for p in (55, 62, 72))]
    music = music_of(held)
    assert parallels(music, piano_roll(music)) == (100, 0)
