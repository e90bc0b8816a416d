"""A small archive of generated MIDI, and the dataset made of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mido import Message, MetaMessage, MidiFile, MidiTrack

from training.data.archive import Source
from training.data.dataset import Dataset, build_dataset
from training.data.piece import read_piece


def write_tune(path: Path, seed: int, notes: int = 120, program: int = 0) -> Path:
    """A random walk of eighth notes with its fifth held below, in 4/4."""
    rng = random.Random(seed)
    file = MidiFile(ticks_per_beat=480)
    track = MidiTrack()
    file.tracks.append(track)
    track.append(MetaMessage("set_tempo", tempo=500_000))
    track.append(MetaMessage("time_signature", numerator=4, denominator=4))
    track.append(Message("program_change", program=program))
    pitch = 60
    for _ in range(notes):
        pitch = min(max(pitch + rng.choice((-4, -2, -1, 1, 2, 3)), 45), 80)
        for sounding in (pitch - 7, pitch):
            track.append(Message("note_on", note=sounding, velocity=70))
        track.append(Message("note_off", note=pitch - 7, time=240))
        track.append(Message("note_off", note=pitch))
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save(path)
    return path


# Two test processes on two cores: more threads would wait for each other.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def denormals() -> Iterator[None]:
    """Training flushes them to zero in its whole process, which other tests share."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve tunes in folders named after styles."""
    folder = tmp_path_factory.mktemp("archive")
    for seed in range(12):
        style = ("folk", "chorales", "attic")[seed % 3]
        write_tune(folder / style / f"tune{seed}.mid", seed, program=(0, 19, 73)[seed % 3])
    return folder


@pytest.fixture(scope="session")
def dataset(archive: Path) -> Dataset:
    pieces = [read_piece(Source(p, "folk")) for p in sorted(archive.rglob("*.mid"))]
    assert not [piece.why for piece in pieces if piece.why]
    made, _ = build_dataset(pieces)
    made.validation[:] = False
    made.validation[:2] = True
    made.test[:] = False
    made.test[2] = True
    return made
