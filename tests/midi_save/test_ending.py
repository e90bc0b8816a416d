"""The ending: a piece slows down over its last bars and holds its last chord, within a limit."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence

import mido
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from miditok import MusicTokenizer
from symusic.core import NoteTick, ScoreTick, TempoTick, TimeSignatureTick, TrackTick

from contract.bundle import Bundle
from midi_save.check import check_piece
from midi_save.clean import clean_score
from midi_save.detokenize import detokenize
from midi_save.ending import broaden, last_chord, ritardando, seconds_between
from tests.midi_save.music import TestNote, ids_of, legal_notes, piece_tokens

FAR_S = 1e6  # a limit that no piece reaches
Note = tuple[int, int, int]  # tick, ticks, pitch; twelve ticks a quarter note


def score_of(
    *tracks: Sequence[Note],
    metres: Sequence[tuple[int, int, int]] = ((0, 4, 4),),
    tempos: Sequence[tuple[int, float]] = ((0, 120.0),),
) -> ScoreTick:
    """At 120 quarter notes a minute a tick is 1/24 s."""
    score = ScoreTick(12)
    for notes in tracks:
        track = TrackTick("", 0, False)
        for time, duration, pitch in notes:
            track.notes.append(NoteTick(time, duration, pitch, 70))
        score.tracks.append(track)
    for time, qpm in tempos:
        score.tempos.append(TempoTick(time, qpm))
    for metre in metres:
        score.time_signatures.append(TimeSignatureTick(*metre))
    return score


def quarters(beats: int) -> list[Note]:
    return [(12 * beat, 12, 60 + beat % 12) for beat in range(beats)]


def notes_of(score: ScoreTick) -> list[list[tuple[int, int, int, int]]]:
    return [[(n.time, n.duration, n.pitch, n.velocity) for n in t.notes] for t in score.tracks]


def ends_of(score: ScoreTick) -> list[list[int]]:
    return [[n.time + n.duration for n in track.notes] for track in score.tracks]


def tempos_of(score: ScoreTick) -> list[tuple[int, int]]:
    return [(tempo.time, tempo.mspq) for tempo in score.tempos]


def length_s(score: ScoreTick) -> float:
    return seconds_between(0, score.end(), tempos_of(score), score.ticks_per_quarter)


def chord_s(score: ScoreTick) -> float:
    chord = last_chord(score)
    return seconds_between(chord.onset, chord.end, tempos_of(score), score.ticks_per_quarter)


def file_s(midi: bytes) -> float:
    return float(mido.MidiFile(file=io.BytesIO(midi)).length)


def onsets_s(midi: bytes) -> list[float]:
    now, onsets = 0.0, []
    for message in mido.MidiFile(file=io.BytesIO(midi)):
        now += message.time
        if message.type == "note_on" and message.velocity:
            onsets.append(now)
    return onsets


def struck(midi: bytes) -> list[tuple[int, int, int, int]]:
    """(program, tick, pitch, velocity) of each note."""
    return [
        (track.program, note.time, note.pitch, note.velocity)
        for track in ScoreTick.from_midi(midi).tracks
        for note in track.notes
    ]


def over_before_the_last_chord(midi: bytes) -> list[tuple[int, int, int, int]]:
    """(program, tick, pitch, duration in ticks) of the notes that end up to the last onset."""
    tracks = ScoreTick.from_midi(midi).tracks
    last = max(note.time for track in tracks for note in track.notes)
    return [
        (track.program, note.time, note.pitch, note.duration)
        for track in tracks
        for note in track.notes
        if note.end <= last
    ]


def test_the_last_two_bars_slow_down_beat_by_beat_to_four_fifths() -> None:
    score = score_of([*quarters(28), (336, 48, 60)])  # seven bars and a whole note
    broaden(score, FAR_S)
    tempos = tempos_of(score)
    assert tempos[0] == (0, 500_000)
    assert [tick for tick, _ in tempos[1:]] == [288, 300, 312, 324, 336]
    shares = [500_000 / mspq for _, mspq in tempos[1:]]
    assert shares == pytest.approx([0.979, 0.935, 0.886, 0.831, 0.8], abs=1e-3)


def test_a_chord_late_in_its_bar_is_reached_over_both_bars() -> None:
    chord = last_chord(score_of(quarters(32)))
    assert (chord.onset, chord.end, chord.beat) == (372, 384, 372)
    assert chord.rit_beats == (288, 300, 312, 324, 336, 348, 360)


def test_a_chord_off_the_beat_has_the_tempo_of_its_beat() -> None:
    chord = last_chord(score_of([*quarters(30), (366, 6, 60)]))
    assert (chord.onset, chord.beat) == (366, 360)
    assert chord.rit_beats[-1] == 348


def test_a_beat_of_six_eighths_has_three_of_them() -> None:
    notes = [(18 * i, 18, 60 + i) for i in range(15)]
    chord = last_chord(score_of(notes, metres=[(0, 6, 8)]))
    assert (chord.beat, chord.beat_ticks, chord.rit_beats) == (252, 18, (216, 234))


def test_bars_before_a_change_of_metre_are_counted_in_theirs() -> None:
    notes = [*quarters(24), (288, 24, 60), (312, 12, 62)]  # six bars of 4/4, one of 3/4
    chord = last_chord(score_of(notes, metres=[(0, 4, 4), (288, 3, 4)]))
    assert chord.rit_beats == (240, 252, 264, 276, 288, 300)


@pytest.mark.parametrize(
    ("beats", "rit_beats"),
    [(1, 0), (4, 0), (6, 1), (12, 2), (20, 3), (21, 4)],  # from 21 on: a sixth bar has begun
)
def test_a_short_piece_slows_down_over_less_than_a_bar(beats: int, rit_beats: int) -> None:
    assert len(last_chord(score_of(quarters(beats))).rit_beats) == rit_beats


def test_the_last_chord_is_held_in_seconds() -> None:
    short = score_of(quarters(32))  # its last quarter note takes 0.5 s, at the last tempo 0.625 s
    broaden(short, FAR_S)
    assert chord_s(short) == pytest.approx(1.2, abs=0.03)
    half = score_of([*quarters(30), (360, 24, 60)])  # 1.25 s at the last tempo: long enough
    broaden(half, FAR_S)
    assert chord_s(half) == pytest.approx(1.25, abs=0.03)


def test_notes_of_the_last_chord_that_end_within_a_beat_end_together() -> None:
    melody: list[Note] = [*quarters(30), (360, 12, 72)]
    bass: list[Note] = [(0, 12, 40), (336, 30, 43)]  # sounds on, ends half a beat early
    inner: list[Note] = [(348, 12, 50), (360, 6, 52)]  # one ends before the chord, one with it
    score = score_of(melody, bass, inner)
    before = ends_of(score)
    broaden(score, FAR_S)
    end = score.end()
    assert end == 383
    assert ends_of(score) == [[*before[0][:-1], end], [before[1][0], end], [360, end]]


def test_a_note_that_ends_where_the_last_chord_begins_stays() -> None:
    score = score_of([(6 * i, 6, 60 + i % 12) for i in range(64)])  # a chord shorter than a beat
    before = ends_of(score)[0]
    broaden(score, FAR_S)
    assert ends_of(score)[0][:-1] == before[:-1]
    assert ends_of(score)[0][-1] > before[-1]


def test_a_short_note_over_a_long_one_grows_in_proportion() -> None:
    # At 180 quarters a minute: a melody of a beat over a bass of two, which grow alike; what a
    # tenor held from before is over in the middle of the chord and stays.
    notes = ([*quarters(32), (384, 8, 72)], [(384, 24, 48)], [(372, 18, 55)])
    score = score_of(*notes, tempos=((0, 180.0),))
    broaden(score, FAR_S)
    bass, melody = notes_of(score)[1][0], notes_of(score)[0][-1]
    assert bass[1] > 24 and melody[1] == 8 * bass[1] // 24
    assert notes_of(score)[2] == [(372, 18, 55, 70)]


@pytest.mark.parametrize(
    ("limit_s", "final_tempo", "longer_ticks"),
    [
        (FAR_S, 0.8, 11),  # 17.07 s: the hold of 1.2 s is 11 ticks of 52 ms more
        (16.8, 0.8, 5),
        (16.5, 0.8, 0),
        (16.3, 0.88, 0),
        (16.05, 0.98, 0),
        (16.0, 1.0, 0),
        (15.0, 1.0, 0),
    ],
)
def test_first_the_hold_gives_way_to_the_limit_then_the_ritardando(
    limit_s: float, final_tempo: float, longer_ticks: int
) -> None:
    score = score_of(quarters(32))  # 16 s as written
    broaden(score, limit_s + 2 / 24)  # two ticks are kept for the end of the file
    assert length_s(score) <= max(limit_s, 16.0)
    assert 500_000 / tempos_of(score)[-1][1] == pytest.approx(final_tempo, abs=1e-4)
    assert score.end() - 384 == longer_ticks


def test_a_piece_longer_than_the_limit_stays_as_it_is() -> None:
    score = score_of(quarters(32))
    broaden(score, 15.9)
    assert (tempos_of(score), notes_of(score)) == (
        [(0, 500_000)],
        notes_of(score_of(quarters(32))),
    )


def test_a_piece_with_tempos_of_its_own_only_holds_its_chord() -> None:
    score = score_of(quarters(32), tempos=[(0, 120.0), (192, 100.0)])
    broaden(score, FAR_S)
    assert tempos_of(score) == [(0, 500_000), (192, 600_000)]
    assert chord_s(score) == pytest.approx(1.2, abs=0.03)


def test_a_piece_that_is_mostly_its_last_chord_keeps_its_tempo() -> None:
    # Two bars of movement, 4 s, and a chord of 8 s: slowed down, that would be the main tempo.
    score = score_of([*quarters(8), (96, 192, 60)])
    broaden(score, FAR_S)
    assert tempos_of(score) == [(0, 500_000)]


def test_no_step_of_the_ritardando_is_quicker_than_the_one_before() -> None:
    chord = last_chord(score_of(quarters(32)))
    steps = [mspq for _, mspq in ritardando(500_000, chord, 0.8)]
    assert steps == sorted(steps) and steps[0] > 500_000 and steps[-1] == 625_000


def test_seconds_before_the_first_tempo_are_midis_default() -> None:
    assert seconds_between(0, 24, [(12, 1_000_000)], 12) == pytest.approx(1.5)
    assert seconds_between(6, 18, [(0, 1_000_000)], 12) == pytest.approx(1.0)
    assert seconds_between(0, 12, [], 12) == pytest.approx(0.5)


@settings(deadline=None, max_examples=80)
@given(notes=legal_notes(), share=st.floats(0.5, 2.0), tempo=st.integers(0, 1000))
def test_an_ending_changes_neither_notes_nor_tempo_and_keeps_the_limit(
    notes: list[TestNote], share: float, tempo: int, bundle: Bundle, tokenizer: MusicTokenizer
) -> None:
    tempos = [f"Tempo_{value}" for kind, value in bundle.vocabulary if kind == "Tempo"]
    tokens = piece_tokens(notes, bundle).replace(tempos[0], tempos[tempo % len(tempos)])
    ids = ids_of(tokens, bundle)
    plain = detokenize(ids, tokenizer, bundle, "")
    plain_s = check_piece(plain.midi, plain.notes, plain.programs).duration_s
    limit_s = share * plain_s
    ended = detokenize(ids, tokenizer, bundle, "", limit_s)
    ended_s = check_piece(ended.midi, plain.notes, plain.programs).duration_s
    assert plain_s - 1e-3 <= ended_s <= max(limit_s, plain_s) + 1e-3
    assert file_s(ended.midi) <= max(limit_s, file_s(plain.midi))
    assert struck(ended.midi) == struck(plain.midi)
    assert over_before_the_last_chord(ended.midi) == over_before_the_last_chord(plain.midi)
    assert detokenize(ids, tokenizer, bundle, "", limit_s) == ended
    before, after = onsets_s(plain.midi), onsets_s(ended.midi)
    assert after == sorted(after)
    assert all(late >= early - 1e-9 for early, late in zip(before, after, strict=True))
    if share < 1:
        assert ended == plain
    clean, plain_clean = (clean_score(ScoreTick.from_midi(p.midi)) for p in (ended, plain))
    assert clean is not None and plain_clean is not None
    assert [t.mspq for t in clean.tempos] == [t.mspq for t in plain_clean.tempos]


def test_no_key_ends_after_it_is_struck_again(bundle: Bundle, tokenizer: MusicTokenizer) -> None:
    # Both channels hold 60 up to the last chord, which strikes it again.
    notes = [TestNote(12 * i, 0, 60, 47) for i in range(30)]
    notes += [dataclasses.replace(note, program=48) for note in notes]
    piece = detokenize(ids_of(piece_tokens(notes, bundle), bundle), tokenizer, bundle, "", FAR_S)
    check_piece(piece.midi, 60, [0, 48])
    for track in ScoreTick.from_midi(piece.midi).tracks:
        assert [note.duration for note in track.notes[:-1]] == [48] * 29
