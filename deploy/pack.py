"""Packs files into a zip that is the same bytes for the same files, for a Lambda layer or function.

Depends on neither AWS nor what the files contain.

    python3 deploy/pack.py OUT.zip [--stored] [--suffix .py] NAME=PATH [NAME=PATH ...]

Each NAME=PATH puts a file, or all files below a folder, under NAME in the archive. Prints one JSON
line: content_sha256, zip_sha256_base64 (what Lambda calls CodeSha256), unzipped_bytes, zip_bytes.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

# The oldest date that a zip can hold: a real modification time would differ in every clone.
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def members(pairs: list[tuple[str, Path]], suffix: str) -> Iterator[tuple[str, Path]]:
    """Every file to pack as (name in the archive, path), in no particular order.

    Raises FileNotFoundError for a path that is not there.
    """
    for name, path in pairs:
        if path.is_dir():
            for found in path.rglob("*"):
                if found.is_file() and found.name.endswith(suffix):
                    yield f"{name}/{found.relative_to(path).as_posix()}", found
        elif path.is_file():
            yield name, path
        else:
            raise FileNotFoundError(f"nothing to pack at {path}")


def pack(
    out: Path, pairs: list[tuple[str, Path]], suffix: str = "", *, stored: bool = False
) -> dict[str, str | int]:
    """Writes the archive `out`, completely or not at all, and returns the facts about it.

    `content_sha256` covers only names and contents, so that it is the same on machines whose zlib
    compresses differently. Of bytecode it covers only the names: it matters whether bytecode is
    there, but its content follows from the sources beside it, and Python does not promise to
    compile the same bytes twice.
    """
    content = hashlib.sha256()
    unzipped_bytes = 0
    half = out.with_name(f".{out.name}.{os.getpid()}")
    method = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    try:
        with zipfile.ZipFile(half, "w", method) as archive:
            for name, path in sorted(members(pairs, suffix)):
                entry = zipfile.ZipInfo(name, ZIP_EPOCH)
                entry.compress_type = method
                entry.create_system = 3  # Unix, wherever it is packed: else the mode is ignored
                entry.external_attr = 0o100755 << 16  # readable by Lambda's user; .so files run
                with path.open("rb") as source, archive.open(entry, "w") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
                unzipped_bytes += path.stat().st_size
                stable = b"" if name.endswith(".pyc") else path.read_bytes()
                file_digest = hashlib.sha256(stable).hexdigest()
                content.update(f"{name}\0{file_digest}\n".encode())
        zip_digest = hashlib.sha256(half.read_bytes()).digest()
        zip_bytes = half.stat().st_size
        half.replace(out)
    finally:
        half.unlink(missing_ok=True)
    return {
        "content_sha256": content.hexdigest(),
        "zip_sha256_base64": base64.b64encode(zip_digest).decode(),
        "unzipped_bytes": unzipped_bytes,
        "zip_bytes": zip_bytes,
    }


def main() -> int:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description="Pack files into a reproducible zip.")
    parser.add_argument("out", type=Path)
    parser.add_argument("pairs", nargs="+", metavar="NAME=PATH")
    parser.add_argument("--stored", action="store_true", help="do not compress")
    parser.add_argument("--suffix", default="", help="of folders, take only files that end so")
    options = parser.parse_args()
    pairs = []
    for pair in options.pairs:
        name, equals, path = pair.partition("=")
        if not (name and equals and path):
            parser.error(f"{pair!r} is not NAME=PATH")
        pairs.append((name, Path(path)))
    try:
        facts = pack(options.out, pairs, options.suffix, stored=options.stored)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
