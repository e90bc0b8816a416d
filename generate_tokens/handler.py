"""The first Lambda's entry: takes the job, composes as long as the time allows, returns the job.

Environment: MUSIC_BUCKET (required), MODEL_DIR (the bundle, default /opt/model), METRICS_NAMESPACE
(see metrics.py). Raises the classes of errors.py, whose names the state machine handles.
"""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any

from generate_tokens.batch import check_batch, is_check
from generate_tokens.bundle import Bundle
from generate_tokens.compose import Composer, Composition
from generate_tokens.errors import TokensError
from generate_tokens.job import INLINE_TOKENS, Job, Progress, parse_job
from generate_tokens.metrics import log_line, logs_errors
from generate_tokens.prompt import last_bars
from generate_tokens.request import Request
from generate_tokens.storage import SLOWEST_CALL_S, TokenStore


@functools.cache
def load_composer() -> Composer:
    """The bundle's session and tables, once per instance of the function."""
    return Composer(Bundle.load(os.environ.get("MODEL_DIR", "/opt/model")))


@functools.cache
def load_store() -> TokenStore:
    return TokenStore(os.environ["MUSIC_BUCKET"], load_composer().bundle)


@logs_errors
def handler(event: object, context: Any) -> dict[str, Any]:
    """{"request", "execution", "prompt"?, "generation"?} -> the same with its "generation".

    {"task": "check", "job"} -> what the pieces of a batch get: see batch.py.
    """
    composer, store = load_composer(), load_store()
    if is_check(event):
        return check_batch(event, composer.bundle)
    had_ms = context.get_remaining_time_in_millis()
    job = parse_job(event, composer.bundle)
    progress = job.progress or begin(job, composer, store)
    candidates = candidates_of(job, progress, store)
    budget_s = context.get_remaining_time_in_millis() / 1000

    def answer_s(tokens: int) -> float:
        """What S3 may take to keep them; a short time-out rather risks to be tried again."""
        return min(SLOWEST_CALL_S, budget_s / 2) if tokens > INLINE_TOKENS else 0.0

    made = composer.compose(
        progress.request, progress.prompt_ids, candidates, budget_s, answer_s=answer_s
    )
    generation = report(job, progress, made, composer, store)
    facts = {k: v for k, v in generation.items() if k not in ("tokens", "prompt_ids")}
    left_ms = context.get_remaining_time_in_millis()
    facts |= {"execution": job.execution, "left_s": round(left_ms / 1000, 3)}
    print(log_line(facts, metrics_of(progress.request, made, 1 - left_ms / had_ms)))
    return {**job.raw, "generation": generation}


def metrics_of(request: Request, made: Composition, used: float) -> dict[str, float]:
    """What CloudWatch shows of this call, ``used`` being a share; nothing of a trial."""
    if request.trial:
        return {}
    metrics = {
        # Of this call alone; the line's tokens_per_s is that of the piece in all rounds.
        "TokensPerSecond": made.sampled / max(made.decode_s, 1e-6),
        "BudgetUsed": 100 * used,
    }
    if made.finished:
        metrics["CandidatesRejected"] = request.candidates - 1
    return metrics


def candidates_of(job: Job, progress: Progress, store: TokenStore) -> list[list[int]]:
    """The ids of each candidate so far; none before the first round."""
    ids = progress.ids
    if ids is None:
        total = sum(progress.lengths)
        ids = store.read_run(job.execution, progress.rounds, progress.ids_uri, total)
    return [ids[start:stop] for start, stop in pairwise(accumulate(progress.lengths, initial=0))]


def begin(job: Job, composer: Composer, store: TokenStore) -> Progress:
    """What the first round starts from: the prompt's bars, yesterday's, or nothing and why."""
    vocabulary, bundle, request = composer.vocabulary, composer.bundle, job.request
    prompt: list[int] = []
    continued_from = fresh_because = None
    style = request.style
    if job.prompt is not None:
        prompt, continued_from = list(job.prompt["ids"]), job.prompt["source"]
    elif request.prompt == "previous":
        previous = store.previous(request.date, trial=request.trial)
        fresh_because = previous.fresh_because
        body = previous.ids[2:]  # behind BOS and style
        try:
            composer.check(body[:-1] if body[-1:] == (bundle.eos_id,) else body, "ids")
            prompt = last_bars(previous.ids, vocabulary, bundle.context // 2)
            if previous.ids and not prompt:
                fresh_because = f"the piece of {previous.date} has no note to go on from"
        except TokensError as error:
            fresh_because = f"the tokens of {previous.date} are damaged: {error}"
        if prompt:
            continued_from = previous.date
            style = style or bundle.vocabulary[previous.ids[1]][1]
    style = style or list(bundle.styles)[request.piece_seed % len(bundle.styles)]
    return Progress(
        replace(request, style=style), prompt, continued_from, fresh_because, [], "", [], 0, 0, 0.0
    )


def report(
    job: Job, progress: Progress, made: Composition, composer: Composer, store: TokenStore
) -> dict[str, Any]:
    """The job's "generation"; the ids go to S3 once they could crowd the state."""
    parts: Sequence[list[int]] = [made.ids] if made.finished else made.candidates
    ids = [token for part in parts for token in part]
    rounds = progress.rounds + 1
    tokens: dict[str, Any] = {"ids": ids}
    if len(ids) > INLINE_TOKENS:
        uri = store.write_run(job.execution, rounds, ids)
        tokens = {"s3_uri": uri, "count": len(ids)}
    sampled, decode_s = progress.sampled + made.sampled, progress.decode_s + made.decode_s
    return {
        "model_id": composer.bundle.model_id,
        "request": progress.request.to_json(),
        "continued_from": progress.continued_from,
        "fresh_because": progress.fresh_because,
        "prompt_ids": progress.prompt_ids,
        "tokens": tokens,
        "candidates": [len(part) for part in parts],
        "finished": made.finished,
        "stopped": made.stopped,
        "faults": made.faults,
        "music_s": made.music_s,
        "rounds": rounds,
        "sampled": sampled,
        "decode_s": round(decode_s, 3),
        "tokens_per_s": round(sampled / max(decode_s, 1e-6), 1),
    }


if "AWS_LAMBDA_RUNTIME_API" in os.environ:
    load_composer()  # in the init phase, not in the first request
    gc.freeze()  # what imports made stays: a first call need not seek garbage in it
