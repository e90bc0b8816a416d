"""id3.py: what is written is what mutagen reads, whatever the text."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutagen.id3 import ID3

from midi_save.publishing.id3 import ALBUM, ARTIST, DATE, ENCODING, LONGEST, TITLE, id3_tag

HOSTILE = ["<script>alert(1)</script>", "Fuge in g\N{MUSIC FLAT SIGN} \U0001f3b9", "a\0b", "\ud800"]


def read(tag: bytes) -> ID3:
    return ID3(io.BytesIO(tag + bytes(400)))


def test_all_kinds_of_frames_are_read_back() -> None:
    texts = {TITLE: "Chorale in G", ARTIST: "a model", ALBUM: "midi-archive", DATE: "2026-11-27"}
    texts[ENCODING] = "LAME 96 kbit/s"
    own = {"seed": "7", "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/"}
    frames = read(id3_tag(texts, own, "Composed by a machine"))
    assert frames.version == (2, 4, 0)
    assert {name: str(frames[name]) for name in texts} == texts
    assert {name: str(frames[f"TXXX:{name}"]) for name in own} == own
    assert str(frames["COMM::eng"]) == "Composed by a machine"
    assert len(frames) == len(texts) + len(own) + 1


def test_the_tag_says_where_the_sound_begins() -> None:
    for length in (0, 100, 127, 128, 9_999):
        tag = id3_tag({TITLE: "x" * length}, {})
        size = 0
        for byte in tag[6:10]:
            assert byte < 128
            size = size << 7 | byte
        assert len(tag) == 10 + size


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_comes_back_as_text(text: str) -> None:
    frames = read(id3_tag({TITLE: text}, {text: text}, text))
    readable = text.replace("\0", " ").encode("utf-8", "replace").decode()
    assert frames["TIT2"].text == [readable]
    assert [frame.text for frame in frames.getall("TXXX")] == [[readable]]
    assert [frame.text for frame in frames.getall("COMM")] == [[readable]]


def test_a_very_long_text_is_cut() -> None:
    assert read(id3_tag({TITLE: "\N{MUSIC SHARP SIGN}" * 10**6}, {}))["TIT2"].text[0] == (
        "\N{MUSIC SHARP SIGN}" * LONGEST
    )


@given(st.text(min_size=1), st.text(min_size=1))
def test_any_text_comes_back(title: str, comment: str) -> None:
    frames = read(id3_tag({TITLE: title}, {}, comment))
    assert str(frames["TIT2"]) == title.replace("\0", " ")
    assert [str(f) for f in frames.getall("COMM")] == [comment.replace("\0", " ")]
