"""One exception class per cause that a caller can act on, with what to do about it.

Step Functions sees the class name as the name of the error, and fails the execution under it. Only
`StorageError` and `ConflictError` are retried for long, `RequestError` a few times. The advice is
in the log line of the error (contract/log_line.py) and in docs/operate.md's table, which is made of
these classes. Depends on none of the code that raises them.
"""

from __future__ import annotations

from typing import Any, ClassVar

BY_ANY_OTHER_NAME = (
    "a fault of the program, or a bundle that another version of it exported: see the function's "
    "log; `./deploy.sh` again puts in code and bundle that fit"
)
MAKE_AGAIN = (
    "make a damaged day again: a new execution with its date; the rest is a fault of the program"
)


class EventError(ValueError):
    """A field of the event is not as it must be; the message names it."""

    advice: ClassVar = "correct the event and start a new execution"


class PromptError(ValueError):
    """The MIDI prompt is missing, is no MIDI, is too large or holds no usable notes."""

    advice: ClassVar = "upload another and start a new execution"


class BundleError(RuntimeError):
    """A file of the bundle is missing, damaged or of another format, or its graph computes no
    numbers; the message names the file."""

    advice: ClassVar = "`./deploy.sh` again; if that does not help, export the model again"


class ModelMismatchError(RuntimeError):
    """The two functions had different bundles, as while one is deployed."""

    advice: ClassVar = "start a new execution"


class TokensError(ValueError):
    """A token file, a record or a message of the state machine is not in the form we write it in;
    in the state Publish the day's record or MIDI file is damaged."""

    advice: ClassVar = MAKE_AGAIN


class BudgetError(RuntimeError):
    """The function's time-out is too short for one step, or to close a piece before its first
    note."""

    advice: ClassVar = "more memory, and so more processor: `./deploy.sh --memory`; then redrive"


class PieceError(RuntimeError):
    """The finished MIDI failed its checks, and nothing was saved; in the state Publish the day's
    MIDI file is damaged. The message names the check."""

    advice: ClassVar = MAKE_AGAIN


class SoundError(RuntimeError):
    """The sound bank is missing, damaged or no SoundFont, or makes no sound of the piece; the piece
    itself is saved. The message names the file."""

    advice: ClassVar = "`./deploy.sh` again, with another `--soundfont` if need be; then redrive"


class SiteError(RuntimeError):
    """A template of the site has a mistake, at the file and line of the message; the piece itself
    is saved."""

    advice: ClassVar = "mend the template and `./deploy.sh` again; then redrive"


class StorageError(RuntimeError):
    """S3 could not be reached, or failed, through all retries, which took about half an hour."""

    advice: ClassVar = "redrive, later; `./deploy.sh --complete-days` finds what was left half-made"


class ConflictError(RuntimeError):
    """Other executions went on changing the same day or the same page."""

    advice: ClassVar = "redrive, when they have ended"


class AccessError(RuntimeError):
    """S3 refuses the function's role, or its credentials; the message says which."""

    advice: ClassVar = (
        "`./deploy.sh` again (with a permissions boundary of before 2026-11-27, first put today's "
        "`deploy/boundary.json` into it); then redrive"
    )


class BucketError(RuntimeError):
    """The bucket is gone, or is not where the function looks for it."""

    advice: ClassVar = "`./deploy.sh` makes it again, empty; then redrive"


class RequestError(RuntimeError):
    """S3 found a request wrong, or damaged on its way, at each of a few attempts."""

    advice: ClassVar = "redrive; if it fails again, it is a fault of the program"


def advice_on(error: BaseException) -> str:
    """What to do about an error, in words."""
    advice: str = getattr(error, "advice", BY_ANY_OTHER_NAME)
    return advice


def table() -> str:
    """The rows of docs/operate.md: error, because, what to do."""
    kinds: list[Any] = [kind for kind in globals().values() if hasattr(kind, "advice")]
    because = {kind: " ".join(kind.__doc__.split()).rstrip(".") for kind in kinds}
    rows = [f"| `{kind.__name__}` | {because[kind]} | {kind.advice} |" for kind in kinds]
    return "\n".join(["| error | because | what to do |", "|---|---|---|", *rows])


if __name__ == "__main__":
    print(table())
