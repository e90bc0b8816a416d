"""What ./run.sh does once its environment is there: check the options, then start, deploy, fire the
schedule, copy, tell (command.py).

See ./run.sh --help.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path


def main() -> int:
    """Exit status: 0 with a piece, 1 without one, 2 for a wrong option, 130 after Ctrl-C, and 141
    if what reads the output has ended, as `head` does."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # closed by the caller, or replaced by a test
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    from local_run.options import check, parse_arguments  # in here, so that Ctrl-C is caught

    options = parse_arguments(sys.argv[1:])
    caller = Path(os.environ.get("INVOKED_FROM", Path.cwd()))
    try:
        checked = check(options, caller, datetime.now(UTC).date())
    except ValueError as error:
        print(f"run.sh: {error}", file=sys.stderr)
        return 2
    from local_run.command import run  # takes seconds to load

    return run(checked)


def guarded() -> int:
    try:
        try:
            return main()
        finally:
            print(end="", flush=True)
    except KeyboardInterrupt:
        return 130
    except ImportError as error:
        print(f"run.sh: {error}: remove .venv, so that it is made anew", file=sys.stderr)
        return 1
    except OSError as error:  # of standard output: run has caught all others
        # What is still in the buffer would be written at exit, and fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 141
        print(f"run.sh: standard output cannot be written: {error.strerror}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(guarded())
