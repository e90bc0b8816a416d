"""What ./run.sh does once its environment is there: start, deploy, fire the schedule, copy, tell.

See ./run.sh --help.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from local_aws.runtime import RuntimeBuildError, ensure_runtime
from local_aws.schedule import ScheduleError, StartError
from local_aws.server import LocalAws
from local_run.batch import compose_batch, describe_batch
from local_run.copying import SiteFolderError, check_site_folder
from local_run.days import ComposeError, compose_days, upload_prompt
from local_run.deployment import ROOT, DeploymentError, deploy
from local_run.options import check, days_of, event_of, is_file, parse_arguments
from local_run.progress import progress


def compose(options: argparse.Namespace, caller: Path, log: Path, begun: float) -> None:
    """Everything but the options. Raises ComposeError and the errors of what it calls.

    `begun` is when run.sh began, by time.time().
    """
    setup_s = {"environment": time.time() - begun}
    started = time.monotonic()
    event = event_of(options)
    out = out_of(options, caller)
    with progress("preparing the functions' runtime"):
        runtime_dir = ensure_runtime(ROOT / ".cache")
    with log.open("w") as lines, LocalAws(runtime_dir, log=_log_to(lines)) as aws:
        aws_ready = time.monotonic()
        deployed = deploy(aws, caller / options.bundle if options.bundle else None)
        setup_s |= {"start": aws_ready - started, "deploy": time.monotonic() - aws_ready}
        if is_file(options.prompt):
            prompt = caller / options.prompt
            event["prompt"] = upload_prompt(aws, deployed["music_bucket"], prompt)
        days = days_of(options, datetime.now(UTC).date())
        if options.pieces is None:
            facts, error = compose_days(aws, deployed, days, event, out), None
        else:
            batch = compose_batch(aws, deployed, days[0], event, out)
            print(describe_batch(batch))
            facts, error = [batch.to_json()], batch.error
        for fact in facts:
            stages = {**setup_s, **fact["stages_s"], "total": time.time() - begun}
            fact["stages_s"] = {stage: round(seconds, 2) for stage, seconds in stages.items()}
        if options.keep:
            print(f"\nThe local AWS is at {aws.endpoint}; Ctrl-C ends it. For a client:")
            for name, value in aws.env.items():
                print(f"export {name}={value}")
        last = facts[-1] if options.days == 1 else {**facts[-1], "pieces": facts}
        print(json.dumps(last), flush=True)
        if options.keep:
            signal.pause()
        if error:
            raise ComposeError(f"the execution failed: {error}")


def out_of(options: argparse.Namespace, caller: Path) -> Path:
    return caller / options.out if options.out else ROOT / "out"


def check_out(out: Path, *, has_site: bool) -> None:
    """Raises ValueError if the pieces could not be written there, or would replace others' files.

    The folder is made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
        if has_site:
            check_site_folder(out / "site")
    except OSError as error:
        raise ValueError(f"--out: {out} cannot be written: {error.strerror}") from error
    except SiteFolderError as error:
        raise ValueError(f"--out: {error}") from error


def _log_to(lines: TextIO) -> Callable[[str], None]:
    def log(line: str) -> None:
        lines.write(line + "\n")
        lines.flush()

    return log


def main() -> int:
    """Exit status: 0 with a piece, 1 without one, 2 for a wrong option, 130 after Ctrl-C."""
    options = parse_arguments(sys.argv[1:])
    caller = Path(os.environ.get("INVOKED_FROM", Path.cwd()))
    try:
        check(options, caller)
        check_out(out_of(options, caller), has_site=options.pieces is None)
    except ValueError as error:
        print(f"run.sh: {error}", file=sys.stderr)
        return 2
    log = ROOT / "build" / "run.log"
    log.parent.mkdir(exist_ok=True)
    try:
        compose(options, caller, log, float(os.environ.get("RUN_BEGUN", time.time())))
    except KeyboardInterrupt:
        return 130
    except (
        ComposeError,
        OSError,
        DeploymentError,
        RuntimeBuildError,
        ScheduleError,
        SiteFolderError,
        StartError,
    ) as error:
        print(f"{error}\nWhat the functions wrote is in {log}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
