"""The check of a batch: what its pieces share, and a wrong event named before any is made."""

from __future__ import annotations

import json
from typing import Any

import pytest

from contract.bundle import Bundle
from contract.errors import EventError, TokensError
from contract.request import parse_request
from generate_tokens.batch import LONGEST_NAME, check_batch, is_check


def message(name: str = "batch-1", **event: Any) -> dict[str, Any]:
    execution = {"name": name, "started": "2026-11-22T23:59:59Z"}
    return {"task": "check", "job": {"request": event, "execution": execution}}


def test_a_check_is_told_from_a_job() -> None:
    assert is_check(message(pieces=3))
    others: list[object] = [message()["job"], None, [], "check", {"task": 1}]
    assert not any(map(is_check, others))


def test_all_pieces_share_the_event_and_its_day(
    bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_batch(message(pieces=3, style="folk", piece=None), bundle) == {
        "name": "batch-1",
        "date": "2026-11-22",
        "pieces": 3,
        "items": [1, 2, 3],
        "event": {"pieces": 3, "style": "folk", "piece": None, "date": "2026-11-22"},
    }
    line = json.loads(capsys.readouterr().out)
    assert (line["task"], line["execution"], line["pieces"]) == ("check", "batch-1", 3)


def test_what_it_gives_each_piece_is_a_legal_event(bundle: Bundle) -> None:
    batch = check_batch(message(pieces=1000, seed=7, date="2026-11-21T06:00:00Z"), bundle)
    assert batch["items"] == [*range(1, 1001)]
    for piece in (1, 1000):
        request = parse_request({**batch["event"], "piece": piece}, bundle, "2027-01-01T00:00:00Z")
        assert (request.date, request.pieces, request.piece) == ("2026-11-21", 1000, piece)


@pytest.mark.parametrize(
    ("event", "word"),
    [
        ({"pieces": "many"}, "pieces must be"),
        ({"pieces": 3, "style": "polka"}, "style must be"),
        ({"pieces": 3, "colour": "red"}, "colour"),
        ({"pieces": 3, "piece": 1}, "no piece"),
        ({}, "a batch has pieces"),
    ],
)
def test_a_wrong_event_is_refused_by_name(event: dict[str, Any], word: str, bundle: Bundle) -> None:
    with pytest.raises(EventError, match=word):
        check_batch(message(**event), bundle)


@pytest.mark.parametrize(
    "broken", [{"task": "check"}, {"task": "check", "job": {"request": {"pieces": 2}}}]
)
def test_a_message_out_of_form_is_refused(broken: dict[str, Any], bundle: Bundle) -> None:
    with pytest.raises(TokensError, match="job"):
        check_batch(broken, bundle)


def test_the_names_of_the_pieces_fit_and_stay_apart(bundle: Bundle) -> None:
    names = ["n" * LONGEST_NAME, "n" * 79 + "a", "n" * 79 + "b"]
    checked = [check_batch(message(name, pieces=2), bundle)["name"] for name in names]
    assert checked[0] == names[0]
    assert len(set(checked)) == 3
    # Piece, redrive and attempt, as statemachine.asl.json adds them.
    assert all(len(f"{name}-1000-1000-1") <= 80 for name in checked)
