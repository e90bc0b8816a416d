"""From folders of MIDI to arrays that a trainer can draw windows from.

Finds files and their styles, cleans and tokenises them on all cores, keeps near-duplicates on one
side of the split, computes the model's state inputs with the sampler's own tracker, and caches the
result. Knows nothing of the model.

    python training-notebook/dataset.py --data FOLDER [--data FOLDER ...] --out dataset.npz
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from miditok import REMI, TokenizerConfig
from numpy.typing import NDArray
from symusic.core import ScoreTick
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from generate_tokens.grammar import REMI_TRANSITIONS, Grammar
from generate_tokens.state import KINDS, FeatureRecorder, Features, MusicState, Vocabulary
from midi_save.clean import FAMILIES, HIGHEST_PITCH, LOWEST_PITCH, METRES, clean_score

STYLES = (
    "baroque",
    "chorale",
    "classical",
    "folk",
    "hymn",
    "medieval",
    "oratorio",
    "other",
    "renaissance",
    "romantic",
)
# words in a manifest or a folder's name that mean one of the styles
STYLE_WORDS = {
    **{style: style for style in STYLES},
    "romantique": "romantic",
    "romanticism": "romantic",
    "modern": "romantic",
    "avant-garde": "romantic",
    "motet": "renaissance",
    "song": "romantic",
    "bach-chorales": "chorale",
    "chorales": "chorale",
    "hymns": "hymn",
}
MIN_NOTES = 60
MIN_SECONDS, MAX_SECONDS = 12.0, 1500.0
MIN_GRID_SHARE = 0.8  # of onsets within 1/24 of a beat of the 1/12 or 1/8 grid
SHINGLE = 8  # notes in one fingerprint of a melody
SAME_SHARE, SAME_COUNT = 0.3, 5  # shared fingerprints that make two pieces one group
VALIDATION_SHARE = 0.04


def make_tokenizer() -> REMI:
    """The project's tokenizer: REMI, program changes, twelve positions a beat, no velocities."""
    return REMI(
        TokenizerConfig(
            pitch_range=(LOWEST_PITCH, HIGHEST_PITCH),
            beat_res={(0, 4): 12, (4, 16): 4},
            special_tokens=["PAD", "BOS", "EOS", *(f"Style_{style}" for style in STYLES)],
            use_velocities=False,
            use_time_signatures=True,
            time_signature_range={beat: list(numerators) for beat, numerators in METRES.items()},
            use_tempos=True,
            num_tempos=32,
            log_tempos=True,
            tempo_range=(40, 250),
            use_programs=True,
            use_pitchdrum_tokens=False,
            one_token_stream_for_programs=True,
            programs=list(FAMILIES),
            program_changes=True,
        )
    )


def vocabulary_entries(tokenizer: REMI) -> list[tuple[str, str]]:
    """``(type, value)`` per id."""
    entries = [("", "")] * len(tokenizer)
    for token, token_id in tokenizer.vocab.items():
        kind, _, value = token.partition("_")
        entries[token_id] = (kind, value)
    return entries


@dataclass
class Source:
    """One file to read: its style, and the group that must stay on one side of the split."""

    path: Path
    style: str
    group: str = ""


@dataclass
class Piece:
    """One tokenised piece. ``ids`` without BOS, style and EOS; ``why`` set when it was left out."""

    source: Source
    why: str = ""
    ids: list[int] = field(default_factory=list)
    notes: int = 0
    seconds: float = 0.0
    shingles: frozenset[int] = frozenset()


def find_sources(folder: Path) -> list[Source]:
    """Every MIDI file under ``folder``, with its style from a manifest or a folder's name.

    A ``manifest.csv`` at any level gives, for paths relative to itself, ``style`` and optionally
    ``group``; rows that a manifest marks as badly converted (``tempo_given`` other than yes,
    ``out_of_range`` over 0.05, ``barcheck_failures`` over 10, style Technique) are left out.
    """
    rows: dict[Path, dict[str, str]] = {}
    for manifest in sorted(folder.rglob("manifest.csv")):
        with manifest.open(newline="", encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                rows[manifest.parent / row["file"]] = {**row, "manifest": str(manifest.parent)}
    sources = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".mid", ".midi")):
        row = rows.get(path, {})
        if row.get("style") == "Technique" or row.get("tempo_given", "yes") != "yes":
            continue
        if (
            float(row.get("out_of_range") or 0) > 0.05
            or int(row.get("barcheck_failures") or 0) > 10
        ):
            continue
        words = [row.get("style", ""), *reversed(path.relative_to(folder).parts[:-1]), folder.name]
        style = next((STYLE_WORDS[w.lower()] for w in words if w.lower() in STYLE_WORDS), "other")
        group = f"{row['manifest']}:{row['group']}" if row.get("group") else ""
        sources.append(Source(path, style, group))
    return sources


def shingles_of(score: ScoreTick) -> frozenset[int]:
    """Transposition-free fingerprints: runs of intervals and onset gaps of the highest line."""
    notes = sorted((n.time, -n.pitch) for track in score.tracks for n in track.notes)
    line = [(t, -p) for i, (t, p) in enumerate(notes) if i == 0 or notes[i - 1][0] != t]
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(line)]
    return frozenset(
        hash(tuple(steps[i : i + SHINGLE])) for i in range(max(0, len(steps) - SHINGLE))
    )


def on_grid_share(score: ScoreTick) -> float:
    """Share of onsets near the 1/12 or the 1/8 of a beat, before any quantising."""
    onsets = np.concatenate(
        [t.notes.numpy()["time"] for t in score.tracks if len(t.notes)] or [[0]]
    )
    beats = onsets / score.ticks_per_quarter
    off = [np.abs(beats * parts - np.round(beats * parts)) / parts for parts in (12, 8)]
    return float(np.mean(np.minimum(*off) < 1 / 96))


_worker: dict[str, REMI] = {}


def read_piece(source: Source) -> Piece:
    """Cleans and tokenises one file; what can't be used comes back with ``why``."""
    piece = Piece(source)
    try:
        raw = ScoreTick.from_midi(source.path.read_bytes(), sanitize_data=True)
        score = clean_score(raw)
    except (RuntimeError, OverflowError, ValueError, OSError) as error:
        piece.why = f"unreadable: {str(error).partition(chr(10))[0][:60]}"
        return piece
    if raw.note_num() < MIN_NOTES:
        piece.why = "too few notes"
        return piece
    if on_grid_share(raw) < MIN_GRID_SHARE:
        piece.why = "off the grid"
        return piece
    if score is None or score.note_num() < MIN_NOTES:
        piece.why = "too few notes"
        return piece
    piece.seconds = score.end() / score.ticks_per_quarter * 60 / score.tempos[0].qpm
    if not MIN_SECONDS <= piece.seconds <= MAX_SECONDS:
        piece.why = "too short or too long"
        return piece
    if "tokenizer" not in _worker:
        _worker["tokenizer"] = make_tokenizer()
    encoded = _worker["tokenizer"].encode(score, encode_ids=False)
    piece.ids = [int(i) for i in encoded.ids]
    piece.notes = score.note_num()
    piece.shingles = shingles_of(score)
    return piece


def group_pieces(pieces: list[Piece]) -> list[int]:
    """A group number per piece: manifest groups and near-duplicates share one."""
    parent = list(range(len(pieces)))

    def find(a: int) -> int:
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        return a

    by_name: dict[str, int] = {}
    by_shingle: dict[int, list[int]] = defaultdict(list)
    for i, piece in enumerate(pieces):
        if piece.source.group:
            parent[find(i)] = find(by_name.setdefault(piece.source.group, i))
        for shingle in piece.shingles:
            by_shingle[shingle].append(i)
    shared: Counter[tuple[int, int]] = Counter()
    for members in by_shingle.values():
        if 1 < len(members) <= 12:  # a run that more pieces share is a commonplace
            shared.update((a, b) for k, a in enumerate(members) for b in members[:k])
    for (a, b), count in shared.items():
        smaller = min(len(pieces[a].shingles), len(pieces[b].shingles))
        if count >= SAME_COUNT and count >= SAME_SHARE * smaller:
            parent[find(a)] = find(b)
    return [find(i) for i in range(len(pieces))]


@dataclass
class Dataset:
    """All pieces end to end, each ``BOS style ... EOS``.

    ids int16 [N]; features as `Features` [N]; starts int64 [pieces + 1]; per piece the style id,
    notes, seconds and whether it is for validation.
    """

    ids: NDArray[np.int16]
    features: Features
    starts: NDArray[np.int64]
    style_ids: NDArray[np.int16]
    notes: NDArray[np.int32]
    seconds: NDArray[np.float32]
    validation: NDArray[np.bool_]
    names: NDArray[np.str_]

    def save(self, path: Path) -> None:
        arrays = {k: v for k, v in vars(self).items() if k != "features"}
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, **arrays, **vars(self.features))
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Dataset:
        with np.load(path) as arrays:
            features = Features(*(arrays[k] for k in ("position", "program", "tick", "sounding")))
            names = [k for k in cls.__dataclass_fields__ if k != "features"]
            return cls(features=features, **{k: arrays[k] for k in names})


def build_dataset(pieces: list[Piece], tokenizer: REMI) -> tuple[Dataset, Counter[str]]:
    """The dataset of the usable pieces, and how many tokens the grammar would have forbidden."""
    vocabulary = Vocabulary(vocabulary_entries(tokenizer))
    grammar = Grammar(vocabulary, REMI_TRANSITIONS, max_empty_bars=1 << 30)
    recorder = FeatureRecorder(vocabulary)
    ids: list[int] = []
    starts = [0]
    forbidden: Counter[str] = Counter()
    bos, eos = tokenizer["BOS_None"], tokenizer["EOS_None"]
    for piece in tqdm(pieces, desc="state inputs", unit="piece", disable=None):
        state = MusicState(vocabulary)
        sequence = [bos, tokenizer[f"Style_{piece.source.style}"], *piece.ids, eos]
        for i, token in enumerate(sequence):
            if i and not grammar.permits(token, state):
                before, after = (KINDS[vocabulary.kind[t]] for t in (sequence[i - 1], token))
                forbidden[f"{after} after {before}"] += 1
            state.step(token)
            recorder.record(state)
        ids += sequence
        starts.append(len(ids))
    groups = group_pieces(pieces)
    names = [str(p.source.path) for p in pieces]
    # By a hash of the group's first file, so that adding files moves no piece to the other side.
    first = {g: Path(names[groups.index(g)]).name for g in set(groups)}
    digest = {g: hashlib.sha256(name.encode()).hexdigest() for g, name in first.items()}
    small = sorted((g for g in digest if groups.count(g) <= 4), key=digest.__getitem__)
    held = {g for g in small if int(digest[g][:8], 16) < VALIDATION_SHARE * 2**32}
    if not held and len(digest) > 1:
        held = set(small[:1])  # a small collection: one group is better than none
    dataset = Dataset(
        ids=np.array(ids, np.int16),
        features=recorder.features(),
        starts=np.array(starts, np.int64),
        style_ids=np.array([tokenizer[f"Style_{p.source.style}"] for p in pieces], np.int16),
        notes=np.array([p.notes for p in pieces], np.int32),
        seconds=np.array([p.seconds for p in pieces], np.float32),
        validation=np.array([g in held for g in groups]),
        names=np.array([Path(n).name for n in names]),
    )
    return dataset, forbidden


def prepare(folders: Iterable[Path], out: Path, workers: int | None = None) -> Dataset:
    """Reads every folder, writes the dataset to ``out`` and prints what was kept and why not."""
    sources = [source for folder in folders for source in find_sources(folder)]
    if not sources:
        raise SystemExit(f"no .mid file under {', '.join(map(str, folders))}")
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        pieces = list(
            tqdm(
                pool.map(read_piece, sources, chunksize=16),
                total=len(sources),
                desc="reading MIDI",
                unit="file",
                disable=None,
            )
        )
    kept = [piece for piece in pieces if not piece.why]
    dataset, forbidden = build_dataset(kept, make_tokenizer())
    dataset.save(out)
    left_out = Counter(piece.why for piece in pieces if piece.why)
    styles = Counter(piece.source.style for piece in kept)
    held = int(dataset.validation.sum())
    print(
        f"{len(kept)} of {len(pieces)} pieces, {len(dataset.ids):,} tokens, {held} for validation"
    )
    print("styles:", ", ".join(f"{s} {n}" for s, n in styles.most_common()))
    print("left out:", ", ".join(f"{why} {n}" for why, n in left_out.most_common()) or "none")
    named = ", ".join(f"{which} {n}" for which, n in forbidden.most_common())
    print(f"tokens that the grammar forbids: {named or 'none'}")
    return dataset


def main() -> None:
    parser = argparse.ArgumentParser(description="Prepare a training set from folders of MIDI.")
    parser.add_argument("--data", type=Path, action="append", required=True, help="folder of MIDI")
    parser.add_argument("--out", type=Path, default=Path("build/dataset.npz"))
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    prepare(arguments.data, arguments.out)


if __name__ == "__main__":
    main()
