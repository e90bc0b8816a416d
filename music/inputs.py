"""The inputs that the model gets with each token, defined in one place.

The field names of `Inputs` are the names of the graph's inputs. Data sets, training windows, the
PyTorch model, the exporter and the decoder all iterate these fields. To add an input, add one field
here, one rule in `Recorder` (or in `Inputs.of_window`, if it follows from the window's ids alone),
and one table in the model. Depends on neither graphs nor files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from music.tracker import MusicState, Vocabulary, form_of

PAD_ID = 0


@dataclass(frozen=True)
class Tracked:
    """The state of the music after each of T tokens (`MusicState`), in the types of a data set.

    position_in_bar: uint8 [T], ticks. current_program: uint8 [T], the program's rank, or
    ``vocabulary.programs`` before the first program. place_in_form: uint8 [T], from `form_of`.
    tick: int32 [T]. sounding_now: uint8 [T, ceil(pitches / 8)], one bit for each pitch, packed
    little-endian.
    """

    position_in_bar: NDArray[np.uint8]
    current_program: NDArray[np.uint8]
    place_in_form: NDArray[np.uint8]
    tick: NDArray[np.int32]
    sounding_now: NDArray[np.uint8]

    def __getitem__(self, rows: NDArray[np.int64] | slice) -> Tracked:
        """The rows of some of the tokens."""
        return Tracked(*(getattr(self, name)[rows] for name in TRACKED))

    @staticmethod
    def joined(parts: Iterable[Tracked]) -> Tracked:
        """The parts one after another, as new arrays."""
        columns = zip(*([getattr(p, name) for name in TRACKED] for p in parts), strict=True)
        return Tracked(*map(np.concatenate, columns))


TRACKED = tuple(field.name for field in fields(Tracked))

# One token's fields of `Tracked` or of `Inputs`, by name. Here ``sounding_now`` is one integer,
# with one bit for each pitch.
Told = dict[str, int]


@dataclass(frozen=True)
class Inputs:
    """The model's inputs for a window of T tokens. Every field but ``tick`` is a graph input.

    ids: int64 [T]. position_in_bar, current_program, place_in_form: int64 [T], as in `Tracked`.
    sounding_now: float32 [T, pitches], zeros and ones. tick: float32 [T], counted from the first
    token of the piece in the window; it sets the rotary angles by which the attention's queries and
    keys are turned. The ids before a token are no inputs: they gained nothing after 10M tokens
    (LOG.md).
    """

    ids: NDArray[np.int64]
    position_in_bar: NDArray[np.int64]
    current_program: NDArray[np.int64]
    place_in_form: NDArray[np.int64]
    sounding_now: NDArray[np.float32]
    tick: NDArray[np.float32]

    @classmethod
    def of_window(cls, ids: NDArray[np.int64], tracked: Tracked, pitches: int) -> Inputs:
        """The inputs of a whole window; ``tracked.tick`` must count from the window's origin."""
        return cls(
            ids=np.asarray(ids, np.int64),
            position_in_bar=tracked.position_in_bar.astype(np.int64),
            current_program=tracked.current_program.astype(np.int64),
            place_in_form=tracked.place_in_form.astype(np.int64),
            sounding_now=unpack_sounding(tracked.sounding_now, pitches),
            tick=tracked.tick.astype(np.float32),
        )

    def __getitem__(self, rows: slice) -> Inputs:
        """The inputs of some of the tokens."""
        columns: dict[str, Any] = {name: array[rows] for name, array in self}
        return Inputs(**columns)

    def told(self, index: int) -> Told:
        """One token's inputs in the form that `Decoder.put` takes."""
        sounding = sum(1 << int(pitch) for pitch in np.flatnonzero(self.sounding_now[index]))
        numbers = {name: int(array[index]) for name, array in self if name != MULTI_HOT}
        return {**numbers, MULTI_HOT: sounding}

    def __iter__(self) -> Iterator[tuple[str, NDArray[np.int64] | NDArray[np.float32]]]:
        """(name, array) of each field."""
        return ((name, getattr(self, name)) for name in INPUTS)


INPUTS = tuple(field.name for field in fields(Inputs))
MULTI_HOT, TICK = "sounding_now", "tick"
ROTARY_ROW = "rotary_row"  # the graph's input with each token's row in the tables cos and sin
# The inputs of which each value is the row of a table in the model.
LOOKED_UP = tuple(name for name in INPUTS if name not in (MULTI_HOT, TICK))


def unpack_sounding(packed: NDArray[np.uint8], pitches: int) -> NDArray[np.float32]:
    """Unpacks uint8 [..., ceil(pitches/8)] into float32 [..., pitches] of zeros and ones."""
    bits = np.unpackbits(packed, axis=-1, count=pitches, bitorder="little")
    return bits.astype(np.float32)


class Recorder:
    """Collects a row of `Tracked` for each token, read from a `MusicState`.

    Attributes:
        rows: for each token, its values by the names of `Tracked`; ``sounding_now`` is the integer
            of `MusicState.sounding`.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.rows: list[Told] = []
        self._before_the_piece = dict.fromkeys(TRACKED, 0) | {
            "current_program": vocabulary.programs
        }
        self._bytes = (vocabulary.pitches + 7) // 8

    def record(self, state: MusicState, bars_left: int = 0) -> None:
        """Appends a row for the last token that ``state`` took."""
        self.rows.append(
            {
                "position_in_bar": max(state.position, 0),
                "current_program": state.program,
                "place_in_form": form_of(state.bars_before + state.bars, bars_left),
                "tick": state.tick,
                "sounding_now": state.sounding,
            }
        )

    def tracked(self, start: int = 0, stop: int | None = None, prefix: int = 0) -> Tracked:
        """The rows from ``start`` to ``stop`` as arrays.

        Args:
            prefix: how many tokens without music, such as BOS and the style, stand before the rows.
                If there are any, the ticks count from the first of the rows.
        """
        rows = self.rows[start:stop]
        origin = rows[0][TICK] if prefix and rows else 0
        rows = [self._before_the_piece] * prefix + rows
        columns = {name: [row[name] for row in rows] for name in TRACKED}
        tick = np.array(columns.pop(TICK), np.int32)
        tick[prefix:] -= origin
        packed = b"".join(bits.to_bytes(self._bytes, "little") for bits in columns.pop(MULTI_HOT))
        return Tracked(
            **{name: np.array(column, np.uint8) for name, column in columns.items()},
            sounding_now=np.frombuffer(packed, np.uint8).reshape(-1, self._bytes),
            tick=tick,
        )
