"""Makes every file of the site from the entries of the days and the templates in site/.

Pure: the same entries, templates and site give the same bytes; nothing is read but the templates,
and nothing is written. All links are relative, so that the folder also works when it is opened from
disk; only 404.html, which is served at any address, links from the root. Depends on neither S3 nor
how MIDI is read.
"""

from __future__ import annotations

import hashlib
import json
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from jinja2 import (
    Environment,
    FileSystemLoader,
    StrictUndefined,
    TemplateError,
    TemplateSyntaxError,
)
from markupsafe import Markup

from contract.errors import SiteError
from contract.marks import DIGITAL_SOURCE_TYPE
from contract.records import is_date
from midi_save.publishing import feeds, place, words
from midi_save.publishing.entry import Entry, with_plain_text
from midi_save.publishing.files import FOR_EVER, SiteFile
from midi_save.publishing.place import Site
from midi_save.publishing.roll import prime

HTML = "text/html; charset=utf-8"
# The files beside the templates, and what they are served as.
ASSETS = {
    "style.css": "text/css; charset=utf-8",
    "script.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
COVER = "cover.png"
EARLIER_ON_HOME = 6  # how many pieces the home page shows below the newest
STRIP = 6  # pictures of a year in the archive's overview

_Groups = list[tuple[str, list[Entry]]]
"""Days that a page shows together, by what they have in common."""


class Pages:
    """The pages of a site. `folder` holds templates, style sheet, script and pictures.

    `version` changes when any page could look different: with a template, with the code of this
    package or with the site's facts.
    """

    def __init__(self, folder: Path, site: Site) -> None:
        self._folder, self.site = folder, site
        self._names = {name: _name_with_hash(folder / name) for name in ASSETS}
        environment = Environment(
            loader=FileSystemLoader(folder),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        written: tuple[Callable[..., str], ...] = (
            *(words.long_date, words.day_and_month, words.minutes, words.counted),
            *(words.file_name, prime),
        )
        environment.filters.update({function.__name__: function for function in written})
        environment.tests["date"] = is_date
        environment.globals.update(
            site=site, place=place, assets=self._names, digital_source_type=DIGITAL_SOURCE_TYPE
        )
        self._environment = environment
        self.version = self._version()

    def assets(self) -> dict[str, SiteFile]:
        """What all pages refer to, the page for addresses that do not exist, and the cover."""
        files = {
            self._names[name]: SiteFile((self._folder / name).read_bytes(), kind, FOR_EVER)
            for name, kind in ASSETS.items()
        }
        files[COVER] = SiteFile((self._folder / COVER).read_bytes(), "image/png")
        # It is served at any address, so its links begin at the site's root.
        files["404.html"] = self._page("404.html", None, root="/")
        return files

    def day(
        self, entry: Entry, roll_svg: str, earlier: Entry | None, later: Entry | None
    ) -> SiteFile:
        """The page of a day, to be kept as days/DATE.html. `roll_svg` is what roll.py draws."""
        entry = with_plain_text(entry)
        return self._page(
            "day.html",
            f"days/{entry.date}.html",
            entry=entry,
            roll=Markup(roll_svg),  # noqa: S704 - roll.py escapes what it writes
            earlier=earlier and with_plain_text(earlier),
            later=later and with_plain_text(later),
            linked_data=_for_script(_linked_data(entry, self.site)),
        )

    def overview(self, entries: Sequence[Entry], newest_roll_svg: str) -> dict[str, SiteFile]:
        """Everything that shows several days: home page, archive and feeds.

        `entries` are all days, the oldest first; without any, the home page says what will come.
        """
        newest_first = [with_plain_text(entry) for entry in reversed(entries)]
        years = _grouped(newest_first, lambda entry: entry.date[:4])
        styles = _grouped(sorted(newest_first, key=attrgetter("style")), attrgetter("style"))
        files = {
            "index.html": self._page(
                "home.html",
                "",
                newest=newest_first[0] if newest_first else None,
                roll=Markup(newest_roll_svg),  # noqa: S704 - roll.py escapes what it writes
                earlier=newest_first[1 : 1 + EARLIER_ON_HOME],
                count=len(newest_first),
            ),
            "archive/index.html": self._page(
                "archive.html",
                "archive/index.html",
                years=years,
                styles=sorted(styles, key=lambda style: -len(style[1])),
                entries=newest_first,
                strip=STRIP,
            ),
        }
        for year, of_year in years:
            months = _grouped(of_year, lambda entry: words.long_date(entry.date).split()[1])
            shown = {"name": year, "entries": of_year, "groups": months}
            files |= self._list(f"archive/{year}.html", shown, years, styles)
        for style, of_style in styles:
            by_year = _grouped(of_style, lambda entry: entry.date[:4])
            shown = {"name": style, "entries": of_style, "groups": by_year}
            files |= self._list(f"archive/{words.file_name(style)}.html", shown, years, styles)
        return files | feeds.feeds(newest_first, self.site)

    def _list(
        self, path: str, shown: dict[str, Any], years: _Groups, styles: _Groups
    ) -> dict[str, SiteFile]:
        """The page of a year or a style: its days in groups, and links to the others."""
        return {path: self._page("list.html", path, **shown, years=years, styles=styles)}

    def _page(self, template: str, path: str | None, root: str = "", **shown: Any) -> SiteFile:
        """`path` is the page's own, "" the home page's; a page without a path has no address."""
        root = root or "../" * (path or "").count("/")
        address = None if path is None else self.site.at(path)
        try:
            page = self._environment.get_template(template)
            text = page.render(root=root, address=address, **shown)
        except TemplateError as error:
            raise SiteError(f"{_place_of(error, self._folder)}: {error.message}") from error
        return SiteFile(text.encode(), HTML)

    def _version(self) -> str:
        """A hash of all that pages follow from, but for the entries."""
        sources = [*Path(__file__).parent.glob("*.py"), *self._folder.iterdir()]
        digest = hashlib.sha256(repr(self.site).encode())
        for path in sorted(sources, key=lambda path: (path.parent.name, path.name)):
            if path.is_file():
                digest.update(f"\0{path.name}\0".encode() + path.read_bytes())
        return digest.hexdigest()


def _place_of(error: TemplateError, folder: Path) -> str:
    """As in "site/day.html, line 20"."""
    if isinstance(error, TemplateSyntaxError):
        return f"{folder.name}/{error.name}, line {error.lineno}"
    # jinja2 puts the lines of the templates into the traceback.
    frames = traceback.extract_tb(error.__traceback__)
    found = [frame for frame in frames if Path(frame.filename).parent == folder]
    return f"{folder.name}/{Path(found[-1].filename).name}, line {found[-1].lineno}"


def _name_with_hash(path: Path) -> str:
    """site/style.css as "style-1f0c….css": another name when it changes."""
    return f"{path.stem}-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}{path.suffix}"


def _grouped(entries: Iterable[Entry], key: Callable[[Entry], str]) -> _Groups:
    """Neighbours of one key together."""
    return [(name, list(group)) for name, group in groupby(entries, key)]


def _linked_data(entry: Entry, site: Site) -> dict[str, Any]:
    """The piece in the vocabulary of schema.org. Addresses are there if the site has one."""
    sound = {
        "@type": "AudioObject",
        "encodingFormat": "audio/mpeg",
        "duration": words.iso_duration(entry.sound_s),
        "contentSize": str(entry.sound_bytes),
        "digitalSourceType": DIGITAL_SOURCE_TYPE,
    }
    data: dict[str, Any] = {
        "@context": "https://schema.org",
        "@type": "MusicComposition",
        "name": entry.title,
        "musicalKey": entry.key,
        "genre": entry.style,
        "dateCreated": entry.date,
        "description": f"Composed by a machine: model {entry.model_id[:12]}, seed {entry.seed}.",
        "digitalSourceType": DIGITAL_SOURCE_TYPE,
        "audio": sound,
    }
    if site.url is not None:
        data |= {"url": site.at(f"days/{entry.date}.html"), "image": site.at(entry.picture)}
        data["encoding"] = {
            "@type": "MediaObject",
            "encodingFormat": "audio/midi",
            "contentUrl": site.at(entry.midi),
        }
        sound["contentUrl"] = str(site.at(entry.sound))
    return data


def _for_script(data: Mapping[str, Any]) -> Markup:
    """JSON for a script element: no name in it can end the element."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 - nothing in it is a tag any more
