"""A deploy.sh that was killed completes when it is run again, wherever it was killed."""

from __future__ import annotations

from pathlib import Path

from tests.deploy.account import difference
from tests.deploy.deployer import FUNCTIONS, NAME, REGION, Account, make_tree
from tests.deploy.kill_at_every_step import chain, undisturbed


def test_killed_after_a_write_of_each_kind_it_completes(
    tmp_path: Path, bundle_dir_without_model: Path
) -> None:
    root = make_tree(tmp_path / "tree", bundle_dir_without_model)
    wanted, writes = undisturbed(root)
    state, killed = chain(root)
    assert difference(wanted, state) == []
    assert sorted(killed) == sorted({call.operation for call in writes})
    assert len(killed) > 15


def test_killed_in_an_update_it_completes_and_keeps_its_settings(
    tmp_path: Path, bundle_dir_without_model: Path
) -> None:
    """Another model and schedule, code that changed, and a role that somebody deleted."""
    root = make_tree(tmp_path / "tree", bundle_dir_without_model)

    def deployed_before(at: Account) -> tuple[str, ...]:
        (root / "music" / "more.py").unlink(missing_ok=True)
        at.deploy("--memory", "3008", "--timezone", "Asia/Tokyo")
        (root / "music" / "more.py").write_text("# more code\n")
        iam = at.aws.client("iam")
        role = f"{NAME}-{REGION}-generate-tokens"
        iam.delete_role_policy(RoleName=role, PolicyName="least-privilege")
        iam.delete_role(RoleName=role)
        return ("--bundle", at.retrain("new"), "--schedule", "rate(2 days)")

    wanted, writes = undisturbed(root, deployed_before)
    state, killed = chain(root, deployed_before)
    assert difference(wanted, state) == []
    assert sorted(killed) == sorted({call.operation for call in writes})
    assert {"lambda DeleteFunction", "lambda UpdateFunctionCode"} < {*killed}
    for name in FUNCTIONS:
        assert state["function"][name]["Configuration"]["MemorySize"] == 3008
