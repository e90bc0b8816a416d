"""Small sequences of ids for the tests of this folder, written by token name."""

from __future__ import annotations

from typing import Any

from generate_tokens.state import MusicState, Vocabulary


def tempo_name(tokenizer: Any) -> str:
    """The first of the tokenizer's tempo tokens."""
    return next(str(name) for name in tokenizer.vocab if name.startswith("Tempo_"))


def ids_of(tokenizer: Any, *names: str) -> list[int]:
    """Ids by token name; ``Tempo`` stands for any tempo."""
    return [tokenizer.vocab[tempo_name(tokenizer) if n == "Tempo" else n] for n in names]


def state_after(vocabulary: Vocabulary, ids: list[int]) -> MusicState:
    state = MusicState(vocabulary)
    for token in ids:
        state.step(token)
    return state
