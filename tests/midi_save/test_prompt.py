"""Prompts: the last bars as tokens; whatever is not MIDI is refused by what it is."""

from __future__ import annotations

import dataclasses
import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from miditok import MusicTokenizer

from contract.bundle import Bundle
from contract.errors import PromptError
from midi_save.prompt import ids_of_prompt
from tests.midi_save.music import midi_file, scale


def names(ids: list[int], bundle: Bundle) -> list[str]:
    return ["_".join(bundle.vocabulary[token_id]) for token_id in ids]


def test_a_short_prompt_is_kept_whole(bundle: Bundle, tokenizer: MusicTokenizer) -> None:
    tokens = names(ids_of_prompt(midi_file(scale(16)), tokenizer, bundle), bundle)
    assert tokens[:3] == ["Bar_None", "TimeSig_4/4", "Position_0"]
    assert tokens[3].startswith("Tempo_")
    assert tokens[4:7] == ["Program_0", "Pitch_60", "Duration_0.6.12"]
    assert sum(token.startswith("Pitch_") for token in tokens) == 16
    assert tokens.count("Bar_None") == 2


def test_of_a_long_prompt_the_last_bars_that_fit_are_kept(
    bundle: Bundle, tokenizer: MusicTokenizer
) -> None:
    notes = scale(400)
    tokens = names(ids_of_prompt(midi_file(notes, program=73), tokenizer, bundle), bundle)
    # A bar of eight eighths is 2 + 8 x 3 tokens; the first has a tempo and a program more.
    assert len(tokens) == 9 * 26 + 2
    assert tokens[0] == "Bar_None"
    # What was in force at the cut is said again.
    assert tokens[3].startswith("Tempo_")
    assert tokens[4] == "Program_73"
    pitches = [int(t.partition("_")[2]) for t in tokens if t.startswith("Pitch_")]
    assert pitches == [pitch for _, _, pitch in notes[-72:]]


def test_the_metre_at_the_cut_is_kept(bundle: Bundle, tokenizer: MusicTokenizer) -> None:
    midi = midi_file(scale(300), metre=(6, 8))
    tokens = names(ids_of_prompt(midi, tokenizer, bundle), bundle)
    assert 200 < len(tokens) <= 256
    assert {t for t in tokens if t.startswith("TimeSig")} == {"TimeSig_6/8"}
    assert {t for t in tokens if t.startswith("Position")} == {
        f"Position_{12 * i}" for i in range(6)
    }


def test_one_overlong_bar_is_cut_after_a_whole_note(
    bundle: Bundle, tokenizer: MusicTokenizer
) -> None:
    chords = [(tick * 40, 40, 36 + key) for tick in range(48) for key in range(0, 60, 5)]
    small = dataclasses.replace(bundle, model={"context": 128})
    tokens = names(ids_of_prompt(midi_file(chords), tokenizer, small), bundle)
    assert 60 <= len(tokens) <= 64
    assert tokens[0] == "Bar_None"
    assert tokens[-1].startswith("Duration_")


def test_a_metre_after_the_last_note_takes_no_room(
    bundle: Bundle, tokenizer: MusicTokenizer
) -> None:
    """A bar of 7/8 is two for the tokenizer, and the second begins while the last note sounds."""
    notes = [*scale(300), (300 * 240, 960, 60)]
    midi = midi_file(notes, metre=(7, 8))
    tokens = names(ids_of_prompt(midi, tokenizer, bundle), bundle)
    assert tokens[-1].startswith("Duration_") and 200 < len(tokens) <= 256
    alternating = [token for token in tokens if token.startswith("TimeSig")]
    assert alternating[:2] in (["TimeSig_4/8", "TimeSig_3/8"], ["TimeSig_3/8", "TimeSig_4/8"])


WORST = (
    "notes off the grid",
    "two notes a tick",
    "metre 07 03, long",
    "metre 3f 06 at every tick",
    "a long number of ff",
)


def test_hostile_prompts_take_two_seconds_and_half_a_gigabyte_at_most() -> None:
    """The worst of them; `python -m tests.midi_save.bombs` tries all."""
    command = [sys.executable, "-m", "tests.midi_save.bombs", *WORST]
    root = Path(__file__).parents[2]
    run = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    lines = run.stdout.splitlines()
    took = {name: (cpu_s, peak_mb) for name, cpu_s, peak_mb, _ in map(json.loads, lines)}
    assert set(took) == set(WORST)
    assert all(cpu_s < 2 and peak_mb < 512 for cpu_s, peak_mb in took.values()), took


def test_the_same_prompt_gives_the_same_tokens(bundle: Bundle, tokenizer: MusicTokenizer) -> None:
    midi = midi_file(scale(100))
    assert ids_of_prompt(midi, tokenizer, bundle) == ids_of_prompt(midi, tokenizer, bundle)


def header(division: int) -> bytes:
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, division)


@pytest.mark.parametrize(
    ("midi", "reason"),
    [
        (b"", "the prompt is empty"),
        (b"<!DOCTYPE html><html>404</html>", "not MIDI: it begins with b'<!DOCTYPE ht'"),
        (b"RIFF" + bytes(100), "a RIFF file without MIDI"),
        (b"MThd" + bytes(1_000_001), r"is 1\.0 MB; the limit is 1 MB"),
        (midi_file(scale(16))[:13], "it ends within its header"),
        (header(480), "0 usable notes"),
        (header(0) + midi_file(scale(16))[14:], "time is not counted in beats"),
        (header(0xE728) + midi_file(scale(16))[14:], "damaged MIDI"),  # SMPTE frames
        (midi_file([]), "0 usable notes"),
        (midi_file(scale(7)), "7 usable notes"),
        (midi_file(scale(16), channel=9), "0 usable notes"),  # the drum channel
        (midi_file([*scale(16), (480 * 30_000, 480, 60)]), "30001 beats long"),
        (midi_file([*scale(16), (2**27, 1, 60)], ticks_per_beat=1), "damaged MIDI|beats long"),
    ],
)
def test_a_bad_prompt_is_refused_by_what_it_is(
    midi: bytes, reason: str, bundle: Bundle, tokenizer: MusicTokenizer
) -> None:
    with pytest.raises(PromptError, match=reason):
        ids_of_prompt(midi, tokenizer, bundle)


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_a_damaged_prompt_gives_tokens_or_a_prompt_error(
    data: st.DataObject, bundle: Bundle, tokenizer: MusicTokenizer
) -> None:
    midi = bytearray(midi_file(scale(24)))
    for place in data.draw(st.lists(st.integers(0, len(midi) - 1), max_size=6)):
        midi[place] = data.draw(st.integers(0, 255))
    midi = midi[: len(midi) - data.draw(st.integers(0, 40))]
    try:
        ids = ids_of_prompt(bytes(midi), tokenizer, bundle)
    except PromptError:
        return
    assert 0 < len(ids) <= bundle.context // 2
    assert bundle.vocabulary[ids[0]][0] == "Bar"
