"""No piece becomes much longer than what was asked for, from the first id to the saved file."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import mido
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.bundle import Bundle
from contract.request import LONGEST, parse_request
from generate_tokens.compose import Composer
from generate_tokens.draws import drawn
from generate_tokens.motif import Motif, motif_of
from midi_save.check import check_piece
from midi_save.detokenize import detokenize, load_tokenizer
from tests.generate_tokens.composing import FOREVER_S
from tests.music.writing import VOCABULARY, joined, line, piece_of_bars

TUNE = [line((0, 67, 12), (12, 69, 12), (24, 71, 24)), line((0, 72, 12), (12, 71, 36))]
PROMPT = joined(piece_of_bars([line((0, 60, 12), (24, 64, 24))], metre="3/4"))


@cache
def tokenizer_of(bundle_directory: Any) -> Any:
    return load_tokenizer(Bundle.load(bundle_directory))


def lengths_s(
    composer: Composer, prompt: list[int], *, motif: Motif | None = None, **event: Any
) -> tuple[float, float]:
    """Seconds of the MIDI file as it is saved, with a slow end and, cut by the budget, without.

    Of a form by letters as many are asked for as the piece has bars.
    """
    bundle = composer.bundle
    request = drawn(parse_request(event, bundle, "2026-01-01"), bundle)
    if request.form not in ("none", "drawn"):
        form = request.form[: composer.beginning.bars_of(request)]
        request = parse_request(request.to_json() | {"form": form}, bundle, "2026-01-01")
    made = composer.compose(request, prompt, [], FOREVER_S, motif=motif)
    found = []
    for limit_s in (LONGEST * request.duration_s, None):
        piece = detokenize(made.ids, tokenizer_of(bundle.directory), bundle, "", limit_s)
        found.append(mido.MidiFile(file=io.BytesIO(piece.midi)).length)
        facts = check_piece(piece.midi, piece.notes, piece.programs)
        assert facts.duration_s == pytest.approx(found[-1], abs=0.05)
    return found[0], found[1]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    duration_s=st.floats(5, 40),
    form=st.sampled_from(["none", "AABA", "drawn"]),
    metre=st.none() | st.sampled_from(["4/4", "3/4", "9/4", "9/16", "12/8"]),
    tempo=st.none() | st.sampled_from([40, 75, 120, 250]),
    candidates=st.integers(1, 2),
    with_motif=st.booleans(),
)
def test_no_piece_is_much_longer_than_was_asked(
    planned: Composer, with_motif: bool, **event: Any
) -> None:
    motif = motif_of(joined(piece_of_bars(TUNE)), VOCABULARY) if with_motif else None
    for found_s in lengths_s(planned, [], motif=motif, **event):
        assert 0 < found_s <= LONGEST * event["duration_s"]


@pytest.mark.parametrize("form", ["none", "A", "drawn"])
@pytest.mark.parametrize(
    ("duration_s", "metre"),
    [(5, "9/4"), (5, "4/4"), (12, "4/4"), (12, "3/4"), (12, "9/4")],
)
def test_bars_longer_than_the_piece_make_it_no_longer(
    planned: Composer, duration_s: float, metre: str, form: str
) -> None:
    for seed in range(6):
        event: dict[str, Any] = {
            "seed": seed,
            "duration_s": duration_s,
            "metre": metre,
            "tempo": 40,
            "form": form,
        }
        for prompt in ([], PROMPT):
            assert max(lengths_s(planned, prompt, **event)) <= LONGEST * duration_s
