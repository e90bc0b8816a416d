"""Writes an ID3v2.4 tag, which tells players what an MP3 file is.

Implements what we write of https://id3.org/id3v2.4.0-structure and -frames: text in UTF-8, nothing
compressed. Depends on nothing of ours.
"""

from __future__ import annotations

from collections.abc import Mapping

# The names of frames: title, artist, album, date, settings of the encoding.
TITLE, ARTIST, ALBUM, DATE, ENCODING = "TIT2", "TPE1", "TALB", "TDRC", "TSSE"
LONGEST = 10_000  # characters of a text: nobody reads more, and sizes are limited to 28 bits
UTF_8 = b"\x03"


def id3_tag(texts: Mapping[str, str], own: Mapping[str, str], comment: str = "") -> bytes:
    """A tag with `texts` by the name of their frame, `own` facts (frames TXXX) by theirs, and a
    comment in English.
    """
    frames = [_frame(name, UTF_8 + _text(text)) for name, text in texts.items()]
    if comment:
        frames.append(_frame("COMM", UTF_8 + b"eng" + b"\0" + _text(comment)))
    for name, text in own.items():
        frames.append(_frame("TXXX", UTF_8 + _text(name) + b"\0" + _text(text)))
    body = b"".join(frames)
    return b"ID3\x04\0\0" + _size(len(body)) + body


def _frame(name: str, body: bytes) -> bytes:
    return name.encode("ascii") + _size(len(body)) + b"\0\0" + body


def _text(text: str) -> bytes:
    """NUL separates texts in a frame, so that it cannot be in one."""
    return text[:LONGEST].replace("\0", " ").encode("utf-8", "replace")


def _size(number: int) -> bytes:
    """28 bits, seven to a byte, so that no byte looks like the beginning of sound."""
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))
