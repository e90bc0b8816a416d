"""The catalogue: the entries of all published days, in one JSON file of the site.

Everything in it follows from the records; it only saves reading a thousand of them for each page.
Several executions can change it at once: each change is written on condition that the file is still
the one that was read, or is made again on the new one. Depends on neither MIDI nor pages.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

from contract.errors import ConflictError, TokensError
from contract.objects import Bucket, as_json, json_object, unchanged
from midi_save.publishing.entry import Entry

FORM = 1  # of the file; one of another form is made anew from the records
CHANGES = 40  # how often a change is tried: as many executions as may run at once
LONGEST_WAIT_S = 1.0  # before the next try, so that many do not meet again

_NAMES = {field.name for field in fields(Entry)}


@dataclass(frozen=True)
class Day:
    """A published day: its entry, and what the entry and the day's page were made from.

    `page` is "" if there is no page yet.
    """

    entry: Entry
    made_from: str
    page: str = ""


Days = dict[str, Day]  # by date


class CatalogueFile:
    """The file under `key`."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket, self._key = bucket, key

    def read(self) -> Days:
        """The days, the oldest first; none if the file is missing, damaged or of another form."""
        return self._read()[0]

    def change(self, change: Callable[[Days], Days]) -> Days:
        """Write what `change` makes of the days, and return it. Raises ConflictError."""
        for wait_s in waits():
            before, etag = self._read()
            after = dict(sorted(change(before).items()))
            if after == before and etag is not None:
                return after
            body = as_json(
                {"form": FORM, "days": {date: asdict(day) for date, day in after.items()}}
            )
            try:
                self._bucket.put(self._key, body, "application/json", **unchanged(etag))
            except ConflictError:
                if wait_s is None:
                    raise
                time.sleep(wait_s)
            else:
                return after
        raise AssertionError("the last try returns or raises")

    def _read(self) -> tuple[Days, str | None]:
        stored = self._bucket.read(self._key)
        if stored is None:
            return {}, None
        try:
            content = json_object(stored.body, self._key)
            days = content["days"] if content.get("form") == FORM else {}
            return {date: _day(fields) for date, fields in days.items()}, stored.etag
        except (TokensError, TypeError, AttributeError, KeyError):
            return {}, stored.etag


def waits(tries: int = CHANGES) -> Iterator[float | None]:
    """Seconds to wait after each try, longer and longer, drawn so that no two meet again.

    None after the last one.
    """
    for attempt in range(1, tries):
        yield random.uniform(0, min(LONGEST_WAIT_S, 0.02 * 2**attempt))
    yield None


def _day(content: dict[str, Any]) -> Day:
    entry = content["entry"]
    if entry.keys() != _NAMES:
        raise KeyError(f"an entry has the fields {sorted(_NAMES)}")
    entry = Entry(**{**entry, "instruments": tuple(entry["instruments"])})
    return Day(entry, content["made_from"], content["page"])
