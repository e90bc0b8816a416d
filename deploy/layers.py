"""Builds the layer of a function's dependencies from FOLDER/requirements.lock.

    python -m deploy.layers [FOLDER ...]     for this machine's Python and architecture; without
                                             FOLDER also fetches the sound bank

Builds for any runtime and architecture from any machine, because only ready-made wheels are taken.
Files in FOLDER/stand_ins/ take the place of packages that the function can do without. Beside the
zip, and in it, is a list of what it holds (sbom.py). When neither the stand-ins nor the lock nor
this program have changed since a layer was built, it is not built again. Depends on neither AWS nor
the bundle.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from deploy import children, sbom, soundfont, wheels
from deploy.errors import DeployError
from deploy.pack import Packed, pack
from deploy.place import FUNCTIONS, ROOT
from deploy.resource import at_once
from deploy.wheels import HOST_RUNTIME, host_arch

# What the functions neither import nor load through their imports. *.dist-info stays, since miditok
# and mido ask importlib.metadata for versions; it holds the licences. Other notices stay, too. The
# onnxruntime module has the engine linked in, so that libonnxruntime.so is only a second copy for
# C programs.
NOT_NEEDED = (
    *("bin", "**/test", "**/tests", "**/__pycache__"),
    *("**/*.pyi", "**/*.pyx", "**/*.pxd", "**/*.[ach]"),
    *(
        f"onnxruntime/{name}"
        for name in ("transformers", "quantization", "tools", "datasets", "backend")
    ),
    *("onnxruntime/capi/libonnxruntime.so*", "onnxruntime/Privacy.md"),
    *(f"numpy/{name}" for name in ("f2py", "distutils", "_pyinstaller", "doc", "random/lib")),
    *("numpy/_core/include", "numpy/_core/lib"),
)

PROGRAMS = ("layers", "pack", "sbom", "wheels")  # a change of one builds anew


def build(
    folder: Path, runtime: str, arch: str, directory: Path, say: Callable[[str], None] = print
) -> Packed:
    """The layer of `folder` for `runtime` (as "python3.13") and `arch`, as a zip in `directory`.

    Raises DeployError, and then leaves an older layer as it was.
    """
    lock, stand_ins = folder / "requirements.lock", sorted(folder.glob("stand_ins/*.py"))
    if not lock.is_file():
        raise DeployError(f"{lock} is missing: it lists what the layer holds")
    compiler = _compiler(runtime)
    programs = [Path(__file__).with_name(f"{name}.py") for name in PROGRAMS]
    sources = [lock, *stand_ins, *programs]
    made_of = [path.read_bytes() for path in sources]
    made_of.append(f"{runtime} {arch} {bool(compiler)}".encode())
    key = hashlib.sha256(b"\0".join(made_of)).hexdigest()
    out = directory / f"{folder.name}-{runtime}-{arch}.zip"
    facts, bill = out.with_name(f"{out.name}.json"), out.with_name(sbom.file_name(out.stem))
    if out.is_file() and facts.is_file() and bill.is_file():
        known = json.loads(facts.read_text())
        if known.pop("key", None) == key:
            return Packed(out, **known)
    say(f"building the layer of {folder.name} for {runtime}, {arch}")
    directory.mkdir(parents=True, exist_ok=True)
    for left in directory.glob("stage.*.*"):  # by a build that was killed
        if not Path("/proc", left.name.split(".")[1]).exists():
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"stage.{os.getpid()}.", dir=directory) as stage:
        packages = Path(stage) / "python"
        hashes = wheels.install(lock, packages, runtime, arch)
        _remove_what_is_not_needed(packages)
        for stand_in in stand_ins:
            if (packages / stand_in.stem).exists() or (packages / stand_in.name).exists():
                raise DeployError(
                    f"{lock} lists what {stand_in} stands in for: delete one of the two"
                )
            shutil.copy2(stand_in, packages)
        components = sbom.of_wheels(packages, hashes)
        components += [sbom.of_file(path, "MIT") for path in stand_ins]  # ours
        half = Path(stage) / sbom.FOLDER / sbom.file_name(folder.name)
        sbom.write(half, folder.name, components)
        if compiler is None:
            say(
                f"there is no {runtime} here to compile the layer of {folder.name}: each cold "
                f"start compiles what it imports, which doubles its CPU time: install it, or "
                "choose a runtime whose Python is here"
            )
        else:
            _compile(compiler, Path(stage))
        facts.unlink(missing_ok=True)  # they are of the zip before
        packed = pack(out, {"python": packages, sbom.FOLDER: half.parent})
        half.replace(bill)
    known = {name: value for name, value in asdict(packed).items() if name != "path"}
    half = facts.with_name(f"{facts.name}.{os.getpid()}")
    half.write_text(json.dumps({"key": key, **known}))
    half.replace(facts)  # last: a layer without it counts as not built
    say(
        f"built the layer of {folder.name}: {packed.unzipped_bytes / 1e6:.0f} MB unzipped, "
        f"{packed.zip_bytes / 1e6:.0f} MB zipped"
    )
    return packed


def _compiler(runtime: str) -> str | None:
    """A Python of the runtime's version: no other can compile its bytecode.

    A candidate is asked, because version managers leave commands on PATH that start nothing.
    """
    if runtime == HOST_RUNTIME:
        return sys.executable
    found = shutil.which(runtime)
    if found is None:
        return None
    ask = "import sys; print('python%d.%d' % sys.version_info[:2])"
    said = subprocess.run([found, "-c", ask], capture_output=True, text=True, check=False)
    return found if said.stdout.strip() == runtime else None


def _remove_what_is_not_needed(packages: Path) -> None:
    for pattern in NOT_NEEDED:
        for path in list(packages.glob(pattern)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _compile(compiler: str, stage: Path) -> None:
    """unchecked-hash: the bytecode is valid whatever modification times unpacking gives the
    sources. The paths in it are those on Lambda.
    """
    command = [compiler, "-m", "compileall", "-q", "-j", "2"]
    command += ["--invalidation-mode", "unchecked-hash", "-s", str(stage), "-p", "/opt"]
    done = children.run([*command, str(stage / "python")])
    if done.returncode != 0:
        raise DeployError(f"{compiler} could not compile what the layer holds: {done.stderr}")


def main() -> int:
    """Exit status: 1 if a layer could not be built."""
    parser = argparse.ArgumentParser(prog="python -m deploy.layers", description=__doc__)
    parser.add_argument("folders", nargs="*", metavar="FOLDER")
    options = parser.parse_args()

    def of(folder: str) -> Packed:
        return build(ROOT / folder, HOST_RUNTIME, host_arch(), ROOT / "build")

    try:
        at_once(of, options.folders or [row.folder for row in FUNCTIONS])
        if not options.folders:
            soundfont.fetch(ROOT / "build")
    except DeployError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: a layer that was not finished is built again", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    children.end_at_signals()
    sys.exit(main())
