r"""What a bundle says of its archive: plans of form, shares of styles, weights of copies.

The export writes these facts. This command rewrites them in an existing bundle, for other pieces or
after a change in what is read off them. The model stays as it is.

    python -m training.model.archive_facts --bundle layers/model --dataset build/dataset.npz
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from contract.bundle import MANIFEST_FILE, Bundle, read_manifest, write_manifest
from generate_tokens.compose import Composer
from music.features import piano_roll
from music.harmony import parallel_counts
from music.notes import music_of
from music.tracker import Vocabulary
from training import options
from training.data.dataset import Dataset
from training.data.plans import pieces_of, plans_and_archive, training_pieces
from training.data.tokenizer import make_tokenizer, vocabulary_entries
from training.model.copying import NO_WEIGHTS, fit_weights, weights_to_json
from training.model.model import MusicModel
from training.model.weights import load_weights
from training.options import DATASET, Parser

# Limit of the parallel fifths, and of the octaves, in 100 changes of a four-part chord. Styles have
# 2 or 6.
FEW_PARALLELS = 3.0
FEWEST_CHANGES = 20  # in a piece, for it to be counted
FEWEST_PIECES = 5  # that are counted in a style, for it to be judged
MOST_PIECES = 100  # of a style that are looked at

# The facts of a bundle about whose archive nothing is known.
NO_FACTS: dict[str, Any] = {
    "copying": weights_to_json(NO_WEIGHTS),
    "plans": {},
    "archive": {},
    "voices": [],
}


def styles_in_voices(dataset: Dataset, vocabulary: Vocabulary) -> list[str]:
    """The styles whose pieces avoid parallel fifths and octaves, as music for voices does.

    Counted over the pieces that have at least `FEWEST_CHANGES` changes of a four-part chord.
    """
    by_style: defaultdict[int, list[int]] = defaultdict(list)
    for number in training_pieces(dataset):
        by_style[int(dataset.style_ids[number])].append(int(number))
    numbers = [n for own in by_style.values() for n in own[:: 1 + len(own) // MOST_PIECES]]
    counts: defaultdict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for piece in pieces_of(dataset, vocabulary, np.array(numbers, np.int64)):
        music, _ = music_of(piece.ids, vocabulary)
        if music is not None:
            found = parallel_counts(music, piano_roll(music))
            if found[2] >= FEWEST_CHANGES:
                counts[piece.style].append(found)
    totals = {style: np.sum(found, axis=0) for style, found in counts.items()}
    return sorted(
        style
        for style, (fifths, octaves, changes) in totals.items()
        if len(counts[style]) >= FEWEST_PIECES
        and max(fifths, octaves) < FEW_PARALLELS / 100 * changes
    )


def facts_of(model: MusicModel, dataset: Dataset) -> dict[str, Any]:
    """The fields of bundle.json that are read off the training pieces."""
    vocabulary = Vocabulary(vocabulary_entries(make_tokenizer()))
    plans, archive = plans_and_archive(dataset, vocabulary)
    weights, fit = fit_weights(model, dataset, vocabulary)
    print(f"weights of copies: {json.dumps(fit)}")
    return {
        "copying": weights_to_json(weights),
        "plans": plans,
        "archive": archive,
        "voices": styles_in_voices(dataset, vocabulary),
    }


def main() -> None:
    parser = Parser("training.model.archive_facts", "Write what the archive is like into a bundle.")
    parser.add_argument(
        "--bundle",
        type=options.folder,
        default="layers/model",
        help="folder whose bundle.json is rewritten (default: %(default)s)",
    )
    parser.add_argument(
        "--dataset",
        type=options.file("training.data.dataset"),
        default="build/dataset.npz",
        help="made by training.data.dataset, whose training pieces are read (default: %(default)s)",
    )
    a = parser.parse_args()
    parser.read("--bundle", a.bundle, Bundle.load, "a bundle")
    model = parser.read("--bundle", a.bundle, load_weights, "a bundle with weights")[0]
    dataset = parser.read("--dataset", a.dataset, Dataset.load, DATASET)
    manifest = read_manifest(a.bundle)
    try:
        facts = facts_of(model, dataset)
    except ValueError as error:
        raise SystemExit(f"nothing was written: {error}") from error
    with tempfile.TemporaryDirectory(dir=a.bundle.parent) as scratch:
        # The facts are tried in a copy, so that a wrong one leaves the bundle as it was.
        tried = Path(shutil.copytree(a.bundle, Path(scratch) / "model"))
        write_manifest(tried, manifest | facts)
        Composer(Bundle.load(tried))
        (tried / MANIFEST_FILE).replace(a.bundle / MANIFEST_FILE)
    counts = {style: sum(map(len, m.values())) for style, m in facts["plans"].items()}
    print(json.dumps({"plans": counts, "voices": facts["voices"], "copying": facts["copying"]}))


if __name__ == "__main__":
    main()
