"""What publishing costs, and what comes out: CPU seconds, loudness, lengths, sizes.

    ./run.sh --days 7 && python -m benchmarks.publishing out

The pieces are those of a folder that run.sh has made. They are published once more by a process
that sees what a function's instance sees (benchmarks/cold_start.py), one day after the other: cold
is the first one with the imports that only publishing needs, warm the median of the others. S3 is
moto in another process, whose time is not counted. Sound and site are measured as run.sh copied
them, by other programs' readers: miniaudio for the MP3, pyloudnorm for loudness, mido for lengths.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from statistics import median
from typing import Any

import mido
import miniaudio
import numpy as np
import pyloudnorm

from benchmarks.cold_start import BUCKET, ROOT, environment, lay_out, s3
from contract.bundle import Bundle
from deploy.soundfont import build, programs_of
from local_aws.runtime import ensure_runtime
from training import options
from training.options import Parser

CHILD = """
import json, sys, time
import midi_save.handler as handler
from midi_save.storage import PieceStore
pieces = json.load(sys.stdin)
parts = handler.load_parts()
class Context:
    get_remaining_time_in_millis = staticmethod(lambda: 600_000)
seconds = []
for record, path in pieces:
    midi = open(path, "rb").read()
    made = {k: v for k, v in record.items() if k not in ("keys", "objects", "sha256")}
    parts.store.save(midi, {"ids": [], "date": record["date"]}, made, record["date"])
    before = time.process_time()
    handler.handler({"task": "publish", "saved": {"publish": {"date": record["date"]}}}, Context())
    seconds.append(time.process_time() - before)
print("\\n" + json.dumps(seconds))
"""


def published_s(pieces: list[tuple[dict[str, Any], Path]]) -> list[float]:
    """CPU seconds of publishing each piece, in one instance."""
    with tempfile.TemporaryDirectory() as folder, s3() as endpoint:
        place = lay_out("midi_save", Path(folder))
        shutil.copytree(ROOT / "site", place / "task" / "site")
        programs = programs_of(Bundle.load(ROOT / "layers" / "model"))
        bank = build(None, programs, place / "work", ROOT / "build", print)
        with zipfile.ZipFile(bank.path) as archive:
            archive.extractall(place / "opt")
        env = environment(place, ensure_runtime(ROOT / ".cache"))
        env |= {"AWS_ENDPOINT_URL": endpoint, "SOUNDS_DIR": str(place / "opt" / "sounds")}
        done = subprocess.run(
            [sys.executable, "-s", "-S", "-c", CHILD],
            cwd=place / "task",
            env=env,
            input=json.dumps([(record, str(path.resolve())) for record, path in pieces]),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode != 0:
        sys.exit(f"publishing into {BUCKET} failed:\n{done.stderr[-3000:]}")
    seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def sound_of(midi: Path) -> dict[str, float]:
    """Length, loudness and size of the MP3 beside a MIDI file."""
    mp3 = midi.with_suffix(".mp3")
    decoded = miniaudio.decode_file(str(mp3), output_format=miniaudio.SampleFormat.FLOAT32)
    samples = np.array(decoded.samples, np.float32).reshape(-1, decoded.nchannels)
    seconds, of_midi = len(samples) / decoded.sample_rate, mido.MidiFile(midi).length
    return {
        "seconds": round(of_midi, 2),
        "longer_s": round(seconds - of_midi, 3),
        "lufs": round(pyloudnorm.Meter(decoded.sample_rate).integrated_loudness(samples), 2),
        "peak": round(float(np.abs(samples).max()), 3),
        "kB": round(mp3.stat().st_size / 1000),
        "kbit_per_s": round(mp3.stat().st_size / 125 / seconds, 1),
    }


def sizes_of(site: Path) -> dict[str, float]:
    """Sizes of the site's files in kB: the greatest of a kind; home without its piano roll."""

    def kilobytes(paths: list[Path]) -> float:
        return round(max((path.stat().st_size for path in paths), default=0) / 1000, 1)

    home = (site / "index.html").read_text()
    roll = re.search(r'<div class="roll".*?</svg></div>', home, re.DOTALL)
    drawn = len(roll[0].encode()) if roll else 0
    return {
        "home_without_roll": round((len(home.encode()) - drawn) / 1000, 1),
        "roll_of_home": round(drawn / 1000, 1),
        "day": kilobytes([*site.glob("days/*.html")]),
        "picture": kilobytes([*site.glob("roll/*.png")]),
        "script": kilobytes([*site.glob("script-*.js")]),
        "style": kilobytes([*site.glob("style-*.css")]),
        "feed.xml": kilobytes([*site.glob("feed.xml")]),
    }


def main() -> None:
    parser = Parser("benchmarks.publishing", (__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "pieces", type=options.folder, help="the folder that ./run.sh --days 7 has filled"
    )
    folder = parser.parse_args().pieces
    midis = sorted(folder.glob("*_sequence.mid"))
    if not midis or not (folder / "site" / "index.html").is_file():
        parser.error(f"{folder} has no pieces with a site: run ./run.sh --days 7 first")
    sounds = [sound_of(midi) for midi in midis]
    for midi, sound in zip(midis, sounds, strict=True):
        print(f"{midi.name}: " + ", ".join(f"{name} {value:g}" for name, value in sound.items()))
    records = [json.loads(midi.with_suffix(".json").read_text()) for midi in midis]
    seconds = published_s(list(zip(records, midis, strict=True)))
    facts = {
        "pieces": len(midis),
        "publish_cold_cpu_s": round(seconds[0], 2),
        "publish_warm_cpu_s": round(median(seconds[1:]), 2) if len(seconds) > 1 else None,
        "music_s": round(median(sound["seconds"] for sound in sounds), 1),
        "lufs": [min(s["lufs"] for s in sounds), max(s["lufs"] for s in sounds)],
        "longer_s": [min(s["longer_s"] for s in sounds), max(s["longer_s"] for s in sounds)],
        "peak": max(sound["peak"] for sound in sounds),
        "kB": sizes_of(folder / "site") | {"sound": max(sound["kB"] for sound in sounds)},
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
