"""Samples from the model of `original.py` as the original project does, and measures that.

For each token the whole window is computed anew, by ONNX Runtime on one thread, and the token is
drawn from the whole distribution: temperature 1, no mask, no cut-off. `original.py` starts this
module as a process of its own, which imports neither torch nor miditok, so that its memory is what
a Lambda function would need. It reads one JSON object, `Task`, and prints another one, `measure`'s.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tqdm import tqdm

SAMPLE_QPM = 120  # the tokens have no tempo, so their music has MIDI's default
MOST_TOKENS_PER_S = 250  # fifty notes; ends the sampling of a piece whose time stands still
LogitsOf = Callable[[NDArray[np.int64]], NDArray[np.float32]]  # ids [T] -> logits [vocabulary]


@dataclass(frozen=True)
class Task:
    """What to sample: ``count`` pieces of ``seconds``.

    model: path of the graph, ids int64 [1, T] -> logits [1, T, vocabulary]. beats: by how many
    beats each id advances the music.
    """

    model: str
    context: int
    bos: int
    eos: int
    beats: Sequence[float]
    count: int
    seconds: float
    seed: int


@dataclass
class Speed:
    """Tokens and the CPU seconds that they took, by whether the window was full."""

    tokens: dict[bool, int] = field(default_factory=lambda: {False: 0, True: 0})
    cpu_s: dict[bool, float] = field(default_factory=lambda: {False: 0.0, True: 0.0})


def sample(
    logits_of: LogitsOf, task: Task, rng: np.random.Generator, speed: Speed
) -> tuple[list[int], float]:
    """One piece, and how many seconds it lasts: less than wanted if its time stood still.

    The model sees the last ``context`` tokens before each one that is drawn. After an EOS the
    window begins again with BOS, and the piece continues.
    """
    window, piece, reached = [task.bos], list[int](), 0.0
    wanted = task.seconds * SAMPLE_QPM / 60
    for _ in range(math.ceil(task.seconds * MOST_TOKENS_PER_S)):
        full = len(window) == task.context
        began = time.process_time()
        logits = logits_of(np.array(window)).astype(np.float64)
        sums = np.exp(logits - logits.max()).cumsum()
        token = int(np.searchsorted(sums, rng.random() * sums[-1], side="right"))
        speed.cpu_s[full] += time.process_time() - began
        speed.tokens[full] += 1
        if token == task.eos:
            window = [task.bos]
            continue
        window = [*window, token][-task.context :]
        reached += task.beats[token]
        if reached >= wanted:
            break
        piece.append(token)
    return piece, min(reached, wanted) * 60 / SAMPLE_QPM


def measure(task: Task) -> dict[str, Any]:
    """The pieces and what they cost, in CPU seconds of this process."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(task.model, options, providers=["CPUExecutionProvider"])

    def logits_of(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = session.run(None, {"ids": ids[None]})[0][0, -1]
        return logits

    pieces, music_s, speed = [], 0.0, Speed()
    for number in tqdm(range(task.count), desc="sampling", unit="piece", disable=None):
        rng = np.random.default_rng([task.seed, number])
        ids, lasts_s = sample(logits_of, task, rng, speed)
        pieces.append(ids)
        music_s += lasts_s
    status = Path("/proc/self/status").read_text()
    cpu_s = sum(speed.cpu_s.values())
    return {
        "pieces": pieces,
        "tokens_per_s": speed.tokens[True] / speed.cpu_s[True] if speed.tokens[True] else None,
        "tokens_per_music_s": sum(speed.tokens.values()) / music_s,
        "music_s_per_cpu_s": music_s / cpu_s,
        "peak_mb": int(status.partition("VmHWM:")[2].split()[0]) / 1024,
    }


if __name__ == "__main__":
    print(json.dumps(measure(Task(**json.load(sys.stdin)))))
