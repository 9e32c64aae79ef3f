"""The made-up month at one click: beside the user's own ledger, below an address of its own, gone at the end."""

from __future__ import annotations

import re
import threading

import pytest
from tests.entrypoints.page.conftest import served

from tallygate.entrypoints.page import demo_house, demo_month
from tallygate.entrypoints.page.demo_house import in_steps


@pytest.fixture
def short(monkeypatch):
    """A month of three days: what is done with it is the same."""
    monkeypatch.setattr(demo_month, "DAYS", 3)


def made(browser):
    """The month is there; whoever waits for it asks its own thread."""
    house = browser.house
    while house.rt is None and house.fault is None:
        house.maker.join(0.05)
    return house


def test_one_click_on_the_empty_page_shows_the_month_and_touches_nothing_of_the_users_own(world, short):
    with served(world.rt, world.folder) as browser:
        first = browser.get("now")
        assert "Show a made-up month" in first.words
        before = world.events()
        asked = browser.post("demo")
        assert (asked.status, asked.headers["location"]) == (303, f"{browser.door.base}demo/now")
        made(browser)
        now = browser.get("demo/now")
        assert "Demo data." in now.words
        assert 'href="../now"' in now.text, "and the way back"
        assert "split the billing module" in now.words
        for page in ("spend", "sessions", "budgets", "gate", "bills", "proof", "page.css", "page.js"):
            assert browser.get(f"demo/{page}").status == 200, page
        session = re.search(r'href="(session\?[^"]+)"', now.text)[1].replace("&amp;", "&")
        assert browser.send("GET", f"{browser.door.base}demo/{session}", browser.own).status == 200
        assert "Nothing is on record yet" in browser.get("now").words
        assert "Demo data" not in browser.get("now").words
        assert world.events() == before


def test_until_it_is_there_it_says_how_far_it_is_and_it_is_made_once(world, monkeypatch):
    go_on, begun, times = threading.Event(), threading.Event(), []

    def slow(*given, told):
        times.append(1)
        told(40)
        begun.set()
        go_on.wait(60)
        told(41)

    monkeypatch.setattr(demo_house, "demo_month", slow)
    with served(world.rt, world.folder) as browser:
        assert browser.get("demo/now").headers["location"] == "../now", "nobody has asked for it"
        browser.post("demo")
        browser.post("demo")
        begun.wait(60)
        waits = browser.get("demo/spend")
        assert "40 % of it are there" in waits.words
        assert '<meta http-equiv="refresh" content="1">' in waits.text
        assert browser.get("demo/page.css").status == 200
        # The page ends while it is made: what is half made is given up.
        browser.house.over.set()
        go_on.set()
    assert times == [1]


def test_a_month_that_cannot_be_made_says_why(world, monkeypatch):
    def full(*given, told):
        raise OSError("No space left on device")

    monkeypatch.setattr(demo_house, "demo_month", full)
    with served(world.rt, world.folder) as browser:
        browser.post("demo")
        made(browser)
        assert "No space left on device" in browser.get("demo/now").words


def test_no_other_page_has_it_made(world):
    with served(world.rt, world.folder) as browser:
        assert browser.post("demo", token="x").status == 400
        assert browser.get("demo").status == 405
        assert not browser.house.is_begun


def test_a_share_is_said_in_steps():
    said = []
    told = in_steps(said.append)
    for percent in (0, 3, 20, 21, 39, 55, 60, 100):
        told(percent)
    assert said == [20, 40, 60, 100]
