"""run.sh's options, and what is refused before anything is started."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from contract.request import FIELDS
from local_run.__main__ import main
from local_run.copying import SiteFolderError, check_site_folder
from local_run.options import days_of, event_of, parse_arguments

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
