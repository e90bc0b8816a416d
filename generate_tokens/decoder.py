"""One onnxruntime session that prefills windows, then takes one token of each sequence at a time.

Buffers are bound once and only mutated. The cache of a layer is one array that is bound both as the
graph's past and as its present, and a token's row of the rotary tables is written just before the
token is run. Depends on neither what the tokens mean nor sampling.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from contract.bundle import Bundle
from music.inputs import LOOKED_UP, MULTI_HOT, ROTARY_ROW, TICK, Inputs, Told


class Decoder:
    """Next-token logits of several sequences, all of which take their next token in the same step.

    Each sequence is in a slot, which is a window of ``context`` rows of the cache.

    Args:
        slots: how many sequences there may be at once; `reserve` makes room for more.

    Attributes:
        row: how many rows are filled in every slot that is in use.
        logits: float32 [slots, vocabulary], overwritten by every call.
    """

    logits: NDArray[np.float32]

    def __init__(self, bundle: Bundle, slots: int = 1, threads: int = 1) -> None:
        model = bundle.model
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads  # Lambda at 1,769 MB is one core
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(
            str(bundle.model_path), options, providers=["CPUExecutionProvider"]
        )
        self.context = int(model["context"])
        self._pitches = int(model["pitches"])
        self._layers = int(model["layers"])
        self._cache_shape = (int(model["kv_heads"]), self.context, int(model["head_size"]))
        self._by_index = np.array(model["rotary"]["by_index"], np.float64)
        self._by_tick = np.array(model["rotary"]["by_tick"], np.float64)
        known = {node.name for node in self._session.get_inputs()}
        self._dtype = {"int8": np.int8, "float32": np.float32}[model["kv_dtype"]]
        # A graph has only the inputs that its model was trained with, which may be fewer than ours.
        self._fed = [name for name in (*LOOKED_UP, ROTARY_ROW, MULTI_HOT) if name in known]
        self._vocabulary = len(bundle.vocabulary)
        self._slots = 0
        self.row = 0
        self.reserve(slots)

    def reserve(self, slots: int) -> None:
        """Makes room for so many sequences. If the room has to grow, all slots are emptied."""
        if slots <= self._slots:
            return
        self._slots = slots
        self._caches = {
            f"{kind}_{layer}": np.zeros((slots, *self._cache_shape), self._dtype)
            for layer in range(self._layers)
            for kind in ("key", "value")
        }
        self.logits = np.zeros((slots, self._vocabulary), np.float32)
        # Rotary tables: the angles of the first columns depend on the row alone and are filled in
        # here; those of the others depend on a token's tick and are filled in with each token.
        by_index = np.arange(self.context)[:, None] * self._by_index
        shape = (slots, self.context, len(self._by_index) + len(self._by_tick))
        self._cos, self._sin = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self._cos[..., : len(self._by_index)] = np.cos(by_index)
        self._sin[..., : len(self._by_index)] = np.sin(by_index)
        self._ticks = np.zeros((slots, 1))
        self._angles = np.zeros((slots, len(self._by_tick)))
        # The graph gets the tables of all slots as one, [slots * context, ...], in which row r of a
        # slot is row slot * context + r.
        self._first_rows = self.context * np.arange(slots)[:, None]
        self._looked_up = [(name, np.zeros((slots, 1), np.int64)) for name in LOOKED_UP]
        self._rotary_row = np.zeros((slots, 1), np.int64)
        self._sounding = np.zeros((slots, 1, self._pitches), np.float32)
        self._new: dict[str, NDArray[Any]] = {
            **dict(self._looked_up),
            ROTARY_ROW: self._rotary_row,
            MULTI_HOT: self._sounding,
        }
        self._sounding_bits = [0] * slots  # what ``_sounding`` holds, as bits
        self._last_row = np.zeros(slots, np.int32)  # the cache row of the last new token
        self._rows = np.zeros((), np.int32)  # that row + 1
        self._step_bindings: dict[int, ort.IOBinding] = {}  # by the number of slots in use

    def _bind(self, new: dict[str, NDArray[Any]], slots: slice) -> ort.IOBinding:
        """A binding of the arrays ``new`` [B, ...] of new tokens and of the buffers of B ``slots``.

        Arrays in ``new`` that are no inputs of the graph are left out.
        """
        binding = self._session.io_binding()
        batch = slots.stop - slots.start
        width = self._cos.shape[-1]
        tables = {"cos": self._cos.reshape(-1, width), "sin": self._sin.reshape(-1, width)}
        rows = {"last_row": self._last_row[slots], "rows": self._rows}
        fed = {name: new[name] for name in self._fed}
        for name, array in {**fed, **tables, **rows}.items():
            binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        for name, cache in self._caches.items():
            # Past and present are the same memory: the graph writes the new rows in place.
            place = (self._dtype, (batch, *self._cache_shape), cache[slots].ctypes.data)
            binding.bind_input(f"past_{name}", "cpu", 0, *place)
            binding.bind_output(f"present_{name}", "cpu", 0, *place)
        shape = (batch, self._vocabulary)
        binding.bind_output("logits", "cpu", 0, np.float32, shape, self.logits[slots].ctypes.data)
        return binding

    def prefill(self, slot: int, inputs: Inputs) -> NDArray[np.float32]:
        """Fills a slot with T tokens, from row 0; returns the logits [vocabulary] after the last.

        Before `step`, every slot in use must be filled equally far.

        Raises:
            ValueError: no tokens, or more than the context.
        """
        count = len(inputs.ids)
        if not 0 < count <= self.context:
            raise ValueError(f"{count} tokens do not fit a context of {self.context}")
        angles = inputs.tick[:, None] * self._by_tick
        by_tick = slice(len(self._by_index), None)
        np.cos(angles, out=self._cos[slot, :count, by_tick], casting="same_kind")
        np.sin(angles, out=self._sin[slot, :count, by_tick], casting="same_kind")
        new: dict[str, NDArray[Any]] = {
            name: np.ascontiguousarray(array)[None] for name, array in inputs
        }
        new[ROTARY_ROW] = (self._first_rows[slot] + np.arange(count))[None]
        # The first token, to which all others attend, has activations 30 times as large as theirs.
        # The int8 activations of one run share a scale, so the first token is run alone: otherwise
        # it would leave the others only few int8 steps.
        for start, stop in ((0, 1), (1, count)) if count > 1 else ((0, 1),):
            self._last_row[slot], self._rows[...] = stop - 1, stop
            part = {name: array[:, start:stop] for name, array in new.items()}
            self._session.run_with_iobinding(self._bind(part, slice(slot, slot + 1)))
        self.row = count
        last: NDArray[np.float32] = self.logits[slot]
        return last

    def put(self, slot: int, told: Told) -> None:
        """Sets the token that the next `step` takes in a slot.

        ``told`` has the fields of `Inputs`; its tick counts from the window's first token.
        """
        for name, array in self._looked_up:
            array[slot, 0] = told[name]
        self._ticks[slot, 0] = told[TICK]
        sounding = told[MULTI_HOT]
        # Only the pitches that changed are written. Example: 0b0110 after 0b0011 differs in 0b0101.
        changed = sounding ^ self._sounding_bits[slot]
        self._sounding_bits[slot] = sounding
        while changed:
            bit = changed & -changed  # the lowest set bit
            self._sounding[slot, 0, bit.bit_length() - 1] = 1.0 if sounding & bit else 0.0
            changed ^= bit

    def step(self, slots: int = 1) -> NDArray[np.float32]:
        """Runs the token put into each of the first ``slots``; returns logits [slots, vocabulary].

        Raises:
            ValueError: the window is full.
        """
        row = self.row
        if row >= self.context:
            raise ValueError(f"the window of {self.context} rows is full")
        binding = self._step_bindings.get(slots)
        if binding is None:
            used = slice(0, slots)
            new = {name: array[used] for name, array in self._new.items()}
            binding = self._bind(new, used)
            self._step_bindings[slots] = binding
        # The binding points to these arrays, so it is enough to write into them.
        np.multiply(self._ticks, self._by_tick, out=self._angles)
        by_tick = slice(len(self._by_index), None)
        np.cos(self._angles, out=self._cos[:, row, by_tick], casting="same_kind")
        np.sin(self._angles, out=self._sin[:, row, by_tick], casting="same_kind")
        np.add(self._first_rows, row, out=self._rotary_row)
        self._last_row.fill(row)
        self._rows.fill(row + 1)
        self._session.run_with_iobinding(binding)
        self.row = row + 1
        return self.logits[:slots]

    def move(self, source: int, target: int) -> None:
        """Copies a slot's sequence, with its logits, to another slot."""
        rows = slice(0, self.row)
        for cache in self._caches.values():
            cache[target, :, rows] = cache[source, :, rows]
        self.logits[target] = self.logits[source]
        self._cos[target, rows] = self._cos[source, rows]
        self._sin[target, rows] = self._sin[source, rows]
