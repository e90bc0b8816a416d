"""The pictures and tables of docs/tradeoffs.md, made of the measured table.

Depends on neither the measurements nor what is read from the command line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.planner import (
    CALL_S,
    CALLS,
    DAYS,
    EPOCHS,
    FREE_GB_S,
    GB_S,
    LONGEST_CALL_S,
    MACHINES,
    MEMORY_MB,
    VCPU_MB,
    Curve,
    Wish,
    cost_of,
    curve_of,
    music_per_s,
    speedup,
    training_hours,
)

PAGE = Path(__file__).resolve().parent.parent / "docs" / "tradeoffs.md"
PIECE_S = 180.0
Table = Mapping[str, Any]


def rows_of(table: Table, kind: str = "int8") -> list[dict[str, Any]]:
    return [row for row in table["speed"]["rows"] if row["kind"] == kind]


def draw(table: Table, pictures: Path) -> list[Path]:
    """Writes the pictures and the page's tables; returns the paths."""
    curve = curve_of(table)
    made = []
    for name, drawing in DRAWINGS.items():
        figure = Figure(figsize=(8, 4.8), layout="constrained")
        drawing(figure.subplots(), table, curve)
        made.append(pictures / f"{name}.png")
        figure.savefig(made[-1], dpi=110)
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), tables(table, curve)), "utf-8")
    return [*made, PAGE]


def filled(page: str, tables: Mapping[str, str]) -> str:
    """The page with each table in its place, which `<!-- NAME -->` and `<!-- end -->` enclose."""
    for name, text in tables.items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(?=<!-- end -->)", re.DOTALL)
        assert place.search(page), name
        page = place.sub(lambda found: f"{found[1]}{text}\n", page)  # noqa: B023 - called at once
    return page


def markdown(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def tables(table: Table, curve: Curve) -> dict[str, str]:
    """The page's tables by name."""
    int8, released = rows_of(table), released_row(table)
    speeds = [
        [
            f"{row['size']}, {row['kind']}",
            *(f"{row['tokens_per_s'][name]:,.0f}" for name in ("100", "300", "490", "composing")),
            f"{music_per_s(table, row):.3g}",
            *(row[name] for name in ("cold_cpu_s", "memory_mb", "layer_mb")),
        ]
        for row in table["speed"]["rows"]
    ]
    prices = []
    for row, n in [(row, n) for row in int8 for n in (1, 4)]:
        cost, per_s = cost_of(table, row, PIECE_S, n), music_per_s(table, row, n)
        prices.append(
            [
                row["size"],
                n,
                f"{cost.composing_s:.1f}",
                f"{cost.gb_s:.0f}",
                *(f"{1000 * cost.gb_s * usd:.2f}" for usd in GB_S.values()),
                f"{FREE_GB_S / cost.gb_s:,.0f}",
                f"{LONGEST_CALL_S * per_s / 60:,.0f}",
                f"{CALLS * CALL_S * per_s / 3600:,.0f}",
            ]
        )
    learned = [
        [
            row["size"],
            f"{row['cpu_minutes']:.0f}",
            f"{row['tokens'] / 1e6:.2f}",
            f"{row['nats']:.2f}",
            f"{curve.nats(row['parameters'], row['tokens'])[0]:.2f}",
            *judged_cells(row.get("judged")),
        ]
        for row in sorted(table["trained"], key=lambda row: (row["parameters"], row["asked"]))
    ]
    seen = EPOCHS * Wish.archive_tokens
    ahead = [
        [
            row["size"],
            "{:.2f} ({:.2f} to {:.2f})".format(*curve.nats(row["parameters"], seen)),
            *(f"{h:.2g}" for h in training_hours(table, row["parameters"], seen).values()),
        ]
        for row in int8
    ]
    candidates = [
        [n, released["cost_of_candidates"][n], *judged_cells(figures)]
        for n, figures in table["candidates"].items()
    ]
    memory = [
        [f"{mb:,}", f"{mb / VCPU_MB:.2f}"]
        + [f"{speedup(row, mb):.2f}, {mb / VCPU_MB / speedup(row, mb):.2f}" for row in int8]
        for mb in MEMORY_MB
    ]
    return {
        "speeds": markdown(SPEEDS, speeds),
        "prices": markdown(PRICES, prices),
        "learned": markdown([*LEARNED, *JUDGED], learned),
        "ahead": markdown(["size", "nats a note", *(f"{m}, hours" for m in MACHINES)], ahead),
        "candidates": markdown(["candidates", "time, times one", *JUDGED], candidates),
        "memory": markdown(["MB", "processors", *(row["size"] for row in int8)], memory),
    }


SPEEDS = ["size", "tokens a second at 100", "300", "490 cached", "composing"]
SPEEDS += ["seconds of music a second", "cold start, CPU s", "memory, MB", "layer, MB"]
PRICES = ["size", "candidates", "composed in, s", "GB-seconds", "$ for 1,000, x86_64", "arm64"]
PRICES += ["free pieces a month", "longest in 15 minutes, min", "in a chain, h"]
LEARNED = ["size", "CPU minutes", "million tokens", "nats a note", "the curve"]
JUDGED_FIGURES = ("auc", "oa_values", "frozen", "longest_return_s")
JUDGED = ["AUC", "OA of values", "stand still", "longest return, s"]


def judged_cells(figures: Mapping[str, Any] | None) -> list[str]:
    found = [(figures or {}).get(name) for name in JUDGED_FIGURES]
    return ["" if value is None else f"{value:.2f}" for value in found]


def released_row(table: Table) -> dict[str, Any]:
    """The speeds of the size that is released."""
    parameters = table["released"]["parameters"]
    return next(row for row in rows_of(table) if row["parameters"] == parameters)


def draw_quality(axes: Axes, table: Table, curve: Curve) -> None:
    """Nats a note against GB-seconds of three minutes: as trained here, and as expected."""
    rows = rows_of(table)
    gb_s = [cost_of(table, row, PIECE_S).gb_s for row in rows]
    by_size = dict(zip((row["size"] for row in rows), gb_s, strict=True))
    expected = np.array(
        [curve.nats(row["parameters"], EPOCHS * Wish.archive_tokens) for row in rows]
    )
    axes.errorbar(
        gb_s,
        expected[:, 0],
        yerr=np.abs(expected[:, 1:] - expected[:, :1]).T,
        marker="o",
        capsize=3,
        label=f"expected after {EPOCHS} readings of the archive",
    )
    for minutes in sorted({row["asked"] for row in table["trained"]}):
        chosen = [row for row in table["trained"] if row["asked"] == minutes]
        axes.plot(
            [by_size[row["size"]] for row in chosen],
            [row["nats"] for row in chosen],
            marker="s",
            linestyle="--",
            label=f"trained for {minutes:g} CPU minutes",
        )
    axes.plot(
        by_size[released_row(table)["size"]],
        table["released"]["nats"],
        marker="*",
        markersize=16,
        linestyle="none",
        color="black",
        label="released",
    )
    for row, x, y in zip(rows, gb_s, expected[:, 0], strict=True):
        axes.annotate(row["size"], (x, y), textcoords="offset points", xytext=(4, 6))
    axes.set_xlabel("GB-seconds of a piece of three minutes, one candidate, published")
    axes.set_ylabel("nats a note, validation pieces")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)


def draw_speed(axes: Axes, table: Table, _curve: Curve) -> None:
    """Seconds of music a second of one processor makes, by size, and what memory would allow."""
    for kind in ("int8", "float32"):
        rows = rows_of(table, kind)
        axes.plot(
            [row["parameters"] for row in rows],
            [music_per_s(table, row) for row in rows],
            marker="o",
            label=f"{kind}, one candidate",
        )
        bytes_read = np.array([row["model_mb"] for row in rows]) * 1e6
        bound = table["speed"]["memory_gb_per_s"] * 1e9 / bytes_read
        axes.plot(
            [row["parameters"] for row in rows],
            bound / table["speed"]["tokens_per_music_s"],
            linestyle=":",
            label=f"{kind}: every weight read once a token from main memory",
        )
    axes.axvline(table["released"]["parameters"], color="black", lw=0.8, label="released")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("parameters")
    axes.set_ylabel("seconds of music a second")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)


def draw_months(axes: Axes, table: Table, _curve: Curve) -> None:
    """What pieces of three minutes cost a month, after what is always free."""
    pieces = np.geomspace(1, 1000, 200)
    for row in rows_of(table):
        cost = cost_of(table, row, PIECE_S, candidates=4)
        usd = [cost.month_usd(DAYS * each, "x86_64") for each in pieces]
        axes.plot(pieces, usd, label=row["size"])
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=0.1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("pieces of three minutes a day, four candidates each")
    axes.set_ylabel("US dollars a month")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8, title="parameters")


DRAWINGS = {
    "quality-against-cost": draw_quality,
    "music-per-second": draw_speed,
    "cost-per-month": draw_months,
}
