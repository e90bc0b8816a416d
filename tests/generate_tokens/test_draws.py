"""What a piece is drawn as: given fields are kept, the rest is as the archive has it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.bundle import Bundle
from contract.request import MOST_CANDIDATES, Request, nearest_tempo, parse_request
from generate_tokens.draws import DEFAULT_METRE, DEFAULT_TEMPO, FITS, drawn
from generate_tokens.sampling import UNIFORM_BLOCK, Uniforms
from music.form import Plans

ARCHIVE = {
    "folk": {"4/4": {"115.93": 30, "97.09": 10}, "3/4": {"97.09": 20}},
    "hymn": {"3/4": {"97.09": 15, "40.0": 5}},
    "chorale": {"12/8": {"40.0": 20}},
}
COUNTS = {
    (style, metre, float(tempo)): count
    for style, metres in ARCHIVE.items()
    for metre, tempi in metres.items()
    for tempo, count in tempi.items()
}


@pytest.fixture(scope="module")
def archive(bundle: Bundle) -> Bundle:
    return replace(bundle, archive=ARCHIVE)


def request_of(bundle: Bundle, seed: int = 0, **fields: Any) -> Request:
    return parse_request({"seed": seed, **fields}, bundle, "2026-01-01")


def row(request: Request) -> tuple[Any, Any, Any]:
    return request.style, request.metre, request.tempo


def misfit(metre: str, tempo: float, duration_s: float) -> float:
    """How far off the nearest whole number of bars is, as a share."""
    beats, unit = map(int, metre.split("/"))
    bar_s = 240 * beats / unit / tempo
    return min(abs(bars * bar_s / duration_s - 1) for bars in range(1, 1 + int(3600 / bar_s)))


@given(
    style=st.none() | st.sampled_from(["folk", "hymn", "medieval"]),
    metre=st.none() | st.sampled_from(["4/4", "3/4", "5/4"]),
    tempo=st.none() | st.sampled_from([97, 40, 233]),
    duration_s=st.floats(5, 3600),
    seed=st.integers(0, 2**32 - 1),
)
def test_what_the_event_gives_is_kept_and_the_rest_is_drawn_once(
    archive: Bundle,
    style: str | None,
    metre: str | None,
    tempo: float | None,
    duration_s: float,
    seed: int,
) -> None:
    asked = request_of(archive, seed, style=style, metre=metre, tempo=tempo, duration_s=duration_s)
    made = drawn(asked, archive)
    for given_, found in zip(row(asked), row(made), strict=True):
        assert found == given_ if given_ is not None else found is not None
    assert replace(made, style=asked.style, metre=asked.metre, tempo=asked.tempo) == asked
    assert drawn(asked, archive) == made == drawn(made, archive)
    if row(asked) == (None, None, None):
        assert row(made) in COUNTS


def shares(archive: Bundle, **fields: Any) -> Counter[tuple[Any, Any, Any]]:
    return Counter(row(drawn(request_of(archive, seed, **fields), archive)) for seed in range(400))


def test_an_open_request_is_drawn_by_the_archives_counts(archive: Bundle) -> None:
    found = shares(archive, duration_s=600)
    whole = sum(COUNTS.values())
    for key, count in COUNTS.items():
        share = count / whole
        # four standard deviations: six such shares are all within them but once in 2,600 runs
        assert abs(found[key] / 400 - share) < 4 * (share * (1 - share) / 400) ** 0.5, key


def test_what_is_given_is_drawn_for_among_its_own_pieces(archive: Bundle) -> None:
    of_folk = shares(archive, duration_s=600, style="folk")
    assert set(of_folk) == {key for key in COUNTS if key[0] == "folk"}
    assert of_folk["folk", "4/4", 115.93] > of_folk["folk", "4/4", 97.09]
    in_three = shares(archive, duration_s=600, metre="3/4")
    assert set(in_three) == {key for key in COUNTS if key[1] == "3/4"}
    # a style without a piece in the archive: metre and tempo of any
    assert {key[0] for key in shares(archive, duration_s=600, style="medieval")} == {"medieval"}


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 97, 2**31, 2**32 - 1])
def test_no_draw_begins_with_the_number_that_another_begins_with(
    archive: Bundle, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[float] = []
    default_rng = np.random.default_rng

    def seen(words: list[int]) -> np.random.Generator:
        began.append(default_rng(words).random())
        return default_rng(words)

    monkeypatch.setattr(np.random, "default_rng", seen)
    drawn(request_of(archive, seed), archive)
    Plans({"folk": {"4/4": ["0/36/0 4"]}}).draw("folk", "4/4", 4, seed)
    assert len(began) == 2
    for candidate in range(MOST_CANDIDATES):
        uniforms = Uniforms(seed, candidate)
        blocks = [uniforms[UNIFORM_BLOCK * block] for block in range(5)]
        assert blocks == began[-5:]
    assert len(set(began)) == len(began) == 2 + 5 * MOST_CANDIDATES


def test_pieces_of_a_batch_are_drawn_apart(archive: Bundle) -> None:
    batch = [row(drawn(request_of(archive, 3, pieces=40, piece=n), archive)) for n in range(1, 41)]
    assert len(set(batch)) > 1


@pytest.mark.parametrize("duration_s", [5, 6, 7.5, 9, 11, 13])
def test_a_short_piece_has_a_metre_and_tempo_whose_bars_fit_it(
    archive: Bundle, duration_s: float
) -> None:
    misfits = {key: misfit(key[1], key[2], duration_s) for key in COUNTS}
    fits = {key for key in COUNTS if misfits[key] <= FITS}
    found = set(shares(archive, duration_s=duration_s))
    if fits:
        assert found <= fits
    else:
        assert found == {min(COUNTS, key=misfits.__getitem__)}
    if duration_s == 5:  # of a metre whose bars have 9 s
        assert ("chorale", "12/8", 40.0) not in found


def test_without_an_archive_there_are_defaults(bundle: Bundle) -> None:
    nothing = replace(bundle, archive={})
    found = {row(drawn(request_of(nothing, seed), nothing)) for seed in range(100)}
    assert {key[1:] for key in found} == {(DEFAULT_METRE, nearest_tempo(DEFAULT_TEMPO, bundle))}
    assert {key[0] for key in found} == set(bundle.styles)
