"""Training throughput against a bare loop of the model's matrix products, in one run.

The bare loop does the products of one forward and backward pass and nothing else: no norms, no
softmax, no optimizer, no data. Attention's products are counted for the causal half that is needed.
The music is random: cost does not depend on what the tokens say.

    python -m benchmarks.training [--threads 1] [--context 256] [--eager]
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from music.inputs import Tracked
from music.tracker import Vocabulary
from training import options
from training.data.dataset import Dataset
from training.data.tokenizer import make_tokenizer, vocabulary_entries
from training.model.loss import summed_loss
from training.model.model import ModelConfig
from training.model.recipe import TrainConfig
from training.model.trainer import Run
from training.options import Parser


def random_dataset(vocabulary: Vocabulary, tokens: int) -> Dataset:
    """A data set of one long random piece, with nothing held out."""
    rng = np.random.default_rng(0)
    return Dataset(
        ids=rng.integers(1, vocabulary.size, tokens).astype(np.int16),
        tracked=Tracked(
            position_in_bar=rng.integers(0, 48, tokens, np.uint8),
            current_program=rng.integers(0, vocabulary.programs, tokens, np.uint8),
            place_in_form=np.zeros(tokens, np.uint8),
            tick=np.arange(tokens, dtype=np.int32) * 3,
            sounding_now=rng.integers(0, 256, (tokens, (vocabulary.pitches + 7) // 8), np.uint8),
        ),
        starts=np.array([0, tokens]),
        style_ids=np.zeros(1, np.int16),
        notes=np.ones(1, np.int32),
        seconds=np.ones(1, np.float32),
        validation=np.zeros(1, np.bool_),
        test=np.zeros(1, np.bool_),
        names=np.array(["random"]),
        credits={},
    )


def bare_seconds(config: ModelConfig, tokens: int) -> float:
    """CPU seconds of the matrix products of one forward and backward pass over ``tokens``."""
    c, hidden, context = config.channels, config.hidden, config.context
    width = (config.heads + 2 * config.kv_heads) * config.head_size
    shapes = [(c, width), (c, c), (c, 2 * hidden), (hidden, c)] * config.layers
    shapes.append((c, config.vocabulary))
    x = {size: torch.randn(tokens, size) for size in {side for shape in shapes for side in shape}}
    weights = [torch.randn(shape) for shape in shapes]
    heads = tokens // context * config.heads
    queries = torch.randn(heads, context, config.head_size)
    keys = torch.randn(heads, context // 2, config.head_size)  # the causal half
    scores = torch.randn(heads, context, context // 2)
    began = time.process_time()
    for weight in weights:
        rows, columns = weight.shape
        _ = x[rows] @ weight
        _ = x[columns] @ weight.T
        _ = x[rows].T @ x[columns]
    for _ in range(config.layers):
        for _ in range(2):  # scores from queries and keys, then values: forward and both gradients
            _ = queries @ keys.mT
            _ = scores @ keys
            _ = scores.mT @ queries
    return time.process_time() - began


def main() -> None:
    parser = Parser("benchmarks.training", (__doc__ or "").partition("\n")[0])
    parser.add_argument("--threads", type=options.whole(1), default=1)
    parser.add_argument(
        "--context", type=options.whole(3), default=256, help="length of the windows"
    )
    parser.add_argument("--tokens", type=options.whole(1), default=8192, help="of one step")
    parser.add_argument(
        "--steps", type=options.whole(1), default=8, help="to measure, after two to warm up"
    )
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    vocabulary = Vocabulary(vocabulary_entries(make_tokenizer()))
    config = ModelConfig(
        vocabulary=vocabulary.size,
        pitches=vocabulary.pitches,
        programs=vocabulary.programs,
        context=a.context,
    )
    step_loss = summed_loss if a.eager else torch.compile(summed_loss, dynamic=False)
    with tempfile.TemporaryDirectory() as scratch:
        train_config = TrainConfig(steps=1000, tokens=a.tokens, short_context=a.context)
        dataset = random_dataset(vocabulary, 200_000)
        run = Run(dataset, config, train_config, Path(scratch) / "model.pt")
        for _ in range(2):
            run.one_step(step_loss)
        steps_s = bare_s = 0.0
        for _ in range(a.steps):  # in turns, as the machine's speed drifts
            began = time.process_time()
            run.one_step(step_loss)
            steps_s += time.process_time() - began
            bare_s += bare_seconds(config, a.tokens)
    facts = {
        "tokens_per_cpu_s": round(a.tokens * a.steps / steps_s),
        "bare_tokens_per_cpu_s": round(a.tokens * a.steps / bare_s),
        "share_of_bare": round(bare_s / steps_s, 3),
        "compiled": not a.eager,
        "context": a.context,
        "threads": a.threads,
    }
    for name, value in facts.items():
        print(f"{name:24}{value:>12}")
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
