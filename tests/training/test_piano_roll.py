"""Sections above a piano roll, as a piece's record names them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from symusic.core import NoteSecond, ScoreSecond, TrackSecond

from training.evaluation.piano_roll import draw_piano_roll, sections_of

RECORD: dict[str, Any] = {
    "form": {"letters": ["A", "B", "A'"], "bars": [8, 4, 8]},
    "request": {"tempo": 120, "metre": "3/4"},
}


def test_a_records_sections_last_as_many_seconds_as_their_bars() -> None:
    # a bar of 3/4 at 120 quarter notes a minute lasts 1.5 s
    assert sections_of(RECORD) == [(0, 12, "A"), (12, 18, "B"), (18, 30, "A'")]
    in_eighths = {**RECORD, "request": {"tempo": 60, "metre": "6/8"}}
    assert sections_of(in_eighths)[0] == (0, 24, "A")


def test_a_record_without_a_form_has_no_sections_and_a_wrong_one_is_refused() -> None:
    assert sections_of({}) == [] and sections_of({"form": None}) == []
    for request in ({}, {"tempo": None, "metre": "3/4"}, {"tempo": 90, "metre": "3"}):
        with pytest.raises(ValueError, match=r"needs form.letters.*request.metre"):
            sections_of({**RECORD, "request": request})


def test_letters_stand_above_the_roll_and_variants_share_a_colour() -> None:
    track = TrackSecond("", 0, False)
    track.notes.append(NoteSecond(0, 29, 60, 64))
    score = ScoreSecond(480)
    score.tracks.append(track)
    axes = Figure().subplots()
    draw_piano_roll(score, axes, "title", [*sections_of(RECORD), (95, 99, "C")])
    texts = {text.get_text(): text.get_position() for text in axes.texts}
    assert list(texts) == ["A", "B", "A'"]  # what is beyond the picture is left out
    assert texts["B"][0] == 15 and texts["B"][1] > 1
    colours = [np.asarray(strip.get_facecolor()).tolist() for strip in axes.collections]
    assert colours[0] == colours[2] != colours[1]
