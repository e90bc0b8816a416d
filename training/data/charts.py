"""The notebook's pictures: what a dataset holds, and the loss of a training run in progress.

Depends on neither the trainer nor MIDI files.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from music.tracker import KINDS, Vocabulary
from training.data.dataset import Dataset
from training.data.dataset_report import Report

LogRow = dict[str, float]


def dataset_figure(report: Report, dataset: Dataset, vocabulary: Vocabulary) -> Figure:
    """Pieces per style, their lengths, and how often each type of token comes."""
    figure = Figure(figsize=(14, 4), layout="constrained")
    styles, lengths, tokens = figure.subplots(1, 3)
    names = list(report.styles)[::-1]
    bars = styles.barh(names, [report.styles[name]["pieces"] for name in names])
    styles.bar_label(bars, padding=3)
    styles.margins(x=0.15)
    styles.set_title("pieces per style", loc="left")
    lengths.hist(dataset.seconds / 60, bins=40)
    lengths.set_xlabel("minutes")
    lengths.set_title("lengths of the pieces", loc="left")
    draw_token_kinds(dataset, vocabulary, tokens)
    return figure


def draw_token_kinds(dataset: Dataset, vocabulary: Vocabulary, axes: Axes) -> None:
    """The share of each type of token, the commonest on top."""
    kinds = np.asarray(vocabulary.kind)[dataset.ids]
    counts = np.bincount(kinds, minlength=len(KINDS))
    order = [k for k in np.argsort(counts) if counts[k]]
    bars = axes.barh([KINDS[k] for k in order], counts[order] / len(kinds))
    axes.bar_label(bars, [f"{counts[k] / len(kinds):.1%}" for k in order], padding=3)
    axes.margins(x=0.2)
    axes.set_title(f"types of the {len(kinds):,} tokens", loc="left")


def loss_figure(rows: Sequence[LogRow], steps: int) -> Figure:
    """The loss so far, over the steps of the whole run."""
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([row["step"] for row in rows], [row["loss"] for row in rows], marker=".")
    axes.set_xlim(0, steps * 1.01)
    axes.set_xlabel("step")
    axes.set_ylabel("nats per token")
    axes.grid(alpha=0.3)
    if rows:
        axes.set_title(
            f"step {rows[-1]['step']:,.0f} of {steps:,}, loss {rows[-1]['loss']:.3f}, "
            f"{remaining(rows, steps)} to go",
            loc="left",
        )
    return figure


def remaining(rows: Sequence[LogRow], steps: int) -> str:
    """How long the rest takes at the speed of the last rows, such as ``12 min``."""
    first, last = rows[max(0, len(rows) - 10)], rows[-1]
    done = last["step"] - first["step"]
    per_step = (
        (last["seconds"] - first["seconds"]) / done if done else last["seconds"] / last["step"]
    )
    seconds = per_step * max(0, steps - last["step"])
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


class LiveLoss:
    """A picture of the loss that is redrawn while `train` calls it with the rows of its log.

    Args:
        steps: of the whole run.
        log: the run's ``.jsonl``, so that a resumed run shows its beginning too.
        show: is given each new figure; in a notebook, what updates a display.
        every_s: the least time between two pictures; the last one does not wait.
    """

    def __init__(
        self, steps: int, log: Path, show: Callable[[Figure], object], every_s: float = 10.0
    ) -> None:
        self.steps, self._show, self._every_s = steps, show, every_s
        lines = log.read_text().splitlines() if log.exists() else []
        self.rows: list[LogRow] = [json.loads(line) for line in lines]
        self._shown_at = -every_s

    def __call__(self, row: LogRow) -> None:
        """Takes a row in place of those of the same and later steps.

        Such rows are left by a run that was killed after its last checkpoint.
        """
        self.rows = [earlier for earlier in self.rows if earlier["step"] < row["step"]] + [row]
        now = time.monotonic()
        if now - self._shown_at >= self._every_s or row["step"] >= self.steps:
            self._shown_at = now
            self._show(loss_figure(self.rows, self.steps))
