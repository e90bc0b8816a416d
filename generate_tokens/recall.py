"""Leans towards bars that the piece has had: what a listener hears as coming back to an idea.

A small model repeats far fewer bars than real music does (LOG.md). So while the bar being written
is so far the same as an earlier one, the tokens that would keep it so are made likelier: by a
constant in their logits, which does nothing where the model finds them out of place. A bar comes
back a few times at most, and not at once, or the music would stay where it is. Knows ids; not the
model.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Set as AbstractSet

MOST_TIMES = 3  # that a bar is heard before it is left to the model again
REST_BARS = 2  # before a bar may come back


class _Node:
    """The bars that begin alike up to here: how many, and the nodes of what comes next in them."""

    def __init__(self) -> None:
        self.bars = 0
        self.next: dict[int, _Node] = {}


class Recall:
    """Follows the bars of one piece; ``continuations`` holds the ids that would repeat one.

    The bars that may come back are a tree of tokens, each with the bar line that ends it.
    """

    def __init__(self, bar_id: int) -> None:
        self._bar_id = bar_id
        self._root = _Node()
        self._node: _Node | None = self._root
        self._bar: list[int] = []
        self._resting: deque[tuple[int, ...]] = deque()
        self._times: Counter[tuple[int, ...]] = Counter()
        self._known: set[tuple[int, ...]] = set()

    @property
    def continuations(self) -> AbstractSet[int]:
        return self._node.next.keys() if self._node else frozenset()

    def add(self, token: int) -> None:
        """Takes the piece's next id."""
        self._bar.append(token)
        if token != self._bar_id:
            self._node = self._node.next.get(token) if self._node else None
            return
        bar, self._bar = tuple(self._bar), []
        self._times[bar] += 1
        self._resting.append(bar)
        if bar in self._known:
            self._forget(bar)
        if len(self._resting) >= REST_BARS:
            rested = self._resting.popleft()
            if self._times[rested] < MOST_TIMES and rested not in {*self._known, *self._resting}:
                self._know(rested)
        self._node = self._root

    def _know(self, bar: tuple[int, ...]) -> None:
        self._known.add(bar)
        node = self._root
        for token in bar:
            node = node.next.setdefault(token, _Node())
            node.bars += 1

    def _forget(self, bar: tuple[int, ...]) -> None:
        self._known.remove(bar)
        node = self._root
        for token in bar:
            following = node.next[token]
            following.bars -= 1
            if not following.bars:
                del node.next[token]
                return
            node = following
