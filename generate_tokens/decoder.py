"""One onnxruntime session that prefills a window and then takes one token at a time.

Buffers are bound once and only mutated: the cache is one OrtValue bound as past and present, and
row p of the rotary tables is written just before the token at cache row p is run. Knows the graph
that the bundle describes; not what the tokens mean.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from generate_tokens.bundle import Bundle
from generate_tokens.errors import BundleError
from generate_tokens.state import Features


class Decoder:
    """Next-token logits for one sequence in a window of ``context`` rows.

    Raises:
        BundleError: onnxruntime refuses the graph, or it isn't the one that bundle.json describes.
    """

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        model = bundle.model
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads  # Lambda at 1,769 MB is one core
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(
                str(bundle.model_path), options, providers=["CPUExecutionProvider"]
            )
            self.context = int(model["context"])
            self._pitches = int(model["pitches"])
            heads, size, layers = model["kv_heads"], model["head_size"], model["layers"]
            self._by_index = np.array(model["rotary"]["by_index"], np.float64)
            self._by_tick = np.array(model["rotary"]["by_tick"], np.float64)
            dtype = {"int8": np.int8, "float32": np.float32}[model["kv_dtype"]]
        except Exception as error:  # onnxruntime's exceptions have no public common class
            raise BundleError(f"{bundle.model_path} cannot be loaded: {error}") from error
        shape = (1, heads, self.context, size)
        self._caches = {
            f"{kind}_{i}": ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, dtype))
            for i in range(layers)
            for kind in ("key", "value")
        }
        half = size // 2
        self._cos = np.zeros((self.context, half), np.float32)
        self._sin = np.zeros((self.context, half), np.float32)
        self._rows = np.zeros((), np.int32)
        self._last_row = np.zeros(1, np.int32)
        self.logits: NDArray[np.float32] = np.zeros(len(bundle.vocabulary), np.float32)
        self._ids = np.zeros((1, 1), np.int64)
        self._position = np.zeros((1, 1), np.int64)
        self._program = np.zeros((1, 1), np.int64)
        self._form = np.zeros((1, 1), np.int64)
        self._sounding = np.zeros((1, 1, self._pitches), np.float32)
        self._sounding_bits = 0
        self._sounding_bytes = (self._pitches + 7) // 8
        self._step_binding = self._bind(
            self._ids, self._position, self._program, self._form, self._sounding
        )
        self.row = 0  # rows of the cache that are filled

    def _bind(self, *new: NDArray[Any]) -> ort.IOBinding:
        """A binding of these new-token arrays and of the persistent buffers."""
        binding = self._session.io_binding()
        names = ("ids", "position_in_bar", "current_program", "place_in_form", "sounding_now")
        fixed = {"cos": self._cos, "sin": self._sin, "last_row": self._last_row, "rows": self._rows}
        for name, array in {**dict(zip(names, new, strict=True)), **fixed}.items():
            binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        for name, cache in self._caches.items():
            binding.bind_ortvalue_input(f"past_{name}", cache)
            binding.bind_ortvalue_output(f"present_{name}", cache)
        binding.bind_output(
            "logits", "cpu", 0, np.float32, (1, self.logits.size), self.logits.ctypes.data
        )
        return binding

    def prefill(self, ids: NDArray[np.int64], features: Features) -> NDArray[np.float32]:
        """Fills the cache from row 0 with T tokens; logits [vocabulary] after the last.

        The result is a view that the next call overwrites. Ticks count from the window's first.

        Raises:
            ValueError: no tokens, or more than the context.
        """
        count = len(ids)
        if not 0 < count <= self.context:
            raise ValueError(f"{count} tokens do not fit a context of {self.context}")
        angles = np.concatenate(
            (
                np.arange(count)[:, None] * self._by_index,
                features.tick[:, None] * self._by_tick,
            ),
            axis=1,
        )
        np.cos(angles, out=self._cos[:count], casting="same_kind")
        np.sin(angles, out=self._sin[:count], casting="same_kind")
        arrays = (
            np.ascontiguousarray(ids, np.int64)[None],
            np.ascontiguousarray(features.position, np.int64)[None],
            np.ascontiguousarray(features.program, np.int64)[None],
            np.ascontiguousarray(features.form, np.int64)[None],
            features.unpacked(self._pitches)[None],
        )
        self._last_row[0], self._rows[...] = count - 1, count
        self._session.run_with_iobinding(self._bind(*arrays))
        self.row = count
        return self.logits

    def step(
        self, token: int, position: int, program: int, tick: int, sounding: int, form: int
    ) -> NDArray[np.float32]:
        """Takes one token at the next row; logits [vocabulary], overwritten by the next call.

        ``sounding`` is `MusicState.sounding`, ``form`` `form_of`'s; ``tick`` counts from the
        window's first.

        Raises:
            ValueError: the window is full.
        """
        row = self.row
        if row >= self.context:
            raise ValueError(f"the window of {self.context} rows is full")
        self._ids[0, 0] = token
        self._position[0, 0] = position
        self._program[0, 0] = program
        self._form[0, 0] = form
        if sounding != self._sounding_bits:
            packed = np.frombuffer(sounding.to_bytes(self._sounding_bytes, "little"), np.uint8)
            self._sounding[0, 0] = np.unpackbits(packed, count=self._pitches, bitorder="little")
            self._sounding_bits = sounding
        angles = np.concatenate((row * self._by_index, tick * self._by_tick))
        self._cos[row] = np.cos(angles)
        self._sin[row] = np.sin(angles)
        self._last_row[0], self._rows[...] = row, row + 1
        self._session.run_with_iobinding(self._step_binding)
        self.row = row + 1
        return self.logits
