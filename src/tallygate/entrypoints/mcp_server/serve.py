"""Run the server for one client over stdio, and look after the ledger while it runs."""

from __future__ import annotations

import logging
import signal
import threading
from typing import Protocol

from tallygate.core.errors import TallygateError
from tallygate.core.words import UnknownPrice
from tallygate.entrypoints.mcp_server import streams
from tallygate.entrypoints.mcp_server.server import LogLevel, build_server
from tallygate.operations.expire import close_abandoned, sweep
from tallygate.operations.follow import Follower
from tallygate.operations.runtime import Runtime
from tallygate.operations.session import flush_run_log

log = logging.getLogger("tallygate")


class Serving(Protocol):
    """A composed program that can be closed."""

    @property
    def runtime(self) -> Runtime: ...
    @property
    def follower(self) -> Follower | None: ...
    def close(self) -> None: ...


def serve_stdio(app: Serving, *, unknown_price: UnknownPrice, log_level: LogLevel) -> None:
    """Serve until the client closes its end; then close the ledger cleanly."""
    server = build_server(app.runtime, unknown_price=unknown_price, log_level=log_level)
    ending = threading.Event()
    threads = [threading.Thread(target=look_after, args=(app.runtime,), name="tallygate-tidy", daemon=True)]
    if app.follower is not None:
        threads.append(
            threading.Thread(target=app.follower.watch, args=(ending,), name="tallygate-follow", daemon=True)
        )
    # Clients that end a server this way leave it a moment: for the last responses, and to close the ledger.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for thread in threads:
        thread.start()
    try:
        streams.run(server)
    except KeyboardInterrupt:
        pass
    finally:
        ending.set()
        for thread in threads:
            thread.join(timeout=5)
        app.close()


def look_after(runtime: Runtime) -> None:
    """Close what earlier servers left behind and write the lines that wait; a fault here is said, not fatal."""
    try:
        for session_id in close_abandoned(runtime):
            log.warning("Session %s was abandoned; it is closed and logged.", session_id)
        sweep(runtime)
        for failure in flush_run_log(runtime):
            log.warning("A run-log line waits in the ledger: %s", failure)
    except TallygateError as error:
        log.warning("The ledger could not be looked after: %s", error)
    except Exception:
        log.exception("The ledger could not be looked after.")
