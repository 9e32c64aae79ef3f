"""The page over a made-up ledger, asked by real HTTP on loopback."""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from html import unescape
from pathlib import Path
from urllib.parse import urlencode

import pytest
from tests.world import World, make_world

from tallygate.core.authority import Authority, EntryDoor
from tallygate.entrypoints.page.demo_house import DemoHouse
from tallygate.entrypoints.page.document import PageAround
from tallygate.entrypoints.page.door import GOOD_US, DoorFile, PageDoor
from tallygate.entrypoints.page.routes import Pages, page_app
from tallygate.entrypoints.page.serve import listening, page_server

KEY, FORM, TOKEN, PATH = "k" * 64, "f" * 64, "t" * 64, "a" * 16


@dataclass(frozen=True, slots=True)
class Answered:
    """What came back."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def words(self) -> str:
        """What somebody reads who sees no markup."""
        return " ".join(unescape(re.sub(r"<[^>]+>", " ", self.text)).split())


@dataclass
class Browser:
    """A browser that has the page open; `send` says everything by itself."""

    door: PageDoor
    file: DoorFile
    pages: Pages
    house: DemoHouse

    @property
    def own(self) -> dict[str, str]:
        return {"Host": f"127.0.0.1:{self.door.port}", "Sec-Fetch-Site": "same-origin", "Cookie": f"tallygate={KEY}"}

    def get(self, page: str, **query: str) -> Answered:
        return self.send("GET", f"{self.door.base}{page}" + (f"?{urlencode(query)}" if query else ""), self.own)

    def post(self, page: str, **fields: str) -> Answered:
        headers = {
            **self.own,
            "Origin": self.door.origin,
            "Content-Type": "application/x-www-form-urlencoded",
        }
        return self.send("POST", f"{self.door.base}{page}", headers, urlencode({"token": FORM, **fields}))

    def download(self, page: str, **fields: str) -> tuple[dict[str, str], bytes]:
        """What a form of the page answers with, to be kept."""
        line = http.client.HTTPConnection("127.0.0.1", self.door.port, timeout=60)
        typed = {"Origin": self.door.origin, "Content-Type": "application/x-www-form-urlencoded"}
        line.request("POST", f"{self.door.base}{page}", urlencode({"token": FORM, **fields}), {**self.own, **typed})
        found = line.getresponse()
        content = {name.lower(): value for name, value in found.getheaders()}, found.read()
        line.close()
        return content

    def send(self, method: str, path: str, headers: dict[str, str], body: str | None = None) -> Answered:
        """One request with these headers and no others."""
        line = http.client.HTTPConnection("127.0.0.1", self.door.port, timeout=60)
        try:
            line.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            given = dict(headers) if body is None else {"Content-Length": str(len(body)), **headers}
            for name, value in given.items():
                line.putheader(name, value)
            line.endheaders(None if body is None else body.encode())
            found = line.getresponse()
            return Answered(found.status, {k.lower(): v for k, v in found.getheaders()}, found.read().decode())
        finally:
            line.close()


@contextmanager
def served(rt, folder: Path, **more) -> Iterator[Browser]:
    """The page of a program, until the block ends."""
    ear = listening(0)
    door = PageDoor(ear.getsockname()[1], TOKEN, rt.services.steady_us() + GOOD_US, PATH, KEY, FORM)
    file = DoorFile(folder, "0")
    pages = Pages(
        rt,
        more.pop("around", PageAround(UTC)),
        more.pop("authority", Authority(EntryDoor.PAGE, "anna")),
        door,
        more.pop("is_installed", True),
        more.pop("anchor", lambda: None),
    )
    house = DemoHouse(rt, pages.around.zone)
    server = page_server(page_app(pages, file, house), door.closing)
    ear.listen(8)
    running = threading.Thread(target=server.run, kwargs={"sockets": [ear]})
    running.start()
    try:
        yield Browser(door, file, pages, house)
    finally:
        server.should_exit = True
        door.closing.set()
        running.join()
        house.close()
        ear.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = make_world(tmp_path)
    yield made
    problems = made.problems()
    made.ledger.close()
    assert not problems, "every test leaves a ledger that verifies"


@pytest.fixture
def opened(world: World) -> Iterator[Callable[..., Browser]]:
    """A browser on the world's page."""
    with served(world.rt, world.folder) as browser:
        yield browser
