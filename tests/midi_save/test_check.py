"""The last check of a piece: each way in which it can fail is named."""

from __future__ import annotations

import io

import mido
import pytest

from contract.errors import PieceError
from midi_save.check import check_piece
from tests.midi_save.music import midi_file, scale


def midi_of(*messages: mido.Message) -> bytes:
    file = mido.MidiFile()
    file.tracks.append(mido.MidiTrack(messages))
    out = io.BytesIO()
    file.save(file=out)
    return out.getvalue()


def on(note: int, time: int = 0) -> mido.Message:
    return mido.Message("note_on", note=note, velocity=64, time=time)


def off(note: int, time: int = 0) -> mido.Message:
    return mido.Message("note_off", note=note, time=time)


def test_the_facts_of_a_good_file_are_read() -> None:
    # 8 eighths at 100 quarters a minute: 4 beats of 0.6 s.
    facts = check_piece(midi_file(scale(8), program=24), notes=8, programs=[24])
    assert (facts.notes, facts.programs, facts.duration_s) == (8, (24,), 2.4)


def test_silence_after_the_last_note_is_not_length() -> None:
    end = mido.MetaMessage("end_of_track", time=10_000)
    midi = midi_of(on(60), off(60, 480), end)
    assert check_piece(midi, notes=1, programs=[0]).duration_s == 0.5


def test_a_note_on_without_velocity_ends_a_note() -> None:
    midi = midi_of(on(60), mido.Message("note_on", note=60, velocity=0, time=480))
    assert check_piece(midi, notes=1, programs=[0]).notes == 1


@pytest.mark.parametrize(
    ("midi", "reason"),
    [
        (b"", "cannot read"),
        (b"<html>", "cannot read"),
        (midi_file(scale(8))[:-20], "cannot read"),
        (midi_of(), "has no note"),
        (midi_of(on(60)), "1 keys never end, the first is channel 0, note 60"),
        (midi_of(on(60), on(60), off(60, 10)), "1 keys never end"),
        (midi_of(off(60)), "ends without having begun"),
        (midi_of(on(60), off(60, 10), on(62), off(62, 10)), "has 2 notes, the tokens 1"),
        (midi_file([(0, 10, 60)], program=5), r"plays programs \(5,\), asked were \(0,\)"),
    ],
)
def test_a_bad_file_is_refused_by_name(midi: bytes, reason: str) -> None:
    with pytest.raises(PieceError, match=reason):
        check_piece(midi, notes=1, programs=[0])
