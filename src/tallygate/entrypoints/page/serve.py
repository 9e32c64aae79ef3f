"""Serve the page on loopback until its user ends it."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from tallygate.core.errors import InvalidArgument
from tallygate.entrypoints.page.door import GOOD_US, HOST

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AT_ONCE_MAX = 64


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
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_AT_ONCE_MAX,
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
        ear.listen(_AT_ONCE_MAX)
        ready()
        page_server(app, closing).run(sockets=[ear])
    finally:
        aging.cancel()
        expire()
        ear.close()


def address_of(file: Path) -> str:
    """The address by which a browser opens a file."""
    return file.absolute().as_uri()
