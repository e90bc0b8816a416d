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

from contract.bundle import Bundle
from contract.errors import TokensError
from contract.log_line import log_line, logs_errors
from contract.request import RETIRED, Request
from contract.token_files import SLOWEST_CALL_S, Previous, TokenStore
from generate_tokens.batch import check_batch, is_check
from generate_tokens.compose import Composer, Composition
from generate_tokens.draws import drawn
from generate_tokens.job import INLINE_TOKENS, MOST_MOTIF_IDS, Job, Progress, parse_job
from generate_tokens.motif import motif_of, opening_of
from music.tracker import TEMPO, TIMESIG


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
    composer.check(progress.motif_ids, "job.generation.motif_ids")
    budget_s = context.get_remaining_time_in_millis() / 1000

    def answer_s(tokens: int) -> float:
        """What S3 may take to keep them; a short time-out rather risks to be tried again."""
        return min(SLOWEST_CALL_S, budget_s / 2) if tokens > INLINE_TOKENS else 0.0

    made = composer.compose(
        progress.request,
        progress.prompt_ids,
        candidates,
        budget_s,
        answer_s=answer_s,
        motif=motif_of(progress.motif_ids, composer.vocabulary),
    )
    generation = report(job, progress, made, composer, store)
    facts = {k: v for k, v in generation.items() if k not in ("tokens", "prompt_ids", "motif_ids")}
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
    """What the first round starts from: style, metre and tempo, the prompt's bars or a motif."""
    bundle, request = composer.bundle, job.request
    for name in RETIRED:
        if name in job.raw["request"]:
            what = f"the event's {name} does nothing any more: form says what returns"
            print(log_line({"level": "WARNING", "message": what, "execution": job.execution}, {}))
    prompt: list[int] = []
    motif: list[int] = []
    continued_from = fresh_because = None
    if job.prompt is not None:
        prompt, continued_from = list(job.prompt["ids"]), job.prompt["source"]
        composer.check(prompt, "the prompt's ids")
        request = _like_prompt(request, prompt, composer)
    elif request.prompt == "previous":
        previous = store.previous(request.date, trial=request.trial)
        motif, fresh_because = _motif_ids(previous, composer)
        continued_from = previous.date if motif else None
    return Progress(
        request=drawn(request, bundle),
        prompt_ids=prompt,
        motif_ids=motif,
        continued_from=continued_from,
        fresh_because=fresh_because,
        ids=[],
        ids_uri="",
        lengths=[],
        rounds=0,
        sampled=0,
        decode_s=0.0,
    )


def _like_prompt(request: Request, prompt: list[int], composer: Composer) -> Request:
    """The request with what it leaves open as the prompt has it: metre, tempo, style."""
    last = {
        composer.vocabulary.kind[token]: composer.bundle.vocabulary[token][1] for token in prompt
    }
    tempo = float(last[TEMPO]) if TEMPO in last else None
    return replace(
        request,
        metre=request.metre or last.get(TIMESIG),
        tempo=request.tempo or tempo,
        style=request.style or composer.likeliest_style(prompt),
    )


def _motif_ids(previous: Previous, composer: Composer) -> tuple[list[int], str | None]:
    """The bars of an earlier piece that hold its motif; or none, and why."""
    if not previous.ids:
        return [], previous.fresh_because
    body = [token for token in previous.ids[2:] if token != composer.bundle.eos_id]
    try:
        composer.check(body, "ids")
    except TokensError as error:
        return [], f"the tokens of {previous.date} are damaged: {error}"
    opening = opening_of(body, composer.vocabulary)
    if not 0 < len(opening) <= MOST_MOTIF_IDS:
        return [], f"the piece of {previous.date} does not open with a melody to take up"
    return opening, None


def report(
    job: Job, progress: Progress, made: Composition, composer: Composer, store: TokenStore
) -> dict[str, Any]:
    """The job's "generation"; the ids go to S3 once they could crowd the state."""
    parts: Sequence[list[int]] = [made.ids] if made.finished else made.candidates
    ids = [token for part in parts for token in part]
    rounds = progress.rounds + 1
    form = None
    if made.finished and made.plan is not None:
        from_bar = composer.beginning.count_bars(progress.prompt_ids)
        form = {"plan": made.plan.text(), "from_bar": from_bar}
    continued_from, fresh_because = progress.continued_from, progress.fresh_because
    if made.finished and progress.motif_ids and made.taken_up is None:
        fresh_because = f"the motif of {continued_from} found no place"
        continued_from = None
    tokens: dict[str, Any] = {"ids": ids}
    if len(ids) > INLINE_TOKENS:
        uri = store.write_run(job.execution, rounds, ids)
        tokens = {"s3_uri": uri, "count": len(ids)}
    sampled, decode_s = progress.sampled + made.sampled, progress.decode_s + made.decode_s
    return {
        "model_id": composer.bundle.model_id,
        "request": progress.request.to_json(),
        "continued_from": continued_from,
        "fresh_because": fresh_because,
        "prompt_ids": progress.prompt_ids,
        "motif_ids": progress.motif_ids,
        "form": form,
        "taken_up": made.taken_up,
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
