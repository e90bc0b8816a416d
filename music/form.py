"""Plans of form: which bars of a piece return to which earlier ones, how exactly, and how high.

A plan holds no notes. The plans in the bundle are read off real pieces (training/data/plans.py).
This module reads and writes plans as text, draws one for a piece, makes one from letters such as
``ABA``, and describes the form of a plan by letters. Depends on neither tokens, notes nor models:
bars are numbers.

A plan as text is the last chord, then runs of bars. The chord is written as three numbers: where in
its bar it is struck and how long it is held, both in ticks, and its bass in semitones above the
keynote. A ``+`` behind them says that the real piece continues after the plan::

    0/36/0 4 4-4e 8 8-16v     4 new bars, 4 as 4 bars ago (exact), 8 new, 8 as 16 bars ago (varied)
    0/36/0 2 1-1v+2 1-1v+2    a sequence: the second bar twice again, each time 2 semitones higher
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np

LEVELS = "lve"  # loose, varied, exact
LOOSE, VARIED, EXACT = range(3)
NEAR = (0.85, 1.2)  # a whole plan fits if its bars, divided by the bars wanted, are in this range
# Plans to draw from: where fewer fit, longer plans are cut off; where there are fewer of those too,
# plans of other styles are taken.
FEWEST = 8
MOST_BARS = 400  # of a plan; longer pieces are planned in several parts
# Stands behind the seed, so that this draw shares no random numbers with another: draws.py has
# (0, 0, 1), and the uniforms of tokens end in a 0 (numpy takes [seed, 1] for [seed, 1, 0, 0]).
_STREAM = (0, 0, 2)

_ENDING = re.compile(r"(\d{1,3})/(\d{1,4})/(\d|10|11)(\+?)")
_RUN = re.compile(rf"([1-9]\d{{0,4}})(?:-([1-9]\d{{0,4}})([{LEVELS}])([+-][1-9]\d?)?)?")


@dataclass(frozen=True)
class LastChord:
    """How a piece ends.

    Attributes:
        at: where in its bar the last chord is struck, in ticks.
        length: how long it is held, in ticks; 0 stands for about half a bar.
        degree: its bass in semitones above the keynote, 0 to 11.
    """

    at: int = 0
    length: int = 0
    degree: int = 0


@dataclass(frozen=True)
class Plan:
    """The form of one piece.

    Attributes:
        lags: for each bar, how many bars back the bar lies that it returns to; 0 for a new bar.
        levels: for each bar, how exactly it returns: `LOOSE`, `VARIED` or `EXACT`.
        shifts: for each bar, by how many semitones it is higher than the bar that it returns to;
            0 in new bars.
        ending: the last chord.
        whole: whether the piece from which the plan is read ends where the plan ends.
    """

    lags: tuple[int, ...]
    levels: tuple[int, ...]
    shifts: tuple[int, ...]
    ending: LastChord = LastChord()
    whole: bool = True

    @classmethod
    def parse(cls, text: str, most_bars: int = MOST_BARS) -> Plan:
        """The plan that ``text`` describes.

        Raises:
            ValueError: it is not in the form that `text` writes, or has more than ``most_bars``.
        """
        head, *runs = text.split()
        ending = _ENDING.fullmatch(head)
        found = [_RUN.fullmatch(run) for run in runs]
        if ending is None or not found or None in found:
            raise ValueError(f"{text[:40]!r} is no plan of form")
        lags: list[int] = []
        levels: list[int] = []
        shifts: list[int] = []
        for run in found:
            assert run is not None
            if len(lags) + int(run[1]) > most_bars:
                raise ValueError(f"{text[:40]!r}: there are more than {most_bars} bars")
            bars, lag = int(run[1]), int(run[2] or 0)
            if lag > len(lags):
                raise ValueError(f"{text[:40]!r}: bar {len(lags)} cannot return to {lag} bars ago")
            lags += [lag] * bars
            levels += [LEVELS.index(run[3]) if lag else LOOSE] * bars
            shifts += [int(run[4] or 0)] * bars
        chord = LastChord(int(ending[1]), int(ending[2]), int(ending[3]))
        return cls(tuple(lags), tuple(levels), tuple(shifts), chord, not ending[4])

    def text(self) -> str:
        """The plan as `parse` reads it."""
        chord = self.ending
        words = [f"{chord.at}/{chord.length}/{chord.degree}" + "+" * (not self.whole)]
        bars = zip(self.lags, self.levels, self.shifts, strict=True)
        for (lag, level, shift), run in groupby(bars):
            height = f"{shift:+}" if shift else ""
            words.append(f"{len(list(run))}" + (f"-{lag}{LEVELS[level]}{height}" if lag else ""))
        return " ".join(words)

    @classmethod
    def new(cls, bars: int) -> Plan:
        """A plan in which every bar is new."""
        return cls((0,) * bars, (LOOSE,) * bars, (0,) * bars)

    def __add__(self, other: Plan) -> Plan:
        """The bars of both plans, one after the other, with the ending of ``other``."""
        return Plan(
            self.lags + other.lags,
            self.levels + other.levels,
            self.shifts + other.shifts,
            other.ending,
        )

    def cut(self, bars: int) -> Plan:
        """The plan of the first ``bars`` bars."""
        return replace(
            self, lags=self.lags[:bars], levels=self.levels[:bars], shifts=self.shifts[:bars]
        )

    def sections(self, first: int = 0) -> list[tuple[str, int]]:
        """The form by letters from bar ``first`` on: (letter, bars) of each section.

        Sections are as long as possible, but a return always takes up a section from its beginning.
        A letter has a prime if its section returns less than exactly or at another height, or if it
        returns to a section with a prime.

        Example: 4 new bars, 4 as 4 bars ago (exact), 8 new, 8 as 16 bars ago (varied) are
        [("A", 4), ("A", 4), ("B", 8), ("A'", 4), ("A'", 4)].
        """
        count = len(self.lags)
        # The root of a bar is the new bar that it is a copy of, over any number of returns: after
        # 2 new bars, 2 bars as 2 bars ago and 2 more of these, the roots are 0 1 0 1 0 1.
        roots = list(range(count))
        for bar, lag in enumerate(self.lags):
            if lag:
                roots[bar] = roots[bar - lag]
        bars = zip(self.lags, self.levels, self.shifts, strict=True)
        varied: list[bool] = []
        for bar, (lag, level, shift) in enumerate(bars):
            own = level < EXACT or shift != 0
            varied.append(bool(lag) and (own or varied[bar - lag]))
        cuts = {roots[first]} if count > first else set()  # roots at which a section begins
        for bar in range(first + 1, count):
            # A copy begins or ends here, perhaps in the middle of what it copies. That section is
            # divided at the same place, so that both parts can have letters of their own.
            if roots[bar] != roots[bar - 1] + 1 or bool(self.lags[bar]) != bool(self.lags[bar - 1]):
                cuts |= {roots[bar], roots[bar - 1] + 1}
        if count > first and self.lags[-1]:
            cuts.add(roots[-1] + 1)  # the end of the piece may cut a copy short, too
        sections: list[tuple[str, int]] = []
        letters: dict[int, str] = {}
        starts = [
            bar
            for bar in range(first, count)
            if bar == first or roots[bar] in cuts or roots[bar] != roots[bar - 1] + 1
        ]
        for start, stop in zip(starts, [*starts[1:], count], strict=True):
            letter = letters.setdefault(roots[start], _letter(len(letters)))
            prime = "'" if any(varied[start:stop]) else ""
            sections.append((letter + prime, stop - start))
        return sections


def _letter(number: int) -> str:
    """The letter of a section, counted from 0: A to Z, then A2 to Z2 and so on."""
    again, letter = divmod(number, 26)
    return chr(ord("A") + letter) + (str(again + 1) if again else "")


def plan_of_letters(letters: str, bars: int) -> Plan:
    """A plan with one section for each letter, all of equal length.

    A letter that was there before returns exactly to its first section. Bars that are left over
    come last, and are new. Example: ``ABA`` in 7 bars has the lags 0 0 0 0 4 4 0.

    Raises:
        ValueError: there are more letters than bars.
    """
    length = bars // len(letters)
    if not length:
        raise ValueError(f"{letters} has {len(letters)} sections, the piece only {bars} bars")
    lags = [0] * bars
    for number, letter in enumerate(letters):
        lag = length * (number - letters.index(letter))
        lags[number * length : (number + 1) * length] = [lag] * length
    levels = tuple(EXACT if lag else LOOSE for lag in lags)
    return Plan(tuple(lags), levels, (0,) * bars)


class Plans:
    """The plans of a bundle: ``{style: {metre: [text, ...]}}``.

    The plans of a style and metre are parsed when they are first needed: to parse all of them would
    add 60 ms to a cold start.
    """

    def __init__(self, texts: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        self._texts = texts
        self._plans: dict[tuple[str, str], list[Plan]] = {}

    def of(self, style: str, metre: str) -> list[Plan]:
        """The plans of a style and metre.

        Raises:
            ValueError: a text is no plan.
        """
        plans = self._plans.get((style, metre))
        if plans is None:
            plans = [Plan.parse(text) for text in self._texts.get(style, {}).get(metre, ())]
            self._plans[style, metre] = plans
        return plans

    def draw(self, style: str, metre: str, bars: int, seed: int) -> Plan:
        """A plan of exactly ``bars`` bars: a function of its arguments and the bundle alone.

        It is the whole form of a real piece of about that length if there are enough such pieces,
        else the beginning of a longer one. The piece has the style and the metre if there are
        enough of those, else the metre in any style, else any metre. For a piece that is longer
        than every plan, several plans are drawn, one after the other.
        """
        rng = np.random.default_rng([seed, *_STREAM])
        plan = Plan.new(0)
        while len(plan.lags) < bars:
            left = bars - len(plan.lags)
            found = self._fitting(style, metre, min(left, MOST_BARS))
            plan += found[rng.integers(len(found))] if found else Plan.new(left)
        return plan.cut(bars)

    def _fitting(self, style: str, metre: str, bars: int) -> list[Plan]:
        own = self.of(style, metre)  # the plans of the style and metre that were asked for
        near = [p for p in own if p.whole and NEAR[0] * bars <= len(p.lags) <= NEAR[1] * bars]
        if len(near) >= FEWEST:
            return near
        longer = [p for p in own if len(p.lags) >= NEAR[0] * bars]
        if len(longer) >= FEWEST:
            return longer
        others = [plan for other in self._texts for plan in self.of(other, metre)]
        if not others:  # no piece has this metre
            others = [p for s, metres in self._texts.items() for m in metres for p in self.of(s, m)]
        return [p for p in others if len(p.lags) >= NEAR[0] * bars] or others


def form_to_json(plan: Plan, first: int = 0) -> dict[str, Any]:
    """The form of the bars from ``first`` on, as the record of a piece states it."""
    sections = plan.sections(first)
    return {
        "letters": [letter for letter, _ in sections],
        "bars": [bars for _, bars in sections],
        "lags": list(plan.lags[first:]),
        "shifts": list(plan.shifts[first:]),
    }
