"""The first Lambda's entry: reads the job, composes as long as the time allows, returns the job.

Environment: MUSIC_BUCKET (required), MODEL_DIR (the bundle, default /opt/model), METRICS_NAMESPACE
(see contract/log_line.py). Raises the classes of contract/errors.py, under whose names an execution
of the state machine fails.
"""

from __future__ import annotations

import functools
import gc
import os
from typing import Any

from contract.bundle import Bundle
from contract.job import INLINE_IDS, Job, read_job
from contract.log_line import log_line, logs_errors
from contract.objects import S3_CONFIG, SLOWEST_CALL_S
from contract.token_files import TokenStore, is_damaged
from generate_tokens.batch import check_batch, is_check
from generate_tokens.compose import Composer, Composition
from generate_tokens.motif import motif_of
from generate_tokens.progress import after_call, before_first_call, candidates_of


@functools.cache
def load_composer() -> Composer:
    """The bundle's session and tables, once per instance of the function."""
    return Composer(Bundle.load(os.environ.get("MODEL_DIR", "/opt/model")))


@functools.cache
def load_store() -> TokenStore:
    """Called only where S3 is needed: importing boto3 takes a quarter second of a cold start."""
    import boto3
    from botocore.config import Config

    client = boto3.client("s3", config=Config(**S3_CONFIG))
    return TokenStore(os.environ["MUSIC_BUCKET"], load_composer().bundle, client)


@logs_errors
def handler(event: object, context: Any) -> dict[str, Any]:
    """A job (contract/job.py) -> the same with its generation, finished or further than before.

    {"task": "check", "job"} -> what the pieces of a batch get: see batch.py.
    """
    composer = load_composer()
    bundle = composer.bundle
    if is_check(event):
        return check_batch(event, bundle)
    had_ms = context.get_remaining_time_in_millis()
    job = read_job(event, bundle)
    if job.generation is None:
        job = before_first_call(job, composer, load_store)
    made = job.generation
    assert made is not None
    composer.check(made.motif_ids, "job.generation.motif_ids")
    candidates = candidates_of(job, load_store)
    budget_s = context.get_remaining_time_in_millis() / 1000

    def answer_s(ids: int) -> float:
        """Seconds that S3 may take to keep so many ids; a short time-out risks a retry instead."""
        return min(SLOWEST_CALL_S, budget_s / 2) if ids > INLINE_IDS else 0.0

    composition = composer.compose(
        job.request,
        job.prompt_ids,
        candidates,
        budget_s,
        answer_s=answer_s,
        motif=motif_of(made.motif_ids, composer.vocabulary),
    )
    job = after_call(job, composition, composer, load_store)
    left_ms = context.get_remaining_time_in_millis()
    facts = facts_of(job, bundle.model_id) | {"left_s": round(left_ms / 1000, 3)}
    print(log_line(facts, metrics_of(job, composition, 1 - left_ms / had_ms)))
    return job.to_json(bundle.model_id)


def facts_of(job: Job, model_id: str) -> dict[str, Any]:
    """What the log says of a job: all but its ids."""
    made = job.generation
    assert made is not None
    left_out = ("ids", "motif_ids")
    facts = {name: value for name, value in vars(made).items() if name not in left_out}
    facts |= {"tokens": sum(made.lengths), "tokens_per_s": made.tokens_per_s}
    request = job.request.to_json()
    return {"execution": job.execution, "model_id": model_id, "request": request, **facts}


def metrics_of(job: Job, composition: Composition, used: float) -> dict[str, float]:
    """What CloudWatch shows of this call, of whose time it ``used`` a share; nothing of a trial."""
    if job.request.trial:
        return {}
    metrics = {
        # Of this call alone; the line's tokens_per_s is that of all the piece's calls.
        "TokensPerSecond": composition.sampled / max(composition.decode_s, 1e-6),
        "BudgetUsed": 100 * used,
    }
    made = job.generation
    if made is not None and made.calls == 1 and is_damaged(made.fresh_because):
        metrics["Damaged"] = 1
    if composition.finished:
        metrics["CandidatesRejected"] = job.request.candidates - 1
    return metrics


if "AWS_LAMBDA_RUNTIME_API" in os.environ:
    load_composer()  # in the init phase, not in the first request
    # Exempt what the imports made from garbage collection: scanning it would slow the first call.
    gc.freeze()
