"""Preparing a dataset: what is left out and why, groups, state inputs, reports, reuse."""

from __future__ import annotations

import hashlib
import random
import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mido import Message, MidiFile, MidiTrack

from music.tracker import Vocabulary
from tests.music.writing import tracked_of
from tests.training.conftest import write_tune
from training.data import dataset as dataset_module
from training.data import held_out
from training.data import piece as piece_module
from training.data.archive import Source
from training.data.dataset import Dataset, build_dataset, prepare
from training.data.held_out import split
from training.data.near_duplicates import COMMONPLACE, SAME_COUNT, SAME_SHARE, grouped
from training.data.piece import read_piece
from training.data.reserved import Reserved
from training.data.tokenizer import make_tokenizer, vocabulary_entries


def test_what_cannot_be_parsed_is_left_out_whatever_it_holds(tmp_path: Path) -> None:
    """Damaged copies of a good file: each is read as music or left out, and nothing is raised."""
    good = write_tune(tmp_path / "good.mid", 1).read_bytes()
    rng = random.Random(0)
    path = tmp_path / "bad.mid"
    for case in range(80):
        damaged = bytearray(good)
        if case % 2:
            del damaged[rng.randrange(len(damaged)) :]
        for _ in range(rng.randrange(1, 30)):
            if damaged:
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(bytes(damaged))
        piece = read_piece(Source(path, "folk"))
        assert bool(piece.why) != bool(len(piece.ids)), case


def test_a_fault_of_a_library_leaves_out_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(piece_module, "read_score", broken)
    piece = read_piece(Source(write_tune(tmp_path / "a.mid", 1), "folk"))
    assert piece.why == "unreadable: ZeroDivisionError"


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"<html>not found</html>", "unreadable"), (b"", "unreadable"), (b"MThd", "unreadable")],
)
def test_broken_files_are_left_out_with_a_reason(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "broken.mid"
    path.write_bytes(content)
    assert read_piece(Source(path, "folk")).why.startswith(why)


def test_a_file_whose_ticks_overflow_is_left_out(tmp_path: Path) -> None:
    midi = MidiFile(ticks_per_beat=1)
    track = MidiTrack()
    for _ in range(80):
        track.append(Message("note_on", note=60, velocity=64, time=1))
        track.append(Message("note_off", note=60, time=0x0FFFFFF))
    midi.tracks.append(track)
    midi.save(tmp_path / "long.mid")
    assert read_piece(Source(tmp_path / "long.mid", "folk")).why.startswith("unreadable")


def test_a_small_collection_still_has_a_piece_to_validate_on(archive: Path) -> None:
    pieces = [read_piece(Source(p, "folk")) for p in sorted(archive.rglob("*.mid"))]
    dataset, _ = build_dataset(pieces)
    assert dataset.validation.sum() == 1 <= dataset.training.sum()
    pair, _ = build_dataset(pieces[:2])
    assert pair.validation.sum() == pair.training.sum() == 1 and not pair.test.any()
    alone, _ = build_dataset(pieces[:1])
    assert alone.training.all(), "a single piece is to train on"


NOTHING = Reserved()


def sources_of(count: int) -> list[Source]:
    """Sources that exist by name only, each with a hash of its own."""
    return [Source(Path(f"{i}.mid"), "folk", sha256=f"{i:064x}") for i in range(count)]


def test_held_out_groups_are_whole_and_for_validation_or_for_the_test() -> None:
    groups = [i // 3 for i in range(3000)]
    validation, test = split(sources_of(3000), groups, NOTHING)
    assert not (validation & test).any()
    for held in (validation, test):
        assert np.array_equal(held[::3], held[1::3]) and np.array_equal(held[::3], held[2::3])
    # 4 % of 1,000 groups; less than 20 or more than 60 has a chance of about one in a thousand
    count = (validation | test).sum() // 3
    assert 20 <= count <= 60
    # each by a coin: fewer than a quarter of 20 has a chance of one in two hundred
    assert min(validation.sum(), test.sum()) // 3 >= count // 4

    def digest(group: int) -> str:
        return hashlib.sha256(f"{3 * group}.mid".encode()).hexdigest()


def test_what_is_held_out_stays_so_when_files_are_added() -> None:
    few, many = (split(sources_of(n), list(range(n)), NOTHING) for n in (2000, 3000))
    for side in (0, 1):
        assert np.array_equal(few[side], many[side][:2000])


def test_large_groups_are_trained_on() -> None:
    validation, test = split(sources_of(1000), [i // 5 for i in range(1000)], NOTHING)
    assert not (validation | test).any()


def test_listed_pieces_and_their_groups_are_for_the_test_and_move_no_other() -> None:
    sources, groups = sources_of(1000), [i // 2 for i in range(1000)]
    before = split(sources, groups, NOTHING)
    listed = Reserved.parse([f"sha256 {s.sha256}" for s in sources[100:110]])
    validation, test = split(sources, groups, listed)
    assert test[100:110].all() and not (validation & test).any()
    others = np.r_[0:100, 110:1000]
    assert np.array_equal((before[0] | before[1])[others], (validation | test)[others])
    odd = Reserved.parse([f"sha256 {sources[501].sha256}"])
    assert split(sources, groups, odd)[1][500], "the other piece of its group"
    everything = split(sources, [0] * 1000, odd)
    assert everything[1].all(), "however large the group is"


def test_a_near_duplicate_of_a_listed_piece_is_not_trained_on(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    shutil.copytree(archive, folder)
    listed = write_tune(folder / "listed.mid", 77)
    write_tune(folder / "the-same-longer.mid", 77, notes=130)
    lines = f"# folk: by hand\nsha256 {hashlib.sha256(listed.read_bytes()).hexdigest()}\n"
    (tmp_path / "list.txt").write_text(lines)
    monkeypatch.setattr(held_out, "TEST_PIECES_FILE", tmp_path / "list.txt")
    prepared = prepare([folder], tmp_path / "set.npz")
    found = prepared.dataset.names[prepared.dataset.test].tolist()
    assert {"listed.mid", "the-same-longer.mid"} < set(found), "and one of the twelve is drawn"
    assert (prepared.report.validation, prepared.report.test) == (1, 3)
    assert "1 for validation, 3 for the test" in prepared.report.summary()


def test_the_committed_list_has_a_hundred_pieces() -> None:
    listed = Reserved.load(held_out.TEST_PIECES_FILE)
    assert len(listed.sources) == 100
    assert not listed.hashes | listed.works | listed.pieces


def test_held_out_files_are_copied_and_replace_those_of_before(
    archive: Path, tmp_path: Path
) -> None:
    prepared = prepare([archive], tmp_path / "set.npz")
    prepared.dataset.validation[:] = [i in (0, 4) for i in range(12)]
    prepared.dataset.test[:] = [i == 5 for i in range(12)]
    mine = tmp_path / "out" / "test" / "folk" / "mine.mid"
    write_tune(mine, 1)
    for _ in range(2):
        folder = prepared.copy_held_out(tmp_path / "out")
        for part in ("validation", "test"):
            expected = [
                prepared.sources[i] for i in np.flatnonzero(getattr(prepared.dataset, part))
            ]
            found = [p for p in sorted((folder / part).rglob("*.mid")) if p != mine]
            assert {(p.parent.name, p.name[9:]) for p in found} == {
                (source.style, source.path.name) for source in expected
            }
        prepared.dataset.validation[:] = False
        prepared.dataset.test[:] = [i == 2 for i in range(12)]
    assert mine.exists(), "only what it wrote is deleted"


def test_a_dataset_without_test_pieces_is_refused_and_made_again(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "set.npz"
    prepare([archive], path)
    with np.load(path) as arrays:
        older = {name: arrays[name] for name in arrays if name != "test"}
    np.savez(path, **older)
    with pytest.raises(ValueError, match=r"without test: run training.data.dataset again"):
        Dataset.load(path)
    capsys.readouterr()
    prepare([archive], path)
    assert "taken as it is" not in capsys.readouterr().out
    assert len(Dataset.load(path).test) == 12


def test_a_fragment_is_left_out(tmp_path: Path) -> None:
    path = write_tune(tmp_path / "short.mid", 1, notes=10)
    assert read_piece(Source(path, "folk")).why == "too few notes"


def test_a_transposed_copy_stays_in_its_originals_group(tmp_path: Path) -> None:
    original = write_tune(tmp_path / "original.mid", 5)
    other = write_tune(tmp_path / "other.mid", 6)
    file = MidiFile(original)
    for message in file.tracks[0]:
        if message.type in ("note_on", "note_off"):
            message.note += 3
    file.save(tmp_path / "copy.mid")
    paths = (original, tmp_path / "copy.mid", other)
    pieces = [read_piece(Source(p, "folk")) for p in paths]
    groups = grouped([("", piece.shingles) for piece in pieces])
    assert groups[0] == groups[1] != groups[2]


def test_pieces_that_a_manifest_groups_stay_together() -> None:
    groups = grouped([(name, np.zeros(0, np.uint64)) for name in ("op. 1", "", "op. 1")])
    assert groups[0] == groups[2] != groups[1]


@settings(deadline=None)
@given(
    pieces=st.lists(st.lists(st.integers(0, 60), unique=True, max_size=30), max_size=20),
)
def test_pieces_that_share_rare_fingerprints_are_one_group(pieces: list[list[int]]) -> None:
    def alike(a: int, b: int) -> bool:
        both = set(pieces[a]) & set(pieces[b])
        rare = [f for f in both if sum(f in piece for piece in pieces) <= COMMONPLACE]
        smaller = min(len(pieces[a]), len(pieces[b]))
        return len(rare) >= max(SAME_COUNT, SAME_SHARE * smaller)

    groups = list(range(len(pieces)))
    for a, b in combinations(range(len(pieces)), 2):
        if alike(a, b):
            groups = [groups[a] if group == groups[b] else group for group in groups]
    found = grouped([("", np.array(sorted(piece), np.uint64)) for piece in pieces])
    pairs = list(combinations(range(len(pieces)), 2))
    assert [found[a] == found[b] for a, b in pairs] == [groups[a] == groups[b] for a, b in pairs]


def test_every_piece_is_framed_and_its_features_are_the_trackers(dataset: Dataset) -> None:
    tokenizer = make_tokenizer()
    vocabulary = Vocabulary(vocabulary_entries(tokenizer))
    for first, last in zip(dataset.starts[:-1], dataset.starts[1:], strict=True):
        ids = dataset.ids[first:last].tolist()
        assert ids[0] == tokenizer["BOS_None"] and ids[-1] == tokenizer["EOS_None"]
        assert ids[1] == tokenizer["Style_folk"]
        expected = tracked_of(ids, vocabulary)
        for name, array in vars(expected).items():
            assert np.array_equal(getattr(dataset.tracked, name)[first:last], array), name


def test_real_cleaning_leaves_nothing_that_the_grammar_forbids(archive: Path) -> None:
    pieces = [read_piece(Source(p, "folk")) for p in sorted(archive.rglob("*.mid"))]
    _, forbidden = build_dataset(pieces)
    assert not forbidden


def test_several_processes_read_what_one_reads(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = prepare([archive], tmp_path / "one.npz", workers=1)
    monkeypatch.setattr(dataset_module, "FEW_FILES", 0)
    two = prepare([archive], tmp_path / "two.npz", workers=2)
    assert np.array_equal(one.dataset.ids, two.dataset.ids)
    assert np.array_equal(one.dataset.validation, two.dataset.validation)
    assert np.array_equal(one.dataset.test, two.dataset.test)


def test_a_dataset_is_made_again_only_when_files_or_code_changed(
    archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, out = tmp_path / "in", tmp_path / "set.npz"
    shutil.copytree(archive, folder)

    def taken_as_it_is(**options: bool) -> bool:
        capsys.readouterr()
        prepared = prepare([folder], out, **options)
        assert len(prepared.sources) == prepared.report.pieces
        return "taken as it is" in capsys.readouterr().out

    assert not taken_as_it_is()
    assert taken_as_it_is()
    assert not taken_as_it_is(fresh=True)
    (folder / "folk" / "tune0.mid").write_bytes((folder / "folk" / "tune3.mid").read_bytes())
    assert not taken_as_it_is(), "the same names and another content"
    assert taken_as_it_is()
    (folder / "manifest.csv").write_text("file,style\nfolk/tune0.mid,hymn\n")
    assert not taken_as_it_is(), "another style"
    out.write_bytes(b"damaged")
    assert not taken_as_it_is()
    monkeypatch.setattr(dataset_module, "version", lambda _: "another")
    assert not taken_as_it_is(), "another tokenizer"
