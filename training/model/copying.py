"""Fits the weights of copies on real pieces: how much the sampler believes its memory.

The sampler mixes the model with a memory, which names the id that would repeat earlier music
(`music/memory.py`). For each id of a piece the fit needs three facts: how likely the model finds
it, whether it is the id that the memory named, and the class of that case, such as the length of
the repeated suffix. The weight of a class is the one that makes its ids likeliest. Depends on the
trackers in `music` and on the model's losses.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from music.form import LEVELS
from music.memory import (
    RUN_CLASSES,
    RUNS,
    SUFFIX_CLASSES,
    SUFFIX_LENGTHS,
    CopyWeights,
    class_of,
)
from music.repeats import NOTHING, Bars, Suffix
from music.tracker import TEMPO, MusicState, Vocabulary
from training.data.dataset import Dataset
from training.data.plans import PieceOfDataset, pieces_of, plan_of, training_pieces
from training.model.loss import losses_of
from training.model.model import MusicModel
from training.model.windows import Windows

FITTED_PIECES = 120  # training pieces, taken from the styles in turn
ROUNDS = 80  # of expectation-maximization; it converges long before
NO_WEIGHTS = CopyWeights(
    suffix=[0.0] * SUFFIX_CLASSES,
    suffix_in_new_bars=[0.0] * SUFFIX_CLASSES,
    plan=[[0.0] * RUN_CLASSES for _ in LEVELS],
)


def fitted(p: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """The weight w that maximizes sum(log((1 - w) p + w right)), by expectation-maximization.

    p: [ids], the model's probability of each id. right: [ids], whether it is the named id.
    """
    weight = 0.3
    for _ in range(ROUNDS):
        # E-step: the probability that each id came from the memory and not from the model
        share = weight * right / ((1 - weight) * p + weight * right + 1e-30)
        # M-step: the mean of these, smoothed so that a few ids cannot make it 0 or 1
        weight = float((share.sum() + 0.1) / (len(p) + 1))
    return min(round(weight, 4), 0.9999)  # the model always keeps a part


def named_of(piece: PieceOfDataset, vocabulary: Vocabulary) -> NDArray[np.int64]:
    """[ids, 4]: what the memory names before each id of a piece.

    The columns are the id that the longest suffix names; the class of that suffix's length; the id
    that the piece's own plan names; and the cell of the plan's weights, which is
    level * RUN_CLASSES + class of the run of right names, or -1 in a new bar.
    """
    plan, _ = plan_of(piece, vocabulary)
    state, bars, suffix = MusicState(vocabulary), Bars(vocabulary), Suffix()
    rows = np.zeros((len(piece.ids), 4), np.int64)
    named, cell, run = NOTHING, -1, 0
    for i, token in enumerate(piece.ids):
        rows[i] = suffix.token, class_of(suffix.length, SUFFIX_LENGTHS), named, cell
        state.step(token)
        if state.kind == TEMPO:
            continue
        if named:
            run = run + 1 if token == named else 0
        suffix.step(token)
        bars.step(token, state)
        named, cell, bar = NOTHING, -1, bars.now
        if bar < len(plan.lags) and plan.lags[bar]:
            named = bars.named(bar - plan.lags[bar], state, plan.shifts[bar])
            cell = plan.levels[bar] * RUN_CLASSES + class_of(run, RUNS)
        else:
            run = 0
    return rows


def fit_weights(
    model: MusicModel, dataset: Dataset, vocabulary: Vocabulary, seed: int = 0
) -> tuple[CopyWeights, dict[str, float]]:
    """The weights, fitted on some training pieces, and the nats per id there.

    The nats are those of the model alone and those of the mixture.
    """
    numbers = training_pieces(dataset)
    order = np.random.default_rng(seed).permutation(numbers)
    by_style = [order[dataset.style_ids[order] == style] for style in np.unique(dataset.style_ids)]
    # Sorted by the place within its style: the first piece of each style, then each second one, ...
    turns = [(place, number) for own in by_style for place, number in enumerate(own)]
    drawn = np.array([number for _, number in sorted(turns)][:FITTED_PIECES], np.int64)
    windows = Windows(dataset, vocabulary, model.config.context)
    p, target, rows = [], [], []
    pieces = pieces_of(dataset, vocabulary, drawn)
    for piece, losses in zip(pieces, losses_of(model, windows, drawn), strict=True):
        # The losses cover the first minute; in a short piece they include EOS, piece.ids does not.
        count = min(len(losses), len(piece.ids))
        p.append(np.exp(-losses[:count].astype(np.float64)))
        target.append(np.array(piece.ids[:count]))
        rows.append(named_of(piece, vocabulary)[:count])
    return _fit(np.concatenate(p), np.concatenate(target), np.concatenate(rows))


def _fit(
    p: NDArray[np.float64], target: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[CopyWeights, dict[str, float]]:
    by_suffix, by_plan = rows[:, 0] == target, rows[:, 2] == target
    new = rows[:, 3] < 0

    def suffix_weights(chosen: NDArray[np.bool_]) -> list[float]:
        cells = [chosen & (rows[:, 1] == c) for c in range(SUFFIX_CLASSES)]
        fits = [fitted(p[cell], by_suffix[cell]) for cell in cells]
        return [0.0, *fits[1:]]  # class 0: no suffix, so nothing is named and nothing mixed in

    cells = [rows[:, 3] == cell for cell in range(len(LEVELS) * RUN_CLASSES)]
    plan = np.reshape([fitted(p[cell], by_plan[cell]) for cell in cells], (-1, RUN_CLASSES))
    weights = CopyWeights(suffix_weights(np.ones(len(p), bool)), suffix_weights(new), plan.tolist())
    # the mixture as in a piece without a plan
    weight = np.array(weights.suffix)[rows[:, 1]]
    mixed = (1 - weight) * p + weight * by_suffix
    facts = {
        "ids": len(p),
        "nats_alone": round(float(-np.log(p).mean()), 4),
        "nats_mixed": round(float(-np.log(mixed).mean()), 4),
    }
    return weights, facts


def weights_to_json(weights: CopyWeights) -> dict[str, Any]:
    return asdict(weights)
