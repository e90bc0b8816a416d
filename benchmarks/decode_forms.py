"""The ways of decoding that decode.py compares: one piece of music, the same weights.

Each takes the piece's tokens one after another, whatever its own logits say, so that all do the
same work and their logits can be compared. They are made of PyTorch's model, of what the exporters
make of it, and of the deployed decoder. Depends on neither the measurements nor the plot.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from contract.bundle import MODEL_FILE, Bundle
from generate_tokens.decoder import Decoder
from generate_tokens.sequence import PREFIX, Batch, TokenSequence
from music.inputs import INPUTS, LOOKED_UP, TICK
from music.memory import CopyWeights
from music.tracker import Vocabulary
from training.data.tokenizer import make_tokenizer, vocabulary_entries
from training.model.export import folded_weights
from training.model.model import Block, MusicModel, rms_norm
from training.model.onnx_graph import build_graph, quantize_weights

Logits = NDArray[np.float32]
Arguments = dict[str, Tensor]  # the model's inputs by name
LONGEST_S = 3600.0
MOST_STEPS = 18  # after a `rewind`, except to compare logits


class Timed(Protocol):
    """A way of decoding whose steps can be timed."""

    name: str

    def rewind(self, count: int) -> None:
        """Goes to where ``count`` tokens are in the cache; at most `MOST_STEPS` steps follow."""

    def step(self, index: int) -> object:
        """Takes the token at ``index`` of the piece, the next that isn't in the cache."""


class Form(Timed, Protocol):
    """A way of decoding that follows a piece. Its cache has `PREFIX` tokens from the beginning."""

    def step(self, index: int) -> Logits:
        """Logits [vocabulary] of what comes after the token at ``index``."""


def session(path: Path) -> ort.InferenceSession:
    """An inference session on one thread, as the deployed decoder has it."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


# Our forms


def told(bundle: Bundle, ids: Sequence[int]) -> TokenSequence:
    """The piece ``ids`` (BOS, style, ...) with the inputs that the model gets with each token."""
    weights = CopyWeights(**bundle.copying)
    sequence = TokenSequence(Vocabulary(bundle.vocabulary), ids[0], ids[1], weights)
    sequence.begin_piece(LONGEST_S)
    for token in ids[PREFIX:]:
        sequence.append(token)
    return sequence


def arguments(bundle: Bundle, ids: Sequence[int]) -> Arguments:
    """The piece as the inputs of PyTorch's model, [1, T, ...] each."""
    window = told(bundle, ids).window(0, len(ids) - PREFIX)
    return {name: torch.from_numpy(array)[None] for name, array in window}


class Ours:
    """The deployed decoder, in a window that holds the whole piece."""

    def __init__(self, name: str, bundle: Bundle, ids: Sequence[int]) -> None:
        self.name = name
        self._decoder = Decoder(bundle)
        self._sequence = told(bundle, ids)
        self._body = self._sequence.body
        count = min(len(self._body), bundle.context - PREFIX)
        self._decoder.prefill(0, self._sequence.window(0, count))

    def rewind(self, count: int) -> None:
        self._decoder.row = count  # later steps write the same values to the later rows again

    def step(self, index: int) -> Logits:
        self._sequence.put(self._decoder, 0, index - PREFIX)
        logits: Logits = self._decoder.step()[0]
        return logits


class Released(Ours):
    """The deployed decoder in its own window, which slides."""

    def rewind(self, count: int) -> None:
        body = count - PREFIX
        self._sequence.body = self._body[:body]
        Batch(self._decoder, [self._sequence]).replay(body)
        self._sequence.body = self._body
        # A slide must not be timed as a step: if one is near, begin a few rows earlier.
        self._decoder.row = min(self._decoder.row, self._decoder.context - MOST_STEPS)

    def decode(self, count: int) -> Iterator[Logits]:
        """Takes ``count`` tokens after BOS and style; yields the logits before each.

        Prefills, steps and slides as the composer does, but samples nothing.
        """
        body: list[int] = []
        self._sequence.body = body
        batch = Batch(self._decoder, [self._sequence])
        batch.replay(0)
        for token in self._body[:count]:
            yield batch.logits(0)
            body.append(token)
            batch.push()
        self._sequence.body = self._body


def our_forms(bundle: Bundle, model: MusicModel, ids: Sequence[int], folder: Path) -> list[Ours]:
    """The released form, its graph in a window that holds the piece, and two forms with less int8.

    The graph itself has no window; only the decoder's buffers have one.
    """
    wide = replace(bundle, model={**bundle.model, "context": len(ids)})
    forms = [Released("released", bundle, ids), Ours("ours_int8_cache", wide, ids)]
    exact = replace(wide, model={**wide.model, "kv_dtype": "float32"})
    graph = build_graph(exact.model, *folded_weights(model))
    for name in ("ours_float32", "ours_int8"):
        if name == "ours_int8":
            graph = quantize_weights(graph)
        directory = folder / name
        directory.mkdir()
        onnx.save(graph, directory / MODEL_FILE)
        forms.append(Ours(name, replace(exact, directory=directory), ids))
    return forms


# The forms that ours are compared with


class FoldedModel(MusicModel):
    """The model with its sums of shared embedding rows computed once, as in our graph."""

    def __init__(self, model: MusicModel) -> None:
        super().__init__(model.config, vocabulary_entries(make_tokenizer()))
        self.load_state_dict(model.state_dict())
        for name, table in super().tables().items():
            self.register_buffer(f"{name}_table", table.detach())
        self.eval().requires_grad_(requires_grad=False)

    def tables(self) -> dict[str, Tensor]:
        return {name: self.get_buffer(f"{name}_table") for name in LOOKED_UP}

    def empty_cache(self, rows: int) -> list[Tensor]:
        """Keys and values [1, KV, rows, D], layer after layer."""
        config = self.config
        shape = (1, config.kv_heads, rows, config.head_size)
        return [torch.zeros(shape) for _ in range(2 * config.layers)]


def cached_step(
    model: FoldedModel,
    token: Arguments,
    index: Tensor,
    cache: Callable[[int, Tensor], Tensor],
) -> Tensor:
    """Logits [1, vocabulary] after one token, by the model's own parts.

    Args:
        token: the model's inputs of one token; ``index`` float32 [1, 1] is its place.
        cache: takes the number of a cache and its new row [1, KV, 1, D], gives all [1, KV, P, D].
    """
    by_index, by_tick = index[..., None] * model.by_index, token[TICK][..., None] * model.by_tick
    angles = torch.cat((by_index, by_tick), -1)[:, :, None]
    cos, sin = angles.cos(), angles.sin()
    tables = model.tables()
    x = model.embedded(tables, token)
    for i, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        q, k, v = (part.transpose(1, 2) for part in block.queries_keys_values(x, cos, sin))
        attended = functional.scaled_dot_product_attention(
            q, cache(2 * i, k), cache(2 * i + 1, v), enable_gqa=q.shape[1] != k.shape[1]
        )
        x = x + block.out(attended.transpose(1, 2).reshape(x.shape))
        gate, up = block.gate_up(rms_norm(x, block.norm_2)).chunk(2, -1)
        x = x + block.down(functional.silu(gate) * up)
    return functional.linear(rms_norm(x, model.norm), tables["ids"])[:, 0]


class Eager:
    """PyTorch without a compiler; keys and values are written into buffers."""

    name = "torch_eager"

    def __init__(self, model: FoldedModel, piece: Arguments) -> None:
        self._model, self._piece = model, piece
        self._buffers = model.empty_cache(piece["ids"].shape[1])
        for index in range(PREFIX):
            self.step(index)

    def rewind(self, count: int) -> None:
        """Does nothing: each step gets its index."""

    @torch.inference_mode()
    def step(self, index: int) -> Logits:
        def cache(number: int, row: Tensor) -> Tensor:
            buffer = self._buffers[number]
            buffer[:, :, index : index + 1] = row
            return buffer[:, :, : index + 1]

        token = {name: array[:, index : index + 1] for name, array in self._piece.items()}
        place = torch.full((1, 1), float(index))
        logits: Logits = cached_step(self._model, token, place, cache)[0].numpy()
        return logits


def export_onnx(
    module: nn.Module,
    example: tuple[Any, ...],
    shapes: tuple[Any, ...],
    names: tuple[list[str], list[str]],
    path: Path,
) -> Path:
    """What torch.onnx.export makes of a module. Needs the package onnxscript.

    Args:
        shapes: which dimensions of the example are free, as torch.export takes them.
        names: of the inputs and of the outputs.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns that torchvision is missing
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # free dimensions of one size share a name
        program = torch.onnx.export(
            module,
            example,
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=names[0],
            output_names=names[1],
            verbose=False,
        )
        assert program is not None
        program.save(path)
    return path


class Naive:
    """The original project's way: for each new token, all tokens so far are computed again."""

    name = "naive"

    def __init__(self, model: FoldedModel, piece: Arguments, folder: Path) -> None:
        tokens = torch.export.Dim("tokens", min=2, max=1 << 20)
        first = {name: array[:, :8] for name, array in piece.items()}
        example: tuple[Arguments, Arguments] = (first, {})  # the last: no keywords
        shapes = ({name: {1: tokens} for name in INPUTS},)
        names = (list(INPUTS), ["logits"])
        self._session = session(export_onnx(model, example, shapes, names, folder / "naive.onnx"))
        self._arrays = {name: array.numpy() for name, array in piece.items()}

    def rewind(self, count: int) -> None:
        """Does nothing: there is no cache."""

    def step(self, index: int) -> Logits:
        window = {name: array[:, : index + 1] for name, array in self._arrays.items()}
        logits: Logits = self._session.run(["logits"], window)[0][0, -1]
        return logits


class _ConcatStep(nn.Module):
    """`cached_step` with a cache that grows by concatenation, as exporters know it."""

    def __init__(self, model: FoldedModel) -> None:
        super().__init__()
        self._model = model

    def forward(
        self, token: Arguments, index: Tensor, past: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        present = list(past)

        def cache(number: int, row: Tensor) -> Tensor:
            present[number] = torch.cat((past[number], row), 2)
            return present[number]

        return cached_step(self._model, token, index, cache), present


class Concat:
    """What torch.onnx.export makes of a decoder with a cache, which never passes through numpy.

    Args:
        counts: tokens in the cache to which `rewind` will go.
    """

    name = "onnx_concat"

    def __init__(
        self, model: FoldedModel, piece: Arguments, counts: Sequence[int], folder: Path
    ) -> None:
        past = model.empty_cache(8)
        first = {name: array[:, :1] for name, array in piece.items()}
        example = (first, torch.zeros(1, 1), past)
        rows = torch.export.Dim("rows", min=2, max=1 << 20)
        shapes: tuple[Any, ...] = ({name: {} for name in INPUTS}, {}, [{2: rows} for _ in past])
        self._past = [f"past_{i}" for i in range(len(past))]
        present = [f"present_{i}" for i in range(len(past))]
        self._outputs = ["logits", *present]
        names = ([*INPUTS, "index", *self._past], self._outputs)
        path = export_onnx(_ConcatStep(model), example, shapes, names, folder / "concat.onnx")
        self._session = session(path)
        self._arrays = {name: array.numpy() for name, array in piece.items()}
        empty = model.empty_cache(0)
        self._caches = [ort.OrtValue.ortvalue_from_numpy(cache.numpy()) for cache in empty]
        self._kept = dict.fromkeys((*counts, PREFIX), self._caches)
        for index in range(PREFIX):
            self.step(index)
        self._kept[PREFIX] = self._caches

    def rewind(self, count: int) -> None:
        self._caches = self._kept[count]

    def step(self, index: int) -> Logits:
        if index in self._kept:
            self._kept[index] = self._caches
        feeds = {name: array[:, index : index + 1] for name, array in self._arrays.items()}
        feeds["index"] = np.full((1, 1), index, np.float32)
        values = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in feeds.items()}
        values.update(zip(self._past, self._caches, strict=True))
        logits, *self._caches = self._session.run_with_ort_values(self._outputs, values)
        row: Logits = logits.numpy()[0]
        return row
