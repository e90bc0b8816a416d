"""Reading an archive: styles, what is left out and why, groups, caching."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from dataset import (
    Dataset,
    Source,
    build_dataset,
    find_sources,
    group_pieces,
    make_tokenizer,
    prepare,
    read_piece,
    vocabulary_entries,
)
from mido import Message, MidiFile, MidiTrack

from generate_tokens.state import Vocabulary, features_of
from tests.training.conftest import write_tune


def test_styles_come_from_manifest_then_folder(archive: Path, tmp_path: Path) -> None:
    shutil.copytree(archive, tmp_path / "a")
    (tmp_path / "a" / "manifest.csv").write_text("file,style\nattic/tune2.mid,Romantic\n")
    styles = {s.path.name: s.style for s in find_sources(tmp_path / "a")}
    assert (styles["tune0.mid"], styles["tune1.mid"]) == ("folk", "chorale")
    assert (styles["tune2.mid"], styles["tune5.mid"]) == ("romantic", "other")


def test_rows_marked_as_badly_converted_are_left_out(tmp_path: Path) -> None:
    for name in ("good", "no_tempo", "out", "bars", "study"):
        write_tune(tmp_path / f"{name}.mid", 1)
    (tmp_path / "manifest.csv").write_text(
        "file,style,tempo_given,out_of_range,barcheck_failures\n"
        "good.mid,Folk,yes,0.0,0\nno_tempo.mid,Folk,,0.0,0\nout.mid,Folk,yes,0.2,0\n"
        "bars.mid,Folk,yes,0.0,11\nstudy.mid,Technique,yes,0.0,0\n"
    )
    assert [s.path.stem for s in find_sources(tmp_path)] == ["good"]


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
    dataset, _ = build_dataset(pieces, make_tokenizer())
    assert 1 <= dataset.validation.sum() < len(pieces)


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
    groups = group_pieces([read_piece(Source(p, "folk")) for p in paths])
    assert groups[0] == groups[1] != groups[2]


def test_every_piece_is_framed_and_its_features_are_the_trackers(dataset: Dataset) -> None:
    tokenizer = make_tokenizer()
    vocabulary = Vocabulary(vocabulary_entries(tokenizer))
    for first, last in zip(dataset.starts[:-1], dataset.starts[1:], strict=True):
        ids = dataset.ids[first:last].tolist()
        assert ids[0] == tokenizer["BOS_None"] and ids[-1] == tokenizer["EOS_None"]
        assert ids[1] == tokenizer["Style_folk"]
        expected = features_of(ids, vocabulary)
        for name, array in vars(expected).items():
            assert np.array_equal(getattr(dataset.features, name)[first:last], array), name


def test_real_cleaning_leaves_nothing_that_the_grammar_forbids(archive: Path) -> None:
    pieces = [read_piece(Source(p, "folk")) for p in sorted(archive.rglob("*.mid"))]
    _, forbidden = build_dataset(pieces, make_tokenizer())
    assert not forbidden


def test_preparing_writes_what_loading_reads(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    shutil.copytree(archive, tmp_path / "in" / "archive")
    (tmp_path / "in" / "page.mid").write_text("<html>")
    made = prepare([tmp_path / "in"], tmp_path / "set.npz", workers=1)
    loaded = Dataset.load(tmp_path / "set.npz")
    assert np.array_equal(made.ids, loaded.ids)
    assert np.array_equal(made.features.sounding, loaded.features.sounding)
    report = capsys.readouterr().out
    assert "12 of 13 pieces" in report and "unreadable" in report


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no \.mid"):
        prepare([tmp_path], tmp_path / "set.npz")
