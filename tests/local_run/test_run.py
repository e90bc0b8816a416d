"""run.sh: its options, what it says of a piece and of a failure, and that it leaves nothing behind.

One deployment of the real bundle and functions serves most tests; one test is the real command.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from datetime import date
from pathlib import Path
from typing import Any

import mido
import pytest

from contract.instruments import INSTRUMENTS
from contract.request import FIELDS
from deploy.execution import failure
from local_aws.server import LocalAws
from local_run.__main__ import main
from local_run.batch import Batch, compose_batch, describe_batch
from local_run.copying import Copied, SiteFolderError, check_site_folder, copy_site
from local_run.days import ComposeError, compose_day, upload_prompt
from local_run.options import days_of, event_of, parse_arguments
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


def test_only_given_fields_are_in_the_event() -> None:
    options = parse_arguments(["--seed", "0", "--top-k", "5", "--duration-s", "20"])
    assert event_of(options) == {"seed": 0, "top_k": 5, "duration_s": 20.0}
    assert event_of(parse_arguments([])) == {}
    options = parse_arguments(["--form", "AABA", "--metre", "3/4", "--tempo", "96"])
    assert event_of(options) == {"form": "AABA", "metre": "3/4", "tempo": 96.0}


@pytest.mark.parametrize(
    ("arguments", "days"),
    [
        ([], ["2026-03-01"]),
        (["--days", "3"], ["2026-02-27", "2026-02-28", "2026-03-01"]),
        (["--date", "2024-02-28", "--days", "2"], ["2024-02-28", "2024-02-29"]),
        (["--date", "2024-02-28T06:00:00Z"], ["2024-02-28"]),
    ],
)
def test_days_end_today_or_begin_at_the_date(arguments: list[str], days: list[str]) -> None:
    assert [str(day) for day in days_of(parse_arguments(arguments), DAY)] == days


@pytest.mark.parametrize(
    "arguments",
    [
        ["--days", "0"],
        ["--seed", "seven"],
        ["--polka"],
        ["--recall", "1"],
        ["--pieces", "3", "--days", "2"],
    ],
)
def test_what_is_no_option_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(arguments)
    assert arguments[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--style", "polka"], "style must be one of "),
        (["--duration-s", "1"], "duration_s must be a number from 5 to 3600, got 1.0"),
        (["--date", "someday"], "date must be"),
        (["--pieces", "0"], "pieces must be"),
        (["--form", "aaba"], "form must be"),
        (["--prompt", "no-such.mid"], "--prompt: there is no file"),
        (["--prompt", "s3://x"], "prompt must be"),
        (["--bundle", "no-such-folder"], "model.onnx is missing"),
        (["--out", "/proc/nowhere"], "--out: /proc/nowhere cannot be written: "),
        (["--out", "/dev/null"], "--out: /dev/null cannot be written: "),
    ],
)
def test_a_wrong_value_is_named_before_anything_is_started(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(sys, "argv", ["run.sh", *arguments])
    monkeypatch.setenv("INVOKED_FROM", str(tmp_path))
    monkeypatch.setattr("local_run.__main__.compose", lambda *_: pytest.fail("it started"))
    assert main() == 2
    assert told in capsys.readouterr().err


def test_every_option_of_the_event_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    for field in FIELDS:
        assert (f"--{field.name.replace('_', '-')} " in told) == (field.option is not None)
        if field.option is not None:
            assert field.help in told


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


def test_a_folder_with_something_else_is_not_taken_for_the_site(tmp_path: Path) -> None:
    check_site_folder(tmp_path / "site")
    (tmp_path / "site").mkdir()
    check_site_folder(tmp_path / "site")
    (tmp_path / "site" / "catalogue.json").write_text('{"form": 1, "days": {}}')
    check_site_folder(tmp_path / "site")
    for theirs in ("thesis.tex", "CNAME", ".git"):
        (tmp_path / "site" / theirs).write_text("ten years of work")
        with pytest.raises(SiteFolderError, match="choose another --out"):
            check_site_folder(tmp_path / "site")
        (tmp_path / "site" / theirs).unlink()
    (tmp_path / "site" / "catalogue.json").write_text('{"products": []}')
    (tmp_path / "link").symlink_to(tmp_path / "site")
    (tmp_path / "file").write_text("x")
    for folder in ("site", "link", "file"):
        with pytest.raises(SiteFolderError, match="choose another --out"):
            check_site_folder(tmp_path / folder)


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
    uri = upload_prompt(aws, names["music_bucket"], tune(tmp_path / "tune.mid"))
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
    }
    arguments = ["--duration-s", "10", "--seed", "1", "--out", "made here"]
    done = subprocess.run(
        [str(ROOT / "run.sh"), *arguments],
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
    deadline = time.monotonic() + 5
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.1)  # killed processes take a moment to go
    assert marked(mark) == []


def test_without_a_new_enough_python_it_says_so(tmp_path: Path) -> None:
    for command in ("bash", "dirname", "date", "cat", "tr", "env"):
        (tmp_path / command).symlink_to(shutil.which(command) or command)
    (tmp_path / "clone").mkdir()
    for script in ("run.sh", "venv.sh"):
        shutil.copy2(ROOT / script, tmp_path / "clone" / script)
    done = subprocess.run(
        [str(tmp_path / "clone" / "run.sh")],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Python 3.11 or later is needed" in done.stderr
