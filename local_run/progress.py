"""Tells people on stderr what goes on; knows nothing of what that is."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

POLL_S = 0.1
SPARSE_S = 15.0


@contextmanager
def progress(stage: str, detail: Callable[[], str] = str) -> Iterator[None]:
    """Says on stderr what goes on, until the block ends.

    On a terminal one line, rewritten; elsewhere a line at the start and then, if there is
    something new in `detail`, one every SPARSE_S.
    """
    stopped = threading.Event()
    started = time.monotonic()

    def rewrite() -> None:
        while not stopped.wait(POLL_S):
            seconds = f" · {time.monotonic() - started:.0f} s"
            width = shutil.get_terminal_size().columns - len(seconds) - 1
            sys.stderr.write(f"\r\x1b[K{f'{stage} {detail()}'.rstrip()[:width]}{seconds}")
            sys.stderr.flush()
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()

    def append() -> None:
        shown = ""
        print(stage, file=sys.stderr, flush=True)
        while not stopped.wait(SPARSE_S):
            if (text := detail()) != shown:
                print(f"{stage} {text}", file=sys.stderr, flush=True)
                shown = text

    thread = threading.Thread(target=rewrite if sys.stderr.isatty() else append, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
