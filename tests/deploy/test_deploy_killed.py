"""A deploy.sh that was killed completes when it is run again, wherever it was killed."""

from __future__ import annotations

from pathlib import Path

from tests.deploy.account import difference
from tests.deploy.kill_at_every_step import LOCK, chain, site, undisturbed


def test_killed_after_a_write_of_each_kind_it_completes(
    tmp_path: Path, bundle_dir_without_model: Path
) -> None:
    with site(tmp_path, bundle_dir_without_model) as at:
        wanted, writes = undisturbed(at)
        state, killed = chain(at, each_operation=True)
    assert difference(wanted, state) == []
    operations = {call.command for call in writes if LOCK not in " ".join(call.arguments)}
    assert sorted(killed) == sorted(operations)
