"""A week's real site in a folder, and a browser to look at it."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from local_aws.server import LocalAws
from local_run.days import compose_days
from tests.site.server import serve

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FIRST = date(2026, 11, 1)


@pytest.fixture(scope="module")
def site_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A week of ten-second pieces, from the schedule to the pages, through the real deployment.

    Of several test processes the first makes it, and the others wait for it.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    week = shared / "week"
    with (shared / "week.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (week / "site").is_dir():
            deployed: tuple[LocalAws, dict[str, Any]] = request.getfixturevalue("deployed")
            days = [FIRST + timedelta(days=number) for number in range(7)]
            compose_days(*deployed, days, {"duration_s": 10, "candidates": 1}, week)
    return week / "site"


@pytest.fixture(scope="module")
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
