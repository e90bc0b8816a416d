"""The short bench: every fault of its rows is survived or healed, and every refusal has a name."""

from __future__ import annotations

import json
import subprocess
import sys


def test_the_short_bench_loses_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["wrong"] == [], done.stdout
    assert result["table"] == {"injected": 10, "survived": 7, "healed": 3, "lost": 0}
    # Of its four days one has a lasting fault before the first write, one between two writes.
    assert result["year"] == {"days": 4, "failed": 2, "lost": 1, "incomplete": 0}
    for name, border in result["borders"].items():
        assert border["unnamed"] == [], name
        assert border["cases"] >= 2 and border["slowest_s"] < 2, name
        assert border["peak_mb"] < 512, name
