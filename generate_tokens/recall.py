"""Leans towards bars that the piece has had: what a listener hears as coming back to an idea.

A small model repeats far fewer bars than real music does (LOG.md). So while the bar being written
is so far the same as an earlier one, the tokens that would keep it so are made likelier: by a
constant in their logits, which does nothing where the model finds them out of place. Knows ids; not
the model.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet


class _Node(dict[int, "_Node"]):
    """What came next, in some bar, after the tokens that lead here."""


class Recall:
    """Follows the bars of one piece; ``continuations`` holds the ids that would repeat one.

    The bars are a tree of tokens from bar line to bar line. A bar that leaves every earlier path
    walks on new nodes, which have no continuations.
    """

    def __init__(self, bar_id: int) -> None:
        self._bar_id = bar_id
        self._root = self._node = _Node()

    @property
    def continuations(self) -> AbstractSet[int]:
        return self._node.keys()

    def add(self, token: int) -> None:
        """Takes the piece's next id."""
        following = self._node.setdefault(token, _Node())
        self._node = self._root if token == self._bar_id else following
