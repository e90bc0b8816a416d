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
import re
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Protocol

from contract.errors import ConflictError, PieceError, SoundError, TokensError
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
from midi_save.publishing.pace import RESERVED_S, Pace
from midi_save.publishing.pages import Pages

SITE = "site/"
CATALOGUE = "catalogue.json"
AT_ONCE = 8  # requests to S3
CHUNK = 20  # days after which the catalogue is written, and archive and feeds, too
YOUNG_S = 300.0  # age of a record up to which its own execution may still be about to publish it
_SECONDS = re.compile(r"[0-9]{1,9}\.[0-9]{3}")  # as we write them beside a sound
DAMAGED = (TokensError, PieceError, SoundError)  # one day is, which does not concern the others


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
        self._pace = Pace(self.left_s)

    def key(self, name: str) -> str:
        """The key of a file of the site."""
        return self._root + name

    def sound_of(self, date: str, piece: int) -> str:
        """Make the sound of a batch's piece, which has no page; returns its key."""
        material = self._material(date, piece)
        self._sound(material)
        return self.key(self.sounds.name_of(material))

    def publish(self, urgent: str | None = None, *, rebuild: bool = False) -> Published:
        """Bring the site up to date, the day `urgent` first, then from the newest to the oldest.

        `rebuild` makes every page again, whatever it was made from. Ends early, but with at least
        one day done, when the time that is left might not do for another one.

        Raises TokensError, PieceError or SoundError if the record or the MIDI file of `urgent` is
        damaged or makes no sound; ConflictError, StorageError, AccessError.
        """
        if rebuild:
            self._catalogue.change(
                lambda days: {date: Day(day.entry, made_from="") for date, day in days.items()}
            )
        self._pace, days_made, days = Pace(self.left_s), 0, None
        while True:
            failed_before = len(self._failed)
            left, made = self._make_entries(urgent)
            days_made += made
            if made or days is None:
                pages_left, days = self._write_pages(urgent)
            # Another execution can have saved a day again while it was rendered: look again.
            tried = made or len(self._failed) > failed_before
            if not tried or (left and not self._pace.has_time()):
                entry = days[urgent].entry if urgent in days else None
                return Published(not (left or pages_left), days_made, entry, self._failed)

    # --- entries

    def _make_entries(self, urgent: str | None) -> tuple[bool, int]:
        """Make entries that are not up to date, a chunk of them, as far as the time goes.

        Returns whether more are left, and how many were made.
        """
        there = self._files()
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

        def is_stale(date: str) -> bool:
            if date in self._failed or date not in days:
                return date not in self._failed and date not in own - {urgent}
            entry = days[date].entry
            lost = {entry.sound, entry.midi, entry.picture} - there.keys()
            return bool(lost) or days[date].made_from != made_from[date]

        stale = _in_order(filter(is_stale, records), urgent)
        made: Days = {}
        for date in stale[:CHUNK]:
            if not self._pace.has_time():
                break
            if day := self._made(date, made_from[date], urgent):
                made[date] = day
        if made:
            self._catalogue.change(lambda now: now | made)
        done = sum(date in made or date in self._failed for date in stale)
        return done < len(stale), len(made)

    def _made(self, date: str, made_from: str, urgent: str | None) -> Day | None:
        """The day with its files in S3; None if it is damaged and not the urgent one."""
        try:
            material = self._material(date)
            sound, (sound_s, sound_bytes) = self.sounds.name_of(material), self._sound(material)
            picture_name, picture = picture_of(material)
            midi = SiteFile(material.midi, "audio/midi", FOR_EVER)
            self._put_new({midi_name(material): midi, picture_name: picture})
        except DAMAGED as error:
            if date == urgent:
                raise
            self._failed[date] = str(error)
            return None
        return Day(entry_of(material, picture_name, sound, sound_s, sound_bytes), made_from)

    def _material(self, date: str, piece: int | None = None) -> Material:
        key = archive_keys(date, piece, trial=self.trial)["record"]
        record = find_record(self.bucket, key).content
        if record is None:
            raise TokensError(f"{key} is missing or no record: make the day again")
        return material_of(record, read_named(self.bucket, record, "archive"), date)

    def _sound(self, material: Material) -> tuple[float, int]:
        """Seconds and bytes of the sound, which is rendered if it is not there."""
        key = self.key(self.sounds.name_of(material))
        there = self.bucket.head(key)
        if there is not None and _SECONDS.fullmatch(there["Metadata"].get("seconds", "")):
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
        """Bring pages, archive and feeds up to date with the catalogue, as far as the time goes.

        Returns whether pages are left, and the days. Raises ConflictError if other executions keep
        writing the same pages.
        """
        for wait_s in waits():
            there = self._files()
            days = self._catalogue.read()  # after the ETags
            try:
                left = self._write_days(days, there, urgent)
                files = self.pages.assets() | self._overview(days)
                # A style or year of which no piece is left; nothing may be deleted here.
                gone = [name for name in there if name.startswith("archive/") and name not in files]
                self._put(files | dict.fromkeys(gone, files["404.html"]), there)
            except ConflictError:
                if wait_s is None:
                    raise
                if self.left_s() < RESERVED_S:
                    return True, days
                time.sleep(wait_s)
            else:
                return left, days
        raise AssertionError("the last try returns or raises")

    def _write_days(self, days: Days, there: Mapping[str, str], urgent: str | None) -> bool:
        """Whether pages of days are left."""
        wanted, beside = self._wanted_pages(days), _neighbours(days)
        todo = [
            date
            for date, page in wanted.items()
            if days[date].page != f"{page} {there.get(_page_name(date))}"
        ]
        todo = [date for date in _in_order(todo, urgent) if date not in self._failed]
        for first in range(0, len(todo), CHUNK):
            written = {}
            for date in todo[first : first + CHUNK]:
                if not self._pace.has_time():
                    break
                if roll := self._roll(date):
                    page = self.pages.day(days[date].entry, roll, *beside[date])
                    self._put({_page_name(date): page}, there)
                    written[date] = f"{wanted[date]} {_etag(page.body)}"
            self._remember(written)
            if not self._pace.has_time():
                return first + len(written) < len(todo)
        return False

    def _remember(self, written: Mapping[str, str]) -> None:
        """Note in the catalogue what the pages of these days were made from."""
        if written:
            self._catalogue.change(
                lambda now: {
                    date: replace(day, page=written.get(date, day.page))
                    for date, day in now.items()
                }
            )

    def _overview(self, days: Days) -> dict[str, SiteFile]:
        newest = max(days, default=None)
        roll = self._roll(newest) if newest else None
        return self.pages.overview([day.entry for day in days.values()], roll or "")

    def _roll(self, date: str) -> str | None:
        """The day's piano roll; None if the day is damaged, which then is one of the failed."""
        try:
            return self._material(date).roll
        except DAMAGED as error:
            self._failed[date] = str(error)
            return None

    def _wanted_pages(self, days: Days) -> dict[str, str]:
        """What each day's page is to be made from, as a hash."""
        pages = {}
        for date, beside in _neighbours(days).items():
            facts = (self.pages.version, days[date].made_from, days[date].entry, *beside)
            pages[date] = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
        return pages

    def _files(self) -> dict[str, str]:
        """The ETag of each file of the site, by name."""
        listed = self.bucket.keys(self._root)
        return {entry["Key"].removeprefix(self._root): entry["ETag"] for entry in listed}

    def _put(self, files: Mapping[str, SiteFile], there: Mapping[str, str]) -> None:
        """Write the files that are not there as they should be, on condition that they are still as
        they were.
        """

        def put(name: str) -> None:
            file, etag = files[name], there.get(name)
            if etag == _etag(file.body):
                return
            headers = {"CacheControl": file.cache, **unchanged(etag)}
            self.bucket.put(self.key(name), file.body, file.content_type, **headers)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(put, files))


def _etag(body: bytes) -> str:
    """S3's, of an object that is encrypted with S3's own key."""
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


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
