"""Plain weights of the model's shape, decoded greedily by onnxruntime-genai and our way.

onnxruntime-genai feeds token ids and none of our model's other inputs. So both run what it can run:
a decoder of the same sizes that gets ids alone and rotates by constant tables. Its weights are the
model's, where the model has the same ones; its output means nothing. Depends on neither the grammar
nor the musical state.
"""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from benchmarks.decode_forms import MOST_STEPS, session
from contract.bundle import Bundle
from training.model.export import folded_weights
from training.model.model import MusicModel
from training.model.onnx_graph import EPSILON, IR_VERSION, MICROSOFT, OPSET, quantize_weights

GENAI = "onnxruntime_genai"
GENAI_FLOAT32 = "plain_genai_float32"
# Weights that share a scale; blocks of 16 and 64 were no faster.
GENAI_INT8 = {"plain_genai_int8_block32": 32, "plain_genai_int8_block128": 128}
OURS_FLOAT32, OURS_INT8 = "plain_ours_float32", "plain_ours_int8_cache"
FORMS = (GENAI_FLOAT32, *GENAI_INT8, OURS_FLOAT32, OURS_INT8)
COMPARED_FROM = 100
INT8_ACTIVATIONS = 4  # MatMulNBits' accuracy_level: int8 products, its fast kernels

Config = Mapping[str, Any]
Weights = Mapping[str, NDArray[np.float32]]


def plain_graph(
    config: Config,
    table: NDArray[np.float32],
    weights: Weights,
    rows: int,
    cache_scales: NDArray[np.float32] | None = None,
    *,
    masked: bool,
) -> onnx.ModelProto:
    """A decoder of ``config``'s sizes without musical state, in onnxruntime-genai's names.

    Args:
        table: of the ids [V, C].
        weights: of `onnx_graph.build_graph`.
        rows: of the rotary tables.
        cache_scales: [layers, 2] for an int8 cache; None for float32.
        masked: count the rows by an ``attention_mask`` [B, rows so far], as onnxruntime-genai
            wants it, instead of by ``last_row`` [B] and ``rows``, as our decoder does.
    """
    layers, heads, kv_heads = config["layers"], config["heads"], config["kv_heads"]
    head_size = config["head_size"]
    nodes: list[onnx.NodeProto] = []
    frequencies = 10_000.0 ** -np.linspace(0, 1, head_size // 2, endpoint=False)
    angles = np.arange(rows)[:, None] * frequencies
    constants: dict[str, NDArray[Any]] = {
        **weights,
        "token": table,
        "head": table.T,
        "halves": np.array([config["hidden"]] * 2, np.int64),
        "cos": np.cos(angles).astype(np.float32),
        "sin": np.sin(angles).astype(np.float32),
    }

    def op(
        kind: str, inputs: list[str], *outputs: str, domain: str = "", **attributes: Any
    ) -> None:
        name = f"{outputs[0]}/{kind}"
        nodes.append(
            helper.make_node(kind, inputs, outputs, name=name, domain=domain, **attributes)
        )

    if masked:
        constants |= {"one": np.array([1], np.int64), "second": np.array(1, np.int64)}
        op("ReduceSum", ["attention_mask", "one"], "mask.sum", keepdims=0)
        op("Sub", ["mask.sum", "one"], "mask.last")
        op("Cast", ["mask.last"], "last_row", to=TensorProto.INT32)
        op("Shape", ["attention_mask"], "mask.shape")
        op("Gather", ["mask.shape", "second"], "mask.rows")
        op("Cast", ["mask.rows"], "rows", to=TensorProto.INT32)
    op("Gather", ["token", "input_ids"], "sum")
    op("SimplifiedLayerNormalization", ["sum", "0.norm_1"], "normed", axis=-1, epsilon=EPSILON)
    residual, normed = "sum", "normed"
    attention = {"num_heads": heads, "kv_num_heads": kv_heads, "do_rotary": 1}
    if cache_scales is not None:
        per_tensor = {"k_quant_type": "PER_TENSOR", "v_quant_type": "PER_TENSOR"}
        attention |= {**per_tensor, "kv_cache_bit_width": 8}

    def add_and_norm(branch: str, weight: str) -> tuple[str, str]:
        outputs = (f"{branch}.normed", "", "", f"{branch}.sum")
        inputs = [residual, branch, weight]
        op("SkipSimplifiedLayerNormalization", inputs, *outputs, domain=MICROSOFT, epsilon=EPSILON)
        return outputs[3], outputs[0]

    for i in range(layers):
        op("MatMul", [normed, f"{i}.qkv"], f"{i}.packed")
        past = [f"past_key_values.{i}.{kind}" for kind in ("key", "value")]
        present = [f"present.{i}.{kind}" for kind in ("key", "value")]
        inputs = [f"{i}.packed", "", "", *past, "last_row", "rows", "cos", "sin"]
        if cache_scales is not None:
            names = [f"{i}.key_scale", f"{i}.value_scale"]
            constants |= dict(zip(names, cache_scales[i].reshape(2, 1), strict=True))
            inputs += ["", "", "", *names]
        op(
            "GroupQueryAttention",
            inputs,
            f"{i}.attended",
            *present,
            domain=MICROSOFT,
            **attention,
        )
        op("MatMul", [f"{i}.attended", f"{i}.out"], f"{i}.mixed")
        residual, normed = add_and_norm(f"{i}.mixed", f"{i}.norm_2")
        op("MatMul", [normed, f"{i}.gate_up"], f"{i}.gate_up_out")
        op("Split", [f"{i}.gate_up_out", "halves"], f"{i}.gate", f"{i}.up", axis=-1)
        op("QuickGelu", [f"{i}.gate"], f"{i}.silu", domain=MICROSOFT, alpha=1.0)  # SiLU
        op("Mul", [f"{i}.silu", f"{i}.up"], f"{i}.gated")
        op("MatMul", [f"{i}.gated", f"{i}.down"], f"{i}.mlp")
        residual, normed = add_and_norm(f"{i}.mlp", f"{i + 1}.norm_1" if i + 1 < layers else "norm")
    op("MatMul", [normed, "head"], "logits")

    info, floats, int64 = helper.make_tensor_value_info, TensorProto.FLOAT, TensorProto.INT64
    cache_type = floats if cache_scales is None else TensorProto.INT8
    shape = ["B", kv_heads, "K", head_size]
    caches = [f"{i}.{kind}" for i in range(layers) for kind in ("key", "value")]
    counted = [info("last_row", TensorProto.INT32, ["B"]), info("rows", TensorProto.INT32, [])]
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "plain",
        [
            info("input_ids", int64, ["B", "S"]),
            *([info("attention_mask", int64, ["B", "rows_so_far"])] if masked else counted),
            *(info(f"past_key_values.{cache}", cache_type, shape) for cache in caches),
        ],
        [
            info("logits", floats, ["B", "S", config["vocabulary"]]),
            *(info(f"present.{cache}", cache_type, shape) for cache in caches),
        ],
        [
            onnx.numpy_helper.from_array(np.asarray(array, order="C"), name)
            for name, array in constants.items()
            if name in used
        ],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = IR_VERSION
    return model


def quantize_in_blocks(graph: onnx.ModelProto, block: int) -> onnx.ModelProto:
    """Quantizes the products' weights to 8 bits as onnxruntime-genai's own model builder does."""
    from onnxruntime.quantization import matmul_nbits_quantizer as quantizers

    logging.getLogger(quantizers.__name__).setLevel(logging.WARNING)
    how = {"block_size": block, "is_symmetric": True, "accuracy_level": INT8_ACTIVATIONS, "bits": 8}
    config = quantizers.DefaultWeightOnlyQuantConfig(**how)
    quantizer = quantizers.MatMulNBitsQuantizer(graph, algo_config=config, **how)
    quantizer.process()
    quantized: onnx.ModelProto = quantizer.model.model
    return quantized


class PlainOurs:
    """Our way: buffers that are bound once and only mutated, the cache updated in place."""

    def __init__(
        self, name: str, graph: onnx.ModelProto, config: Config, ids: Sequence[int], folder: Path
    ) -> None:
        self.name = name
        path = folder / f"{name}.onnx"
        onnx.save(graph, path)
        self._session = session(path)
        self._piece = np.array([ids], np.int64)
        kinds = {i.name: i.type for i in self._session.get_inputs()}
        shape = (1, config["kv_heads"], len(ids), config["head_size"])
        self.caches: dict[str, NDArray[Any]] = {
            name: np.zeros(shape, np.int8 if "int8" in kind else np.float32)
            for name, kind in kinds.items()
            if name.startswith("past")
        }
        self._last_row = np.zeros(1, np.int32)
        self._rows = np.zeros((), np.int32)
        self._next = np.zeros((1, 1), np.int64)
        self._logits = np.zeros((1, 1, config["vocabulary"]), np.float32)
        self._binding = self._bind(self._next, self._logits)

    def _bind(self, ids: NDArray[np.int64], logits: NDArray[np.float32]) -> ort.IOBinding:
        binding = self._session.io_binding()
        inputs: dict[str, NDArray[Any]] = {
            "input_ids": ids,
            "last_row": self._last_row,
            "rows": self._rows,
            **self.caches,
        }
        for name, array in inputs.items():
            binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        outputs = {name.replace("past_key_values", "present"): a for name, a in self.caches.items()}
        for name, array in {**outputs, "logits": logits}.items():
            binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        return binding

    @property
    def logits(self) -> NDArray[np.float32]:
        """[vocabulary] after the last token."""
        last: NDArray[np.float32] = self._logits[0, 0]
        return last

    def rewind(self, count: int) -> None:
        ids = np.ascontiguousarray(self._piece[:, :count])
        logits = np.zeros((1, count, self._logits.shape[-1]), np.float32)
        binding = self._bind(ids, logits)
        self._last_row[0], self._rows[...] = count - 1, count
        self._session.run_with_iobinding(binding)
        self._next[0, 0] = logits[0, -1].argmax()

    def step(self, index: int) -> None:
        self._last_row[0], self._rows[...] = index, index + 1
        self._session.run_with_iobinding(self._binding)
        self._next[0, 0] = self._logits.argmax()


class PlainGenai:
    """onnxruntime-genai's own loop, greedy, with one cache for past and present."""

    def __init__(
        self, name: str, graph: onnx.ModelProto, config: Config, ids: Sequence[int], folder: Path
    ) -> None:
        genai = importlib.import_module(GENAI)
        self.name = name
        self._ids = np.array(ids, np.int32)
        directory = folder / name
        directory.mkdir()
        onnx.save(graph, directory / "model.onnx")
        settings = genai_settings(config, len(ids))
        (directory / "genai_config.json").write_text(json.dumps(settings))
        model = genai.Model(str(directory))
        parameters = genai.GeneratorParams(model)
        # min_length too: the run must not end when the weights predict "end of sequence"
        parameters.set_search_options(max_length=len(ids), min_length=len(ids), do_sample=False)
        self._generator = genai.Generator(model, parameters)

    @property
    def logits(self) -> NDArray[np.float32]:
        """[vocabulary] after the last token."""
        last: NDArray[np.float32] = self._generator.get_logits().reshape(-1)
        return last

    def rewind(self, count: int) -> None:
        self._generator.rewind_to(0)
        self._generator.append_tokens(self._ids[:count])

    def step(self, index: int) -> None:  # noqa: ARG002 - it knows where it is
        self._generator.generate_next_token()


def genai_settings(config: Config, rows: int) -> dict[str, Any]:
    """genai_config.json for `plain_graph`."""
    return {
        "model": {
            "type": "llama",
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
            "vocab_size": config["vocabulary"],
            "context_length": rows,
            "decoder": {
                "session_options": {
                    "intra_op_num_threads": 1,
                    "inter_op_num_threads": 1,
                    "provider_options": [],
                },
                "filename": "model.onnx",
                "head_size": config["head_size"],
                "hidden_size": config["channels"],
                "num_attention_heads": config["heads"],
                "num_hidden_layers": config["layers"],
                "num_key_value_heads": config["kv_heads"],
            },
        },
        "search": {"do_sample": False, "past_present_share_buffer": True, "max_length": rows},
    }


def forms(
    model: MusicModel, bundle: Bundle, ids: Sequence[int], folder: Path, *, genai: bool
) -> list[PlainOurs | PlainGenai]:
    """All of `FORMS`, or without onnxruntime-genai's; each continues ``ids`` up to their number."""
    config, rows = bundle.model, len(ids)
    tables, weights = folded_weights(model)
    parts = config, tables["ids"], weights, rows
    graph = plain_graph(*parts, masked=False)
    exact = PlainOurs(OURS_FLOAT32, graph, config, ids, folder)
    exact.rewind(rows)
    # An int8 cache has a scale for the keys and one for the values of each layer: the peak is 127.
    peaks = [np.abs(cache).max() for cache in exact.caches.values()]
    scales = (np.array(peaks) / 127).astype(np.float32).reshape(-1, 2)
    int8 = quantize_weights(plain_graph(*parts, scales, masked=False))
    made: list[PlainOurs | PlainGenai] = [
        exact,
        PlainOurs(OURS_INT8, int8, config, ids, folder),
    ]
    if genai:
        graph = plain_graph(*parts, masked=True)
        made.append(PlainGenai(GENAI_FLOAT32, graph, config, ids, folder))
        for name, block in GENAI_INT8.items():
            graph = quantize_in_blocks(plain_graph(*parts, masked=True), block)
            made.append(PlainGenai(name, graph, config, ids, folder))
    return made


def difference(made: Sequence[PlainOurs | PlainGenai]) -> float | None:
    """Greatest difference of a logit between both in float32; None without onnxruntime-genai."""
    logits = []
    for form in made:
        if form.name in (OURS_FLOAT32, GENAI_FLOAT32):
            form.rewind(COMPARED_FROM)
            for index in range(COMPARED_FROM, COMPARED_FROM + MOST_STEPS):
                form.step(index)
            logits.append(form.logits)
    return float(np.abs(logits[0] - logits[1]).max()) if len(logits) == 2 else None
