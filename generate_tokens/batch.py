"""A batch before its first piece: its event is checked, and what its pieces share is settled.

Knows what the state machine's Map goes through; makes no piece. A wrong field of a batch of a
thousand is named once, before anything is composed.
"""

from __future__ import annotations

import hashlib
from typing import Any, TypeGuard

from contract.bundle import Bundle
from contract.errors import EventError
from contract.job import read_job
from contract.log_line import log_line

# An execution's name has at most 80 characters; the state machine adds "-1000-1" for each piece.
LONGEST_NAME = 73


def is_check(event: object) -> TypeGuard[dict[str, Any]]:
    """Whether a message is {"task": "check", "job"} rather than a job."""
    return isinstance(event, dict) and event.get("task") == "check"


def check_batch(message: dict[str, Any], bundle: Bundle) -> dict[str, Any]:
    """What the state machine makes a batch of: the pieces' numbers, and the event they all share.

    Its date is settled here: a batch that runs past midnight stays a batch of one day.

    Raises:
        EventError: the event is not as it must be; the message names the field.
        TokensError: another part of the message isn't.
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
    """The name, or its beginning and a hash: still of one execution only."""
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 13]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
