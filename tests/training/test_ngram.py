"""The n-gram floor: its chances against a slow reference, its accounting, its pieces."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from symusic.core import ScoreTick

from music.grammar import REMI_TRANSITIONS, Grammar
from music.tracker import MusicState, Vocabulary
from tests.training.conftest import write_tune
from training.data.dataset import (
    Dataset,
    Source,
    build_dataset,
    make_tokenizer,
    read_piece,
    vocabulary_entries,
)
from training.evaluation.ngram import EVALUATED_SECONDS, PREFIX, Counts, Floor, NGrams, first_minute
from training.model.windows import EVALUATED_SECONDS as WINDOWS_SECONDS
from training.model.windows import Windows

VOCABULARY = 7
Context = tuple[int, ...]


def sequences(seed: int = 0) -> list[np.ndarray]:
    """Five sequences that favour the successor of an id."""
    rng = np.random.default_rng(seed)
    made = []
    for length in (3, 30, 41, 50, 64):
        ids = [1]
        for _ in range(length):
            ids.append((ids[-1] % 6) + 1 if rng.random() < 0.6 else int(rng.integers(1, 7)))
        made.append(np.array(ids))
    return made


def slow_chance(
    tables: list[Counter[Context]], discounts: list[np.ndarray], context: Context, token: int
) -> float:
    """The textbook recursion; ``tables[k]`` counts the n-grams of k + 1 ids."""
    if not tables:
        return 1 / VOCABULARY
    lower = slow_chance(tables[:-1], discounts[:-1], context[1:], token)
    followers = {gram[-1]: n for gram, n in tables[-1].items() if gram[:-1] == context}
    total = sum(followers.values())
    if not total:
        return lower
    freed = sum(discounts[-1][min(n, 3)] for n in followers.values())
    own = followers.get(token, 0)
    return float((own - discounts[-1][min(own, 3)] + freed * lower) / total)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_chances_are_those_of_the_slow_reference(order: int) -> None:
    data = sequences()
    ngrams = NGrams(data, VOCABULARY, 4, given=1)
    counted: list[Counter[Context]] = [Counter() for _ in range(order)]
    for ids in data:
        padded = (0,) * 3 + tuple(ids.tolist())
        for end in range(5, len(padded) + 1):  # after the first id, which is given
            for k in range(order):
                counted[k][padded[end - k - 1 : end]] += 1
    tables = counted[-1:]
    for longer in reversed(counted[1:]):  # below the highest order: distinct ids before
        before = defaultdict(set)
        for gram in longer:
            before[gram[1:]].add(gram[0])
        tables.insert(0, Counter({gram: len(ids) for gram, ids in before.items()}))
    discounts = []
    for k, table in enumerate(tables):
        keys = np.array(sorted(range(len(table))))
        counts = np.array([table[gram] for gram in sorted(table)])
        discounts.append(Counts(keys, counts, 3).discounts)
        assert len(next(iter(table))) == k + 1
    for history in ([1], [1, 2, 3], [6, 6, 6, 6], data[2][:20].tolist()):
        context = ((0, 0, 0, *history))[len(history) + 4 - order :]
        expected = [slow_chance(tables, discounts, context, t) for t in range(VOCABULARY)]
        assert np.allclose(ngrams.distribution(history, order), expected)


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_chances_sum_to_one_after_any_history(order: int) -> None:
    ngrams = NGrams(sequences(), VOCABULARY, 5, given=1)
    rng = np.random.default_rng(1)
    for length in (1, 2, 3, 8):
        for _ in range(20):
            chances = ngrams.distribution(rng.integers(0, VOCABULARY, length).tolist(), order)
            assert chances.sum() == pytest.approx(1)
            assert (chances > 0).all()


def test_a_longer_history_foretells_what_it_decides() -> None:
    # the id after 1 is 2 or 3 by turns, so two ids must be known
    ngrams = NGrams([np.array([1, 2, 1, 3] * 200)], VOCABULARY, 3)
    assert ngrams.distribution([2, 1], 3)[3] > 0.95
    assert ngrams.distribution([2, 1], 2)[3] == pytest.approx(0.5, abs=0.01)


def test_ids_that_do_not_fit_into_a_key_are_refused() -> None:
    with pytest.raises(ValueError, match="63 bits"):
        NGrams([np.array([1, 2, 3])], 429, 7)


def test_the_first_minute_ends_where_the_models_does(tmp_path: Path) -> None:
    assert EVALUATED_SECONDS == WINDOWS_SECONDS
    vocabulary = Vocabulary(vocabulary_entries(make_tokenizer()))
    paths = [write_tune(tmp_path / f"{n}.mid", n, notes=n) for n in (100, 400)]
    dataset, _ = build_dataset([read_piece(Source(p, "folk")) for p in paths])
    dataset.validation[:] = [False, True]
    windows = Windows(dataset, vocabulary, 64)
    for piece in (0, 1):
        ids = dataset.ids[dataset.starts[piece] : dataset.starts[piece + 1]].astype(np.int64)
        stop = 1 + first_minute(ids, float(dataset.seconds[piece]), vocabulary)
        counted = [w.targets[first:] for w, first, _ in windows.validation(np.array([piece]))]
        assert np.array_equal(np.concatenate(counted), ids[PREFIX:stop])
        assert (stop == len(ids)) == (piece == 0), "only the long tune is cut"


@pytest.fixture(scope="module")
def floor(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Floor:
    path = tmp_path_factory.mktemp("floor") / "set.npz"
    dataset.save(path)
    return Floor(path, 4)


def test_the_order_that_predicts_best_is_taken(
    floor: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(floor.nats) == 4
    assert floor.nats[floor.order - 1] == min(floor.nats) < floor.nats[0] / 2
    facts = floor.facts()
    assert facts["order"] == floor.order
    assert facts["nats_per_note"] < facts["unigram_nats_per_note"]
    assert facts["test_nats_per_note"] < facts["unigram_nats_per_note"]
    assert facts["test_nats_per_note"] != facts["nats_per_note"]
    none = replace(floor.pieces, test=np.zeros_like(floor.pieces.test))
    monkeypatch.setattr(floor, "pieces", none)
    assert floor.facts()["test_nats_per_note"] is None


def test_counts_are_of_training_pieces_only(floor: Floor, dataset: Dataset) -> None:
    assert floor.pieces.training == np.flatnonzero(dataset.training).tolist()
    assert len(floor.pieces.training) == 12 - 2 - 1


def test_its_pieces_keep_to_the_grammar_and_decode_to_their_notes(
    floor: Floor, tmp_path: Path
) -> None:
    ids = floor.sample(8, np.random.default_rng(3))
    assert ids == floor.sample(8, np.random.default_rng(3))
    grammar, state = Grammar(floor.vocabulary, REMI_TRANSITIONS), MusicState(floor.vocabulary)
    for token in [*floor.pieces.piece(0)[:PREFIX].tolist(), *ids]:
        assert state.kind == 0 or grammar.permits(token, state, may_end=False)
        state.step(token)
    assert 8 <= state.seconds < 40
    floor.write_samples(tmp_path, 2, 8, seed=5)
    names = [path.name for path in sorted(tmp_path.iterdir())]
    assert names == ["ngram_00.mid", "ngram_01.mid"]
    expected = floor.sample(8, np.random.default_rng([5, 1]))
    notes = sum(floor.vocabulary.entries[token][0] == "Pitch" for token in expected)
    assert ScoreTick.from_file(tmp_path / names[1]).note_num() == notes > 0
