"""The sizes of our architecture that tradeoffs.py compares: bundles of each, and their training.

Depends on neither the measurements of speed nor the planner.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from contract.bundle import CARD_FILE, Bundle
from music.tracker import Vocabulary
from training.data.dataset import Dataset
from training.data.tokenizer import make_tokenizer, vocabulary_entries
from training.model.checkpoints import load_checkpoint
from training.model.copying import fit_weights, weights_to_json
from training.model.export import bundle_config, export_bundle, folded_weights, write_bundle
from training.model.loss import nats_per_note
from training.model.model import ModelConfig, MusicModel
from training.model.onnx_graph import build_graph, quantize_weights
from training.model.recipe import TrainConfig
from training.model.trainer import steps_within, train
from training.model.windows import Windows

RELEASED = "2M"  # the size of layers/model
# channels, layers, heads, hidden. The first is as large as the original project's model.
SIZES = {
    "0.05M": (32, 2, 1, 80),
    "0.5M": (128, 2, 2, 352),
    RELEASED: (192, 4, 3, 512),
    "8M": (320, 6, 5, 896),
    "25M": (512, 8, 8, 1408),
    "50M": (704, 8, 11, 2048),
}
TRAINED = ("0.05M", "0.5M", RELEASED, "8M")  # the others learn nothing in the time
TOKENS = 4096  # of a step: half of the trainer's, since the largest makes few steps
CALIBRATED = 16  # validation pieces on which the int8 cache is scaled
ENTRIES = vocabulary_entries(make_tokenizer())
VOCABULARY = Vocabulary(ENTRIES)
TEXTS = {CARD_FILE: "# A model of the trade-off explorer\n"}


def config_of(size: str) -> ModelConfig:
    channels, layers, heads, hidden = SIZES[size]
    return ModelConfig(
        vocabulary=VOCABULARY.size,
        pitches=VOCABULARY.pitches,
        programs=VOCABULARY.programs,
        channels=channels,
        layers=layers,
        heads=heads,
        kv_heads=heads,
        hidden=hidden,
    )


def untrained(size: str, folder: Path, facts: Mapping[str, Any], *, float32: bool) -> Bundle:
    """A bundle with random weights, which is as fast as one with trained weights.

    facts: what a bundle says of its archive (`archive_facts.facts_of`), so that composing plans and
    copies as it does with the released model.
    """
    torch.manual_seed(0)
    model = MusicModel(config_of(size), ENTRIES).eval()
    config = bundle_config(model, quantized=not float32)
    greatest = math.sqrt(config["head_size"])  # of keys and values, which are normalized per head
    scales = np.full((config["layers"], 2), greatest / 127, np.float32)
    graph = build_graph(config, *folded_weights(model), None if float32 else scales)
    if not float32:
        graph = quantize_weights(graph)
    return write_bundle(folder, graph, config, {}, TEXTS, model, facts)


def trained(size: str, cpu_minutes: float, dataset: Dataset, folder: Path) -> dict[str, Any]:
    """Trains a model from nothing for so much processor time, on the threads that torch has.

    An interrupted training continues from its checkpoint in ``folder``.
    """
    checkpoint = folder / f"{size}-{cpu_minutes:g}.pt"
    config, recipe = config_of(size), TrainConfig(tokens=TOKENS)
    begun = 0
    if checkpoint.exists():
        saved = load_checkpoint(checkpoint)[1]
        steps, begun = saved["steps"], saved["step"]
    else:
        steps = steps_within(cpu_minutes, dataset, config, recipe, clock=time.process_time)
    recipe = TrainConfig(tokens=TOKENS, steps=steps)
    began = time.process_time()
    model = train(dataset, config, recipe, checkpoint)
    if begun < steps:  # what was done before an interruption took as long a step
        cpu_minutes = (time.process_time() - began) / 60 * steps / (steps - begun)
    windows = Windows(dataset, VOCABULARY, config.context)
    return {
        "size": size,
        "parameters": sum(p.numel() for p in model.parameters()),
        "cpu_minutes": round(cpu_minutes, 1),
        "tokens": steps * TOKENS,
        "nats": round(nats_per_note(model, windows, np.flatnonzero(dataset.validation)), 4),
    }


def exported(checkpoint: Path, dataset: Dataset, folder: Path, facts: Mapping[str, Any]) -> Bundle:
    """The int8 bundle of a trained size, with its own weights of copies beside ``facts``."""
    model, _ = load_checkpoint(checkpoint)
    copying, _ = fit_weights(model, dataset, VOCABULARY)
    windows = Windows(dataset, VOCABULARY, model.config.context)
    calibration = windows, np.flatnonzero(dataset.validation)[:CALIBRATED]
    own = {**facts, "copying": weights_to_json(copying)}
    return export_bundle(model, folder, {}, calibration, TEXTS, own)
