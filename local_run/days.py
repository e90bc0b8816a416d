"""The daily pieces of `./run.sh`: the schedule is fired for each day, and what it saved is copied.

Knows what an execution says of its piece; not how the state machine makes it.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

from deploy.execution import failure
from local_aws.schedule import fire_for
from local_aws.server import LocalAws
from local_run.copying import copy_saved, copy_site
from local_run.executions import history, stages_s, wait_for
from local_run.output import SiteFolderError
from local_run.progress import progress
from local_run.report import Piece, describe, how_to_hear, piece_of


class ComposeError(RuntimeError):
    """No piece was made; the message says why, for people."""


def upload_prompt(aws: LocalAws, bucket: str, midi: bytes) -> str:
    """Puts a MIDI file where prompts belong and returns its S3 URI."""
    key = f"prompts/{hashlib.sha256(midi).hexdigest()[:16]}.mid"
    aws.client("s3").put_object(Bucket=bucket, Key=key, Body=midi, ContentType="audio/midi")
    return f"s3://{bucket}/{key}"


def compose_day(
    aws: LocalAws, deployed: Mapping[str, Any], day: date, event: Mapping[str, Any], out: Path
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
    copied = copy_saved(aws, result, out)
    stages = stages_s(history(aws, execution)) | {"piece": time.monotonic() - started}
    return piece_of(result, copied, stages)


def compose_days(
    aws: LocalAws,
    deployed: Mapping[str, Any],
    days: Sequence[date],
    event: Mapping[str, Any],
    out: Path,
) -> list[dict[str, Any]]:
    """A piece for each day and their site, told to people; the facts about each."""
    pieces: list[Piece] = []
    site = out / "site"
    try:
        for day in days:
            piece = compose_day(aws, deployed, day, event, out)
            event = {k: value for k, value in event.items() if k != "prompt"}  # the first's only
            pieces.append(piece)
            print(f"{piece.date}\n{describe(piece)}\n", flush=True)
    except BaseException:  # what was made before a day failed can be heard
        if pieces:
            with suppress(OSError, SiteFolderError):
                copy_site(aws, deployed["music_bucket"], site)
        raise
    try:
        home = copy_site(aws, deployed["music_bucket"], site)
    except OSError as error:
        raise ComposeError(
            f"the pieces are in {out}, but their site cannot be written there: {error.strerror}"
        ) from error
    print(how_to_hear(pieces[-1].mp3, str(home)))
    return [piece.to_json() | {"site": str(home)} for piece in pieces]
