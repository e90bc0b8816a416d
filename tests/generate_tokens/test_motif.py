"""The motif: read off a piece, fitted into another, and led in note by note."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generate_tokens.compose import Composer
from generate_tokens.motif import (
    FEWEST_NOTES,
    MOST_BARS,
    MOST_NOTES,
    PLACES,
    Motif,
    MotifGuide,
    melody_of,
    motif_of,
    opening_of,
    place_for,
)
from music.tracker import BAR, DURATION, EOS, PITCH, POSITION, MusicState
from tests.generate_tokens.composing import FOREVER_S, request_for
from tests.music.writing import (
    VOCABULARY,
    Note,
    bars_of_notes,
    comes_in,
    duration_name,
    id_of,
    joined,
    line,
    piece_of_bars,
    pitch_id,
    struck_by_bar,
)

TUNE = [
    [(0, 67, 12), (12, 69, 6), (18, 71, 6), (24, 72, 24)],
    [(0, 71, 12), (12, 69, 12), (24, 67, 24)],
]
BAR_ID = VOCABULARY.ranges[BAR][0]


def ids_of_bars(bars: Iterable[Iterable[tuple[int, int, int]]], metre: str = "4/4") -> list[int]:
    return joined(piece_of_bars([line(*bar) for bar in bars], metre))


def melody(bars: Sequence[Iterable[Note]]) -> list[list[tuple[int, int]]]:
    found = melody_of(joined(piece_of_bars(bars)), VOCABULARY)
    return [[(tick, pitch) for tick, pitch, _ in bar] for bar in found]


def tune() -> Motif:
    found = motif_of(ids_of_bars(TUNE), VOCABULARY)
    assert found is not None
    return found


def test_the_melody_is_the_highest_note_of_each_onset() -> None:
    bars = [line((0, 60, 12), (0, 64, 12), (12, 62, 12)), [], line((24, 59, 12), (24, 48, 48))]
    assert melody(bars) == [[(0, 64), (12, 62)], [], [(24, 59)]]


def test_what_is_struck_below_a_note_that_sounds_is_no_melody() -> None:
    assert melody([line((0, 72, 24), (12, 65, 12), (24, 64, 12))]) == [[(0, 72), (24, 64)]]
    assert melody([line((0, 60, 24), (12, 65, 12))]) == [[(0, 60), (12, 65)]]
    assert melody([line((36, 72, 24)), line((0, 60, 12), (12, 62, 12))]) == [[(36, 72)], [(12, 62)]]


def test_programs_do_not_matter_to_the_melody() -> None:
    assert melody([[(0, 0, 72, 12), (0, 73, 60, 12)]]) == [[(0, 72)]]
    assert melody([[(0, 0, 60, 12), (0, 73, 72, 12)]]) == [[(0, 72)]]


@given(bars=st.lists(bars_of_notes, min_size=1, max_size=4))
def test_no_note_of_the_melody_has_one_above_it_that_sounds(bars: list[list[Note]]) -> None:
    found = melody(bars)
    assert len(found) == len(bars)
    struck = [
        (48 * n + tick, p, length) for n, bar in enumerate(bars) for tick, _, p, length in bar
    ]
    for number, bar in enumerate(found):
        assert [tick for tick, _ in bar] == sorted({tick for tick, _ in bar})
        for tick, pitch in bar:
            now = 48 * number + tick
            assert (now, pitch) in {(t, p) for t, p, _ in struck}
            assert not [p for t, p, n in struck if t <= now < t + n and p > pitch]


def test_a_motif_is_the_melody_of_the_first_bars_from_the_first_note_on() -> None:
    assert tune().metre == "4/4"
    assert tune().notes == tuple(
        tuple((tick, pitch, id_of(duration_name(n))) for tick, pitch, n in bar) for bar in TUNE
    )
    later = motif_of(ids_of_bars([[], *TUNE, [(0, 90, 12)]]), VOCABULARY)
    assert later == tune()
    assert tune().pitches == [67, 69, 71, 72, 71, 69, 67]


@pytest.mark.parametrize("notes", [0, FEWEST_NOTES - 1, MOST_NOTES + 1])
def test_too_few_or_too_many_notes_are_no_motif(notes: int) -> None:
    bars = [[(i, 60 + i % 12, 1) for i in range(half)] for half in (notes // 2, notes - notes // 2)]
    ids = ids_of_bars(bars, metre="12/8")
    assert motif_of(ids, VOCABULARY) is None and opening_of(ids, VOCABULARY) == []


def test_bars_of_two_metres_are_no_motif() -> None:
    three = ids_of_bars([*TUNE, TUNE[0]], metre="3/4")
    assert motif_of(ids_of_bars(TUNE[:1]) + three[three.index(BAR_ID, 1) :], VOCABULARY) is None
    assert motif_of([], VOCABULARY) is None and opening_of([], VOCABULARY) == []


@given(bars=st.lists(bars_of_notes, max_size=5), ends=st.booleans())
def test_the_opening_holds_the_motif_and_no_later_bar(bars: list[list[Note]], ends: bool) -> None:
    ids = joined(piece_of_bars(bars))
    opening = opening_of([*ids, VOCABULARY.ranges[EOS][0]] if ends else ids, VOCABULARY)
    motif = motif_of(ids, VOCABULARY)
    assert ids[: len(opening)] == opening
    assert motif == (motif_of(opening, VOCABULARY) if opening else None)
    silent = next((n for n, bar in enumerate(bars) if bar), 0)
    assert opening.count(BAR_ID) <= silent + MOST_BARS


@given(lags=st.lists(st.integers(0, 3), max_size=12), bars=st.integers(1, MOST_BARS))
def test_the_motif_comes_in_the_first_bars_that_are_all_new(lags: list[int], bars: int) -> None:
    place = place_for(lags, bars)
    possible = [p for p in PLACES if p + bars < len(lags)]  # and does not end the piece
    new = [p for p in possible if not any(lags[p : p + bars])]
    assert place == (new[0] if new else possible[0] if possible else None)


class Passer:
    """A piece whose sampler always wants the next bar line, and that a guide leads."""

    def __init__(self, guide: MotifGuide, opening: Iterable[int]) -> None:
        self.guide, self.state = guide, MusicState(VOCABULARY)
        self.forbidden: set[int] = set()
        self.struck: list[tuple[int, int, int, int]] = []  # bar, tick, pitch, ticks of length
        for token in opening:
            self.take(token)

    def take(self, token: int) -> None:
        state = self.state
        state.step(token)
        self.guide.step(token, state)
        if state.kind == DURATION:
            pitch, length = (int(VOCABULARY.value[i]) for i in (state.last_pitch, token))
            self.struck.append((state.bars - 1, state.position, pitch, length))

    def may(self, token: int) -> bool:
        return token not in self.forbidden

    def lead(self) -> None:
        """Goes on until the guide has nothing more in this bar."""
        steps = 0
        while self.guide.active:
            wanted = id_of("Duration_0.1.12") if self.state.kind == PITCH else BAR_ID
            self.take(self.guide.steer(wanted, self.state, self.may))
            steps += 1
            assert steps < 500, "it never ends"


OWN = [[(0, 76, 24), (24, 79, 24)], [(0, 77, 12), (12, 76, 36)]]  # C major, higher than the tune


def passed_by(
    metre: str, own: Sequence[Iterable[tuple[int, int, int]]] = OWN, motif: Motif | None = None
) -> Passer:
    guide = MotifGuide(VOCABULARY, motif or tune(), len(own), metre)
    passer = Passer(guide, ids_of_bars(own, metre))
    already = len(passer.struck)
    for _ in range(MOST_BARS):
        passer.take(BAR_ID)
        passer.take(id_of(f"TimeSig_{metre}"))
        passer.lead()
    passer.struck = passer.struck[already:]
    return passer


def test_its_notes_come_in_their_places_where_all_would_be_passed_by() -> None:
    passer = passed_by("4/4")
    shift = passer.guide.shift
    assert passer.struck == [
        (2 + n, tick, pitch + shift, length)
        for n, bar in enumerate(TUNE)
        for tick, pitch, length in bar
    ]
    told = passer.guide.to_json()
    assert told == {"bar": 2, "shift": shift, "pitches": [p + shift for p in tune().pitches]}


def test_it_is_moved_into_the_register_and_key_of_the_piece() -> None:
    high = passed_by("4/4").guide.shift
    low = passed_by("4/4", [[(t, p - 24, n) for t, p, n in bar] for bar in OWN]).guide.shift
    assert high - low == 24
    scale = [[(6 * i, 60 + step, 6) for i, step in enumerate((0, 2, 4, 5, 7, 9, 11, 12))]]
    for semitones in range(12):
        own = [[(t, p + semitones, n) for t, p, n in bar] for bar in scale * 2]
        shift = passed_by("4/4", own).guide.shift
        classes = {(pitch + shift) % 12 for pitch in tune().pitches}
        assert classes <= {pitch % 12 for _, pitch, _ in own[0]}


@pytest.mark.parametrize("metre", ["3/4", "6/8"])
def test_in_another_metre_its_pitches_come_in_the_rhythm_of_the_pieces_own_bars(
    metre: str,
) -> None:
    own = [[(0, 76, 12), (12, 77, 6), (24, 79, 12)], [(0, 77, 12), (18, 76, 18)]]
    passer = passed_by(metre, own)
    # its seven notes go through the rhythm of the two bars, and begin it again
    places = [(2 + n, tick) for n, bar in enumerate(own * 2) for tick, _, _ in bar]
    pitches = [pitch + passer.guide.shift for pitch in tune().pitches]
    assert [(n, tick) for n, tick, _, _ in passer.struck] == places[: len(pitches)]
    assert [pitch for _, _, pitch, _ in passer.struck] == pitches


def test_a_note_of_the_motif_lasts_until_the_next_one() -> None:
    with_gaps = [[(0, 67, 3), (12, 69, 3), (24, 71, 3), (30, 72, 3)], [(0, 74, 12)]]
    gapped = motif_of(ids_of_bars(with_gaps), VOCABULARY)
    assert gapped is not None
    struck = passed_by("4/4", motif=gapped).struck
    assert [length for *_, length in struck] == [12, 12, 6, 3, 12]


def test_a_piece_without_a_bar_to_fit_it_to_takes_it_as_it_is() -> None:
    passer = passed_by("4/4", [[], []])
    assert passer.guide.shift == 0 and len(passer.struck) == len(tune().pitches)
    without_rhythm = passed_by("3/4", [[], []])
    assert without_rhythm.struck == [] and without_rhythm.guide.to_json() is None


def test_what_does_not_pass_by_a_note_is_left_alone() -> None:
    guide = MotifGuide(VOCABULARY, tune(), 2, "4/4")
    passer = Passer(guide, [*ids_of_bars(OWN), BAR_ID, id_of("TimeSig_4/4"), id_of("Position_0")])
    low = id_of("Pitch_40")
    assert guide.steer(low, passer.state, passer.may) == low
    high = id_of("Pitch_103")
    assert guide.steer(high, passer.state, passer.may) == guide.highest


def test_a_note_that_is_missed_is_let_go() -> None:
    guide = MotifGuide(VOCABULARY, tune(), 2, "4/4")
    passer = Passer(guide, [*ids_of_bars(OWN), BAR_ID, id_of("TimeSig_4/4"), id_of("Position_13")])
    passer.lead()
    assert [tick for n, tick, _, _ in passer.struck if n == 2] == [18, 24]
    told = guide.to_json()
    assert told is not None
    assert told["pitches"] == [pitch + guide.shift for pitch in tune().pitches[2:4]]


def test_a_note_that_may_not_be_struck_does_not_keep_the_others_away() -> None:
    guide = MotifGuide(VOCABULARY, tune(), 2, "4/4")
    passer = Passer(guide, [*ids_of_bars(OWN), BAR_ID, id_of("TimeSig_4/4")])
    first, second, *_ = tune().pitches
    passer.forbidden = {pitch_id(pitch + guide.shift) for pitch in (first, second)}
    passer.lead()
    assert [tick for n, tick, _, _ in passer.struck if n == 2] == [18, 24]


def test_other_bars_are_left_alone() -> None:
    guide = MotifGuide(VOCABULARY, tune(), 2, "4/4")
    passer = Passer(guide, ids_of_bars(OWN))
    assert not guide.active and guide.highest == -1
    for number in range(len(TUNE) + 1):
        passer.take(BAR_ID)
        assert guide.active == (number < len(TUNE))
    assert guide.highest == -1


def heard_in(ids: Sequence[int], bar: int) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """(tick, pitch) of what is struck in a bar, and of what sounds at its positions already."""
    state = MusicState(VOCABULARY)
    struck, sounding = set(), set()
    for token in ids:
        state.step(token)
        if state.bars - 1 != bar:
            continue
        if state.kind == DURATION:
            struck.add((state.position, int(VOCABULARY.value[state.last_pitch])))
        elif state.kind == POSITION:
            pitches = [p for p in range(VOCABULARY.pitches) if state.sounding >> p & 1]
            sounding |= {(state.position, p + VOCABULARY.lowest_pitch) for p in pitches}
    return struck, sounding


@pytest.mark.parametrize("form", ["none", "drawn"])
def test_the_notes_of_a_motif_come_in_a_composed_piece(
    planned: Composer, composer: Composer, in_four: Callable[[bool], None], form: str
) -> None:
    in_four(False)
    came = 0
    for seed in range(6):
        request = request_for(planned, seed=seed, duration_s=30, form=form)
        taken_up = (made := planned.compose(request, [], [], FOREVER_S, motif=tune())).taken_up
        assert taken_up is not None
        told: list[int] = []
        for number, bar in enumerate(TUNE):
            struck, sounding = heard_in(made.ids[2:-1], taken_up["bar"] + number)
            wanted = {(tick, pitch + taken_up["shift"]) for tick, pitch, _ in bar}
            # an untrained model holds notes for bars: what sounds cannot be struck again
            assert wanted - struck <= sounding
            told += [pitch for _, pitch in sorted(wanted & struck)]
        assert taken_up["pitches"] == told
        came += len(told)
    assert came > 6 * len(tune().pitches) / 2


def test_a_note_that_cannot_be_struck_is_let_go_without_hanging(composer: Composer) -> None:
    held = [[(tick, 72, 192) for tick in range(0, 48, 6)]] * MOST_BARS
    motif = motif_of(ids_of_bars(held), VOCABULARY)
    assert motif is not None
    request = request_for(composer, duration_s=30)
    made = composer.compose(request, [], [], FOREVER_S, motif=motif)
    assert made.finished and made.taken_up is not None
    place, pitches = made.taken_up["bar"], made.taken_up["pitches"]
    assert set(pitches) == {72 + made.taken_up["shift"]} and len(pitches) < MOST_BARS * 8
    bars = struck_by_bar(made.ids[2:-1])[place : place + MOST_BARS]
    assert comes_in(pitches, (pitch for bar in bars for _, pitch in bar))


def test_a_piece_too_short_for_it_or_with_a_prompt_takes_nothing_up(composer: Composer) -> None:
    short = composer.compose(request_for(composer, duration_s=5), [], [], FOREVER_S, motif=tune())
    assert short.taken_up is None
    plain = composer.compose(request_for(composer, duration_s=5), [], [], FOREVER_S)
    assert short.ids == plain.ids
    prompt = ids_of_bars([[(0, 60, 12)]])
    long = request_for(composer, duration_s=30)
    assert composer.compose(long, prompt, [], FOREVER_S, motif=tune()).taken_up is None
