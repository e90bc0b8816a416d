"""Tokens to MIDI: no note lost, the same bytes each time, what cannot be played is refused."""

from __future__ import annotations

import dataclasses
import io
import subprocess
import sys
from collections import defaultdict

import mido
import pytest
from hypothesis import given, settings
from miditok import MusicTokenizer
from symusic.core import ScoreTick

from contract.bundle import Bundle
from contract.errors import BundleError, PieceError
from midi_save.detokenize import detokenize, load_tokenizer
from tests.midi_save.music import TestNote, ids_of, legal_notes, piece_tokens

TITLE = "midi-archive 2026-11-22 seed 7 model abcdef12"
HEADER = "BOS_None Style_chorale Bar_None TimeSig_4/4 Position_0 "


def read_notes(midi: bytes) -> list[TestNote]:
    """What mido reads, in twelfths of a quarter note."""
    file = mido.MidiFile(file=io.BytesIO(midi))
    unit = file.ticks_per_beat // 12
    notes = []
    for track in file.tracks:
        now, program = 0, 0
        began: dict[int, int] = {}
        for message in track:
            now += message.time
            if message.type == "program_change":
                program = message.program
            elif message.type == "note_on" and message.velocity:
                assert message.note not in began
                began[message.note] = now
            elif message.type in ("note_on", "note_off"):
                start = began.pop(message.note)
                ticks, rest = divmod(now - start, unit)
                assert (start % unit, rest) == (0, 0)
                notes.append(TestNote(start // unit, program, message.note, ticks))
        assert not began
    return sorted(notes)


def test_the_file_says_that_a_machine_made_it(bundle: Bundle) -> None:
    ids = ids_of(piece_tokens([TestNote(0, 0, 60, 12)], bundle), bundle)
    midi = detokenize(ids, load_tokenizer(bundle), bundle, "a title").midi
    first = mido.MidiFile(file=io.BytesIO(midi)).tracks[0]
    texts = [message.text for message in first if message.type == "text"]
    assert len(texts) == 1
    assert texts[0].startswith("Composed by a machine")
    assert "trainedAlgorithmicMedia" in texts[0]


def cut_where_struck_again(notes: list[TestNote]) -> list[TestNote]:
    onsets = defaultdict(list)
    for note in notes:
        onsets[note.program, note.pitch].append(note.tick)
    return sorted(
        dataclasses.replace(
            note,
            ticks=min(
                [note.ticks]
                + [t - note.tick for t in onsets[note.program, note.pitch] if t > note.tick]
            ),
        )
        for note in notes
    )


@settings(deadline=None, max_examples=60)
@given(notes=legal_notes())
def test_mido_reads_the_notes_that_were_written_as_tokens(
    notes: list[TestNote], bundle: Bundle, tokenizer: MusicTokenizer
) -> None:
    ids = ids_of(piece_tokens(notes, bundle), bundle)
    piece = detokenize(ids, tokenizer, bundle, TITLE)
    assert read_notes(piece.midi) == cut_where_struck_again(notes)
    assert piece.notes == len(notes)
    assert piece.programs == tuple(sorted({note.program for note in notes}))


def test_a_note_ends_where_its_key_is_struck_again(
    bundle: Bundle, tokenizer: MusicTokenizer
) -> None:
    notes = [TestNote(0, 0, 60, 24), TestNote(12, 0, 60, 24), TestNote(12, 48, 60, 24)]
    piece = detokenize(ids_of(piece_tokens(notes, bundle), bundle), tokenizer, bundle, TITLE)
    assert read_notes(piece.midi) == [TestNote(0, 0, 60, 12), *notes[1:]]


def test_an_eighth_beat_metre_keeps_its_length(bundle: Bundle, tokenizer: MusicTokenizer) -> None:
    # In 6/8 a position is a twelfth of an eighth: Position_36 is the second dotted quarter.
    tokens = (
        "Bar_None TimeSig_6/8 Position_36 Program_0 Pitch_60 Duration_3.0.12 "
        "Bar_None TimeSig_6/8 Position_0 Pitch_62 Duration_3.0.12"
    )
    piece = detokenize(ids_of(tokens, bundle), tokenizer, bundle, TITLE)
    assert read_notes(piece.midi) == [TestNote(18, 0, 60, 18), TestNote(36, 0, 62, 18)]


def test_twelve_programs_have_a_channel_each_and_none_is_the_drums(
    bundle: Bundle, tokenizer: MusicTokenizer
) -> None:
    programs = [0, 6, 11, 19, 24, 43, 46, 48, 52, 60, 68, 73]
    notes = [TestNote(0, program, 60, 12) for program in programs]
    piece = detokenize(ids_of(piece_tokens(notes, bundle), bundle), tokenizer, bundle, TITLE)
    file = mido.MidiFile(file=io.BytesIO(piece.midi))
    changes = [m for track in file.tracks for m in track if m.type == "program_change"]
    assert [m.program for m in changes] == programs
    assert len({m.channel for m in changes}) == 12
    assert 9 not in {m.channel for m in changes}


def test_tracks_are_named_after_their_instruments_and_the_first_after_the_piece(
    bundle: Bundle, tokenizer: MusicTokenizer
) -> None:
    notes = [TestNote(0, 48, 60, 12), TestNote(0, 0, 60, 12)]
    piece = detokenize(ids_of(piece_tokens(notes, bundle), bundle), tokenizer, bundle, TITLE)
    file = mido.MidiFile(file=io.BytesIO(piece.midi))
    assert [track.name for track in file.tracks] == [
        TITLE,
        "Acoustic Grand Piano",
        "String Ensembles 1",  # as miditok spells it
    ]
    tempo = next(value for kind, value in bundle.vocabulary if kind == "Tempo")
    set_tempo = [m for m in file.tracks[0] if m.type == "set_tempo"]
    assert [m.tempo for m in set_tempo] == [mido.bpm2tempo(float(tempo))]
    assert [t.program for t in ScoreTick.from_midi(piece.midi).tracks] == [0, 48]


def test_another_process_writes_the_same_bytes(bundle: Bundle, tokenizer: MusicTokenizer) -> None:
    notes = [TestNote(i, p, 50 + i % 20, 6) for i in range(60) for p in (0, 24, 48, 73)]
    ids = ids_of(piece_tokens(notes, bundle), bundle)
    program = (
        "import sys\n"
        "from contract.bundle import Bundle\n"
        "from midi_save.detokenize import detokenize, load_tokenizer\n"
        f"b = Bundle.load({str(bundle.directory)!r})\n"
        f"p = detokenize({ids!r}, load_tokenizer(b), b, {TITLE!r})\n"
        "sys.stdout.buffer.write(p.midi)\n"
    )
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert other.stdout == detokenize(ids, tokenizer, bundle, TITLE).midi


def test_a_pitch_without_a_duration_is_not_lost_silently(
    bundle: Bundle, tokenizer: MusicTokenizer
) -> None:
    ids = ids_of(HEADER + "Program_0 Pitch_60 Pitch_62 Duration_1.0.12", bundle)
    with pytest.raises(PieceError, match="have 2 pitches, miditok read 1 notes"):
        detokenize(ids, tokenizer, bundle, TITLE)


def test_a_pitch_at_the_very_end_is_not_lost_silently(
    bundle: Bundle, tokenizer: MusicTokenizer
) -> None:
    ids = ids_of(HEADER + "Program_0 Pitch_62 Duration_1.0.12 Pitch_60", bundle)
    with pytest.raises(PieceError, match="have 2 pitches, miditok read 1 notes"):
        detokenize(ids, tokenizer, bundle, TITLE)


@pytest.mark.parametrize("tokens", ["", "BOS_None", "BOS_None Style_folk Bar_None TimeSig_4/4"])
def test_tokens_without_a_note_are_refused(
    tokens: str, bundle: Bundle, tokenizer: MusicTokenizer
) -> None:
    with pytest.raises(PieceError, match="have 0 pitches"):
        detokenize(ids_of(tokens, bundle), tokenizer, bundle, TITLE)


def test_a_key_struck_twice_at_once_is_refused(bundle: Bundle, tokenizer: MusicTokenizer) -> None:
    twice = "Pitch_60 Duration_1.0.12 Pitch_60 Duration_2.0.12"
    with pytest.raises(PieceError, match="strikes a key twice"):
        detokenize(ids_of(HEADER + twice, bundle), tokenizer, bundle, TITLE)


def test_the_released_form_of_the_tokenizer_loads(bundle: Bundle) -> None:
    assert len(load_tokenizer(bundle).vocab) == len(bundle.vocabulary)


def test_another_tokenizer_class_is_refused(bundle: Bundle) -> None:
    with pytest.raises(BundleError, match=r"tokenizer\.class is 'TSD', this code reads REMI"):
        load_tokenizer(dataclasses.replace(bundle, tokenizer_class="TSD"))


def test_a_vocabulary_that_miditok_reads_differently_is_refused(bundle: Bundle) -> None:
    swapped = (*bundle.vocabulary[:-2], bundle.vocabulary[-1], bundle.vocabulary[-2])
    with pytest.raises(BundleError, match="another vocabulary"):
        load_tokenizer(dataclasses.replace(bundle, vocabulary=swapped))
