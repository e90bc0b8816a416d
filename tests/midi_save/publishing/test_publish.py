"""Publishing: the site is what the records say."""

from __future__ import annotations

import json
import re
from pathlib import Path

from contract.objects import Bucket
from contract.records import archive_keys
from midi_save.publishing import publish as module
from midi_save.publishing.pages import Pages
from midi_save.publishing.place import Site
from midi_save.publishing.publish import Publisher
from midi_save.storage import PieceStore
from tests.midi_save.publishing.days import (
    PAGES,
    Sines,
    day,
    published,
    saved,
    site,
    text,
)
from tests.site.pieces import BANK, SITE, TEMPLATES, midi_of
from tests.versioned_s3 import VersionedS3


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


def test_without_any_day_there_is_a_home_page(s3: VersionedS3) -> None:
    assert published(s3).finished
    assert "index.html" in site(s3)


def test_the_templates_are_where_the_zip_has_them() -> None:
    assert (Path(module.__file__).parents[2] / "site" / "day.html").is_file()
