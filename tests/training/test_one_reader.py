"""A file is the same music wherever it enters: as a prompt, into the data set, the evaluation.

The notebook draws what the same reader gives.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from miditok import MusicTokenizer

from contract.bundle import Bundle
from contract.errors import PromptError
from midi_save.prompt import ids_of_prompt
from tests.midi_save.music import midi_file, scale
from tests.midi_save.test_reading import HEADER, PLAIN, eighths, track
from training.data.archive import Source
from training.data.piece import read_piece
from training.data.reasons import TOO_FEW
from training.evaluation.scoring import Measured, measure

EVENTS = PLAIN[22:]
SAME = {
    "in RIFF": b"RIFF\0\0\0\0RMIDdata\0\0\0\0" + PLAIN,
    "a header of ten bytes": PLAIN[:7] + b"\x0a" + PLAIN[8:14] + bytes(4) + PLAIN[14:],
    "a track that says it is longer": PLAIN[:18] + b"\0\0\x7f\xff" + PLAIN[22:],
    "the last byte is missing": PLAIN[:-1],
    "a tempo of 0": HEADER + track(b"\0\xff\x51\3\0\0\0" + EVENTS),
    "running status after SysEx": HEADER
    + track(EVENTS[:6] + b"\x24\0" + b"\0\xf0\2\1\xf7" + b"\0\x25\x50" + EVENTS[13:]),
    "late by 16 ticks": HEADER + track(b"\x10" + EVENTS[1:]),
}
NO_END = {
    "ends on another channel": HEADER + track(eighths(b"\x90", b"\x81")),
    "ends nowhere": HEADER + track(eighths(b"\x90", b"\xa0")),
}
DRUMS = HEADER + track(b"\0\xb0\0\x78\0\xc0\0" + EVENTS)  # GM2's bank of drums, on channel 1


def entered(
    midi: bytes, tokenizer: MusicTokenizer, bundle: Bundle, path: Path
) -> tuple[list[int], list[int], dict[str, list[float]]]:
    """Ids as a prompt, ids in the data set, features in the evaluation."""
    path.write_bytes(midi)
    piece = read_piece(Source(path, "folk"))
    measured = measure(midi, 60, Measured("", "folk"))
    assert not piece.why and not measured.why and measured.features is not None
    prompt = ids_of_prompt(midi, tokenizer, bundle)
    return prompt, piece.ids.tolist(), {k: v.tolist() for k, v in measured.features.items()}


@pytest.mark.parametrize("name", SAME)
def test_what_a_player_plays_enters_everywhere_as_the_same_music(
    name: str, bundle: Bundle, tokenizer: MusicTokenizer, tmp_path: Path
) -> None:
    expected = entered(PLAIN, tokenizer, bundle, tmp_path / "a.mid")
    np.testing.assert_equal(entered(SAME[name], tokenizer, bundle, tmp_path / "a.mid"), expected)


@pytest.mark.parametrize("name", NO_END)
def test_no_note_vanishes_because_it_does_not_end(
    name: str, bundle: Bundle, tokenizer: MusicTokenizer, tmp_path: Path
) -> None:
    *_, features = entered(NO_END[name], tokenizer, bundle, tmp_path / "a.mid")
    assert features["notes"] == [96]


def test_drums_are_left_out_everywhere(
    bundle: Bundle, tokenizer: MusicTokenizer, tmp_path: Path
) -> None:
    with pytest.raises(PromptError, match="0 usable notes"):
        ids_of_prompt(DRUMS, tokenizer, bundle)
    (tmp_path / "a.mid").write_bytes(DRUMS)
    assert read_piece(Source(tmp_path / "a.mid", "folk")).why == TOO_FEW
    assert measure(DRUMS, 60, Measured("")).why == "unreadable: no notes"


def test_a_damaged_time_is_refused_everywhere(
    bundle: Bundle, tokenizer: MusicTokenizer, tmp_path: Path
) -> None:
    midi = midi_file([*scale(96), (480 * 30_000, 480, 60)])
    with pytest.raises(PromptError, match="30001 beats long"):
        ids_of_prompt(midi, tokenizer, bundle)
    (tmp_path / "a.mid").write_bytes(midi)
    assert read_piece(Source(tmp_path / "a.mid", "folk")).why == "too short or too long"
    assert "longer than 20,000 beats" in measure(midi, 60, Measured("")).why
