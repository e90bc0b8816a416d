"""The first Lambda's entry: takes the job, composes as long as the time allows, returns the job.

Environment: MUSIC_BUCKET (required), MODEL_DIR (the bundle, default /opt/model), RESERVE_S (seconds
of the invocation that are kept for answering, default 20: one slow write to S3). Raises the classes
of errors.py, whose names the state machine handles.
"""

from __future__ import annotations

import functools
import json
import os
from dataclasses import replace
from typing import Any

from generate_tokens.bundle import Bundle
from generate_tokens.compose import Composer, Composition
from generate_tokens.errors import TokensError
from generate_tokens.job import INLINE_TOKENS, Job, Progress, parse_job
from generate_tokens.prompt import last_bars
from generate_tokens.storage import TokenStore

RESERVE_S = float(os.environ.get("RESERVE_S", "20"))


@functools.cache
def load_composer() -> Composer:
    """The bundle's session and tables, once per instance of the function."""
    return Composer(Bundle.load(os.environ.get("MODEL_DIR", "/opt/model")))


@functools.cache
def load_store() -> TokenStore:
    return TokenStore(os.environ["MUSIC_BUCKET"], load_composer().bundle)


def handler(event: object, context: Any) -> dict[str, Any]:
    """{"request", "execution", "prompt"?, "generation"?} -> the same with its "generation"."""
    composer, store = load_composer(), load_store()
    job = parse_job(event, composer.bundle)
    progress = job.progress or begin(job, composer, store)
    ids = progress.ids
    if ids is None:
        ids = store.read_run(job.execution, progress.ids_uri, progress.ids_count)
    budget_s = context.get_remaining_time_in_millis() / 1000 - RESERVE_S
    made = composer.compose(progress.request, progress.prompt_ids, ids, budget_s)
    generation = report(job, progress, made, composer, store)
    facts = {k: v for k, v in generation.items() if k not in ("tokens", "prompt_ids")}
    facts |= {"execution": job.execution, "tokens": len(made.ids), "budget_s": round(budget_s, 3)}
    print(json.dumps(facts))
    return {**job.raw, "generation": generation}


def begin(job: Job, composer: Composer, store: TokenStore) -> Progress:
    """What the first round starts from: the prompt's bars, yesterday's, or nothing and why."""
    vocabulary, bundle, request = composer.vocabulary, composer.bundle, job.request
    prompt: list[int] = []
    continued_from = fresh_because = None
    style = request.style
    if job.prompt is not None:
        prompt, continued_from = list(job.prompt["ids"]), job.prompt["source"]
    elif request.prompt == "previous":
        previous = store.previous(request.date)
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
    style = style or list(bundle.styles)[request.seed % len(bundle.styles)]
    return Progress(
        replace(request, style=style), prompt, continued_from, fresh_because, [], "", 0, 0, 0, 0.0
    )


def report(
    job: Job, progress: Progress, made: Composition, composer: Composer, store: TokenStore
) -> dict[str, Any]:
    """The job's "generation"; the ids go to S3 once they could crowd the state."""
    tokens: dict[str, Any] = {"ids": made.ids}
    if len(made.ids) > INLINE_TOKENS:
        uri = store.write_run(job.execution, made.ids)
        tokens = {"s3_uri": uri, "count": len(made.ids)}
    sampled, decode_s = progress.sampled + made.sampled, progress.decode_s + made.decode_s
    return {
        "model_id": composer.bundle.model_id,
        "request": progress.request.to_json(),
        "continued_from": progress.continued_from,
        "fresh_because": progress.fresh_because,
        "prompt_ids": progress.prompt_ids,
        "tokens": tokens,
        "finished": made.finished,
        "stopped": "duration" if made.finished else "budget",
        "music_s": made.music_s,
        "rounds": progress.rounds + 1,
        "sampled": sampled,
        "decode_s": round(decode_s, 3),
        "tokens_per_s": round(sampled / max(decode_s, 1e-6), 1),
    }


if "AWS_LAMBDA_RUNTIME_API" in os.environ:
    load_composer()  # in the init phase, not in the first request
