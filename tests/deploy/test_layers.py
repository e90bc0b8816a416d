"""pack.py and build_layer.sh: the same bytes twice, nothing built twice or by half."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from deploy.pack import pack
from tests.deploy.deploy_tree import make_wheel

ROOT = Path(__file__).parents[2]
RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"
OTHER_RUNTIME = "python3.13" if RUNTIME != "python3.13" else "python3.12"


def build(
    folder: Path, out: Path, runtime: str = RUNTIME, arch: str = "x86_64", commands: str = ""
) -> subprocess.CompletedProcess[str]:
    """`commands` is a folder whose programs are found before the machine's."""
    path = os.pathsep.join([*filter(None, [commands]), os.environ["PATH"]])
    return subprocess.run(
        [str(ROOT / "deploy" / "build_layer.sh"), str(folder), runtime, arch, str(out)],
        env={**os.environ, "PYTHON": sys.executable, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def function(tmp_path: Path) -> Path:
    """A function's folder whose layer holds one tiny package."""
    folder = tmp_path / "function"
    folder.mkdir()
    (folder / "requirements.txt").write_text(f"tiny @ {make_wheel(tmp_path).as_uri()}\n")
    return folder


def test_the_same_files_give_the_same_bytes_whenever_they_were_written(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "one.py").write_text("1")
        (tmp_path / name / "two.txt").write_text("2")
    os.utime(tmp_path / "b" / "one.py", (0, 0))
    facts = [pack(tmp_path / f"{name}.zip", [("x", tmp_path / name)]) for name in "ab"]
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert facts[0] == facts[1]
    assert facts[0]["unzipped_bytes"] == 2


def test_content_and_names_alone_decide_the_digest(tmp_path: Path) -> None:
    source = tmp_path / "one.py"
    source.write_text("1" * 1000)
    first = pack(tmp_path / "a.zip", [("one.py", source)])
    stored = pack(tmp_path / "a.zip", [("one.py", source)], stored=True)
    renamed = pack(tmp_path / "a.zip", [("two.py", source)])
    assert first["content_sha256"] == stored["content_sha256"]
    assert first["zip_sha256_base64"] != stored["zip_sha256_base64"]
    assert first["content_sha256"] != renamed["content_sha256"]


def test_the_digest_tells_whether_there_is_bytecode_but_not_which_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "one.py").write_text("1")
    digests = [pack(tmp_path / "a.zip", [("x", folder)])["content_sha256"]]
    for content in (b"1", b"2"):
        (folder / "one.cpython-313.pyc").write_bytes(content)
        digests.append(pack(tmp_path / "a.zip", [("x", folder)])["content_sha256"])
    assert digests[0] != digests[1]
    assert digests[1] == digests[2]


def test_a_missing_file_leaves_the_old_archive(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"old")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        pack(tmp_path / "a.zip", [("x", tmp_path / "nowhere")])
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_layer_holds_the_package_compiled_and_without_its_tests(
    function: Path, tmp_path: Path
) -> None:
    out = tmp_path / "layer.zip"
    done = build(function, out)
    assert done.returncode == 0, done.stderr
    names = zipfile.ZipFile(out).namelist()
    assert "python/tiny.py" in names
    assert "python/tiny-1.0.dist-info/METADATA" in names
    assert any(name.startswith("python/__pycache__/tiny.") for name in names)
    assert not any("test_tiny" in name for name in names)
    assert json.loads(Path(f"{out}.json").read_text())["unzipped_bytes"] > 0


def command(folder: Path, name: str, script: str) -> str:
    folder.mkdir()
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    return str(folder)


def test_without_the_runtimes_python_there_is_no_bytecode_and_a_word_about_it(
    function: Path, tmp_path: Path
) -> None:
    # What pyenv leaves on PATH for a version that is not in use.
    no_python = command(tmp_path / "bin", OTHER_RUNTIME, "exit 127")
    done = build(function, tmp_path / "layer.zip", OTHER_RUNTIME, commands=no_python)
    assert done.returncode == 0
    assert f"Install {OTHER_RUNTIME}" in done.stderr
    assert not [n for n in zipfile.ZipFile(tmp_path / "layer.zip").namelist() if "pyc" in n]


def test_the_runtimes_python_compiles_when_it_is_not_the_one_that_builds(
    function: Path, tmp_path: Path
) -> None:
    says_its_version = f'[ "$1" = -c ] && echo {OTHER_RUNTIME} || exec {sys.executable} "$@"'
    python = command(tmp_path / "bin", OTHER_RUNTIME, says_its_version)
    done = build(function, tmp_path / "layer.zip", OTHER_RUNTIME, commands=python)
    assert (done.returncode, done.stderr) == (0, "")
    assert [n for n in zipfile.ZipFile(tmp_path / "layer.zip").namelist() if "pyc" in n]


def test_a_stand_in_is_in_the_layer_and_its_change_builds_anew(
    function: Path, tmp_path: Path
) -> None:
    out = tmp_path / "layer.zip"
    stand_in = function / "stand_ins" / "absent.py"
    stand_in.parent.mkdir()
    for content in ("value = 1\n", "value = 2\n"):
        stand_in.write_text(content)
        assert "built the layer" in build(function, out).stdout
        assert zipfile.ZipFile(out).read("python/absent.py").decode() == content


def test_a_stand_in_for_what_is_listed_is_refused(function: Path, tmp_path: Path) -> None:
    (function / "stand_ins").mkdir()
    (function / "stand_ins" / "tiny.py").write_text("")
    done = build(function, tmp_path / "layer.zip")
    assert done.returncode == 1
    assert "stands in for" in done.stderr


def test_an_unchanged_layer_is_not_built_again(function: Path, tmp_path: Path) -> None:
    out = tmp_path / "layer.zip"
    assert "built the layer" in build(function, out).stdout
    assert build(function, out).stdout == ""
    assert "built the layer" in build(function, out, arch="arm64").stdout
    requirements = function / "requirements.txt"
    requirements.write_text(requirements.read_text() + "# a change\n")
    assert "built the layer" in build(function, out).stdout


def test_when_pip_fails_the_layer_stays_and_the_way_out_is_named(
    function: Path, tmp_path: Path
) -> None:
    out = tmp_path / "layer.zip"
    build(function, out)
    before = out.read_bytes()
    (function / "requirements.txt").write_text(f"gone @ file://{tmp_path}/gone-1-py3-none-any.whl")
    done = build(function, out)
    assert done.returncode == 1
    assert "pip could not install" in done.stderr
    assert out.read_bytes() == before
    assert not list(tmp_path.glob("stage.*"))


@pytest.mark.parametrize(("runtime", "arch"), [("nodejs22.x", "x86_64"), (RUNTIME, "riscv")])
def test_an_unknown_target_is_refused(
    function: Path, tmp_path: Path, runtime: str, arch: str
) -> None:
    done = build(function, tmp_path / "layer.zip", runtime, arch)
    assert done.returncode == 1
    assert (runtime if runtime != RUNTIME else arch) in done.stderr
