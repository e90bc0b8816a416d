"""How a job goes from call to call: what the first one starts from, and what each of them adds.

Depends on neither Lambda nor how tokens are sampled. ``load_store`` opens the token files, and is
called only where they are needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate, pairwise

from contract.bundle import Bundle
from contract.errors import EventError, TokensError
from contract.job import INLINE_IDS, MOST_MOTIF_IDS, Generation, Job
from contract.request import Request
from contract.token_files import Previous, TokenStore, damaged
from generate_tokens.compose import Composer, Composition
from generate_tokens.draws import drawn
from generate_tokens.motif import opening_of
from music.tracker import TEMPO, TIMESIG

LoadStore = Callable[[], TokenStore]


def before_first_call(job: Job, composer: Composer, load_store: LoadStore) -> Job:
    """The job with a style, a metre, a tempo, and the motif that the piece takes up, if any.

    Raises:
        EventError: a batch without the number of this piece.
        TokensError: the prompt is no music, or is missing.
        StorageError, AccessError: yesterday's tokens cannot be read.
    """
    request = job.request
    if request.pieces is not None and request.piece is None:
        raise EventError("piece is missing: the state machine gives each of the pieces its number")
    motif: list[int] = []
    continued_from = fresh_because = None
    if job.prompt is not None:
        continued_from = job.prompt.source
        composer.check(job.prompt.ids, "job.prompt.ids")
        request = _like_prompt(request, job.prompt.ids, composer)
    elif request.prompt.startswith("s3://"):
        raise TokensError("job.prompt is missing: midi_save tokenizes a MIDI prompt first")
    elif request.prompt == "previous":
        previous = load_store().previous(request.date, trial=request.trial)
        motif, fresh_because = _motif_ids(previous, composer)
        continued_from = previous.date if motif else None
    generation = Generation(continued_from, fresh_because, motif)
    return replace(job, request=drawn(request, composer.bundle), generation=generation)


def candidates_of(job: Job, load_store: LoadStore) -> list[list[int]]:
    """The ids of each candidate so far; none before the first call."""
    made = job.generation
    if made is None or not made.lengths:
        return []
    ids = load_store().ids_of(job) if made.stored_at else made.ids
    return [ids[start:stop] for start, stop in pairwise(accumulate(made.lengths, initial=0))]


def after_call(
    job: Job, composition: Composition, composer: Composer, load_store: LoadStore
) -> Job:
    """The job with what a call has composed. Ids that would crowd the message go to S3."""
    before = job.generation
    assert before is not None
    finished = composition.finished
    parts = [composition.ids] if finished else composition.candidates
    ids = [token for part in parts for token in part]
    calls = before.calls + 1
    stored_at = None
    if len(ids) > INLINE_IDS:
        stored_at = load_store().write_run(job.execution, calls, ids)
    continued_from, fresh_because = before.continued_from, before.fresh_because
    if finished and before.motif_ids and composition.taken_up is None:
        fresh_because = f"the motif of {continued_from} found no place"
        continued_from = None
    plan = composition.plan if finished else None
    made = replace(
        before,
        continued_from=continued_from,
        fresh_because=fresh_because,
        ids=[] if stored_at else ids,
        stored_at=stored_at,
        lengths=[len(part) for part in parts],
        finished=finished,
        stopped=composition.stopped,
        plan=plan.text() if plan else None,
        first_bar=composer.beginning.count_bars(job.prompt_ids) if plan else 0,
        taken_up=composition.taken_up,
        penalties=composition.penalties,
        music_s=composition.music_s,
        calls=calls,
        sampled=before.sampled + composition.sampled,
        decode_s=round(before.decode_s + composition.decode_s, 3),
    )
    return replace(job, generation=made)


def _like_prompt(request: Request, prompt: list[int], composer: Composer) -> Request:
    """The request; the metre, the tempo and the style that it leaves open are the prompt's."""
    bundle: Bundle = composer.bundle
    last = {composer.vocabulary.kind[token]: bundle.vocabulary[token][1] for token in prompt}
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
    # A motif is in the first ids. More are not looked at: hostile ones could cost minutes.
    first = previous.ids[2 : MOST_MOTIF_IDS + 3]
    body = [token for token in first if token != composer.bundle.eos_id]
    try:
        composer.check(body, "ids")
    except TokensError as error:
        return [], damaged(str(previous.date), error)
    opening = opening_of(body, composer.vocabulary)
    if not 0 < len(opening) <= MOST_MOTIF_IDS:
        return [], f"the piece of {previous.date} does not open with a melody to take up"
    return opening, None
