"""How a piece is led to its end: a last chord of the tonic, at its place, of its length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from contract.request import Request
from generate_tokens.compose import Composer
from generate_tokens.ending import FEWEST_BARS, LAST_BARS, LONGEST_SHARE, SHORTEST_SHARE
from generate_tokens.next_token import Logits
from generate_tokens.sequence import TokenSequence
from music.form import LastChord, Plan
from music.tracker import BAR, DURATION, EOS, PITCH, PROGRAM
from tests.generate_tokens.composing import request_for
from tests.music.writing import VOCABULARY, Note, joined, line, piece_of_bars

CADENCES = {  # four bars in which the key is heard, by its tonic triad
    (0, 4, 7): ((48, 64, 67, 72), (53, 65, 69, 72), (55, 62, 67, 71), (48, 64, 67, 72)),
    (9, 0, 4): ((45, 64, 69, 72), (50, 62, 65, 69), (52, 59, 64, 68), (45, 60, 64, 69)),
    (7, 11, 2): ((43, 62, 67, 71), (48, 64, 67, 72), (50, 66, 69, 72), (43, 62, 67, 71)),
}
BARS = 6  # of the piece, with the two that are led


def cadence(chords: Sequence[Sequence[int]]) -> list[list[Note]]:
    return [line(*((tick, p, 12) for tick in (0, 12, 24, 36) for p in chord)) for chord in chords]


def planned(bars: int, last: LastChord | None) -> Plan | None:
    """New bars and this last chord; no plan for None."""
    return None if last is None else replace(Plan.new(bars), ending=last)


def led(
    composer: Composer, chords: Sequence[Sequence[int]], last: LastChord | None, seed: int
) -> TokenSequence:
    """A piece whose last bars are sampled from logits that know nothing, in one program.

    Its plan has this last chord; with None there is no plan.
    """
    request = request_for(composer, duration_s=BARS * 4 * 60 / 122.99)
    begun = [*joined(piece_of_bars(cadence(chords))), VOCABULARY.ranges[BAR][0]]
    return ended(composer, request, begun, planned(BARS, last), seed)


def ended(
    composer: Composer,
    request: Request,
    begun: Sequence[int],
    plan: Plan | None,
    seed: int,
    prompt: Sequence[int] = (),
) -> TokenSequence:
    """What is begun, up to its end: sampled from logits that know nothing but the metre."""
    sequence = composer.beginning.sequence(request, plan)
    for token in prompt:
        sequence.append(token)
    sequence.begin_piece(request.duration_s)
    for token in begun:
        sequence.append(token)
    rng = np.random.default_rng(seed)
    four = piece_of_bars([[]])[0][1]
    while VOCABULARY.kind[sequence.body[-1]] != EOS:
        if sequence.state.kind == BAR:
            sequence.append(four)
            continue
        logits = np.zeros(VOCABULARY.size, np.float32)
        logits[slice(*VOCABULARY.ranges[PROGRAM])] = -np.inf
        token = composer._next.of(sequence, logits, request, rng.random(), None)
        sequence.append(token)
        assert len(sequence.body) < 5000, "it never ends"
    return sequence


def notes_of(body: Sequence[int]) -> list[tuple[int, int, int]]:
    """(tick, pitch, ticks of length) of all notes."""
    bars, position, pitch = -1, 0, 0
    found = []
    for token in body:
        kind, value = VOCABULARY.kind[token], int(VOCABULARY.value[token])
        if kind == BAR:
            bars += 1
        elif kind == PITCH:
            pitch = value
        elif kind == DURATION:
            found.append((48 * bars + position, pitch, value))
        elif VOCABULARY.entries[token][0] == "Position":
            position = value
    return found


@pytest.mark.parametrize("tonic", list(CADENCES))
@pytest.mark.parametrize(("at", "length"), [(0, 48), (24, 24), (36, 12)])
def test_the_last_chord_is_the_tonic_triad_on_its_root_where_the_plan_has_it(
    composer: Composer, tonic: tuple[int, int, int], at: int, length: int
) -> None:
    for seed in range(12):
        sequence = led(composer, CADENCES[tonic], LastChord(at, length), seed)
        notes = notes_of(sequence.body)
        place = 48 * (BARS - 1) + at
        last = [(pitch, ticks) for tick, pitch, ticks in notes if tick == place]
        assert max(tick for tick, _, _ in notes) == place
        assert {pitch % 12 for pitch, _ in last} <= set(tonic)
        assert min(pitch for pitch, _ in last) % 12 == tonic[0]
        for _, ticks in last:
            assert SHORTEST_SHARE * length <= ticks <= max(LONGEST_SHARE * length, 12)
        assert VOCABULARY.kind[sequence.body[-1]] == EOS


@pytest.mark.parametrize(
    ("tonic", "degree", "triad"),
    [
        ((0, 4, 7), 7, (7, 11, 2)),
        ((0, 4, 7), 9, (9, 0, 4)),
        ((9, 0, 4), 3, (0, 4, 7)),  # the relative major of A minor
        ((9, 0, 4), 5, (2, 5, 9)),
    ],
)
def test_a_piece_that_ends_on_another_degree_has_the_triad_of_its_scale_there(
    composer: Composer, tonic: tuple[int, int, int], degree: int, triad: tuple[int, ...]
) -> None:
    for seed in range(6):
        notes = notes_of(led(composer, CADENCES[tonic], LastChord(0, 48, degree), seed).body)
        last = [pitch for tick, pitch, _ in notes if tick == 48 * (BARS - 1)]
        assert {pitch % 12 for pitch in last} <= set(triad)
        assert min(last) % 12 == triad[0] == (tonic[0] + degree) % 12


def test_the_key_is_that_of_the_last_20_s_however_many_notes_a_part_of_them_has(
    composer: Composer,
) -> None:
    c_major = [line(*((0, pitch, 48) for pitch in chord)) for chord in CADENCES[0, 4, 7][:1] * 3]
    d_major = line(*((tick, p, 2) for tick in range(0, 48, 2) for p in (50, 62, 66, 69, 74)))
    request = request_for(composer, duration_s=BARS * 4 * 60 / 122.99)  # under 20 s
    begun = [*joined(piece_of_bars([*c_major, d_major])), VOCABULARY.ranges[BAR][0]]
    for seed in range(6):
        sequence = ended(composer, request, begun, planned(BARS, LastChord(0, 48)), seed)
        last = [p for tick, p, _ in notes_of(sequence.body) if tick == 48 * (BARS - 1)]
        assert min(last) % 12 == 0


def test_nothing_that_is_struck_in_the_last_bars_is_held_into_the_last_chord(
    composer: Composer,
) -> None:
    notes = 0
    for seed in range(40):
        place = 48 * (BARS - 1) + 24
        for tick, _, length in notes_of(
            led(composer, CADENCES[0, 4, 7], LastChord(24, 24), seed).body
        ):
            # within a beat of it so few lengths are left that one in thirty is another after all
            if 48 * (BARS - LAST_BARS) <= tick <= place - 12:
                assert tick + length <= place
                notes += 1
    assert notes > 40


@pytest.mark.parametrize("last", [LastChord(0, 0), None])
def test_without_a_planned_ending_it_is_the_tonic_on_the_downbeat_for_half_a_bar_or_more(
    composer: Composer, last: LastChord | None
) -> None:
    for seed in range(12):
        notes = notes_of(led(composer, CADENCES[0, 4, 7], last, seed).body)
        chord = [(p, length) for tick, p, length in notes if tick == 48 * (BARS - 1)]
        assert max(tick for tick, _, _ in notes) == 48 * (BARS - 1)
        assert {pitch % 12 for pitch, _ in chord} <= {0, 4, 7}
        assert all(24 <= length <= 48 for _, length in chord)


@pytest.mark.parametrize("last", [LastChord(0, 0), LastChord(36, 12), LastChord(100, 12), None])
@pytest.mark.parametrize("bars", [1, 2])
@pytest.mark.parametrize("prompt_bars", [0, 1, 3])
def test_a_piece_of_one_or_two_bars_ends_with_a_chord_of_its_own(
    composer: Composer, prompt_bars: int, bars: int, last: LastChord | None
) -> None:
    prompt = joined(piece_of_bars(cadence(CADENCES[0, 4, 7])[:prompt_bars]))
    request = request_for(composer, tempo=40, duration_s=6 * bars)
    plan = planned(bars, last)
    at = last.at if last and last.at < 48 else 0
    place = 48 * (bars - 1) + (max(at, 24) if bars == 1 else at)
    for seed in range(12):
        begun = joined(piece_of_bars([line((0, 60, 6))], tempo="Tempo_40.0"))
        body = ended(composer, request, begun, plan, seed, prompt).body
        notes = notes_of(body[len(prompt) :])
        assert max(tick for tick, _, _ in notes) == place
        assert all(tick + length <= place for tick, _, length in notes if tick < place - 12)


def test_a_place_outside_todays_bar_is_the_downbeat(composer: Composer) -> None:
    notes = notes_of(led(composer, CADENCES[0, 4, 7], LastChord(100, 24), 0).body)
    assert notes[-1][0] == 48 * (BARS - 1)


def test_the_notes_before_it_lean_towards_the_dominant(composer: Composer) -> None:
    dominant = {7, 11, 2, 5}
    within, outside = 0, 0
    for seed in range(30):
        for tick, pitch, _ in notes_of(
            led(composer, CADENCES[0, 4, 7], LastChord(0, 48), seed).body
        ):
            if 48 * (BARS - 2) + 24 <= tick < 48 * (BARS - 1):
                within += pitch % 12 in dominant
                outside += pitch % 12 not in dominant
    # of logits that know nothing a third would be of the dominant
    assert within > outside


def test_a_piece_shorter_than_half_a_bar_ends_with_a_chord_of_its_own(composer: Composer) -> None:
    request = request_for(composer, metre="9/4", tempo=40, duration_s=6.4)  # of 13.5 s
    begun = joined(piece_of_bars([line((0, 60, 6))], "9/4", "Tempo_40.0"))
    for seed in range(12):
        notes = notes_of(ended(composer, request, begun, None, seed).body)
        assert max(tick for tick, _, _ in notes) == 9 * 12 // 2


def leant(composer: Composer, bars: Sequence[list[Note]], left: int) -> tuple[bool, Logits]:
    """Whether the end has begun after these bars, and what it makes of logits that are 0."""
    sequence = composer.beginning.sequence(request_for(composer), None)
    for token in joined(piece_of_bars(bars)):
        sequence.append(token)
    sequence.ending.settle_key(sequence.state, left)
    logits = np.zeros(VOCABULARY.size, np.float32)
    return sequence.ending.lean(logits, sequence.state, left), logits


@pytest.mark.parametrize(("left", "tonic"), [(0, 6), (9, 0)])
def test_the_last_20_s_end_with_the_bars_that_are_left(
    composer: Composer, left: int, tonic: int
) -> None:
    c_major = cadence(CADENCES[0, 4, 7])
    f_sharp = cadence([[pitch + 6 for pitch in chord] for chord in CADENCES[0, 4, 7]])
    bars = [*c_major * 3, *f_sharp * 2, *f_sharp[:2], *c_major[:2]]  # 24 of 1.95 s
    sequence = composer.beginning.sequence(request_for(composer), None)
    for token in joined(piece_of_bars(bars)):
        sequence.append(token)
    sequence.ending.settle_key(sequence.state, left)
    # With no bar left the 20 s are F sharp's, with nine left only the two bars of C are in them.
    logits = np.zeros(VOCABULARY.size, np.float32)
    sequence.ending.lean(logits, sequence.state, 1)
    first, last = VOCABULARY.ranges[PITCH]
    likeliest = np.flatnonzero(logits[first:last] == logits[first:last].max())
    assert {int(VOCABULARY.lowest_pitch + pitch) % 12 for pitch in likeliest} <= {
        (tonic + step) % 12 for step in (0, 4, 7)
    }


def test_before_the_last_bars_nothing_is_changed(composer: Composer) -> None:
    begun, logits = leant(composer, cadence(CADENCES[0, 4, 7] * 3)[:9], LAST_BARS + 1)
    assert not begun and not logits.any()


@pytest.mark.parametrize("left", range(1, LAST_BARS + 1))
def test_the_harmony_is_led_from_a_few_bars_on_that_have_notes(
    composer: Composer, left: int
) -> None:
    bars = cadence(CADENCES[0, 4, 7])
    silent: list[list[Note]] = [[]] * FEWEST_BARS
    for few in (bars[: FEWEST_BARS - 1], silent):
        begun, logits = leant(composer, few, left)
        assert begun and logits.any()
        assert not logits[slice(*VOCABULARY.ranges[PITCH])].any()
    # of the bar before the last one only the second half: this is its end
    _, logits = leant(composer, bars[:FEWEST_BARS], left)
    assert logits[slice(*VOCABULARY.ranges[PITCH])].any()


def test_before_the_tempo_there_is_no_end(composer: Composer) -> None:
    sequence = composer.beginning.sequence(request_for(composer), None)
    for token in joined(piece_of_bars([[]]))[:2]:
        sequence.append(token)
    logits = np.zeros(VOCABULARY.size, np.float32)
    assert sequence.ending.lean(logits, sequence.state, 1) is False
    assert not logits.any()
