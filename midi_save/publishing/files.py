"""A file of the site: its bytes, and how it is served."""

from __future__ import annotations

from dataclasses import dataclass

# A page or a feed can change at any time; a file whose name holds its hash never does.
SHORT = "public, max-age=300"
FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class SiteFile:
    """`content_type` as in "text/html; charset=utf-8"; `cache` is the Cache-Control header."""

    body: bytes
    content_type: str
    cache: str = SHORT
