"""--rebuild-site, and the rebuild that ends a deployment: a stand-in runs the executions."""

from __future__ import annotations

import json

import pytest

from deploy import execution
from deploy.rebuild import EVENT
from deploy.trial import EVENT as TRIAL
from tests.deploy.deployer import NAME, Account
from tests.deploy.test_real_account import BROKEN, SUCCEEDED, Trials, run_with

REBUILT = [{"rebuild_site": True}]
RUNNING = ("RUNNING", "", "")
DAMAGED = ("FAILED", "StorageError", json.dumps({"errorMessage": "no S3", "stackTrace": ["x"]}))
OUT = ("TIMED_OUT", "", "")


def test_a_rebuild_is_one_execution_that_is_waited_for(made: Account) -> None:
    trials = Trials(RUNNING, RUNNING, SUCCEEDED)
    before = made.state()
    done = run_with(made, trials, "--rebuild-site")
    assert done.code == 0, done.err
    assert trials.events == REBUILT == [EVENT]
    assert done.last.startswith("site: rebuilt, in ")
    assert made.state() == before


def test_a_long_one_is_told_of_now_and_then(made: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = Trials(*[RUNNING] * 3, SUCCEEDED)
    monkeypatch.setattr(execution, "TOLD_EVERY_S", -1.0)
    done = run_with(made, trials, "--rebuild-site")
    assert sum("rebuilding the site: at work for" in line for line in done.lines) == 3


def test_a_failed_one_is_told_with_its_message_and_the_way_out(made: Account) -> None:
    for end, words in ((DAMAGED, "StorageError: no S3\n"), (OUT, "TIMED_OUT: \n")):
        done = run_with(made, Trials(end), "--rebuild-site")
        assert done.code == 1
        assert f"rebuilding the site failed with {words}" in done.err
        assert "stackTrace" not in done.err
        assert "'./deploy.sh --rebuild-site' tries again" in done.err


def test_where_nothing_is_deployed_there_is_nothing_to_rebuild(empty: Account) -> None:
    trials = Trials()
    done = run_with(empty, trials, "--rebuild-site")
    assert (done.code, trials.started) == (1, 0)
    assert f"there is no installation {NAME} here" in done.err


def test_a_dry_run_starts_nothing(made: Account) -> None:
    trials = Trials()
    done = run_with(made, trials, "--rebuild-site", "--dry-run")
    assert (done.code, trials.started) == (0, 0)
    assert done.last == "a dry run, nothing was rebuilt"


def test_a_deployment_with_a_site_ends_with_a_rebuild_which_is_remembered(empty: Account) -> None:
    trials = Trials(SUCCEEDED, DAMAGED)
    done = run_with(empty, trials, "--site")
    assert (done.code, trials.events) == (1, [TRIAL, EVENT])
    assert "rebuilding the site failed" in done.err
    trials = Trials(SUCCEEDED, SUCCEEDED)
    done = run_with(empty, trials)
    assert (done.code, done.last, trials.events) == (0, "changes: 0", [TRIAL, EVENT])
    trials = Trials()
    assert run_with(empty, trials).code == 0
    assert trials.started == 0
    # Without a site, or where no piece can be made, nothing is rebuilt.
    trials = Trials(BROKEN)
    assert run_with(empty, trials, "--memory", "2048").code == 1
    trials = Trials(SUCCEEDED)
    assert run_with(empty, trials, "--no-site").code == 0
    assert trials.events == [TRIAL]
