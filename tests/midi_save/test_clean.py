"""Cleaning: what it takes out, what it folds, and that it is done after once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from miditok import MusicTokenizer
from symusic.core import NoteTick, ScoreTick, TempoTick, TimeSignatureTick, TrackTick

from midi_save.clean import (
    FAMILIES,
    FAMILY_OF,
    METRES,
    clean_score,
    known_metre,
    median_tempo_qpm,
    written_as,
)


def score_of(
    tracks: list[tuple[int, bool, list[tuple[int, int, int, int]]]],
    tempos: list[tuple[int, float]] | None = None,
    metres: list[tuple[int, int, int]] | None = None,
    ticks_per_quarter: int = 480,
) -> ScoreTick:
    score = ScoreTick(ticks_per_quarter)
    for program, is_drum, notes in tracks:
        track = TrackTick("", program, is_drum)
        for note in notes:
            track.notes.append(NoteTick(*note))
        score.tracks.append(track)
    for tempo in tempos or []:
        score.tempos.append(TempoTick(*tempo))
    for metre in metres or []:
        score.time_signatures.append(TimeSignatureTick(*metre))
    return score


def facts(score: ScoreTick | None) -> Any:
    assert score is not None
    return (
        score.ticks_per_quarter,
        [
            (t.program, t.is_drum, [(n.time, n.duration, n.pitch, n.velocity) for n in t.notes])
            for t in score.tracks
        ],
        [(t.time, t.mspq) for t in score.tempos],
        [(t.time, t.numerator, t.denominator) for t in score.time_signatures],
    )


def notes_of(score: ScoreTick | None) -> list[tuple[int, int, int]]:
    assert score is not None
    return [(n.time, n.duration, n.pitch) for track in score.tracks for n in track.notes]


velocity = st.integers(1, 127)
scores = st.builds(
    score_of,
    tracks=st.lists(
        st.tuples(
            st.integers(0, 127),
            st.booleans(),
            st.lists(
                st.tuples(
                    st.integers(0, 20_000), st.integers(0, 9_000), st.integers(0, 127), velocity
                ),
                max_size=12,
            ),
        ),
        max_size=5,
    ),
    tempos=st.lists(st.tuples(st.integers(0, 20_000), st.floats(10, 400)), max_size=4),
    metres=st.lists(
        st.tuples(st.integers(0, 9_600), st.integers(1, 24), st.sampled_from([1, 2, 4, 8, 16, 32])),
        max_size=4,
    ),
    ticks_per_quarter=st.sampled_from([1, 24, 96, 480, 1024]),
)


@settings(deadline=None)
@given(score=scores)
def test_cleaning_a_cleaned_score_changes_nothing(score: ScoreTick) -> None:
    once = clean_score(score)
    if once is not None:
        assert facts(clean_score(once)) == facts(once)


@settings(deadline=None)
@given(score=scores)
def test_a_cleaned_score_is_what_the_tokenizer_can_write(
    score: ScoreTick, tokenizer: MusicTokenizer
) -> None:
    clean = clean_score(score)
    if clean is None:
        return
    assert clean.ticks_per_quarter == 12
    assert [t.program for t in clean.tracks] == sorted({t.program for t in clean.tracks})
    for track in clean.tracks:
        assert track.program in FAMILIES
        order = [(n.time, n.pitch) for n in track.notes]
        assert order == sorted(set(order))
        assert all(24 <= n.pitch <= 103 and 1 <= n.duration <= 192 for n in track.notes)
    assert all(s.numerator in METRES[s.denominator] for s in clean.time_signatures)
    encoded = tokenizer.encode(clean)
    decoded = tokenizer.decode(list(encoded.ids))
    # Twelve a beat survive the tokenizer, whatever the metre: no onset moves, no note is lost.
    unit = decoded.ticks_per_quarter // 12
    onsets = sorted((t.program, n.time, n.pitch) for t in decoded.tracks for n in t.notes)
    assert onsets == sorted(
        (t.program, n.time * unit, n.pitch) for t in clean.tracks for n in t.notes
    )


def test_every_program_but_the_unpitched_has_one_family() -> None:
    assert set(range(128)) - set(FAMILY_OF) == {113, *range(115, 128)}
    assert sum(len(members) for members in FAMILIES.values()) == len(FAMILY_OF)
    assert all(family in members for family, members in FAMILIES.items())


def test_drums_and_unpitched_programs_are_dropped() -> None:
    note = [(0, 480, 60, 80)]
    clean = clean_score(score_of([(0, True, note), (127, False, note), (5, False, note)]))
    assert clean is not None
    assert [track.program for track in clean.tracks] == [0]
    assert clean_score(score_of([(0, True, note)])) is None


def test_pitches_outside_the_range_are_dropped() -> None:
    notes = [(i * 480, 480, pitch, 80) for i, pitch in enumerate((23, 24, 103, 104))]
    assert notes_of(clean_score(score_of([(0, False, notes)]))) == [(12, 12, 24), (24, 12, 103)]


def test_tracks_of_a_family_merge_and_the_longest_duplicate_stays() -> None:
    violin = (40, False, [(0, 480, 60, 80), (0, 480, 72, 80)])
    viola = (41, False, [(2, 960, 60, 70)])
    clean = clean_score(score_of([violin, viola]))
    assert notes_of(clean) == [(0, 24, 60), (0, 12, 72)]


def test_durations_are_kept_between_a_tick_and_sixteen_beats() -> None:
    clean = clean_score(score_of([(0, False, [(0, 1, 60, 80), (480, 480 * 40, 61, 80)])]))
    assert notes_of(clean) == [(0, 1, 60), (12, 192, 61)]


@pytest.mark.parametrize(
    ("metre", "known"),
    [
        ((3, 4), (3, 4)),
        ((6, 8), (6, 8)),
        ((2, 2), (4, 4)),
        ((3, 2), (6, 4)),
        ((4, 2), (4, 4)),  # 8/4 is not known: two bars for one
        ((2, 1), (4, 4)),
        ((12, 4), (6, 4)),
        ((6, 16), (3, 8)),
        ((7, 8), None),
        ((0, 4), None),
        ((4, 0), None),
    ],
)
def test_metres_are_rewritten_without_moving_a_bar_line(
    metre: tuple[int, int], known: tuple[int, int] | None
) -> None:
    assert known_metre(*metre) == known


def test_bars_of_an_unknown_metre_are_written_as_known_ones_in_turn() -> None:
    notes = [(0, 480, 60, 80), (4700, 480, 60, 80)]
    score = score_of([(0, False, notes)], metres=[(0, 3, 4), (1440, 7, 8)])
    sevens = [
        (tick, beats, 8) for bar in (36, 78, 120) for tick, beats in ((bar, 4), (bar + 24, 3))
    ]
    assert facts(clean_score(score))[3] == [(0, 3, 4), *sevens[:5]]


@pytest.mark.parametrize(
    ("metres", "bars", "first_onset"),
    [
        # Upbeats: of 1/4, which is a metre, and of 1/8 and 3/16, which are none: the music is moved
        # to the end of a longer first bar.
        ([(0, 1, 4), (480, 6, 8)], [(0, 1, 4), (12, 6, 8)], 0),
        ([(0, 1, 8), (240, 6, 8)], [(0, 2, 8), (12, 6, 8)], 6),
        ([(0, 3, 16), (360, 2, 4)], [(0, 1, 4), (12, 2, 4)], 3),
        ([(480, 3, 4)], [(0, 1, 4), (12, 3, 4)], 0),  # an upbeat before the first metre
        # The second bar of 4/4 ends after one, two and three and a half beats, the last two of
        # which are 4/8 and 3/8; and after half a beat: one bar of 9/8.
        ([(0, 4, 4), (2400, 6, 8)], [(0, 4, 4), (48, 1, 4), (60, 6, 8)], 0),
        ([(0, 4, 4), (2880, 6, 8)], [(0, 4, 4), (48, 2, 4), (72, 6, 8)], 0),
        ([(0, 4, 4), (3600, 6, 8)], [(0, 4, 4), (48, 4, 8), (72, 3, 8), (90, 6, 8)], 0),
        ([(0, 4, 4), (2160, 6, 8)], [(0, 9, 8), (54, 6, 8)], 0),
    ],
)
def test_a_bar_that_the_next_metre_cuts_short_moves_no_bar_line(
    metres: list[tuple[int, int, int]], bars: list[tuple[int, int, int]], first_onset: int
) -> None:
    clean = clean_score(score_of([(0, False, [(0, 9600, 60, 80)])], metres=metres))
    assert facts(clean)[3] == bars
    assert notes_of(clean)[0][0] == first_onset
    assert facts(clean_score(clean)) == facts(clean)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("metre", "bars"),
    [
        ((6, 8), [(6, 8)]),
        ((11, 8), [(6, 8), (5, 8)]),
        ((3, 16), [(3, 8)]),  # two bars for one
        ((7, 16), [(4, 8), (3, 8)]),
        ((1, 16), [(2, 8)]),
        ((0, 4), []),
        ((99, 8), []),
    ],
)
def test_every_metre_is_written_somehow(metre: tuple[int, int], bars: list[Any]) -> None:
    assert list(written_as(*metre)) == bars


def test_of_two_tempos_at_one_tick_the_later_counts() -> None:
    score = score_of([(0, False, [(0, 5760, 60, 80)])], tempos=[(0, 120), (0, 60)])
    assert median_tempo_qpm(score) == pytest.approx(60)


def test_a_score_without_a_metre_is_in_four_four() -> None:
    assert facts(clean_score(score_of([(0, False, [(0, 480, 60, 80)])])))[3] == [(0, 4, 4)]


def test_the_median_tempo_is_weighted_by_the_time_it_lasts() -> None:
    # Four quarters at 60 last 4 s, the eight at 240 after them only 2 s.
    score = score_of([(0, False, [(0, 5760, 60, 80)])], tempos=[(0, 60), (1920, 240)])
    assert median_tempo_qpm(score) == pytest.approx(60)


def test_the_tempo_is_kept_within_the_tokenizers_range() -> None:
    notes = [(0, 4800, 60, 80)]
    assert median_tempo_qpm(score_of([(0, False, notes)], tempos=[(0, 20)])) == 40
    assert median_tempo_qpm(score_of([(0, False, notes)], tempos=[(0, 300)])) == 250
    assert median_tempo_qpm(score_of([(0, False, notes)])) == 120


def test_a_score_without_a_time_division_is_refused() -> None:
    with pytest.raises(ValueError, match="time division is 0"):
        clean_score(ScoreTick(0))
