"""deploy.sh killed (SIGKILL, its whole process group) at its writes, then run again.

    python -m tests.deploy.kill_at_every_step [FIRST [LAST]]

prints a line for each write, before and after it: what a second run made of the account, compared
with one where nothing was killed. A quarter of an hour, hence not among the tests; `chain` is what
test_deploy_killed.py does instead. Knows of deploy.sh that it calls `aws`, and its lock.
"""

from __future__ import annotations

import re
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from local_aws.runtime import ensure_runtime
from local_aws.server import LocalAws
from tests.deploy.account import difference, lasting, snapshot
from tests.deploy.aws_cli import Call, FastAws, Kill
from tests.deploy.deploy_tree import ROOT, Tree, client_env, make_tree

ENDPOINT = "https://aws.test"  # with TLS, as far as deploy.sh can see
OPTIONS = ("--no-smoke",)
LOCK = "deploy.lock"  # written by every run, and left by one that is killed
LONGEST_CHAIN = 120


@dataclass(frozen=True)
class Site:
    """A tree whose layers are built once, and accounts for it, one after the other."""

    tree: Tree
    fast: FastAws
    port: int

    @contextmanager
    def account(self) -> Iterator[tuple[LocalAws, Tree]]:
        """An empty account, and the tree to deploy to it."""
        with LocalAws(ensure_runtime(ROOT / ".cache"), port=self.port) as aws:
            env = {**self.tree.env, **aws.env, "AWS_ENDPOINT_URL": ENDPOINT}
            self.fast.watch()
            yield aws, replace(self.tree, env=env)


@contextmanager
def site(directory: Path, bundle: Path) -> Iterator[Site]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with FastAws({ENDPOINT: f"http://127.0.0.1:{port}"}) as fast:
        env = client_env()
        env["PATH"] = fast.path(env["PATH"])
        yield Site(make_tree(directory / "tree", bundle, env), fast, port)


def undisturbed(site: Site) -> tuple[Any, list[Call]]:
    """What one whole deployment makes of an empty account, and its writes."""
    with site.account() as (aws, tree):
        done = tree.deploy(*OPTIONS)
        assert done.returncode == 0, done.stdout + done.stderr
        return lasting(snapshot(aws.client)), site.fast.writes()


def chain(site: Site, *, each_operation: bool = False) -> tuple[Any, list[str]]:
    """Runs that each continue the one before, killed right after the first write at which none
    was killed before (with `each_operation`: its first of that operation, whatever it made), until
    one ends by itself. Returns what they made of the account, and where they were killed.
    """
    seen: list[str] = [LOCK]
    commands: list[str] = []
    with site.account() as (aws, tree):
        while len(commands) < LONGEST_CHAIN:
            site.fast.watch(kill=Kill(1, after=True, spare="|".join(seen)))
            done = tree.deploy(*OPTIONS)
            writes = [call for call in site.fast.writes() if LOCK not in " ".join(call.arguments)]
            if done.returncode != -signal.SIGKILL:
                said = f"after {commands}: {done.stdout}{done.stderr}"
                assert done.returncode == 0, said
                assert writes == [], f"all was written, and again: {said}"
                return lasting(snapshot(aws.client)), commands
            seen.append(_same(writes[-1], each_operation=each_operation))
            commands.append(writes[-1].command)
    raise AssertionError(f"no end after {commands}")


def _same(call: Call, *, each_operation: bool) -> str:
    """A pattern of the calls that do the same."""
    if each_operation:
        return f"(^| ){call.command} "
    everything = re.escape(" ".join(call.arguments))
    return re.sub(r"/[^ ]*tmp\\\.\w+", r"/[^ ]*", everything) + "$"  # another temporary directory


def once(site: Site, kill: Kill) -> tuple[Any, str, int]:
    """One killed run and a whole one. Returns what they made of the account, the command at which
    the first was killed ("" if it was not), and the exit code of the second.
    """
    with site.account() as (aws, tree):
        site.fast.watch(kill=kill)
        killed = tree.deploy(*OPTIONS).returncode == -signal.SIGKILL
        command = site.fast.writes()[-1].command if killed else ""
        site.fast.watch()
        done = tree.deploy(*OPTIONS)
        if done.returncode:
            print(done.stdout, done.stderr, sep="\n")
        return lasting(snapshot(aws.client)), command, done.returncode


def main() -> int:
    """Exit status: how many kills the next run did not make good."""
    bad = 0
    with (
        tempfile.TemporaryDirectory() as directory,
        site(Path(directory), ROOT / "layers/model") as at,
    ):
        wanted, writes = undisturbed(at)
        first, last = [*map(int, sys.argv[1:3]), *[1, len(writes)][len(sys.argv[1:3]) :]]
        print(
            f"{len(writes)} writes\n  k  killed at                                   seconds  exit"
        )
        for write in range(first, last + 1):
            for after in (False, True):
                started = time.monotonic()
                state, command, code = once(at, Kill(write, after))
                lines = difference(wanted, state)
                bad += bool(code or lines)
                where = f"{'after' if after else 'before'} {command or 'nothing'}"
                seconds = time.monotonic() - started
                print(
                    f"{write:3}  {where:44} {seconds:6.1f}  {code:4}",
                    *lines,
                    sep="\n       ",
                    flush=True,
                )
    return min(bad, 100)


if __name__ == "__main__":
    sys.exit(main())
