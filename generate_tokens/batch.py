"""Prepares a batch before its first piece: checks its event, and settles what its pieces share.

The event of a batch of a thousand pieces is checked once, before anything is composed, so a wrong
field is reported once. The result lists the pieces for the state machine's Map. Depends on neither
the model nor S3.
"""

from __future__ import annotations

import hashlib
from typing import Any, TypeGuard

from contract.bundle import Bundle
from contract.errors import EventError
from contract.job import read_job
from contract.log_line import log_line

# An execution's name has at most 80 characters. The state machine adds piece, redrive and attempt,
# "-1000-1000-1" at most.
LONGEST_NAME = 68


def is_check(event: object) -> TypeGuard[dict[str, Any]]:
    """Whether a message is {"task": "check", "job"} rather than a job."""
    return isinstance(event, dict) and event.get("task") == "check"


def check_batch(message: dict[str, Any], bundle: Bundle) -> dict[str, Any]:
    """The input of the state machine's Map: the pieces' numbers, and the event that they share.

    The date is settled here, so that all pieces of a batch that runs past midnight have one date.

    Raises:
        EventError: a field of the event is wrong; the message names it.
        TokensError: another part of the message is wrong.
    """
    job = read_job(message.get("job"), bundle)
    request = job.request
    if request.pieces is None or request.piece is not None:
        raise EventError("a batch has pieces, but no piece: the state machine numbers them")
    print(log_line({"task": "check", "execution": job.execution, "pieces": request.pieces}, {}))
    return {
        "name": _short(job.execution),
        "date": request.date,
        "pieces": request.pieces,
        "items": list(range(1, request.pieces + 1)),
        "event": {**message["job"]["request"], "date": request.date},
    }


def _short(name: str) -> str:
    """The name, or its beginning and a hash of it, so that it still names one execution only."""
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 13]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
