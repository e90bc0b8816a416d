"""The catalogue: the entries of all published days, in one JSON file of the site.

Everything in it follows from the records; it only saves reading a thousand of them for each page.
Several executions can change it at once: each change is written on condition that the file is still
the one that was read, or is made again on the new one. Depends on neither MIDI nor pages.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, get_origin, get_type_hints

from contract.checks import LARGEST
from contract.errors import ConflictError, TokensError
from contract.objects import Bucket, as_json, json_object, unchanged
from contract.records import is_date
from midi_save.publishing.entry import Entry
from midi_save.publishing.files import SHORT

FORM = 1  # of the file; one of another form is made anew from the records
CHANGES = 40  # how often a change is tried: as many executions as may run at once
LONGEST_WAIT_S = 1.0  # before the next try, so that many do not meet again

_TYPES: dict[str, Any] = {  # of an entry's fields; a number may have lost its decimal point
    name: (int, float) if kind is float else get_origin(kind) if get_origin(kind) is tuple else kind
    for name, kind in get_type_hints(Entry).items()
}


@dataclass(frozen=True)
class Day:
    """A published day: its entry, and what the entry and the day's page were made from.

    `page` also has the ETag of the page; it is "" if there is none yet.
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

    def change(self, change: Callable[[Days], Days]) -> None:
        """Write what `change` makes of the days. Raises ConflictError."""
        for wait_s in waits():
            before, etag = self._read()
            after = dict(sorted(change(before).items()))
            if after == before and etag is not None:
                return
            body = as_json(
                {"form": FORM, "days": {date: asdict(day) for date, day in after.items()}}
            )
            try:
                headers = {"CacheControl": SHORT, **unchanged(etag)}
                self._bucket.put(self._key, body, "application/json", **headers)
            except ConflictError:
                if wait_s is None:
                    raise
                time.sleep(wait_s)
            else:
                return
        raise AssertionError("the last try returns or raises")

    def _read(self) -> tuple[Days, str | None]:
        try:
            stored = self._bucket.read(self._key)
        except TokensError:  # far too large
            head = self._bucket.head(self._key)
            return {}, head["ETag"] if head else None
        if stored is None:
            return {}, None
        try:
            content = json_object(stored.body, self._key)
            days = content["days"] if content.get("form") == FORM else {}
            return {date: _day(date, fields) for date, fields in days.items()}, stored.etag
        except (TokensError, TypeError, AttributeError, KeyError):
            return {}, stored.etag


def waits(tries: int = CHANGES) -> Iterator[float | None]:
    """Seconds to wait after each try, longer and longer, drawn so that no two meet again.

    None after the last one.
    """
    for attempt in range(1, tries):
        yield random.uniform(0, min(LONGEST_WAIT_S, 0.02 * 2**attempt))
    yield None


def _day(date: str, content: dict[str, Any]) -> Day:
    """Raises TypeError, AttributeError or KeyError unless it is as we write it."""
    instruments = content["entry"]["instruments"]
    fields = {**content["entry"], "instruments": tuple(instruments)}
    texts = (*instruments, content["made_from"], content["page"])
    if (
        fields.keys() != _TYPES.keys()
        or not isinstance(instruments, list)
        or not all(isinstance(fields[name], kind) for name, kind in _TYPES.items())
        # Pages and feeds round them: NaN, infinity and numbers beyond floats have no such form.
        or not all(-LARGEST <= n <= LARGEST for n in fields.values() if isinstance(n, (int, float)))
        or not all(isinstance(text, str) for text in texts)
        or not (fields["date"] == date and is_date(date))
    ):
        raise TypeError(f"the catalogue's entry of {date} is damaged")
    return Day(Entry(**fields), content["made_from"], content["page"])
