"""The composition root: settings in, a working program out. The only file that knows everyone."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tallygate.core.model import Policy
from tallygate.ledger.deferred import DeferredLedger
from tallygate.ledger.presence import ServerPresence
from tallygate.ledger.runlog import JsonLinesLog
from tallygate.ledger.sqlite import SqliteLedger
from tallygate.operations.runtime import Runtime
from tallygate.pricing.book import PriceBook
from tallygate.settings import Keep, OnFault, Settings, Transcripts, load_settings, places

if TYPE_CHECKING:
    from tallygate.operations.follow import Follower


def clock_us() -> int:
    """Microseconds since 1970 UTC: the only clock of the program."""
    return time.time_ns() // 1000


def ticks_us() -> int:
    """Microseconds of a clock that only goes forward, for spans of time."""
    return time.monotonic_ns() // 1000


def new_token(size: int) -> str:
    """Random hexadecimal digits, two a byte: every id of the program is made of these."""
    return secrets.token_hex(size)


@dataclass(frozen=True, slots=True)
class App:
    """The composed program: what operations need, and what only the process itself holds."""

    settings: Settings
    runtime: Runtime
    deferred: DeferredLedger[SqliteLedger]
    presence: ServerPresence
    follower: Follower | None = None

    @property
    def ledger(self) -> SqliteLedger:
        """The ledger, opened. Raises `LedgerUnavailable` where that cannot be done."""
        return self.deferred.opened()

    def serving(self) -> App:
        """The same program as a server: others can see that it is alive, and it follows its client's transcripts."""
        server_id = new_token(16)
        self.presence.announce(server_id)
        runtime = replace(self.runtime, server_id=server_id)
        if self.settings.usage.transcripts is Transcripts.OFF:
            return replace(self, runtime=runtime)
        from tallygate.clients.sources import SOURCES
        from tallygate.operations.follow import Follower, Places

        home = Places(os.environ, Path.home())
        follower = Follower(runtime, home, tuple(SOURCES.values()), ticks_us)
        return replace(self, runtime=replace(runtime, catch_up=follower.catch_up), follower=follower)

    def close(self) -> None:
        self.presence.leave()
        self.deferred.close()


def settings_here(environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> Settings:
    """Settings of this process: its environment, its folder, its user's places."""
    return load_settings(os.environ if environ is None else environ, cwd or Path.cwd(), places())


def open_ledger(settings: Settings) -> SqliteLedger:
    """The ledger the settings name, opened. Raises `LedgerUnavailable` where that cannot be done."""
    return SqliteLedger(
        settings.paths.database,
        clock=clock_us,
        new_ledger_id=lambda: new_token(16),
        durability=settings.ledger.durability.value,
        lock_timeout_ms=settings.ledger.lock_timeout_ms,
    )


def compose(settings: Settings, *, by: str) -> App:
    """Put the program together; `by` names who acts, in every event. The ledger is opened at its first use."""
    paths, policy = settings.paths, settings.policy
    deferred = DeferredLedger(partial(open_ledger, settings))
    presence = ServerPresence(paths.database.parent / "servers")
    runtime = Runtime(
        ledger=deferred,
        prices=PriceBook(settings.pricing),
        policy=Policy(
            reroute_at_percent=policy.reroute_at_percent,
            pressure_percents=policy.pressure_percents,
            reservation_ttl_us=policy.reservation_ttl_us,
            expire_as=policy.expire_as,
        ),
        clock_us=clock_us,
        new_token=new_token,
        run_log=JsonLinesLog(),
        run_log_path=paths.run_log,
        presence=presence,
        by=by,
        project=None if paths.project_root is None else str(paths.project_root),
        halt_on_fault=policy.on_fault is OnFault.HALT,
        factors_micros=settings.calibration_micros,
        ladder=settings.ladder.for_client,
        local_model=policy.local_model,
        keep_summaries=settings.privacy.task_summaries is Keep.KEEP,
        abandon_after_us=policy.abandon_after_us,
        default_mode=policy.budget_mode.value,
    )
    return App(settings, runtime, deferred, presence)


@contextmanager
def opened(settings: Settings, *, by: str) -> Iterator[App]:
    """The composed program for one command, closed at the end."""
    app = compose(settings, by=by)
    try:
        yield app
    finally:
        app.close()
