"""sound.py and playing.py: the length, the loudness, the peaks and the end of what is heard.

MP3s are decoded by miniaudio and judged by pyloudnorm.
"""

from __future__ import annotations

import io
import random
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import mido
import miniaudio
import numpy as np
import pyloudnorm
import pytest
from numpy.typing import NDArray

from contract.bundle import Bundle
from contract.errors import SoundError
from deploy.soundfont import programs_of
from midi_save.publishing import playing, sound
from midi_save.publishing.loudness import RATE
from midi_save.publishing.sound import HOP, TARGET_LUFS, Sound, limits, render_mp3
from tests.midi_save.music import midi_file, scale
from tests.sound_fonts import sound_font

Notes = Sequence[tuple[int, int, int]]
CHORD = (48, 55, 60, 64, 67)


@pytest.fixture(scope="module")
def bank(sounds_dir: Path) -> Path:
    return sounds_dir / "bank.sf2"


def decoded(made: Sound) -> NDArray[np.float32]:
    """Shape (frames, 2), full scale at 1."""
    audio = miniaudio.decode(made.mp3, miniaudio.SampleFormat.FLOAT32, 2, RATE)
    return np.array(audio.samples, np.float32).reshape(-1, 2)


def together(files: Sequence[bytes]) -> bytes:
    """One MIDI file of the tracks of several."""
    whole = mido.MidiFile(ticks_per_beat=480)
    for file in files:
        whole.tracks += mido.MidiFile(file=io.BytesIO(file)).tracks
    out = io.BytesIO()
    whole.save(file=out)
    return out.getvalue()


def length_s(midi: bytes) -> float:
    return float(mido.MidiFile(file=io.BytesIO(midi)).length)


def chords(count: int, ticks: int = 480, keys: Sequence[int] = CHORD) -> Notes:
    return [(i * ticks, ticks, key) for i in range(count) for key in keys]


def loudness(audio: NDArray[np.float32], start_s: float = 0, end_s: float | None = None) -> float:
    """In dB, of the mean square; -inf for silence."""
    part = audio[round(start_s * RATE) : None if end_s is None else round(end_s * RATE)]
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(np.square(part, dtype=np.float64).mean()))


def pieces(programs: Sequence[int]) -> list[bytes]:
    """Twenty: solo and ensemble, sparse and dense, high and low, legato and staccato."""
    made = []
    for seed in range(20):
        dice = random.Random(seed)
        parts = []
        for channel, program in enumerate(dice.sample(programs, dice.choice((1, 1, 2, 4)))):
            ticks, centre = dice.choice((120, 240, 480, 960)), dice.randint(48, 79)
            sounding = max(60, round(ticks * dice.choice((0.3, 0.9, 1.0, 2.0))))
            size = dice.choice((1, 1, 2, 4))
            notes = {
                (at, sounding, centre + dice.randint(-12, 12))
                for at in range(0, 4800, ticks)
                for _ in range(size)
            }
            parts.append(midi_file(sorted(notes), program=program, channel=channel))
        made.append(together(parts))
    return made


def test_twenty_different_pieces_are_equally_loud_and_none_clips(
    bank: Path, bundle: Bundle
) -> None:
    for number, midi in enumerate(pieces(programs_of(bundle))):
        audio = decoded(render_mp3(midi, bank, b""))
        lufs = pyloudnorm.Meter(RATE).integrated_loudness(audio)
        assert lufs == pytest.approx(TARGET_LUFS, abs=1.5), number
        assert np.abs(audio).max() < 0.97, number


@pytest.mark.parametrize("notes", [1, 5, 40])
def test_the_sound_is_as_long_as_the_midi_and_its_tail(notes: int, bank: Path) -> None:
    midi = midi_file(scale(notes))
    made = render_mp3(midi, bank, b"")
    assert made.duration_s == pytest.approx(length_s(midi) + playing.TAIL_S, abs=1e-4)
    assert len(decoded(made)) / RATE == pytest.approx(made.duration_s, abs=0.1)


def test_the_file_begins_with_the_tag_and_has_96_kbit_a_second(bank: Path) -> None:
    made = render_mp3(midi_file(scale(20)), bank, b"ID3 ...")
    assert made.mp3.startswith(b"ID3 ...\xff")
    assert len(made.mp3) * 8 / made.duration_s == pytest.approx(96_000, rel=0.02)


def test_the_last_chord_rings_on_and_fades_to_nothing(bank: Path) -> None:
    midi = midi_file(chords(2), program=48)
    audio, end_s = decoded(render_mp3(midi, bank, b"")), length_s(midi)
    during = loudness(audio, end_s - 0.5, end_s)
    assert during - 40 < loudness(audio, end_s + 0.3, end_s + 0.8) < during - 3
    assert loudness(audio, end_s + 2.35, end_s + 2.45) < during - 50


def test_the_same_midi_and_bank_give_the_same_bytes_whether_or_not_it_is_played_twice(
    bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    midi = midi_file(scale(30))
    once = render_mp3(midi, bank, b"")
    assert render_mp3(midi, bank, b"") == once
    monkeypatch.setattr(sound, "KEPT_FRAMES", 0)
    assert render_mp3(midi, bank, b"") == once


def test_what_reaches_into_the_next_part_sounds_on_there(
    bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    midi = midi_file([(0, 4800, 60), (480, 240, 67), (950, 20, 72)], program=19)  # 6 s
    whole = np.concatenate([*playing.Playing(midi, bank.read_bytes())])
    monkeypatch.setattr(playing, "PART", RATE)
    parts = [*playing.Playing(midi, bank.read_bytes())]
    assert [len(part) for part in parts] == [RATE] * 8 + [RATE // 2]
    assert np.abs(np.concatenate(parts) - whole).max() < 0.002


def test_sixteen_instruments_are_all_heard(bank: Path) -> None:
    programs = [0, 6, 11, 19, 24, 43, 46, 48, 52, 60, 68, 73, 0, 48, 19, 73]
    files = [
        midi_file([(i * 480, 240, 60)], program=program, channel=i, tempos_qpm=((0, 60.0),))
        for i, program in enumerate(programs)
    ]
    audio = decoded(render_mp3(together(files), bank, b""))
    for i in range(16):
        assert loudness(audio, i + 0.05, i + 0.45) > -50, i
    tutti = [midi_file(chords(8), program=p, channel=i) for i, p in enumerate(programs)]
    assert np.abs(decoded(render_mp3(together(tutti), bank, b""))).max() < 0.97


def test_several_instruments_sit_side_by_side_and_one_in_the_middle(bank: Path) -> None:
    def sides(midi: bytes) -> float:
        first = next(iter(playing.Playing(midi, bank.read_bytes())))[:RATE]
        return loudness(first[:, 0]) - loudness(first[:, 1])

    alone = sides(midi_file(scale(4), program=73))
    low = midi_file([(9600, 240, 40)], program=43, channel=1)
    assert abs(alone) < 1
    assert sides(together([midi_file(scale(4), program=73), low])) > alone + 1


def test_the_room_answers_on_both_sides_differently(bank: Path) -> None:
    midi = midi_file([(0, 60, 72)], program=6)  # a harpsichord stops at once
    audio = decoded(render_mp3(midi, bank, b""))
    struck, after = loudness(audio, 0, 0.1), audio[round(0.3 * RATE) : round(0.6 * RATE)]
    assert struck - 45 < loudness(after) < struck - 15
    assert abs(np.corrcoef(after[:, 0], after[:, 1])[0, 1]) < 0.5


def test_a_program_that_the_bank_lacks_is_played_on_another(bank: Path) -> None:
    assert render_mp3(midi_file(scale(3), program=127), bank, b"").mp3


def test_memory_does_not_grow_with_the_piece(bank: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playing, "PART", 4 * RATE)
    monkeypatch.setattr(sound, "KEPT_FRAMES", 0)
    most = []
    for notes in (60, 180):  # 18 and 54 s
        tracemalloc.start()
        made = render_mp3(midi_file(scale(notes)), bank, b"")
        most.append(tracemalloc.get_traced_memory()[1] - 2 * len(made.mp3))
        tracemalloc.stop()
    assert most[1] < 1.1 * most[0]


def test_a_bank_that_is_none_and_a_piece_without_sound_are_named(
    bank: Path, tmp_path: Path
) -> None:
    midi, other = midi_file(scale(3)), tmp_path / "bank.sf2"
    with pytest.raises(SoundError, match="bank.sf2 cannot be read"):
        render_mp3(midi, other, b"")
    other.write_bytes(b"RIFF....sfbk")
    with pytest.raises(SoundError, match="the synthesiser refuses the sound bank"):
        render_mp3(midi, other, b"")
    other.write_bytes(sound_font(amplitude=0))
    with pytest.raises(SoundError, match="bank.sf2 makes no sound of this piece"):
        render_mp3(midi, other, b"")
    with pytest.raises(SoundError, match="no notes"):
        render_mp3(midi_file([]), bank, b"")


def test_a_note_without_an_end_lasts_a_minute_at_most(
    bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(playing, "LONGEST_NOTE_S", 2)
    midi = midi_file([(0, 9600, 60)], program=19)  # 12 s
    audio = np.concatenate([*playing.Playing(midi, bank.read_bytes())])
    assert loudness(audio, 1, 2) > loudness(audio, 4, 5) + 60
    assert len(audio) / RATE == pytest.approx(12 + playing.TAIL_S, abs=0.01)


def test_the_limiter_keeps_peaks_below_the_ceiling_and_leaves_the_rest_alone() -> None:
    peaks = np.random.default_rng(1).uniform(0, 0.5, 2000).astype(np.float32)
    assert (limits(peaks, 0.6) == 1).all()
    peaks[[0, 700, 703, 1999]] = [1.2, 0.9, 2.0, 0.7]
    gains = limits(peaks, 0.6)
    assert (gains * peaks <= 0.6 + 1e-6).all()
    # Between the middles of two hops the gain is between theirs: a peak can be anywhere in its hop.
    for neighbour in (np.roll(gains, 1), np.roll(gains, -1)):
        assert (neighbour * peaks)[1:-1].max() <= 0.6 + 1e-6
    assert (gains[200:600] == pytest.approx(1)) and (gains[900:1800] == pytest.approx(1))
    assert np.abs(np.diff(gains)).max() < 0.1
    assert HOP * 1000 / RATE < 3  # ms
