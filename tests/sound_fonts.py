"""Small SoundFonts for tests: each program is a looped tone of its own."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

FRAMES, LOOP = 400, (100, 300)  # of a sample
GAP = 46  # frames of silence after each sample
SAMPLE_TYPE, NAME_BYTES = 1, 20
SAMPLE, INSTRUMENT, LOOPED = 53, 41, 54  # generators


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def sound_font(
    programs: Sequence[tuple[int, int]] = ((0, 0), (0, 40)),
    *,
    amplitude: int = 20_000,
    texts: Sequence[tuple[bytes, bytes]] = ((b"INAM", b"A bank of tests\0"),),
    generators: Sequence[tuple[int, int]] = ((LOOPED, 1),),
    sample_type: int = SAMPLE_TYPE,
) -> bytes:
    """A bank with these (bank, program), an instrument and a sample for each."""
    count = len(programs)
    samples = b""
    for index in range(count):
        period = 20 + 5 * index
        wave = [round(amplitude * math.sin(2 * math.pi * t / period)) for t in range(FRAMES)]
        samples += struct.pack(f"<{FRAMES}h", *wave) + bytes(2 * GAP)
    starts = [index * (FRAMES + GAP) for index in range(count)]
    own = len(generators) + 1  # generators of each instrument, the last names its sample
    lists = {
        "phdr": [
            *(
                struct.pack("<20sHHHIII", b"P", p, b, i, 0, 0, 0)
                for i, (b, p) in enumerate(programs)
            ),
            struct.pack("<20sHHHIII", b"EOP", 0, 0, count, 0, 0, 0),
        ],
        "pbag": [struct.pack("<HH", i, 0) for i in range(count + 1)],
        "pmod": [bytes(10)],
        "pgen": [*(struct.pack("<HH", INSTRUMENT, i) for i in range(count)), bytes(4)],
        "inst": [struct.pack("<20sH", b"I", i) for i in range(count + 1)],
        "ibag": [struct.pack("<HH", i * own, 0) for i in range(count + 1)],
        "imod": [bytes(10)],
        "igen": [
            struct.pack("<HH", generator, amount & 0xFFFF)
            for i in range(count)
            for generator, amount in (*generators, (SAMPLE, i))
        ]
        + [bytes(4)],
        "shdr": [
            struct.pack(
                "<20sIIIIIBbHH",
                *(b"S", at, at + FRAMES, at + LOOP[0], at + LOOP[1], 44_100, 60, 0, 0, sample_type),
            )
            for at in starts
        ]
        + [bytes(46)],
    }
    pdta = b"".join(chunk(name.encode(), b"".join(rows)) for name, rows in lists.items())
    info = chunk(b"ifil", b"\2\0\1\0") + b"".join(chunk(name, text) for name, text in texts)
    parts = (b"INFO" + info, b"sdta" + chunk(b"smpl", samples), b"pdta" + pdta)
    return chunk(b"RIFF", b"sfbk" + b"".join(chunk(b"LIST", part) for part in parts))
