"""Reads a SoundFont 2 file and writes a smaller one that has some of its presets.

A preset has zones, which name instruments; an instrument has zones, which name samples; the samples
lie one after the other in one long array. Zones are stored as bags: a bag holds the indices at
which its generators (settings) and modulators begin, and they end where those of the next bag
begin. Each list ends with a record that only marks its end. Implements the SoundFont 2.04
specification as far as that. Depends on neither AWS nor where the file is from.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# The lists of presets, instruments and samples, and the form of a record of each.
FORMS = {
    "phdr": "<20sHHHIII",  # name, program, bank, first bag, three that are not used
    "pbag": "<HH",  # first generator, first modulator
    "pmod": "<10s",
    "pgen": "<HH",  # generator, amount
    "inst": "<20sH",  # name, first bag
    "ibag": "<HH",
    "imod": "<10s",
    "igen": "<HH",
    "shdr": "<20sIIIIIBbHH",  # name, start, end, loop's start and end, rate, ..., link, type
}
# The texts that the specification knows. RustySynth refuses others, and texts of odd length.
TEXTS = ["ifil", "isng", "irom", "iver", "INAM", "ICRD", "IENG", "IPRD", "ICOP", "ICMT", "ISFT"]
INSTRUMENT, SAMPLE, SAMPLE_MODES = 41, 53, 54  # generators
LAST = (INSTRUMENT, SAMPLE)
# Generators that move a sample's start, end, loop's start and loop's end: by frames, and by 32768s.
MOVES = ((0, 4), (1, 12), (2, 45), (3, 50))
MONO, IN_ROM, COMPRESSED = 1, 0x8000, 0x10  # of a sample's type
PADDING = 46  # frames after each sample, which synthesisers may read
BYTES = 2  # of a frame

Record = tuple[Any, ...]
Zone = tuple[list[tuple[int, int]], list[Record]]
"""(generator, amount) in order, and modulators as they are."""


class Sf2Error(ValueError):
    """The bytes are no SoundFont 2 file that can be used; the message says why."""


@dataclass(frozen=True)
class Sf2:
    """A SoundFont's texts by their name in TEXTS, its samples (16 bits a frame), and its lists by
    their name in FORMS.
    """

    texts: Mapping[str, bytes]
    samples: bytes
    lists: Mapping[str, list[Record]]

    @classmethod
    def read(cls, data: bytes) -> Sf2:
        if data[:4] != b"RIFF" or data[8:12] != b"sfbk":
            raise Sf2Error("it is no SoundFont")
        end = 8 + int.from_bytes(data[4:8], "little")
        if end > len(data):
            raise Sf2Error(f"it is truncated: {len(data)} of {end} bytes")
        lists = {data[at : at + 4]: (at + 4, stop) for _, at, stop in _chunks(data, 12, end)}
        found: dict[str, bytes] = {}
        for kind in (b"sdta", b"pdta"):
            for label, at, stop in _chunks(data, *lists.get(kind, (0, 0))):
                found[label.decode("latin-1")] = data[at:stop]
        missing = [name for name in ("smpl", *FORMS) if name not in found]
        if missing:
            raise Sf2Error(f"it has no {', '.join(missing)}")
        if found["smpl"][:4] == b"OggS":
            raise Sf2Error("its samples are compressed (SF3)")
        records: dict[str, list[Record]] = {}
        for name, form in FORMS.items():
            size = struct.calcsize(form)
            if not found[name] or len(found[name]) % size:
                raise Sf2Error(f"its {name} has {len(found[name])} bytes, no multiple of {size}")
            records[name] = list(struct.iter_unpack(form, found[name]))
        texts = {
            label.decode("latin-1"): data[at:stop]
            for label, at, stop in _chunks(data, *lists.get(b"INFO", (0, 0)))
        }
        texts = {name: text for name, text in texts.items() if name in TEXTS}
        return cls(texts, found["smpl"], records)

    @property
    def presets(self) -> dict[int, int]:
        """The index of the preset of each program of bank 0; of several the first."""
        of_bank_0 = [(r[1], i) for i, r in enumerate(self.lists["phdr"][:-1]) if r[2] == 0]
        return dict(reversed(of_bank_0))

    def text(self, name: str) -> str:
        """A text as people read it: "INAM" is the name, "IENG" the author, "ICOP" the licence."""
        text = self.texts.get(name, b"").partition(b"\0")[0].decode("utf-8", "replace")
        return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]


def trimmed(font: Sf2, presets: Mapping[int, int]) -> bytes:
    """A SoundFont with these presets: the program that each is to have, and its index in `font`.

    Raises Sf2Error if something that they use is not there.
    """
    trimming = _Trimming(font)
    for program, index in sorted(presets.items()):
        trimming.add_preset(program, index)
    return trimming.written()


# Rates of samples: synthesisers fail at others.
SLOWEST_HZ, FASTEST_HZ = 400, 192_000


class _Trimming:
    """Collects presets and what they use, with new indices."""

    def __init__(self, font: Sf2) -> None:
        self._font = font
        self._lists: dict[str, list[Record]] = {name: [] for name in FORMS}
        self._instruments: dict[int, int] = {}  # new index by old
        self._samples: dict[int, int] = {}
        self._zones: list[list[Zone]] = []  # of each instrument, by new index
        self._ranges: dict[int, tuple[int, int]] = {}  # of each sample, by old index: its frames

    def add_preset(self, program: int, index: int) -> None:
        name, _, bank, *_ = self._font.lists["phdr"][index]
        self._lists["phdr"].append((name, program, bank, len(self._lists["pbag"]), 0, 0, 0))
        for generators, modulators in self._zones_of("p", "phdr", 3, index):
            renamed = [(g, self._instrument(v) if g == INSTRUMENT else v) for g, v in generators]
            self._add_bag("p", (renamed, modulators))

    def written(self) -> bytes:
        for old, zones in zip(self._instruments, self._zones, strict=True):
            self._lists["inst"].append((self._font.lists["inst"][old][0], len(self._lists["ibag"])))
            for zone in zones:
                self._add_bag("i", zone)
        if not self._samples:
            raise Sf2Error("its instruments have no samples")
        samples, new_place = self._moved_samples()
        for old in self._samples:
            self._lists["shdr"].append(self._header(old, new_place))
        end: dict[str, Record] = {"phdr": (b"EOP", 0, 0, len(self._lists["pbag"]), 0, 0, 0)}
        end["inst"] = (b"EOI", len(self._lists["ibag"]))
        end["shdr"] = (b"EOS", *[0] * 9)
        for level in "pi":
            ends = len(self._lists[f"{level}gen"]), len(self._lists[f"{level}mod"])
            end[f"{level}bag"], end[f"{level}gen"], end[f"{level}mod"] = ends, (0, 0), (b"",)
        pdta = b""
        for name, form in FORMS.items():
            packed = [struct.pack(form, *record) for record in (*self._lists[name], end[name])]
            pdta += _chunk(name.encode(), b"".join(packed))
        info = b"".join(
            _chunk(name.encode(), text + bytes(len(text) % 2))
            for name, text in self._font.texts.items()
        )
        parts = (b"INFO" + info, b"sdta" + _chunk(b"smpl", samples), b"pdta" + pdta)
        return _chunk(b"RIFF", b"sfbk" + b"".join(_chunk(b"LIST", part) for part in parts))

    def _add_bag(self, level: str, zone: Zone) -> None:
        generators, modulators = self._lists[f"{level}gen"], self._lists[f"{level}mod"]
        self._lists[f"{level}bag"].append((len(generators), len(modulators)))
        generators += zone[0]
        modulators += zone[1]

    def _zones_of(self, level: str, heads: str, column: int, index: int) -> list[Zone]:
        """The zones of a preset or instrument; `column` of its record is its first bag."""
        lists = self._font.lists
        if index >= len(lists[heads]) - 1:
            raise Sf2Error(f"entry {index} of its {heads} is used, but not there")
        bags = lists[f"{level}bag"]
        first, last = (lists[heads][i][column] for i in (index, index + 1))
        if not first <= last < len(bags):
            raise Sf2Error(f"entry {index} of its {heads} has zones {first} to {last}: no such")
        zones = []
        for bag, after in zip(bags[first:last], bags[first + 1 : last + 1], strict=True):
            parts = []
            for kind, begin, stop in zip(("gen", "mod"), bag, after, strict=True):
                of_all = lists[f"{level}{kind}"]
                if not begin <= stop < len(of_all) + (kind == "mod"):
                    raise Sf2Error(f"a zone has {level}{kind} {begin} to {stop}: no such")
                parts.append(of_all[begin:stop])
            zones.append((_up_to_its_last(parts[0]), parts[1]))
        return zones

    def _instrument(self, old: int) -> int:
        """The new index of an instrument; its samples are taken, too."""
        if old not in self._instruments:
            zones = self._zones_of("i", "inst", 1, old)
            self._instruments[old] = len(self._instruments)
            common = dict(zones[0][0]) if zones else {}  # a first zone without a sample is for all
            if SAMPLE in common:
                common = {}
            for generators, _ in zones:
                settings = {**common, **dict(generators)}
                if SAMPLE in settings:
                    self._use_sample(settings)
            self._zones.append(
                [
                    ([(g, self._samples[v] if g == SAMPLE else v) for g, v in generators], mods)
                    for generators, mods in zones
                ]
            )
        return self._instruments[old]

    def _use_sample(self, settings: Mapping[int, int]) -> None:
        """Take the frames of a sample that a zone with these settings plays."""
        old, there = settings[SAMPLE], len(self._font.samples) // BYTES
        if old >= len(self._font.lists["shdr"]) - 1:
            raise Sf2Error(f"sample {old} is used, but not there")
        name, *head, kind = self._font.lists["shdr"][old]
        said = name.partition(b"\0")[0].decode("latin-1")
        if kind & (IN_ROM | COMPRESSED):
            raise Sf2Error(f"the sample {said!a} is compressed (SF3) or in a sound card's memory")
        start, end, loop, loop_end = (
            place + _signed(settings.get(fine, 0)) + 32768 * _signed(settings.get(coarse, 0))
            for place, (fine, coarse) in zip(head[:4], MOVES, strict=True)
        )
        if not 0 <= start < end <= there or not head[0] <= head[1] <= there:
            raise Sf2Error(f"the sample {said!a} goes from {start} to {end} of {there} frames")
        places = [start, end, *head[:2]]
        if settings.get(SAMPLE_MODES, 0) & 1:
            if not 0 <= loop < loop_end <= there:
                raise Sf2Error(f"the loop of the sample {said!a} goes from {loop} to {loop_end}")
            places += [loop, loop_end]
        before = self._ranges.get(old, (start, end))
        self._ranges[old] = min(*places, before[0]), max(*places, before[1])
        self._samples.setdefault(old, len(self._samples))

    def _moved_samples(self) -> tuple[bytes, dict[int, int]]:
        """The frames that are used, each once, and how far each sample moves, by its old index."""
        out, moves = bytearray(), {}
        kept_to, shift = -1, 0
        for old, (start, end) in sorted(self._ranges.items(), key=lambda item: item[1]):
            if start > kept_to:
                out += bytes(-len(out) % BYTES)
                shift = len(out) // BYTES - start
                kept_to = start
            stop = end + PADDING
            if stop > kept_to:
                frames = self._font.samples[kept_to * BYTES : stop * BYTES]
                out += frames + bytes((stop - kept_to) * BYTES - len(frames))
                kept_to = stop
            moves[old] = shift
        return bytes(out), moves

    def _header(self, old: int, moves: Mapping[int, int]) -> Record:
        name, start, end, loop, loop_end, rate, *more, link, kind = self._font.lists["shdr"][old]
        if not SLOWEST_HZ <= rate <= FASTEST_HZ:
            raise Sf2Error(f"a sample has a rate of {rate} Hz")
        low, high = self._ranges[old]
        if not low <= loop <= loop_end <= high:  # no loop is played
            loop = loop_end = start
        if link in self._samples and kind != MONO:
            link = self._samples[link]
        else:
            link, kind = 0, MONO  # the other side of the stereo sample is not used
        places = (place + moves[old] for place in (start, end, loop, loop_end))
        return (name, *places, rate, *more, link, kind)


def _chunks(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, end) of the content of each chunk from `at` to `end`."""
    while at < end:
        start = at + 8
        stop = start + int.from_bytes(data[at + 4 : start], "little")
        if stop > end:
            raise Sf2Error(f"its part {data[at : at + 4]!a} is truncated")
        yield data[at : at + 4], start, stop
        at = stop + (stop - start) % 2


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + len(content).to_bytes(4, "little") + content + bytes(len(content) % 2)


def _up_to_its_last(generators: list[Record]) -> list[tuple[int, int]]:
    """What names the instrument or the sample ends a zone's generators; others do not count."""
    ends = [i + 1 for i, (generator, _) in enumerate(generators) if generator in LAST]
    return [(generator, amount) for generator, amount in generators[: ends[0] if ends else None]]


def _signed(amount: int) -> int:
    return amount - 0x10000 if amount & 0x8000 else amount
