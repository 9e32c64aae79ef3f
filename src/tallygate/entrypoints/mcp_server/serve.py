"""Run the server for one client over stdio, and look after the ledger while it runs."""

from __future__ import annotations

import gc
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tallygate.core.alerts import AlertRule
from tallygate.core.errors import KeyUnusable, LedgerUnavailable, TallygateError
from tallygate.core.words import UnknownPrice
from tallygate.entrypoints.attended import unattended
from tallygate.entrypoints.ear import Ear
from tallygate.entrypoints.entrance import IMPORTING_S, Entrance
from tallygate.entrypoints.first_answers import FirstAnswers
from tallygate.entrypoints.handover import retire_residents, start_resident
from tallygate.entrypoints.hook_dispatcher import HookDispatcher
from tallygate.entrypoints.hook_listener import HookListener
from tallygate.entrypoints.mcp_server.renewing import Renewing
from tallygate.ledger.presence import ServerPresence
from tallygate.operations.budgets.calls import sweep
from tallygate.operations.proof.attest import issue_missing, ready
from tallygate.operations.runtime import Runtime, every_tenant
from tallygate.operations.sessions.ending import close_abandoned, end_left_open, flush_run_log, sessions_left_open
from tallygate.operations.usage.follow import Follower

if TYPE_CHECKING:  # the SDK stands behind these, and hooks are answered before it is there
    from tallygate.entrypoints.mcp_server.server import Family, LogLevel
    from tallygate.entrypoints.mcp_server.tools import ToolSpec

log = logging.getLogger("tallygate")

# Some clients close their server first and tell of their end right afterwards.
FAREWELLS, FAREWELL_US = 10, 40_000
# For a client that does not wait for this process: a hook may be slow to start on a busy machine.
FAREWELLS_BEHIND = 30
USUAL_S = 0.005
START_LONG_PAST_S = 5
# A client's start is through when nothing was asked for half a second, and after five seconds whatever is asked.
ROUND_US, QUIET_ROUNDS, START_ROUNDS = 10_000, 50, 500


class Serving(Protocol):
    """A composed program that can be closed."""

    @property
    def runtime(self) -> Runtime: ...
    @property
    def follower(self) -> Follower | None: ...
    @property
    def presence(self) -> ServerPresence: ...
    @property
    def alerts(self) -> tuple[AlertRule, ...]: ...
    @property
    def is_blind(self) -> bool: ...
    @property
    def unknown_price(self) -> UnknownPrice: ...
    @property
    def likes_residents(self) -> bool: ...
    def renewed(self) -> Serving | None: ...
    def runtime_for(self, workspace: Path | None) -> Runtime: ...
    def receive(self, stop: threading.Event) -> None: ...
    def close(self) -> None: ...


def serve_stdio(
    app: Serving,
    *,
    log_level: LogLevel,
    family: Family = "all",
    answered: Callable[[], Callable[[list[ToolSpec]], list[ToolSpec]]] | None = None,
    entrance: Entrance | None = None,
) -> None:
    """Serve until the client closes its end; then close the ledger cleanly.

    Hooks are answered first, on the ear that they may have found already: the protocol's SDK takes longer to import
    than all else that a hook needs. The client's end is the front's; what is left to do then is done behind it.
    """
    entrance = entrance or Entrance()
    behind, client = entrance.behind, app.runtime.workspace.around.parent
    ending = threading.Event()
    threads: list[threading.Thread] = []

    def begin(later: Serving) -> None:
        more = _threads(later, ending)
        threads.extend(more)
        for thread in more:
            thread.start()

    def specs_of(made: Serving) -> list[ToolSpec]:
        from tallygate.entrypoints.mcp_server.server import tool_specs

        return tool_specs(made.runtime, made.unknown_price, family)

    renewing = Renewing(app, specs_of, begin) if app.is_blind else None
    dispatcher = HookDispatcher(app.runtime_for if renewing is None else renewing.runtime_for)
    prepare_key(app.runtime)
    listener = None
    is_over = False
    try:
        listener = listen_for_hooks(app, dispatcher, entrance.ear)
        if entrance.servers:
            next_one = threading.Thread(target=stand_by, args=(app, entrance, ending), name="tallygate-next")
            threads.append(next_one)
            next_one.start()
        if is_quiet := quiet(entrance.first, listener, app.runtime.services.pause_us):
            begin(app)
        with importing():
            from tallygate.entrypoints.mcp_server import streams
            from tallygate.entrypoints.mcp_server.server import build_server
        server = build_server(
            app.runtime,
            dispatcher=dispatcher,
            unknown_price=app.unknown_price,
            family=family,
            log_level=log_level,
            ends=client,
            unattended=partial(unattended, parent=client),
            answered=renewing.specs if renewing is not None else None if answered is None else answered(),
            now=None if renewing is None else renewing.answering,
        )
        if not is_quiet:
            begin(app)
        # Clients that end a server this way leave it a moment: for the last responses, and to close the ledger.
        with interruptible():
            streams.run(server, client, behind, entrance.first, entrance.notes)
        is_over = True
    except (KeyboardInterrupt, SystemExit):
        is_over = True
    finally:
        # What is left to do must not be broken off by a client that asks a second time.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        if behind is not None and is_over:
            behind.let_go()
        ending.set()
        for thread in threads:
            thread.join(timeout=5)
        last = app if renewing is None else renewing.last
        leave(last.runtime, FAREWELLS if behind is None else FAREWELLS_BEHIND)
        if listener is not None:
            listener.stop()
        for each in {id(each): each for each in (last, app)}.values():
            each.close()


@contextmanager
def interruptible() -> Iterator[None]:
    """Let whoever ends this process interrupt what it does, as from a keyboard."""
    for number in (signal.SIGTERM, signal.SIGINT):
        if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    yield


def _threads(app: Serving, ending: threading.Event) -> list[threading.Thread]:
    """What goes on beside the answers while a server runs."""
    threads = [
        threading.Thread(target=look_after, args=(app, ending), name="tallygate-tidy", daemon=True),
        threading.Thread(target=receive, args=(app, ending), name="tallygate-receive", daemon=True),
    ]
    if app.alerts:
        from tallygate.entrypoints.alerting import keep_telling

        threads.append(threading.Thread(target=keep_telling, args=(app, ending), name="tallygate-alerts", daemon=True))
    if app.follower is not None:
        threads.append(
            threading.Thread(target=app.follower.watch, args=(ending,), name="tallygate-follow", daemon=True)
        )
    return threads


@contextmanager
def importing() -> Iterator[None]:
    """Import what lives as long as the process: hooks come first meanwhile, and nothing is collected.

    Collecting among a great many objects that stay only delays the start, and later every full collection would walk
    them again.
    """
    gc.disable()
    sys.setswitchinterval(IMPORTING_S)
    try:
        yield
    finally:
        sys.setswitchinterval(USUAL_S)
        gc.enable()
        gc.freeze()


def quiet(first: FirstAnswers | None, listener: HookListener | None, pause_us: Callable[[int], None]) -> bool:
    """Wait until the client's start is through; False where a line of its waits for the SDK, which then comes first.

    Importing it takes as much of a core as all else together, and until its first response a client needs nothing of
    it: so that is left for the time in which everybody waits for the model.
    """
    if first is None:
        return False
    before, rounds = None, 0
    for _ in range(START_ROUNDS):
        if first.is_waited_for or first.is_over:
            return False
        hooks = (0, 0) if listener is None else (listener.heard, listener.answered)
        now = (first.taken, *hooks)
        rounds = rounds + 1 if now == before and hooks[0] == hooks[1] else 0
        if rounds >= QUIET_ROUNDS:
            break
        before = now
        pause_us(ROUND_US)
    return True


def listen_for_hooks(app: Serving, dispatcher: HookDispatcher, ear: Ear | None = None) -> HookListener | None:
    """Let the hook program reach this server; where that cannot be, it answers by itself, only slower."""
    runtime = app.runtime
    announced = None if runtime.server_id is None else app.presence.hook_file(runtime.server_id)
    if ear is not None and str(announced) != ear.file:
        ear.withdraw()  # the settings name another ledger than hooks look for, or others cannot see this server
        ear = None
    if announced is None:
        return None
    workspace = None if runtime.workspace.project is None else Path(runtime.workspace.project)
    parent = runtime.workspace.around.parent
    listener = HookListener(dispatcher, announced, workspace, parent, runtime.services.new_token)
    try:
        listener.start(ear)
    except OSError as error:
        log.warning("Hooks cannot reach this server: %s", error)
        return None
    return listener


def stand_by(app: Serving, entrance: Entrance, ending: threading.Event) -> None:
    """Have a resident stand by for the next client, once the start of this one is long past or it has gone."""
    if not app.likes_residents:
        retire_residents(entrance.servers)
    elif entrance.is_plain:
        ending.wait(START_LONG_PAST_S)
        start_resident(entrance.servers)


def receive(app: Serving, ending: threading.Event) -> None:
    """Hear clients' telemetry; where that cannot be, transcripts still tell, only later and not everything."""
    try:
        app.receive(ending)
    except TallygateError as error:
        log.warning("Telemetry is not received: %s", error)
    except Exception:
        log.exception("Telemetry is not received.")


def leave(runtime: Runtime, farewells: int = FAREWELLS) -> None:
    """End the sessions that hooks opened here: the client has gone, whether it said so or was killed."""
    try:
        tenants = every_tenant(runtime)
        for _ in range(farewells):
            # The client's last hook may still be on its way: it knows why the session ended, and this does not.
            if not any(sessions_left_open(tenant) for tenant in tenants):
                return
            runtime.services.pause_us(FAREWELL_US)
        for session_id in [each for tenant in tenants for each in end_left_open(tenant)]:
            log.info("Session %s ended with its client.", session_id)
        sign(runtime, ending=None)
    except TallygateError as error:
        log.warning("A session could not be ended with its client; the next start does it: %s", error)
    except Exception:
        log.exception("A session could not be ended with its client; the next start does it.")


def prepare_key(runtime: Runtime) -> None:
    """Make the key, once in a lifetime, before an answer has to name it."""
    try:
        ready(runtime)
    except KeyUnusable as error:
        log.warning("Nothing can be signed: %s", error)


def sign(runtime: Runtime, ending: threading.Event | None) -> None:
    """Sign what is due until the server ends, or where it ends already only some of it; the rest waits."""
    try:
        for tenant in every_tenant(runtime):
            while issue_missing(tenant) and ending is not None and not ending.is_set():
                continue
    except KeyUnusable as error:
        log.warning("Attestations wait for the key that signs them: %s", error)


def look_after(app: Serving, ending: threading.Event | None = None) -> None:
    """Close what earlier servers left behind and write the lines that wait; a fault here is said, not fatal."""
    runtime = app.runtime
    try:
        app.presence.sweep()
        for tenant in every_tenant(runtime):
            for session_id in close_abandoned(tenant):
                log.warning("Session %s was abandoned; it is closed and logged.", session_id)
            sweep(tenant)
            for failure in flush_run_log(tenant):
                log.warning("A run-log line waits in the ledger: %s", failure)
        sign(runtime, ending)
    except LedgerUnavailable as error:
        log.error("The ledger cannot be used, so hard budgets halt: %s", error)  # noqa: TRY400 - it is expected
    except TallygateError as error:
        log.warning("The ledger could not be looked after: %s", error)
    except Exception:
        log.exception("The ledger could not be looked after.")
