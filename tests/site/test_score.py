"""What is read from a MIDI file."""

from __future__ import annotations

import io
from itertools import pairwise

import mido
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midi_save.publishing.score import read_score
from tests.site.pieces import THEME, midi_of


def test_notes_have_their_instrument_and_their_seconds() -> None:
    score = read_score(midi_of(tempo=60))
    flute, strings = score.parts
    assert (flute.name, flute.program, len(flute.pitch)) == ("flute", 73, 16)
    assert strings.name == "strings"
    assert flute.start_s[:3].tolist() == [0, 1, 2]
    assert strings.end_s[:2].tolist() == [4, 4]
    assert score.duration_s == 16
    assert score.notes == len(THEME)
    assert score.bars_s.tolist() == [0, 4, 8, 12]


def test_an_instrument_without_a_word_of_ours_has_its_tracks_name() -> None:
    score = read_score(midi_of([(104, 0, 1, 60, 80)], names=["Sitar"]))
    assert score.parts[0].name == "Sitar"
    assert read_score(midi_of([(104, 0, 1, 60, 80)])).parts[0].name == "program 105"


def test_a_note_that_never_ends_ends_with_its_track() -> None:
    track = mido.MidiTrack([mido.Message("note_on", note=60, velocity=80)])
    track.append(mido.MetaMessage("end_of_track", time=480))
    file = mido.MidiFile(ticks_per_beat=480, tracks=[track])
    out = io.BytesIO()
    file.save(file=out)
    assert read_score(out.getvalue()).duration_s == 0.5


def test_a_file_without_notes_or_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="no notes"):
        read_score(midi_of([]))
    for broken in (b"", b"not a MIDI file", midi_of()[:100]):
        with pytest.raises((OSError, EOFError)):
            read_score(broken)


@given(
    tempos=st.lists(st.tuples(st.integers(0, 960), st.integers(20, 300)), max_size=5),
    metres=st.lists(st.tuples(st.integers(0, 960), st.integers(1, 12)), max_size=3),
)
def test_seconds_are_those_of_mido_whatever_the_tempos(
    tempos: list[tuple[int, int]], metres: list[tuple[int, int]]
) -> None:
    file = mido.MidiFile(file=io.BytesIO(midi_of()))
    changes = mido.MidiTrack()
    events = [(tick, mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(t))) for tick, t in tempos]
    events += [(tick, mido.MetaMessage("time_signature", numerator=n)) for tick, n in metres]
    now = 0
    for tick, message in sorted(events, key=lambda event: event[0]):
        changes.append(message.copy(time=tick - now))
        now = tick
    file.tracks[0] = changes
    out = io.BytesIO()
    file.save(file=out)
    score = read_score(out.getvalue())
    expected, at = [], 0.0
    for message in mido.MidiFile(file=io.BytesIO(out.getvalue())):
        at += message.time
        if message.type == "note_on":
            expected.append(at)
    starts = np.concatenate([part.start_s for part in score.parts])
    assert np.sort(starts) == pytest.approx(sorted(expected))
    assert all(bar < following for bar, following in pairwise(score.bars_s))
