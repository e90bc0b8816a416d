"""Publishes: makes the site in S3 what the records say.

Nothing is told to it but which day is the most urgent. It compares the records with the catalogue
and the pages with what is there, and makes what is missing or was made from something else: so a
day made again, another template, a lost page or an earlier execution that failed need no code of
their own. Executions may publish at the same time. The writes of pages are conditional, and what a
page is made from is read after the ETag that its write is conditional on: so whoever writes last
has seen what was published last. Depends on neither how sound is rendered nor what pages look like.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from contract.errors import ConflictError, PieceError, TokensError
from contract.objects import Bucket, unchanged
from contract.records import (
    archive_keys,
    daily_records,
    find_record,
    prefix_of,
    read_named,
)
from midi_save.publishing.catalogue import CatalogueFile, Day, Days, waits
from midi_save.publishing.entry import Entry
from midi_save.publishing.files import FOR_EVER, SiteFile
from midi_save.publishing.making import (
    Material,
    entry_of,
    material_of,
    midi_name,
    picture_of,
)
from midi_save.publishing.pages import Pages

SITE = "site/"
CATALOGUE = "catalogue.json"
AT_ONCE = 8  # requests to S3
CHUNK = 20  # days after which the catalogue is written
YOUNG_S = 300.0  # age of a record up to which its own execution may still be about to publish it
RESERVED_S = 12.0  # of the time left, for pages and feeds
DAMAGED = (TokensError, PieceError)  # what is wrong with one day and does not concern the others


class SoundMaker(Protocol):
    """How sound is made: midi_save/publishing/sounding.py."""

    @property
    def made_with(self) -> str:
        """What all sounds depend on: the bank and the code, as a text that changes with them."""

    def name_of(self, material: Material) -> str:
        """The name under which the sound is kept; it holds a hash of what the sound is made of."""

    def render(self, material: Material) -> tuple[bytes, float]:
        """The MP3 and its length in seconds."""


@dataclass(frozen=True)
class Published:
    """What came of it.

    `finished`: nothing is left to do. `days`: how many were made in this call. `urgent`: the entry
    of the urgent day. `not_published`: days whose record or MIDI file is damaged, and why.
    """

    finished: bool
    days: int
    urgent: Entry | None
    not_published: Mapping[str, str]


@dataclass
class Publisher:
    """The site of the bucket; with `trial` that of the trials.

    `left_s` gives the seconds that are left of the invocation.
    """

    bucket: Bucket
    pages: Pages
    sounds: SoundMaker
    left_s: Callable[[], float]
    trial: bool = False
    _failed: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._prefix = prefix_of(trial=self.trial)
        self._root = ("" if not self.trial else self._prefix) + SITE
        self._catalogue = CatalogueFile(self.bucket, self._root + CATALOGUE)

    def key(self, name: str) -> str:
        """The key of a file of the site."""
        return self._root + name

    def sound_of(self, date: str, piece: int) -> str:
        """Make the sound of a batch's piece, which has no page; returns its key."""
        material = self._material(archive_keys(date, piece, trial=self.trial)["record"])
        self._sound(material)
        return self.key(self.sounds.name_of(material))

    def publish(self, urgent: str | None = None, *, rebuild: bool = False) -> Published:
        """Bring the site up to date, the day `urgent` first, then from the newest to the oldest.

        `rebuild` makes every page again, whatever it was made from. Ends early, but with at least
        one day done, when the time that is left might not do for another one.

        Raises TokensError or PieceError if the record or the MIDI file of `urgent` is damaged,
        ConflictError, StorageError, AccessError.
        """
        if rebuild:
            self._catalogue.change(
                lambda days: {date: Day(day.entry, made_from="") for date, day in days.items()}
            )
        days_made = 0
        while True:
            entries_left, made = self._make_entries(urgent)
            days_made += made
            # Another execution can have saved a day again while it was rendered: look again.
            if entries_left or not made:
                break
        for wait_s in waits():
            try:
                pages_left, days = self._write_pages(urgent)
            except ConflictError:
                if wait_s is None:
                    raise
                time.sleep(wait_s)
            else:
                entry = days[urgent].entry if urgent in days else None
                finished = not (entries_left or pages_left)
                return Published(finished, days_made, entry, self._failed)
        raise AssertionError("the last try returns or raises")

    # --- entries

    def _make_entries(self, urgent: str | None) -> tuple[bool, int]:
        """Whether days are left whose entries are not up to date, and how many were made."""
        days = self._catalogue.read()
        records = {found.date: found for found in daily_records(self.bucket, self._prefix)}
        if deleted := days.keys() - records.keys():
            self._catalogue.change(
                lambda now: {date: day for date, day in now.items() if date not in deleted}
            )
        made_from = {
            date: f"{found.etag} {self.sounds.made_with}" for date, found in records.items()
        }
        # A new day is left to its own execution, unless it is as if nothing had been published yet.
        own = {date for date, found in records.items() if found.age_s < YOUNG_S} if days else set()
        stale = [
            date
            for date, source in made_from.items()
            if (days[date].made_from != source if date in days else date not in own - {urgent})
            and date not in self._failed
        ]
        todo, done = _in_order(stale, urgent), 0
        pace = _Pace(self.left_s)
        while todo and pace.has_time():
            made: Days = {}
            for date in todo[:CHUNK]:
                if done and not pace.has_time():
                    break
                if day := self._made(date, made_from[date], urgent):
                    made[date] = day
                done += 1

            def with_made(now: Days, made: Days = made) -> Days:
                return now | made

            self._catalogue.change(with_made)
            todo = _in_order(stale, urgent)[done:]
        return bool(todo), done

    def _made(self, date: str, made_from: str, urgent: str | None) -> Day | None:
        """The day with its files in S3; None if it is damaged and not the urgent one."""
        try:
            material = self._material(archive_keys(date, trial=self.trial)["record"])
            sound_s, sound_bytes = self._sound(material)
            picture_name, picture = picture_of(material)
            midi = SiteFile(material.midi, "audio/midi", FOR_EVER)
            self._put_new({midi_name(material): midi, picture_name: picture})
            entry = entry_of(material, self.sounds.name_of(material), sound_s, sound_bytes)
        except DAMAGED as error:
            if date == urgent:
                raise
            self._failed[date] = str(error)
            return None
        return Day(entry, made_from)

    def _material(self, record_key: str) -> Material:
        record = find_record(self.bucket, record_key).content
        if record is None:
            raise TokensError(f"{record_key} is missing or no record: make the day again")
        return material_of(record, read_named(self.bucket, record, "archive"))

    def _sound(self, material: Material) -> tuple[float, int]:
        """Seconds and bytes of the sound, which is rendered if it is not there."""
        key = self.key(self.sounds.name_of(material))
        there = self.bucket.head(key)
        if there is not None and "seconds" in there["Metadata"]:
            return float(there["Metadata"]["seconds"]), int(there["ContentLength"])
        mp3, seconds = self.sounds.render(material)
        headers = {"CacheControl": FOR_EVER, "Metadata": {"seconds": f"{seconds:.3f}"}}
        self.bucket.put(key, mp3, "audio/mpeg", **headers)
        return seconds, len(mp3)

    def _put_new(self, files: Mapping[str, SiteFile]) -> None:
        """Write files whose names hold a hash: if one is there, it is the same."""
        for name, file in files.items():
            if self.bucket.head(self.key(name)) is None:
                self.bucket.put(
                    self.key(name), file.body, file.content_type, CacheControl=file.cache
                )

    # --- pages

    def _write_pages(self, urgent: str | None) -> tuple[bool, Days]:
        """Whether pages are left that are not up to date, and the days.

        Raises ConflictError if another execution wrote one of the same pages meanwhile.
        """
        there = {
            entry["Key"].removeprefix(self._root): entry["ETag"]
            for entry in self.bucket.keys(self._root)
        }
        days = self._catalogue.read()  # after the ETags
        rolls: dict[str, str] = {}
        beside = _neighbours(days)
        todo = [
            date
            for date, page in self._wanted_pages(days).items()
            if days[date].page != page or _page_name(date) not in there
        ]
        pace = _Pace(self.left_s)
        done = []
        for date in _in_order(todo, urgent):
            if not pace.has_time():
                break
            done.append(date)
            try:
                rolls[date] = self._roll(date)
            except DAMAGED as error:
                self._failed[date] = str(error)
                continue
            page = self.pages.day(days[date].entry, rolls[date], *beside[date])
            self._put({_page_name(date): page}, there)
        newest = max(days, default=None)
        roll = ""
        if newest is not None:
            roll = rolls.get(newest) or self._roll(newest)
        entries = [day.entry for day in days.values()]
        self._put(self.pages.assets() | self.pages.overview(entries, roll), there)
        written = [date for date in done if date in rolls]
        self._catalogue.change(lambda now: self._with_pages(now, days, written))
        return len(done) < len(todo), days

    def _with_pages(self, now: Days, then: Days, written: Iterable[str]) -> Days:
        """The catalogue that remembers the pages which were `written` from the one of `then`."""
        wanted_then, wanted_now = self._wanted_pages(then), self._wanted_pages(now)
        pages = {
            date: Day(now[date].entry, now[date].made_from, wanted_now[date])
            for date in written
            if date in now and wanted_now[date] == wanted_then[date]
        }
        return {**now, **pages}

    def _wanted_pages(self, days: Days) -> dict[str, str]:
        """What each day's page is to be made from, as a hash."""
        pages = {}
        for date, beside in _neighbours(days).items():
            facts = (self.pages.version, days[date].made_from, days[date].entry, *beside)
            pages[date] = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
        return pages

    def _roll(self, date: str) -> str:
        return self._material(archive_keys(date, trial=self.trial)["record"]).roll

    def _put(self, files: Mapping[str, SiteFile], there: Mapping[str, str]) -> None:
        """Write the files that are not there as they should be, on condition that they are still as
        they were.
        """

        def put(name: str) -> None:
            file, etag = files[name], there.get(name)
            if etag == f'"{hashlib.md5(file.body, usedforsecurity=False).hexdigest()}"':
                return
            headers = {"CacheControl": file.cache, **unchanged(etag)}
            self.bucket.put(self.key(name), file.body, file.content_type, **headers)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(put, files))


class _Pace:
    """Whether there is time for one more, going by the longest so far: the first is always made."""

    def __init__(self, left_s: Callable[[], float]) -> None:
        self._left_s = left_s
        self._before_s: float | None = None
        self._longest_s = 0.0

    def has_time(self) -> bool:
        """To be asked before each."""
        left_s = self._left_s()
        if self._before_s is None:
            self._before_s = left_s
            return True
        self._longest_s = max(self._longest_s, self._before_s - left_s)
        self._before_s = left_s
        return left_s > RESERVED_S + 2 * self._longest_s


def _page_name(date: str) -> str:
    return f"days/{date}.html"


def _in_order(dates: Iterable[str], urgent: str | None) -> list[str]:
    """The urgent one first, then the newest."""
    newest_first = sorted(dates, reverse=True)
    return sorted(newest_first, key=lambda date: date != urgent)


def _neighbours(days: Days) -> dict[str, tuple[Entry | None, Entry | None]]:
    """For each date the entries of the day before and the day after, of those that there are."""
    entries = [day.entry for day in days.values()]
    beside = zip([None, *entries[:-1]], [*entries[1:], None], strict=True)
    return dict(zip(days, beside, strict=True)) if days else {}
