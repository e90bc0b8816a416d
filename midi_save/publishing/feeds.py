"""The feeds: JSON Feed 1.1, and RSS 2.0 with what podcast directories ask for.

feed.json and feed.xml hold the newest days; older days are in feed-YEAR.json and feed-YEAR.xml, to
which each feed links (next_url of JSON Feed, prev-archive of RFC 5005). Days are dated 00:00 UTC,
and the address of a day's page is its id. Depends on neither S3 nor the templates.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from html import escape
from itertools import groupby
from typing import Any
from xml.etree import ElementTree as ET

from contract.marks import DIGITAL_SOURCE_TYPE
from contract.records import is_date
from midi_save.publishing import words
from midi_save.publishing.entry import Entry
from midi_save.publishing.files import SiteFile
from midi_save.publishing.place import ABOUT, MADE_WITH, NAME, Site

NEWEST = 100
NAMESPACES = {
    "atom": "http://www.w3.org/2005/Atom",
    "fh": "http://purl.org/syndication/history/1.0",
    "itunes": "http://www.itunes.com/dtds/podcast-1.0.dtd",
    "podcast": "https://podcastindex.org/namespace/1.0",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
}
for _prefix, _uri in NAMESPACES.items():
    ET.register_namespace(_prefix, _uri)
# From it and the feed's address follows the podcast:guid.
_PODCAST_NAMESPACE = uuid.UUID("ead4c236-bf58-58c6-a2c6-a6b28d128cb6")


def feeds(newest_first: Sequence[Entry], site: Site) -> dict[str, SiteFile]:
    """The feeds by name; none for a site without an address, since a feed is read elsewhere."""
    if site.url is None:
        return {}
    older = groupby(newest_first[NEWEST:], lambda entry: entry.date[:4])
    pages = [("feed", list(newest_first[:NEWEST]))]
    pages += [(f"feed-{year}", list(entries)) for year, entries in older]
    following = [*(name for name, _ in pages[1:]), None]
    files: dict[str, SiteFile] = {}
    for (name, entries), then in zip(pages, following, strict=True):
        files[f"{name}.json"] = _json_feed(name, entries, then, site)
        files[f"{name}.xml"] = _rss(name, entries, then, site)
    return files


def description(entry: Entry) -> str:
    """A day in two sentences, which also say that no person composed it."""
    instruments = ", ".join(entry.instruments)
    facts = f"{entry.key}, {entry.metre}, {entry.tempo:.0f} quarter notes a minute"
    origin = ""
    if entry.continued_from and is_date(entry.continued_from):
        origin = f", takes up the motif of {words.long_date(entry.continued_from)}"
    return (
        f"A {entry.style} piece for {instruments}: {facts}{origin}. "
        f"Composed by a machine (model {entry.model_id[:12]}, seed {entry.seed})."
    )


def _title(entry: Entry) -> str:
    return f"{entry.title}, {words.long_date(entry.date)}"


def _json_feed(name: str, entries: Sequence[Entry], then: str | None, site: Site) -> SiteFile:
    feed: dict[str, Any] = {
        "version": "https://jsonfeed.org/version/1.1",
        "title": NAME,
        "home_page_url": site.at(""),
        "feed_url": site.at(f"{name}.json"),
        "description": ABOUT,
        "icon": site.at("cover.png"),
        "language": "en",
        "authors": [{"name": MADE_WITH}],
    }
    if then:
        feed["next_url"] = site.at(f"{then}.json")
    feed["items"] = [_json_item(entry, site) for entry in entries]
    text = json.dumps(feed, ensure_ascii=False, separators=(",", ":"))
    return SiteFile(text.encode(), "application/feed+json; charset=utf-8")


def _json_item(entry: Entry, site: Site) -> dict[str, Any]:
    page = site.at(f"days/{entry.date}.html")
    return {
        "id": page,
        "url": page,
        "title": _title(entry),
        "content_text": description(entry),
        "image": site.at(entry.picture),
        "date_published": f"{entry.date}T00:00:00Z",
        "tags": [entry.style],
        "attachments": [
            {
                "url": site.at(entry.sound),
                "mime_type": "audio/mpeg",
                "size_in_bytes": entry.sound_bytes,
                "duration_in_seconds": round(entry.sound_s),
            }
        ],
        "_provenance": {"digital_source_type": DIGITAL_SOURCE_TYPE},
    }


def _rss(name: str, entries: Sequence[Entry], then: str | None, site: Site) -> SiteFile:
    rss = ET.Element("rss", {"version": "2.0"})
    channel = ET.SubElement(rss, "channel")
    address, cover = str(site.at(f"{name}.xml")), str(site.at("cover.png"))
    _add(channel, "title", NAME)
    _add(channel, "link", site.at(""))
    _add(channel, "description", ABOUT)
    _add(channel, "language", "en")
    _add(channel, "generator", MADE_WITH)
    atom_link = {"href": address, "rel": "self", "type": "application/rss+xml"}
    _add(channel, "atom:link", attributes=atom_link)
    if then:
        older = {"href": str(site.at(f"{then}.xml")), "rel": "prev-archive"}
        _add(channel, "atom:link", attributes=older)
    if name != "feed":
        _add(channel, "fh:archive")
        _add(channel, "atom:link", attributes={"href": str(site.at("feed.xml")), "rel": "current"})
    image = ET.SubElement(channel, "image")
    for tag, text in {"url": cover, "title": NAME, "link": site.at("")}.items():
        _add(image, tag, text)
    _add(channel, "itunes:author", MADE_WITH)
    _add(channel, "itunes:image", attributes={"href": cover})
    _add(channel, "itunes:category", attributes={"text": "Music"})
    _add(channel, "itunes:explicit", "false")
    _add(channel, "itunes:type", "episodic")
    # The guid is that of the feed's address without its scheme, and all pages of a feed share it.
    feed_name = str(site.at("feed.xml")).partition("://")[2]
    _add(channel, "podcast:guid", str(uuid.uuid5(_PODCAST_NAMESPACE, feed_name)))
    _add(channel, "podcast:medium", "music")
    for entry in entries:
        _rss_item(ET.SubElement(channel, "item"), entry, site)
    ET.indent(rss, "")
    text = ET.tostring(rss, encoding="unicode")
    body = f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'.encode()
    return SiteFile(body, "application/rss+xml; charset=utf-8")


def _rss_item(item: ET.Element, entry: Entry, site: Site) -> None:
    page = site.at(f"days/{entry.date}.html")
    published = datetime.fromisoformat(entry.date).replace(tzinfo=UTC)
    _add(item, "title", _title(entry))
    _add(item, "link", page)
    _add(item, "guid", page)
    _add(item, "pubDate", format_datetime(published))
    _add(item, "description", escape(description(entry)))  # readers take it for HTML
    enclosure = {
        "url": str(site.at(entry.sound)),
        "length": str(entry.sound_bytes),
        "type": "audio/mpeg",
    }
    _add(item, "enclosure", attributes=enclosure)
    _add(item, "itunes:duration", str(round(entry.sound_s)))
    _add(item, "itunes:explicit", "false")
    _add(item, "itunes:episodeType", "full")
    _add(item, "Iptc4xmpExt:DigitalSourceType", DIGITAL_SOURCE_TYPE)


def _add(
    parent: ET.Element,
    tag: str,
    text: str | None = None,
    attributes: Mapping[str, str] | None = None,
) -> None:
    """A child with a tag like "itunes:author"."""
    prefix, _, name = tag.rpartition(":")
    full = f"{{{NAMESPACES[prefix]}}}{name}" if prefix else name
    ET.SubElement(parent, full, dict(attributes or {})).text = text
