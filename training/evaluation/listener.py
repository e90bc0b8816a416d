"""What a listener notices in generated pieces and in real ones: means with their uncertainty.

Measured are standing still, endings, what returns, parallel voices and lengths. Depends on neither
files nor models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from contract.request import LONGEST
from music.features import Music
from music.harmony import ENDING, HARMONY, ending_of, harmony_features
from music.repetition import (
    LAGS,
    REPETITION,
    SHOWN_LAGS,
    curve_difference,
    lag_curve,
    repetition_features,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FloatArray = NDArray[np.float64]

SAME_TOP = 12  # the highest note this many times in a row is heard as stuck
RESAMPLES = 2000  # of the bootstrap
HALVINGS = 200  # of the real pieces, for the band around their lag curve
FEWEST_TO_HALVE = 8

# name of a value -> its label; in the order of the table
LABELS: Mapping[str, str] = {
    "frozen": "stands still for 10 s (share of pieces)",
    "longest_chord_s": "longest chord, s",
    "longest_bass_s": "longest bass note, s",
    "fewest_pitch_classes": "fewest pitch classes within 10 s",
    "same_top": f"same top note {SAME_TOP} times or more (share)",
    "distinct_rhythms": "different rhythms per bar",
    "longest_return_s": "longest exact return, s",
    "cover_8s": "covered by returns of 8 s",
    "cover_15s": "covered by returns of 15 s",
    "parallel_fifths": "parallel fifths in 100 four-part changes",
    "parallel_octaves": "parallel octaves in 100",
    "on_tonic": "ends on the tonic in the bass (share)",
    "tonic_triad": "ends on the tonic triad (share)",
    "on_downbeat": "last chord on a downbeat (share)",
    "dissonant": "last chord dissonant (share)",
    "last_chord_s": "last chord, s",
    "last_chord_ratio": "last chord over the median note",
    "too_long": f"longer than {LONGEST:g} times what was asked (share)",
}


@dataclass(frozen=True)
class Heard:
    """What a listener notices in one piece.

    values: by the names of `LABELS`, except too_long. curve: [16], its `lag_curve`. seconds: the
    length of the whole piece.
    """

    values: Mapping[str, float]
    curve: FloatArray
    seconds: float


@dataclass(frozen=True)
class Mean:
    """The mean over ``pieces`` pieces and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float
    pieces: int


def heard(excerpt: Music, whole: Music, seconds: float, last_chord_s: float) -> Heard:
    """What is heard in an excerpt, and in the ending of the whole piece of ``seconds``.

    ``last_chord_s`` comes from the file's own tempos, since ``whole`` has a single tempo.
    """
    harmony, repetition, ending = (
        harmony_features(excerpt),
        repetition_features(excerpt),
        ending_of(whole),
    )
    values = {
        **{name: harmony[name] for name in HARMONY},
        **{name: repetition[name] for name in REPETITION},
        **{name: float(getattr(ending, name)) for name in ENDING},
    }
    values["last_chord_s"] = last_chord_s
    values["same_top"] = float(values.pop("longest_same_top") >= SAME_TOP)
    return Heard(values, lag_curve(excerpt), seconds)


def bootstrap(values: FloatArray) -> Mean | None:
    """The mean of the values that are not nan; None where there are none (Efron 1979)."""
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    drawn = np.random.default_rng(0).integers(0, len(known), (RESAMPLES, len(known)))
    low, high = np.quantile(known[drawn].mean(1), (0.025, 0.975))
    return Mean(float(known.mean()), float(low), float(high), len(known))


def mean_curve(pieces: Sequence[Heard]) -> FloatArray:
    """[16]: the mean of the pieces' lag curves; nan at lags that no piece reaches."""
    curves = np.stack([piece.curve for piece in pieces])
    known = ~np.isnan(curves)
    sums, counts = np.where(known, curves, 0).sum(0), known.sum(0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


class Listening:
    """Two sets of pieces as a listener hears them: means, lag curves, table and picture.

    Args:
        asked_s: the length that the generated pieces were asked for.
    """

    def __init__(self, real: Sequence[Heard], generated: Sequence[Heard], asked_s: float) -> None:
        self.means: dict[str, dict[str, Mean | None]] = {
            name: {
                "real": bootstrap(_column(real, name)),
                "generated": bootstrap(_column(generated, name)),
            }
            for name in LABELS
            if name != "too_long"
        }
        long = np.array([float(piece.seconds > LONGEST * asked_s) for piece in generated])
        self.means["too_long"] = {"real": None, "generated": bootstrap(long)}
        self.curves = {
            who: mean_curve(pieces)
            for who, pieces in (("real", real), ("generated", generated))
            if pieces
        }
        self.halves = _halves(real)  # [halvings, 2, 16]

    def curve_error(self) -> float | None:
        """How far the generated pieces' lag curve is from the real one, averaged over lags."""
        if len(self.curves) < 2:
            return None
        return _number(curve_difference(self.curves["real"], self.curves["generated"]))

    def curve_error_of_halves(self) -> float | None:
        """The same between random halves of the real pieces, averaged over halvings."""
        if not len(self.halves):
            return None
        return _number(np.mean([curve_difference(one, other) for one, other in self.halves]))

    def to_json(self) -> dict[str, Any]:
        return {
            "means": {
                name: {who: _mean_json(mean) for who, mean in sides.items()}
                for name, sides in self.means.items()
            },
            "lag_curve": {
                **{who: [_number(v) for v in curve] for who, curve in self.curves.items()},
                "error": self.curve_error(),
                "error_of_real_halves": self.curve_error_of_halves(),
            },
        }

    def lines(self) -> list[str]:
        """A table of at most 100 columns: means, each with its 95 % interval."""
        lines = [f"{'what a listener notices':<45}{'real':>25}{'generated':>27}"]
        for name, sides in self.means.items():
            cells = "  ".join(_cell(sides[who]) for who in ("real", "generated"))
            lines.append(f"{LABELS[name]:<45}{cells}".rstrip())
        for who, curve in self.curves.items():
            shown = "  ".join(f"{lag}: {curve[lag - 1]:.3f}" for lag in SHOWN_LAGS)
            lines.append(f"{f'likeness of bars by lag, {who}':<40}{shown}")
        error, halves = self.curve_error(), self.curve_error_of_halves()
        if error is not None:
            beside = f" (real halves {halves:.3f})" if halves is not None else ""
            lines.append(f"{'  their mean difference':<40}{error:.3f}{beside}")
        return lines

    def draw_lag_curve(self, axes: Axes) -> None:
        """Draws the lag curves, and a band in which 95 % of the halves of the real pieces lie."""
        lags = np.arange(1, LAGS + 1)
        if len(self.halves):
            low, high = np.quantile(self.halves.reshape(-1, LAGS), (0.025, 0.975), axis=0)
            axes.fill_between(
                lags, low, high, color="tab:blue", alpha=0.2, lw=0, label="halves of the real"
            )
        for who, colour in (("real", "tab:blue"), ("generated", "tab:orange")):
            if who in self.curves:
                axes.plot(lags, self.curves[who], marker="o", color=colour, label=who)
        axes.set_xticks(lags)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("bars apart")
        axes.set_ylabel("likeness (shared notes over all)")
        axes.grid(alpha=0.3)
        axes.legend()
        error = self.curve_error()
        shown = "" if error is None else f" (mean difference {error:.3f})"
        axes.set_title(f"How alike are bars that lie 1 to 16 bars apart?{shown}", loc="left")

    def plot(self, path: Path) -> None:
        """Writes `draw_lag_curve` as a PNG."""
        from matplotlib.figure import Figure  # not above: every worker process would load it

        figure = Figure(figsize=(8, 4), layout="constrained")
        self.draw_lag_curve(figure.subplots())
        figure.savefig(path, dpi=100)


def _column(pieces: Sequence[Heard], name: str) -> FloatArray:
    return np.array([piece.values[name] for piece in pieces])


def _halves(real: Sequence[Heard]) -> FloatArray:
    """[halvings, 2, 16]: the mean lag curves of both halves of the real pieces."""
    if len(real) < FEWEST_TO_HALVE:
        return np.zeros((0, 2, LAGS))
    rng = np.random.default_rng(0)
    halves = []
    for _ in range(HALVINGS):
        parts = np.array_split(rng.permutation(len(real)), 2)
        halves.append([mean_curve([real[i] for i in part]) for part in parts])
    return np.array(halves)


def _cell(mean: Mean | None) -> str:
    if mean is None:
        return " " * 25
    return f"{mean.mean:9.3f} ({mean.low:.3f}-{mean.high:.3f})".ljust(25)


def _mean_json(mean: Mean | None) -> dict[str, float | int] | None:
    if mean is None:
        return None
    rounded = {name: round(getattr(mean, name), 4) for name in ("mean", "low", "high")}
    return {**rounded, "pieces": mean.pieces}


def _number(value: float | np.floating[Any]) -> float | None:
    """Four digits; None for nan, which JSON cannot hold."""
    return None if np.isnan(value) else round(float(value), 4)
