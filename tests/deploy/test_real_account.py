"""What a real account does differently from the embedded one, a test for each: the answers that AWS
gives are put in by botocore's event hooks.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from moto.iam.models import iam_backends

from deploy.options import first_runtime
from deploy.place import ROLES, Place
from tests.deploy.account import difference, lasting, what_is_left
from tests.deploy.deployer import (
    ACCOUNT,
    FUNCTIONS,
    MUSIC,
    NAME,
    REGION,
    ROOT,
    RUNTIME,
    Account,
    Hooks,
)

ROLE = f"{NAME}-{REGION}-generate-tokens"
OTHER_RUNTIME = "python3.13" if RUNTIME != "python3.13" else "python3.12"
OTHER_ACCOUNT = "222222222222"


class Trials:
    """Stands in for the executions of trial pieces, which the tree's functions could not make."""

    def __init__(self, *ends: tuple[str, str, str]) -> None:
        """`ends`: status, error and cause of one execution after the other."""
        self._ends, self.events = iter(ends), list[Any]()

    @property
    def started(self) -> int:
        return len(self.events)

    def register(self, session: Any) -> None:
        session.events.register("before-call.sfn.StartExecution", self._start)
        session.events.register("before-call.sfn.DescribeExecution", self._describe)

    def _start(self, params: Any, **_: Any) -> Any:
        self.events.append(json.loads(json.loads(params["body"])["input"]))
        return _ok({"executionArn": f"arn:aws:states:::execution:{NAME}:trial"})

    def _describe(self, **_: Any) -> Any:
        status, error, cause = next(self._ends)
        if status == "unknown":
            refusal = {"Error": {"Code": "ExecutionDoesNotExist", "Message": cause}}
            return type("Http", (), {"status_code": 400})(), refusal | {"ResponseMetadata": {}}
        return _ok({"status": status, "error": error, "cause": cause})


def _ok(answer: dict[str, Any]) -> Any:
    return type("Http", (), {"status_code": 200})(), answer | {"ResponseMetadata": {}}


def run_with(at: Account, trials: Trials, *options: str, answer: str = "") -> Any:
    hooks = Hooks()
    register = hooks.register

    def both(session: Any) -> None:
        trials.register(session)  # first: its answers stand
        register(session)

    hooks.register = both  # type: ignore[method-assign]
    return at.run(*options, hooks=hooks, smoke=True, answer=answer)


SUCCEEDED = ("SUCCEEDED", "", "")
DENIED = ("FAILED", "AccessError", json.dumps({"errorMessage": "S3 refuses", "stackTrace": ["x"]}))
BROKEN = ("FAILED", "PieceError", json.dumps({"errorMessage": "no notes", "stackTrace": ["x"]}))


def test_a_named_profile_wins_over_exported_keys_and_the_identity_is_told_first(
    empty: Account, tmp_path: Path
) -> None:
    """Keys of one account are exported, the profile is of another: only that one is changed."""
    backend = iam_backends[OTHER_ACCOUNT]["aws"]
    backend.create_user("us-east-1", "other")
    allow = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    backend.put_user_policy("other", "everything", document)
    key = backend.create_access_key("other", "AKIA")
    config = tmp_path / "config"
    config.write_text(
        f"[default]\n[profile other]\naws_access_key_id = {key.access_key_id}\n"
        f"aws_secret_access_key = {key.secret_access_key}\n"
    )
    before = empty.state()
    options = ("--profile", "other")
    for action, answer in (((), ""), (("--destroy", "--delete-music"), f"{NAME}\n")):
        hooks = Hooks()
        done = empty.run(
            *options, *action, answer=answer, hooks=hooks, env={"AWS_CONFIG_FILE": str(config)}
        )
        assert done.code == 0, done.err
        assert (
            f"account {OTHER_ACCOUNT}, region us-east-1, as arn:aws:iam::{OTHER_ACCOUNT}:user"
            in (done.lines[0])
        )
        assert f"{NAME}-music-{OTHER_ACCOUNT}-{REGION}" in done.out
        assert len(hooks.writes()) > 20
        assert hooks.calls[0].operation == "sts GetCallerIdentity"
        assert difference(before, empty.state()) == []


@pytest.mark.parametrize("first_away", ["us-east-1", "eu-central-1"])
def test_two_regions_with_one_name_never_touch_each_other(empty: Account, first_away: str) -> None:
    regions = ["us-east-1", "eu-central-1"]
    iam, watch = empty.aws.client("iam"), empty.aws.client("cloudwatch")

    def global_things() -> set[str]:
        roles = {role["RoleName"] for role in iam.list_roles()["Roles"]}
        return roles | {d["DashboardName"] for d in watch.list_dashboards()["DashboardEntries"]}

    for region in regions:
        empty.deploy("--region", region)
    for region in regions:
        assert empty.deploy("--region", region)[-1] == "changes: 0"
    # Dashboards are of the whole account, which moto does not know.
    assert len({Place(NAME, ACCOUNT, region).dashboard for region in regions}) == 2
    of_region = {r: {name for name in global_things() if f"-{r}" in name} for r in regions}
    assert all(len(names) >= 4 for names in of_region.values())
    (other,) = {*regions} - {first_away}
    away = ("--destroy", "--delete-music", "--region")
    empty.deploy(*away, first_away, answer=f"{NAME}\n")
    assert empty.deploy("--region", other)[-1] == "changes: 0"
    assert of_region[other] <= global_things()
    empty.deploy(*away, other, answer=f"{NAME}\n")
    assert what_is_left(empty.aws.client, NAME) == []


def test_a_function_whose_role_was_made_anew_is_made_anew(empty: Account) -> None:
    empty.deploy("--memory", "3008")
    before = lasting(empty.state())
    iam = empty.aws.client("iam")
    iam.delete_role_policy(RoleName=ROLE, PolicyName="least-privilege")
    iam.delete_role(RoleName=ROLE)
    # Killed when it has made the role, and not the function: the next run sees it, too. Killed when
    # it has deleted the function: the settings are those of the other.
    for after in (False, True):
        hooks = Hooks(kill=lambda call: call.operation == "lambda DeleteFunction", after=after)
        assert empty.killed(hooks)
    assert f"function {FUNCTIONS[0]}: created" in empty.deploy()
    iam.delete_role_policy(RoleName=ROLE, PolicyName="least-privilege")
    iam.delete_role(RoleName=ROLE)
    lines = empty.deploy()
    assert f"function {FUNCTIONS[0]}: deleted and created again, since its role was" in lines
    assert not any(FUNCTIONS[1] in line for line in lines if line.endswith("was"))
    changed = [line for line in difference(before, lasting(empty.state())) if "role-id" not in line]
    assert changed == []
    assert empty.deploy()[-1] == "changes: 0"


def test_new_permissions_that_are_not_known_everywhere_are_waited_for(empty: Account) -> None:
    trials = Trials(DENIED, DENIED, SUCCEEDED)
    done = run_with(empty, trials)
    assert (done.code, trials.started) == (0, 3), done.err
    assert "the trial piece is tried again" in done.out
    # Without a change of a role, the same error ends the run.
    trials = Trials(DENIED)
    done = run_with(empty, trials, "--memory", "2048")
    assert (done.code, trials.started) == (1, 1)


def test_a_failed_trial_is_remembered_and_its_message_is_short(empty: Account) -> None:
    done = run_with(empty, Trials(BROKEN))
    assert done.code == 1
    assert "the trial piece failed with PieceError: no notes\n" in done.err
    assert "stackTrace" not in done.err
    assert "--rollback" not in done.err, "there is no model before"
    for _ in range(2):
        done = run_with(empty, Trials(BROKEN))
        assert (done.code, "PieceError" in done.err) == (1, True)
    done = run_with(empty, Trials(SUCCEEDED))
    assert (done.code, done.last) == (0, "changes: 0")
    assert "trial piece: composed and deleted" in done.out
    done = run_with(empty, Trials())
    assert "nothing changed, so no trial piece" in done.out
    done = run_with(empty, Trials(BROKEN), "--bundle", empty.retrain("worse"))
    assert "'./deploy.sh --rollback' goes back to the model before" in done.err


def test_a_run_that_was_killed_after_its_last_write_is_followed_by_a_trial(
    empty: Account,
) -> None:
    at_the_end = Hooks(kill=lambda call: call.operation == "scheduler CreateSchedule", after=True)
    assert empty.killed(at_the_end, smoke=True)
    trials = Trials(SUCCEEDED)
    done = run_with(empty, trials)
    assert (done.code, done.last, trials.started) == (0, "changes: 0", 1)


def test_an_execution_that_is_not_known_yet_is_waited_for(empty: Account) -> None:
    unknown = ("unknown", "", "Execution Does Not Exist")
    done = run_with(empty, Trials(unknown, unknown, ("RUNNING", "", ""), SUCCEEDED))
    assert done.code == 0, done.err


SCHEDULES = {
    "cron(0 6 * * ? *)": 36,
    "rate(12 hours)": 24,
    "rate(5 minutes)": 13,
    "cron(0 6 ? * MON-FRI *)": 84,
    "cron(0 6 ? * MON *)": None,
    "rate(6 days)": 156,
    "rate(7 days)": None,
    "at(2030-01-01T00:00:00)": None,
}


def test_the_alarm_for_missing_pieces_suits_the_schedule(made: Account) -> None:
    watch = made.aws.client("cloudwatch")
    for schedule, hours in SCHEDULES.items():
        made.deploy("--schedule", schedule)
        found = watch.describe_alarms(AlarmNames=[f"{NAME}-no-piece"])["MetricAlarms"]
        body = watch.get_dashboard(DashboardName=f"{NAME}-{REGION}")["DashboardBody"]
        assert ("no-piece" in body) == (hours is not None), schedule
        assert len(found) == (hours is not None), schedule
        for alarm in found:
            assert [alarm["EvaluationPeriods"], alarm["DatapointsToAlarm"]] == [hours, hours]
            assert alarm["Period"] * hours <= 7 * 24 * 3600
            assert f"for {hours} hours" in alarm["AlarmDescription"]
    assert made.deploy()[-1] == "changes: 0"


def test_tags_of_others_on_the_buckets_stay(made: Account) -> None:
    s3 = made.aws.client("s3")
    tags = s3.get_bucket_tagging(Bucket=MUSIC)["TagSet"]
    foreign = {"Key": "cost-center", "Value": "7"}
    s3.put_bucket_tagging(Bucket=MUSIC, Tagging={"TagSet": [*tags, foreign]})
    assert made.deploy()[-1] == "changes: 0"
    s3.put_bucket_tagging(Bucket=MUSIC, Tagging={"TagSet": [foreign, tags[0]]})
    assert made.deploy()[-1] == "changes: 1"
    now = {tag["Key"] for tag in s3.get_bucket_tagging(Bucket=MUSIC)["TagSet"]}
    assert now == {"cost-center", "installation", "project"}


def test_a_boundary_that_was_given_once_is_kept_and_can_be_changed(empty: Account) -> None:
    iam = empty.aws.client("iam")
    document = (ROOT / "deploy" / "boundary.json").read_text()
    arns = [
        iam.create_policy(PolicyName=name, PolicyDocument=document)["Policy"]["Arn"]
        for name in ("one", "two")
    ]
    empty.deploy("--permissions-boundary", arns[0])
    for kind in ROLES:
        role = f"{NAME}-{REGION}-{kind}"
        iam.delete_role_policy(RoleName=role, PolicyName="least-privilege")
        iam.delete_role(RoleName=role)
        empty.deploy()
        made_again = iam.get_role(RoleName=role)["Role"]
        assert made_again["PermissionsBoundary"]["PermissionsBoundaryArn"] == arns[0]
    for arn in arns:
        empty.deploy("--permissions-boundary", arn)
        roles = [
            iam.get_role(RoleName=role["RoleName"])["Role"] for role in iam.list_roles()["Roles"]
        ]
        bounds = {role["PermissionsBoundary"]["PermissionsBoundaryArn"] for role in roles}
        assert bounds == {arn}
    assert empty.deploy()[-1] == "changes: 0"


def test_tags_that_lambda_keeps_back_are_no_reason_to_make_a_function_anew(made: Account) -> None:
    class Untold(Hooks):
        def register(self, session: Any) -> None:
            super().register(session)
            session.events.register("after-call.lambda.GetFunction", self._hide)

        def _hide(self, parsed: Any, **_: Any) -> None:
            parsed.pop("Tags", None)
            text = "User: x is not authorized to perform: lambda:ListTags on resource: y"
            parsed["TagsError"] = {"ErrorCode": "AccessDeniedException", "Message": text}

    hooks = Untold()
    done = made.run(hooks=hooks)
    assert (done.code, hooks.writes()) == (1, [])
    assert "not allowed to call lambda:ListTags" in done.err


def test_the_runtime_stays_as_it_was_deployed(
    made: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert made.deploy("--runtime", OTHER_RUNTIME)[-1] != "changes: 0"
    done = made.run("--dry-run", runtime="")
    assert done.last.endswith("changes: 0")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    assert [first_runtime(f"python3.{minor}") for minor in (11, 12, 14, 15)] == [
        *("python3.13", "python3.12", "python3.14", "python3.13")
    ]
