"""The feeds, read as feed readers and podcast apps read them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import feedparser
import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.marks import DIGITAL_SOURCE_TYPE
from midi_save.publishing.entry import with_plain_text
from midi_save.publishing.feeds import NAMESPACES, NEWEST, feeds
from midi_save.publishing.files import SiteFile
from tests.site.pieces import ADDRESS, ON_DISK, SITE, entries, entry

SCHEMA = json.loads((Path(__file__).parent / "jsonfeed.schema.json").read_text())


def feeds_of(count: int, **changes: Any) -> dict[str, SiteFile]:
    return feeds(entries(count, **changes)[::-1], SITE)


def read_rss(file: SiteFile) -> Any:
    """What feedparser reads; it must have nothing to complain about."""
    parsed = feedparser.parse(file.body, response_headers={"content-type": file.content_type})
    assert not parsed.bozo, parsed.get("bozo_exception")
    assert parsed.version == "rss20"
    return parsed


def read_json(file: SiteFile) -> dict[str, Any]:
    feed: dict[str, Any] = json.loads(file.body)
    jsonschema.validate(feed, SCHEMA, jsonschema.Draft202012Validator)
    return feed


def followed(files: Mapping[str, SiteFile], next_of: Any) -> list[str]:
    """The names of the feeds from the first one on, in the order in which they link."""
    names = ["feed"]
    while following := next_of(names[-1]):
        names.append(following.removeprefix(f"{ADDRESS}/").rpartition(".")[0])
        assert len(names) == len(set(names)), "a feed links back"
    return names


def test_a_podcast_app_finds_what_it_needs() -> None:
    file = feeds_of(7)["feed.xml"]
    parsed = read_rss(file)
    channel = parsed.feed
    assert channel.title == "A piece a day"
    assert channel.link == f"{ADDRESS}/"
    assert channel.image.href == f"{ADDRESS}/cover.png"
    assert [tag.term for tag in channel.tags] == ["Music"]
    assert channel.author == "midi-archive-lambda"
    assert [link.href for link in channel.links if link.rel == "self"] == [f"{ADDRESS}/feed.xml"]
    root = ET.fromstring(file.body)
    itunes = {
        name: root.findtext(f"channel/itunes:{name}", None, NAMESPACES)
        for name in ("type", "explicit")
    }
    assert itunes == {"type": "episodic", "explicit": "false"}
    assert len(parsed.entries) == 7
    newest = parsed.entries[0]
    assert newest.id == newest.link == f"{ADDRESS}/days/2026-11-07.html"
    assert newest.published == "Sat, 07 Nov 2026 00:00:00 +0000"
    assert newest.itunes_duration == "8"
    (enclosure,) = newest.enclosures
    assert enclosure.type == "audio/mpeg"
    assert enclosure.length == "812000"
    assert enclosure.href == f"{ADDRESS}/sound/2026-11-07-0123456789ab.mp3"


def test_the_json_feed_says_the_same() -> None:
    feed = read_json(feeds_of(7)["feed.json"])
    assert feed["feed_url"] == f"{ADDRESS}/feed.json"
    newest = feed["items"][0]
    assert newest["id"] == f"{ADDRESS}/days/2026-11-07.html"
    assert newest["date_published"] == "2026-11-07T00:00:00Z"
    assert newest["attachments"][0]["size_in_bytes"] == 812_000
    assert newest["tags"] == ["chorale"]


def test_every_item_is_marked_as_made_by_a_machine() -> None:
    files = feeds_of(3)
    for item in read_json(files["feed.json"])["items"]:
        assert "Composed by a machine" in item["content_text"]
        assert item["_provenance"]["digital_source_type"] == DIGITAL_SOURCE_TYPE
    for found in ET.fromstring(files["feed.xml"].body).iter("item"):
        assert "Composed by a machine" in (found.findtext("description") or "")
        name = "Iptc4xmpExt:DigitalSourceType"
        assert found.findtext(name, None, NAMESPACES) == DIGITAL_SOURCE_TYPE


@pytest.mark.parametrize("count", [1, 7, NEWEST, NEWEST + 1, 1_000])
def test_all_days_are_reached_once_from_the_first_page_in_order(count: int) -> None:
    files = feeds_of(count)
    expected = [f"{ADDRESS}/days/{day.date}.html" for day in reversed(entries(count))]

    read = {name: read_rss(file) for name, file in files.items() if name.endswith(".xml")}

    def older(name: str) -> Any:
        links = read[f"{name}.xml"].feed.links
        return next((link.href for link in links if link.rel == "prev-archive"), None)

    json_names = followed(files, lambda name: read_json(files[f"{name}.json"]).get("next_url"))
    assert json_names == followed(files, older)
    assert {
        f"{name}{ending}" for name in json_names for ending in (".json", ".xml")
    } == files.keys()
    items = [item for name in json_names for item in read_json(files[f"{name}.json"])["items"]]
    assert [item["id"] for item in items] == expected
    items = [item for name in json_names for item in read[f"{name}.xml"].entries]
    assert [item.id for item in items] == expected
    assert len(read_json(files["feed.json"])["items"]) == min(count, NEWEST)


def test_the_first_page_of_a_thousand_days_is_small() -> None:
    files = feeds_of(1_000)
    assert len(files["feed.json"].body) < 200_000
    assert len(files["feed.xml"].body) < 200_000


def test_an_older_page_says_that_it_is_an_archive_of_the_same_podcast() -> None:
    files = feeds_of(1_000)
    first, older = (ET.fromstring(files[f"feed{year}.xml"].body) for year in ("", "-2028"))
    assert older.find("channel/fh:archive", NAMESPACES) is not None
    assert first.find("channel/fh:archive", NAMESPACES) is None
    guids = {feed.findtext("channel/podcast:guid", None, NAMESPACES) for feed in (first, older)}
    assert len(guids) == 1


def test_a_feed_is_whole_before_the_first_piece() -> None:
    files = feeds_of(0)
    assert read_rss(files["feed.xml"]).entries == []
    assert read_json(files["feed.json"])["items"] == []


def test_a_site_without_an_address_has_no_feeds() -> None:
    assert feeds(entries(3), ON_DISK) == {}


@given(name=st.text(st.characters(codec=None), min_size=1, max_size=30))
def test_no_name_breaks_a_feed(name: str) -> None:
    day = entry(title=name, style=name, key=name, instruments=(name,), continued_from=name)
    files = feeds([with_plain_text(day)], SITE)
    assert read_json(files["feed.json"])["items"][0]["title"].endswith("1 November 2026")
    item = ET.fromstring(files["feed.xml"].body).find("channel/item")
    assert item is not None
    assert (item.findtext("title") or "").endswith("1 November 2026")


def test_a_hostile_title_stays_text() -> None:
    title = "<script>alert(1)</script>]]>&amp;"
    file = feeds([entry(title=title, style=title)], SITE)["feed.xml"]
    assert read_rss(file).entries[0].title == f"{title}, 1 November 2026"
    description = ET.fromstring(file.body).findtext("channel/item/description") or ""
    assert description.startswith("A &lt;script&gt;"), "what readers take for HTML is escaped twice"
