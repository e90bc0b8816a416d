"""The second Lambda's entry: tokenises a prompt, or turns a generated piece into MIDI in S3.

Environment: MUSIC_BUCKET (required), MODEL_DIR (the bundle, default /opt/model), METRICS_NAMESPACE
(see contract/log_line.py). Raises the classes of contract/errors.py, whose names the
state machine handles.
"""

from __future__ import annotations

import functools
import gc
import os
import time
from dataclasses import dataclass
from typing import Any

import miditok

from contract.bundle import Bundle
from contract.log_line import log_line, logs_errors
from contract.request import LONGEST
from contract.token_files import TokenStore, make_s3_client
from midi_save.check import check_piece
from midi_save.detokenise import detokenise, load_tokenizer
from midi_save.job import Job, parse_generation, parse_message
from midi_save.prompt import tokenise_prompt
from midi_save.storage import PieceStore

# What `stopped` says of a piece that ended by itself, rather than closed when its time was used up.
ENDED = "duration"

# The answer, and the facts and the metrics to log.
Outcome = tuple[dict[str, Any], dict[str, Any], dict[str, float]]


@dataclass(frozen=True)
class Parts:
    """What an instance of the function keeps between its invocations."""

    bundle: Bundle
    tokenizer: miditok.MusicTokenizer
    tokens: TokenStore
    store: PieceStore
    bucket: str


@functools.cache
def load_parts() -> Parts:
    bundle = Bundle.load(os.environ.get("MODEL_DIR", "/opt/model"))
    bucket = os.environ["MUSIC_BUCKET"]
    client = make_s3_client()
    tokens, store = TokenStore(bucket, bundle, client), PieceStore(bucket, client)
    return Parts(bundle, load_tokenizer(bundle), tokens, store, bucket)


@logs_errors
def handler(event: object, _context: object) -> dict[str, Any]:
    """{"task": "tokenize_prompt" | "save", "job"} -> the job with its prompt, or the result."""
    began = time.perf_counter()
    task, job = parse_message(event)
    parts = load_parts()
    answer, facts, metrics = (tokenize_prompt if task == "tokenize_prompt" else save)(job, parts)
    took = {"seconds": round(time.perf_counter() - began, 3)}
    print(log_line({"task": task, "execution": job.execution, **facts, **took}, metrics))
    return answer


def tokenize_prompt(job: Job, parts: Parts) -> Outcome:
    """The job with the prompt's ids."""
    uri = job.request(parts.bundle).prompt
    ids = tokenise_prompt(parts.store.read_prompt(uri), parts.tokenizer, parts.bundle)
    prompt = {"model_id": parts.bundle.model_id, "ids": ids, "source": uri}
    return {**job.raw, "prompt": prompt}, {"source": uri, "tokens": len(ids)}, {}


def save(job: Job, parts: Parts) -> Outcome:
    """The state machine's result; a trial counts in no metric."""
    made = parse_generation(job, parts.bundle)
    request, model_id = made.request, parts.bundle.model_id
    date, seed = request.date, request.piece_seed
    ids = list(made.ids or ())
    if made.ids_uri is not None:
        ids = parts.tokens.read_run(job.execution, made.rounds, made.ids_uri, made.ids_count)
    title = f"midi-archive {date} seed {seed} model {model_id[:8]}"
    limit_s = LONGEST * request.duration_s if made.stopped == ENDED else None
    piece = detokenise(ids, parts.tokenizer, parts.bundle, title, limit_s)
    facts = check_piece(piece.midi, piece.notes, piece.programs)
    origin = {"model_id": model_id, "date": date, "style": made.style, "seed": seed}
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
        "form": made.form,
        "taken_up": made.taken_up,
        "request": request.to_json(),
    }
    tokens = {**origin, "ids": ids}
    record, latest = parts.store.save(
        piece.midi, tokens, record, job.started_day, trial=request.trial
    )
    log = {**origin, **batch, "notes": facts.notes, "tokens": len(ids)}
    log |= {"keys": record["keys"], "latest": latest}
    result = {"record": record, "bucket": parts.bucket, "latest": latest, "stats": made.stats}
    metrics = {"Notes": facts.notes, "MusicSeconds": facts.duration_s}
    if request.piece is None:  # a batch must not hide that the daily piece is missing
        metrics["Pieces"] = 1
    return result, log, {} if request.trial else metrics


if "AWS_LAMBDA_RUNTIME_API" in os.environ:
    gc.freeze()  # what imports made stays: a fifth of a first call went on seeking garbage in it
