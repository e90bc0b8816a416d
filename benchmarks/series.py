"""Composes a series of days as the daily schedule does: do the days freeze, vary, and link up?

    python -m benchmarks.series --days 365

Each day begins as the first Lambda begins it, from the tokens of the day before. The program prints
the share of frozen days in each quarter of the series, and the styles, metres and tempi beside the
archive's. It also measures the link: the share of days whose opening holds the motif of the day
before (the intervals of its first five notes), and the same share of all other pairs of days, which
is called shuffled. The last line is JSON.
"""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from tqdm import tqdm

from contract.bundle import Bundle
from contract.job import read_job
from contract.request import Request
from contract.token_files import Previous, TokenStore
from generate_tokens.compose import Composer
from generate_tokens.motif import melody_of, motif_of
from generate_tokens.progress import before_first_call
from generate_tokens.sequence import PREFIX
from music.harmony import harmony_features
from music.notes import music_of
from training import options
from training.options import Parser

MOTIF_NOTES = 5
OPENING_BARS = 8
LINKED_DAYS = 60


@dataclass
class Day:
    """A piece: its settled request, its ids, and whether it is frozen (`harmony.py`)."""

    request: Request
    ids: list[int]
    frozen: bool


class Yesterday:
    """The part of a token store that the handler uses here: it has the piece of the day before."""

    def __init__(self, days: Sequence[Day]) -> None:
        self._days = days

    def previous(self, date: str, *, trial: bool = False) -> Previous:
        """As `TokenStore.previous`."""
        if not self._days or trial:
            return Previous(None, (), f"no piece before {date}")
        return Previous(self._days[-1].request.date, tuple(self._days[-1].ids), None)


def compose_days(composer: Composer, first: datetime.date, count: int, event: Any) -> list[Day]:
    days: list[Day] = []
    store = cast(TokenStore, Yesterday(days))
    for number in tqdm(range(count), "days", unit="day", disable=None):
        date = str(first + datetime.timedelta(days=number))
        execution = {"name": "series", "started": f"{date}T06:00:00Z"}
        job = read_job({"request": event, "execution": execution}, composer.bundle)
        job = before_first_call(job, composer, lambda: store)
        assert job.generation is not None
        motif = motif_of(job.generation.motif_ids, composer.vocabulary)
        made = composer.compose(job.request, [], [], np.inf, motif=motif)
        music, _ = music_of(made.ids[PREFIX:-1], composer.vocabulary)
        assert music is not None
        frozen = bool(harmony_features(music)["frozen"])
        days.append(Day(job.request, made.ids, frozen))
    return days


def link(days: Sequence[Day], composer: Composer) -> tuple[float, float]:
    """Share of days whose opening holds yesterday's motif; the same of all other pairs of days."""
    # Motifs and openings are texts of intervals with spaces around each, so that a motif is found
    # as text without matching a part of a number.
    motifs, openings = [], []
    for day in days:
        bars = melody_of(day.ids[PREFIX:-1], composer.vocabulary)[:OPENING_BARS]
        steps = np.diff([pitch for bar in bars for _, pitch, _ in bar]).tolist()
        openings.append(" ".join(map(str, ["", *steps, ""])))
        motif = motif_of(day.ids[PREFIX:-1], composer.vocabulary)
        pitches = motif.pitches[:MOTIF_NOTES] if motif else []
        motifs.append(" ".join(map(str, ["", *np.diff(pitches).tolist(), ""])) if pitches else None)
    linked: list[bool] = []
    shuffled: list[bool] = []
    for a, motif_text in enumerate(motifs):
        for b, opening in enumerate(openings):
            if motif_text is not None and a != b:
                (linked if b == a + 1 else shuffled).append(motif_text in opening)
    return float(np.mean(linked)), float(np.mean(shuffled))


def distance(days: Counter[str], archive: Counter[str]) -> float:
    """Total variation distance of two distributions: 0 alike, 1 apart."""
    return 0.5 * sum(
        abs(days[key] / days.total() - archive[key] / archive.total())
        for key in days.keys() | archive.keys()
    )


def tempo_class(tempo: float) -> str:
    """Four ranges that musicians tell apart, in quarter notes a minute."""
    return ("under 70", "70 to 100", "100 to 130", "over 130")[
        (tempo >= 70) + (tempo >= 100) + (tempo >= 130)
    ]


def main() -> None:
    parser = Parser("benchmarks.series", "Compose a series of days and look at it.")
    parser.add_argument("--bundle", type=options.folder, default="layers/model")
    parser.add_argument("--days", type=options.whole(1), default=LINKED_DAYS)
    parser.add_argument("--first", type=datetime.date.fromisoformat, default="2027-01-01")
    parser.add_argument("--event", type=json.loads, default={}, help="fields of each day's event")
    a = parser.parse_args()
    composer = Composer(parser.read("--bundle", a.bundle, Bundle.load, "a bundle"))
    days = compose_days(composer, a.first, a.days, a.event)
    quarters = np.array_split([day.frozen for day in days], 4)
    archive: dict[str, Counter[str]] = {name: Counter() for name in ("style", "metre", "tempo")}
    for style, metres in composer.bundle.archive.items():
        for metre, tempi in metres.items():
            for tempo, count in tempi.items():
                names = (style, metre, tempo_class(float(tempo)))
                for counts, name in zip(archive.values(), names, strict=True):
                    counts[name] += count
    drawn = {
        "style": Counter(str(day.request.style) for day in days),
        "metre": Counter(str(day.request.metre) for day in days),
        "tempo": Counter(tempo_class(day.request.tempo or 0) for day in days),
    }
    for name, counts in drawn.items():
        print(f"{name}: days / archive")
        for key, number in archive[name].most_common():
            shares = counts[key] / counts.total(), number / archive[name].total()
            print(f"  {key:<14}{shares[0]:6.2f}{shares[1]:6.2f}")
    linked, shuffled = link(days[:LINKED_DAYS], composer)
    facts = {
        "model_id": composer.bundle.model_id,
        "days": len(days),
        "frozen_by_quarter": [round(float(np.mean(quarter)), 3) for quarter in quarters],
        "styles": len(drawn["style"]),
        **{f"{n}_distance": round(distance(c, archive[n]), 3) for n, c in drawn.items()},
        "linked": round(linked, 3),
        "shuffled": round(shuffled, 3),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
