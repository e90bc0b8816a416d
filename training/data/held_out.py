"""Which pieces are held out of training, for validation and for the test.

Validation pieces serve to choose between models, test pieces to report on the chosen one. Whole
groups are held out, since the pieces of a group share their music. Depends on neither notes nor
tokens.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.archive import Source
from training.data.names import LONGEST_NAME
from training.data.reserved import Reserved

HELD_OUT_SHARE = 0.04  # of the groups that are not too large
FEWEST_HELD_OUT_SHARE = 0.02  # of all groups
LARGEST_GROUP = 4  # pieces; a larger group would take too much from training
TEST_PIECES_FILE = Path(__file__).with_name("test_pieces.txt")

HASHED_NAMES = "[0-9a-f]" * 8 + "-*"  # pattern of the names that `copy` gives to files

Mask = NDArray[np.bool_]


def split(
    sources: Sequence[Source], groups: Sequence[int], listed: Reserved | None = None
) -> tuple[Mask, Mask]:
    """Which pieces are for validation and which for the test, bool [pieces] each.

    A group with a listed piece is for the test. Of the other groups about 4 %, and at least 2 %,
    are held out: those whose first file has a name with a low hash. Another digit of the hash
    decides between validation and test. So a group stays where it is when files are added. If the
    digits leave no group for validation, the one with the lowest hash is.

    Args:
        groups: the group number of each piece, from `near_duplicates.grouped`.
        listed: default: test_pieces.txt beside this module.

    Raises:
        ValueError: the list cannot be read.
    """
    listed = Reserved.load(TEST_PIECES_FILE) if listed is None else listed
    for_test = {
        group
        for source, group in zip(sources, groups, strict=True)
        if listed.holds(source.path, source.sha256, source.facts.get("source", ""))
    }
    digests: dict[int, str] = {}
    for source, group in zip(sources, groups, strict=True):
        if group not in for_test and group not in digests:
            digests[group] = hashlib.sha256(os.fsencode(source.path.name)).hexdigest()
    sizes = Counter(groups)
    small = sorted((g for g in digests if sizes[g] <= LARGEST_GROUP), key=digests.__getitem__)
    # The first eight digits, as a number below 2^32, are below the limit for about that share.
    drawn = sum(int(digests[g][:8], 16) < HELD_OUT_SHARE * 2**32 for g in small)
    # Of a small collection the draw may take too few. A single group is always trained on.
    fewest = math.ceil(FEWEST_HELD_OUT_SHARE * len(digests)) if len(digests) > 1 else 0
    held_out = small[: max(drawn, fewest)]
    even = [g for g in held_out if int(digests[g][8], 16) % 2 == 0]
    for_validation = set(even or held_out[:1])
    for_test.update(set(held_out) - for_validation)
    return (
        np.array([group in for_validation for group in groups], np.bool_),
        np.array([group in for_test for group in groups], np.bool_),
    )


def copy(sources: Iterable[Source], folder: Path) -> None:
    """Copies files to ``folder/STYLE/``, named by hash and name.

    Deletes the files there that an earlier call wrote, and nothing else.
    """
    for earlier in folder.glob(f"*/{HASHED_NAMES}"):
        earlier.unlink()
    for source in sources:
        begin = f"{source.sha256[:8]}-"
        # Of a name that would become too long the end is kept, with the suffix.
        room = LONGEST_NAME - len(begin)
        target = (
            folder / source.style / (begin + os.fsdecode(os.fsencode(source.path.name)[-room:]))
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.path, target)


def require_test(arrays: Container[str], dataset: Path) -> None:
    """Raises ValueError for the arrays of a dataset file that is older than the test split."""
    if "test" not in arrays:
        raise ValueError(
            f"{dataset} was written by an older version, without test pieces: "
            "run training.data.dataset again, or give another --dataset"
        )
