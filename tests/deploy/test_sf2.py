"""sf2.py: a trimmed bank sounds the same, and whatever is no SoundFont is refused in words."""

from __future__ import annotations

import struct
from pathlib import Path

import midirenderer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy import soundfont
from deploy.sf2 import Sf2, Sf2Error, trimmed
from tests.midi_save.music import midi_file
from tests.sound_fonts import FRAMES, GAP, LOOPED, SAMPLE, sound_font

PROGRAMS = (0, 6, 11, 19, 24, 43, 46, 48, 52, 60, 68, 73)  # of the released bundle
BUILD = Path(__file__).parents[2] / "build"


@pytest.fixture(scope="module")
def whole() -> bytes:
    return soundfont.fetch(BUILD).read_bytes()


@pytest.fixture(scope="module")
def small(whole: bytes) -> bytes:
    font = Sf2.read(whole)
    return trimmed(font, {program: font.presets[program] for program in PROGRAMS})


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_program_sounds_the_same_from_the_trimmed_bank(
    program: int, whole: bytes, small: bytes
) -> None:
    keys = range(21, 109, 4)
    midi = midi_file([(i * 96, 90, key) for i, key in enumerate(keys)], program=program)
    assert midirenderer.render_wave_from(small, midi) == midirenderer.render_wave_from(whole, midi)


def test_the_trimmed_bank_is_much_smaller_and_trimming_it_again_changes_nothing(
    whole: bytes, small: bytes
) -> None:
    assert len(small) < 0.4 * len(whole)
    font = Sf2.read(small)
    assert sorted(font.presets) == list(PROGRAMS)
    assert trimmed(font, font.presets) == small
    assert font.texts == Sf2.read(whole).texts


@given(st.sets(st.sampled_from(range(8)), min_size=1), st.integers(1, 8))
def test_any_choice_of_programs_keeps_their_samples_and_no_others(
    wanted: set[int], extra: int
) -> None:
    font = Sf2.read(sound_font([(0, program) for program in range(8)]))
    small = Sf2.read(trimmed(font, {p: font.presets[p] for p in wanted}))
    assert {*small.presets} == wanted
    assert len(small.samples) == 2 * len(wanted) * (FRAMES + GAP)
    for new, old in enumerate(sorted(wanted)):
        _, start, end, *_ = small.lists["shdr"][new]
        at = old * (FRAMES + GAP) * 2
        assert small.samples[start * 2 : end * 2] == font.samples[at : at + FRAMES * 2]


def test_a_preset_can_stand_for_another_program() -> None:
    font = Sf2.read(sound_font([(0, 5)]))
    small = Sf2.read(trimmed(font, {5: 0, 7: 0}))
    assert {*small.presets} == {5, 7}
    assert len(small.lists["shdr"]) == 2  # the sample once, and the end


def test_drums_and_other_banks_are_no_instruments() -> None:
    assert Sf2.read(sound_font([(128, 0), (8, 0), (0, 3)])).presets == {3: 2}


def test_texts_are_read_without_what_no_page_should_hold() -> None:
    texts = [(b"INAM", b"A \x07name\nof two\0rest"), (b"IENG", b"\xff?"), (b"ICOP", b"x" * 999)]
    font = Sf2.read(sound_font(texts=texts))
    assert font.text("INAM") == "A name of two"
    assert font.text("IENG") == "\ufffd?"
    assert font.text("ICOP") == "x" * 200
    assert font.text("ICMT") == ""


def read_and_trim(data: bytes) -> Sf2:
    font = Sf2.read(data)
    return Sf2.read(trimmed(font, font.presets))


def test_the_synthesiser_takes_what_is_trimmed_whatever_its_texts() -> None:
    """RustySynth itself refuses texts of odd length and those that the specification has not."""
    midi = midi_file([(0, 480, 60)])
    for texts in ([(b"INAM", b"odd")], [(b"XXXX", b"even")]):
        data = sound_font(texts=texts)
        with pytest.raises(RuntimeError):
            midirenderer.render_wave_from(data, midi)
        font = Sf2.read(data)
        assert midirenderer.render_wave_from(trimmed(font, font.presets), midi)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no SoundFont"),
        (b"MThd" + bytes(100), "no SoundFont"),
        (b"RIFF\4\0\0\0sfbk", "has no smpl, phdr"),
        (sound_font()[:-10], "truncated: "),
        (sound_font().replace(b"shdr", b"shxx"), "has no shdr"),
        (sound_font().replace(b"pgen\x0c", b"pgen\x0b"), "pgen has 11 bytes"),
        (sound_font().replace(b"smpl\xf8\6", b"smpl\xf8\7"), "'smpl' is truncated"),
        (sound_font(sample_type=0x10 | 1), r"'S' is compressed \(SF3\)"),
        (sound_font(sample_type=0x8001), "in a sound card's memory"),
        (sound_font(generators=[(0, -1)]), "'S' goes from -1 to 400 of"),
        (sound_font(generators=[(12, 1)]), "'S' goes from 0 to 33168 of"),
        (sound_font(generators=[(50, 1), (LOOPED, 1)]), "loop of the sample 'S' goes from 100 to"),
        (sound_font(generators=[(2, 300), (LOOPED, 1)]), "loop of the sample 'S' goes from 400 to"),
        (sound_font(generators=[(SAMPLE, 7)]), "sample 7 is used, but not there"),
        (sound_font().replace(struct.pack("<HH", 41, 1), struct.pack("<HH", 41, 9)), "entry 9 of"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(data: bytes, why: str) -> None:
    with pytest.raises(Sf2Error, match=why):
        read_and_trim(data)


@given(
    st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=12),
    st.integers(0, 5000),
)
def test_a_damaged_file_is_refused_or_what_is_written_can_be_read(
    damage: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(sound_font([(0, program) for program in range(4)], generators=[(0, 2)]))
    for place, value in damage:
        data[place % len(data)] = value
    del data[len(data) - cut % 40 :]
    try:
        font = Sf2.read(bytes(data))
        small = Sf2.read(trimmed(font, font.presets))
    except Sf2Error:
        return
    assert small.presets.keys() == font.presets.keys()
    assert trimmed(small, small.presets)
