"""Can generated pieces be told from real ones? A classifier two-sample test.

A random forest learns to tell the two sets apart by features of the music, and is then asked about
pieces that it did not learn from (Lopez-Paz & Oquab 2017, arXiv:1610.06545). The area under its ROC
curve (AUC) is .5 if it cannot tell them apart and 1 if it always can. Two halves of the real pieces
are compared in the same way, to show the AUC of two sets that do not differ.

Depends on neither files nor models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from music.features import SCALARS, Music, scalar_features
from music.harmony import HARMONY, harmony_features
from music.repetition import (
    REPETITION,
    SHOWN_LAGS,
    lag_curve,
    repetition_features,
)

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

# All constants here were fixed before anything was tuned by the result, and stay as they are: with
# other features or another forest the figures of two models could not be compared.
LONGEST_S = 60.0  # both sets are cut to their first minute
SHORTEST_S = 45.0  # shorter pieces are left out, so that length tells nothing
LEFT_OUT = (
    "notes",  # grows with the length
    "duplicates",  # counted in the file before it is cleaned: cannot be heard
    "tempo",  # a generated piece has one of the tokenizer's 32
)
TEMPO_STEPS = 4  # per octave, in place of the tempo: coarser than the tokenizer's
FEATURES = (
    *(name for name in SCALARS if name not in LEFT_OUT),
    "rough_tempo",
    *HARMONY,
    *REPETITION,
    *(f"likeness_at_lag_{lag}" for lag in SHOWN_LAGS),
)
TREES = 500
FEWEST_IN_LEAF = 2
FOLDS = 5
SEED = 20261126
HALVINGS = 4  # how often the real pieces are divided into random halves
FEWEST_PIECES = 20  # on each side


@dataclass(frozen=True)
class Sample:
    """One piece as the forest sees it: `FEATURES` as a row, nan where it lacks one; its style."""

    row: FloatArray
    style: str


@dataclass(frozen=True)
class TwoSample:
    """AUC of each set of generated pieces against all real ones, and of halves of the real ones.

    ``pieces``: how many real ones, and how many generated ones in each set. ``sets`` and ``halves``
    are empty where there were too few pieces.
    """

    sets: list[float] = field(default_factory=list)
    halves: list[float] = field(default_factory=list)
    pieces: tuple[int, int] = (0, 0)

    def to_json(self) -> dict[str, Any]:
        return {
            "auc": round(float(np.mean(self.sets)), 4) if self.sets else None,
            "sets": [round(value, 4) for value in self.sets],
            "real_halves": round(float(np.mean(self.halves)), 4) if self.halves else None,
            "halves": [round(value, 4) for value in self.halves],
            "pieces": {"real": self.pieces[0], "in_each_set": self.pieces[1]},
        }

    def line(self) -> str:
        """The result as one line of text."""
        if not self.sets:
            return f"told from real (AUC)    not measured: fewer than {FEWEST_PIECES} pieces"
        values = ", ".join(f"{value:.3f}" for value in self.sets)
        halves = f"; real halves {np.mean(self.halves):.3f}" if self.halves else ""
        return (
            f"told from real (AUC)    {np.mean(self.sets):.3f}   sets {values} of {self.pieces[1]} "
            f"pieces against {self.pieces[0]}{halves}"
        )


def sample_of(music: Music | None, style: str, seconds: float) -> Sample | None:
    """The sample of a piece's first minute; None for a piece of ``seconds`` that is too short."""
    if music is None or seconds < SHORTEST_S:
        return None
    curve = lag_curve(music)
    values = {
        **scalar_features(music),
        **harmony_features(music),
        **repetition_features(music),
        **{f"likeness_at_lag_{lag}": float(curve[lag - 1]) for lag in SHOWN_LAGS},
        "rough_tempo": float(np.round(TEMPO_STEPS * np.log2(music.qpm))),
    }
    return Sample(np.array([values[name] for name in FEATURES]), style)


def style_weights(styles: Sequence[str], generated: BoolArray) -> FloatArray:
    """A weight [pieces] for each piece, so that style does not tell the two sides apart.

    On each side, the weights of a style add up to its number of pieces on the side with fewer. A
    style that one side lacks has the weight 0. Where the sides share no style (a folder may name
    none), all pieces weigh 1.

    Example: there are 6 real chorales and 2 generated ones, so the real ones weigh 1/3 each.
    """
    sides = [
        Counter(s for s, made in zip(styles, generated, strict=True) if made == side)
        for side in (False, True)
    ]
    fewest = sides[0] & sides[1]
    if not fewest:
        return np.ones(len(styles))
    return np.array(
        [fewest[s] / sides[int(made)][s] for s, made in zip(styles, generated, strict=True)]
    )


def auc(real: Sequence[Sample], generated: Sequence[Sample], workers: int = 1) -> float:
    """The AUC of a random forest that tells the sets apart, from pooled out-of-fold probabilities.

    nan if on one side fewer than `FEWEST_PIECES` pieces have a style that the other side has too.
    """
    # Imported here: it takes a second, and every process that measures imports this module.
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline

    both = [*real, *generated]
    made = np.arange(len(both)) >= len(real)
    weights = style_weights([sample.style for sample in both], made)
    counted = weights > 0
    made, weights = made[counted], weights[counted]
    if min(np.count_nonzero(made), np.count_nonzero(~made)) < FEWEST_PIECES:
        return np.nan
    rows = np.stack([sample.row for sample in both])[counted]
    predicted = np.zeros(len(rows))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    # Each piece's probability comes from the one forest that did not learn from it.
    for learnt, asked in folds.split(rows, made):
        forest = make_pipeline(
            SimpleImputer(strategy="median", keep_empty_features=True),
            RandomForestClassifier(
                TREES, min_samples_leaf=FEWEST_IN_LEAF, random_state=SEED, n_jobs=workers
            ),
        )
        forest.fit(
            rows[learnt], made[learnt], randomforestclassifier__sample_weight=weights[learnt]
        )
        predicted[asked] = forest.predict_proba(rows[asked])[:, 1]
    return float(roc_auc_score(made, predicted, sample_weight=weights))


def split_evenly(generated: Sequence[Sample], sets: int) -> list[list[Sample]]:
    """``sets`` sets of equal size, each with the same styles as far as possible.

    At most sets - 1 pieces are left out. ``generated`` is in the order of the seeds.
    """
    by_style = sorted(generated, key=lambda sample: sample.style)  # stable: by seed within a style
    whole = len(by_style) // sets * sets
    return [by_style[number:whole:sets] for number in range(sets)]


def two_sample_test(
    real: Sequence[Sample], generated: Sequence[Sample], sets: int = 1, workers: int = 1
) -> TwoSample:
    """Tests ``sets`` sets of the generated pieces against all real ones, and real halves.

    Args:
        workers: threads in which trees grow; the result does not depend on it.
    """
    parts = split_evenly(generated, sets)
    found = [auc(real, part, workers) for part in parts]
    halves = []
    rng = np.random.default_rng(SEED)
    for _ in range(HALVINGS):
        order = rng.permutation(len(real))
        one, other = ([real[i] for i in part] for part in np.array_split(order, 2))
        halves.append(auc(one, other, workers))
    return TwoSample(
        [value for value in found if not np.isnan(value)],
        [value for value in halves if not np.isnan(value)],
        (len(real), len(parts[0])),
    )
