"""Publishing: the site is what the records say, whatever was lost, damaged or done at once."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from contract.errors import ConflictError, SoundError, StorageError, TokensError
from contract.objects import Bucket
from contract.records import archive_keys
from midi_save.publishing import publish as module
from midi_save.publishing.making import Material, named
from midi_save.publishing.pages import Pages
from midi_save.publishing.place import Site
from midi_save.publishing.publish import Published, Publisher
from midi_save.storage import PieceStore
from tests.site.pieces import BANK, SITE, TEMPLATES, THEME, midi_of
from tests.versioned_s3 import VersionedS3, refused

PAGES = Pages(TEMPLATES, SITE)
FIRST = date(2026, 11, 1)


class Sines:
    """Stands for the rendering of sound, which has its own tests; counts what it renders."""

    def __init__(self, made_with: str = "sines") -> None:
        self.made_with = made_with
        self.rendered: list[str] = []

    def name_of(self, material: Material) -> str:
        import hashlib

        return named("sound", material.record, hashlib.sha256(material.midi), "mp3")

    def render(self, material: Material) -> tuple[bytes, float]:
        self.rendered.append(material.record["date"])
        return b"ID3 " + material.midi[:20], material.score.duration_s + 2


@pytest.fixture
def s3() -> VersionedS3:
    return VersionedS3()


def day(number: int) -> str:
    return str(FIRST + timedelta(days=number))


def saved(s3: Any, date: str, *, seed: int = 1, piece: int | None = None, **more: Any) -> None:
    """Save a day's piece as the chain does: the theme, at the height of its seed."""
    midi = midi_of([(*note[:3], note[3] + seed % 12, note[4]) for note in THEME])
    origin = {"model_id": "ab" * 32, "date": date, "style": "folk", "seed": seed}
    record = {**origin, "duration_s": 8.0, "notes": 24, "continued_from": None, "form": None}
    if piece is not None:
        record |= {"piece": piece, "pieces": 9}
    PieceStore("music", s3).save(midi, {**origin, "ids": [1]}, {**record, **more}, date)


def published(
    s3: Any,
    urgent: str | None = None,
    *,
    sounds: Sines | None = None,
    pages: Pages = PAGES,
    left_s: Callable[[], float] = lambda: 300.0,
    rebuild: bool = False,
    trial: bool = False,
) -> Published:
    publisher = Publisher(Bucket("music", s3), pages, sounds or Sines(), left_s, trial=trial)
    return publisher.publish(urgent, rebuild=rebuild)


def site(s3: VersionedS3) -> dict[str, bytes]:
    return {
        key.removeprefix("site/"): versions[-1]
        for key, versions in s3.objects.items()
        if key.startswith("site/") and versions
    }


def text(s3: VersionedS3, name: str) -> str:
    return site(s3)[name].decode()


def without_catalogue(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: body for name, body in files.items() if name != "catalogue.json"}


def test_a_day_becomes_sound_roll_page_archive_and_feeds(s3: VersionedS3) -> None:
    saved(s3, day(0))
    done = published(s3, day(0))
    assert (done.finished, done.days, dict(done.not_published)) == (True, 1, {})
    assert done.urgent is not None and done.urgent.title == "Folk tune in D♭ major"
    names = set(site(s3))
    assert {"index.html", f"days/{day(0)}.html", "archive/index.html", "feed.json"} <= names
    assert {done.urgent.sound, done.urgent.midi, done.urgent.picture} <= names
    assert site(s3)[done.urgent.midi] == s3.objects[archive_keys(day(0))["archive"]][-1]
    assert done.urgent.sound in text(s3, f"days/{day(0)}.html")


def test_files_are_served_as_what_they_are_and_only_named_by_hash_for_ever(s3: VersionedS3) -> None:
    saved(s3, day(0))
    published(s3, day(0))
    for key, headers in s3.headers.items():
        if not key.startswith("site/"):
            continue
        assert headers["ContentType"].startswith(("text/", "audio/", "image/", "application/"))
        immutable = "immutable" in headers["CacheControl"]
        assert immutable == bool(re.search(r"-[0-9a-f]{12}\.", key)), key


def test_publishing_again_writes_nothing(s3: VersionedS3) -> None:
    for number in range(3):
        saved(s3, day(number))
        published(s3, day(number))
    before = {key: len(versions) for key, versions in s3.objects.items()}
    sounds = Sines()
    assert published(s3, day(2), sounds=sounds).days == 0
    assert {key: len(versions) for key, versions in s3.objects.items()} == before
    assert sounds.rendered == []


def test_a_day_links_to_its_neighbours_whatever_the_order_of_publishing(s3: VersionedS3) -> None:
    for number in (1, 3, 2):
        saved(s3, day(number))
        published(s3, day(number))
    page = text(s3, f"days/{day(2)}.html")
    assert f'rel="prev" href="{day(1)}.html"' in page or f"{day(1)}.html" in page
    assert f"{day(3)}.html" in page
    assert f"{day(2)}.html" in text(s3, f"days/{day(1)}.html")
    assert f"{day(2)}.html" in text(s3, f"days/{day(3)}.html")


def test_a_day_made_again_has_new_addresses_for_what_is_cached_for_ever(s3: VersionedS3) -> None:
    saved(s3, day(0), seed=1)
    first = published(s3, day(0)).urgent
    saved(s3, day(0), seed=2)
    second = published(s3, day(0)).urgent
    assert first is not None and second is not None
    assert not {first.sound, first.midi, first.picture} & {
        second.sound,
        second.midi,
        second.picture,
    }
    assert second.sound in text(s3, f"days/{day(0)}.html")
    assert first.sound not in text(s3, f"days/{day(0)}.html")
    assert text(s3, "feed.json").count('"id"') == 1


@pytest.mark.parametrize(
    "lost",
    ["feed.json", "index.html", "catalogue.json", "days/2026-11-01.html", "archive/2026.html"],
)
def test_whatever_is_lost_comes_back_with_the_next_publication(lost: str, s3: VersionedS3) -> None:
    for number in range(3):
        saved(s3, day(number))
        published(s3, day(number))
    before = site(s3)
    s3.objects[f"site/{lost}"].clear()
    assert published(s3, day(2)).finished
    assert site(s3) == before


@pytest.mark.parametrize("kind", ["sound", "midi", "roll"])
def test_a_lost_file_of_a_day_comes_back(kind: str, s3: VersionedS3) -> None:
    for number in range(3):
        saved(s3, day(number))
    published(s3)
    before = site(s3)
    lost = next(name for name in before if name.startswith(f"{kind}/{day(1)}"))
    s3.objects[f"site/{lost}"].clear()
    published(s3, day(2))
    assert site(s3) == before


def test_a_page_that_was_changed_by_hand_is_made_again(s3: VersionedS3) -> None:
    for number in range(3):
        saved(s3, day(number))
    published(s3)
    before = site(s3)
    for name in (f"days/{day(1)}.html", "index.html", "feed.xml"):
        s3.objects[f"site/{name}"].append(b"changed")
    published(s3, day(2))
    assert site(s3) == before


def damaged_catalogues(whole: bytes) -> list[bytes]:
    """The catalogue with each of the fields of an entry gone, null or of another type."""
    damaged = [b"", b"[]", b'{"form": 1, "days": {"2026-11-01": {}}}', b'{"form": 99}', whole[:90]]
    for name in json.loads(whole)["days"][day(1)]["entry"]:
        wrong: Any
        for wrong in ({"a": 1}, [[1]], None):
            if wrong is None and name in ("form", "continued_from"):
                continue  # which may be so
            content = json.loads(whole)
            content["days"][day(1)]["entry"][name] = wrong
            damaged.append(json.dumps(content).encode())
    return damaged


def test_a_damaged_catalogue_is_made_anew(s3: VersionedS3) -> None:
    for number in range(3):
        saved(s3, day(number), continued_from="2026-10-31")
    published(s3)
    before = site(s3)
    for damaged in damaged_catalogues(before["catalogue.json"]):
        s3.objects["site/catalogue.json"].append(damaged)
        published(s3, day(2))
        assert site(s3) == before


def test_a_rebuild_makes_every_page_again_without_rendering_sound(s3: VersionedS3) -> None:
    for number in range(3):
        saved(s3, day(number))
    published(s3)
    before = site(s3)
    s3.objects[f"site/days/{day(1)}.html"].append(b"edited by hand")
    sounds = Sines()
    assert published(s3, sounds=sounds, rebuild=True).days == 3
    assert (site(s3), sounds.rendered) == (before, [])


def test_another_address_or_template_renews_every_page_by_itself(s3: VersionedS3) -> None:
    for number in range(3):
        saved(s3, day(number))
    published(s3)
    moved = Pages(TEMPLATES, Site("https://elsewhere.example", BANK, SITE.model))
    published(s3, day(2), pages=moved)
    for number in range(3):
        page = text(s3, f"days/{day(number)}.html")
        assert "https://elsewhere.example" in page
        assert str(SITE.url) not in page


def test_another_sound_bank_renews_every_sound(s3: VersionedS3) -> None:
    for number in range(3):
        saved(s3, day(number))
    published(s3)
    s3.objects.update({key: [] for key in s3.objects if key.startswith("site/sound/")})
    sounds = Sines("another bank")
    published(s3, day(1), sounds=sounds)
    assert sounds.rendered == [day(1), day(2), day(0)], "the urgent one first, then the newest"


def test_a_backlog_is_worked_off_in_several_calls(s3: VersionedS3) -> None:
    for number in range(6):
        saved(s3, day(number))
    left = iter([100.0 - 30 * call for call in range(100)])
    first = published(s3, day(5), left_s=lambda: next(left))
    assert not first.finished
    assert 0 < first.days < 6
    assert f"{day(5)}.html" in text(s3, "archive/2026.html")
    calls = 1
    while not published(s3, day(5)).finished:
        calls += 1
        assert calls < 10
    assert sum(name.startswith("days/") for name in site(s3)) == 6


@pytest.mark.parametrize("torn", [b"", b'{"date": "2026-11-02", "ke', b"[]", b'{"keys": {}}'])
def test_a_torn_record_keeps_no_other_day_from_being_published(
    torn: bytes, s3: VersionedS3
) -> None:
    for number in range(3):
        saved(s3, day(number))
    s3.objects[archive_keys(day(1))["record"]].append(torn)
    done = published(s3, day(2))
    assert done.finished
    assert list(done.not_published) == [day(1)]
    assert f"days/{day(1)}.html" not in site(s3)
    with pytest.raises(TokensError, match=rf"{day(1)}_sequence\.json is missing or no record"):
        published(s3, day(1))


@pytest.mark.parametrize(
    "changes",
    [
        *({"seed": None}, {"seed": "7"}, {"model_id": None}, {"style": 3}, {"date": "2026-11-09"}),
        *({"form": "ABA"}, {"form": []}, {"form": {"letters": ["A"], "bars": [1, 2]}}),
        *({"form": {"letters": "A", "bars": [1]}}, {"continued_from": 7}),
    ],
)
def test_a_record_with_a_wrong_field_keeps_no_other_day_from_being_published(
    changes: dict[str, Any], s3: VersionedS3
) -> None:
    for number in range(3):
        saved(s3, day(number))
    key = archive_keys(day(1))["record"]
    record = json.loads(s3.objects[key][-1]) | changes
    s3.objects[key].append(json.dumps(record).encode())
    done = published(s3, day(2))
    assert (done.finished, list(done.not_published)) == (True, [day(1)])
    assert f"days/{day(2)}.html" in site(s3)


def test_many_damaged_days_keep_no_older_day_from_being_published(s3: VersionedS3) -> None:
    for number in range(module.CHUNK + 5):
        saved(s3, day(number))
    for number in range(1, module.CHUNK + 5):
        s3.objects[archive_keys(day(number))["record"]].append(b"torn")
    done = published(s3)
    assert (done.finished, done.days) == (True, 1)
    assert f"days/{day(0)}.html" in site(s3)


def test_a_piece_without_sound_keeps_no_other_day_from_being_published(s3: VersionedS3) -> None:
    class Silent(Sines):
        def render(self, material: Material) -> tuple[bytes, float]:
            if material.record["date"] == day(1):
                raise SoundError("the bank makes no sound of this piece")
            return super().render(material)

    for number in range(3):
        saved(s3, day(number))
    done = published(s3, day(2), sounds=Silent())
    assert (done.finished, list(done.not_published)) == (True, [day(1)])
    with pytest.raises(SoundError):
        published(s3, day(1), sounds=Silent())


@pytest.mark.parametrize("rebuild", [False, True])
def test_the_newest_day_may_be_damaged_when_another_is_published(
    rebuild: bool, s3: VersionedS3
) -> None:
    for number in range(3):
        saved(s3, day(number))
    published(s3)
    s3.objects[archive_keys(day(2))["record"]].append(b"torn")
    saved(s3, day(0), seed=5)
    done = published(s3, day(0), rebuild=rebuild)
    assert done.finished
    assert list(done.not_published) == [day(2)]
    assert done.urgent is not None and done.urgent.sound in text(s3, f"days/{day(0)}.html")


def test_a_copy_of_the_bucket_has_other_versions_and_is_published_all_the_same(
    s3: VersionedS3,
) -> None:
    saved(s3, day(0), seed=1)
    saved(s3, day(0), seed=2)  # the second version of each
    copy = VersionedS3({key: versions[-1:] for key, versions in s3.objects.items()})
    assert published(copy, day(0)).finished


def test_a_record_of_an_older_form_is_believed_as_it_is(s3: VersionedS3) -> None:
    keys = archive_keys(day(0))
    s3.put_object(keys["archive"], midi_of())
    record = {"date": day(0), "seed": 3, "model_id": "cd" * 32, "style": None, "keys": keys}
    s3.put_object(keys["record"], json.dumps(record).encode())
    done = published(s3, day(0))
    assert done.urgent is not None
    assert (done.urgent.metre, done.urgent.tempo, done.urgent.form) == ("4/4", 120.0, None)


def test_the_version_that_the_record_names_is_published(s3: VersionedS3) -> None:
    saved(s3, day(0), seed=1)
    key = archive_keys(day(0))["archive"]
    committed = s3.objects[key][-1]
    s3.put_object(key, midi_of(tempo=60))  # by a save that failed before its record
    done = published(s3, day(0))
    assert done.urgent is not None
    assert site(s3)[done.urgent.midi] == committed


def test_names_of_prompts_cannot_become_markup_and_do_not_tell_the_bucket(s3: VersionedS3) -> None:
    uri = "s3://midi-archive-music-123456789012-us-east-1/prompts/<script>alert(1)</script>.mid"
    saved(s3, day(0), continued_from=uri, style="<script>")
    published(s3, day(0))
    for name, body in site(s3).items():
        if name.endswith((".html", ".xml")):
            assert b"<script>alert" not in body, name
            assert b"123456789012" not in body, name


def test_a_batchs_piece_has_a_sound_and_no_page(s3: VersionedS3) -> None:
    saved(s3, day(0), piece=7)
    publisher = Publisher(Bucket("music", s3), PAGES, Sines(), lambda: 300.0)
    key = publisher.sound_of(day(0), 7)
    assert key.startswith(f"site/sound/{day(0)}-0007-")
    assert list(site(s3)) == [key.removeprefix("site/")]


def test_a_trial_is_published_apart(s3: VersionedS3) -> None:
    saved(s3, day(0))
    published(s3, day(0))
    before = site(s3)
    origin = {"model_id": "ab" * 32, "date": "2000-01-01", "style": "folk", "seed": 1}
    record = {**origin, "duration_s": 8.0, "notes": 24}
    PieceStore("music", s3).save(midi_of(), {**origin, "ids": []}, record, day(0), trial=True)
    published(s3, "2000-01-01", trial=True)
    assert site(s3) == before
    assert "trial/site/days/2000-01-01.html" in s3.objects


def test_a_day_whose_record_is_gone_leaves_archive_and_feeds(s3: VersionedS3) -> None:
    for number in range(3):
        saved(s3, day(number))
    published(s3)
    s3.objects[archive_keys(day(1))["record"]].clear()
    published(s3, day(2))
    assert day(1) not in text(s3, "feed.json")
    assert day(1) not in text(s3, "archive/2026.html")
    assert f"{day(0)}.html" in text(s3, f"days/{day(2)}.html")


def test_the_list_of_a_style_without_pieces_lists_none(s3: VersionedS3) -> None:
    saved(s3, day(0), style="chorale")
    published(s3, day(0))
    assert day(0) in text(s3, "archive/chorale.html")
    saved(s3, day(0), style="folk", seed=3)
    published(s3, day(0))
    assert day(0) not in text(s3, "archive/chorale.html")
    assert "chorale" not in text(s3, "archive/index.html")


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
    with pytest.raises(ConflictError, match=r"site/index\.html was changed"):
        published(s3, day(0))


def test_without_any_day_there_is_a_home_page(s3: VersionedS3) -> None:
    assert published(s3).finished
    assert "index.html" in site(s3)


def test_the_templates_are_where_the_zip_has_them() -> None:
    assert (Path(module.__file__).parents[2] / "site" / "day.html").is_file()
