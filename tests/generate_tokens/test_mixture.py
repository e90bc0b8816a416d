"""The sampler's mixture of model and memory: its frequencies, and when the memory is not asked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from generate_tokens.compose import Composer
from generate_tokens.motif import Motif, MotifGuide
from generate_tokens.next_token import SECTION_LAG
from generate_tokens.sequence import TokenSequence
from generate_tokens.stasis import LEAN
from music.repeats import NOTHING
from tests.generate_tokens.composing import request_for
from tests.music.writing import VOCABULARY, id_of, pitch_id

DRAWS = 4000
CHORD = {60: 0.5, 64: 0.3, 67: 0.15, 72: 0.05}  # what the model finds likely, by pitch
OPENING = ("Bar_None", "TimeSig_4/4", "Position_0", "Tempo_115.93", "Program_0")


def sequence_of(composer: Composer, *names: str) -> TokenSequence:
    sequence = composer.beginning.sequence(request_for(composer), None)
    sequence.begin_piece(60)
    for name in names:
        sequence.append(id_of(name))
    return sequence


def logits_of(shares: dict[int, float]) -> NDArray[np.float32]:
    logits = np.full(VOCABULARY.size, -np.inf, np.float32)
    for token, share in shares.items():
        logits[token] = math.log(share)
    return logits


def told(sequence: TokenSequence, named: int, weight: float, lag: int = 0) -> TokenSequence:
    """The sequence, whose memory names this id with that weight."""
    sequence.memory.named, sequence.memory.weight, sequence.memory.lag = named, weight, lag
    return sequence


def shares_of(
    composer: Composer, sequence: TokenSequence, logits: NDArray[np.float32], **fields: Any
) -> dict[int, float]:
    """How often each id is sampled, with uniforms of one seed."""
    request = request_for(composer, **{"top_p": 1, **fields})
    uniforms = np.random.default_rng(0).random(DRAWS).tolist()
    drawn = Counter(
        composer._next.of(sequence, logits.copy(), request, uniform, None) for uniform in uniforms
    )
    return {token: count / DRAWS for token, count in drawn.items()}


def pitches() -> dict[int, float]:
    """By id; one that is not in the chord hardly ever comes, but may."""
    return {pitch_id(pitch): share for pitch, share in CHORD.items()} | {pitch_id(61): 1e-9}


@pytest.mark.parametrize("weight", [0.0, 0.02, 0.4, 0.97])
@pytest.mark.parametrize("named", [60, 72, 61])
@pytest.mark.parametrize("top_p", [1.0, 0.75])
def test_an_id_comes_as_often_as_the_mixture_says(
    composer: Composer, weight: float, named: int, top_p: float
) -> None:
    likely = pitches()
    nucleus = {i: p for i, p in likely.items() if top_p == 1 or i in map(pitch_id, (60, 64))}
    whole = sum(nucleus.values())
    expected = {i: (1 - weight) * nucleus.get(i, 0.0) / whole for i in likely}
    expected[pitch_id(named)] += weight
    sequence = told(sequence_of(composer, *OPENING), pitch_id(named), weight)
    found = shares_of(composer, sequence, logits_of(likely), top_p=top_p)
    for token, share in expected.items():
        # 4.5 standard deviations: of 120 such shares one is farther off in 1,200 other seeds
        allowed = 4.5 * math.sqrt(share * (1 - share) / DRAWS) + 1e-6
        assert abs(found.get(token, 0.0) - share) <= allowed, (token, share)


def test_below_the_weight_the_uniform_takes_the_named_id_and_above_it_the_models(
    composer: Composer,
) -> None:
    sequence, request = sequence_of(composer, *OPENING), request_for(composer, top_p=1)
    alone = [
        composer._next.of(told(sequence, NOTHING, 0.0), logits_of(pitches()), request, u, None)
        for u in (0.0, 0.49, 0.51, 0.999)
    ]
    told(sequence, pitch_id(72), 0.6)

    def mixed(uniform: float) -> int:
        return composer._next.of(sequence, logits_of(pitches()), request, uniform, None)

    assert {mixed(u) for u in (0.0, 0.3, 0.599)} == {pitch_id(72)}
    assert [mixed(0.6 + 0.4 * u) for u in (0.0, 0.49, 0.51, 0.999)] == alone


def never(composer: Composer, sequence: TokenSequence, named: int, **fields: Any) -> bool:
    """Whether the named id does not come although it is to weigh nearly everything."""
    lag = sequence.memory.lag
    logits = logits_of({named: 1e-9} | pitches())
    return named not in shares_of(composer, told(sequence, named, 0.999, lag), logits, **fields)


@pytest.mark.parametrize("name", ["Position_12", "Duration_1.0.12", "Bar_None", "EOS_None"])
def test_what_the_grammar_forbids_is_never_copied(composer: Composer, name: str) -> None:
    assert never(composer, sequence_of(composer, *OPENING), id_of(name))


def test_a_key_that_sounds_is_never_struck_by_a_copy(composer: Composer) -> None:
    names = (*OPENING, "Pitch_60", "Duration_2.0.12", "Position_12")
    assert never(composer, sequence_of(composer, *names), pitch_id(60))
    free = sequence_of(composer, *names[:-1], "Position_24")
    assert not never(composer, free, pitch_id(60))


def test_what_is_left_out_for_variety_is_not_copied(composer: Composer) -> None:
    sequence = sequence_of(composer, *OPENING)
    sequence.variety.left_out = frozenset({pitch_id(60)})
    assert never(composer, sequence, pitch_id(60))


def test_a_note_that_was_on_top_too_often_is_not_copied(composer: Composer) -> None:
    sequence = sequence_of(composer, *OPENING)
    sequence.stasis.top = (pitch_id(60), math.inf)
    assert never(composer, sequence, pitch_id(60))


@pytest.mark.parametrize(
    ("lag", "copied"), [(0, False), (SECTION_LAG - 1, False), (SECTION_LAG, True)]
)
def test_of_music_that_stands_still_only_whole_sections_are_copied(
    composer: Composer, lag: int, copied: bool
) -> None:
    sequence = told(sequence_of(composer, *OPENING), NOTHING, 0.0, lag)
    sequence.stasis.worn_out = [pitch_id(60), pitch_id(64)]
    assert never(composer, sequence, pitch_id(61)) != copied


def test_pitches_on_which_it_stands_still_become_rarer_by_so_many_nats(composer: Composer) -> None:
    sequence = sequence_of(composer, *OPENING)
    sequence.stasis.worn_out = [pitch_id(60)]
    found = shares_of(composer, sequence, logits_of({pitch_id(60): 0.5, pitch_id(61): 0.5}))
    share = math.exp(-LEAN) / (1 + math.exp(-LEAN))
    # 4 standard deviations: once in 16,000 other seeds
    assert abs(found[pitch_id(60)] - share) < 4 * math.sqrt(share * (1 - share) / DRAWS)


def test_where_a_motif_comes_nothing_is_copied(composer: Composer) -> None:
    notes = (((0, 60, id_of("Duration_1.0.12")),),)
    guide = MotifGuide(composer.vocabulary, Motif("4/4", notes), 0, "4/4")
    sequence = composer.beginning.sequence(request_for(composer), None)
    sequence.begin_piece(60)
    for name in OPENING:
        sequence.append(id_of(name))
        guide.step(id_of(name), sequence.state)
    told(sequence, pitch_id(72), 0.999)
    assert guide.active
    request = request_for(composer, top_p=1)
    took: Sequence[int] = [
        composer._next.of(sequence, logits_of(pitches()), request, u, guide)
        for u in (0.0, 0.5, 0.9)
    ]
    assert set(took) == {pitch_id(60)}
