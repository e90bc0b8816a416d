"""Music for the tests: legal notes as token ids, and MIDI files made with mido."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import mido
from hypothesis import strategies as st

from contract.bundle import Bundle
from midi_save.clean import FAMILIES

POSITIONS = 48  # of a 4/4 bar, twelve a quarter note


@dataclass(frozen=True, order=True)
class TestNote:
    """A note of a piece in 4/4; ticks are twelfths of a quarter note."""

    __test__ = False  # not a test class, whatever pytest makes of its name

    tick: int
    program: int
    pitch: int
    ticks: int


def ids_of(names: str, bundle: Bundle) -> list[int]:
    """The ids of tokens written as "Bar_None TimeSig_4/4 ..."."""
    index = {f"{kind}_{value}": i for i, (kind, value) in enumerate(bundle.vocabulary)}
    return [index[name] for name in names.split()]


def piece_tokens(notes: Iterable[TestNote], bundle: Bundle) -> str:
    """A piece as the composer writes it: BOS, a style, bars in 4/4, one tempo, the notes, EOS."""
    tempo = next(value for kind, value in bundle.vocabulary if kind == "Tempo")
    out = ["BOS_None", "Style_chorale", "Bar_None", "TimeSig_4/4", "Position_0", f"Tempo_{tempo}"]
    bar, position, program = 0, 0, None
    for note in sorted(notes):
        while bar < note.tick // POSITIONS:
            out += ["Bar_None", "TimeSig_4/4"]
            bar, position = bar + 1, -1
        if note.tick % POSITIONS != position:
            position = note.tick % POSITIONS
            out.append(f"Position_{position}")
        if note.program != program:
            program = note.program
            out.append(f"Program_{program}")
        beats, rest = divmod(note.ticks, 12)
        out += [f"Pitch_{note.pitch}", f"Duration_{beats}.{rest}.12"]
    return " ".join([*out, "EOS_None"])


@st.composite
def legal_notes(draw: st.DrawFn) -> list[TestNote]:
    """One to forty notes over eight bars, no key of a program struck twice at once."""
    notes = draw(
        st.lists(
            st.builds(
                TestNote,
                tick=st.integers(0, 8 * POSITIONS - 1),
                program=st.sampled_from(sorted(FAMILIES)),
                pitch=st.integers(24, 103),
                ticks=st.integers(1, 47),
            ),
            min_size=1,
            max_size=40,
            unique_by=lambda note: (note.tick, note.program, note.pitch),
        )
    )
    return sorted(notes)


def midi_file(
    notes: Sequence[tuple[int, int, int]],
    program: int = 0,
    *,
    channel: int = 0,
    ticks_per_beat: int = 480,
    metre: tuple[int, int] = (4, 4),
    tempos_qpm: Sequence[tuple[int, float]] = ((0, 100.0),),
) -> bytes:
    """A MIDI file of (tick, ticks, pitch) notes. Tempos are (tick, quarter notes a minute)."""
    timed: list[tuple[int, int, mido.Message | mido.MetaMessage]] = [
        (0, 0, mido.MetaMessage("time_signature", numerator=metre[0], denominator=metre[1])),
        (0, 0, mido.Message("program_change", channel=channel, program=program)),
    ]
    for tick, qpm in tempos_qpm:
        timed.append((tick, 0, mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(qpm))))
    for tick, ticks, pitch in notes:
        on = mido.Message("note_on", channel=channel, note=pitch, velocity=80)
        off = mido.Message("note_off", channel=channel, note=pitch)
        timed += [(tick, 2, on), (tick + ticks, 1, off)]
    track = mido.MidiTrack()
    now = 0
    for tick, _, message in sorted(timed, key=lambda entry: entry[:2]):
        track.append(message.copy(time=tick - now))
        now = tick
    file = mido.MidiFile(ticks_per_beat=ticks_per_beat)
    file.tracks.append(track)
    out = io.BytesIO()
    file.save(file=out)
    return out.getvalue()


def scale(count: int, ticks: int = 240) -> list[tuple[int, int, int]]:
    """`count` notes one after the other, up and down a major scale."""
    degrees = (60, 62, 64, 65, 67, 69, 71, 72, 71, 69, 67, 65, 64, 62)
    return [(i * ticks, ticks, degrees[i % len(degrees)]) for i in range(count)]
