"""Child processes that end when this one is interrupted."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from typing import NoReturn

_running: set[subprocess.Popen[str]] = set()


def run(
    command: Sequence[str], env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """As subprocess.run, with what it says as text. It has no terminal, and so no Ctrl-C of its
    own: `end_all` ends it with all that it has started.
    """
    with subprocess.Popen(
        command,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as child:
        _running.add(child)
        try:
            out, err = child.communicate()
        except BaseException:
            _end(child)
            raise
        finally:
            _running.discard(child)
        return subprocess.CompletedProcess(command, child.returncode, out, err)


def end_all() -> None:
    """Those that other threads wait for."""
    for child in [*_running]:
        _end(child)


def end_at_signals() -> None:
    """SIGTERM, and a terminal that is closed, end this process as Ctrl-C does: by an exception."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _raise)


def _raise(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _end(child: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
        os.killpg(child.pid, signal.SIGTERM)
