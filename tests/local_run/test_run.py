"""run.sh: what it says of a piece and of a failure, and that it leaves nothing behind.

One deployment of the real bundle and functions serves most tests; one test is the real command.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import uuid
from datetime import date
from pathlib import Path
from typing import Any

import mido
import pytest

from contract.instruments import INSTRUMENTS
from deploy.execution import failure
from local_aws.server import LocalAws
from local_run.batch import Batch, compose_batch, describe_batch
from local_run.copying import Copied, copy_site
from local_run.days import ComposeError, compose_day, upload_prompt
from local_run.report import describe, piece_of, read_midi
from midi_save.clean import FAMILIES

ROOT = Path(__file__).parents[2]
DAY = date(2026, 3, 1)


def tune(path: Path) -> Path:
    """Eight notes of a flute, then eight of an organ: eight seconds at 120 beats a minute."""
    midi = mido.MidiFile(ticks_per_beat=480)
    track = mido.MidiTrack()
    for channel, program in ((0, 73), (1, 19)):
        track.append(mido.Message("program_change", channel=channel, program=program))
        for pitch in range(60, 68):
            track.append(mido.Message("note_on", channel=channel, note=pitch, velocity=80))
            off = mido.Message("note_on", channel=channel, note=pitch, velocity=0, time=480)
            track.append(off)
    midi.tracks.append(track)
    midi.save(path)
    return path


def marked(mark: str) -> list[str]:
    """The commands of the processes that have `mark` in their environment."""
    commands = []
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (directory / "environ").read_bytes():
                commands.append((directory / "cmdline").read_bytes().decode())
        except OSError:
            continue  # gone meanwhile, or not ours
    return commands


def test_a_failure_is_told_without_its_stack_trace() -> None:
    cause = json.dumps({"errorMessage": "top_p must be ...", "stackTrace": ["x"]})
    ended = {"status": "FAILED", "error": "EventError", "cause": cause}
    assert failure(ended) == "EventError: top_p must be ..."
    assert failure({"status": "TIMED_OUT"}) == "TIMED_OUT: "
    assert failure({"status": "FAILED", "error": "E", "cause": "plain"}) == "E: plain"


def test_length_notes_and_programs_are_those_of_the_file(tmp_path: Path) -> None:
    seconds, notes, programs = read_midi(tune(tmp_path / "x.mid"))
    assert seconds == pytest.approx(8.0)
    assert (notes, programs) == (16, [19, 73])


def test_the_report_names_the_instruments(tmp_path: Path) -> None:
    record = {
        "date": "2026-03-01",
        "style": None,
        "seed": 7,
        "model_id": "ab" * 32,
        "tokens": 12,
        "continued_from": None,
        "fresh_because": "no piece yesterday",
        "request": {"metre": "3/4", "tempo": 97.09},
        "form": {"letters": ["A", "B", "A'"], "bars": [8, 8, 8], "lags": []},
        "sha256": "cd" * 32,
    }
    result = {"record": record, "stats": {"calls": 1, "tokens_per_s": 99.96}, "published": {}}
    copied = Copied(tune(tmp_path / "x.mid"), tmp_path / "x.mp3")
    piece = piece_of(result, copied, {"Generate": 1.234})
    text = describe(piece)
    assert "organ, flute" in text
    assert "fresh: no piece yesterday" in text
    assert "none, 3/4, 97 quarters a minute" in text and "A B A'" in text
    assert "0:08 (8.0 s)" in text
    assert piece.to_json()["stages_s"] == {"Generate": 1.23}


def test_every_family_of_instruments_has_a_name() -> None:
    assert INSTRUMENTS.keys() == FAMILIES.keys()


def test_each_day_takes_up_the_motif_of_the_day_before(
    deployed: tuple[LocalAws, dict[str, Any]], tmp_path: Path
) -> None:
    event = {"duration_s": 20, "candidates": 1}
    first = compose_day(*deployed, date(2026, 3, 1), event, tmp_path)
    second = compose_day(*deployed, date(2026, 3, 2), event, tmp_path)
    assert first.continued_from is None
    assert first.fresh_because
    assert second.continued_from == "2026-03-01"
    assert first.sha256 != second.sha256
    told = json.loads(Path(second.midi).with_suffix(".json").read_text())
    assert told["taken_up"]["pitches"] and told["form"]["letters"]
    for piece in (first, second):
        record = json.loads(Path(piece.midi).with_suffix(".json").read_text())
        assert piece.seconds == pytest.approx(record["duration_s"], abs=0.1)
        assert piece.notes == record["notes"]
        assert piece.programs == record["programs"]
        assert {"Generate", "Save", "Publish", "piece"} <= set(piece.stages_s)
        assert Path(piece.mp3).read_bytes()[:3] == b"ID3"
    aws, names = deployed
    home = copy_site(aws, names["music_bucket"], tmp_path / "site")
    assert "days/2026-03-02.html" in home.read_text() or "2026-03-02" in home.read_text()
    assert 'href="2026-03-01.html"' in (home.parent / "days" / "2026-03-02.html").read_text()
    (home.parent / "days" / "left.html").write_text("of a run before")
    copy_site(aws, names["music_bucket"], tmp_path / "site")
    assert not (home.parent / "days" / "left.html").exists()


def test_the_same_seed_gives_the_same_bytes(
    deployed: tuple[LocalAws, dict[str, Any]], tmp_path: Path
) -> None:
    event = {"duration_s": 10, "seed": 5, "prompt": "fresh"}
    pieces = [compose_day(*deployed, DAY, event, tmp_path / name) for name in "ab"]
    other = compose_day(*deployed, DAY, {**event, "seed": 6}, tmp_path / "c")
    assert Path(pieces[0].midi).read_bytes() == Path(pieces[1].midi).read_bytes()
    assert Path(other.midi).read_bytes() != Path(pieces[0].midi).read_bytes()


def test_a_prompt_file_is_continued(
    deployed: tuple[LocalAws, dict[str, Any]], tmp_path: Path
) -> None:
    aws, names = deployed
    uri = upload_prompt(aws, names["music_bucket"], tune(tmp_path / "tune.mid").read_bytes())
    piece = compose_day(aws, names, DAY, {"duration_s": 10, "prompt": uri}, tmp_path)
    assert piece.continued_from == uri
    assert "TokenizePrompt" in piece.stages_s


def test_a_batch_has_pieces_that_differ_and_any_can_be_made_again_alone(
    deployed: tuple[LocalAws, dict[str, Any]], tmp_path: Path
) -> None:
    aws, names = deployed
    event = {"duration_s": 8, "seed": 7, "candidates": 1, "prompt": "fresh", "pieces": 3}
    day = date(2026, 3, 5)

    def latest() -> Any:
        return aws.client("s3").list_objects_v2(
            Bucket=names["music_bucket"], Prefix="neural-net/model-prediction.mid"
        )["KeyCount"]

    before = latest()
    batch = compose_batch(aws, names, day, event, tmp_path / "batch")
    assert (batch.error, batch.failed) == (None, [])
    assert latest() == before
    stems = [f"2026-03-05-{piece:04}_sequence" for piece in (1, 2, 3)]
    suffixes = (".json", ".mid", ".mp3")
    assert {path.name for path in (tmp_path / "batch").iterdir()} == {
        stem + suffix for stem in stems for suffix in suffixes
    }
    pieces = [(tmp_path / "batch" / f"{stem}.mid").read_bytes() for stem in stems]
    assert len(set(pieces)) == 3
    assert len({record["seed"] for record in batch.records}) == 3
    assert [(record["piece"], record["pieces"]) for record in batch.records] == [
        (piece, 3) for piece in (1, 2, 3)
    ]
    alone = compose_day(aws, names, day, {**event, "piece": 2}, tmp_path / "alone")
    assert Path(alone.midi).name == f"{stems[1]}.mid"
    assert Path(alone.midi).read_bytes() == pieces[1]


def test_a_batch_with_a_bad_event_makes_nothing(
    deployed: tuple[LocalAws, dict[str, Any]], tmp_path: Path
) -> None:
    batch = compose_batch(*deployed, DAY, {"pieces": 50, "style": "polka"}, tmp_path)
    assert (batch.error or "").startswith("EventError: style must be")
    assert batch.records == []


def test_a_batch_is_told_in_a_line_and_in_an_object(tmp_path: Path) -> None:
    record = {"date": "2026-03-01", "duration_s": 30.5, "notes": 100}
    batch = Batch(4, [record] * 2, tmp_path, [2, 4], "SomePiecesFailed: ...", {"pieces": 61.0})
    told = f"2 of 4 pieces, not made: 2, 4; 1:01 of music in 1:01; MIDI and MP3 in {tmp_path}"
    assert describe_batch(batch) == told
    assert batch.to_json() == {
        "pieces": 4,
        "made": 2,
        "failed": [2, 4],
        "date": "2026-03-01",
        "out": str(tmp_path),
        "seconds": 61.0,
        "notes": 200,
        "stages_s": {"pieces": 61.0},
    }


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"duration_s": -1}, "duration_s"),
        ({"top_p": 2}, "top_p"),
        ({"style": "polka"}, "style"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_bad_event_is_named_and_changes_nothing(
    deployed: tuple[LocalAws, dict[str, Any]],
    event: dict[str, Any],
    message: str,
    tmp_path: Path,
) -> None:
    aws, names = deployed

    def kept() -> list[tuple[str, str]]:
        listed = aws.client("s3").list_objects_v2(Bucket=names["music_bucket"])
        return [(found["Key"], found["ETag"]) for found in listed.get("Contents", [])]

    before = kept()
    with pytest.raises(ComposeError, match=f"the execution failed: EventError: .*{message}"):
        compose_day(aws, names, date(2026, 3, 9), event, tmp_path)
    assert kept() == before
    assert not list(tmp_path.iterdir())


def test_the_command_makes_a_piece_whatever_aws_the_caller_has(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "MARK": mark,
        "AWS_PROFILE": "nobody",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "http_proxy": "http://127.0.0.1:1",
        "PYTHONSAFEPATH": "1",  # no `python -m` of what is in the working directory
        "PYTHONWARNINGS": "error",
        "PIP_TARGET": str(tmp_path),
    }
    (tmp_path / "elsewhere").symlink_to(ROOT / "run.sh")
    arguments = ["--duration-s", "10", "--seed", "1", "--out", "made here"]
    done = subprocess.run(
        ["./elsewhere", *arguments],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout.splitlines()[-1])
    assert Path(facts["midi"]).parent == tmp_path / "made here"
    assert facts["notes"] == read_midi(Path(facts["midi"]))[1] > 0
    assert 8 <= facts["seconds"] <= 25  # it ends in the bar of the tenth second, or soon after
    assert facts["seed"] == 1
    assert facts["tokens_per_s"] > 0
    assert {"deploy", "start", "Generate", "Save", "total"} <= set(facts["stages_s"])
    assert "instruments" in done.stdout
    assert Path(facts["mp3"]).read_bytes()[:3] == b"ID3"
    home = Path(facts["site"])
    assert home == tmp_path / "made here" / "site" / "index.html"
    assert f"open {home} in a browser" in done.stdout
    assert marked(mark) == []


def test_interrupted_it_leaves_no_process_behind(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    # Started with & by a script, as CI may be, this test ignores SIGINT, and so would its children.
    process = subprocess.Popen(
        ["env", "--default-signal=INT", str(ROOT / "run.sh")],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MARK": mark},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("deploying"):
            break
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does on Ctrl-C
    assert process.wait(timeout=30) == 130
    assert "Traceback" not in process.stderr.read()
    deadline = time.monotonic() + 5
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.1)  # killed processes take a moment to go
    assert marked(mark) == []
