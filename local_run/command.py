"""Composes as run.sh was asked: starts an embedded AWS, deploys, fires the schedule, copies, tells.

The options have been checked (options.py).
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from local_aws.runtime import RuntimeBuildError, ensure_runtime
from local_aws.schedule import ScheduleError, StartError
from local_aws.server import LocalAws
from local_run.batch import compose_batch, describe_batch
from local_run.days import ComposeError, compose_days, upload_prompt
from local_run.deployment import ROOT, DeploymentError, deploy
from local_run.options import Checked
from local_run.output import KeptElsewhereError, SiteFolderError
from local_run.progress import progress

BUILD = ROOT / "build"
LOGS = 10  # of this run and of those before


def compose(given: Checked, lines: TextIO, begun: float) -> None:
    """Raises ComposeError and the errors of what it calls.

    The embedded AWS writes its log to `lines`. `begun` is when run.sh began, by time.time().
    """
    setup_s = {"environment": time.time() - begun}
    started = time.monotonic()
    event = dict(given.event)
    with progress("preparing the functions' runtime"):
        runtime_dir = ensure_runtime(ROOT / ".cache")
    with LocalAws(runtime_dir, log=_log_to(lines)) as aws:
        aws_ready = time.monotonic()
        deployed = deploy(aws, given.bundle)
        setup_s |= {"start": aws_ready - started, "deploy": time.monotonic() - aws_ready}
        if given.midi is not None:
            event["prompt"] = upload_prompt(aws, deployed["music_bucket"], given.midi)
        if "pieces" not in event:
            facts, error = compose_days(aws, deployed, given.days, event, given.out), None
        else:
            batch = compose_batch(aws, deployed, given.days[0], event, given.out)
            print(describe_batch(batch))
            facts, error = [batch.to_json()], batch.moved
            if batch.error:
                error = f"the execution failed: {batch.error}"
        for fact in facts:
            stages = {**setup_s, **fact["stages_s"], "total": time.time() - begun}
            fact["stages_s"] = {stage: round(seconds, 2) for stage, seconds in stages.items()}
        if given.keep:
            print(f"\nThe local AWS is at {aws.endpoint}; Ctrl-C ends it. For a client:")
            for name, value in aws.env.items():
                print(f"export {name}={shlex.quote(value)}")
        last = facts[-1] if len(given.days) == 1 else {**facts[-1], "pieces": facts}
        print(json.dumps(last), flush=True)
        if given.keep:
            signal.pause()
        if error:
            raise ComposeError(error)


def new_log(folder: Path) -> Path:
    """A file for this run alone, which only its owner can read; the oldest ones are removed."""
    folder.mkdir(exist_ok=True)
    logs = sorted(folder.glob("run*.log"), key=lambda path: path.stat().st_mtime)
    for old in logs[: -LOGS + 1]:
        old.unlink(missing_ok=True)
    descriptor, name = tempfile.mkstemp(".log", time.strftime("run-%Y%m%d-%H%M%S-"), folder)
    os.close(descriptor)
    return Path(name)


def _log_to(lines: TextIO) -> Callable[[str], None]:
    def log(line: str) -> None:
        lines.write(line + "\n")
        lines.flush()

    return log


def run(given: Checked) -> int:
    """The exit status: 0 with a piece, 1 without one."""
    try:
        log = new_log(BUILD)
    except OSError as error:
        print(f"run.sh: {BUILD} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    try:
        with log.open("w", encoding="utf-8", errors="backslashreplace") as lines:
            compose(given, lines, float(os.environ.get("RUN_BEGUN", time.time())))
    except BrokenPipeError:
        raise
    except (
        ComposeError,
        OSError,
        DeploymentError,
        KeptElsewhereError,
        RuntimeBuildError,
        ScheduleError,
        SiteFolderError,
        StartError,
    ) as error:
        print(f"{error}\nWhat the functions wrote is in {log}", file=sys.stderr)
        return 1
    return 0
