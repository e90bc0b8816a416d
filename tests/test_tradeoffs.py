"""benchmarks/tradeoffs.py: the planner's arithmetic by hand, and the measurements on small sizes.

How fast anything is, these tests do not ask.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import ladder, ladder_speed, planner, tradeoffs, tradeoffs_page
from benchmarks.planner import Wish, cost_of, fitted, music_per_s, plans, speedup
from contract.bundle import Bundle
from training.model.model import MusicModel

ROOT = Path(__file__).parents[1]
SIZES = {"0.5M": 500_000, "2M": 2_000_000, "8M": 8_000_000}


def row(size: str, parameters: int, composing: float) -> dict[str, Any]:
    return {
        "size": size,
        "kind": "int8",
        "parameters": parameters,
        "tokens_per_s": {"sliding": 2 * composing, "composing": composing},
        "cost_of_candidates": {"1": 1.0, "4": 2.0},
        "two_cores": 4 / 3,  # half of a step is shared between cores
        "cold_cpu_s": 0.5,
        "layer_mb": 2.0,
    }


@pytest.fixture
def table() -> dict[str, Any]:
    """Four seconds of music a second from the smallest size, half of it from the next, and so on.

    Their quality is 1 + 400 / N**0.5 + 1000 / D**0.5 exactly.
    """
    rows = [row(size, n, 144 / 2**i) for i, (size, n) in enumerate(SIZES.items())]
    trained = [
        {
            "size": size,
            "parameters": n,
            "tokens": tokens,
            "cpu_minutes": tokens * n / 1e12,
            "nats": 1 + 400 / n**0.5 + 1000 / tokens**0.5,
        }
        for size, n in SIZES.items()
        for tokens in (1_000_000, 4_000_000, 30_000_000)
    ]
    return {
        "released": {"parameters": 2_000_000, "tokens": 100_000_000, "nats": 1.4},
        "speed": {"tokens_per_music_s": 36.0, "rows": rows},
        "trained": trained,
        "measured_on": {"machine": "nothing"},
    }


@pytest.fixture
def curve(table: dict[str, Any]) -> planner.Curve:
    return fitted(table["trained"])


def test_the_fit_finds_the_curve_that_made_the_points(curve: planner.Curve) -> None:
    nats, low, high = curve.nats(4_000_000, 100_000_000)  # neither is among the points
    assert nats == pytest.approx(1 + 400 / 2000 + 1000 / 10_000, rel=0.02)
    assert low <= nats <= high
    assert curve.residual < 0.01


def test_tokens_for_a_quality_are_those_that_reach_it(curve: planner.Curve) -> None:
    tokens = curve.tokens_for(2_000_000, 1.5)
    assert curve.nats(2_000_000, tokens)[0] == pytest.approx(1.5)
    assert curve.tokens_for(500_000, 1.5) == math.inf  # its size alone costs more


def test_the_cost_of_a_piece_is_what_a_person_computes(table: dict[str, Any]) -> None:
    small = table["speed"]["rows"][0]
    assert music_per_s(table, small) == 4
    cost = cost_of(table, small, 180, candidates=4)
    assert cost.composing_s == 90  # 180 s of music, two a second
    # composing and a cold start; then storing and publishing
    assert cost.gb_s == pytest.approx((90 + 0.5 + 4 + 8) * 1769 / 1024)
    assert cost.transitions == 9
    assert cost_of(table, small, 400, candidates=4).transitions == 12  # a second call
    half = cost_of(table, small, 180, memory_mb=1769 / 2)
    assert half.composing_s == 90  # one candidate, at half the speed
    assert cost.month_usd(30, "x86_64") == 0
    paid = cost.month_usd(30, "x86_64", free=False)
    assert paid == pytest.approx(30 * (cost.gb_s * 0.0000166667 + 9 * 0.000025))
    assert cost.free_pieces() == pytest.approx(4000 / 9)  # transitions end before GB-seconds


def test_more_processors_help_by_amdahls_law_and_less_memory_slows(table: dict[str, Any]) -> None:
    one = table["speed"]["rows"][0]
    assert speedup(one, 1769) == 1
    assert speedup(one, 1769 / 4) == 0.25
    # Half of composing is the model, and half of that is shared between cores.
    assert speedup(one, 2 * 1769) == pytest.approx(1 / (0.75 + 0.25 / 2))


def test_a_budget_buys_the_best_quality_and_a_quality_the_lowest_price(
    table: dict[str, Any], curve: planner.Curve
) -> None:
    best = plans(table, curve, Wish())[0]
    assert best.size == "8M"
    assert best.tokens == 4 * 48.7e6
    long = plans(table, curve, Wish(minutes_per_day=150))  # the largest: over 400,000 GB-seconds
    assert (long[0].size, long[0].candidates) == ("2M", 1)
    assert all(plan.usd == 0 for plan in long)
    cheap = plans(table, curve, Wish(nats=1.6))[0]
    assert (cheap.size, cheap.candidates) == ("2M", 1)  # the smallest never gets there
    assert cheap.nats[0] == pytest.approx(1.6)
    dear = Wish(
        minutes_per_day=600, nats=1.6
    )  # a quality may cost something, if no budget is named
    assert plans(table, curve, dear)[0].usd > 0
    assert plans(table, curve, replace(dear, budget_usd=0.0)) == []
    short = plans(table, curve, Wish(hours=0.01))[0]
    assert short.hours["laptop"] == pytest.approx(0.01)
    assert plans(table, curve, Wish(nats=1.0)) == []


def test_sizes_that_were_not_trained_are_offered_only_when_asked_for(
    table: dict[str, Any], curve: planner.Curve
) -> None:
    table["speed"]["rows"].append(row("50M", 50_000_000, 10))
    assert {plan.size for plan in plans(table, curve, Wish())} == set(SIZES)
    assert "50M" in {plan.size for plan in plans(table, curve, Wish(extrapolate=True))}
    table["speed"]["rows"][-1]["layer_mb"] = 200  # beside the function it does not fit in Lambda
    assert "50M" not in {plan.size for plan in plans(table, curve, Wish(extrapolate=True))}


def test_every_size_has_about_the_parameters_of_its_name() -> None:
    for size in list(ladder.SIZES)[:4]:
        model = MusicModel(ladder.config_of(size), ladder.ENTRIES)
        count = sum(parameter.numel() for parameter in model.parameters())
        assert count == pytest.approx(float(size[:-1]) * 1e6, rel=0.1)


def test_speeds_are_measured_for_each_size_and_kind(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ladder_speed, "SIZES", {"0.05M": ladder.SIZES["0.05M"]})
    monkeypatch.setattr(ladder_speed, "SONG_TOKENS", 600)
    monkeypatch.setattr(ladder_speed, "PIECE_S", 5.0)
    monkeypatch.setattr(ladder_speed, "MUSIC_S", 5.0)
    monkeypatch.setattr(ladder_speed, "MUSIC_PIECES", 2)
    found = ladder_speed.measure_speed(Bundle.load(tiny_bundle), 1)
    assert [(r["size"], r["kind"]) for r in found["rows"]] == [
        ("0.05M", "int8"),
        ("0.05M", "float32"),
    ]
    for measured in found["rows"]:
        assert measured["parameters"] == 47_072
        assert min(measured["tokens_per_s"].values()) > 0
        assert measured["cold_cpu_s"] > 0
        assert 20 < measured["memory_mb"] < 2000
    assert list(found["rows"][0]["cost_of_candidates"]) == ["1", "2", "4", "8"]
    json.dumps(found)


def test_the_page_shows_the_table_that_was_measured() -> None:
    table = tradeoffs.read_table(tradeoffs.TABLE)
    page = tradeoffs_page.PAGE.read_text(encoding="utf-8")
    shown = tradeoffs_page.tables(table, planner.curve_of(table))
    assert tradeoffs_page.filled(page, shown) == page, "python -m benchmarks.tradeoffs draw"


def test_the_table_is_of_the_released_model() -> None:
    table = tradeoffs.read_table(tradeoffs.TABLE)
    assert table["model_id"] == Bundle.load(ROOT / "layers" / "model").model_id
