"""The decoder as an ONNX graph: one graph for prefill and decode, which updates the cache in place.

The graph is built node by node rather than traced, because the exporter has no GroupQueryAttention
with a shared cache, and that operator makes decoding fast. The rotary tables are inputs, not
constants: each token names its row in them, and that row holds its angles, half by token index and
half by musical time. So the fused operator rotates by musical time at no cost, and each sequence of
a batch by its own. Takes weights as numpy arrays; depends on neither PyTorch nor the training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from music.inputs import MULTI_HOT, ROTARY_ROW

EPSILON = 1e-6
MICROSOFT = "com.microsoft"
OPSET, IR_VERSION = 21, 10  # what onnxruntime reads; onnx's own defaults are newer
EXACT_PRODUCT = "x.sounding/MatMul"  # stays float32: its inputs are zeros and ones
INT7 = 63  # greatest magnitude of a quantized weight
Weights = Mapping[str, NDArray[np.float32]]


class _Graph:
    """Nodes and initializers under construction; each `op` returns its first output's name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, array: NDArray[Any]) -> str:
        self.initializers[name] = numpy_helper.from_array(np.asarray(array, order="C"), name)
        return name

    def op(
        self, kind: str, inputs: list[str], outputs: list[str], domain: str = "", **attributes: Any
    ) -> str:
        name = f"{outputs[0]}/{kind}"
        self.nodes.append(
            helper.make_node(kind, inputs, outputs, name=name, domain=domain, **attributes)
        )
        return outputs[0]


def build_graph(
    config: Mapping[str, Any],
    tables: Weights,
    weights: Weights,
    cache_scales: NDArray[np.float32] | None = None,
) -> onnx.ModelProto:
    """The model as ONNX.

    Args:
        config: vocabulary, pitches, channels, layers, heads, kv_heads, hidden, context.
        tables: the table [values, C] of each looked-up input, by name; that of the ids is also the
            output head.
        weights: ``sounding [pitches, C]``, ``norm [C]`` and, per layer i,
            ``i.qkv [C, (H + 2 KV) D]``, ``i.out [C, C]``, ``i.gate_up [C, 2 hidden]``,
            ``i.down [hidden, C]``, ``i.norm_1 [C]``, ``i.norm_2 [C]``.
        cache_scales: [layers, 2], the value of one int8 step in each key and value cache;
            None for a float32 cache.

    Inputs (B batch, S new tokens, K cache rows, R rotary rows): those that ``tables`` names, and
    rotary_row, int64 [B, S]; sounding_now float32 [B, S, pitches];
    cos, sin float32 [R, D/2]; last_row int32 [B], the cache row of the last new token; rows int32
    scalar, last_row + 1; past_key_i, past_value_i [B, kv_heads, K, D].
    Outputs: logits float32 [B, vocabulary] of the last token; present_key_i, present_value_i.

    onnxruntime prefills one sequence at a time. It then reads adjacent rotary rows, beginning with
    that of the first token. In a step with one new token for each sequence, it reads the row that
    each token names.
    """
    layers, heads, kv_heads = config["layers"], config["heads"], config["kv_heads"]
    channels, hidden = config["channels"], config["hidden"]
    head_size = channels // heads
    graph = _Graph()
    for name, array in weights.items():
        graph.constant(name, array)
    graph.constant("head", tables["ids"].T)
    graph.constant("unit", np.ones(head_size, np.float32))
    # target shapes of Reshape, in which 0 keeps a dimension
    graph.constant("per_head", np.array([0, 0, heads + 2 * kv_heads, head_size], np.int64))
    graph.constant("packed", np.array([0, 0, (heads + 2 * kv_heads) * head_size], np.int64))
    graph.constant("halves", np.array([hidden, hidden], np.int64))
    graph.constant("minus_one", np.array(-1, np.int64))
    if cache_scales is not None:
        for layer, (key_scale, value_scale) in enumerate(cache_scales):
            graph.constant(f"{layer}.key_scale", np.array([key_scale], np.float32))
            graph.constant(f"{layer}.value_scale", np.array([value_scale], np.float32))

    for name, array in tables.items():
        graph.op("Gather", [graph.constant(f"{name}.table", array), name], [f"x.{name}"])
    graph.op("MatMul", [MULTI_HOT, "sounding"], ["x.sounding"])
    graph.op("Sum", [*(f"x.{name}" for name in tables), "x.sounding"], ["x.0"])
    normed = graph.op(
        "SimplifiedLayerNormalization",
        ["x.0", "0.norm_1"],
        ["0.normed_1"],
        axis=-1,
        epsilon=EPSILON,
    )
    residual = "x.0"
    for i in range(layers):
        # The packed queries, keys and values are normalized per head, then packed again.
        graph.op("MatMul", [normed, f"{i}.qkv"], [f"{i}.projected"])
        graph.op("Reshape", [f"{i}.projected", "per_head"], [f"{i}.heads"])
        graph.op(
            "SimplifiedLayerNormalization",
            [f"{i}.heads", "unit"],
            [f"{i}.unit_heads"],
            axis=-1,
            epsilon=EPSILON,
        )
        graph.op("Reshape", [f"{i}.unit_heads", "packed"], [f"{i}.packed"])
        attributes: dict[str, Any] = {
            "num_heads": heads,
            "kv_num_heads": kv_heads,
            "do_rotary": 1,
            "rotary_interleaved": 0,
        }
        # Keys and values are packed with the queries, so their own inputs stay empty.
        inputs = [f"{i}.packed", "", "", f"past_key_{i}", f"past_value_{i}"]
        inputs += ["last_row", "rows", "cos", "sin", ROTARY_ROW]
        if cache_scales is not None:
            # the two inputs left empty are attention_bias and head_sink
            inputs += ["", "", f"{i}.key_scale", f"{i}.value_scale"]
            attributes |= {
                "k_quant_type": "PER_TENSOR",
                "v_quant_type": "PER_TENSOR",
                "kv_cache_bit_width": 8,
            }
        graph.op(
            "GroupQueryAttention",
            inputs,
            [f"{i}.attended", f"present_key_{i}", f"present_value_{i}"],
            MICROSOFT,
            **attributes,
        )
        graph.op("MatMul", [f"{i}.attended", f"{i}.out"], [f"{i}.mixed"])
        normed, residual = _add_and_norm(graph, residual, f"{i}.mixed", f"{i}.norm_2", f"{i}.a")
        graph.op("MatMul", [normed, f"{i}.gate_up"], [f"{i}.gate_up_out"])
        graph.op("Split", [f"{i}.gate_up_out", "halves"], [f"{i}.gate", f"{i}.up"], axis=-1)
        graph.op("QuickGelu", [f"{i}.gate"], [f"{i}.silu"], MICROSOFT, alpha=1.0)  # alpha 1: SiLU
        graph.op("Mul", [f"{i}.silu", f"{i}.up"], [f"{i}.gated"])
        graph.op("MatMul", [f"{i}.gated", f"{i}.down"], [f"{i}.mlp"])
        # The norm of what comes next is fused with the addition to the residual stream.
        next_norm = f"{i + 1}.norm_1" if i + 1 < layers else "norm"
        normed, residual = _add_and_norm(graph, residual, f"{i}.mlp", next_norm, f"{i}.b")
    graph.op("Gather", [normed, "minus_one"], ["last"], axis=1)
    graph.op("MatMul", ["last", "head"], ["logits"])

    cache_type = TensorProto.FLOAT if cache_scales is None else TensorProto.INT8
    caches = [f"{kind}_{i}" for i in range(layers) for kind in ("key", "value")]
    cache_shape = ["B", kv_heads, "K", head_size]
    info = helper.make_tensor_value_info
    proto = helper.make_graph(
        graph.nodes,
        "decoder",
        [
            *(info(name, TensorProto.INT64, ["B", "S"]) for name in (*tables, ROTARY_ROW)),
            info(MULTI_HOT, TensorProto.FLOAT, ["B", "S", config["pitches"]]),
            info("cos", TensorProto.FLOAT, ["R", head_size // 2]),
            info("sin", TensorProto.FLOAT, ["R", head_size // 2]),
            info("last_row", TensorProto.INT32, ["B"]),
            info("rows", TensorProto.INT32, []),
            *(info(f"past_{c}", cache_type, cache_shape) for c in caches),
        ],
        [
            info("logits", TensorProto.FLOAT, ["B", config["vocabulary"]]),
            *(info(f"present_{c}", cache_type, cache_shape) for c in caches),
        ],
        list(graph.initializers.values()),
    )
    model = helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
    )
    model.ir_version = IR_VERSION
    return model


def _add_and_norm(
    graph: _Graph, residual: str, branch: str, weight: str, prefix: str
) -> tuple[str, str]:
    """Adds residual and branch; returns the names of (the norm of the sum, the sum)."""
    graph.op(
        "SkipSimplifiedLayerNormalization",
        [residual, branch, weight],
        [f"{prefix}.normed", "", "", f"{prefix}.sum"],
        MICROSOFT,
        epsilon=EPSILON,
    )
    return f"{prefix}.normed", f"{prefix}.sum"


def quantize_weights(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Quantizes all matrix products but the tiny one of pitches: int8 weights, uint8 activations.

    Each product has one scale for all its weights, the form that onnxruntime multiplies fastest at
    any batch size. The weights use only 7 bits: processors without VNNI add the products of 8-bit
    numbers in pairs, and clip a sum that does not fit into 16 bits. With 8-bit weights it may not:
    2 * 255 * 127 = 64,770 is more than 32,767, while 2 * 255 * 63 = 32,130 fits.
    """
    stored = {tensor.name: tensor for tensor in graph.graph.initializer}
    for node in graph.graph.node:
        if node.op_type != "MatMul" or node.name == EXACT_PRODUCT:
            continue
        name = node.input[1]
        weights = numpy_helper.to_array(stored[name])
        scale = best_scale(weights)
        rounded = np.clip(np.round(weights / scale), -INT7, INT7).astype(np.int8)
        stored[name].CopyFrom(numpy_helper.from_array(rounded, name))
        graph.graph.initializer.append(
            numpy_helper.from_array(np.array(scale, np.float32), f"{name}.scale")
        )
        node.op_type, node.domain = "DynamicQuantizeMatMul", MICROSOFT
        node.input.append(f"{name}.scale")
    return graph


def best_scale(weights: NDArray[np.float32]) -> float:
    """The step, with `INT7` steps to each side, that rounds ``weights`` with least squared error.

    A smaller step clips the largest weights, but rounds all others more finely.
    """
    largest = float(np.abs(weights).max())
    scales = [largest * float(share) / INT7 for share in np.linspace(0.4, 1, 25)]
    rounded = (scale * np.clip(np.round(weights / scale), -INT7, INT7) for scale in scales)
    errors = [float(np.square(weights - values).sum()) for values in rounded]
    return scales[int(np.argmin(errors))]
