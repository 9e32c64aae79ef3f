"""Say to open pages when another program has written: one look at the ledger for all of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from tallygate.core.errors import LedgerUnavailable
from tallygate.ledger.port import Ledger

# So many pages are told at a time; nobody has more before their eyes.
TOLD_MAX = 24
_LOOK_S = 0.5
_GOES_ON = 30


class LiveNews:
    """What pages follow; a page that waits holds no thread, so that any number of them leave the others theirs."""

    def __init__(self, ledger: Ledger, closing: threading.Event) -> None:
        self._ledger, self._closing = ledger, closing
        self._looking = asyncio.Lock()
        self._looked_s = 0.0
        self._known: object = None
        self._told = 0

    def answer(self) -> Response:
        """The stream of one page; one too many is told to ask no more."""
        if self._told >= TOLD_MAX:
            return Response(status_code=204)
        return LiveAnswer(self)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Inside, one page more is told."""
        self._told += 1
        try:
            yield
        finally:
            self._told -= 1

    async def stream(self) -> AsyncIterator[str]:
        """Whatever is told to one page, until the program ends or the browser goes."""
        known = await self._newest()
        yield ": follows the ledger\n\n"
        looks = 0
        while not self._closing.is_set():
            await asyncio.sleep(_LOOK_S)
            looks += 1
            # A line that says nothing tells the server when the browser has gone.
            if looks % _GOES_ON == 0:
                yield ": goes on\n\n"
            now = await self._newest()
            if now != known:
                known = now
                yield "data: changed\n\n"

    async def _newest(self) -> object:
        """What was written last, looked at once for all that ask at a time."""
        async with self._looking:
            now_s = asyncio.get_running_loop().time()
            if now_s - self._looked_s >= _LOOK_S / 2:
                self._known = await run_in_threadpool(self._asked)
                self._looked_s = now_s
            return self._known

    def _asked(self) -> object:
        """Nothing is said of a ledger that cannot be asked."""
        try:
            return self._ledger.others_wrote()
        except LedgerUnavailable:
            return None


class LiveAnswer(StreamingResponse):
    """The stream of one page; it counts until it is over, however that comes."""

    def __init__(self, news: LiveNews) -> None:
        super().__init__(news.stream(), media_type="text/event-stream")
        self._news = news

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._news.told():
            await super().__call__(scope, receive, send)
