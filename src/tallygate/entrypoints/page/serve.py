"""Serve the page on loopback until its user ends it."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from tallygate.core.errors import InvalidArgument
from tallygate.entrypoints.page.door import GOOD_US, HOST

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# So many connections are held at a time; who waits to be accepted, and how long one may take to say what it wants.
HELD_MAX, _WAITING_MAX = 256, 128
PATIENCE_S = 15


class PageConnection(H11Protocol):
    """One connection. Any program here may open them, and hold them: none of it keeps its user's own request out."""

    held_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take it, and let the one go that has said nothing for longest where there are too many."""
        super().connection_made(transport)
        self.held_since = self.loop.time()
        self.loop.call_later(PATIENCE_S, self._hurry)
        held = [c for c in self.connections if isinstance(c, PageConnection) and not c.transport.is_closing()]
        if len(held) > HELD_MAX:
            idle = (each for each in held if each is not self and each.is_idle)
            first = min(idle, key=lambda each: each.held_since, default=None)
            if first is not None:
                first.transport.abort()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is answered on it: it asks for nothing, or has not said yet what it asks for."""
        cycle = self._answered
        return cycle is None or cycle.response_complete or cycle.more_body

    @property
    def _answered(self) -> RequestResponseCycle | None:
        return self.cycle  # nothing until a request is there

    def _hurry(self) -> None:
        """Whoever has asked for nothing by now does not mean to."""
        cycle = self._answered
        if (cycle is None or cycle.more_body) and not self.transport.is_closing():
            self.transport.abort()


class PageServer(uvicorn.Server):
    """Ends when its user or the system says so, as something that is done and has not failed."""

    def __init__(self, config: uvicorn.Config, closing: threading.Event) -> None:
        super().__init__(config)
        self._closing = closing

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at a signal, and leave signals as they were."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.signal(each, self._stop) for each in _STOPS}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def _stop(self, _: int, __: FrameType | None) -> None:
        # A second signal does not wait for answers that are still on their way.
        self.force_exit = self.should_exit
        self.should_exit = True
        self._closing.set()


def listening(port: int) -> socket.socket:
    """A socket on loopback; port 0 is any that is free."""
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # A page that was ended a moment ago still has connections that linger; another program on the port has it.
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((HOST, port))
    except OSError as error:
        found.close()
        raise InvalidArgument(
            "--port",
            f"Port {port} cannot be used: {error.strerror}.",
            hint="Leave --port out to take any that is free.",
        ) from None
    return found


def page_server(app: ASGIApp, closing: threading.Event) -> PageServer:
    """What answers; it says nothing of itself and writes no log."""
    config = uvicorn.Config(
        app,
        http=PageConnection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )
    return PageServer(config, closing)


def serve_page(
    app: ASGIApp,
    ear: socket.socket,
    closing: threading.Event,
    expire: Callable[[], object],
    ready: Callable[[], object],
) -> None:
    """Answer until a signal ends it. `expire` is called once the token is too old, `ready` once it is listened."""
    aging = threading.Timer(GOOD_US // 1_000_000, expire)
    aging.daemon = True
    aging.start()
    try:
        ear.listen(_WAITING_MAX)
        ready()
        page_server(app, closing).run(sockets=[ear])
    finally:
        aging.cancel()
        expire()
        ear.close()


def address_of(file: Path) -> str:
    """The address by which a browser opens a file."""
    return file.absolute().as_uri()
