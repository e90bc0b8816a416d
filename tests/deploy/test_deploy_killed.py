"""A deploy.sh that was killed completes when it is run again, wherever it was killed."""

from __future__ import annotations

from pathlib import Path

from tests.deploy.account import difference
from tests.deploy.deployer import make_tree
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
