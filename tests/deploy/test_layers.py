"""pack.py and layers.py: the same bytes twice, nothing built twice or by half, hashes checked."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from deploy import layers
from deploy.errors import DeployError
from deploy.pack import pack
from tests.deploy.deployer import ROOT, RUNTIME, make_wheel

OTHER_RUNTIME = "python3.13" if RUNTIME != "python3.13" else "python3.12"


def build(
    folder: Path, out: Path, runtime: str = RUNTIME, arch: str = "x86_64"
) -> tuple[Path, list[str]]:
    """The layer's zip, and what was said."""
    said: list[str] = []
    return layers.build(folder, runtime, arch, out, said.append).path, said


@pytest.fixture
def function(tmp_path: Path) -> Path:
    """A function's folder whose layer holds one tiny package."""
    folder = tmp_path / "function"
    folder.mkdir()
    (folder / "requirements.lock").write_text(make_wheel(tmp_path))
    return folder


def test_the_same_files_give_the_same_bytes_whenever_they_were_written(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "one.py").write_text("1")
        (tmp_path / name / "two.txt").write_text("2")
    os.utime(tmp_path / "b" / "one.py", (0, 0))
    facts = [pack(tmp_path / f"{name}.zip", {"x": tmp_path / name}) for name in "ab"]
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert facts[0] == replace(facts[1], path=facts[0].path)
    assert facts[0].unzipped_bytes == 2


def test_content_and_names_alone_decide_the_digest(tmp_path: Path) -> None:
    source = tmp_path / "one.py"
    source.write_text("1" * 1000)
    first = pack(tmp_path / "a.zip", {"one.py": source})
    stored = pack(tmp_path / "a.zip", {"one.py": source}, stored=True)
    renamed = pack(tmp_path / "a.zip", {"two.py": source})
    assert first.content_sha256 == stored.content_sha256
    assert first.zip_sha256_base64 != stored.zip_sha256_base64
    assert first.content_sha256 != renamed.content_sha256


def test_the_digest_tells_whether_there_is_bytecode_but_not_which_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "one.py").write_text("1")
    digests = [pack(tmp_path / "a.zip", {"x": folder}).content_sha256]
    for content in (b"1", b"2"):
        (folder / "one.cpython-313.pyc").write_bytes(content)
        digests.append(pack(tmp_path / "a.zip", {"x": folder}).content_sha256)
    assert digests[0] != digests[1]
    assert digests[1] == digests[2]


def test_a_missing_file_leaves_the_old_archive(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"old")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        pack(tmp_path / "a.zip", {"x": tmp_path / "nowhere"})
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_layer_holds_the_package_compiled_and_without_its_tests(
    function: Path, tmp_path: Path
) -> None:
    packed = layers.build(function, RUNTIME, "x86_64", tmp_path / "build")
    names = zipfile.ZipFile(packed.path).namelist()
    assert "python/tiny.py" in names
    assert "python/tiny-1.0.dist-info/METADATA" in names
    assert any(name.startswith("python/__pycache__/tiny.") for name in names)
    assert not any("test_tiny" in name for name in names)
    assert packed.unzipped_bytes > 0


def command(folder: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that is found before the machine's."""
    folder.mkdir()
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_without_the_runtimes_python_there_is_no_bytecode_and_a_word_about_it(
    function: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What pyenv leaves on PATH for a version that is not in use.
    command(tmp_path / "bin", OTHER_RUNTIME, "exit 127", monkeypatch)
    path, said = build(function, tmp_path / "build", OTHER_RUNTIME)
    assert f"there is no {OTHER_RUNTIME} here" in " ".join(said)
    assert not [name for name in zipfile.ZipFile(path).namelist() if "pyc" in name]


def test_the_runtimes_python_compiles_when_it_is_not_the_one_that_builds(
    function: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    says_its_version = f'[ "$1" = -c ] && echo {OTHER_RUNTIME} || exec {sys.executable} "$@"'
    command(tmp_path / "bin", OTHER_RUNTIME, says_its_version, monkeypatch)
    path, said = build(function, tmp_path / "build", OTHER_RUNTIME)
    assert "there is no" not in " ".join(said)
    assert [name for name in zipfile.ZipFile(path).namelist() if "pyc" in name]


def test_a_stand_in_is_in_the_layer_and_its_change_builds_anew(
    function: Path, tmp_path: Path
) -> None:
    stand_in = function / "stand_ins" / "absent.py"
    stand_in.parent.mkdir()
    for content in ("value = 1\n", "value = 2\n"):
        stand_in.write_text(content)
        path, said = build(function, tmp_path / "build")
        assert "built the layer" in said[-1]
        assert zipfile.ZipFile(path).read("python/absent.py").decode() == content


def test_a_stand_in_for_what_is_listed_is_refused(function: Path, tmp_path: Path) -> None:
    (function / "stand_ins").mkdir()
    (function / "stand_ins" / "tiny.py").write_text("")
    with pytest.raises(DeployError, match="stands in for"):
        build(function, tmp_path / "build")


def test_an_unchanged_layer_is_not_built_again(function: Path, tmp_path: Path) -> None:
    out = tmp_path / "build"
    assert "built the layer" in build(function, out)[1][-1]
    assert build(function, out)[1] == []
    assert "built the layer" in build(function, out, arch="arm64")[1][-1]
    lock = function / "requirements.lock"
    lock.write_text(lock.read_text() + "# a change\n")
    assert "built the layer" in build(function, out)[1][-1]


def test_when_pip_fails_the_layer_stays_and_the_way_out_is_named(
    function: Path, tmp_path: Path
) -> None:
    out = tmp_path / "build"
    path, _ = build(function, out)
    before = path.read_bytes()
    lock = function / "requirements.lock"
    good = lock.read_text()
    for bad in (
        good.replace("tiny-1.0", "gone-1.0"),
        re.sub("sha256:.*", f"sha256:{'0' * 64}", good),  # a wheel that somebody changed
        good.partition(" --hash")[0],  # no hash at all
    ):
        lock.write_text(bad)
        with pytest.raises(DeployError, match="pip could not install"):
            build(function, out)
        assert path.read_bytes() == before
        assert not list(out.glob("stage.*"))


def test_wheels_come_from_one_index_whatever_else_pip_is_set_to(
    function: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = (function / "requirements.lock").read_text().rpartition(" ")[2]
    (function / "requirements.lock").write_text(f"tiny==1.0 {hashed}")
    wheel = next(tmp_path.glob("*.whl"))
    for index in ("here", "elsewhere"):
        (tmp_path / index / "tiny").mkdir(parents=True)
    (tmp_path / "elsewhere" / "tiny" / "index.html").write_text(f'<a href="{wheel.as_uri()}">w</a>')
    (tmp_path / "here" / "tiny" / "index.html").write_text("nothing")
    here, elsewhere = ((tmp_path / index).as_uri() for index in ("here", "elsewhere"))
    (tmp_path / "pip.conf").write_text(f"[global]\nextra-index-url = {elsewhere}\n")
    more = tmp_path / "more.txt"
    more.write_text(f"another @ {wheel.as_uri()} {hashed}")
    for name, value in {
        "PIP_CONFIG_FILE": tmp_path / "pip.conf",
        "PIP_EXTRA_INDEX_URL": elsewhere,
        "PIP_FIND_LINKS": tmp_path,
        "PIP_REQUIREMENT": more,
        "PIP_PLATFORM": "any",
        "PIP_DRY_RUN": "1",  # an empty layer
        "PIP_INDEX_URL": here,
    }.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(DeployError, match=r"No matching distribution found for tiny==1\.0"):
        build(function, tmp_path / "build")
    monkeypatch.setenv("PIP_INDEX_URL", elsewhere)  # a mirror
    path, _ = build(function, tmp_path / "build")
    assert "python/tiny.py" in zipfile.ZipFile(path).namelist()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_it_leaves_no_pip_behind(
    number: signal.Signals, function: Path, tmp_path: Path
) -> None:
    """By a signal to this process alone, as of a supervisor; of a terminal the same happens."""
    fifo = tmp_path / "tiny-1.0-py3-none-any.whl"
    fifo.unlink()
    os.mkfifo(fifo)  # at which pip waits for ever
    command = ["env", "--default-signal", sys.executable, "-m", "deploy.layers", str(function)]
    builder = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=ROOT)
    with builder, fifo.open("wb"):  # which waits until pip reads
        assert any("pip" in line for line in children_of(builder.pid))
        builder.send_signal(number)
        assert builder.wait(timeout=20) == 128 + number
    assert running_with(str(function)) == []
    assert [*(ROOT / "build").glob(f"stage.{builder.pid}.*")] == []


def children_of(pid: int) -> list[str]:
    """The command lines of the processes that a process has started."""
    listed = Path(f"/proc/{pid}/task").glob("*/children")
    pids = " ".join(path.read_text() for path in listed).split()
    return [Path(f"/proc/{child}/cmdline").read_bytes().decode() for child in pids]


def running_with(word: str) -> list[str]:
    """The command lines of running processes that have `word` in them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes().decode(errors="replace"))
    return [line for line in found if word in line]
