"""What int8 costs: the shipped bundle against a float32 graph of the same weights.

Both decode the first minute of real pieces, token by token, as the deployed function does. The
float32 graph is made of the bundle's own training weights (float16).

    python -m benchmarks.quantization --real FOLDER [--bundle layers/model] [--pieces 24]
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
from miditok import MusicTokenizer
from numpy.typing import NDArray
from tqdm import tqdm

from contract.bundle import Bundle
from generate_tokens.compose import Composer
from midi_save.detokenize import load_tokenizer
from midi_save.reading import read_score
from music.tracker import PITCH
from training import options
from training.data.archive import Source, find_sources
from training.evaluation.scoring import NATS_SECONDS, known_style, token_logits
from training.model.export import export_bundle
from training.model.weights import load_weights
from training.options import Parser

BUNDLE = Path(__file__).resolve().parent.parent / "layers" / "model"


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    exact = logits.astype(np.float64)
    return exact - float(np.logaddexp.reduce(exact))


def main() -> None:
    parser = Parser("benchmarks.quantization", (__doc__ or "").partition("\n")[0])
    parser.add_argument("--bundle", type=options.folder, default=BUNDLE)
    parser.add_argument("--real", type=options.folder, required=True, help="folder of MIDI")
    parser.add_argument(
        "--pieces", type=options.whole(1), default=24, help="at most; evenly through the folder"
    )
    a = parser.parse_args()
    sources = find_sources(a.real)
    if not sources:
        parser.error(f"--real: no MIDI file under {a.real}: name a folder that holds some")
    chosen = sources[:: max(1, len(sources) // a.pieces)][: a.pieces]
    shipped = parser.read("--bundle", a.bundle, Bundle.load, "a bundle")
    tokenizer = load_tokenizer(shipped)
    divergences: list[float] = []
    worst = 0.0
    nats = np.zeros(2)
    notes = read = 0
    with tempfile.TemporaryDirectory() as scratch:
        texts = {"MODEL_CARD.md": "to measure int8 against"}
        exact = export_bundle(load_weights(a.bundle)[0], Path(scratch) / "model", {}, None, texts)
        composers = [Composer(bundle) for bundle in (exact, shipped)]
        for source in tqdm(chosen, desc="real pieces", unit="piece", disable=None):
            ids = ids_of(source, tokenizer)
            style = known_style(source.style, shipped)
            read += bool(ids)
            both = (token_logits(composer, ids, style) for composer in composers)
            steps = zip(*both, strict=True)
            for target, ((plain, sequence), (rounded, _)) in zip(ids, steps, strict=False):
                if sequence.state.seconds > NATS_SECONDS:
                    break
                p, q = log_softmax(plain), log_softmax(rounded)
                divergences.append(float(np.exp(p) @ (p - q)))
                worst = max(worst, float(np.abs(plain - rounded).max()))
                nats -= p[target], q[target]
                notes += composers[0].vocabulary.kind[target] == PITCH
    facts = {
        "model_id": shipped.model_id,
        "pieces": read,
        "tokens": len(divergences),
        "nats_per_note_float32": round(nats[0] / notes, 4),
        "nats_per_note_int8": round(nats[1] / notes, 4),
        "kl_mean": float(f"{np.mean(divergences):.2e}"),
        "kl_p99": float(f"{np.quantile(divergences, 0.99):.2e}"),
        "max_logit_difference": round(worst, 3),
    }
    for name, value in facts.items():
        print(f"{name:24}{value:>12.12}" if isinstance(value, str) else f"{name:24}{value:>12}")
    print(json.dumps(facts))


def ids_of(source: Source, tokenizer: MusicTokenizer) -> list[int]:
    """The piece's ids; empty for a file that cannot be read."""
    try:
        clean = read_score(source.path.read_bytes()).score
    except (ValueError, OSError):
        return []
    return list(tokenizer.encode(clean, encode_ids=False).ids) if clean else []


if __name__ == "__main__":
    main()
