"""The site in a real browser, from a server and opened from disk."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from midi_save.publishing.pages import Pages
from tests.site.pieces import SITE, TEMPLATES, entry

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

KINDS = ("home", "day", "archive", "year", "style", "404")
# Of a page, in its own language.
NOW = "document.querySelector('audio').currentTime"
ENDED = "document.querySelector('audio').ended"
SOUGHT = "!document.querySelector('audio').seeking"
PLAYING = f"{NOW} > 0.3 && !document.querySelector('audio').paused"
CURSOR = "parseFloat(document.querySelector('.cursor').getAttribute('x1'))"
LIT = "[...document.querySelectorAll('.sounding')].map(p => p.getAttribute('d') ?? '').join('')"
MARGIN = "getComputedStyle(document.body).margin"  # 0px if the style sheet was found
LOADED = "[...document.images].every(img => img.complete)"


def paths_of(folder: Path) -> dict[str, str]:
    """A page of each kind in the folder of a site. The day has one before and one after it."""
    days = sorted((folder / "days").glob("*.html"))
    archive = {path.stem: path for path in (folder / "archive").glob("*.html")}
    year = next(name for name in sorted(archive) if name.isdigit())
    style = next(name for name in sorted(archive) if not name.isdigit() and name != "index")
    pages = {
        "home": folder / "index.html",
        "day": days[len(days) // 2],
        "newest": days[-1],
        "archive": archive["index"],
        "year": archive[year],
        "style": archive[style],
        "404": folder / "404.html",
    }
    return {kind: str(path.relative_to(folder)) for kind, path in pages.items()}


def until(page: Page, expression: str) -> None:
    """Wait until it is true. Playwright's own way needs eval, which the pages forbid."""
    for _ in range(800):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(25)
    pytest.fail(f"never true: {expression}")


@pytest.fixture
def paths(site_folder: Path) -> dict[str, str]:
    return paths_of(site_folder)


@pytest.fixture(params=["served", "from disk"])
def root(request: pytest.FixtureRequest, site_folder: Path, served: str) -> str:
    return served if request.param == "served" else site_folder.as_uri()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens an address in a context of its own; the messages of its console must stay empty."""
    contexts: list[BrowserContext] = []
    messages: list[str] = []

    def opened(address: str, **options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert messages == []


def test_no_page_asks_another_host_for_anything_or_complains(
    open_page: Callable[..., Page], root: str, paths: dict[str, str]
) -> None:
    asked: list[str] = []
    page = open_page("about:blank")
    page.on("request", lambda request: asked.append(request.url))
    for kind, path in paths.items():
        if kind == "404" and root.startswith("file:"):
            continue  # its links begin at a server's root
        page.goto(f"{root}/{path}")
        page.evaluate("document.querySelectorAll('img').forEach(img => { img.loading = 'eager' })")
        until(page, LOADED)
        assert page.evaluate("[...document.images].every(img => img.naturalWidth == 1200)"), kind
        assert page.evaluate(MARGIN) == "0px", "no style"
    assert len(asked) > len(paths)
    assert [url for url in asked if not url.startswith(root)] == []


@pytest.mark.parametrize("kind", ["home", "day"])
def test_a_piece_plays_with_a_cursor_and_notes_that_light_up(
    open_page: Callable[..., Page], root: str, paths: dict[str, str], kind: str
) -> None:
    page = open_page(f"{root}/{paths[kind]}")
    assert not page.locator("audio").is_visible(), "the script's button replaces the controls"
    page.get_by_role("button", name="Play").click()
    until(page, PLAYING)
    begun = page.evaluate(CURSOR)
    until(page, f"{CURSOR} > {begun}")
    until(page, f"{LIT} !== ''")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("button", name="Play").wait_for()
    assert page.evaluate(LIT) == ""


def test_the_sound_is_not_silent_and_as_long_as_the_page_says(
    open_page: Callable[..., Page], served: str, site_folder: Path, paths: dict[str, str]
) -> None:
    page = open_page(f"{served}/{paths['home']}")
    source = page.locator("audio").get_attribute("src") or ""
    encoded = base64.b64encode((site_folder / source).read_bytes()).decode()
    seconds, loudness = page.evaluate(
        """async (encoded) => {
            const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
            const context = new OfflineAudioContext(1, 1, 22050);
            const sound = await context.decodeAudioData(bytes.buffer);
            const samples = sound.getChannelData(0);
            let sum = 0;
            for (const sample of samples) sum += sample * sample;
            return [sound.duration, Math.sqrt(sum / samples.length)];
        }""",
        encoded,
    )
    assert loudness > 0.01
    assert seconds == pytest.approx(
        float(page.locator("audio").get_attribute("data-seconds") or 0), abs=0.15
    )


def test_the_roll_is_a_slider_for_pointer_and_keyboard(
    open_page: Callable[..., Page], root: str, paths: dict[str, str]
) -> None:
    page = open_page(f"{root}/{paths['day']}")
    roll = page.get_by_role("slider")
    box = roll.bounding_box()
    assert box
    across = float(roll.get_attribute("data-seconds") or 0)
    page.get_by_role("button", name="Play").click()
    until(page, PLAYING)
    page.get_by_role("button", name="Pause").click()

    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 40)
    assert page.evaluate(NOW) == pytest.approx(across / 2, abs=0.1)
    assert page.evaluate(CURSOR) == pytest.approx(50, abs=1)
    assert re.fullmatch(r"[\w ]+ of [\w ]+", roll.get_attribute("aria-valuetext") or "")

    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 60, steps=4)
    page.mouse.up()
    assert page.evaluate(NOW) == pytest.approx(across / 4, abs=0.1)

    roll.focus()
    page.keyboard.press("Home")
    assert page.evaluate(NOW) == 0
    page.keyboard.press("ArrowRight")
    assert page.evaluate(NOW) == pytest.approx(5, abs=0.1)
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(NOW) == pytest.approx(0, abs=0.1)
    page.keyboard.press("End")
    assert page.evaluate(NOW) == pytest.approx(
        float(roll.get_attribute("aria-valuemax") or 0), abs=0.6
    )
    until(page, SOUGHT)
    page.keyboard.press("Home")
    until(page, SOUGHT)
    page.keyboard.press("Space")
    until(page, PLAYING)
    page.keyboard.press("Space")
    assert page.evaluate("document.querySelector('audio').paused")


NEAR_THE_END = """() => new Promise((done) => {
    const audio = document.querySelector('audio');
    audio.addEventListener('seeked', done, { once: true });
    audio.currentTime = audio.duration - 0.6;
})"""


def test_a_piece_ends_and_goes_on_to_the_next_day_only_if_asked(
    open_page: Callable[..., Page], root: str, paths: dict[str, str]
) -> None:
    page = open_page(f"{root}/{paths['day']}")
    page.get_by_role("button", name="Play").click()
    until(page, PLAYING)
    page.evaluate(NEAR_THE_END)
    until(page, ENDED)
    assert page.url.endswith(paths["day"])

    page.get_by_role("checkbox", name="Then play the next day").check()
    page.get_by_role("button", name="Play").click()
    until(page, PLAYING)
    page.evaluate(NEAR_THE_END)
    page.wait_for_url("**/*#play")
    assert paths["day"] not in page.url
    until(page, PLAYING)
    if page.locator("a[rel=next]").count():
        assert page.get_by_role("checkbox").is_checked(), "the choice is remembered"


def test_the_newest_day_has_no_next_one_to_go_on_to(
    open_page: Callable[..., Page], root: str, paths: dict[str, str]
) -> None:
    page = open_page(f"{root}/{paths['newest']}")
    assert page.get_by_role("checkbox").count() == 0


def test_without_scripts_a_page_can_be_read_heard_and_left(
    open_page: Callable[..., Page], root: str, paths: dict[str, str]
) -> None:
    page = open_page(f"{root}/{paths['day']}", java_script_enabled=False)
    audio = page.locator("audio[controls]")
    assert audio.is_visible()
    assert page.locator(".roll svg.plane path").count() > 3
    assert page.get_by_role("img", name="Piano roll").is_visible()
    assert page.get_by_role("button").count() == 0
    page.locator("a[rel=prev]").click()
    page.locator("a[rel=next]").click()
    assert page.url.endswith(paths["day"])
    page.get_by_role("link", name="Archive").first.click()
    assert page.get_by_role("heading", level=1).inner_text() == "Archive"


def test_who_asks_for_less_motion_gets_no_animation(
    open_page: Callable[..., Page], served: str, paths: dict[str, str]
) -> None:
    frames = "window.frames_asked"
    count = "window.frames_asked = 0; const ask = requestAnimationFrame;"
    count += "window.requestAnimationFrame = (f) => { window.frames_asked += 1; return ask(f); };"
    for motion, animated in (("reduce", False), ("no-preference", True)):
        page = open_page("about:blank", reduced_motion=motion)
        page.add_init_script(count)
        page.goto(f"{served}/{paths['day']}")
        page.get_by_role("button", name="Play").click()
        until(page, PLAYING)
        until(page, f"{CURSOR} > 0")
        assert (page.evaluate(frames) > 0) is animated


def test_a_sound_that_is_not_there_is_said(
    browser: Browser, served: str, paths: dict[str, str]
) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.route("**/*.mp3", lambda route: route.abort())
        page.goto(f"{served}/{paths['day']}")
        page.get_by_role("button", name="Play").click()
        page.get_by_text("The sound could not be loaded").wait_for()
        assert page.get_by_role("button", name="Play").is_visible()


def test_an_address_that_does_not_exist_shows_a_page_with_its_style(
    browser: Browser, served: str
) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        response = page.goto(f"{served}/days/1999-01-01.html")
        assert response and response.status == 404
        assert page.get_by_role("heading", level=1).is_visible()
        assert page.evaluate(MARGIN) == "0px"
        page.get_by_role("link", name="The newest piece").click()
        page.get_by_role("button", name="Play").wait_for()


def test_the_longest_names_scroll_no_phone_sideways(browser: Browser, tmp_path: Path) -> None:
    pages = Pages(TEMPLATES, SITE)
    word = "Donaudampfschifffahrt" * 5
    day = entry(title=word, style=word, form="A B' " * 60, instruments=(word,) * 3)
    neighbour = entry(1, title=word)
    files = pages.assets() | pages.overview([day, neighbour], "")
    files["days/day.html"] = pages.day(day, "", neighbour, neighbour)
    for name, file in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(file.body)
    with browser.new_context(viewport={"width": 320, "height": 640}) as context:
        page = context.new_page()
        for name in ("index.html", "days/day.html", "archive/index.html", "archive/2026.html"):
            page.goto(f"{tmp_path.as_uri()}/{name}")
            assert page.evaluate("document.documentElement.scrollWidth") == 320, name


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_axe_finds_nothing_and_nothing_scrolls_sideways(
    browser: Browser, served: str, paths: dict[str, str], width: int, scheme: Any
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    options: Any = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    with browser.new_context(**options, bypass_csp=True) as context:
        page = context.new_page()
        for kind in KINDS:
            page.goto(f"{served}/{paths[kind]}")
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide == width, f"{kind} is {wide} pixels wide"
            found = Axe().run(page).response["violations"]
            assert not found, f"{kind}: {[(v['id'], v['nodes'][0]['html']) for v in found]}"
