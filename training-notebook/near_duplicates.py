"""Groups pieces that share their music, so that no piece is validated on what was trained on.

Knows scores as notes; not files, styles or tokens.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

from symusic.core import ScoreTick

SHINGLE = 8  # notes in one fingerprint of a melody
SAME_SHARE, SAME_COUNT = 0.3, 5  # shared fingerprints that make two pieces one group
COMMONPLACE = 12  # pieces; a run that more of them share says nothing


def shingles_of(score: ScoreTick) -> frozenset[int]:
    """Transposition-free fingerprints: runs of intervals and onset gaps of the highest line."""
    notes = sorted((n.time, -n.pitch) for track in score.tracks for n in track.notes)
    line = [(t, -p) for i, (t, p) in enumerate(notes) if i == 0 or notes[i - 1][0] != t]
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(line)]
    return frozenset(
        hash(tuple(steps[i : i + SHINGLE])) for i in range(max(0, len(steps) - SHINGLE))
    )


def grouped(pieces: Sequence[tuple[str, frozenset[int]]]) -> list[int]:
    """A group number per piece, given its named group (or "") and its fingerprints.

    Pieces of one named group share a number, and so do near-duplicates.
    """
    parent = list(range(len(pieces)))

    def find(a: int) -> int:
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        return a

    by_name: dict[str, int] = {}
    by_shingle: dict[int, list[int]] = defaultdict(list)
    for i, (name, shingles) in enumerate(pieces):
        if name:
            parent[find(i)] = find(by_name.setdefault(name, i))
        for shingle in shingles:
            by_shingle[shingle].append(i)
    shared: Counter[tuple[int, int]] = Counter()
    for members in by_shingle.values():
        if 1 < len(members) <= COMMONPLACE:
            shared.update((a, b) for k, a in enumerate(members) for b in members[:k])
    for (a, b), count in shared.items():
        smaller = min(len(pieces[a][1]), len(pieces[b][1]))
        if count >= SAME_COUNT and count >= SAME_SHARE * smaller:
            parent[find(a)] = find(b)
    return [find(i) for i in range(len(pieces))]
