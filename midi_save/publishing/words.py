"""How dates, lengths and names are written on pages and in feeds. Depends on nothing."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from datetime import date

MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)

# What XML 1.0 cannot hold: control characters, halves of surrogate pairs and two non-characters.
_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def plain(text: str) -> str:
    """The text without what neither XML nor UTF-8 can hold."""
    return _NOT_TEXT.sub("\N{REPLACEMENT CHARACTER}", text)


def long_date(day: str) -> str:
    """Turns "2026-11-07" into "7 November 2026"."""
    parsed = date.fromisoformat(day)
    return f"{parsed.day} {MONTHS[parsed.month - 1]} {parsed.year}"


def day_and_month(day: str) -> str:
    """Turns "2026-11-07" into "7 November"."""
    return long_date(day).rpartition(" ")[0]


def minutes(seconds: float) -> str:
    """83.4 as "1:23", and 3600 as "1:00:00"."""
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02}"
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def iso_duration(seconds: float) -> str:
    """83.4 as "PT1M23S", as ISO 8601 and schema.org write it."""
    whole = round(seconds)
    return f"PT{whole // 60}M{whole % 60}S"


def counted(number: int, one: str, many: str) -> str:
    """1 as "1 piece", 1200 as "1,200 pieces"."""
    return f"{number:,} {one if number == 1 else many}"


def file_name(name: str) -> str:
    """A name for a file: the name itself if it is a plain word, else something that tells it apart.

    "chorale" stays; "Trio & Fugue" becomes "trio-fugue-" and a hash, because "trio-fugue" may be
    another style. "index" is taken by the archive, and digits by its years.
    """
    if re.fullmatch("[a-z]{1,40}", name) and name != "index":
        return name
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    word = re.sub("[^a-z0-9]+", "-", letters)[:40].strip("-")
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{word}-{digest}" if word else digest
