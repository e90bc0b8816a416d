"""Publishing while S3 fails or others publish, too: nothing is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contract.errors import ConflictError, StorageError
from contract.records import archive_keys
from midi_save.publishing import publish as module
from midi_save.publishing.making import Material
from midi_save.publishing.publish import Published
from tests.midi_save.publishing.days import (
    Sines,
    day,
    published,
    saved,
    site,
    text,
    without_catalogue,
)
from tests.versioned_s3 import VersionedS3, refused


def test_s3_may_fail_at_any_call_and_publishing_again_heals(s3: VersionedS3) -> None:
    saved(s3, day(0))
    saved(s3, day(1))
    published(s3)
    whole = VersionedS3({key: list(v) for key, v in s3.objects.items()}, dict(s3.headers))
    saved(whole, day(2))
    published(whole, day(2))
    calls = [0]

    def broken_at(call: int) -> Callable[[str, str], None]:
        def before(_operation: str, _key: str) -> None:
            calls[0] += 1
            if calls[0] == call:
                raise refused("SlowDown", 503)

        return before

    for call in range(1, 200):
        tried = VersionedS3({key: list(v) for key, v in s3.objects.items()}, dict(s3.headers))
        saved(tried, day(2))
        calls[0], tried.before = 0, broken_at(call)
        try:
            published(tried, day(2))
        except StorageError:
            tried.before = lambda _operation, _key: None
            assert tried.objects[archive_keys(day(2))["record"]], "the piece is safe"
            assert published(tried, day(2)).finished
            assert without_catalogue(site(tried)) == without_catalogue(site(whole)), call
        else:
            assert calls[0] < call, "not one call too few"
            return
    pytest.fail("more calls than were tried")


def test_a_day_that_was_just_saved_is_left_to_its_own_execution(s3: VersionedS3) -> None:
    saved(s3, day(0))
    published(s3, day(0))
    saved(s3, day(3))
    saved(s3, day(4))
    for number in (3, 4):
        key = archive_keys(day(number))["record"]
        s3.headers[key] = {"LastModified": datetime.now(UTC)}
    published(s3, day(3))
    assert f"days/{day(3)}.html" in site(s3)
    assert f"days/{day(4)}.html" not in site(s3)
    s3.headers[key] = {"LastModified": datetime.now(UTC) - timedelta(hours=1)}
    published(s3, day(3))
    assert f"days/{day(4)}.html" in site(s3), "its execution must have failed"


def test_fifty_publications_at_once_lose_nothing(
    s3: VersionedS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 2)
    saved(s3, day(0))
    published(s3, day(0))
    dates = [day(number) for number in range(1, 51)]
    for number, at in enumerate(dates):
        saved(s3, at, seed=number)
    together = threading.Barrier(50)

    def one(at: str) -> Published:
        together.wait()
        return published(s3, at)

    with ThreadPoolExecutor(50) as pool:
        assert all(done.finished for done in pool.map(one, dates))
    for at in [day(0), *dates]:
        assert f"days/{at}.html" in site(s3)
        assert f"{at}.html" in text(s3, "archive/2026.html")
        assert at in text(s3, "feed.xml")
    before = site(s3)
    assert published(s3, rebuild=True).finished
    assert without_catalogue(site(s3)) == without_catalogue(before), "as if made in order"


def test_two_executions_of_one_day_leave_the_site_of_the_committed_one(s3: VersionedS3) -> None:
    saved(s3, day(0), seed=1)

    class Slow(Sines):
        """While the first renders, the second saves and publishes the same day."""

        def render(self, material: Material) -> tuple[bytes, float]:
            if not self.rendered:
                saved(s3, day(0), seed=2)
                published(s3, day(0))
            return super().render(material)

    done = published(s3, day(0), sounds=Slow())
    assert done.urgent is not None
    assert done.urgent.seed == 2
    assert done.urgent.sound in text(s3, f"days/{day(0)}.html")


def test_a_publication_between_any_two_calls_of_another_one_loses_nothing(s3: VersionedS3) -> None:
    """The one stops before its n-th call to S3, until another day is saved and published."""
    saved(s3, day(0))
    published(s3)
    saved(s3, day(1))

    def copied() -> VersionedS3:
        return VersionedS3({key: list(v) for key, v in s3.objects.items()}, dict(s3.headers))

    together = copied()
    published(together, day(1))
    saved(together, day(2))
    published(together, day(2))
    expected = without_catalogue(site(together))
    for stopped_at in range(1, 300):
        tried, calls = copied(), 0

        def before(_operation: str, _key: str, at: int = stopped_at, s3: Any = tried) -> None:
            nonlocal calls
            calls += 1
            if calls == at:
                saved(s3, day(2))
                published(s3, day(2))  # its calls count on, past the one

        tried.before = before
        published(tried, day(1))
        if calls < stopped_at:
            return
        tried.before = lambda _operation, _key: None
        assert without_catalogue(site(tried)) == expected, stopped_at
    pytest.fail("more calls than were tried")


def test_a_rebuild_while_the_days_piece_is_published_loses_nothing(s3: VersionedS3) -> None:
    for number in range(3):
        saved(s3, day(number))
    published(s3)
    saved(s3, day(3))
    met: list[str] = []

    def before(operation: str, key: str) -> None:
        if operation == "put_object" and key == "site/index.html" and not met:
            met.append(key)
            published(s3, day(3))

    s3.before = before
    assert published(s3, rebuild=True).finished
    s3.before = lambda _operation, _key: None
    assert met
    assert day(3) in text(s3, "feed.json")
    assert f"{day(3)}.html" in text(s3, f"days/{day(2)}.html")
    assert day(3) in text(s3, "index.html")


def test_a_page_that_others_keep_changing_is_a_conflict_by_name(
    s3: VersionedS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "waits", lambda: iter([0.0, None]))
    saved(s3, day(0))

    def before(operation: str, key: str) -> None:
        if operation == "put_object" and key == "site/index.html":
            s3.objects.setdefault(key, []).append(str(len(s3.objects.get(key, []))).encode())

    s3.before = before
    with pytest.raises(ConflictError, match=r"site/index\.html: it was changed"):
        published(s3, day(0))
