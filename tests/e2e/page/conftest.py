"""A made-up month on a page of its own, and a real Chromium to look at it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest
from tests.e2e.install import browser, prefix
from tests.entrypoints.page.conftest import KEY, Browser, served

from tallygate.app import compose
from tallygate.entrypoints.page.demo_month import demo_month
from tallygate.entrypoints.page.document import PageAround
from tallygate.settings import UserPlaces, load_settings

ZONE = ZoneInfo("Europe/Berlin")


@pytest.fixture(scope="session")
def chromium() -> Iterator:
    """The system's Chromium, driven by Playwright; left out with the reason where one of them is not there."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: `make test-e2e` does")
    program = browser()
    if program is None:
        pytest.skip("there is no Chromium: `make test-e2e` installs it where it may")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(
            executable_path=program, args=["--no-sandbox"] if os.geteuid() == 0 else [], chromium_sandbox=False
        )
        yield found
        found.close()


@pytest.fixture(scope="session")
def month(chromium) -> Iterator[Browser]:
    """The page over the demo month."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings = load_settings({}, folder, UserPlaces(folder, folder / "config", folder / "data"))
        app = compose(settings, by="page")
        stack.callback(app.close)
        rt = stack.enter_context(demo_month(app.runtime, folder, ZONE))
        found = stack.enter_context(served(rt, folder, around=PageAround(ZONE, is_demo=True)))
        found.door.until_us = 2**62  # however long the other tests take
        yield found


def away(address: str, *own: str) -> list[str]:
    """An address that is none of the page's."""
    return [] if address.startswith((*own, "file:")) else [address]


@pytest.fixture
def looked(chromium, month) -> Iterator[Callable[..., SimpleNamespace]]:
    """Open a page; at the end nothing was written to the console, and nothing was asked of anybody else."""
    contexts, strange = [], []
    own = month.door.origin

    def look(page: str | None, *, width: int = 1280, scheme: str = "light", at: Browser = month) -> SimpleNamespace:
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        if page is not None:
            context.add_cookies(
                [{"name": "tallygate", "value": KEY, "domain": "127.0.0.1", "path": at.door.base, "sameSite": "Strict"}]
            )
        tab = context.new_page()
        tab.on("console", lambda said: strange.append(said.text))
        tab.on("pageerror", lambda error: strange.append(str(error)))
        tab.on("request", lambda asked: strange.extend(away(asked.url, own, at.door.origin)))
        if page is not None:
            tab.goto(f"{at.door.origin}{at.door.base}{page}")
        return tab

    yield look
    for context in contexts:
        context.close()
    assert strange == []


@pytest.fixture(scope="session")
def axe() -> str:
    """The program that holds a page against WCAG."""
    file = prefix() / "axe" / "node_modules" / "axe-core" / "axe.min.js"
    if not file.is_file():
        pytest.skip("axe-core is not installed: `make test-e2e` does")
    return file.read_text(encoding="utf-8")
