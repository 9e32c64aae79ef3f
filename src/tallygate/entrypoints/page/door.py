"""Who is let in to the page: the browser that brings a token which the user's own file has handed it, once."""

from __future__ import annotations

import hashlib
import hmac
import html
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from tallygate.clients.guarding import PAGE_FOLDER

HOST = "127.0.0.1"
OPEN = "/open"
COOKIE = "tallygate"
# So long a token is good: a browser that was just started takes seconds, a person with a path to copy some more.
GOOD_US = 60_000_000
# A file that a browser opens itself: it posts, so that the token stands in no address, history or process list.
_FILE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Tallygate</title></head><body>
<form method="post" action="{address}"><input type="hidden" name="token" value="{token}">
<noscript><button>Open the page</button></noscript></form><script>document.forms[0].submit()</script></body></html>
"""


@dataclass
class PageDoor:
    """The secrets of one running page.

    `token` is what the file hands over; it is good once and until `until_us` of a clock that nobody sets. `key` is what
    the browser keeps in its cookie from then on, `form` stands in every form that changes something. All addresses lie
    below `path`, which is chance as well: a browser sends a cookie to every port of a machine, and so to servers of
    agents, but only for the paths that it was given for. `closing` is set once the page ends.
    """

    port: int
    token: str
    until_us: int
    path: str
    key: str
    form: str
    used: bool = field(default=False)
    closing: Event = field(default_factory=Event, compare=False)

    @property
    def origin(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def base(self) -> str:
        """What every address but that of the door itself begins with."""
        return f"/{self.path}/"

    def take(self, token: str, now_us: int) -> bool:
        """Whether a token opens the door; whatever came, it opens no second time once it has."""
        if self.used or now_us > self.until_us or not hmac.compare_digest(_digest(token), _digest(self.token)):
            return False
        self.used = True
        return True

    def knows(self, cookies: str) -> bool:
        """Whether one of the browser's cookies is the key.

        Every server of this machine can give the browser cookies, of the same name and of any form: none hides the key.
        """
        pairs = (each.strip().partition("=") for each in cookies.split(";"))
        key = _digest(self.key)
        return any(name == COOKIE and hmac.compare_digest(_digest(value), key) for name, _, value in pairs)

    def may_write(self, form: str) -> bool:
        """Whether a form was made by this very page."""
        return hmac.compare_digest(_digest(form), _digest(self.form))

    @property
    def cookie(self) -> str:
        """The header that gives the browser its key; it ends with the browser."""
        return f"{COOKIE}={self.key}; Path={self.base}; HttpOnly; SameSite=Strict"

    @property
    def page(self) -> str:
        """What the file holds that the browser opens."""
        return _FILE.format(address=html.escape(f"{self.origin}{OPEN}"), token=html.escape(self.token))


def new_door(port: int, now_us: int, chance: Callable[[int], str]) -> PageDoor:
    """A door with fresh secrets."""
    return PageDoor(port, chance(32), now_us + GOOD_US, chance(8), chance(32), chance(32))


def _digest(text: str) -> bytes:
    """A text at one length, so that comparing two tells nothing of either."""
    return hashlib.sha256(text.encode("utf-8", "replace")).digest()


class DoorFile:
    """The file that hands the token to the browser: this user's alone, and gone once it was used."""

    def __init__(self, data_dir: Path, name: str) -> None:
        self.path = data_dir / PAGE_FOLDER / f"open-{name}.html"

    def write(self, content: str) -> None:
        """Make it anew; nothing that lies there is followed or written into."""
        folder = self.path.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(content)

    def remove(self) -> None:
        """Take it away, with its folder where nothing else is in it."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
            self.path.parent.rmdir()
