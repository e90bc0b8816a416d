"""run.sh's options, and what is refused before anything is started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from contract.bundle import Bundle
from contract.request import FIELDS
from local_run.__main__ import main
from local_run.command import LOGS, new_log
from local_run.options import MODEL, ROOT, Checked, check, event_of, parse_arguments
from local_run.output import KeptElsewhereError, SiteFolderError, check_site_folder, keep
from tests.local_run.test_run import tune

DAY = date(2026, 3, 1)


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
        (["--date", "2024-02-28T23:30:00Z[Europe/Berlin]"], ["2024-02-29"]),
    ],
)
def test_days_end_today_or_begin_at_the_date(
    arguments: list[str], days: list[str], tmp_path: Path
) -> None:
    given = check(parse_arguments([*arguments, "--out", str(tmp_path)]), ROOT, DAY)
    assert [str(day) for day in given.days] == days


@pytest.mark.parametrize(
    "arguments",
    [
        ["--days", "0"],
        ["--seed", "seven"],
        ["--polka"],
        ["--recall", "1"],
        ["--pieces", "3", "--days", "2"],
        ["--piece", "3"],
        ["--out", ""],
        ["--bundle", ""],
    ],
)
def test_what_is_no_option_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(arguments)
    told = capsys.readouterr().err
    assert arguments[0] in told and told.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--style", "polka"], "--style must be one of "),
        (["--style", "\udcff"], "--style must be one of "),  # as Python reads the byte FF
        (["--duration-s", "nan"], "--duration-s must be a number from 5 to 3600, got nan"),
        (["--duration-s", "1e999"], "--duration-s must be a number from 5 to 3600, got inf"),
        (["--temperature", "nan"], "--temperature must be a number from 0 to 2"),
        (["--seed", "-1"], "--seed must be an integer from 0"),
        (["--date", "2026-02-30"], "--date must be"),
        (["--date", "1969-12-31"], "--date must be"),
        (["--days", "1000000000"], "--days 1000000000: the calendar has no such days"),
        (["--days", "99999"], "--days 99999: the first would be "),
        (["--date", "9999-12-30", "--days", "3"], "--days 3: the calendar has no such days"),
        (["--pieces", "0"], "--pieces must be"),
        (["--form", "aaba"], "--form must be"),
        (["--prompt", "no-such.mid"], "--prompt: there is no file"),
        (["--prompt", "."], "cannot be read: Is a directory"),
        (["--prompt", "empty"], "empty: the prompt is empty"),
        (["--prompt", "pipe"], "pipe is a pipe: name a file"),
        (["--prompt", "sparse"], "the prompt is 5000.0 MB; the limit is 1 MB"),
        (["--prompt", "text"], "the prompt is not MIDI"),
        (["--prompt", "silence"], "the prompt has 0 usable notes"),
        (["--prompt", "s3://x/prompts/x.mid"], "--prompt: the bucket is new and empty"),
        (["--bundle", "no-such-folder"], "--bundle: there is no folder"),
        (["--bundle", "text"], "--bundle: there is no folder"),
        (["--bundle", "."], "model.onnx is missing"),
        (["--bundle", "x" * 300], "--bundle: there is no folder"),
        (["--out", "/proc/nowhere"], "--out: /proc/nowhere cannot be written: "),
        (["--out", "text"], "text cannot be written: "),
        (["--out", "x" * 300], "cannot be written: File name too long"),
        (["--pieces", "1000", "--duration-s", "3600"], "--out: 108002 MB are needed in "),
    ],
)
def test_a_wrong_value_is_named_before_anything_is_started(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "text").write_text("no music")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(5_000_000_000)
    # A header (format 0, one track, 480 ticks a beat), and a track that ends at once.
    header = b"MThd" + bytes([0, 0, 0, 6, 0, 0, 0, 1, 1, 0xE0])
    (tmp_path / "silence").write_bytes(header + b"MTrk" + bytes([0, 0, 0, 4, 0, 0xFF, 0x2F, 0]))
    monkeypatch.setattr(sys, "argv", ["run.sh", *arguments])
    monkeypatch.setenv("INVOKED_FROM", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100e9))
    monkeypatch.setattr("local_run.command.run", lambda _: pytest.fail("it started"))
    assert main() == 2
    said = capsys.readouterr().err
    assert told in said and said.count("\n") == 1


def test_what_is_right_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Checked] = []

    def run(checked: Checked) -> int:
        given.append(checked)
        return 0

    monkeypatch.setattr("local_run.command.run", run)
    monkeypatch.setenv("INVOKED_FROM", str(tmp_path))
    midi = tune(tmp_path / "\udcff.mid").read_bytes()
    arguments = ["--prompt", "\udcff.mid", "--date", "2026-03-01", "--out", "a b/\udcff"]
    monkeypatch.setattr(sys, "argv", ["run.sh", *arguments])
    assert main() == 0
    assert given == [Checked({}, midi, None, [DAY], tmp_path / "a b" / "\udcff", keep=False)]


@pytest.mark.parametrize(
    ("happens", "status"), [("print('a piece')", 141), ("raise KeyboardInterrupt", 130)]
)
def test_a_reader_that_ends_and_ctrl_c_have_a_status_and_no_traceback(
    happens: str, status: int
) -> None:
    program = f"from local_run import __main__ as command\ndef main(): {happens}\n"
    program += "command.main = main\nraise SystemExit(command.guarded())"
    reading, writing = os.pipe()
    os.close(reading)  # as `| head` does when it has seen enough
    done = subprocess.run(
        [sys.executable, "-c", program],
        stdout=writing,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (status, b"")


def test_files_appear_whole_or_elsewhere(tmp_path: Path) -> None:
    files = {"a.mid": b"MThd", "a.mp3": b"ID3"}
    keep(files, tmp_path / "out", [])
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == files
    (tmp_path / "gone").touch()  # where a folder was; on a full disk an OSError comes, too
    with pytest.raises(KeptElsewhereError, match=r"gone cannot .* a\.mid, a\.mp3 are in ") as kept:
        keep(files, tmp_path / "gone", [tmp_path / "gone", tmp_path / "out"])
    assert kept.value.folder.parent == tmp_path / "out"
    assert {path.name: path.read_bytes() for path in kept.value.folder.iterdir()} == files
    with pytest.raises(FileExistsError):
        keep(files, tmp_path / "gone", [])


def test_each_run_has_a_log_for_its_owner_only(tmp_path: Path) -> None:
    logs = [new_log(tmp_path / "build") for _ in range(LOGS + 2)]
    assert len(set(logs)) == LOGS + 2
    assert set((tmp_path / "build").iterdir()) < set(logs)
    assert len(list((tmp_path / "build").iterdir())) == LOGS
    assert logs[-1].exists() and logs[-1].stat().st_mode & 0o777 == 0o600


def test_every_option_of_the_event_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    for field in FIELDS:
        assert (f"--{field.name.replace('_', '-')} " in told) == (field.option is not None)
        if field.name in ("style", "metre", "tempo", "seed"):
            assert f"accepts {field.accepted(Bundle.load(MODEL))}" in told
        if field.option is not None:
            assert field.help in told


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
