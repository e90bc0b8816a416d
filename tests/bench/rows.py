"""The table of faults: at which call, what happens, how long, and what is to come of it."""

from __future__ import annotations

from typing import Any, NamedTuple

# state | call | fault | lasts | error under which the execution fails, if it does | alarms.
# {day} is the day's date, {before} the day before. "!": the short bench runs it, too.
TABLE = """
  Start    | states.StartExecution | 500 InternalServerError | once | |
! Start    | states.StartExecution | 500 InternalServerError | lasting | StartError | N L
! Generate | lambda.Invoke | throttled | 15 min | | T
  Generate | lambda.Invoke | throttled | lasting | Lambda.TooManyRequestsException | F N T
  Generate | lambda.Invoke | 500 ServiceException | 10 min | |
  Generate | lambda.Invoke | lost | 10 min | |
  Generate | lambda.Invoke | answer lost | once | |
  Generate | s3.ListObjectsV2 | 503 | 10 min | |
  Generate | s3.ListObjectsV2 | 503 | lasting | StorageError | F N
! Generate | s3.ListObjectsV2 | 403 InvalidAccessKeyId | lasting | AccessError | F N
  Generate | s3.ListObjectsV2 | 404 NoSuchBucket | lasting | BucketError | F N
  Generate | s3.GetObject neural-net/ | lost | 10 min | |
  Generate | s3.GetObject neural-net/ | late | once | |
  Generate | s3.GetObject neural-net/ | 400 RequestTimeout | 10 min | |
! Generate | s3.GetObject neural-net/ | 403 RequestTimeTooSkewed | 10 min | |
! Generate | bucket.damage neural-net/{before}_sequence.json | junk | lasting | | D
  Generate | bucket.delete neural-net/{before}_tokens.json | gone | lasting | | D
! Prompt   | s3.GetObject prompts/ | 503 | 10 min | |
  Prompt   | s3.GetObject prompts/ | 404 NoSuchKey | lasting | PromptError | F N
  Save     | s3.GetObject neural-net/{day}_sequence.json | 503 | 10 min | |
  Save     | s3.PutObject neural-net/{day}_ | 400 BadDigest | once | |
  Save     | s3.PutObject neural-net/{day}_ | 400 BadDigest | lasting | RequestError | F N
! Publish  | s3.PutObject site/index.html | lost | 10 min | |
  Publish  | s3.PutObject site/sound/ | 503 | 10 min | |
  Publish  | s3.ListObjectsV2 | 503 | 10 min | |
"""
# The same for every write: the key, and the alarms if the day fails there.
WRITES = """
  Save    | neural-net/{day}_sequence.mid | F N
  Save    | neural-net/{day}_tokens.json | F N
! Save    | neural-net/{day}_sequence.json | F N
  Save    | neural-net/token_sequence.json | F N
  Save    | neural-net/model-prediction.mid | F N
  Publish | site/catalogue.json | F
  Publish | site/index.html | F
"""
TO_A_WRITE = """
! 503 | 10 min |
! 503 | lasting | StorageError
  lost | 10 min |
! answer lost | once |
  412 PreconditionFailed | once |
  403 AccessDenied | lasting | AccessError
"""
ALARMS = {"F": "failed", "N": "no-piece", "T": "throttled", "L": "dead-letters", "D": "damaged"}
LASTS_S = {"once": 1e12, "10 min": 600.0, "15 min": 900.0, "lasting": 1e12}
WAYS: dict[str, dict[str, Any]] = {  # fields of local_aws.faults.Fault
    "throttled": {"status": 429, "code": "TooManyRequestsException"},
    "lost": {"drop": True},
    "answer lost": {"drop": True, "done": True},
    "late": {"delay_s": 6.0},
}


class Row(NamedTuple):
    """A line of the table."""

    short: bool
    state: str
    call: str
    fault: str
    lasts: str
    error: str
    alarms: str

    @property
    def how(self) -> dict[str, Any]:
        """The fields of the fault."""
        status, _, code = self.fault.partition(" ")
        how = WAYS.get(self.fault) or {"status": int(status), "code": code or "ServiceUnavailable"}
        return {"times": 1 if self.lasts == "once" else 10**9, **how}


def _cells(table: str) -> list[tuple[bool, list[str]]]:
    lines = table.strip("\n").splitlines()
    return [(line[0] == "!", [cell.strip() for cell in line[1:].split("|")]) for line in lines]


ROWS = [Row(short, *cells) for short, cells in _cells(TABLE)] + [
    Row(one and other, state, f"s3.PutObject {key}", fault, lasts, error, alarms if error else "")
    for one, (state, key, alarms) in _cells(WRITES)
    for other, (fault, lasts, error) in _cells(TO_A_WRITE)
]
