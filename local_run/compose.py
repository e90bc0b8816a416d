"""`./run.sh`: one piece, or several days of pieces, through the real deployment on this machine.

Starts the local AWS, deploys into it with ./deploy.sh, fires the deployed schedule for each day,
waits, and copies what was saved. Knows the order of things and what to tell people; the AWS parts
are LocalAws's, the words about a piece are report.py's, and run.sh has seen to it that no AWS
settings of the caller's are left. The event's fields are passed on unchecked: checking them is the
deployed functions' task.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

from local_aws.runtime import RuntimeBuildError, ensure_runtime
from local_aws.schedule import ScheduleError, StartError, fire_for
from local_aws.server import LocalAws
from local_run.batch import compose_batch, copy_saved, describe_batch
from local_run.executions import failure, history, stages_s, wait_for
from local_run.progress import progress
from local_run.report import Piece, describe, how_to_play, piece_of

ROOT = Path(__file__).resolve().parents[1]
ARCHITECTURES = {
    "x86_64": "x86_64",
    "amd64": "x86_64",
    "aarch64": "arm64",
    "arm64": "arm64",
}


class ComposeError(RuntimeError):
    """No piece was made; the message says why, for people."""


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The options of run.sh."""
    parser = argparse.ArgumentParser(
        prog="./run.sh",
        description="Compose a piece of music on this machine, through the same functions, state "
        "machine and schedule that ./deploy.sh puts on AWS.",
        epilog="The last line of the output is one JSON object with the facts about the piece.",
    )
    event = parser.add_argument_group("the piece (what is left out is decided by the model)")
    event.add_argument("--style", help="one of the styles in layers/model/MODEL_CARD.md")
    event.add_argument("--seed", type=int, help="0 to 4294967295 (default: from the date)")
    event.add_argument("--duration-s", type=float, help="length wanted, 5 to 3600 (default: 90)")
    event.add_argument("--temperature", type=float, help="0 to 2; 0 takes the likeliest token")
    event.add_argument("--top-p", type=float, help="over 0, to 1: keep the likeliest tokens")
    event.add_argument("--top-k", type=int, help="0 to 1000 tokens; 0 keeps all")
    event.add_argument("--min-p", type=float, help="0 to below 1: drop the far less likely")
    event.add_argument("--metre", help="such as 3/4 (default: drawn from what the archive holds)")
    event.add_argument("--tempo", type=float, help="quarter notes a minute, 40 to 250 (the same)")
    event.add_argument(
        "--form", help="'drawn' like a real piece's (default), 'none', or letters such as AABA"
    )
    event.add_argument("--candidates", type=int, help="1 to 8 pieces, of which the best is kept")
    event.add_argument(
        "--budget-end",
        help="when a round's time ends: 'continue' in another (default), or 'close' the piece",
    )
    event.add_argument(
        "--prompt",
        help="'previous', 'fresh', or a .mid file to go on from; of several days, the first "
        "(default: previous)",
    )
    event.add_argument(
        "--date",
        help="YYYY-MM-DD; of several days, the first (default: the last is today)",
    )
    parser.add_argument(
        "--days",
        type=int,
        default=1,
        help="consecutive days, a piece for each (default: 1)",
    )
    parser.add_argument(
        "--pieces", type=int, help="1 to 1000 pieces of one day, as one batch (default: the daily)"
    )
    parser.add_argument("--bundle", help="the trained model's folder (default: layers/model)")
    parser.add_argument("--out", help="folder for the pieces (default: out/ beside run.sh)")
    parser.add_argument(
        "--keep", action="store_true", help="leave the local AWS running until Ctrl-C"
    )
    options = parser.parse_args(arguments)
    if options.days < 1:
        parser.error("--days must be at least 1")
    if options.pieces is not None and options.days > 1:
        parser.error("--pieces is for one day: leave --days out")
    return options


def event_fields(options: argparse.Namespace) -> dict[str, Any]:
    """The event's fields that were given, by their names in the event."""
    names = (
        *("style", "metre", "tempo", "form", "seed", "duration_s"),
        *("temperature", "top_p", "top_k", "min_p", "candidates", "budget_end"),
    )
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def days_of(options: argparse.Namespace, today: date) -> list[date | str]:
    """The days to compose for. A date that is none goes to the functions as it is: they refuse."""
    if options.date is None:
        first = today - timedelta(days=options.days - 1)
    else:
        try:
            first = date.fromisoformat(options.date[:10])  # a time of day may follow
        except ValueError:
            return [options.date]
    return [first + timedelta(days=number) for number in range(options.days)]


def deploy(aws: LocalAws, bundle: Path | None = None) -> dict[str, Any]:
    """Runs ./deploy.sh against the local AWS and returns the names that it deployed.

    ``bundle``: the trained model's folder, in place of layers/model.
    """
    outputs = ROOT / "build" / f"outputs-{os.getpid()}.json"
    machine = os.uname().machine
    if machine not in ARCHITECTURES:
        raise ComposeError(f"Lambda has no {machine} machines: use x86_64 or arm64")
    command = [
        str(ROOT / "deploy.sh"),
        *("--runtime", f"python{sys.version_info.major}.{sys.version_info.minor}"),
        *("--arch", ARCHITECTURES[machine]),
        *("--outputs", str(outputs), "--no-smoke"),
        *(("--bundle", str(bundle)) if bundle else ()),
    ]
    lines = [""]
    # A session of its own, so that it and all its children end with us, however we end.
    process = subprocess.Popen(
        command,
        env={**os.environ, **aws.env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        with progress("deploying", lambda: lines[-1]):
            lines.extend(line.rstrip() for line in process.stdout)
        if process.wait() != 0:
            raise ComposeError("deploy.sh failed:\n" + "\n".join(lines[1:]))
        deployed: dict[str, Any] = json.loads(outputs.read_text())
        return deployed
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
        outputs.unlink(missing_ok=True)


def upload_prompt(aws: LocalAws, bucket: str, path: Path) -> str:
    """Puts a MIDI file where prompts belong and returns its S3 URI."""
    body = path.read_bytes()
    key = f"prompts/{hashlib.sha256(body).hexdigest()[:16]}.mid"
    aws.client("s3").put_object(Bucket=bucket, Key=key, Body=body, ContentType="audio/midi")
    return f"s3://{bucket}/{key}"


def compose_day(
    aws: LocalAws,
    deployed: Mapping[str, Any],
    day: date | str,
    event: Mapping[str, Any],
    out: Path,
) -> Piece:
    """Fires the schedule for one day, waits for the execution, and copies what it saved."""
    started = time.monotonic()
    now = [""]

    def entered(history_event: Mapping[str, Any]) -> None:
        if "stateEnteredEventDetails" in history_event:
            now[0] = history_event["stateEnteredEventDetails"]["name"]

    with progress(f"composing for {day}", lambda: now[0]):
        execution = fire_for(aws, deployed["schedule"], day, event)
        ended = wait_for(aws, execution, entered)
    if ended["status"] != "SUCCEEDED":
        raise ComposeError(f"the execution failed: {failure(ended)}")
    result = json.loads(ended["output"])
    midi = copy_saved(aws, result, out)
    stages = stages_s(history(aws, execution)) | {"piece": time.monotonic() - started}
    return piece_of(result, midi, stages)


def compose(options: argparse.Namespace, caller: Path, log: Path, begun: float) -> None:
    """Everything that run.sh does once its environment is there. Raises ComposeError.

    `begun` is when run.sh began, by time.time().
    """
    setup_s = {"environment": time.time() - begun}
    started = time.monotonic()
    event = event_fields(options)
    out = caller / options.out if options.out else ROOT / "out"
    prompt_file = None
    if options.prompt in {"previous", "fresh"} or (options.prompt or "").startswith("s3://"):
        event["prompt"] = options.prompt
    elif options.prompt is not None:
        prompt_file = caller / options.prompt
        if not prompt_file.is_file():
            raise ComposeError(f"--prompt: there is no file {prompt_file}")
    with progress("preparing the functions' runtime"):
        runtime_dir = ensure_runtime(ROOT / ".cache")
    with log.open("w") as lines, LocalAws(runtime_dir, log=_log_to(lines)) as aws:
        aws_ready = time.monotonic()
        deployed = deploy(aws, caller / options.bundle if options.bundle else None)
        setup_s |= {"start": aws_ready - started, "deploy": time.monotonic() - aws_ready}
        if prompt_file:
            event["prompt"] = upload_prompt(aws, deployed["music_bucket"], prompt_file)
        days = days_of(options, datetime.now(UTC).date())
        if options.pieces is None:
            facts, error = compose_days(aws, deployed, days, event, out), None
        else:
            batch = compose_batch(aws, deployed, days[0], {**event, "pieces": options.pieces}, out)
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


def compose_days(
    aws: LocalAws,
    deployed: Mapping[str, Any],
    days: list[date | str],
    event: dict[str, Any],
    out: Path,
) -> list[dict[str, Any]]:
    """A piece for each day, told to people; the facts about each."""
    pieces = []
    for day in days:
        piece = compose_day(aws, deployed, day, event, out)
        event.pop("prompt", None)  # the days after the first go on from the last
        pieces.append(piece)
        print(f"{piece.date}\n{describe(piece)}\n", flush=True)
    print(how_to_play(pieces[-1].midi))
    return [piece.to_json() for piece in pieces]


def _log_to(lines: TextIO) -> Callable[[str], None]:
    def log(line: str) -> None:
        lines.write(line + "\n")
        lines.flush()

    return log


def main() -> int:
    """Exit status: 0 with a piece, 1 without one, 130 after Ctrl-C."""
    options = parse_arguments(sys.argv[1:])
    log = ROOT / "build" / "run.log"
    log.parent.mkdir(exist_ok=True)
    try:
        caller = Path(os.environ.get("INVOKED_FROM", Path.cwd()))
        compose(options, caller, log, float(os.environ.get("RUN_BEGUN", time.time())))
    except KeyboardInterrupt:
        return 130
    except (ComposeError, RuntimeBuildError, ScheduleError, StartError) as error:
        print(f"{error}\nWhat the functions wrote is in {log}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
