"""Plans of form: their text, what is drawn, and the letters by which a form is named."""

from __future__ import annotations

from string import ascii_uppercase

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from music.form import (
    EXACT,
    FEWEST,
    LOOSE,
    MOST_BARS,
    NEAR,
    VARIED,
    LastChord,
    Plan,
    Plans,
    form_to_json,
    plan_of_letters,
)


@st.composite
def plans(draw: st.DrawFn, most: int = 60) -> Plan:
    """Any plan that can be written: runs of bars, each new or of an earlier bar."""
    lags: list[int] = []
    levels: list[int] = []
    shifts: list[int] = []
    for _ in range(draw(st.integers(1, 8))):
        bars = draw(st.integers(1, max(1, most // 8)))
        lag = draw(st.integers(0, len(lags)))
        lags += [lag] * bars
        levels += [draw(st.sampled_from([LOOSE, VARIED, EXACT])) if lag else LOOSE] * bars
        shifts += [draw(st.sampled_from([0, 0, -24, -2, 7])) if lag else 0] * bars
    ending = draw(
        st.builds(LastChord, st.integers(0, 999), st.integers(0, 9999), st.integers(0, 11))
    )
    return Plan(tuple(lags), tuple(levels), tuple(shifts), ending, draw(st.booleans()))


def runs(*texts: str, ending: str = "0/36/0") -> str:
    return " ".join([ending, *texts])


def returns_to_bars_that_are_there(plan: Plan) -> bool:
    return all(0 <= lag <= bar for bar, lag in enumerate(plan.lags))


@given(plan=plans(MOST_BARS))
def test_a_plan_reads_back_as_it_was_written(plan: Plan) -> None:
    assert Plan.parse(plan.text()) == plan


def test_a_plan_is_written_as_runs_of_bars() -> None:
    plan = Plan.parse("12/24/7+ 2 1-2e 1-2v-12 1")
    assert plan.lags == (0, 0, 2, 2, 0)
    assert plan.levels == (LOOSE, LOOSE, EXACT, VARIED, LOOSE)
    assert plan.shifts == (0, 0, 0, -12, 0)
    assert (plan.ending, plan.whole) == (LastChord(12, 24, 7), False)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "   ",
            "0/36/0",
            "4",
            "4 0/36/0",
            "0/36/0 0",
            "0/36/0 4x",
            "0/36/0 4-4",
            "0/36/0 4 4-4x",
        ),
        *(
            "0/36/0 4-4e",
            "0/36/0 4 1-5e",
            "0/36/0 4 4-0e",
            "0/36/0 4 -4e",
            "0/36/0 4,4",
            "0/36/0 4 1-0v",
        ),
        *(
            "0/36 4",
            "/36/0 4",
            "0//0 4",
            "-1/36/0 4",
            "1000/36/0 4",
            "0/36/12 4",
            "0/36/0++ 4",
            "0/36/0 4 4-4e+0",
            "0/36/0 4 4+2",
            "0/36/0 4 4-4e2",
        ),
        *(f"0/36/0 {MOST_BARS + 1}", f"0/36/0 {MOST_BARS} 1-1e", "0/36/0 1000"),
    ],
)
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Plan.parse(text)


@given(text=st.text(alphabet="0123456789 /+-lve", max_size=24) | st.text(max_size=12))
def test_any_text_is_a_plan_or_a_value_error(text: str) -> None:
    try:
        plan = Plan.parse(text)
    except ValueError:
        return
    assert returns_to_bars_that_are_there(plan)
    assert 0 < len(plan.lags) == len(plan.levels) == len(plan.shifts) <= MOST_BARS
    assert Plan.parse(plan.text()) == plan


def test_a_text_that_is_no_plan_is_refused_when_it_could_be_drawn() -> None:
    known = Plans({"folk": {"4/4": [runs("4"), runs("4", "4-9e")], "3/4": [runs("4")]}})
    assert len(known.draw("folk", "3/4", 4, 0).lags) == 4
    with pytest.raises(ValueError, match="4-9e"):
        known.draw("folk", "4/4", 4, 0)


@settings(max_examples=40)
@given(
    known=st.lists(plans(), max_size=2 * FEWEST),
    style=st.sampled_from(["folk", "hymn"]),
    metre=st.sampled_from(["4/4", "3/4"]),
    bars=st.integers(1, 40) | st.integers(1, 3 * MOST_BARS),
    seed=st.integers(0, 2**32 - 1),
)
def test_what_is_drawn_has_exactly_the_bars_and_is_a_function_of_its_arguments(
    known: list[Plan], style: str, metre: str, bars: int, seed: int
) -> None:
    texts = {"folk": {"4/4": [plan.text() for plan in known]}}
    plan = Plans(texts).draw(style, metre, bars, seed)
    assert len(plan.lags) == len(plan.levels) == bars
    assert returns_to_bars_that_are_there(plan)
    assert Plans(texts).draw(style, metre, bars, seed) == plan
    if not known:
        assert plan == Plan.new(bars)


def some(count: int, bars: int, ending: int, *, whole: bool = True) -> list[str]:
    """Plans of so many bars that return in their last bar, told apart by their ending."""
    mark = "" if whole else "+"
    return [f"{ending}/{i}/0{mark} {bars - 1} 1-{bars - 1}e" for i in range(count)]


def endings(texts: dict[str, dict[str, list[str]]], bars: int) -> set[int]:
    """The endings of what is drawn for folk in 4/4, by many seeds."""
    known = Plans(texts)
    return {known.draw("folk", "4/4", bars, seed).ending.at for seed in range(100)}


def test_whole_forms_of_about_the_length_are_drawn_where_there_are_enough() -> None:
    bars = 40
    near = some(FEWEST, round(NEAR[1] * bars), 1)
    far = [*some(9, bars, 2, whole=False), *some(9, 2 * bars, 3), *some(9, bars // 2, 4)]
    assert endings({"folk": {"4/4": near + far}, "hymn": {"4/4": some(9, bars, 5)}}, bars) == {1}


def test_where_there_are_too_few_longer_ones_are_cut() -> None:
    bars = 40
    near = some(FEWEST - 1, bars, 1)
    far = [*some(9, bars, 2, whole=False), *some(9, 2 * bars, 3), *some(9, bars // 2, 4)]
    found = endings({"folk": {"4/4": near + far}, "hymn": {"4/4": some(9, bars, 5)}}, bars)
    assert found == {1, 2, 3}


def test_where_the_style_has_too_few_others_of_the_metre_serve() -> None:
    bars = 40
    few = some(FEWEST - 1, bars, 1)
    others = {"4/4": some(9, bars, 2), "3/4": some(9, bars, 3)}
    assert endings({"folk": {"4/4": few}, "hymn": others}, bars) == {1, 2}


@pytest.mark.parametrize("style", ["folk", "hymn", "polka"])
def test_where_no_piece_has_the_metre_others_serve(style: str) -> None:
    texts = {"folk": {"4/4": some(9, 40, 1)}, "hymn": {"3/4": some(9, 40, 2)}}
    known = Plans(texts)
    drawn = [known.draw(style, "5/8", 40, seed) for seed in range(100)]
    assert {plan.ending.at for plan in drawn} == {1, 2}
    assert all(any(plan.lags) for plan in drawn)


def test_a_message_may_have_longer_plans_than_a_bundle() -> None:
    plan = Plan.new(3 * MOST_BARS)
    assert Plan.parse(plan.text(), 3 * MOST_BARS) == plan
    for most_bars in (MOST_BARS, 3 * MOST_BARS - 1):
        with pytest.raises(ValueError, match=f"more than {most_bars} bars"):
            Plan.parse(plan.text(), most_bars)


def test_what_is_longer_than_every_plan_goes_through_several() -> None:
    texts = {"folk": {"4/4": [runs("2", "2-2e", ending="7/9/2")] * FEWEST}}
    plan = Plans(texts).draw("folk", "4/4", 10, 0)
    assert plan.lags == (0, 0, 2, 2) * 2 + (0, 0)
    assert plan.ending == LastChord(7, 9, 2)


@pytest.mark.parametrize(
    ("letters", "bars", "lags"),
    [
        ("AABA", 8, (0, 0, 2, 2, 0, 0, 6, 6)),
        ("AAA", 3, (0, 1, 2)),
        ("ABCB", 4, (0, 0, 0, 2)),
        ("A", 3, (0, 0, 0)),
        ("ABA", 7, (0, 0, 0, 0, 4, 4, 0)),  # what is left over is new, and comes last
        ("ABB", 8, (0, 0, 0, 0, 2, 2, 0, 0)),
        ("AABB", 7, (0, 1, 0, 1, 0, 0, 0)),
    ],
)
def test_letters_make_sections_of_equal_length(letters: str, bars: int, lags: tuple[int]) -> None:
    plan = plan_of_letters(letters, bars)
    assert plan.lags == lags
    assert plan.levels == tuple(EXACT if lag else LOOSE for lag in lags)


@given(letters=st.text(ascii_uppercase, min_size=1, max_size=32), bars=st.integers(1, 200))
def test_any_letters_make_a_plan_of_any_number_of_bars_from_theirs_on(
    letters: str, bars: int
) -> None:
    if bars < len(letters):
        with pytest.raises(ValueError, match=f"{letters} .*only {bars} bars"):
            plan_of_letters(letters, bars)
        return
    plan = plan_of_letters(letters, bars)
    assert len(plan.lags) == bars and returns_to_bars_that_are_there(plan)
    assert sum(count for _, count in plan.sections()) == bars
    size, first = bars // len(letters), [letters.index(letter) for letter in letters]
    sources = [bar - lag for bar, lag in enumerate(plan.lags)]
    in_letters = [size * f + k for f in first for k in range(size)]
    assert sources == in_letters + list(range(len(in_letters), bars))


@pytest.mark.parametrize("letters", ["A", "AABA", "ABA", "AABB", "ABACA", "ABBA", "AAAA"])
def test_the_letters_of_an_event_are_those_of_its_record(letters: str) -> None:
    told = form_to_json(plan_of_letters(letters, 4 * len(letters)))
    assert (told["letters"], told["bars"]) == ([*letters], [4] * len(letters))


def test_what_never_comes_without_the_other_is_one_section() -> None:
    assert form_to_json(plan_of_letters("ABAB", 8))["letters"] == ["A", "A"]


@pytest.mark.parametrize(
    ("plan", "sections"),
    [
        (runs("8"), [("A", 8)]),
        (runs("4", "4-4e"), [("A", 4), ("A", 4)]),
        (runs("4", "4-4l"), [("A", 4), ("A'", 4)]),
        (runs("4", "3-4e", "1-4v"), [("A", 4), ("A'", 4)]),
        # a period, a middle, and the period again, varied
        (runs("4", "4-4e", "8", "8-16v"), [("A", 4), ("A", 4), ("B", 8), ("A'", 4), ("A'", 4)]),
        # what is taken up in its middle is divided there
        (runs("8", "4-4e"), [("A", 4), ("B", 4), ("B", 4)]),
        (runs("8", "4-8e", "4"), [("A", 4), ("B", 4), ("A", 4), ("C", 4)]),
        # a copy of a copy is a copy of the first
        (runs("2", "2-2e", "4-4e"), [("A", 2), ("A", 2), ("A", 2), ("A", 2)]),
        (runs("2", "2", "4-4e"), [("A", 4), ("A", 4)]),
        (runs("8", "4-8e"), [("A", 4), ("B", 4), ("A", 4)]),  # nor in part
        # what returns to a varied bar is varied, too
        (runs("2", "2-2v", "4-4e"), [("A", 2), ("A'", 2), ("A", 2), ("A'", 2)]),
        # at another height it is less than exact
        (runs("4", "4-4e+2"), [("A", 4), ("A'", 4)]),
        # one bar again and again
        (runs("1", "3-1e"), [("A", 1)] * 4),
    ],
)
def test_sections_are_named_by_letters(plan: str, sections: list[tuple[str, int]]) -> None:
    assert Plan.parse(plan).sections() == sections


def test_the_form_of_an_hour_in_letters_is_read_back() -> None:
    plan = plan_of_letters("ABCDEFGA", 15_000)  # bars of a quarter of a second
    assert max(plan.lags) == 7 * 15_000 // 8
    assert Plan.parse(plan.text(), 15_000) == plan


def test_behind_z_the_letters_are_numbered() -> None:
    found = Plan.parse(runs(*["1", "1-1e"] * 30)).sections()
    assert [letter for letter, _ in found[::2]][24:28] == ["Y", "Z", "A2", "B2"]


@given(plan=plans(), data=st.data())
def test_sections_are_of_one_piece_of_music_and_never_taken_up_in_their_middle(
    plan: Plan, data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, len(plan.lags) - 1))
    sections = plan.sections(first)
    assert sum(bars for _, bars in sections) == len(plan.lags) - first
    roots = list(range(len(plan.lags)))
    unlike = [False] * len(plan.lags)  # its root: somewhere on the way it was varied
    for bar, lag in enumerate(plan.lags):
        roots[bar] = roots[bar - lag]
        if lag:
            own = plan.levels[bar] < EXACT or plan.shifts[bar] != 0
            unlike[bar] = own or unlike[bar - lag]
    starts: dict[str, set[int]] = {}
    inside: set[int] = set()
    bar = first
    for letter, bars in sections:
        assert roots[bar : bar + bars] == [roots[bar] + k for k in range(bars)]
        starts.setdefault(letter.rstrip("'"), set()).add(roots[bar])
        inside |= {roots[bar] + k for k in range(1, bars)}
        assert letter.endswith("'") == any(unlike[bar : bar + bars])
        bar += bars
    assert all(len(roots_of_letter) == 1 for roots_of_letter in starts.values())
    beginnings = {root for roots_of_letter in starts.values() for root in roots_of_letter}
    assert len(beginnings) == len(starts), "a letter for each beginning"
    assert not inside & beginnings


def test_letters_behind_a_prompt_leave_the_bars_of_a_prompt_alone() -> None:
    plan = Plan.new(3) + plan_of_letters("ABA", 6)
    assert plan.lags == (0, 0, 0, 0, 0, 0, 0, 4, 4)
    assert form_to_json(plan, 3) == {
        "letters": ["A", "B", "A"],
        "bars": [2, 2, 2],
        "lags": [0, 0, 0, 0, 4, 4],
        "shifts": [0] * 6,
    }


@given(before=st.integers(0, 12), bars=st.integers(1, 30), seed=st.integers(0, 99))
def test_a_drawn_form_is_of_the_prompt_and_the_piece(before: int, bars: int, seed: int) -> None:
    known = Plans({"folk": {"4/4": [runs("3", "3-3e", "2", "8-8v")] * FEWEST}})
    plan = known.draw("folk", "4/4", before + bars, seed)
    told = form_to_json(plan, before)
    assert sum(told["bars"]) == len(told["lags"]) == bars
    assert len(told["letters"]) == len(told["bars"])
