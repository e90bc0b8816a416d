"""Small sequences of ids for the tests of this folder, written by token name or as bars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from hypothesis import strategies as st

from music.inputs import Recorder, Tracked
from music.tracker import DURATION, MusicState, Vocabulary
from training.data.tokenizer import make_tokenizer, vocabulary_entries

TOKENIZER = make_tokenizer()
VOCABULARY = Vocabulary(vocabulary_entries(TOKENIZER))

Note = tuple[int, int, int, int]  # tick in the bar, General MIDI program, pitch, ticks of length
Line = Iterable[tuple[int, int, int]]  # the same without the program


def tempo_name(tokenizer: Any) -> str:
    """The first of the tokenizer's tempo tokens."""
    return next(str(name) for name in tokenizer.vocab if name.startswith("Tempo_"))


def ids_of(tokenizer: Any, *names: str) -> list[int]:
    """Ids by token name; ``Tempo`` stands for any tempo."""
    return [tokenizer.vocab[tempo_name(tokenizer) if n == "Tempo" else n] for n in names]


def id_of(name: str) -> int:
    return int(TOKENIZER.vocab[name])


def state_after(vocabulary: Vocabulary, ids: list[int]) -> MusicState:
    state = MusicState(vocabulary)
    for token in ids:
        state.step(token)
    return state


def struck_by_bar(ids: Iterable[int]) -> list[list[tuple[int, int]]]:
    """(tick in the bar, pitch) of each note of a piece, in order; ``ids`` behind BOS and style."""
    state = MusicState(VOCABULARY)
    bars: list[list[tuple[int, int]]] = []
    for token in ids:
        state.step(token)
        bars += [[] for _ in range(state.bars - len(bars))]
        if state.kind == DURATION:
            bars[-1].append((state.position, int(VOCABULARY.value[state.last_pitch])))
    return bars


def comes_in(part: Iterable[int], whole: Iterable[int]) -> bool:
    """Whether all of ``part`` is in ``whole``, in its order."""
    rest = iter(whole)
    return all(number in rest for number in part)


def line(*notes: tuple[int, int, int], program: int = 0) -> list[Note]:
    """Notes of one program, each (tick, pitch, length)."""
    return [(tick, program, pitch, length) for tick, pitch, length in notes]


def piece_of_bars(
    bars: Sequence[Iterable[Note]], metre: str = "4/4", tempo: str = "Tempo_122.99"
) -> list[list[int]]:
    """The ids of each bar as the tokenizer writes them; the program in force is not repeated."""
    pieces: list[list[int]] = []
    in_force = -1
    for number, notes in enumerate(bars):
        names = ["Bar_None", f"TimeSig_{metre}"]
        names += [] if number else ["Position_0", tempo]
        for tick, chord in groupby(sorted(notes), key=lambda note: note[0]):
            if number or tick:
                names.append(f"Position_{tick}")
            for _, program, pitch, length in chord:
                if program != in_force:
                    names.append(f"Program_{program}")
                    in_force = program
                names += [f"Pitch_{pitch}", duration_name(length)]
        pieces.append([id_of(name) for name in names])
    return pieces


def duration_name(ticks: int) -> str:
    beats, rest = divmod(ticks, 12)
    return f"Duration_{beats}.{rest}.12" if beats < 4 else f"Duration_{beats}.{rest // 3}.4"


def pitch_id(pitch: int) -> int:
    return id_of(f"Pitch_{pitch}")


def joined(bars: Iterable[Iterable[int]]) -> list[int]:
    return [token for bar in bars for token in bar]


notes = st.tuples(
    st.sampled_from(range(0, 48, 6)),
    st.sampled_from([0, 6, 73]),
    st.integers(55, 60),
    st.sampled_from([3, 6, 12, 24, 48]),
)


def _struck_once(bar: list[Note]) -> list[Note]:
    return list({note[:3]: note for note in bar}.values())


bars_of_notes = st.lists(notes, max_size=6).map(_struck_once)


def tracked_of(ids: Iterable[int], vocabulary: Vocabulary) -> Tracked:
    """What the tracker says of a whole sequence, each row after its token was taken."""
    state = MusicState(vocabulary)
    recorder = Recorder(vocabulary)
    for token in ids:
        state.step(int(token))
        recorder.record(state)
    return recorder.tracked()
