"""A week's site in a folder, and a browser to look at it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from midi_save.publishing.files import SiteFile
from midi_save.publishing.pages import Pages
from midi_save.publishing.picture import roll_png
from midi_save.publishing.roll import roll_svg
from midi_save.publishing.score import read_score
from tests.site.pieces import SITE, TEMPLATES, THEME, THEME_FORM, entry, midi_of, sound_of
from tests.site.server import serve

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def site_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a week's site: seven days of a short piece, each a semitone higher."""
    folder = tmp_path_factory.mktemp("site")
    pages = Pages(TEMPLATES, SITE)
    days, rolls = [], []
    files: dict[str, SiteFile] = {}
    for number in range(7):
        midi = midi_of([(*note[:3], note[3] + number, note[4]) for note in THEME])
        score = read_score(midi)
        sound, sound_s = sound_of(score)
        made = {"midi": (midi, "mid"), "sound": (sound, "mp3")}
        made["picture"] = (roll_png(score), "png")
        paths = {}
        for kind, (body, ending) in made.items():
            digest = hashlib.sha256(body).hexdigest()[:12]
            paths[kind] = f"{kind}/2026-11-{number + 1:02}-{digest}.{ending}"
            files[paths[kind]] = SiteFile(body, "")
        facts: dict[str, Any] = {
            "sound_s": sound_s,
            "sound_bytes": len(sound),
            "duration_s": score.duration_s,
        }
        facts["continued_from"] = f"2026-11-{number:02}" if number else None
        facts["style"] = ("chorale", "folk")[number % 2]
        days.append(entry(number, **facts, **paths))
        rolls.append(roll_svg(score, THEME_FORM))
    for number, day in enumerate(days):
        earlier = days[number - 1] if number else None
        later = days[number + 1] if number + 1 < len(days) else None
        files[f"days/{day.date}.html"] = pages.day(day, rolls[number], earlier, later)
    files |= pages.assets() | pages.overview(days, rolls[-1])
    for name, file in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.body)
    return folder


@pytest.fixture(scope="session")
def served(site_folder: Path) -> Iterator[str]:
    """The address of the folder on a server of this machine."""
    with serve(site_folder) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, started once a file: while it runs, no other test could use asyncio."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    arguments = ["--no-sandbox", "--disable-background-networking"]
    arguments += ["--disable-component-update", "--autoplay-policy=no-user-gesture-required"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()
