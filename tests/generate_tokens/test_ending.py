"""How a piece is led to its end: a last chord of the tonic, at its place, of its length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from generate_tokens.compose import Composer
from generate_tokens.ending import FEWEST_BARS, LAST_BARS, LONGEST, SHORTEST, Ending
from generate_tokens.form import LastChord, Plan
from generate_tokens.sequence import TokenSequence
from generate_tokens.state import BAR, DURATION, EOS, PITCH, PROGRAM
from tests.generate_tokens.composing import request_for
from tests.generate_tokens.music import VOCABULARY, Note, joined, line, piece_of_bars

CADENCES = {  # four bars in which the key is heard, by its tonic triad
    (0, 4, 7): ((48, 64, 67, 72), (53, 65, 69, 72), (55, 62, 67, 71), (48, 64, 67, 72)),
    (9, 0, 4): ((45, 64, 69, 72), (50, 62, 65, 69), (52, 59, 64, 68), (45, 60, 64, 69)),
    (7, 11, 2): ((43, 62, 67, 71), (48, 64, 67, 72), (50, 66, 69, 72), (43, 62, 67, 71)),
}
BARS = 6  # of the piece, with the two that are led


def cadence(chords: Sequence[Sequence[int]]) -> list[list[Note]]:
    return [line(*((tick, p, 12) for tick in (0, 12, 24, 36) for p in chord)) for chord in chords]


def led(
    composer: Composer, chords: Sequence[Sequence[int]], last: LastChord, seed: int
) -> TokenSequence:
    """A piece whose last bars are sampled from logits that know nothing, in one programme."""
    plan = replace(Plan.new(BARS), ending=last)
    request = request_for(composer, duration_s=BARS * 4 * 60 / 122.99)
    sequence = composer.sequence(request, plan)
    sequence.begin_piece(request.duration_s)
    for token in [*joined(piece_of_bars(cadence(chords))), VOCABULARY.ranges[BAR][0]]:
        sequence.append(token)
    rng = np.random.default_rng(seed)
    four = piece_of_bars([[]])[0][1]
    while VOCABULARY.kind[sequence.body[-1]] != EOS:
        if sequence.state.kind == BAR:
            sequence.append(four)
            continue
        logits = np.zeros(VOCABULARY.size, np.float32)
        logits[slice(*VOCABULARY.ranges[PROGRAM])] = -np.inf
        token = composer._sample(sequence, logits, request, rng.random(), None)
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
            assert SHORTEST * length <= ticks <= max(LONGEST * length, 12)
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


def test_a_plan_without_an_ending_ends_on_the_downbeat_for_half_a_bar_or_more(
    composer: Composer,
) -> None:
    for seed in range(12):
        notes = notes_of(led(composer, CADENCES[0, 4, 7], LastChord(0, 0), seed).body)
        last = [length for tick, _, length in notes if tick == 48 * (BARS - 1)]
        assert last and all(24 <= length <= 48 for length in last)


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


@pytest.mark.parametrize(("left", "bars"), [(LAST_BARS + 1, 9), (LAST_BARS, FEWEST_BARS - 1)])
def test_before_the_last_bars_and_in_tiny_pieces_nothing_is_changed(
    composer: Composer, left: int, bars: int
) -> None:
    sequence = composer.sequence(request_for(composer), None)
    for token in joined(piece_of_bars(cadence(CADENCES[0, 4, 7] * 3)[:bars])):
        sequence.append(token)
    sequence.ending.settle_key()
    logits = np.zeros(VOCABULARY.size, np.float32)
    assert sequence.ending.lean(logits, sequence.state, left) is False
    assert not logits.any()


def test_without_a_note_there_is_no_key_to_end_in(composer: Composer) -> None:
    sequence = composer.sequence(request_for(composer), None)
    for token in joined(piece_of_bars([[]] * 4)):
        sequence.append(token)
    ending: Ending = sequence.ending
    ending.settle_key()
    logits = np.zeros(VOCABULARY.size, np.float32)
    assert ending.lean(logits, sequence.state, 1) is False
    assert not logits.any()
