"""The results of an evaluation as a table, as JSON and as plots.

Depends on neither MIDI files nor models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from music.features import SCALARS
from training.evaluation.listener import Listening
from training.evaluation.two_sample import TwoSample

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FloatArray = NDArray[np.float64]

FLAGGED_RUN = 20  # notes; nine of ten held-out pieces share no run as long as this
HEADLINES = ("duplicates", "consonance", "scale_consistency", "groove", "bar_repetition")


@dataclass
class Nats:
    """Summed negative log-likelihoods (nats) of the first minute of some pieces.

    ``total`` is of the model mixed with the memory, ``alone`` of the model. ``forbidden`` counts
    the tokens of the pieces that the grammar rules out.
    """

    total: float = 0.0
    alone: float = 0.0
    tokens: int = 0
    notes: int = 0
    forbidden: int = 0

    def __iadd__(self, other: Nats) -> Self:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)
        return self

    @property
    def per_note(self) -> float:
        return self.total / max(self.notes, 1)


@dataclass
class Pieces:
    """A set of pieces: features [pieces, size] by name, and longest shared runs in notes."""

    features: dict[str, FloatArray]
    runs: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.features[SCALARS[0]])

    def mean(self, name: str) -> float | None:
        """The mean of a scalar feature over the pieces that have it."""
        values = self.values(name)
        return _rounded(values.mean()) if len(values) else None

    def values(self, name: str) -> FloatArray:
        """A scalar feature of the pieces that have it."""
        column = self.features[name][:, 0]
        return column[~np.isnan(column)]

    def quantiles(self, name: str) -> list[float] | None:
        """The tenth, fiftieth and ninetieth percentile of a scalar feature."""
        values = self.values(name)
        if not len(values):
            return None
        return [round(float(q), 4) for q in np.quantile(values, (0.1, 0.5, 0.9))]

    def shared_runs(self) -> dict[str, float | int] | None:
        """Median, ninetieth percentile, maximum, and how many are longer than `FLAGGED_RUN`."""
        if not self.runs:
            return None
        return {
            "median": float(np.median(self.runs)),
            "p90": round(float(np.quantile(self.runs, 0.9)), 1),
            "max": max(self.runs),
            "flagged": sum(run > FLAGGED_RUN for run in self.runs),
        }


@dataclass
class Areas:
    """Overlapped areas by feature: MGEval's, of ``distances``, and those of the plain ``values``.

    Only scalar features have plain values.
    """

    distances: dict[str, float]
    values: dict[str, float]

    def mean(self) -> float | None:
        """The mean over all features that have an area."""
        return _mean(self.distances.values())

    def mean_of_values(self) -> float | None:
        return _mean(self.values.values())


@dataclass
class Report:
    """One evaluation.

    ``settings`` says what was evaluated: model_id, seconds, seed, sampling. ``nats`` are by "all",
    "style NAME" and "source NAME"; they are empty without a bundle. ``halves`` compares random
    halves of the real pieces with each other, which shows how high OA can get. ``runs_against``
    says in which pieces shared runs were looked for. ``skipped`` lists (file, why), also for
    samples. ``listener`` is what a listener notices, ``two_sample`` whether a classifier can tell
    generated pieces from real ones.
    """

    settings: dict[str, Any]
    nats: dict[str, Nats]
    real: Pieces
    generated: Pieces | None
    areas: Areas | None
    halves: list[Areas]
    runs_against: str
    skipped: list[tuple[str, str]]
    listener: Listening
    two_sample: TwoSample

    def to_json(self) -> dict[str, Any]:
        """Everything, rounded; the headlines are means over the pieces."""
        whole = self.nats.get("all")
        made = self.generated
        runs = made.shared_runs() if made else None
        real_runs = self.real.shared_runs()
        return {
            "nats_per_note": _rounded(whole.per_note) if whole else None,
            "nats_per_note_alone": _rounded(whole.alone / max(whole.notes, 1)) if whole else None,
            "oa": self.areas.mean() if self.areas else None,
            "oa_values": self.areas.mean_of_values() if self.areas else None,
            **{name: made.mean(name) if made else None for name in HEADLINES},
            "longest_shared_run": runs["max"] if runs else None,
            "real": {
                "oa": _mean(half.mean() for half in self.halves),
                "oa_values": _mean(half.mean_of_values() for half in self.halves),
                **{name: self.real.mean(name) for name in HEADLINES},
                "longest_shared_run": real_runs["max"] if real_runs else None,
            },
            "shared_runs": {
                "against": self.runs_against,
                "flagged_above": FLAGGED_RUN,
                "generated": runs,
                "real": real_runs,
            },
            "nats": {
                name: {
                    "per_note": _rounded(nats.per_note),
                    "notes": nats.notes,
                    "tokens": nats.tokens,
                    "forbidden": nats.forbidden,
                }
                for name, nats in self.nats.items()
            },
            "oa_features": {
                name: _rounded(area)
                for name, area in (self.areas.distances if self.areas else {}).items()
            },
            "features": {
                name: {
                    "real": self.real.quantiles(name),
                    "generated": made.quantiles(name) if made else None,
                }
                for name in SCALARS
            },
            "listener": self.listener.to_json(),
            "two_sample": self.two_sample.to_json(),
            "pieces": {"real": len(self.real), "generated": len(made) if made else 0},
            "skipped": [{"file": name, "why": why} for name, why in self.skipped],
            **self.settings,
        }

    def table(self) -> str:
        """The report as text of at most 100 columns."""
        facts = self.to_json()
        lines = [f"left out: {name}: {why}" for name, why in self.skipped]
        lines.append(
            f"{facts['pieces']['real']} real pieces, {facts['pieces']['generated']} generated; "
            f"the first {self.settings['seconds']:g} s of each"
        )
        if self.nats:
            whole = self.nats["all"]
            lines.append(
                f"nats per note           {whole.per_note:.3f}   the model alone "
                f"{facts['nats_per_note_alone']:.3f}; {whole.notes:,} notes of the first minutes"
            )
            lines += [
                f"  {name:<22}{nats.per_note:.3f}   {nats.notes:,} notes"
                for name, nats in self.nats.items()
                if name != "all"
            ]
        lines += self._area_lines(facts)
        for who in ("generated", "real"):
            runs = facts["shared_runs"][who]
            if runs:
                lines.append(
                    f"longest shared run      {who}: median {runs['median']:g}, "
                    f"p90 {runs['p90']:g}, longest {runs['max']} notes, "
                    f"{runs['flagged']} above {FLAGGED_RUN}"
                )
        if self.real.runs:
            lines.append(f"  with {self.runs_against}")
        if self.generated is not None:
            lines.append(self.two_sample.line())
        lines += ["", *self.listener.lines()]
        head = f"{'p10':>8} {'median':>8} {'p90':>8}"
        lines += [
            "",
            f"{'':<20}{'real':>26}   {'generated':>26}",
            f"{'':<20}{head}   {head}     OA",
        ]
        for name in SCALARS:
            columns = [
                " ".join(f"{q:8.3f}" for q in quantiles) if quantiles else " " * 26
                for quantiles in (facts["features"][name][who] for who in ("real", "generated"))
            ]
            area = facts["oa_features"].get(name)
            shown = "" if area is None else f"{area:7.2f}"
            lines.append(f"{name:<20}{columns[0]}   {columns[1]}{shown}".rstrip())
        for name, area in facts["oa_features"].items():
            if name not in SCALARS and area is not None:
                lines.append(f"{name:<75}{area:7.2f}")
        return "\n".join(lines)

    @staticmethod
    def _area_lines(facts: Mapping[str, Any]) -> list[str]:
        names = {"oa": "overlapped area (OA)", "oa_values": "OA of plain values"}
        return [
            f"{label:<24}{facts[key]:.3f}"
            + (
                f"   halves of the real pieces {facts['real'][key]:.3f}"
                if facts["real"][key] is not None
                else ""
            )
            for key, label in names.items()
            if facts[key] is not None
        ]

    def plot(self, path: Path | None = None) -> Figure:
        """A panel per scalar feature: how real and generated pieces are distributed."""
        from matplotlib.figure import Figure  # not above: every worker process would load it

        columns, rows = 5, -(-(len(SCALARS) + 1) // 5)
        figure = Figure(figsize=(3.1 * columns, 2.3 * rows), layout="constrained")
        panels = figure.subplots(rows, columns).flatten()
        sets = [("real", self.real, "tab:blue")]
        if self.generated is not None:
            sets.append(("generated", self.generated, "tab:orange"))
        for name, axes in zip(SCALARS, panels, strict=False):
            values = [pieces.values(name) for _, pieces, _ in sets]
            edges = _edges(values)
            for (label, _, colour), column in zip(sets, values, strict=True):
                if len(column):
                    weights = np.full(len(column), 1 / len(column))
                    style = {"bins": edges, "weights": weights, "color": colour}
                    axes.hist(column, histtype="stepfilled", alpha=0.3, label=label, **style)
                    axes.hist(column, histtype="step", **style)
            area = self.areas.distances[name] if self.areas else np.nan
            shown = "" if np.isnan(area) else f"   OA {area:.2f}"
            axes.set_title(f"{name.replace('_', ' ')}{shown}", fontsize="medium")
            axes.set_yticks([])
            axes.margins(x=0.02)
        for axes in panels[len(SCALARS) :]:
            axes.axis("off")
        panels[len(SCALARS)].legend(*panels[0].get_legend_handles_labels(), loc="center left")
        figure.supylabel("share of the pieces")
        if path is not None:
            figure.savefig(path, dpi=100)
        return figure


def _edges(values: Sequence[FloatArray]) -> FloatArray:
    """The edges of sixteen bins over both sets; a constant gets one narrow bin around it."""
    every = np.concatenate(values)
    if not len(every) or every.min() == every.max():
        centre = every[0] if len(every) else 0.0
        return np.array([centre - 0.01, centre + 0.01])
    return np.linspace(every.min(), every.max(), 17)


def _rounded(value: float) -> float | None:
    """Four digits; None for nan, which JSON cannot hold."""
    return None if np.isnan(value) else round(float(value), 4)


def _mean(values: Any) -> float | None:
    """The mean of the values that are neither None nor nan; None if there are none."""
    known = [value for value in values if value is not None and not np.isnan(value)]
    return _rounded(float(np.mean(known))) if known else None


def last_line(report: Report) -> str:
    """The report's JSON on one line, for programs."""
    return json.dumps(report.to_json())
