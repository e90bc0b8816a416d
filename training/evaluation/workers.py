"""Maps a function over processes, with a progress bar.

Depends on neither the function nor its items.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Self, TypeVar

from tqdm import tqdm

FEWEST_TO_SHARE = 8  # items: a new process takes seconds to import what it needs
Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """A pool of ``count`` processes; a few items, or one worker, are mapped in this process."""

    def __init__(self, count: int) -> None:
        # Spawned, not forked: in a notebook torch has threads, and a forked process would hang on
        # its copies of their locks.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(count, context) if count > 1 else None

    def map(
        self, function: Callable[[Item], Result], items: Sequence[Item], what: str, unit: str
    ) -> list[Result]:
        """The results in the order of ``items``; ``what`` and ``unit`` label the progress bar."""
        if self._pool is None or len(items) < FEWEST_TO_SHARE:
            mapped: Iterator[Result] = map(function, items)
        else:
            mapped = self._pool.map(function, items)
        return list(tqdm(mapped, total=len(items), desc=what, unit=unit, disable=None))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
