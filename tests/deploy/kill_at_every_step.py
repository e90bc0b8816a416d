"""deploy.sh killed at its writes, then run again.

    python -m tests.deploy.kill_at_every_step [FIRST [LAST]]

prints a line for each write, before and after it: what a second run made of the account, compared
with one where nothing was killed. Minutes, hence not among the tests; `chain` is what
test_deploy_killed.py does instead. A kill is an exception after which no call reaches AWS.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.deploy.account import difference, lasting
from tests.deploy.deployer import ROOT, Account, Call, Hooks, account, make_tree

LONGEST_CHAIN = 120


Prepare = Callable[[Account], tuple[str, ...]]


def nothing(_: Account) -> tuple[str, ...]:
    """The account is empty, and there are no options."""
    return ()


def undisturbed(root: Path, prepare: Prepare = nothing) -> tuple[Any, list[Call]]:
    """What one whole deployment makes of an account, and its writes. `prepare` makes the account
    what it is before, and returns the options.
    """
    hooks = Hooks()
    with account(root) as at:
        at.deploy(*prepare(at), hooks=hooks)
        return lasting(at.state()), hooks.writes()


def chain(root: Path, prepare: Prepare = nothing) -> tuple[Any, list[str]]:
    """Runs that each continue the one before, killed right after the first write of an operation at
    which none was killed before, until one ends by itself. Returns what they made of the account,
    and where they were killed.
    """
    seen: list[str] = []
    with account(root) as at:
        options = prepare(at)
        while len(seen) < LONGEST_CHAIN:
            hooks = Hooks(kill=lambda call: call.operation not in seen, after=True, in_turn=True)
            if not at.killed(hooks, *options):
                assert hooks.writes() == [], f"all was written, and again, after {seen}"
                return lasting(at.state()), seen
            new = [call.operation for call in hooks.writes() if call.operation not in seen]
            seen.append(new[0])
    raise AssertionError(f"no end after {seen}")


def once(root: Path, write: int, *, after: bool) -> tuple[Any, str]:
    """A run killed at its `write`-th write, and a whole one. Returns what they made of the account,
    and the operation at which the first was killed ("" if it was not).
    """
    count = iter(range(1, 1000))
    hooks = Hooks(kill=lambda _: next(count) == write, after=after)
    with account(root) as at:
        killed = at.killed(hooks)
        at.deploy()
        return lasting(at.state()), hooks.writes()[write - 1].operation if killed else ""


def main() -> int:
    """Exit status: how many kills the next run did not make good."""
    bad = 0
    with tempfile.TemporaryDirectory() as directory:
        root = make_tree(Path(directory) / "tree", ROOT / "layers/model")
        wanted, writes = undisturbed(root)
        first, last = [*map(int, sys.argv[1:3]), *[1, len(writes)][len(sys.argv[1:3]) :]]
        print(f"{len(writes)} writes\n  k  killed at                                   seconds")
        for write in range(first, last + 1):
            for after in (False, True):
                started = time.monotonic()
                state, operation = once(root, write, after=after)
                lines = difference(wanted, state)
                bad += bool(lines or not operation)
                where = f"{'after' if after else 'before'} {operation or 'nothing'}"
                seconds = time.monotonic() - started
                print(f"{write:3}  {where:44} {seconds:6.1f}", *lines, sep="\n       ", flush=True)
        print(f"{2 * (last - first + 1) - bad} of {2 * (last - first + 1)} complete")
    return min(bad, 100)


if __name__ == "__main__":
    sys.exit(main())
