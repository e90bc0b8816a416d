"""The second Lambda's entry: tokenizes a prompt, saves a generated piece as MIDI, or publishes it.

Environment: MUSIC_BUCKET (required), MODEL_DIR (the bundle, default /opt/model), METRICS_NAMESPACE
(see contract/log_line.py); those of `publish` are in publishing/task.py. Raises the classes of
contract/errors.py; an execution of the state machine fails under the name of the class.
"""

from __future__ import annotations

import datetime
import functools
import gc
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import miditok

from contract.bundle import Bundle
from contract.checks import require_object
from contract.errors import TokensError
from contract.job import Prompt, read_job
from contract.log_line import execution_of, log_line, logs_errors
from contract.marks import DIGITAL_SOURCE_TYPE
from contract.objects import S3_CONFIG, Bucket
from contract.request import LONGEST
from contract.token_files import TokenStore
from midi_save.check import check_piece
from midi_save.detokenize import detokenize, load_tokenizer
from midi_save.prompt import ids_of_prompt
from midi_save.storage import PieceStore
from music.form import Plan, form_to_json

# The value of `stopped` for a piece that ended by itself, not because its time was used up.
ENDED = "duration"
EARLIEST_ZONE = datetime.timedelta(hours=14)  # ahead of UTC: Kiritimati
MOST_BARS = 20_000  # of a plan in a message: an hour of the shortest bars, and a prompt

# The answer, and the facts and the metrics to log.
Outcome = tuple[dict[str, Any], dict[str, Any], dict[str, float]]


@dataclass(frozen=True)
class Parts:
    """What an instance of the function keeps between its invocations."""

    bundle: Bundle
    tokenizer: miditok.MusicTokenizer
    tokens: TokenStore
    store: PieceStore
    bucket: Bucket


@functools.cache
def load_parts() -> Parts:
    """Loads the parts in the first call, not in the init phase: so an error keeps its own name."""
    import boto3
    from botocore.config import Config

    bundle = Bundle.load(os.environ.get("MODEL_DIR", "/opt/model"))
    bucket = os.environ["MUSIC_BUCKET"]
    client = boto3.client("s3", config=Config(**S3_CONFIG))
    tokens, store = TokenStore(bucket, bundle, client), PieceStore(bucket, client)
    return Parts(bundle, load_tokenizer(bundle), tokens, store, Bucket(bucket, client))


@logs_errors
def handler(event: object, context: Any) -> dict[str, Any]:
    """Run the task of an event {"task": one of `TASKS`, "job": that of contract/job.py}, or of
    {"task": "publish", "execution": {"name"}, "saved": that of publishing/task.py}.

    Returns the job with its prompt's ids, or the state machine's result for the saved piece.
    Raises TokensError for an unknown task, and the errors of the task.
    """
    began = time.perf_counter()
    message = require_object(event, "message")
    task = message.get("task")
    if not isinstance(task, str) or task not in TASKS:
        raise TokensError(f"task must be one of {', '.join(TASKS)}, got {str(task)[:60]!a}")
    answer, facts, metrics = TASKS[task](message, load_parts(), context)
    took = {"seconds": round(time.perf_counter() - began, 3)}
    print(log_line({"task": task, **facts, **took}, metrics))
    return answer


def tokenize_prompt(message: Mapping[str, Any], parts: Parts, _context: Any) -> Outcome:
    """Read the prompt and return the job with its ids."""
    job = read_job(message.get("job"), parts.bundle)
    uri = job.request.prompt
    ids = ids_of_prompt(parts.store.read_prompt(uri), parts.tokenizer, parts.bundle)
    answer = replace(job, prompt=Prompt(uri, ids)).to_json(parts.bundle.model_id)
    return answer, {"execution": job.execution, "source": uri, "tokens": len(ids)}, {}


def save(message: Mapping[str, Any], parts: Parts, _context: Any) -> Outcome:
    """Save the piece and return the state machine's result.

    A trial counts only as a piece: after a deployment the alarm for missing pieces waits for the
    first of the schedule.
    """
    job = read_job(message.get("job"), parts.bundle)
    made, request, model_id = job.generation, job.request, parts.bundle.model_id
    if made is None or not made.finished:
        raise TokensError("job.generation.finished must be true: the piece is still in the making")
    date, seed = request.date, request.piece_seed
    ids = parts.tokens.ids_of(job)
    title = f"midi-archive {date} seed {seed} model {model_id[:8]}"
    limit_s = LONGEST * request.duration_s if made.stopped == ENDED else None
    form = form_of(made.plan, made.first_bar)
    piece = detokenize(ids, parts.tokenizer, parts.bundle, title, limit_s)
    facts = check_piece(piece.midi, piece.notes, piece.programs)
    origin: dict[str, Any] = {
        "model_id": model_id,
        "date": date,
        "style": request.style,
        "seed": seed,
    }
    batch = {} if request.piece is None else {"piece": request.piece, "pieces": request.pieces}
    record = {
        **origin,
        **batch,
        "duration_s": facts.duration_s,
        "notes": facts.notes,
        "programs": list(facts.programs),
        "tokens": len(ids),
        "stopped": made.stopped,
        "continued_from": made.continued_from,
        "fresh_because": made.fresh_because,
        "form": form,
        "taken_up": made.taken_up,
        "digitalSourceType": DIGITAL_SOURCE_TYPE,
        "request": request.to_json(),
    }
    tokens = {**origin, "ids": ids}
    # A piece is of the day in the schedule's zone, which can be ahead of the UTC day.
    furthest = datetime.datetime.now(datetime.UTC) + EARLIEST_ZONE
    today = max(job.started[:10], furthest.date().isoformat())
    record, latest = parts.store.save(piece.midi, tokens, record, today, trial=request.trial)
    log = {"execution": job.execution, **origin, **batch, "notes": facts.notes, "tokens": len(ids)}
    log |= {"keys": record["keys"], "latest": latest}
    stats = {"calls": made.calls, "decode_s": made.decode_s, "tokens_per_s": made.tokens_per_s}
    wanted = {"date": date, "piece": request.piece, "trial": request.trial}
    result = {"record": record, "bucket": parts.bucket.name, "latest": latest, "stats": stats}
    result |= {"publish": wanted}
    music = {"Notes": facts.notes, "MusicSeconds": facts.duration_s}
    # A batch must not hide that the daily piece is missing.
    count = {"Pieces": 1.0} if request.piece is None else {}
    return result, log, count if request.trial else music | count


def publish(message: Mapping[str, Any], parts: Parts, context: Any) -> Outcome:
    """Make the site what the records say; publishing/task.py says more."""
    from midi_save.publishing import (
        task,  # what it imports would slow each cold start of the others
    )

    def left_s() -> float:
        return float(context.get_remaining_time_in_millis()) / 1000

    answer, facts, metrics = task.publish(message.get("saved"), parts.bundle, parts.bucket, left_s)
    return answer, {"execution": execution_of(message), **facts}, metrics


def form_of(plan: str | None, first_bar: int) -> dict[str, Any] | None:
    """The record's entry for the form of the bars from ``first_bar`` on; None without a plan."""
    if plan is None:
        return None
    try:
        parsed = Plan.parse(plan, MOST_BARS)
    except ValueError as error:
        raise TokensError(f"job.generation.plan: {error}") from error
    if first_bar >= len(parsed.lags):
        raise TokensError(f"job.generation.first_bar must be a bar of the plan, got {first_bar}")
    return form_to_json(parsed, first_bar)


TASKS: Mapping[str, Callable[[Mapping[str, Any], Parts, Any], Outcome]] = {
    "tokenize_prompt": tokenize_prompt,
    "save": save,
    "publish": publish,
}

if "AWS_LAMBDA_RUNTIME_API" in os.environ:
    # Exempt what the imports made from garbage collection: scanning it took 1/5 of a first call.
    gc.freeze()
