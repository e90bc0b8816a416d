"""Shows progress on stderr. Depends on neither AWS nor what is being done."""

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
    """Shows `stage` and `detail()` on stderr until the block ends.

    A terminal gets one line, which is rewritten. Elsewhere a line is printed at the start, and then
    one every SPARSE_S seconds, if `detail()` has changed.
    """
    stopped = threading.Event()
    started = time.monotonic()

    def rewrite() -> None:
        while not stopped.wait(POLL_S):
            seconds = f" · {time.monotonic() - started:.0f} s"
            width = shutil.get_terminal_size().columns - len(seconds) - 1
            # \r goes back to the start of the line, and \x1b[K clears it.
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
