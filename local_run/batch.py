"""Composes a batch (`./run.sh --pieces N`): fires one execution, follows its pieces, copies them.

Of the state machine it uses the output of an execution and the names that it gives to the
executions of a batch. Depends on neither the functions nor the model.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from deploy.execution import failure
from local_aws.schedule import fire_for
from local_aws.server import LocalAws
from local_run.copying import copy_saved
from local_run.executions import children, wait_for
from local_run.output import KeptElsewhereError
from local_run.progress import progress
from local_run.report import minutes

FOLLOW_S = 2.0


@dataclass(frozen=True)
class Batch:
    """The result of a batch: the records of its pieces, the numbers of those not made, and why.

    `moved` says where the pieces are that could not be written to `out`.
    """

    pieces: int
    records: list[dict[str, Any]]
    out: Path
    failed: list[int]
    error: str | None
    stages_s: dict[str, float]
    moved: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The object that ends run.sh's output."""
        return {
            "pieces": self.pieces,
            "made": len(self.records),
            "failed": self.failed,
            "date": self.records[0]["date"] if self.records else None,
            "out": str(self.out),
            "seconds": round(sum(record["duration_s"] for record in self.records), 2),
            "notes": sum(record["notes"] for record in self.records),
            "stages_s": self.stages_s,
        }


def compose_batch(
    aws: LocalAws,
    deployed: Mapping[str, Any],
    day: date,
    event: Mapping[str, Any],
    out: Path,
) -> Batch:
    """Fires the schedule for a batch, waits, and copies the pieces that were saved."""
    started = time.monotonic()
    now = [""]
    with progress(f"composing {event['pieces']} pieces for {day}", lambda: now[0]):
        execution = fire_for(aws, deployed["schedule"], day, event)
        while True:
            try:
                ended = wait_for(aws, execution, timeout_s=FOLLOW_S)
                break
            except TimeoutError:
                begun = children(aws, execution).values()
                done = sum(attempts[0]["status"] == "SUCCEEDED" for attempts in begun)
                now[0] = f"{done} made"
    composed_s = time.monotonic() - started
    records = []
    failed = []
    moved = None
    for piece, attempts in sorted(children(aws, execution).items()):
        last = wait_for(aws, attempts[0]["executionArn"])
        if last["status"] == "SUCCEEDED":
            result = json.loads(last["output"])
            try:
                copy_saved(aws, result, out)
            except KeptElsewhereError as kept:
                out, moved = kept.folder, str(kept)  # the others follow
            records.append(result["record"])
        else:
            failed.append(piece)
    stages = {"pieces": composed_s, "copy": time.monotonic() - started - composed_s}
    error = None if ended["status"] == "SUCCEEDED" else failure(ended)
    return Batch(event["pieces"], records, out, failed, error, stages, moved)


def describe_batch(batch: Batch) -> str:
    """The line that run.sh prints for a batch."""
    music_s, composed_s = sum(r["duration_s"] for r in batch.records), batch.stages_s["pieces"]
    failed = f", not made: {', '.join(map(str, batch.failed))}" if batch.failed else ""
    return (
        f"{len(batch.records)} of {batch.pieces} pieces{failed}; {minutes(music_s)} of music "
        f"in {minutes(composed_s)}; MIDI and MP3 in {batch.out}"
    )
