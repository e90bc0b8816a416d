"""Packs files into a zip that is the same bytes for the same files, for a Lambda layer or function.

Depends on neither AWS nor what the files contain.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

# The oldest date that a zip can hold: a real modification time would differ in every clone.
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Packed:
    """A zip and its facts.

    `content_sha256` (hex) covers only names and contents, so that it is the same on machines whose
    zlib compresses differently. Of bytecode it covers only the names: it matters whether bytecode
    is there, but its content follows from the sources beside it, and Python does not promise to
    compile the same bytes twice. `zip_sha256_base64` is what Lambda calls CodeSha256. `note` stands
    behind the digest in the description of a layer.
    """

    path: Path
    content_sha256: str
    zip_sha256_base64: str
    unzipped_bytes: int
    zip_bytes: int
    note: str = ""


def members(files: Mapping[str, Path], suffix: str) -> Iterator[tuple[str, Path]]:
    """Every file to pack as (name in the archive, path), in no particular order.

    Raises FileNotFoundError for a path that is not there.
    """
    for name, path in files.items():
        if path.is_dir():
            for found in path.rglob("*"):
                if found.is_file() and found.name.endswith(suffix):
                    yield f"{name}/{found.relative_to(path).as_posix()}", found
        elif path.is_file():
            yield name, path
        else:
            raise FileNotFoundError(f"nothing to pack at {path}")


def pack(out: Path, files: Mapping[str, Path], suffix: str = "", *, stored: bool = False) -> Packed:
    """Write the archive `out`, completely or not at all.

    `files` are names in the archive and a file, or a folder, for each; of folders, only what ends
    in `suffix` is taken. `stored` files are not compressed. Raises FileNotFoundError.
    """
    content = hashlib.sha256()
    unzipped_bytes = 0
    half = out.with_name(f".{out.name}.{os.getpid()}")
    method = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    try:
        with zipfile.ZipFile(half, "w", method) as archive:
            for name, path in sorted(members(files, suffix)):
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
    return Packed(
        out,
        content.hexdigest(),
        base64.b64encode(zip_digest).decode(),
        unzipped_bytes,
        zip_bytes,
    )
