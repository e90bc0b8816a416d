"""Replaces attributes of moto's classes for as long as a local AWS runs."""

from contextlib import ExitStack
from typing import Any


def replace(stack: ExitStack, owner: Any, name: str, value: Any) -> None:
    """Set `owner.name`; closing `stack` restores it. AttributeError if moto has it no longer."""
    # From __dict__ if it is there, so that a static method is restored as one, not as a function.
    original = owner.__dict__[name] if name in vars(owner) else getattr(owner, name)
    setattr(owner, name, value)
    stack.callback(setattr, owner, name, original)
