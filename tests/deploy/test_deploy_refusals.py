"""What deploy.sh refuses before it calls AWS, or before it writes anything."""

from __future__ import annotations

import json
import re
import zoneinfo
from pathlib import Path

import pytest

from deploy import layers
from deploy.__main__ import main
from deploy.errors import way_out
from deploy.options import parse
from tests.deploy.deployer import NAME, RUNTIME, Account, Hooks, make_tree


class NoSession:
    """Every use of it is a call that should not be made."""

    region_name = "us-east-1"

    def client(self, *_: object, **__: object) -> None:
        raise AssertionError("AWS was called")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--name", "Midi"], "--name"),
        (["--name", "a" * 31], "30 characters"),
        (["--region", "mars"], "--region"),
        (["--runtime", "python3.10"], "--runtime"),
        (["--runtime", "python3.15"], "--runtime"),
        (["--runtime", "python3.11"], "python3.11 cannot run on Lambda"),
        (["--arch", "riscv"], "--arch"),
        (["--schedule", "cron(99 6 * * ? *)"], "--schedule"),
        (["--schedule", "daily"], "--schedule"),
        (["--timezone", "Mars/Olympus"], "--timezone"),
        (["--bundle", "/nowhere"], "--bundle"),
        (["--outputs", "/nowhere/x.json"], "--outputs"),
        (["--outputs", "/tmp"], "is a folder"),
        (["--schedule", "at(2020-01-01T00:00:00)"], "in the past"),
        (["--schedule", "cron(30 2 * * ? *)", "--timezone", "Europe/Berlin"], "has no 02:30"),
        (["--colour", "red"], "--colour"),
        (["--name"], "--name"),
        (["--profile", ""], "--profile"),
        (["--memory", "511"], "512 to 10240"),
        (["--memory", "a lot"], "512 to 10240"),
        (["--memory", "99999"], "512 to 10240"),
        (["--alarm-email", "me@home"], "me@example.org"),
        (["--permissions-boundary", "midi-archive-boundary"], "arn:aws:iam::ACCOUNT:policy/NAME"),
        (["--delete-music"], "--destroy"),
        (["--destroy", "--rollback"], "not allowed with"),
        (["--rebuild-site", "--destroy"], "not allowed with"),
        (["--site", "--no-site"], "not allowed with"),
    ],
)
def test_a_wrong_option_is_refused_before_any_call(
    root: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options, NoSession(), root) == 1
    error = capsys.readouterr().err
    assert error.startswith("deploy.sh: ")
    assert message in error


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_damaged_bundle_is_refused_before_any_call(
    tmp_path: Path,
    bundle_dir_without_model: Path,
    damage: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = make_tree(tmp_path / "tree", bundle_dir_without_model)
    model = root / "layers" / "model" / "model.onnx"
    if damage == "missing":
        model.unlink()
    else:
        model.write_bytes(b"")
    assert main([], NoSession(), root) == 1
    assert "model.onnx" in capsys.readouterr().err


def test_a_local_aws_takes_the_machines_python(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert parse(["--runtime", "python3.11"], root, root).runtime == "python3.11"
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    assert parse(["--runtime", "python3.14"], root, root).runtime == "python3.14"


def test_without_time_zone_data_utc_passes_and_the_service_checks_the_rest(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(_: str) -> zoneinfo.ZoneInfo:
        raise zoneinfo.ZoneInfoNotFoundError

    monkeypatch.setattr(zoneinfo, "available_timezones", set)
    monkeypatch.setattr(zoneinfo, "ZoneInfo", none)
    for zone in ("UTC", "Europe/Berlin"):
        assert parse(["--timezone", zone], root, root).timezone == zone


def test_over_250_mb_is_refused_before_anything_is_made(empty: Account) -> None:
    layers.build(empty.root / "midi_save", RUNTIME, "x86_64", empty.root / "build")
    facts_path = empty.root / "build" / f"midi_save-{RUNTIME}-x86_64.zip.json"
    kept = facts_path.read_text()
    facts_path.write_text(json.dumps({**json.loads(kept), "unzipped_bytes": 262_140_000}))
    hooks = Hooks()
    done = empty.run(hooks=hooks)
    facts_path.write_text(kept)
    assert done.code == 1
    assert re.search(r"midi-save would be 26\d MB unzipped \(save-deps 262.1 MB", done.err)
    assert [call.operation for call in hooks.writes()] == ["s3 CreateBucket"]  # for the lock


def test_no_credentials_no_profile_no_network_and_no_disk_are_told(
    empty: Account, tmp_path: Path
) -> None:
    none = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"), "")
    done = empty.run(env={**none, "AWS_PROFILE": ""})
    assert (done.code, "'Credentials'" in done.err) == (1, True)
    done = empty.run("--profile", "another")
    assert (done.code, "no such profile" in done.err) == (1, True)
    sso = tmp_path / "config"
    sso.write_text(
        "[profile sso]\nsso_session = s\nsso_account_id = 123456789012\nsso_role_name = r\n"
        "[sso-session s]\nsso_region = us-east-1\nsso_start_url = https://example.org/start\n"
    )
    done = empty.run("--profile", "sso", env={"AWS_CONFIG_FILE": str(sso)})
    assert (done.code, "sign in again" in done.err) == (1, True), done.err
    assert "the disk is full" in way_out(OSError(28, "No space left on device"))
    done = empty.run(env={"AWS_ENDPOINT_URL": "http://127.0.0.1:1"})
    assert (done.code, "cannot be reached" in done.err) == (1, True)
    assert "changes:" not in done.out


def test_no_region_is_told(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(variable, raising=False)
    assert main([], type("Session", (), {"region_name": None})(), root) == 1
    assert "give --region" in capsys.readouterr().err


def test_a_schedule_sends_its_zone_and_one_of_lost_days_is_refused(made: Account) -> None:
    scheduler = made.aws.client("scheduler")

    def sent() -> str:
        target = scheduler.get_schedule(Name=f"{NAME}-daily")["Target"]
        return str(json.loads(target["Input"])["date"])

    made.deploy("--schedule", "cron(30 1 * * ? *)", "--timezone", "Europe/Berlin")
    assert sent() == "<aws.scheduler.scheduled-time>[Europe/Berlin]"
    hooks = Hooks()
    for options in (["--schedule", "cron(30 2 * * ? *)"], ["--timezone", "Europe/London"]):
        done = made.run(*options, hooks=hooks)
        assert done.code == 1
        assert done.err.startswith("deploy.sh: --schedule: ") and "would have no piece" in done.err
    assert hooks.writes() == []
    have = scheduler.get_schedule(Name=f"{NAME}-daily")
    kept = {name: have[name] for name in ("Name", "FlexibleTimeWindow", "Target", "State")}
    zone = {"ScheduleExpressionTimezone": "Europe/Berlin"}
    scheduler.update_schedule(**kept, **zone, ScheduleExpression="cron(30 2 * * ? *)")
    lines = made.deploy()
    assert any("stays as it is deployed, but: --schedule: 'cron(30 2" in line for line in lines)
    assert lines[-1] == "changes: 0"
    made.deploy("--schedule", "rate(1 day)")  # each 24 hours, whatever the clocks say
    assert sent() == "<aws.scheduler.scheduled-time>"
