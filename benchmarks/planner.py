"""How good a model of some size becomes with training, what its pieces cost, and which one to take.

Everything is computed from the table that tradeoffs.py measured, and from the assumptions below,
which `plan` prints. Depends on neither a model nor a data set.

Quality is nats a note on validation pieces, of the model alone; less is better. It follows
L(N, D) = E + A / N**a + B / D**b for N parameters and D tokens seen (arXiv:2203.15556), which is
fitted to all trained models of the table.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares  # type: ignore[import-untyped]

Floats = NDArray[np.float64]
Table = Mapping[str, Any]

# List prices of us-east-1 in US dollars, as in docs/deploy.md, and what is always free each month.
GB_S = {"x86_64": 0.0000166667, "arm64": 0.0000133334}
FREE_GB_S = 400_000
TRANSITION, FREE_TRANSITIONS = 0.025 / 1000, 4000
TRANSITIONS = 9  # of a piece; a call more has three more
OTHER_USD = 0.0044 / 30  # S3's requests for a piece; storage and all else do not depend on the plan
PUBLISHING_S = (4.0, 4.0 / 90)  # midi_save: each piece, and each second of its sound
VCPU_MB = 1769  # gives one whole processor; other memory gives its share of that
MEMORY_MB = (512, 1769, 3008, 5307, 10240)
CALL_S, LONGEST_CALL_S, CALLS = 120.0, 900.0, 200  # as deployed; Lambda's limit; the chain's limit
LAYERS_MB, FUNCTION_MB = 262.0, 87.0  # Lambda's limit of all layers; what is there beside the model
DAYS = 30

# Assumptions about training.
EPOCHS = 4  # an archive can be read about so often as if it were new (arXiv:2305.16264)
RUNS = 200  # of the bootstrap
POINT = ("parameters", "tokens", "nats")  # the columns that the curve is fitted to
# Decayed stretches of the long run before the released one, in these columns (LOG.md).
EARLIER = (
    (2_190_000, 66_500_000, 1.870),
    (2_190_000, 80_000_000, 1.829),
    (1_911_360, 107_102_208, 1.7919),
)
LAPTOP_CORES = 8
PARALLEL = 0.85  # of the cores' sum, with a process for each (torch.distributed.run)
# Operations a second in training, and tokens a second that even the smallest model does not pass.
GPUS = {
    "colab": (1.6e12, 2e5),  # a T4: a fifth of its 8.1e12 in float32
    "gpu": (3e13, 1e6),  # an A100: a tenth of its 3.1e14 in bfloat16
}
MACHINES = ("laptop", *GPUS)


@dataclass(frozen=True)
class Curve:
    """The fitted curve: parameters [fits, 5] of E, log A, a, log B, b; the first is of all points.

    The other fits are of points drawn anew with replacement, for the uncertainty.
    """

    fits: Floats
    residual: float  # root mean square, in nats

    def nats(self, parameters: float, tokens: float) -> tuple[float, float, float]:
        """The expected nats a note, and the middle 80 % of the fits."""
        values = predicted(self.fits, np.array([parameters]), np.array([tokens]))[:, 0]
        low, high = np.quantile(values, (0.1, 0.9))
        return float(values[0]), float(low), float(high)

    def tokens_for(self, parameters: float, nats: float) -> float:
        """Tokens after which so many parameters reach ``nats``; inf if they never do."""
        e, log_a, a, log_b, b = self.fits[0]
        left = nats - e - math.exp(log_a - a * math.log(parameters))
        return math.exp((log_b - math.log(left)) / b) if left > 0 else math.inf


def predicted(fits: Floats, parameters: Floats, tokens: Floats) -> Floats:
    """[fits, points] nats."""
    e, log_a, a, log_b, b = (column[:, None] for column in fits.T)
    size, seen = np.exp(log_a - a * np.log(parameters)), np.exp(log_b - b * np.log(tokens))
    result: Floats = e + size + seen
    return result


def fitted(points: Sequence[Mapping[str, Any]], seed: int = 0) -> Curve:
    """The curve through the points' ``parameters``, ``tokens`` and ``nats``."""
    columns = [np.array([point[name] for point in points], np.float64) for name in POINT]

    def fit(chosen: NDArray[np.int64], start: Floats) -> Floats:
        n, d, nats = (column[chosen] for column in columns)
        found = least_squares(
            lambda x: np.log(predicted(x[None], n, d)[0] / nats),
            start,
            bounds=([0.3, -5, 0.05, -5, 0.05], [1.7, 15, 1.5, 25, 1.5]),
            loss="soft_l1",
            f_scale=0.02,
        )
        return np.asarray(found.x)

    everything = np.arange(len(points))
    best = fit(everything, np.array([1.0, 4.0, 0.4, 6.0, 0.4]))
    rng = np.random.default_rng(seed)
    drawn = [fit(rng.choice(everything, len(points)), best) for _ in range(RUNS)]
    off = predicted(best[None], columns[0], columns[1])[0] - columns[2]
    return Curve(np.array([best, *drawn]), float(np.sqrt((off**2).mean())))


def curve_of(table: Table) -> Curve:
    """The curve through the table's trained models and all releases of the long run."""
    earlier = [dict(zip(POINT, point, strict=True)) for point in EARLIER]
    return fitted([*table["trained"], *earlier, table["released"]])


def speedup(row: Mapping[str, Any], memory_mb: float) -> float:
    """How much faster a token comes with this memory than with one whole processor.

    Below one processor it is Lambda's share. Above, by Amdahl's law from one and two cores as they
    were measured, if the decoder had a thread for each processor: the deployed one has one.
    """
    cores = memory_mb / VCPU_MB
    if cores <= 1:
        return cores
    parallel = min(1.0, max(0.0, 2 * (1 - 1 / row["two_cores"])))  # share of a step
    rates = row["tokens_per_s"]
    step = rates["composing"] / rates["sliding"]  # the model's share of a token's time
    return float(1 / (1 - step + step * (1 - parallel + parallel / cores)))


def music_per_s(table: Table, row: Mapping[str, Any], candidates: int = 1) -> float:
    """Seconds of music that one second of one processor composes."""
    rate = row["tokens_per_s"]["composing"] / row["cost_of_candidates"][str(candidates)]
    return float(rate / table["speed"]["tokens_per_music_s"])


@dataclass(frozen=True)
class Cost:
    """Of one piece: GB-seconds of both functions, seconds of composing, its transitions."""

    gb_s: float
    composing_s: float
    transitions: int

    def month_usd(self, pieces: float, architecture: str, *, free: bool = True) -> float:
        """Lambda and Step Functions for so many pieces; what is always free is taken off."""
        gb_s = max(0.0, pieces * self.gb_s - FREE_GB_S * free)
        transitions = max(0.0, pieces * self.transitions - FREE_TRANSITIONS * free)
        return gb_s * GB_S[architecture] + transitions * TRANSITION

    def free_pieces(self) -> float:
        """Pieces a month for which nothing is to be paid."""
        return min(FREE_GB_S / self.gb_s, FREE_TRANSITIONS / self.transitions)


def cost_of(
    table: Table,
    row: Mapping[str, Any],
    music_s: float,
    candidates: int = 1,
    memory_mb: float = VCPU_MB,
) -> Cost:
    """What a piece of ``music_s`` seconds costs, with one cold start of each function."""
    faster = speedup(row, memory_mb)
    composing_s = music_s / music_per_s(table, row, candidates) / faster
    cold_s = row["cold_cpu_s"] / min(1.0, faster)
    publishing_s = PUBLISHING_S[0] + PUBLISHING_S[1] * music_s
    gb_s = (composing_s + cold_s) * memory_mb / 1024 + publishing_s * VCPU_MB / 1024
    calls = math.ceil((composing_s + cold_s) / CALL_S)
    return Cost(gb_s, composing_s, TRANSITIONS + 3 * (calls - 1))


def training_hours(table: Table, parameters: int, tokens: float) -> dict[str, float]:
    """Hours that each of `MACHINES` takes to train on so many tokens."""
    rows = sorted(table["trained"], key=lambda row: row["parameters"])
    rates = [row["tokens"] / row["cpu_minutes"] / 60 for row in rows]
    # between and beyond the trained sizes: the logarithms are interpolated
    slope = np.polyfit(np.log([row["parameters"] for row in rows]), np.log(rates), 1)
    measured = math.exp(float(np.polyval(slope, math.log(parameters))))
    rate = {"laptop": measured * LAPTOP_CORES * PARALLEL}
    for name, (flops, most) in GPUS.items():
        rate[name] = min(most, flops / (6 * parameters))  # of a forward and backward pass a token
    return {name: tokens / per_s / 3600 for name, per_s in rate.items()}


@dataclass(frozen=True)
class Plan:
    """A size with its number of candidates, trained on ``tokens``: what it gives and costs."""

    size: str
    parameters: int
    candidates: int
    tokens: float
    nats: tuple[float, float, float]
    cost: Cost
    usd: float
    hours: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "memory_mb": VCPU_MB}


@dataclass(frozen=True)
class Wish:
    """What is asked of `plans`. ``train_on`` and ``hours``: the training that there is time for.

    Without ``budget_usd`` a quality may cost what it costs, and nothing else may cost anything.
    """

    minutes_per_day: float = 3.0
    pieces_per_day: float = 1.0
    budget_usd: float | None = None
    nats: float | None = None
    train_on: str = "laptop"
    hours: float = math.inf
    archive_tokens: float = 48.7e6
    architecture: str = "x86_64"
    extrapolate: bool = False

    @property
    def most_usd(self) -> float:
        if self.budget_usd is None:
            return 0.0 if self.nats is None else math.inf
        return self.budget_usd


def plans(table: Table, curve: Curve, wish: Wish) -> list[Plan]:
    """All plans that keep to the wish, the best first.

    A budget alone asks for the best quality, and then for the most candidates. ``nats`` asks for
    the lowest price at that quality, then the fewest GB-seconds, then the shortest training.
    """
    trained = {row["size"] for row in table["trained"]}
    music_s = 60 * wish.minutes_per_day / wish.pieces_per_day
    found = []
    for row in table["speed"]["rows"]:
        size, n = row["size"], row["parameters"]
        if row["kind"] != "int8" or not (wish.extrapolate or size in trained):
            continue
        if row["layer_mb"] + FUNCTION_MB > LAYERS_MB:
            continue
        tokens = EPOCHS * wish.archive_tokens
        tokens *= min(1.0, wish.hours / training_hours(table, n, tokens)[wish.train_on])
        if wish.nats is not None:
            needed = curve.tokens_for(n, wish.nats)
            if needed > tokens:
                continue
            tokens = needed
        for candidates in map(int, row["cost_of_candidates"]):
            cost = cost_of(table, row, music_s, candidates)
            usd = cost.month_usd(wish.pieces_per_day * DAYS, wish.architecture)
            if cost.composing_s > CALLS * CALL_S or usd > wish.most_usd:
                continue
            hours = training_hours(table, n, tokens)
            nats = curve.nats(n, tokens)
            found.append(Plan(size, n, candidates, tokens, nats, cost, usd, hours))
    if wish.nats is None:
        return sorted(found, key=lambda plan: (round(plan.nats[0], 3), -plan.candidates))
    return sorted(found, key=lambda p: (p.usd, p.cost.gb_s, p.hours[wish.train_on]))


def told(table: Table, curve: Curve, wish: Wish, found: Sequence[Plan]) -> list[str]:
    """The lines that answer a wish: the best plan, what else there is, and all assumptions."""
    length_s = 60 * wish.minutes_per_day / wish.pieces_per_day
    month = wish.pieces_per_day * DAYS
    asked = f"{month:g} pieces of {length_s:.0f} s a month"
    if wish.nats is not None:
        asked += f", at {wish.nats:g} nats a note or fewer"
    if wish.most_usd < math.inf:
        asked += f", for at most ${wish.most_usd:.2f}"
    lines = [asked, ""]
    if not found:
        lines += [
            "no size does that: ask for more nats a note, allow more dollars or hours of training,",
            "or --extrapolate to sizes that were not trained here",
        ]
    for best in found[:1]:
        cost, (nats, low, high) = best.cost, best.nats
        seen = f"{best.tokens / 1e6:.0f} million tokens"
        hours = ", ".join(f"{name} {value:.2g} h" for name, value in best.hours.items())
        quality = f"{nats:.2f} nats a note ({low:.2f} to {high:.2f})"
        lines += [
            f"take      {best.size} parameters, {best.candidates} candidates, {VCPU_MB} MB",
            f"quality   {quality}; the released model has {table['released']['nats']:.2f}",
            f"a piece   composed in {cost.composing_s:.1f} s; {cost.gb_s:.1f} GB-seconds in all",
            f"a month   ${best.usd:.2f}; up to {cost.free_pieces():.0f} pieces are free",
            f"training  {seen}: {hours}",
            "",
            f" size candidates nats  GB-s a piece  $ a month  hours on {wish.train_on}",
        ]
    for p in found:
        hours = f"{p.hours[wish.train_on]:.2g}"
        columns = f"{p.nats[0]:4.2f} {p.cost.gb_s:13.1f} {p.usd:10.2f}"
        lines.append(f"{p.size:>5} {p.candidates:>10} {columns} {hours:>10}")
    return [*lines, "", "assumed", *assumptions(table, curve, wish)]


def assumptions(table: Table, curve: Curve, wish: Wish) -> list[str]:
    """Each as a wrapped item of a list."""
    e, log_a, a, log_b, b = curve.fits[0]
    law = f"{e:.2f} + {math.exp(log_a):.3g} / N**{a:.2f} + {math.exp(log_b):.3g} / D**{b:.2f}"
    speed, machine = table["speed"], table["measured_on"]["machine"]
    sentences = [
        (
            f"N parameters that have seen D tokens reach {law} nats a note: a fit to "
            f"{len(table['trained'])} models that were trained for minutes and to releases of the "
            f"long run, off by {curve.residual:.2f} on these; in brackets are the middle 80 % of "
            "fits to points drawn anew"
        ),
        (
            f"an archive of {wish.archive_tokens / 1e6:.1f} million tokens is read {EPOCHS} times, "
            "or as often as the hours allow"
        ),
        (
            f"a laptop has {LAPTOP_CORES} cores like the measured one, used to {PARALLEL:.0%}; in "
            f"training a T4 of Colab makes {GPUS['colab'][0]:.1e} and an A100 {GPUS['gpu'][0]:.1e} "
            "operations a second, which was not measured"
        ),
        (
            f"a second of music has {speed['tokens_per_music_s']} tokens; a Lambda processor is as "
            f"fast as a core of {machine}"
        ),
        (
            f"${GB_S[wish.architecture]} a GB-second ({wish.architecture}) and "
            f"${TRANSITION * 1000} for a thousand transitions; {FREE_GB_S:,} GB-seconds and "
            f"{FREE_TRANSITIONS:,} transitions a month are free, all of them for this"
        ),
        (
            f"not counted: S3 (${1000 * OTHER_USD:.2f} for 1,000 pieces, 2 cents a month for each "
            "GB), alarms, CloudFront"
        ),
        (
            f"{VCPU_MB} MB is one processor: the decoder has one thread, so that more memory costs "
            "more and brings nothing; less is slower at the same price"
        ),
    ]
    return ["- " + textwrap.fill(sentence, 98).replace("\n", "\n  ") for sentence in sentences]
