"""The pages: what they say, that names cannot break them, and how large they are."""

from __future__ import annotations

import json
import posixpath
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import SiteError
from contract.marks import DIGITAL_SOURCE_TYPE
from midi_save.publishing import words
from midi_save.publishing.files import FOR_EVER, SHORT
from midi_save.publishing.pages import Pages
from midi_save.publishing.place import Model, Site
from midi_save.publishing.roll import roll_svg
from midi_save.publishing.score import read_score
from tests.site.documents import Document
from tests.site.pieces import (
    ADDRESS,
    BANK,
    ON_DISK,
    SITE,
    TEMPLATES,
    THEME_FORM,
    entries,
    entry,
    midi_of,
)

HOSTILE = """</title></script><script>alert(1)</script>"'&<img src=x onerror=alert(2)>"""
ROLL = roll_svg(read_score(midi_of()), THEME_FORM)


PAGES = Pages(TEMPLATES, SITE)


@pytest.fixture
def pages() -> Pages:
    return PAGES


def day_page(pages: Pages, number: int = 4) -> Document:
    return Document(pages.day(entry(number), ROLL, entry(number - 1), entry(number + 1)).body)


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        (
            "{% endif %}",
            "{% endfi %}",
            r"site/day\.html, line \d+: .* tag 'endfi'",
        ),
        ("{{ entry.title }}", "{{ entry.titel }}", r"site/day\.html, line \d+: .* 'titel'"),
    ],
)
def test_a_mistake_in_a_template_is_told_with_its_file_and_line(
    right: str, wrong: str, said: str, tmp_path: Path
) -> None:
    folder = tmp_path / "site"
    shutil.copytree(TEMPLATES, folder)
    text = (folder / "day.html").read_text()
    assert right in text
    (folder / "day.html").write_text(text.replace(right, wrong, 1))
    with pytest.raises(SiteError, match=said):
        Pages(folder, SITE).day(entry(), "", None, None)


def test_a_day_says_everything_that_is_known_of_it(pages: Pages) -> None:
    page = day_page(pages)
    for fact in ("Chorale in G minor", "5 November 2026", "4/4", "120 quarters a minute", "0:08"):
        assert fact in page.text
    for fact in ("flute, strings", "2584072475", "f16b2ae3bc76", "A B A′ C", "24 notes"):
        assert fact in page.text
    assert "takes up the opening motif of 4 November 2026" in " ".join(page.text.split())
    assert page.all("audio")[0]["src"] == "../sound/2026-11-05-0123456789ab.mp3"
    downloads = {a["download"]: a["href"] for a in page.all("a") if "download" in a}
    assert downloads == {
        "2026-11-05.mp3": "../sound/2026-11-05-0123456789ab.mp3",
        "2026-11-05.mid": "../midi/2026-11-05-0123456789ab.mid",
    }
    by_rel = {a["rel"]: a["href"] for a in page.all("a") if "rel" in a}
    assert by_rel == {
        "prev": "2026-11-04.html",
        "next": "2026-11-06.html",
        "bookmark": "2026-11-05.html",
    }


def test_a_day_says_that_a_machine_composed_it_for_people_and_for_machines(pages: Pages) -> None:
    page = day_page(pages)
    assert "Composed by a machine" in page.text
    assert page.meta("digitalSourceType") == DIGITAL_SOURCE_TYPE
    data = json.loads(page.scripts[0])
    assert data["@type"] == "MusicComposition"
    assert data["digitalSourceType"] == data["audio"]["digitalSourceType"] == DIGITAL_SOURCE_TYPE
    assert data["audio"]["contentUrl"].startswith(f"{ADDRESS}/sound/")
    assert "Sines by the tests, CC0" in page.text, "the colophon names the sounds"


def test_a_day_has_a_preview_and_one_permanent_address(pages: Pages) -> None:
    page = day_page(pages)
    address = f"{ADDRESS}/days/2026-11-05.html"
    assert page.meta("og:url") == address
    assert page.meta("og:image") == f"{ADDRESS}/roll/2026-11-05-0123456789ab.png"
    assert [link["href"] for link in page.all("link") if link["rel"] == "canonical"] == [address]


@pytest.mark.parametrize(
    ("origin", "told"),
    [
        (None, "takes up nothing from an earlier day"),
        ("my-tune.mid", "continues my-tune.mid, a MIDI file that it was given"),
        ("2026-11-31", "continues 2026-11-31, a MIDI file"),  # no day, so no link to one
    ],
)
def test_what_a_piece_continues_is_said(pages: Pages, origin: str | None, told: str) -> None:
    day = entry(continued_from=origin)
    page = Document(pages.day(day, ROLL, None, None).body)
    assert told in " ".join(page.text.split())
    assert f"{origin}.html" not in page.links()


def test_a_piece_without_a_form_has_no_letters_to_explain(pages: Pages) -> None:
    text = Document(pages.day(entry(form=None), ROLL, None, None).body).text
    assert "None" not in text
    assert "letters above" not in text


def test_without_a_public_address_nothing_is_absolute_and_there_are_no_feeds() -> None:
    pages = Pages(TEMPLATES, ON_DISK)
    files = pages.assets() | pages.overview(entries(9), ROLL)
    files["days/2026-11-05.html"] = pages.day(entry(4), ROLL, entry(3), None)
    assert not [name for name in files if name.startswith("feed")]
    for name, file in files.items():
        if name.endswith(".html"):
            page = Document(file.body)
            assert not [link for link in page.links() if "://" in link], name
            assert page.meta("og:image") is None
            assert "None" not in page.text
    assert "no feed to subscribe to" in Document(files["index.html"].body).text


@pytest.mark.parametrize("site", [SITE, ON_DISK])
@pytest.mark.parametrize("count", [0, 1, 7, 150])
def test_every_link_leads_to_a_file_of_the_site(site: Site, count: int) -> None:
    pages = Pages(TEMPLATES, site)
    days = entries(count, continued_from=None)
    files = pages.assets() | pages.overview(days, ROLL if days else "")
    for number, day in enumerate(days):
        earlier = days[number - 1] if number else None
        later = days[number + 1] if number + 1 < count else None
        page = pages.day(day, ROLL, earlier, later)
        files[f"days/{day.date}.html"] = page
    data = {name for day in days for name in (day.midi, day.sound, day.picture)}
    for name, file in files.items():
        if not name.endswith(".html"):
            continue
        for link in Document(file.body).links():
            if link.startswith((ADDRESS, "#")):
                continue
            assert "://" not in link
            assert link.startswith("/") is (name == "404.html" and link != "#content"), (name, link)
            path = link.partition("#")[0]
            target = posixpath.normpath(posixpath.join(posixpath.dirname(f"/{name}"), path))
            assert target.removeprefix("/") in files.keys() | data, f"{name} links to {link}"


def test_names_cannot_break_out_of_the_page(pages: Pages) -> None:
    hostile = dict.fromkeys(("title", "style", "key", "metre", "form", "model_id"), HOSTILE)
    hostile |= {"continued_from": HOSTILE}
    days = [entry(number, **hostile, instruments=(HOSTILE,)) for number in range(3)]
    files = pages.overview(days, ROLL)
    files["days/day.html"] = pages.day(days[1], ROLL, days[0], days[2])
    for name, file in files.items():
        if name.endswith(".html"):
            page = Document(file.body)
            scripts = [script.get("src", script.get("type")) for script in page.all("script")]
            assert scripts[-1] and scripts[-1].endswith(".js"), name
            assert scripts[:-1] in ([], ["application/ld+json"]), name
            assert not page.values("onerror"), name
            assert "<script>alert(1)" not in file.body.decode(), name
    assert json.loads(Document(files["days/day.html"].body).scripts[0])["name"] == HOSTILE


@given(name=st.text(max_size=40))
def test_any_name_at_all_gives_a_page_and_a_file_name(name: str) -> None:
    day = entry(title=name, style=name, instruments=(name,), continued_from=name)
    page = Document(PAGES.day(day, ROLL, None, None).body)
    assert json.loads(page.scripts[0])["name"] == words.plain(name)
    files = PAGES.overview([day], ROLL)
    archive = [path for path in files if path.startswith("archive/")]
    assert len(archive) == 3
    assert all(path.isascii() and path.count("/") == 1 and " " not in path for path in archive)


@given(
    names=st.sets(
        st.sampled_from(
            ["index", "2026", "Trio & Fugue", "trio fugue", "trio-fugue", "ä", "a", "A", ""]
        )
    )
)
def test_no_two_styles_share_a_page(names: set[str]) -> None:
    files = PAGES.overview([entry(n, style=name) for n, name in enumerate(sorted(names))], ROLL)
    archive = [path for path in files if path.startswith("archive/")]
    assert len(archive) == len(names) + 1 + bool(names)


def test_no_page_has_code_or_style_within(pages: Pages) -> None:
    files = pages.assets() | pages.overview(entries(40), ROLL)
    files["days/day.html"] = pages.day(entry(4), ROLL, entry(3), entry(5))
    for name, file in files.items():
        if not name.endswith(".html"):
            continue
        page = Document(file.body)
        policy = page.meta("Content-Security-Policy") or ""
        assert policy.startswith("default-src 'none';"), name
        assert "unsafe" not in policy
        assert not page.values("style"), name
        assert not page.all("style"), name
        attributes = {attribute for _, found in page.tags for attribute in found}
        assert not [attribute for attribute in attributes if attribute.startswith("on")], name


def test_a_year_and_a_style_list_all_their_days_newest_first(pages: Pages) -> None:
    files = pages.overview(entries(100), ROLL)
    year = Document(files["archive/2026.html"].body)
    days = [link for link in year.links() if "/days/" in link]
    assert len(days) == 61
    assert days == sorted(days, reverse=True)
    assert year.text.index("December") < year.text.index("November")
    folk = Document(files["archive/folk.html"].body)
    assert len([link for link in folk.links() if "/days/" in link]) == 33
    assert all(image["loading"] == "lazy" for image in year.all("img"))


def test_home_page_without_pieces_is_sensible(pages: Pages) -> None:
    home = Document(pages.overview([], "")["index.html"].body)
    assert "first piece will be here" in home.text
    assert not home.all("audio")


def test_pages_are_small(pages: Pages) -> None:
    files = pages.overview(entries(1_000), "")
    assert len(files["index.html"].body) < 60_000
    assert len(files["archive/index.html"].body) < 60_000
    assert len(files["archive/2027.html"].body) < 250_000
    sizes = {path.name: path.stat().st_size for path in TEMPLATES.iterdir()}
    assert sizes["script.js"] < 15_000
    assert sizes["style.css"] < 20_000


def test_the_same_entries_give_the_same_bytes(pages: Pages) -> None:
    again = Pages(TEMPLATES, SITE)
    assert again.version == pages.version
    assert again.overview(entries(7), ROLL) == pages.overview(entries(7), ROLL)
    assert again.assets() == pages.assets()


def test_the_version_follows_the_templates_and_the_site(pages: Pages, tmp_path: Path) -> None:
    folder = shutil.copytree(TEMPLATES, tmp_path / "site")
    assert Pages(folder, SITE).version == pages.version
    versions = {pages.version}
    for site in (
        ON_DISK,
        replace(SITE, model=Model(1, 1)),
        replace(SITE, bank=replace(BANK, name="x")),
    ):
        versions.add(Pages(folder, site).version)
    for name in ("day.html", "style.css", "script.js", "cover.png"):
        changed = folder / name
        changed.write_bytes(changed.read_bytes() + b"\n")
        versions.add(Pages(folder, SITE).version)
    assert len(versions) == 8


def test_what_changes_at_one_address_is_not_kept_for_long(pages: Pages, tmp_path: Path) -> None:
    assets = pages.assets()
    for_ever = {name for name, file in assets.items() if file.cache == FOR_EVER}
    assert {name.partition("-")[0] for name in for_ever} == {"style", "script", "icon"}
    assert {name for name in assets if name not in for_ever} == {"404.html", "cover.png"}
    assert all(file.cache == SHORT for file in pages.overview(entries(3), ROLL).values())
    folder = shutil.copytree(TEMPLATES, tmp_path / "site")
    (folder / "style.css").write_text("body { color: red }")
    changed = {name for name in Pages(folder, SITE).assets() if name.startswith("style")}
    assert not changed & for_ever, "a changed style sheet has another name"
