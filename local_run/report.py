"""Reports what was composed: reads the saved MIDI with mido and gives its facts in words and JSON.

It reads a MIDI file and the result of a finished execution. Depends on neither AWS nor the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mido

from contract.instruments import INSTRUMENTS
from local_run.copying import Copied


@dataclass(frozen=True)
class Piece:
    """One piece in the output folder. `programs` are General MIDI numbers from 0."""

    date: str
    title: str | None
    midi: str
    mp3: str
    seconds: float
    notes: int
    programs: list[int]
    style: str | None
    metre: str
    tempo: float
    form: str | None
    seed: int
    model_id: str
    tokens: int
    tokens_per_s: float
    calls: int
    continued_from: str | None
    fresh_because: str | None
    sha256: str
    stages_s: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """The object that ends run.sh's output."""
        return asdict(self)


def read_midi(path: Path) -> tuple[float, int, list[int]]:
    """Length in seconds, number of notes and programs of a MIDI file, all as mido reads them."""
    midi = mido.MidiFile(path)
    messages = [message for track in midi.tracks for message in track]
    notes = sum(message.type == "note_on" and message.velocity > 0 for message in messages)
    programs = {message.program for message in messages if message.type == "program_change"}
    return midi.length, notes, sorted(programs)


def piece_of(result: Mapping[str, Any], copied: Copied, stages_s: Mapping[str, float]) -> Piece:
    """The piece that an execution saved. `result` is the state machine's output."""
    record, stats = result["record"], result["stats"]
    seconds, notes, programs = read_midi(copied.midi)
    return Piece(
        date=record["date"],
        title=result["published"].get("title"),
        midi=str(copied.midi),
        mp3=str(copied.mp3),
        seconds=round(seconds, 2),
        notes=notes,
        programs=programs,
        style=record["style"],
        metre=record["request"]["metre"],
        tempo=record["request"]["tempo"],
        form=" ".join(record["form"]["letters"]) if record["form"] else None,
        seed=record["seed"],
        model_id=record["model_id"],
        tokens=record["tokens"],
        tokens_per_s=round(stats["tokens_per_s"], 1),
        calls=int(stats["calls"]),
        continued_from=record["continued_from"],
        fresh_because=record["fresh_because"],
        sha256=record["sha256"],
        stages_s={stage: round(seconds, 2) for stage, seconds in stages_s.items()},
    )


def minutes(seconds: float) -> str:
    """`83.4` as `1:23`."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def describe(piece: Piece) -> str:
    """The lines that run.sh prints for one piece."""
    if piece.continued_from:
        origin = f"takes up {piece.continued_from}"
    else:
        origin = f"fresh: {piece.fresh_because}" if piece.fresh_because else "fresh"
    stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in piece.stages_s.items())
    facts = {
        "sound": piece.mp3,
        "MIDI": piece.midi,
        "length": f"{minutes(piece.seconds)} ({piece.seconds:.1f} s)",
        "notes": str(piece.notes),
        "instruments": ", ".join(INSTRUMENTS[program] for program in piece.programs),
        "style": f"{piece.style or 'none'}, {piece.metre}, {piece.tempo:.0f} quarters a minute",
        "form": {None: "none planned", "A": "A (nothing returns)"}.get(piece.form, piece.form),
        "prompt": origin,
        "seed": str(piece.seed),
        "model": piece.model_id[:12],
        "tokens": f"{piece.tokens}, {piece.tokens_per_s:.0f} a second",
        "stages": stages,
    }
    return "\n".join(f"  {name:<12} {fact}" for name, fact in facts.items())


def how_to_hear(mp3: str, home: str) -> str:
    """The last lines for people: what to open."""
    return (
        f"To listen, open {home} in a browser,\nor play {mp3}\n"
        "(The public address that the site names is one of the embedded AWS and leads nowhere.)"
    )
