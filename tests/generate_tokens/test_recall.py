"""What would repeat an earlier bar, and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from generate_tokens.recall import Recall

BAR = 0


def after(*tokens: int) -> Recall:
    recall = Recall(BAR)
    for token in tokens:
        recall.add(token)
    return recall


def test_the_first_bar_has_nothing_to_repeat() -> None:
    assert not after(BAR, 1, 2).continuations


def test_a_bar_that_begins_like_an_earlier_one_may_go_on_like_it() -> None:
    twice = (BAR, 1, 2, 3, BAR, 1, 4)
    assert set(after(*twice, BAR).continuations) == {1, BAR}  # an end too: the piece opens with one
    assert set(after(*twice, BAR, 1).continuations) == {2, 4}
    assert set(after(*twice, BAR, 1, 2).continuations) == {3}
    assert set(after(*twice, BAR, 1, 2, 3).continuations) == {BAR}  # it also ends where that did


def test_a_bar_that_went_its_own_way_is_left_alone() -> None:
    assert not after(BAR, 1, 2, 3, BAR, 1, 9).continuations
    assert not after(BAR, 1, 2, 3, BAR, 1, 9, 3).continuations


@given(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=6), min_size=1, max_size=6))
def test_continuations_are_those_of_all_earlier_bars(bars: list[list[int]]) -> None:
    recall = Recall(BAR)
    recall.add(BAR)
    seen: list[list[int]] = []
    for bar in bars:
        for i, token in enumerate([*bar, BAR]):
            expected = {b[i] for b in seen if b[:i] == bar[:i] and i < len(b)}
            assert set(recall.continuations) - ({BAR} if i == 0 else set()) == expected
            recall.add(token)
        seen.append([*bar, BAR])
