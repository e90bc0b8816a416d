"""How fast each size of the ladder composes, on one core and on two, and what it needs.

The weights are random, the work is the same. Times are CPU seconds of this process; the bundles
take turns, and the fastest round of each counts, as in decode.py. Two cores are compared with one
by wall time. Depends on neither training nor the planner.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.decode import MEMORY_BYTES, Handler, reader, step_seconds
from benchmarks.decode_forms import MOST_STEPS, Released
from benchmarks.ladder import SIZES, untrained
from contract.bundle import MODEL_FILE, Bundle, read_manifest
from contract.request import parse_request
from generate_tokens.compose import Composer, Composition
from generate_tokens.decoder import Decoder
from training.model.archive_facts import NO_FACTS
from training.model.weights import WEIGHTS_FILE, load_weights

POSITIONS = (100, 300, 490)  # tokens in the cache; the window has 512
SONG_TOKENS = 600
CANDIDATES = (1, 2, 4, 8)
COLD_STARTS = 3  # of which the fastest counts
PIECE_S = 15.0  # length of the pieces with which numbers of candidates are compared
MUSIC_S, MUSIC_PIECES = 30.0, 30  # of the released model: how many tokens a second of music has

# A new process that composes with a bundle: its CPU seconds until it can, and its most memory.
CHILD = r"""
import json, re, sys, time
from pathlib import Path
import boto3
import generate_tokens.handler
from contract.bundle import Bundle
from contract.request import parse_request
from generate_tokens.compose import Composer, Composition
bundle = Bundle.load(Path(sys.argv[1]))
composer = Composer(bundle)
ready_s = time.process_time()
event = {"seed": 1, "style": min(bundle.styles), "duration_s": 20, "candidates": 4}
composer.compose(parse_request(event, bundle, "2000-01-01"), [], [], 1e9)
# not getrusage: a new process inherits its figure from the one that started it
most_kb = int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1])
print(json.dumps({"cold_cpu_s": round(ready_s, 2), "memory_mb": round(most_kb / 1024)}))
"""


def composed(composer: Composer, seed: int, seconds: float, candidates: int) -> Composition:
    """A whole piece; the styles take turns by seed."""
    styles = list(composer.bundle.styles)
    event = {"style": styles[seed % len(styles)], "seed": seed, "duration_s": seconds}
    request = parse_request({**event, "candidates": candidates}, composer.bundle, "2000-01-01")
    return composer.compose(request, [], [], 1e9)


def density(composer: Composer) -> float:
    """Tokens a second of music, in pieces of four candidates."""
    made = [composed(composer, seed, MUSIC_S, 4) for seed in range(MUSIC_PIECES)]
    return round(sum(len(piece.ids) for piece in made) / sum(piece.music_s for piece in made), 1)


class Rung:
    """One size in one kind of numbers, measured a round at a time."""

    def __init__(self, size: str, kind: str, bundle: Bundle, ids: list[int]) -> None:
        self.size, self.kind, self._bundle = size, kind, bundle
        self._candidates = CANDIDATES if kind == "int8" else CANDIDATES[:1]
        self._form, self._composer = Released("released", bundle, ids), Composer(bundle)
        self._rates: defaultdict[str, list[float]] = defaultdict(list)  # tokens a second
        self._spent_s: list[list[float]] = []  # on the same piece by each number of candidates
        self._one_core: list[float] = []  # seconds of a step
        self._two_cores: list[float] = []
        self._decoders = [Decoder(bundle, threads=threads) for threads in (1, 2)]

    def round(self, turn: int) -> None:
        for position in POSITIONS:
            self._rates[str(position)].append(1 / step_seconds(self._form, position))
        began = time.process_time()
        for _ in self._form.decode(SONG_TOKENS):
            pass
        self._rates["sliding"].append(SONG_TOKENS / (time.process_time() - began))
        spent_s, sampled = [], []
        for n in self._candidates:
            began = time.process_time()
            sampled.append(composed(self._composer, turn, PIECE_S, n).sampled)
            spent_s.append(time.process_time() - began)
        self._rates["composing"].append(sampled[0] / spent_s[0])
        self._spent_s.append(spent_s)

    def round_on_two_cores(self) -> None:
        for decoder, took in zip(self._decoders, (self._one_core, self._two_cores), strict=True):
            decoder.row = POSITIONS[1]
            decoder.step()
            began = time.perf_counter()
            for _ in range(MOST_STEPS - 1):
                decoder.step()
            took.append((time.perf_counter() - began) / (MOST_STEPS - 1))

    def facts(self) -> dict[str, Any]:
        folder = self._bundle.directory
        command = [sys.executable, "-c", CHILD, str(folder)]
        started = [
            json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
            for _ in range(COLD_STARTS)
        ]
        layer = [path for path in folder.iterdir() if path.name != WEIGHTS_FILE]
        one, *_ = spent_s = [sum(column) for column in zip(*self._spent_s, strict=True)]
        return {
            "size": self.size,
            "kind": self.kind,
            "parameters": sum(p.numel() for p in load_weights(folder)[0].parameters()),
            "tokens_per_s": {name: round(max(rates), 1) for name, rates in self._rates.items()},
            "cost_of_candidates": {
                str(n): round(cpu_s / one, 2)
                for n, cpu_s in zip(self._candidates, spent_s, strict=True)
            },
            "two_cores": round(min(self._one_core) / min(self._two_cores), 2),
            "model_mb": round((folder / MODEL_FILE).stat().st_size / 1e6, 2),
            "layer_mb": round(sum(path.stat().st_size for path in layer) / 1e6, 2),
            **min(started, key=lambda start: start["cold_cpu_s"]),
        }


def measure_speed(released: Bundle, rounds: int) -> dict[str, Any]:
    """The rows of all sizes in int8 and float32, and tokens a second of the released's music."""
    manifest = read_manifest(released.directory)
    facts = {name: manifest[name] for name in NO_FACTS}
    ids = Handler(released, 1).compose(SONG_TOKENS)
    cores = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory() as scratch:
        rungs = []
        for size in tqdm(SIZES, desc="bundles", unit="size", disable=None):
            for kind in ("int8", "float32"):
                place = Path(scratch) / f"{size}-{kind}"
                bundle = untrained(size, place, facts, float32=kind == "float32")
                rungs.append(Rung(size, kind, bundle, ids))
        for turn in tqdm(range(rounds), desc="rounds", unit="round", disable=None):
            os.sched_setaffinity(0, {max(cores)})
            for rung in rungs:
                rung.round(turn)
            os.sched_setaffinity(0, cores)
            for rung in rungs:
                rung.round_on_two_cores()
        rows = [rung.facts() for rung in tqdm(rungs, desc="cold starts", disable=None)]
    read = reader(MEMORY_BYTES)
    return {
        "tokens_per_music_s": density(Composer(released)),
        "memory_gb_per_s": round(max(read() for _ in range(rounds)) / 1e9, 1),
        "rows": rows,
    }
