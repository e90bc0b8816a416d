"""The guard against music that stands still: when it wakes, what it names, when it lets go."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from generate_tokens.sequence import TokenSequence
from generate_tokens.stasis import (
    CHORD_S,
    FEW_CLASSES,
    FEW_S,
    MOST_TOP_NOTES,
    TOP_LEAN,
    TOP_NOTES,
)
from music.memory import CopyWeights
from music.tracker import PITCH
from tests.conftest import ARCHIVE_FACTS
from tests.music.writing import (
    VOCABULARY,
    Note,
    joined,
    line,
    piece_of_bars,
    pitch_id,
)

BAR_S = 4 * 60 / 122.99  # of `piece_of_bars`
C, F, G = (48, 64, 67), (53, 65, 69), (55, 62, 71)
NONE = (-1, 0.0)


def after(bars: Sequence[Sequence[Note]], prompt: Sequence[int] = ()) -> TokenSequence:
    """A piece of these bars, up to the line behind the last."""
    sequence = TokenSequence(VOCABULARY, 1, 3, CopyWeights(**ARCHIVE_FACTS["copying"]))
    for token in prompt:
        sequence.append(token)
    sequence.begin_piece(None)
    for token in joined(piece_of_bars([*bars, []])):
        sequence.append(token)
    return sequence


def bar_of(*chords: tuple[int, ...]) -> list[Note]:
    """Chords of one length that fill a bar."""
    ticks = 48 // len(chords)
    return line(*((i * ticks, p, ticks) for i, chord in enumerate(chords) for p in chord))


def classes(ids: Sequence[int]) -> set[int]:
    first = VOCABULARY.ranges[PITCH][0]
    return {(VOCABULARY.lowest_pitch + i - first) % 12 for i in ids}


def test_one_harmony_for_long_wears_out_its_notes_in_every_octave() -> None:
    # C with another note in each beat, so that there are not too few pitch classes
    bar = bar_of(*((48, 52, 55, other) for other in (62, 65, 69, 71)))
    few, many = math.floor(CHORD_S / BAR_S), math.ceil(CHORD_S / BAR_S) + 1
    assert len(classes([pitch_id(n[2]) for n in bar])) > FEW_CLASSES
    assert not after([bar] * few).stasis.worn_out
    worn_out = after([bar] * many).stasis.worn_out
    assert classes(worn_out) == {0, 4, 7}
    assert {pitch_id(p) for p in (36, 48, 52, 55, 60, 84)} <= set(worn_out)


def test_few_pitch_classes_wear_out_whatever_the_harmony() -> None:
    bars = [bar_of((60,), (62,)), bar_of((67,), (69,))]  # another best triad each time
    times = math.ceil(FEW_S / BAR_S / 2) + 1
    assert classes(after(bars * times).stasis.worn_out) == {0, 2, 7, 9}


def test_harmonies_that_change_wear_nothing_out() -> None:
    assert not after([bar_of(C), bar_of(F), bar_of(G), bar_of(C)] * 6).stasis.worn_out


def test_it_lets_go_a_bar_after_the_harmony_has_changed() -> None:
    still = [bar_of(C)] * (math.ceil(max(CHORD_S, FEW_S) / BAR_S) + 2)
    on = [bar_of(F, (58, 62, 70)), bar_of(G, (50, 66, 69)), bar_of(F, (51, 63, 67))]
    lengths = [bool(after(still + on[:n]).stasis.worn_out) for n in range(len(on) + 1)]
    assert lengths[0] and not lengths[-1]
    assert lengths == sorted(lengths, reverse=True), "once free it stays so"


STILL = bar_of(*((48, 52, 55, other) for other in (62, 65, 69, 71)))  # C, and other notes


@pytest.mark.parametrize("metre", ["4/4", "3/4", "5/8"])
@pytest.mark.parametrize("tempo", ["Tempo_40.0", "Tempo_122.99", "Tempo_250.0"])
@pytest.mark.parametrize("bar", [STILL, bar_of((60, 67))], ids=["one harmony", "few pitches"])
def test_after_a_prompt_it_wakes_as_early_as_without_one(
    bar: list[Note], tempo: str, metre: str
) -> None:
    prompts = [piece_of_bars([line((0, p, 24)) for p in (60, 62, 64)], metre, tempo)]
    prompts.append(piece_of_bars([line((0, 48, 30), (0, 64, 30), (0, 67, 30))] * 9, metre, tempo))
    wakes = [n for n in range(1, 12) if after([bar] * n).stasis.worn_out]
    assert wakes and wakes[0] > 1
    for prompt in prompts:
        found = [n for n in range(1, 12) if after([bar] * n, joined(prompt)).stasis.worn_out]
        assert found == wakes


def test_what_was_on_top_in_the_prompt_does_not_count_in_the_piece() -> None:
    prompt = joined(piece_of_bars(repeated_top(MOST_TOP_NOTES)))
    assert after([[]], prompt).stasis.top == NONE
    assert after(repeated_top(TOP_NOTES - 1), prompt).stasis.top == NONE


def repeated_top(times: int) -> list[list[Note]]:
    """So many onsets with the same note on top and another below each."""
    onsets = [(i * 6, i) for i in range(times)]
    bars: list[list[Note]] = []
    for tick, i in onsets:
        if tick % 48 == 0:
            bars.append([])
        below = 48 + i % 12
        bars[-1] += line((tick % 48, below, 6), (tick % 48, 72, 6))
    return bars


@pytest.mark.parametrize(
    ("times", "nats"),
    [
        (TOP_NOTES - 1, None),
        (TOP_NOTES, TOP_LEAN),
        (MOST_TOP_NOTES - 1, TOP_LEAN),
        (MOST_TOP_NOTES, math.inf),
    ],
)
def test_a_note_on_top_becomes_rarer_and_then_impossible(times: int, nats: float | None) -> None:
    assert after(repeated_top(times)).stasis.top == (NONE if nats is None else (pitch_id(72), nats))


def test_another_note_on_top_sets_it_free() -> None:
    bars = [*repeated_top(MOST_TOP_NOTES), line((0, 71, 12))]
    assert after(bars).stasis.top == NONE


def test_the_top_is_the_highest_of_all_programs() -> None:
    bars: list[list[Note]] = [
        [(6 * i, program, pitch, 6) for i in range(8) for program, pitch in ((0, 72), (73, 60 + i))]
    ] * 3
    assert after(bars).stasis.top == (pitch_id(72), math.inf)


def test_a_note_counts_once_an_onset_and_only_on_top() -> None:
    chord = line(*((tick, p, 6) for tick in range(0, 48, 6) for p in (60, 72 + tick // 6 % 2)))
    assert after([chord] * 4).stasis.top == NONE
