"""The functions' runtime is built once, and never half."""

from __future__ import annotations

from pathlib import Path

import pytest

from local_aws import runtime
from local_aws.runtime import RuntimeBuildError, ensure_runtime


@pytest.fixture
def requirements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Requirements that need no network: none."""
    file = tmp_path / "requirements.txt"
    file.write_text("# nothing\n")
    monkeypatch.setattr(runtime, "REQUIREMENTS", file)
    return file


def test_second_call_finds_the_first_ones(requirements: Path, tmp_path: Path) -> None:
    first = ensure_runtime(tmp_path / "cache")
    (first / "mark").touch()

    assert ensure_runtime(tmp_path / "cache") == first
    assert (first / "mark").exists()


def test_other_pins_are_another_directory(requirements: Path, tmp_path: Path) -> None:
    first = ensure_runtime(tmp_path / "cache")
    requirements.write_text("# nothing else\n")

    assert ensure_runtime(tmp_path / "cache") != first


def test_failure_names_the_pins_and_leaves_nothing(requirements: Path, tmp_path: Path) -> None:
    requirements.write_text(f"{tmp_path}/no-such-package\n")

    with pytest.raises(RuntimeBuildError, match=r"(?s)requirements\.txt.*no-such-package"):
        ensure_runtime(tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["lambda-runtime.lock"]


def test_what_an_interruption_left_is_cleared(requirements: Path, tmp_path: Path) -> None:
    left_over = tmp_path / "cache" / "lambda-runtime-building-x"
    left_over.mkdir(parents=True)

    ensure_runtime(tmp_path / "cache")

    assert not left_over.exists()


def test_runtime_holds_compiled_modules(runtime_dir: Path) -> None:
    compiled = list((runtime_dir / "boto3" / "__pycache__").glob("session.*.pyc"))
    assert compiled
    assert b"/var/runtime/boto3/session.py" in compiled[0].read_bytes()
