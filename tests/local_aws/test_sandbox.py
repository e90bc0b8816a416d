"""The init phase of a sandbox, with a limit short enough to wait for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from local_aws.host import Host, namespaces_work
from local_aws.sandbox import Function, Sandbox

MakeSandbox = Callable[[str], Sandbox]


@pytest.fixture
def make(runtime_dir: Path, tmp_path: Path) -> Iterator[MakeSandbox]:
    made: list[Sandbox] = []
    with ThreadPoolExecutor(1) as spawner:
        host = Host(runtime_dir, tmp_path, False, spawner)
        host = Host(runtime_dir, tmp_path, namespaces_work(host), spawner)

        def make_one(source: str) -> Sandbox:
            task, opt = tmp_path / "task", tmp_path / "opt"
            task.mkdir()
            opt.mkdir()
            (task / "main.py").write_text(source)
            function = Function(
                name="slow",
                arn="arn:aws:lambda:us-east-1:123456789012:function:slow",
                handler="main.handler",
                timeout_s=3,
                memory_mb=256,
                tmp_mb=16,
                environment={"MARK": str(tmp_path / "mark")},
                task_dir=task,
                opt_dir=opt,
            )
            made.append(Sandbox(function, host, {}, lambda line: None, init_limit_s=1))
            return made[-1]

        yield make_one
        for sandbox in made:
            if sandbox.alive:
                sandbox.close()


def test_init_over_the_limit_is_repeated_on_the_functions_time(make: MakeSandbox) -> None:
    sandbox = make("import time\ntime.sleep(1.3)\ndef handler(event, context): return 'done'")

    outcome = sandbox.invoke(b"{}")

    assert (json.loads(outcome.payload), outcome.failed) == ("done", False)
    assert any(line.startswith("INIT_REPORT") for _, line in outcome.lines)


def test_init_that_never_ends_times_out(make: MakeSandbox) -> None:
    sandbox = make("import time\ntime.sleep(60)\ndef handler(event, context): return 'done'")

    outcome = sandbox.invoke(b"{}")

    assert json.loads(outcome.payload)["errorType"] == "Sandbox.Timedout"
    assert not sandbox.alive


def test_closing_ends_a_call_that_is_under_way(make: MakeSandbox) -> None:
    sandbox = make("import time\ndef handler(event, context): time.sleep(60)")
    with ThreadPoolExecutor(1) as caller:
        call = caller.submit(sandbox.invoke, b"{}")
        while sandbox._cold:
            assert not call.done()
        sandbox.close()

        assert json.loads(call.result(timeout=5).payload)["errorType"] == "Runtime.ExitError"
