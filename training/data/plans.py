"""Plans of form and shares of an archive, read off the pieces of a dataset.

A plan says of each bar of a piece whether it is new or which earlier bar it returns to, and how
exactly. The best reading of a whole piece is found by the Viterbi algorithm, so that sections stay
together, and a single bar that happens to be like an earlier one stays new. A plan holds no note of
the piece. Depends on no model.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from music.form import MOST_BARS, LastChord, Plan
from music.harmony import ending_of
from music.notes import music_of
from music.tracker import BAR, DURATION, PITCH, TEMPO, TIMESIG, Vocabulary
from training.data.dataset import Dataset

LEAST = 0.5  # likeness of a bar that returns
WORTH = 0.55  # likeness at which returning is worth as much as being new
SWITCH = 0.35  # cost of another lag: one exact bar alone is worth it, one loose bar is not
LEVELS = (0.8, 0.97)  # likeness: loose below the first, exact from the second on, else varied
TRANSPOSING = 0.1  # how much likeness a transposed return must have more than an untransposed one
MOST_TRANSPOSED_LAG = 16  # bars
MOST_SHIFT = 24  # semitones
FEWEST_TRANSPOSED = 4  # notes in a bar that may be a transposed return
MOST_LAG = 255  # bars; what returns from farther back counts as new
FEWEST_BARS = 6  # of a piece whose plan is kept

Bar = frozenset[tuple[int, int, int]]  # (position, program, pitch) of its notes


@dataclass(frozen=True)
class PieceOfDataset:
    """A piece's ids without BOS, style and EOS, with the position and program of each."""

    style: str
    ids: list[int]
    position: list[int]
    program: list[int]


def pieces_of(
    dataset: Dataset, vocabulary: Vocabulary, numbers: NDArray[np.int64]
) -> Iterator[PieceOfDataset]:
    """The pieces of these numbers."""
    tracked = dataset.tracked
    for number in numbers:
        inside = slice(dataset.starts[number] + 2, dataset.starts[number + 1] - 1)
        columns = (dataset.ids, tracked.position_in_bar, tracked.current_program)
        style = vocabulary.entries[int(dataset.style_ids[number])][1]
        yield PieceOfDataset(style, *(column[inside].tolist() for column in columns))


def training_pieces(dataset: Dataset) -> NDArray[np.int64]:
    """The numbers of the pieces that are for neither validation nor the test."""
    return np.flatnonzero(~(dataset.validation | dataset.test))


def bars_of(piece: PieceOfDataset, vocabulary: Vocabulary) -> tuple[list[Bar], list[str]]:
    """The notes of each bar, and its metre."""
    bars: list[set[tuple[int, int, int]]] = []
    metres: list[str] = []
    for token, position, program in zip(piece.ids, piece.position, piece.program, strict=True):
        kind = vocabulary.kind[token]
        if kind == BAR:
            bars.append(set())
            metres.append(metres[-1] if metres else "")
        elif kind == TIMESIG:
            metres[-1] = vocabulary.entries[token][1]
        elif kind == PITCH:
            bars[-1].add((position, program, token))
    return [frozenset(bar) for bar in bars], metres


def likeness(bars: Sequence[Bar], metres: Sequence[str]) -> NDArray[np.float64]:
    """[bars, bars]: how alike two bars are: the notes that both have over those that either has.

    0 for empty bars, and for bars of different metres.
    """
    names: dict[tuple[int, int, int], int] = {}
    for bar in bars:
        for note in bar:
            names.setdefault(note, len(names))
    # has[bar, note] is 1 where the bar has the note, so has @ has.T counts shared notes
    has = np.zeros((len(bars), max(1, len(names))), np.float32)
    for number, bar in enumerate(bars):
        has[number, [names[note] for note in bar]] = 1
    shared = has @ has.T
    sizes = has.sum(1)
    either = sizes[:, None] + sizes - shared
    codes = np.unique(metres, return_inverse=True)[1]
    alike: NDArray[np.float64] = np.where(
        codes[:, None] == codes, shared / np.maximum(either, 1), 0.0
    )
    return alike


def transposed(
    bars: Sequence[Bar], metres: Sequence[str], alike: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """[bars, bars] each: the likeness when the earlier bar is transposed, and by how much.

    Looks up to `MOST_TRANSPOSED_LAG` bars back. Two shifts are tried: those that align the lowest
    and the highest notes. Bars of fewer than `FEWEST_TRANSPOSED` notes are like too many others,
    and are left out.
    """
    likest, shifts = np.zeros(alike.shape), np.zeros(alike.shape, np.int64)
    # A note as one number with the pitch in its lowest bits, so that adding transposes it.
    notes = [{at << 24 | program << 12 | pitch for at, program, pitch in bar} for bar in bars]
    edges = [
        [edge(pitch for _, _, pitch in bar) for edge in (min, max)] if bar else [] for bar in bars
    ]
    for now, bar in enumerate(notes):
        if len(bar) < FEWEST_TRANSPOSED:
            continue
        for then in range(max(0, now - MOST_TRANSPOSED_LAG), now):
            # bars of too different sizes cannot reach `LEAST`
            if not LEAST <= len(notes[then]) / len(bar) <= 1 / LEAST or metres[now] != metres[then]:
                continue
            for shift in {a - b for a, b in zip(edges[now], edges[then], strict=True)}:
                if 0 < abs(shift) <= MOST_SHIFT:
                    shared = len({note + shift for note in notes[then]} & bar)
                    like = shared / (len(notes[then]) + len(bar) - shared)
                    if like > likest[now, then]:
                        likest[now, then], shifts[now, then] = like, shift
    return likest, shifts


def lags_of(alike: NDArray[np.float64]) -> list[int]:
    """The lag of each bar, 0 for new: the reading that is worth most, by the Viterbi algorithm.

    ``alike`` is the likeness [bars, bars]. A new bar is worth 0, and a bar that returns is worth
    its likeness less `WORTH`. To change to another lag than that of the bar before costs `SWITCH`;
    to be new again costs nothing.
    """
    count = len(alike)
    lags = np.arange(count)
    worth = np.full((count, count), -np.inf)  # [bar, lag]
    worth[:, 0] = 0.0
    for bar in range(1, count):
        back = alike[bar, bar - 1 :: -1] if bar > 1 else alike[bar, :1]  # lags 1, 2, ... bar
        worth[bar, 1 : bar + 1] = np.where(back >= LEAST, back - WORTH, -np.inf)
    worth[:, MOST_LAG + 1 :] = -np.inf
    # best[lag]: the worth of the best reading up to this bar in which this bar has that lag
    best = np.full(count, -np.inf)
    best[0] = 0.0
    came_from = np.zeros((count, count), np.int32)
    for bar in range(1, count):
        # A bar has the lag of the bar before, or another one, taken up after the best reading.
        top = int(best.argmax())
        switched = best[top] - SWITCH
        stays = best >= switched
        came_from[bar] = np.where(stays, lags, top)
        came_from[bar, 0] = top
        before = np.where(stays, best, switched)
        before[0] = best[top]  # to be new costs nothing
        best = before + worth[bar]
    # back from the best end, along the lags that led there
    found = [0] * count
    lag = int(best.argmax())
    for bar in range(count - 1, -1, -1):
        found[bar] = lag
        lag = int(came_from[bar, lag])
    return found


def last_chord_of(piece: PieceOfDataset, vocabulary: Vocabulary) -> LastChord:
    """Where in its bar the last chord is struck, how long it is held, and on which degree."""
    at = length = 0
    # From the end backwards: the last chord is all notes at the position of the last one.
    for token, position in zip(reversed(piece.ids), reversed(piece.position), strict=True):
        kind = vocabulary.kind[token]
        if kind == DURATION:
            if length and position != at:
                break
            at, length = position, max(length, int(vocabulary.value[token]))
        elif kind == BAR and length:
            break
    music, _ = music_of(piece.ids, vocabulary)
    if music is None:
        return LastChord(at, length)
    ending = ending_of(music)
    return LastChord(at, length, (ending.bass - ending.key) % 12)


def plan_of(piece: PieceOfDataset, vocabulary: Vocabulary) -> tuple[Plan, str]:
    """The plan of a piece, or of its first `MOST_BARS` bars, and its commonest metre."""
    bars, metres = bars_of(piece, vocabulary)
    whole = len(bars) <= MOST_BARS
    bars, metres = bars[:MOST_BARS], metres[:MOST_BARS]
    alike = likeness(bars, metres)
    moved, by = transposed(bars, metres, alike)
    # Transposed returns count less by `TRANSPOSING` while lags are chosen, but not for the levels.
    by[moved - TRANSPOSING <= alike] = 0
    alike = np.where(by != 0, moved - TRANSPOSING, alike)
    lags = lags_of(alike)
    shifts = [int(by[bar, bar - lag]) if lag else 0 for bar, lag in enumerate(lags)]
    alike += TRANSPOSING * (by != 0)
    levels = [
        int(np.searchsorted(LEVELS, alike[bar, bar - lag], side="right")) if lag else 0
        for bar, lag in enumerate(lags)
    ]
    chord = last_chord_of(piece, vocabulary)
    plan = Plan(tuple(lags), tuple(levels), tuple(shifts), chord, whole)
    return plan, Counter(metres).most_common(1)[0][0]


def plans_and_archive(
    dataset: Dataset, vocabulary: Vocabulary
) -> tuple[dict[str, dict[str, list[str]]], dict[str, dict[str, dict[str, int]]]]:
    """What a bundle says of the training pieces: the ``plans`` and ``archive`` of `Bundle`.

    plans[style][metre] is a list of plans as text; archive[style][metre][tempo] counts pieces.
    """
    plans: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    archive: defaultdict[str, defaultdict[str, Counter[str]]] = defaultdict(
        lambda: defaultdict(Counter)
    )
    numbers = training_pieces(dataset)
    pieces = pieces_of(dataset, vocabulary, numbers)
    for piece in tqdm(pieces, "plans of form", len(numbers), unit="piece", disable=None):
        plan, metre = plan_of(piece, vocabulary)
        tempo = next((i for i in piece.ids if vocabulary.kind[i] == TEMPO), None)
        if tempo is not None:
            archive[piece.style][metre][vocabulary.entries[tempo][1]] += 1
        if len(plan.lags) >= FEWEST_BARS:
            plans[piece.style][metre].append(plan.text())
    return (
        {style: dict(sorted(by_metre.items())) for style, by_metre in sorted(plans.items())},
        {
            style: {metre: dict(sorted(tempi.items())) for metre, tempi in sorted(metres.items())}
            for style, metres in sorted(archive.items())
        },
    )
