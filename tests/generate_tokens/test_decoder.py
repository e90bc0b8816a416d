"""The session: refuses what it cannot run, and steps as it prefills."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from contract.bundle import Bundle
from generate_tokens.decoder import Decoder
from music.inputs import Inputs, Tracked
from music.tracker import FORMS


def random_inputs(decoder: Decoder, count: int, seed: int = 0) -> Inputs:
    rng = np.random.default_rng(seed)
    tracked = Tracked(
        position_in_bar=rng.integers(0, 48, count, np.uint8),
        current_program=rng.integers(0, 12, count, np.uint8),
        place_in_form=rng.integers(0, FORMS, count, np.uint8),
        tick=np.sort(rng.integers(0, 200, count, np.int32)),
        sounding_now=rng.integers(0, 256, (count, 10), np.uint8),
    )
    return Inputs.of_window(rng.integers(3, 300, count), tracked, 80)


def test_prefilling_and_stepping_give_the_same_logits(tiny_bundle: Path) -> None:
    decoder = Decoder(Bundle.load(tiny_bundle))
    inputs = random_inputs(decoder, 20)
    whole = decoder.prefill(0, inputs).copy()
    decoder.prefill(0, inputs[:5])
    for i in range(5, 20):
        decoder.put(0, inputs.told(i))
        stepped = decoder.step()[0]
    assert np.abs(stepped - whole).max() < 1e-4
    assert decoder.row == 20


def test_each_slot_goes_its_own_way(tiny_bundle: Path) -> None:
    bundle = Bundle.load(tiny_bundle)
    pieces = [random_inputs(Decoder(bundle), 30, seed) for seed in range(3)]
    alone = [Decoder(bundle).prefill(0, piece).copy() for piece in pieces]
    decoder = Decoder(bundle)
    decoder.reserve(3)
    for slot in range(3):
        decoder.prefill(slot, pieces[slot][:10])
    for i in range(10, 20):
        for slot in range(3):
            decoder.put(slot, pieces[slot].told(i))
        decoder.step(3)
    decoder.move(2, 0)  # the first has ended
    for i in range(20, 30):
        for slot, piece in enumerate((2, 1)):
            decoder.put(slot, pieces[piece].told(i))
        logits = decoder.step(2)
    assert np.abs(logits[0] - alone[2]).max() < 1e-4
    assert np.abs(logits[1] - alone[1]).max() < 1e-4
    assert np.abs(logits[0] - alone[0]).max() > 1e-2


def test_steps_in_a_row_leave_no_memory_behind(tiny_bundle: Path) -> None:
    decoder = Decoder(Bundle.load(tiny_bundle), slots=2)
    inputs = random_inputs(decoder, 64)
    rows = [inputs.told(i) for i in range(64)]
    left, used = [], []
    for _ in range(4):  # of which the best: other tests' garbage may be collected meanwhile
        for slot in range(2):
            decoder.prefill(slot, inputs[:8])
        for i in range(8, 64):
            if i == 16:  # what is made once, is made
                tracemalloc.start()
                before = tracemalloc.get_traced_memory()[0]
            for slot in range(2):
                decoder.put(slot, rows[i])
            decoder.step(2)
        after, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        left.append(after - before)
        used.append(peak - before)
    assert min(left) < 500  # 48 steps: less than a float each
    assert min(used) < 3_000  # the logits of a step alone would be 3,168


def test_a_full_window_is_refused(tiny_bundle: Path) -> None:
    decoder = Decoder(Bundle.load(tiny_bundle))
    decoder.prefill(0, random_inputs(decoder, 64))
    with pytest.raises(ValueError, match="full"):
        decoder.step()
    with pytest.raises(ValueError, match="64"):
        decoder.prefill(0, random_inputs(decoder, 65))
