"""--complete-days: days that have files but no record; a stand-in runs the executions."""

from __future__ import annotations

import pytest

from contract.records import archive_keys, half_made
from tests.deploy.deployer import MUSIC, NAME, Account
from tests.deploy.test_real_account import SUCCEEDED, Trials, run_with
from tests.deploy.test_rebuild import DAMAGED

DAY, LATER, WHOLE = "2026-03-01", "2026-03-05", "2026-03-02"


@pytest.fixture
def half(made: Account) -> Account:
    """Two days without their record, one of them with MIDI only; one day that is whole."""
    client = made.aws.client("s3")
    whole = archive_keys(WHOLE)
    keys = [*whole.values(), archive_keys(LATER)["archive"], archive_keys(DAY)["archive"]]
    keys += [archive_keys(DAY)["tokens"], archive_keys(DAY, 7)["archive"]]
    keys += ["neural-net/model-prediction.mid", f"neural-net/{DAY}_sequence.mid.bak"]
    for key in keys:
        client.put_object(Bucket=MUSIC, Key=key, Body=b"x")
    return made


def test_half_made_days_are_listed_and_made_again_in_order(half: Account) -> None:
    trials = Trials(SUCCEEDED, SUCCEEDED)
    done = run_with(half, trials, "--complete-days", answer="yes\n")
    assert done.code == 0, done.err
    assert trials.events == [{"date": DAY}, {"date": LATER}]
    assert f"{DAY} has files" in done.out and f"{DAY}-0007 has files" in done.out
    assert WHOLE not in done.out
    assert done.last == f"{LATER}: made"


@pytest.mark.parametrize("answer", ["", "no\n"])
def test_nothing_is_made_unless_the_answer_is_yes(half: Account, answer: str) -> None:
    trials = Trials()
    done = run_with(half, trials, "--complete-days", answer=answer)
    assert (done.code, trials.started) == (1, 0)
    assert "nothing was made" in done.err


def test_a_dry_run_makes_nothing(half: Account) -> None:
    trials = Trials()
    done = run_with(half, trials, "--complete-days", "--dry-run")
    assert (done.code, trials.started) == (0, 0)
    assert done.last == "a dry run, nothing was made; half-made days: 2"


def test_a_day_that_fails_does_not_keep_the_next_one_from_being_made(half: Account) -> None:
    trials = Trials(DAMAGED, SUCCEEDED)
    done = run_with(half, trials, "--complete-days", answer="yes\n")
    assert (done.code, trials.started) == (1, 2)
    assert f"{DAY}: failed with StorageError: no S3" in done.out
    assert "1 of 2 days could not be made" in done.err


def test_nor_does_a_day_that_never_ends(half: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.half_made.LONGEST_S", -1.0)
    done = run_with(half, Trials(("RUNNING", "", ""), SUCCEEDED), "--complete-days", answer="yes\n")
    assert done.code == 1
    assert f"the piece of {DAY} is not finished" in done.out and f"{LATER}: made" in done.out


def test_where_all_days_are_whole_it_says_so(made: Account) -> None:
    done = run_with(made, Trials(), "--complete-days")
    assert (done.code, done.last) == (0, "no day is half-made")


def test_where_nothing_is_deployed_it_says_so(empty: Account) -> None:
    done = run_with(empty, Trials(), "--complete-days")
    assert done.code == 1
    assert f"--complete-days: there is no installation {NAME} here" in done.err


def test_a_day_is_half_made_without_its_record_alone() -> None:
    keys = {name: archive_keys("2026-01-01")[name] for name in ("archive", "tokens", "record")}
    assert half_made([]) == half_made(keys.values()) == half_made([keys["record"]]) == []
    assert half_made([keys["archive"]]) == half_made([keys["tokens"]]) == ["2026-01-01"]
    assert half_made(archive_keys("2026-01-01", trial=True).values()) == []
    assert half_made(archive_keys("2026-02-30").values()) == []
    assert half_made([archive_keys("2026-02-30")["archive"]]) == []
