r"""From a checkpoint to the bundle: fold, build the graph, calibrate, quantize, verify, write.

The bundle is the only thing that passes from training to the Lambdas (`layers/model/`).

    python -m training.model.export --checkpoint build/model.pt --dataset build/dataset.npz \\
        --out layers/model
"""

from __future__ import annotations

import datetime
import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from contract.bundle import Bundle, model_id_of, write_manifest
from generate_tokens.compose import Composer
from generate_tokens.decoder import Decoder
from music.grammar import REMI_TRANSITIONS
from music.inputs import TICK
from music.tracker import Vocabulary
from training.data.attribution import attribution_text, together
from training.data.dataset import Dataset
from training.data.provenance import History, tokens_of
from training.data.tokenizer import STYLES, make_tokenizer, vocabulary_entries
from training.model.archive_facts import NO_FACTS, facts_of
from training.model.checkpoints import history_of, load_checkpoint
from training.model.export_options import parse
from training.model.loss import nats_per_note
from training.model.model import Block, MusicModel, rotary_frequencies
from training.model.model_card import model_card
from training.model.onnx_graph import Weights, build_graph, quantize_weights
from training.model.weights import WEIGHTS_FILE, save_weights
from training.model.windows import PREFIX, Windows, stack

SAMPLING = {
    "temperature": 1.0,
    "top_p": 0.98,
    "top_k": 0,
    "min_p": 0.0,
    "candidates": 4,
    "duration_s": 90,
}
FLOAT32_LIMIT = 1e-3  # greatest difference of a logit; measured 3e-5
INT8_KL_LIMIT = 0.02  # nats; measured 1e-3
PARITY_POSITIONS = (PREFIX, *range(3, 250, 13), 400, 509)  # sampling begins after the style


def as_numpy(tensor: torch.Tensor) -> NDArray[np.float32]:
    """The tensor in the form in which ONNX stores weights: float32, row-major."""
    return np.ascontiguousarray(tensor.detach().float().numpy())


def folded_weights(model: MusicModel) -> tuple[Weights, Weights]:
    """The inputs' tables, with the shared rows added in, and the other weights.

    Matrices are transposed: torch keeps them as [out, in], and the graph needs [in, out].
    """
    tables = {name: as_numpy(table) for name, table in model.tables().items()}
    weights = {
        "sounding": as_numpy(model.sounding),
        "norm": as_numpy(model.norm),
    }
    for i, block in enumerate(model.blocks):
        for name in ("qkv", "out", "gate_up", "down"):
            weights[f"{i}.{name}"] = as_numpy(getattr(block, name).weight.T)
        for name in ("norm_1", "norm_2"):
            weights[f"{i}.{name}"] = as_numpy(getattr(block, name))
    return tables, weights


@torch.no_grad()
def calibrate_cache(
    model: MusicModel, windows: Windows, pieces: NDArray[np.int64]
) -> NDArray[np.float32]:
    """[layers, 2]: the value of one int8 step in each key and value cache.

    127 steps reach the greatest absolute value that occurs on windows of the given pieces.
    """
    config = model.config
    peaks = torch.zeros(config.layers, 2)
    tables = model.tables()
    for window, _, _ in windows.validation(pieces):
        inputs, _ = stack([window])
        angles = model.angles(inputs[TICK])
        cos, sin = angles.cos(), angles.sin()
        x = model.embedded(tables, inputs)
        for i, block in enumerate(model.blocks):
            assert isinstance(block, Block)
            _, k, v = block.queries_keys_values(x, cos, sin)
            peaks[i, 0] = torch.maximum(peaks[i, 0], k.abs().max())
            peaks[i, 1] = torch.maximum(peaks[i, 1], v.abs().max())
            x = block(x, cos, sin)
    return (peaks / 127).numpy()


def write_bundle(
    out: Path,
    graph: onnx.ModelProto,
    config: Mapping[str, Any],
    training: Mapping[str, Any],
    texts: Mapping[str, str],
    model: MusicModel,
    facts: Mapping[str, Any] = NO_FACTS,
    history: History = (),
) -> Bundle:
    """Writes the files to a new folder, verifies them, and puts the folder in ``out``'s place.

    ``facts``: about the archive, from `archive_facts.facts_of`. ``history``: what the model was
    trained on; the weights file holds it as well.
    """
    tokenizer = make_tokenizer()
    entries = vocabulary_entries(tokenizer)
    ids = {kind.lower(): tokenizer[f"{kind}_None"] for kind in ("PAD", "BOS", "EOS")}
    styles = {style: tokenizer[f"Style_{style}"] for style in STYLES}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        folder = Path(scratch) / "model"
        folder.mkdir()
        onnx.save(graph, folder / "model.onnx")
        tokenizer.save(folder)
        manifest = {
            "model_id": model_id_of(folder),
            "tokenizer": {"class": type(tokenizer).__name__, "miditok": version("miditok")},
            "model": dict(config),
            "vocabulary": entries,
            "grammar": REMI_TRANSITIONS,
            "ids": {**ids, "styles": styles},
            "sampling": SAMPLING,
            "training": dict(training),
            **facts,
        }
        write_manifest(folder, manifest)
        for name, text in texts.items():
            (folder / name).write_text(text)
        save_weights(model, folder / WEIGHTS_FILE, history)
        Composer(Bundle.load(folder))  # tries a prefill, a step and a sample
        if out.exists():
            shutil.rmtree(out)
        folder.rename(out)
    out.chmod(0o755)
    return Bundle.load(out)


def bundle_config(model: MusicModel, quantized: bool) -> dict[str, Any]:
    """What the decoder must know about the graph."""
    by_index, by_tick = rotary_frequencies(model.config.head_size)
    return {
        **model.config.to_json(),
        "head_size": model.config.head_size,
        "kv_dtype": "int8" if quantized else "float32",
        "rotary": {"by_index": by_index, "by_tick": by_tick},
    }


def export_bundle(
    model: MusicModel,
    out: Path,
    training: Mapping[str, Any],
    calibration: tuple[Windows, NDArray[np.int64]] | None,
    texts: Mapping[str, str],
    facts: Mapping[str, Any] = NO_FACTS,
    history: History = (),
) -> Bundle:
    """Writes ``model`` as a bundle: int8 weights and cache with ``calibration``, else float32.

    ``texts``: the contents of MODEL_CARD.md and of other text files, by name. ``facts``: about the
    archive, from `archive_facts.facts_of`.
    """
    config = bundle_config(model, calibration is not None)
    scales = None if calibration is None else calibrate_cache(model, *calibration)
    graph = build_graph(config, *folded_weights(model), scales)
    if calibration is not None:
        graph = quantize_weights(graph)
    return write_bundle(out, graph, config, training, texts, model, facts, history)


@torch.no_grad()
def compare(
    model: MusicModel, bundle: Bundle, windows: Windows, piece: int, positions: tuple[int, ...]
) -> dict[str, float]:
    """Decoder against PyTorch on one real window: greatest logit difference and mean KL in nats.

    At each position the decoder prefills all tokens before it and then takes one step, so that both
    ways to logits are compared.
    """
    start = int(windows.dataset.starts[piece]) + PREFIX
    room = int(windows.dataset.starts[piece + 1]) - 1 - start
    window = windows.window(piece, start, start + min(windows.body, room))
    reference = model(stack([window])[0])[0].numpy()
    decoder = Decoder(bundle)
    worst, divergence = 0.0, []
    for n in (p for p in positions if p < len(window.targets)):
        prefilled = decoder.prefill(0, window.inputs[:n]).copy()
        decoder.put(0, window.inputs.told(n))
        stepped = decoder.step()[0].copy()
        for got, want in ((prefilled, reference[n - 1]), (stepped, reference[n])):
            worst = max(worst, float(np.abs(got - want).max()))
            # KL(want || got), in double precision
            p, q = (torch.from_numpy(x).double().log_softmax(-1) for x in (want, got))
            divergence.append(float((p.exp() * (p - q)).sum()))
    return {"max_logit_difference": worst, "kl": float(np.mean(divergence))}


def refuse_if_apart(training: Mapping[str, Any]) -> None:
    """Ends the export, before the old bundle is touched, when graph and model disagree."""
    worst = training["parity_float32"]["max_logit_difference"]
    divergence = training.get("parity_int8", {"kl": 0.0})["kl"]
    if worst > FLOAT32_LIMIT or divergence > INT8_KL_LIMIT:
        raise SystemExit(
            f"not exported: the float32 graph's logits differ by {worst:.1e} (at most "
            f"{FLOAT32_LIMIT}), the int8 graph's KL is {divergence:.1e} nats (at most "
            f"{INT8_KL_LIMIT}): a fault in the graph, or weights that int8 cannot hold; for these "
            "--float32"
        )


def _commit() -> str:
    """The commit that the training code is at, or 'unknown' outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short=12", "HEAD"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() or "unknown"


def training_facts(
    model: MusicModel, checkpoint: Mapping[str, Any], windows: Windows, history: History
) -> dict[str, Any]:
    """What the bundle says of its training, except the parity."""
    dataset = windows.dataset
    validation = np.flatnonzero(dataset.validation)
    tokenizer = make_tokenizer()
    return {
        "pieces": int(dataset.training.sum()),
        "validation_pieces": len(validation),
        "test_pieces": int(dataset.test.sum()),
        "styles": {
            style: int((dataset.style_ids == tokenizer[f"Style_{style}"]).sum()) for style in STYLES
        },
        "dataset_tokens": int(dataset.starts[-1]),
        "tokens_seen": tokens_of(history),
        "trained_before": [training.facts() for training in history[:-1]],
        "steps": checkpoint["step"],
        "context": model.config.context,
        "wall_minutes": round(checkpoint["spent_s"] / 60, 1),
        "parameters": sum(p.numel() for p in model.parameters()),
        "validation_nats_per_note": round(nats_per_note(model, windows, validation), 4)
        if len(validation)
        else None,
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def release(
    checkpoint: Path,
    dataset: Dataset,
    out: Path,
    data_note: str = "",
    evaluation: Mapping[str, Any] | None = None,
    *,
    float32: bool = False,
) -> Bundle:
    """Exports a checkpoint to ``out``, once graph and model were found to agree.

    Args:
        data_note: for the model card: which pieces, from where, with which rights.
        evaluation: for the model card: the JSON that `python -m training.evaluation.evaluate
            --json` printed for this model.

    Raises:
        SystemExit: the checkpoint was trained on another data set, the evaluation is of another
            model, or graph and model disagree; ``out`` stays as it was.
    """
    model, facts = load_checkpoint(checkpoint)
    if facts["dataset_sha256"] != dataset.sha256():
        raise SystemExit(
            f"not exported: {checkpoint} was trained on another data set than the one given, and "
            "the card and the attributions would be wrong: give that one, or train on with this "
            "one first (training.model.trainer --start-from)"
        )
    history = history_of(facts, data_note)
    vocabulary = Vocabulary(vocabulary_entries(make_tokenizer()))
    windows = Windows(dataset, vocabulary, model.config.context)
    training = training_facts(model, facts, windows, history)
    validation = np.flatnonzero(dataset.validation)
    real = (
        validation if len(validation) else np.arange(len(dataset.notes))
    )  # to calibrate and compare on
    longest = int(real[np.argmax(np.diff(dataset.starts)[real])])
    # Both graphs are compared with the model in a scratch folder, before ``out`` is touched.
    with tempfile.TemporaryDirectory() as scratch:
        texts = {"MODEL_CARD.md": "to compare with the model"}
        tried = export_bundle(model, Path(scratch) / "model", training, None, texts)
        training["parity_float32"] = compare(model, tried, windows, longest, PARITY_POSITIONS)
        if not float32:
            tried = export_bundle(model, Path(scratch) / "int8", training, (windows, real), texts)
            training["parity_int8"] = compare(model, tried, windows, longest, PARITY_POSITIONS)
    refuse_if_apart(training)
    if evaluation and evaluation["model_id"] != tried.model_id:
        raise SystemExit(
            f"not exported: --evaluation is of the model {str(evaluation['model_id'])[:12]}, and "
            f"this is {tried.model_id[:12]}: export without it, evaluate that, and export again"
        )
    texts = {"MODEL_CARD.md": model_card(training, data_note, evaluation)}
    if credited := together(training.credits for training in history):
        texts["ATTRIBUTION.md"] = attribution_text(credited)
    calibration = None if float32 else (windows, real)
    facts = facts_of(model, dataset)
    return export_bundle(model, out, training, calibration, texts, facts, history)


def main() -> None:
    a = parse()
    bundle = release(a.checkpoint, a.dataset, a.out, a.data_note, a.evaluation, float32=a.float32)
    size = bundle.model_path.stat().st_size
    print(f"{a.out}: model {bundle.model_id[:12]}, model.onnx {size / 1e6:.2f} MB")
    print(json.dumps(bundle.training))
    print("next: ./run.sh composes a piece with it; ./deploy.sh puts it into your account")


if __name__ == "__main__":
    main()
