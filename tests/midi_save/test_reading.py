"""The one reader of MIDI: what players play is read, moved onto the beats, and mended aloud."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midi_save.midi_file import UnreadableMidiError
from midi_save.reading import ON_GRID_SHARE, Reading, read_score
from tests.midi_save.music import midi_file, scale

HEADER = b"MThd\0\0\0\6\0\0\0\1\1\xe0"  # type 0, one track, 480 ticks a quarter note


def track(events: bytes) -> bytes:
    return b"MTrk" + len(events).to_bytes(4, "big") + events


def eighths(on: bytes, off: bytes, count: int = 96) -> bytes:
    """Events of ``count`` eighth notes on rising pitches; each after a time of 240 ticks or 0."""
    notes = (bytes([36 + i % 60]) for i in range(count))
    return b"".join(b"\0" + on + n + b"\x50\x81\x70" + off + n + b"\x40" for n in notes)


PLAIN = HEADER + track(eighths(b"\x90", b"\x80"))


def music(read: Reading) -> list[tuple[int, int, int]]:
    assert read.score is not None
    return sorted((n.time, n.duration, n.pitch) for t in read.score.tracks for n in t.notes)


def test_a_plain_file_is_read_without_repairs() -> None:
    read = read_score(PLAIN)
    assert music(read) == [(6 * i, 6, 36 + i % 60) for i in range(96)]
    assert read.repairs == () and read.on_grid == 1


@pytest.mark.parametrize(
    ("midi", "repair"),
    [
        (b"RIFF\0\0\0\0RMIDdata\0\0\0\0" + PLAIN, "RIFF"),
        (PLAIN[:7] + b"\x0a" + PLAIN[8:14] + bytes(4) + PLAIN[14:], "header"),
        *((PLAIN[:4] + size + PLAIN[8:], "header") for size in (b"\0\0\0\x0a", b"\xff" * 4)),
        (PLAIN[:18] + b"\x7f\xff\xff\xff" + PLAIN[22:], "another length"),
        (PLAIN[:-1], "breaks off"),
        (HEADER + track(b"\0\xff\x51\3\0\0\0" + PLAIN[22:]), "tempo"),
        (HEADER + track(b"\0\xff\x51\0" + PLAIN[22:]), "tempo"),
        (HEADER + track(PLAIN[22:] + b"\0\xff\1\x09text"), "breaks off"),
        *(
            (HEADER + track(b"\0" + message + PLAIN[22:]), "means nothing")
            for message in (b"\xf1\x10", b"\xf2\x10\x10", b"\xf3\x10", b"\xf4", b"\xf8")
        ),
        (HEADER + track(eighths(b"\x90", b"\x81")), "without an end"),
        (PLAIN + PLAIN, "another file"),
        *((HEADER + lost + PLAIN[14:], "another length") for lost in (b"x", b"junk\0\0\0\x09xyz")),
        *(
            (HEADER + track(b"\0\xff\x58\4" + metre + b"\x18\x08" + PLAIN[22:]), said)
            for metre, said in {
                b"\7\3": "bars of others",  # 7/8
                b"\5\4": "bars of others",  # 5/16: two bars as 5/8
                b"\0\2": "has no bars",  # 0/4
                b"\4\x09": "has no bars",  # 4/512
                b"\x41\2": "has no bars",  # 65/4
            }.items()
        ),
    ],
)
def test_what_players_play_is_read_and_the_repair_is_said(midi: bytes, repair: str) -> None:
    read = read_score(midi)
    assert [(t, p) for t, _, p in music(read)] == [(t, p) for t, _, p in music(read_score(PLAIN))]
    assert any(repair in said for said in read.repairs)


@pytest.mark.parametrize("size", [0, 1, 100, 767, 769, 900, 5_000])
def test_a_track_of_another_length_than_it_says_does_not_hide_the_next(size: int) -> None:
    first, second = (eighths(b"\x90", b"\x80", 96) + b"\0\xff\x2f\0" for _ in range(2))
    wrong = b"MTrk" + size.to_bytes(4, "big") + first
    read = read_score(HEADER[:8] + b"\0\1\0\2" + HEADER[12:] + wrong + track(second))
    assert read.raw.note_num() == 2 * 96
    assert read.repairs == ("a track of another length than it says",)


def test_a_key_struck_again_without_an_end_sounds_until_then() -> None:
    strokes = b"\0\x90\x3c\x50" + b"\x81\x70\x90\x3c\x50" * 95 + b"\x81\x70\xff\x2f\0"
    assert music(read_score(HEADER + track(strokes))) == [(6 * i, 6, 60) for i in range(96)]


@pytest.mark.parametrize("broken", [b"\x90", b"\x90\x3c"])
def test_an_event_that_breaks_off_does_not_spoil_the_next(broken: bytes) -> None:
    read = read_score(HEADER + track(b"\0" + broken + PLAIN[23:]))
    assert music(read) == music(read_score(PLAIN))
    assert read.repairs == ("an event that breaks off was passed over",)


def test_running_status_goes_on_after_other_messages() -> None:
    notes = b"".join(bytes([0, 60 + i, 80, 0x81, 0x70, 60 + i, 0]) for i in range(8))
    for message in (b"\xf0\2\1\xf7", b"\xff\1\2hi", b"\xf8", b"\xf2\1\1"):
        events = b"\0\x90" + notes[1:7] + b"\0" + message + notes[7:]
        read = read_score(HEADER + track(events))
        assert len(music(read)) == 8 and read.repairs


def test_of_two_tempos_at_one_tick_the_later_in_the_file_counts() -> None:
    fast, slow, middle = (
        b"\0\xff\x51\3" + (60_000_000 // qpm).to_bytes(3, "big") for qpm in (120, 60, 80)
    )
    for tempos, qpm in ((fast + slow, 60), (slow + fast, 120)):
        score = read_score(HEADER + track(tempos + PLAIN[22:])).score
        assert score is not None and score.tempos[0].qpm == pytest.approx(qpm)
    two = HEADER[:8] + b"\0\1\0\2" + HEADER[12:]  # type 1, two tracks
    score = read_score(two + track(fast + PLAIN[22:]) + track(middle + PLAIN[22:])).score
    assert score is not None and score.tempos[0].qpm == pytest.approx(80)


@pytest.mark.parametrize("controller", [120, 123, 127])
def test_a_channel_that_is_silenced_has_no_notes_that_go_on(controller: int) -> None:
    strokes = b"".join(
        bytes([0, 0x90, 36 + i, 80, 0x81, 0x70, 0xB0, controller, 0]) for i in range(60)
    )
    read = read_score(HEADER + track(strokes))
    assert music(read) == [(6 * i, 6, 36 + i) for i in range(60)] and not read.repairs


def test_drum_channels_of_gm2_xg_and_gs_are_left_out() -> None:
    for bank in (120, 126, 127):
        events = bytes([0, 0xB0, 0, bank]) + eighths(b"\x90", b"\x80")
        assert read_score(HEADER + track(events)).score is None
    for part, left in ((0x11, True), (0x12, False)):  # the first part is channel 1
        sysex = bytes([0x41, 0x10, 0x42, 0x12, 0x40, part, 0x15, 1, 0, 0xF7])
        events = bytes([0, 0xF0, len(sysex)]) + sysex + eighths(b"\x90", b"\x80")
        assert (read_score(HEADER + track(events)).score is None) == left


# 40, 60 and 80 ticks, a twelfth, an eighth and a sixth of a beat, are on the grid, but on no beat.
@pytest.mark.parametrize("offset", [10, 16, 24, 36, 40, 47, 60, 80, 190])
def test_music_that_is_late_by_one_time_is_moved_onto_the_beats(offset: int) -> None:
    notes = [(tick + offset, ticks, pitch) for tick, ticks, pitch in scale(96, 480)]
    read = read_score(midi_file(notes))
    assert music(read) == music(read_score(midi_file(scale(96, 480))))
    assert read.on_grid == 1 and "moved" in read.repairs[0]


@pytest.mark.parametrize("late", [40, 230])
@pytest.mark.parametrize("metres_late", [True, False])
def test_metres_stay_with_the_notes_that_are_moved(late: int, metres_late: bool) -> None:
    def at(tick: int, event: bytes) -> tuple[int, bytes]:
        return tick + late * metres_late, event

    three, four = (b"\xff\x58\4" + bytes([beats, 2, 24, 8]) for beats in (3, 4))
    timed = [at(0, three), at(3 * 480, four)]
    for tick, ticks, pitch in scale(96, 480):
        on, off = bytes([0x90, pitch, 80]), bytes([0x80, pitch, 64])
        timed += [(tick + late, on), (tick + ticks + late, off)]
    events, now = b"", 0
    for tick, event in sorted(timed):  # 0x80, a note-off, before 0x90
        delta = tick - now
        events += bytes([delta >> 7 | 0x80, delta & 0x7F]) + event
        now = tick
    score = read_score(HEADER + track(events)).score
    assert score is not None
    assert [(s.time, s.numerator) for s in score.time_signatures] == [(0, 3), (36, 4)]
    assert score.tracks[0].notes[0].time == 0


def test_music_on_weak_parts_of_the_beat_stays_where_it_is() -> None:
    offbeats = [(240 + tick, ticks, pitch) for tick, ticks, pitch in scale(96, 480)]
    dense = [(tick, 40, pitch) for tick, _, pitch in scale(96, 40)]  # on every twelfth of a beat
    for notes in (offbeats, dense):
        assert not read_score(midi_file(notes)).repairs


def test_played_music_stays_where_it_is() -> None:
    notes = [(i * 331 % 97 + i * 400, 200, 60 + i % 12) for i in range(200)]
    read = read_score(midi_file(notes))
    assert read.on_grid < ON_GRID_SHARE and not read.repairs


def test_a_coarse_resolution_is_near_the_grid_within_half_a_tick() -> None:
    notes = [(round(i * 15 / 2), 5, 60 + i % 12) for i in range(100)]  # eighths in 15 ticks a beat
    assert read_score(midi_file(notes, ticks_per_beat=15)).on_grid == 1


@pytest.mark.parametrize(
    ("midi", "reason"),
    [
        (b"", "not a MIDI file"),
        (b"MThd\0\0\0\6", "ends within its header"),
        (HEADER[:12] + b"\xe7\x28" + PLAIN[14:], "not counted in beats"),
        (HEADER + track((b"\xff\xff\xff\x7f\x90\x3c\x50") * 9), "30 bits"),
    ],
)
def test_what_is_no_music_is_refused_by_its_reason(midi: bytes, reason: str) -> None:
    with pytest.raises(UnreadableMidiError, match=reason):
        read_score(midi)


@pytest.mark.parametrize("division", [10, 15, 16, 24, 25, 30, 32, 96, 480, 960])
@pytest.mark.parametrize("parts", [2, 3, 4])
def test_quantized_music_is_kept_at_any_resolution_and_phase(division: int, parts: int) -> None:
    for late in (0, round(division / 7)):
        notes = [(late + round(i * division / parts), 3, 60 + i % 12) for i in range(120)]
        assert read_score(midi_file(notes, ticks_per_beat=division)).on_grid >= ON_GRID_SHARE, late


def test_a_file_cut_at_any_byte_is_music_or_is_refused() -> None:
    whole = HEADER + track(b"\0\xff\x58\4\7\3\x18\x08\0\xf0\2\1\xf7" + eighths(b"\x90", b"\x80", 9))
    for midi in (whole, b"RIFF\0\0\0\0RMIDdata\0\0\0\0" + whole):
        for end in range(len(midi)):
            with suppress(UnreadableMidiError):
                assert 0 <= read_score(midi[:end]).on_grid <= 1


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_any_bytes_are_music_or_are_refused(data: Any) -> None:
    midi = bytearray(PLAIN[: data.draw(st.integers(0, len(PLAIN)))])
    changes = st.lists(st.tuples(st.integers(0, len(PLAIN) - 1), st.integers(0, 255)), max_size=30)
    for place, value in data.draw(changes):
        if place < len(midi):
            midi[place] = value
    with suppress(UnreadableMidiError):
        assert 0 <= read_score(bytes(midi)).on_grid <= 1
