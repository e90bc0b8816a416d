"""What would repeat an earlier bar, and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from generate_tokens.recall import MOST_TIMES, REST_BARS, Recall

BAR = 0
OTHERS = ((91, BAR), (92, BAR), (93, BAR))


def after(*bars: tuple[int, ...]) -> Recall:
    """Whole bars end with the bar line of the next; the last may be a beginning."""
    recall = Recall(BAR)
    for token in (BAR, *(token for bar in bars for token in bar)):
        recall.add(token)
    return recall


def test_a_bar_that_begins_like_an_earlier_one_may_go_on_like_it() -> None:
    heard = ((1, 2, 3, BAR), (1, 4, BAR), *OTHERS[:REST_BARS])
    assert {1} <= set(after(*heard).continuations)
    assert set(after(*heard, (1,)).continuations) == {2, 4}
    assert set(after(*heard, (1, 2)).continuations) == {3}
    assert set(after(*heard, (1, 2, 3)).continuations) == {BAR}  # it also ends where that did


def test_a_bar_that_went_its_own_way_is_left_alone() -> None:
    heard = ((1, 2, 3, BAR), *OTHERS[:REST_BARS])
    assert not after(*heard, (1, 9)).continuations
    assert not after(*heard, (1, 9, 3)).continuations


def test_a_bar_rests_before_it_comes_back() -> None:
    for bars in range(REST_BARS - 1):
        assert 1 not in after((1, BAR), *OTHERS[:bars]).continuations
    assert 1 in after((1, BAR), *OTHERS[: REST_BARS - 1]).continuations
    assert 1 not in after((1, BAR), *OTHERS, (1, BAR)).continuations


def test_a_bar_that_was_heard_often_is_left_to_the_model() -> None:
    times = [(1, BAR), *OTHERS] * MOST_TIMES
    assert 1 in after(*times[: -len(times) // MOST_TIMES]).continuations
    assert 1 not in after(*times).continuations


@given(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=4), max_size=30))
def test_continuations_are_those_of_the_bars_that_may_come_back(bars: list[list[int]]) -> None:
    recall = after()
    for number, bar in enumerate(bars):
        heard = [tuple(b) for b in bars[:number]]
        may = {
            b
            for b in heard[: number - REST_BARS + 1]
            if heard.count(b) < MOST_TIMES and b not in heard[max(0, number - REST_BARS + 1) :]
        }
        for i, token in enumerate((*bar, BAR)):
            expected = {(*b, BAR)[i] for b in may if list(b[:i]) == bar[:i] and i < len(b) + 1}
            found = set(recall.continuations) - ({BAR} if i == 0 else set())
            assert found == expected, (number, i)
            recall.add(token)
