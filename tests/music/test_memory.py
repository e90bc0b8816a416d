"""The memory: which id it names where, and how far it believes that name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from music.form import EXACT, LOOSE, VARIED, Plan
from music.memory import (
    COPY_LENGTH,
    MOST_COPIES,
    RUN_CLASSES,
    RUNS,
    SUFFIX_CLASSES,
    SUFFIX_LENGTHS,
    CopyWeights,
    Memory,
    class_of,
)
from music.repeats import NOTHING, Bars, Suffix
from music.tracker import TEMPO, MusicState
from tests.music.writing import VOCABULARY, Note, id_of, joined, line, piece_of_bars

# Every weight another, so that it tells which one was looked up.
WEIGHTS = CopyWeights(
    suffix=[0.0, *(0.1 + i / 100 for i in range(1, SUFFIX_CLASSES))],
    suffix_in_new_bars=[0.0, *(0.2 + i / 100 for i in range(1, SUFFIX_CLASSES))],
    plan=[[0.3 + 0.2 * level + i / 100 for i in range(RUN_CLASSES)] for level in range(3)],
)
A = line((0, 60, 12), (12, 62, 12), (24, 64, 12), (36, 65, 12))
B = line((0, 72, 6), (6, 71, 6), (12, 69, 12), (24, 67, 24))


class Follower:
    """A memory and the tracker before it."""

    def __init__(self, plan: Plan | None, prompt: Sequence[int] = ()) -> None:
        self.state = MusicState(VOCABULARY)
        self.memory = Memory(VOCABULARY, WEIGHTS, plan)
        self.step(prompt)
        self.state.begin_piece()
        self.memory.begin_piece()

    def step(self, ids: Iterable[int]) -> None:
        for token in ids:
            self.state.step(token)
            self.memory.step(token, self.state)


def plan_of(*lags: int, level: int = EXACT) -> Plan:
    levels = tuple(level if lag else LOOSE for lag in lags)
    return Plan(lags, levels, (0,) * len(lags))


@given(number=st.integers(0, 1000), limits=st.sampled_from([SUFFIX_LENGTHS, RUNS]))
def test_a_class_goes_up_to_its_limit(number: int, limits: Sequence[int]) -> None:
    found = class_of(number, limits)
    assert found == len(limits) or number <= limits[found]
    assert found == 0 or number > limits[found - 1]


@pytest.mark.parametrize("level", [LOOSE, VARIED, EXACT])
def test_a_planned_bar_names_its_source_and_weighs_by_level_and_run(level: int) -> None:
    bars = piece_of_bars([A, B, A, B])
    follower = Follower(plan_of(0, 0, 2, 2, level=level))
    follower.step(joined(bars[:2]))
    memory, run = follower.memory, 0
    assert memory.lag == 0
    for place, token in enumerate(joined(bars[2:])):
        if place:  # the bar line itself is still of the bar before
            assert (memory.lag, memory.named) == (2, token)
            assert memory.weight == WEIGHTS.plan[level][class_of(run, RUNS)]
            run += 1
        follower.step([token])
    assert class_of(run, RUNS) == RUN_CLASSES - 1, "all classes were looked at"


def test_an_id_other_than_the_named_one_begins_the_run_anew() -> None:
    first, _, again = piece_of_bars([A, A, A])
    follower = Follower(plan_of(0, 1))
    follower.step(first)
    follower.step(again[:5])  # Bar, TimeSig, Position, Pitch, Duration
    assert follower.memory.weight == WEIGHTS.plan[EXACT][class_of(4, RUNS)]
    follower.step([id_of("Position_18")])
    assert follower.memory.named == id_of("Position_24")
    assert follower.memory.weight == WEIGHTS.plan[EXACT][0]


def test_where_the_source_has_nothing_to_name_nothing_is_mixed_in() -> None:
    follower = Follower(plan_of(0, 1))
    follower.step(joined(piece_of_bars([line((0, 60, 12), (24, 62, 12))])))
    follower.step(id_of(n) for n in ("Bar_None", "TimeSig_4/4", "Position_12", "Pitch_60"))
    assert (follower.memory.named, follower.memory.weight) == (NOTHING, 0.0)


@pytest.mark.parametrize("planned", [False, True])
def test_a_new_bar_names_the_suffix_and_weighs_by_its_length(planned: bool) -> None:
    table = WEIGHTS.suffix_in_new_bars if planned else WEIGHTS.suffix
    follower = Follower(plan_of(0, 0, 0) if planned else None)
    suffix, classes = Suffix(), set()
    for token in joined(piece_of_bars([A, B, A])):
        follower.step([token])
        if follower.state.kind != TEMPO:
            suffix.step(token)
        assert (follower.memory.lag, follower.memory.named) == (0, suffix.token)
        assert follower.memory.weight == table[class_of(suffix.length, SUFFIX_LENGTHS)]
        classes.add(class_of(suffix.length, SUFFIX_LENGTHS))
    assert len(classes) > 3


def test_what_was_copied_as_often_as_it_may_be_is_named_without_a_weight() -> None:
    times = MOST_COPIES + 3
    bars = piece_of_bars([B, *[A] * times])
    follower = Follower(None)
    follower.step(bars[0])
    believed = []
    for ids in bars[1:]:
        follower.step(ids)  # at its end nothing but the bar line goes on with it
        believed.append(follower.memory.weight > 0)
    assert len(bars[2]) > COPY_LENGTH
    # the first is new, the second is copied once, and so on
    assert believed[1 : 1 + MOST_COPIES] == [True] * MOST_COPIES
    assert believed[1 + MOST_COPIES :] == [False] * (times - 1 - MOST_COPIES)
    assert follower.memory.named != NOTHING


def test_the_suffix_never_looks_into_the_prompt() -> None:
    prompt = joined(piece_of_bars([A, B]))
    follower = Follower(None, prompt)
    for token in prompt:
        follower.step([token])
        assert (follower.memory.named, follower.memory.weight) == (NOTHING, 0.0)


def test_a_bar_of_the_prompt_returns_where_the_plan_says_so_and_only_there() -> None:
    prompt = joined(piece_of_bars([A, B]))
    follower = Follower(plan_of(0, 0, 0, 3), prompt)
    new, back = piece_of_bars([B, A])
    follower.step(new)
    assert (follower.memory.lag, follower.memory.named) == (0, NOTHING)
    follower.step(back[:1])
    for token in back[1:]:
        assert (follower.memory.lag, follower.memory.named) == (3, token)
        follower.step([token])


def test_bars_behind_the_end_of_the_plan_are_new() -> None:
    follower = Follower(plan_of(0, 1))
    follower.step(joined(piece_of_bars([A, A, A])))
    assert follower.memory.lag == 0
    assert follower.memory.weight in WEIGHTS.suffix_in_new_bars


def test_a_bar_that_returns_higher_names_its_source_higher() -> None:
    higher = [(tick, program, pitch + 5, length) for tick, program, pitch, length in A]
    first, second = piece_of_bars([A, higher])
    plan = replace(plan_of(0, 1), shifts=(0, 5))
    follower = Follower(plan)
    follower.step([*first, second[0]])
    for token in second[1:]:
        assert follower.memory.named == token
        follower.step([token])


@given(number=st.integers(2, 6), lag=st.integers(1, 5))
def test_the_planned_bar_is_the_one_as_many_bars_ago(number: int, lag: int) -> None:
    lag = min(lag, number - 1)
    bars: list[list[Note]] = [line((0, 60 + k, 12), (12, 70 + k, 12)) for k in range(number)]
    follower = Follower(plan_of(*[0] * number, lag))
    ids = piece_of_bars([*bars, bars[number - lag]])
    follower.step(joined(ids[:-1]))
    reader, state = Bars(VOCABULARY), MusicState(VOCABULARY)
    for token in joined(ids[:-1]):
        state.step(token)
        if state.kind != TEMPO:
            reader.step(token, state)
    for token in ids[-1]:
        if reader.now == number:
            assert follower.memory.named == reader.named(number - lag, state) == token
        state.step(token)
        reader.step(token, state)
        follower.step([token])
