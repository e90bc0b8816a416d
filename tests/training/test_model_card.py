"""The card says what the run says, and nothing of data that it does not know."""

from __future__ import annotations

from training.model.model_card import COMPARED, model_card

FACTS = {
    "parameters": 1234,
    "pieces": 5,
    "styles": {"folk": 4, "hymn": 2},
    "validation_pieces": 1,
    "test_pieces": 3,
    "dataset_tokens": 999,
    "validation_nats_per_note": 3.21,
    "tokens_seen": 4096,
    "wall_minutes": 1.5,
    "context": 64,
    "parity_float32": {"max_logit_difference": 1e-6, "kl": 0.0},
    "commit": "abc",
    "date": "2026-01-01",
}


def test_the_card_holds_the_figures_and_the_note() -> None:
    card = model_card(FACTS, "My own songs, all mine.")
    assert "3.21" in card and "1,234 parameters" in card and "My own songs" in card
    assert "folk 4, hymn 2" in card
    assert "5 pieces for training, 1 for validation and 3 for the test" in card


def test_without_a_note_nothing_is_claimed_about_the_data() -> None:
    card = model_card({**FACTS, "validation_nats_per_note": None})
    assert "Not stated" in card and "public domain" not in card and "none held out" in card


def test_an_evaluation_is_laid_beside_the_real_pieces() -> None:
    figures = dict.fromkeys(COMPARED, 0.25)
    evaluation = {
        **figures,
        "nats_per_note": 2.125,
        "seconds": 60.0,
        "pieces": {"generated": 48, "real": 94},
        "real": {**figures, "oa": 0.875, "longest_shared_run": None},
    }
    card = model_card(FACTS, "", evaluation)
    assert "| 0.25 | 0.875 |" in card and "| 0.25 | none |" in card
    assert "48 samples of 60 s against 94" in card and "2.125 nats" in card


def test_what_the_weights_learned_before_stands_in_the_card() -> None:
    before = {
        "dataset_sha256": "0123456789abcdef",
        "pieces": 7,
        "dataset_tokens": 70,
        "tokens": 700,
    }
    card = model_card(
        {**FACTS, "trained_before": [{**before, "note": "Hymns of\nmy village."}]}, "My own songs."
    )
    assert "1. 700 tokens of 7 pieces (data set 0123456789ab, 70 tokens):\n" in card
    assert "   > Hymns of\n   > my village.\n" in card.partition("My own songs")[2]
    assert "had learned before" not in model_card(FACTS)
