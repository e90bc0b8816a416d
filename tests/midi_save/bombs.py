"""MIDI files no larger than a prompt may be, made to cost their reader time or memory.

    python -m tests.midi_save.bombs ["NAME" ...]

reads all, or those named, as prompts, and says on a line of JSON what each took.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from contract.bundle import Bundle
from contract.errors import PromptError
from midi_save.detokenize import load_tokenizer
from midi_save.prompt import SIZE_LIMIT, ids_of_prompt

KEYS = bytes(range(24, 104))  # those that cleaning keeps
END = b"\0\xff\x2f\0"


def header(tracks: int = 1, kind: int = 0, division: int = 12) -> bytes:
    numbers = (kind, tracks, division)
    return b"MThd\0\0\0\6" + b"".join(number.to_bytes(2, "big") for number in numbers)


def track(events: bytes) -> bytes:
    return b"MTrk" + len(events).to_bytes(4, "big") + events


def struck(delta: int) -> bytes:
    """All keys, one after the other, ``delta`` ticks before each; in running status."""
    return b"".join(bytes([delta, key, 80]) for key in KEYS)


CHORD = b"\0\x90\x3c\x50" + struck(0)  # enough notes for a prompt; the status runs on


def filled(event: bytes, division: int = 12, first: bytes = CHORD) -> bytes:
    """A file of one track: ``first``, then ``event`` as often as the limit allows."""
    room = SIZE_LIMIT - 14 - 8 - len(first) - len(END)
    return header(division=division) + track(first + event * (room // len(event)) + END)


def note_bombs() -> Iterator[tuple[str, bytes]]:
    yield "one chord at one moment, again and again", filled(struck(0))
    yield "a chord at every tick, without an end", filled(b"\1" + struck(0)[1:])
    yield "one key struck at one moment, again and again", filled(b"\0\x3c\x50")
    yield "one key struck at every tick", filled(b"\1\x3c\x50")
    yield "a note at every tick", filled(struck(1))
    yield "a note a quarter", filled(struck(12))
    yield "two notes a tick", filled(struck(1) + struck(0))
    yield "notes off the grid", filled(b"".join(bytes([7 + k % 53, k, 80]) for k in KEYS), 960)
    yield "notes late by one time", filled(struck(80), 960, b"\x17\x90\x3c\x50")
    short = b"".join(bytes([1, key, 80, 0, key, 0]) for key in KEYS)
    yield "notes shorter than a tick", filled(short, 960)
    programs = (
        bytes([0, 0xC0 | channel, program, 1, 0x90 | channel, 60, 80])
        for program in range(128)
        for channel in range(16)
    )
    yield "all programs on all channels", filled(b"".join(programs))
    for division in (1, 12, 32767):
        yield f"longest steps, {division} a quarter", filled(b"\xff\xff\xff\x7f\x3c\x50", division)
        yield f"long steps, {division} a quarter", filled(b"\x9d\x40\x3c\x50", division)


def time_bombs() -> Iterator[tuple[str, bytes]]:
    yield "a tempo at every tick", filled(b"\1\xff\x51\3\7\xa1\x20\0\xff\x51\3\x0f\xa1\x20")
    for metre in (b"\7\3", b"\5\3", b"\3\2", b"\1\7", b"\x40\7", b"\x3f\6", b"\0\2", b"\1\xff"):
        signature = b"\xff\x58\4" + metre + b"\x18\x08"
        said = f"metre {metre.hex(' ')}"
        yield f"{said} at every tick", filled(b"\1" + signature)
        yield f"{said} at every tick, with a note", filled(b"\1" + signature + b"\0\x3c\x50")
        yield f"{said} at every bar", filled(b"\x2a" + signature)
        yield f"{said}, long", filled(b"\xbb\x40" + signature)
        yield f"{said}, very long", filled(b"\xdd\x40\xff\x58\4\4\2\x18\x08\xdd\x40" + signature)
        last = b"\xb0\x80\x80\0\x90\x3c\x50\x10\x80\x3c\0"
        yield f"{said}, a last note far away", header() + track(b"\0" + signature + CHORD + last)


def chunk_bombs() -> Iterator[tuple[str, bytes]]:
    empty, short = track(b""), track(b"\0\x90\x3c\x50\1\x80\x3c\0" + END)
    for kind in (1, 2):
        for name, one in (("empty", empty), ("short", short)):
            tracks = one * ((SIZE_LIMIT - 14) // len(one))
            yield f"{name} tracks, type {kind}", header(65535, kind) + tracks
    for name, one in {
        "tracks of a wrong length": b"MTrk\0\0\0\1",
        "names of tracks": b"MTrk",
        "chunks of an unknown name": b"XFIHaaaa",
        "chunks without content": b"XFIH\0\0\0\0",
        "tracks that never end": b"MTrk\xff\xff\xff\xff\0\x90\x3c\x50",
    }.items():
        yield name, header(65535, 1) + one * ((SIZE_LIMIT - 14) // len(one))
    yield "RIFF in RIFF", b"RIFF\0\0\0\0RMID" * (SIZE_LIMIT // 12 - 9) + header() + short
    yield "RIFF without MIDI", b"RIFF" + b"MTh" * (SIZE_LIMIT // 3 - 2)


def event_bombs() -> Iterator[tuple[str, bytes]]:
    for digit in (b"\x80", b"\xff"):
        yield f"a long number of {digit.hex()}", header() + track(CHORD + digit * 990_000)
        yield f"numbers of {digit.hex()}", filled(digit * 5_000 + b"\0\x3c\x50")
        tempo = b"\0\xff\x51" + digit * 5_000 + b"\0"
        yield f"lengths of {digit.hex()}", filled(tempo)
    yield "a long message", header() + track(CHORD + b"\0\xf0\xbc\x80\0" + b"\1" * 990_000)
    yield "short messages", filled(b"\0\xf0\1\xf7")
    yield "drums on and off", filled(b"\0\xb0\0\x78\0\xb0\0\0")
    yield "bytes of no meaning", filled(b"\0\xf8")
    yield "an event that breaks off, again and again", filled(b"\0\x90")


def bombs() -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each."""
    for kind in (note_bombs, time_bombs, chunk_bombs, event_bombs):
        yield from kind()


def peak_mb() -> float:
    """The most memory that this process has had. (getrusage would count its parent's too.)"""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    bundle = Bundle.load(Path(__file__).parents[2] / "layers" / "model")
    tokenizer = load_tokenizer(bundle)
    for name, midi in bombs():
        if not sys.argv[1:] or name in sys.argv[1:]:
            begin = time.process_time()
            try:
                outcome = f"{len(ids_of_prompt(midi, tokenizer, bundle))} ids"
            except PromptError as error:
                outcome = str(error)
            took_s = time.process_time() - begin
            print(json.dumps([name, round(took_s, 2), round(peak_mb()), outcome]))


if __name__ == "__main__":
    main()
