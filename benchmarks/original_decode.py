"""Samples from the model of `original.py` as the original project does, and measures that.

For each token the whole window is computed anew, by ONNX Runtime on one thread, and the token is
drawn from the whole distribution: temperature 1, no cut-off, no mask but for EOS, as the original
project's stream has no ends. `original.py` starts this module as a process of its own, which
imports neither torch nor miditok, so that its memory is what a Lambda function would need. It reads
one JSON object, `Task`, and prints another one, `measure`'s.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    """Tokens drawn; of these with a full window, as the original's always is, and CPU seconds."""

    tokens: int = 0
    full_tokens: int = 0
    full_cpu_s: float = 0.0


def sample(
    logits_of: LogitsOf, task: Task, rng: np.random.Generator, speed: Speed
) -> tuple[list[int], float]:
    """One piece, and how many seconds it lasts: less than wanted if its time stood still.

    The model sees the last ``context`` tokens before each one that is drawn.
    """
    window, piece, reached = [task.bos], list[int](), 0.0
    wanted = task.seconds * SAMPLE_QPM / 60
    for _ in range(math.ceil(task.seconds * MOST_TOKENS_PER_S)):
        began = time.process_time()
        logits = logits_of(np.array(window)).astype(np.float64)
        logits[task.eos] = -np.inf
        sums = np.exp(logits - logits.max()).cumsum()
        token = int(np.searchsorted(sums, rng.random() * sums[-1], side="right"))
        speed.tokens += 1
        if len(window) == task.context:
            speed.full_cpu_s += time.process_time() - began
            speed.full_tokens += 1
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
    tokens_per_s = speed.full_tokens / speed.full_cpu_s
    tokens_per_music_s = speed.tokens / music_s
    return {
        "pieces": pieces,
        "tokens_per_s": tokens_per_s,
        "tokens_per_music_s": tokens_per_music_s,
        "music_s_per_cpu_s": tokens_per_s / tokens_per_music_s,
        "peak_mb": int(status.partition("VmHWM:")[2].split()[0]) / 1024,
    }


if __name__ == "__main__":
    print(json.dumps(measure(Task(**json.load(sys.stdin)))))
