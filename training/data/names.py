"""Names of files as text that every terminal, page and report can show.

A name is bytes on Linux. Where these are not UTF-8, Python keeps them as lone surrogates, which
nothing can print. Depends on no file.
"""

from __future__ import annotations

import io
import sys
import unicodedata
from pathlib import Path

LONGEST_NAME = 255  # bytes, on all common file systems


def shown(name: str | Path) -> str:
    r"""The name on one line, with ``\xe9`` for a byte that is not UTF-8, ``\n`` for a line feed."""
    text = _bytes(name).decode("utf-8", "backslashreplace")
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def folded(name: str | Path) -> str:
    """A key that names share which differ in case, Unicode normal form or encoding alone."""
    try:
        text = _bytes(name).decode("utf-8")
    except UnicodeDecodeError:
        text = _bytes(name).decode("latin-1")
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _bytes(name: str | Path) -> bytes:
    # not os.fsencode, which knows ASCII only where LANG is C: the name may come from a manifest
    return str(name).encode("utf-8", "surrogateescape")


def escape_output() -> None:
    """Lets standard output escape what its encoding does not have; else `print` would raise."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
