"""Tokens a second of the deployed decoder beside other ways of decoding, in one run on one core.

All decode the same piece, which the bundle itself composes, with the bundle's own weights; their
logits are compared with PyTorch's. Each has room for 1,024 tokens, so that it can be measured at
position 1,000; only "released" decodes in the bundle's own window, which slides. Times are CPU
seconds of this process. The time of other processes is not in them, but these slow memory and
caches down. So the forms take turns, and the fastest round of each one counts: on a shared machine
ratios of these moved by about a tenth from run to run, ratios of medians by a third.

    python -m benchmarks.decode [--bundle layers/model] [--plot build/decode.png]
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks import decode_plain as plain
from benchmarks.decode_forms import (
    MOST_STEPS,
    Concat,
    Eager,
    FoldedModel,
    Form,
    Naive,
    Released,
    Timed,
    arguments,
    our_forms,
)
from contract.bundle import Bundle
from contract.request import parse_request
from generate_tokens.compose import Composer
from generate_tokens.sampling import Uniforms, sample
from generate_tokens.sequence import PREFIX
from music.grammar import Grammar
from music.tracker import STYLE, MusicState, Vocabulary
from training import options
from training.model.weights import load_weights
from training.options import Parser

BUNDLE = Path(__file__).resolve().parent.parent / "layers" / "model"
EXPORTER = "onnxscript"
POSITIONS = (100, 500, 1000)  # tokens in the cache
ROWS = 1024
SONG_TOKENS = 1000  # of the loops that compose or follow a whole piece
WARM_STEPS = 2
NAIVE_STEPS = 4  # each takes as long as hundreds of another form's
MEMORY_BYTES = 64 << 20  # more than the processor's caches hold
EXACT = ("naive", "torch_eager", "onnx_concat", "ours_float32")
ROUNDED = ("ours_int8", "ours_int8_cache", "released")
FORMS = (*EXACT, *ROUNDED, *plain.FORMS)
WANTED = {  # at least
    "vs_naive_500": 100,
    "vs_genai_500": 1.5,
    "vs_genai_1000": 1.5,
    "vs_torch_500": 4,
    "vs_bound_100": 0.6,
    "handler_vs_decode": 0.8,
}
Logits = NDArray[np.float32]


def to_one_core() -> None:
    """Restarts this program on one core, because the libraries count cores when they are loaded."""
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if any(os.environ.get(name) != value for name, value in threads.items()):
        anew = [sys.executable, *sys.argv]
        os.execve(sys.executable, anew, {**os.environ, **threads})  # noqa: S606 - itself
    torch.set_num_threads(1)


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def distance(form: Form, reference: Logits, indexes: Iterable[int]) -> tuple[float, float]:
    """Greatest difference of a logit, and mean KL in nats, from PyTorch's [T, vocabulary]."""
    greatest, divergences = 0.0, []
    for index in indexes:
        logits, wanted = form.step(index), reference[index]
        greatest = max(greatest, float(np.abs(logits - wanted).max()))
        q, p = (x - np.logaddexp.reduce(x) for x in np.array([logits, wanted], np.float64))
        divergences.append(float(np.exp(p) @ (p - q)))
    return greatest, statistics.fmean(divergences)


def distances(
    forms: Sequence[Form], reference: Logits, window: int
) -> dict[str, tuple[float, float]]:
    """`distance` of each form over the piece; of "released" until its ``window`` slides."""
    result = {}
    for form in tqdm(forms, desc="logits", unit="form", disable=None):
        form.rewind(PREFIX)
        end = min(ROWS, window) if isinstance(form, Released) else ROWS
        indexes = POSITIONS if isinstance(form, Naive) else range(PREFIX, end)
        result[form.name] = distance(form, reference, indexes)
    return result


def step_seconds(form: Timed, position: int) -> float:
    """Mean CPU seconds of a step, from ``position`` tokens in the cache on."""
    begin = position + WARM_STEPS
    end = position + (NAIVE_STEPS if isinstance(form, Naive) else MOST_STEPS)
    form.rewind(position)
    for index in range(position, begin):
        form.step(index)
    began = time.process_time()
    for index in range(begin, end):
        form.step(index)
    return (time.process_time() - began) / (end - begin)


def reader(size: int) -> Callable[[], float]:
    """A function that measures the bytes a second of reading ``size`` bytes repeatedly."""
    buffer = np.ones(size // 8 * 2, np.float32)  # ones: pages never written to are all one page
    a, b = np.split(buffer, 2)
    passes = max(2, MEMORY_BYTES // buffer.nbytes)

    def bytes_per_s() -> float:
        np.dot(a, b)  # numpy's fastest reader
        began = time.process_time()
        for _ in range(passes):
            np.dot(a, b)
        return passes * buffer.nbytes / (time.process_time() - began)

    return bytes_per_s


def product_bytes(bundle: Bundle) -> int:
    """Bytes of the int8 weights of all matrix products, and their scales: each token reads them."""
    graph = onnx.load(str(bundle.model_path)).graph
    sizes = {tensor.name: len(tensor.raw_data) for tensor in graph.initializer}
    products = (node for node in graph.node if node.op_type == "DynamicQuantizeMatMul")
    return sum(sizes[name] for node in products for name in node.input[1:])


class Handler:
    """All of composing: prefill, tracker, grammar, sampling, decoder."""

    def __init__(self, bundle: Bundle, seed: int) -> None:
        event = {"style": min(bundle.styles), "seed": seed, "duration_s": 3600, "candidates": 1}
        self.request = parse_request(event, bundle, "2000-01-01")
        self._composer = Composer(bundle)

    def compose(self, count: int) -> list[int]:
        """``BOS style`` and the first ``count`` tokens of a fresh piece."""
        calls = itertools.count()

        def clock() -> float:
            """Called at the beginning and before each token; after the last one the time is up."""
            return 0.0 if next(calls) <= count else math.inf

        return self._composer.compose(self.request, [], [], 1e9, clock).candidates[0]


def sampling_rates(
    bundle: Bundle, handler: Handler, ids: Sequence[int], logits: Sequence[Logits]
) -> dict[str, float]:
    """Tokens a second of the tracker alone, with the grammar, and with the sampler too.

    In the piece's own ``logits``, those of tokens that may not follow are set to -inf, in place.
    """
    vocabulary = Vocabulary(bundle.vocabulary)
    grammar = Grammar(vocabulary, bundle.grammar)
    request, uniforms = handler.request, Uniforms(handler.request.piece_seed)
    settings = (request.temperature, request.top_k, request.top_p, request.min_p)

    def rate(*, grammatical: bool, drawn: bool) -> float:
        state = MusicState(vocabulary)
        state.kind = STYLE
        began = time.process_time()
        for index, (row, token) in enumerate(zip(logits, ids[PREFIX:], strict=False)):
            if grammatical:
                choices = grammar.choices(state)
                for struck in grammar.struck(state):
                    row[struck] = -np.inf
                if drawn:
                    sample(row[choices], uniforms[index], *settings)
            state.step(token)
        return len(logits) / (time.process_time() - began)

    return {
        "tracked": rate(grammatical=False, drawn=False),
        "grammatical": rate(grammatical=True, drawn=False),
        "drawn": rate(grammatical=True, drawn=True),
    }


def measure(bundle: Bundle, seed: int, rounds: int, folder: Path) -> dict[str, Any]:
    """All figures of the JSON line; None for those that need a missing package."""
    handler = Handler(bundle, seed)
    ids = handler.compose(ROWS - PREFIX)
    piece = arguments(bundle, ids)
    model = FoldedModel(load_weights(bundle.directory)[0])
    with torch.inference_mode():
        reference = model(piece)[0].numpy()
    ours = our_forms(bundle, model, ids, folder)
    released = ours[0]
    assert isinstance(released, Released)
    forms: list[Form] = [Eager(model, piece), *ours]
    if installed(EXPORTER):
        forms += [Naive(model, piece, folder), Concat(model, piece, POSITIONS, folder)]
    apart = distances(forms, reference, bundle.context)
    plain_forms = plain.forms(model, bundle, ids, folder, genai=installed(plain.GENAI))
    logits = [row.copy() for row in released.decode(SONG_TOKENS)]
    assert handler.compose(SONG_TOKENS) == ids[: PREFIX + SONG_TOKENS]  # as in the other loop
    size = product_bytes(bundle)
    readers = {"footprint": reader(size), "memory": reader(MEMORY_BYTES)}

    rates: dict[str, list[float]] = defaultdict(list)  # a second
    timed: list[Timed] = [*forms, *plain_forms]
    for _ in tqdm(range(rounds), desc="rounds", unit="round", disable=None):
        for position in POSITIONS:
            for form in timed:
                rates[f"{form.name} {position}"].append(1 / step_seconds(form, position))
            for name, read in readers.items():
                rates[name].append(read() / size)
        began = time.process_time()
        handler.compose(SONG_TOKENS)
        composed = time.process_time()
        for _row in released.decode(SONG_TOKENS):
            pass
        rates["sliding"].append(SONG_TOKENS / (time.process_time() - composed))
        rates["handler"].append(SONG_TOKENS / (composed - began))
        for name, rate in sampling_rates(bundle, handler, ids, logits).items():
            rates[name].append(rate)
    best = {name: max(values) for name, values in rates.items()}
    return {
        **facts_of(best),
        "max_diff_fp32": max(apart[name][0] for name in EXACT if name in apart),
        "kl_int8": apart["ours_int8_cache"][1],
        "max_diff": {name: greatest for name, (greatest, _) in apart.items()},
        "kl": {name: divergence for name, (_, divergence) in apart.items()},
        "plain_max_diff_fp32": plain.difference(plain_forms),
        "bytes_per_token": size,
        "bandwidth_gb_per_s": {name: round(best[name] * size / 1e9, 1) for name in readers},
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "rounds": rounds,
        "model_id": bundle.model_id,
    }


def facts_of(rates: Mapping[str, float]) -> dict[str, Any]:
    """Tokens a second and their ratios, from the rates that `measure` names."""

    def ratio(this: str, *others: str) -> float | None:
        """To the fastest of the others."""
        known = [rates[other] for other in others if other in rates]
        return round(rates[this] / max(known), 3) if known else None

    speeds = {
        name: {
            str(position): round(rate, 1) if (rate := rates.get(f"{name} {position}")) else None
            for position in POSITIONS
        }
        for name in FORMS
    }
    return {
        "tokens_per_s": speeds,
        "vs_naive_500": ratio("ours_int8_cache 500", "naive 500"),
        **{
            f"vs_genai_{p}": ratio(
                f"{plain.OURS_INT8} {p}", *(f"{n} {p}" for n in plain.GENAI_INT8)
            )
            for p in (500, 1000)
        },
        "vs_torch_500": ratio("ours_int8_cache 500", "torch_eager 500"),
        "vs_bound_100": ratio("ours_int8_cache 100", "footprint"),
        "vs_memory_bound_100": ratio("ours_int8_cache 100", "memory"),
        "handler_vs_decode": ratio("handler", "sliding"),
        "handler_tokens_per_s": round(rates["handler"], 1),
        "released_sliding": round(rates["sliding"], 1),
        "grammar_us": round(1e6 / rates["grammatical"] - 1e6 / rates["tracked"], 1),
        "sampler_us": round(1e6 / rates["drawn"] - 1e6 / rates["grammatical"], 1),
        "bound_tokens_per_s": {name: round(rates[name]) for name in ("footprint", "memory")},
    }


def print_table(facts: Mapping[str, Any]) -> None:
    positions = "".join(f"{position:>9}" for position in POSITIONS)
    print(f"{'tokens a second at position':28}{positions}{'logits off':>12}{'KL':>9}")
    for name, speeds in facts["tokens_per_s"].items():
        cells = "".join(f"{speed or 'missing':>9}" for speed in speeds.values())
        if name in facts["kl"]:
            cells += f"{facts['max_diff'][name]:12.1e}{facts['kl'][name]:9.0e}"
        print(f"{name:28}{cells}")
    for name, fact in facts.items():
        if name not in ("tokens_per_s", "max_diff", "kl"):
            wanted = f"   wanted: at least {WANTED[name]}" if name in WANTED else ""
            print(f"{name:28}{fact!s:>9}{wanted}")


def draw(facts: Mapping[str, Any], path: Path) -> None:
    """Tokens a second by position, logarithmic: of the model, and of plain weights of its shape."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 6), sharey=True, layout="constrained")
    for axis, title, names in (
        (axes[0], "the model", (*EXACT, *ROUNDED)),
        (axes[1], "plain weights of its shape", plain.FORMS),
    ):
        for name in names:
            speeds = [speed or np.nan for speed in facts["tokens_per_s"][name].values()]
            axis.plot(POSITIONS, speeds, marker="o", label=name)
        axis.set(yscale="log", xticks=POSITIONS, xlabel="tokens in the cache", title=title)
        axis.grid(visible=True, which="both", alpha=0.3)
        axis.legend(fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.14))
    axes[0].set_ylabel("tokens a second on one core")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    parser = Parser("benchmarks.decode", (__doc__ or "").partition("\n")[0])
    parser.add_argument("--bundle", type=options.folder, default=BUNDLE, help="an int8 one")
    parser.add_argument(
        "--seed", type=options.whole(0), default=1, help="of the piece that all follow"
    )
    parser.add_argument("--rounds", type=options.whole(1), default=30)
    parser.add_argument("--quick", action="store_true", help="one round, to see that all runs")
    parser.add_argument("--plot", type=options.new_file(".png"), default="build/decode.png")
    a = parser.parse_args()
    bundle = parser.read("--bundle", a.bundle, Bundle.load, "a bundle")
    if bundle.model["kv_dtype"] != "int8":
        parser.error(f"{a.bundle} is not quantized: export it without --float32")
    to_one_core()
    with tempfile.TemporaryDirectory() as scratch:
        facts = measure(bundle, a.seed, 1 if a.quick else a.rounds, Path(scratch))
    print_table(facts)
    draw(facts, a.plot)
    print(f"{a.plot}: the same as a plot")
    for package in (EXPORTER, plain.GENAI):
        if not installed(package):
            install = "pip install -r benchmarks/requirements.txt"
            print(f"{package} is not installed, figures are missing: {install}")
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
