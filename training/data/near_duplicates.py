"""Groups pieces that share their music, so that none is validated on music that was trained on.

Depends on neither files, styles nor tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from symusic.core import ScoreTick

SHINGLE = 8  # steps from note to note in one fingerprint of a melody
SAME_SHARE, SAME_COUNT = 0.3, 5  # shared fingerprints that make two pieces one group
COMMONPLACE = 12  # pieces; a fingerprint that more of them share says nothing
# Random odd 64-bit factors for the interval and the gap of each step in a fingerprint.
_MULTIPLIERS = np.random.default_rng(8).integers(1, 1 << 63, (SHINGLE, 2), np.uint64) | np.uint64(1)

Fingerprints = NDArray[np.uint64]


def shingles_of(score: ScoreTick) -> Fingerprints:
    """Fingerprints of the highest line: hashes of its runs of `SHINGLE` steps.

    A step is an interval and a gap between onsets, so a transposition has the same fingerprints.
    """
    notes = [track.notes.numpy() for track in score.tracks if len(track.notes)]
    if not notes:
        return np.zeros(0, np.uint64)
    time, pitch = (np.concatenate([n[k] for n in notes]) for k in ("time", "pitch"))
    pitch = pitch.astype(np.int64)
    order = np.lexsort((-pitch, time))  # by onset, the highest pitch first
    highest = order[np.diff(time[order], prepend=-1) != 0]  # the first note of each onset
    steps = np.stack((np.diff(time[highest]), np.diff(pitch[highest])), axis=1).astype(np.uint64)
    count = max(0, len(steps) - SHINGLE)
    found = np.zeros(count, np.uint64)
    # Each fingerprint is a weighted sum of its steps, modulo 2^64; all runs are summed at once.
    for place, multipliers in enumerate(_MULTIPLIERS):
        found += (steps[place : place + count] * multipliers).sum(axis=1, dtype=np.uint64)
    return np.unique(found)


def grouped(pieces: Sequence[tuple[str, Fingerprints]]) -> list[int]:
    """A group number per piece, given its named group (or "") and its fingerprints.

    Pieces of one named group share a number, and so do near-duplicates.
    """
    # union-find: parent leads from each piece to the one that stands for its group
    parent = list(range(len(pieces)))

    def find(a: int) -> int:
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        return a

    by_name: dict[str, int] = {}
    for i, (name, _) in enumerate(pieces):
        if name:
            parent[find(i)] = find(by_name.setdefault(name, i))
    sizes = np.array([len(shingles) for _, shingles in pieces])
    for a, b, count in _shared([shingles for _, shingles in pieces]):
        if count >= SAME_COUNT and count >= SAME_SHARE * min(sizes[a], sizes[b]):
            parent[find(a)] = find(b)
    return [find(i) for i in range(len(pieces))]


def _shared(fingerprints: Sequence[Fingerprints]) -> list[tuple[int, int, int]]:
    """(piece, later piece, how many fingerprints both have).

    Fingerprints that more than `COMMONPLACE` pieces have are not counted, and pairs that share
    fewer than `SAME_COUNT` are left out.
    """
    every = np.concatenate(fingerprints) if fingerprints else np.zeros(0, np.uint64)
    owner = np.repeat(np.arange(len(fingerprints)), [len(f) for f in fingerprints])
    order = np.argsort(every, kind="stable")  # so that the owners of one ascend
    every, owner = every[order], owner[order]
    _, run, size = np.unique(every, return_inverse=True, return_counts=True)
    rare = size[run] <= COMMONPLACE
    every, owner = every[rare], owner[rare]
    # The owners of one fingerprint now stand side by side, `COMMONPLACE` of them at most. Comparing
    # the list with itself, moved by 1, 2, ... places, finds all their pairs.
    pairs = []
    for apart in range(1, COMMONPLACE):
        same = every[:-apart] == every[apart:]
        # a pair as one number
        pairs.append(owner[:-apart][same] * len(fingerprints) + owner[apart:][same])
    numbers, counts = np.unique(np.concatenate(pairs), return_counts=True)
    return [
        (int(number) // len(fingerprints), int(number) % len(fingerprints), int(count))
        for number, count in zip(numbers, counts, strict=True)
        if count >= SAME_COUNT
    ]
