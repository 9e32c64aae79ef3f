"""The composition root: settings in, a working program out. The only file that knows everyone."""

from __future__ import annotations

import getpass
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, cast

from tallygate.attest.keyring import KeyRing
from tallygate.attest.sealed import files_in
from tallygate.clients.client import command_line
from tallygate.clients.registry import REGISTRY, stands_in, weakens
from tallygate.core.alerts import AlertRule
from tallygate.core.errors import LedgerUnavailable, SettingsError
from tallygate.core.gate.rules import BudgetRule, BudgetScope
from tallygate.core.guard.fence import GuardedFiles
from tallygate.core.lock import LockStanding
from tallygate.core.model import Policy
from tallygate.core.moments import ClockWatch, as_datetime
from tallygate.core.money import COUNTED
from tallygate.core.values import value
from tallygate.core.words import UnknownPrice
from tallygate.ledger.anchor import Anchor
from tallygate.ledger.lock_marks import LockMarks
from tallygate.ledger.port import Ledger, LedgerBusy
from tallygate.ledger.postgres.opening import CommonOptions, hook_opens_none, open_server
from tallygate.ledger.presence import ServerPresence
from tallygate.ledger.runlog import JsonLinesLog
from tallygate.ledger.sqlite.database import SqliteLedger
from tallygate.ledger.sqlite.deferred import DeferredLedger
from tallygate.ledger.turn_files import FOLDER as TURNS_FOLDER
from tallygate.ledger.turn_files import TurnFiles
from tallygate.operations.lock_book import LockBook
from tallygate.operations.runtime import Runtime, Services, Workspace
from tallygate.operations.worktrees import FolderPlaces as PlacesKnown
from tallygate.pricing.book import PriceBook, PricingSettings
from tallygate.pricing.catalog import Catalog
from tallygate.pricing.exchange import ExchangeBook
from tallygate.pricing.identity import also_meant
from tallygate.pricing.snapshot import FOLDER as PRICES_FOLDER
from tallygate.settings import (
    Keep,
    OnFault,
    Paths,
    ReadTranscripts,
    ResidentMode,
    Settings,
    StopPolicy,
    TelemetryMode,
    UserPlaces,
    load_settings,
    places,
)
from tallygate.settings.budgets import written_us
from tallygate.settings.installed import hold, read_installed
from tallygate.settings.load import cache_folder, places_of, work_place
from tallygate.settings.signed import StandingOf
from tallygate.settings.variables import PROJECT_VARIABLES, TENANT_VARIABLE
from tallygate.settings.zones import zone_shown
from tallygate.surroundings import Surroundings, around_here
from tallygate.workspace import PlacesSeen

if TYPE_CHECKING:
    from tallygate.ledger.postgres.database import PostgresLedger
    from tallygate.operations.usage.follow import Follower


def clock_us() -> int:
    """Microseconds since 1970 UTC: the only clock of the program."""
    return time.time_ns() // 1000


def ticks_us() -> int:
    """Microseconds of a clock that only goes forward, for spans of time."""
    return time.monotonic_ns() // 1000


def steady_us() -> int:
    """Microseconds of a clock that nobody sets; where there is such a one it goes on while the machine sleeps."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1000


def pause_us(microseconds: int) -> None:
    """Let others work for a moment."""
    time.sleep(microseconds / 1_000_000)


def new_token(size: int) -> str:
    """Random hexadecimal digits, two a byte: every id of the program is made of these."""
    return secrets.token_hex(size)


# What clients run by themselves: a ledger that is gone must not come back because a client asked for what is left.
MAKE_NONE = frozenset({"hook", "statusline"})
# A hook that has found no server waits so long until what was spent before is read; its client is asked for twenty.
ALONE_PATIENCE_US = 10_000_000


@value(frozen=True, slots=True)
class Start:
    """How a program was started: what is around its client, and whose places it goes by.

    `written` are the variables by which clients write their transcripts. A `fault` is told to whoever asks for
    settings.
    """

    around: Surroundings
    places: UserPlaces
    written: tuple[Mapping[str, str], ...]
    fault: SettingsError | None = None


def started(parent: int = 0) -> Start:
    """A program of the user's own: it goes by what is around this process."""
    around = around_here(parent)
    return Start(around, places(around), (around.environ,))


def go_by(file: Path, dropped: Sequence[str] = (), parent: int = 0) -> Start:
    """An installed command: it goes by the places of a file, not by its client's environment."""
    own = started(parent)
    try:
        installed = read_installed(file)
    except SettingsError as fault:
        return replace(own, fault=fault)  # a server still has to start
    held = hold(own.around.environ, installed, dropped)
    # What it starts, and what libraries ask, has to go by the same.
    for name in [*os.environ]:
        if name not in held.environ:
            del os.environ[name]
    os.environ.update(held.environ)
    return Start(around_here(parent), places_of(installed, held.foreign), held.reading)


@value(frozen=True, slots=True)
class App:
    """The composed program: what operations need, and what only the process itself holds.

    `seen` knows where folders lie, `others` read transcripts for the work of other tenants that hooks of this process
    ask about.
    """

    start: Start
    settings: Settings
    runtime: Runtime
    deferred: DeferredLedger[SqliteLedger | PostgresLedger]
    presence: ServerPresence
    seen: PlacesSeen
    follower: Follower | None = None
    others: dict[str, Follower] = field(default_factory=dict)

    @property
    def alerts(self) -> tuple[AlertRule, ...]:
        """Whom the user wants told of which budgets."""
        return self.settings.alerts

    @property
    def ledger(self) -> SqliteLedger:
        """The ledger in its file, opened. Raises `LedgerUnavailable` where that cannot be done, or is in a database."""
        self.settings.paths.in_a_file()
        return cast("SqliteLedger", self.deferred.opened())

    @property
    def kept(self) -> SqliteLedger | PostgresLedger:
        """The ledger, opened, wherever it is. Raises `LedgerUnavailable` where that cannot be done."""
        return self.deferred.opened()

    def serving(self, server_id: str | None = None) -> App:
        """The same program as a server: others can see that it is alive, and it follows its client's transcripts.

        One that lives already goes on under its `server_id`; hooks may know it before.
        """
        server_id = server_id or new_token(16)
        if not self.presence.is_alive(server_id):
            self.presence.announce(server_id)
        runtime = replace(self.runtime, server_id=server_id)
        if self.settings.usage.transcripts is ReadTranscripts.OFF:
            return replace(self, runtime=runtime)
        return self._following(runtime)

    def note_alone(self, client: str, event: str) -> None:
        """Keep that a hook found no server to answer it: `doctor` tells of it."""
        self.presence.note_alone(clock_us(), client, event)

    def for_hooks(self) -> App:
        """The same program for one hook: what its client has written since is read first, by nobody else."""
        if self.settings.usage.transcripts is ReadTranscripts.OFF:
            return self
        return self._following(self.runtime, ALONE_PATIENCE_US)

    @property
    def is_blind(self) -> bool:
        """Whether nobody could tell, when the settings were read, what of them is signed."""
        return self.settings.unread is not None

    @property
    def unknown_price(self) -> UnknownPrice:
        """What a session is opened with that says nothing of models without a price."""
        return self.settings.policy.unknown_price

    @property
    def likes_residents(self) -> bool:
        """Whether a process is to stand by for the next client."""
        return self.settings.server.resident is ResidentMode.AUTO

    def renewed(self) -> App | None:
        """The same server by settings as they are signed, once the ledger can tell; None where these are in force."""
        if self.settings.unread is None:
            return None
        try:
            settings = settings_here(start=self.start).sound()
        except SettingsError as fault:
            raise LedgerUnavailable(fault.message, hint=fault.hint) from None
        if settings.unread is not None or settings.lock is None:
            return None
        fresh = compose(settings, by=self.runtime.by, start=self.start)
        runtime = replace(fresh.runtime, services=replace(fresh.runtime.services, presence=self.presence))
        return replace(fresh, presence=self.presence, runtime=runtime).serving(self.runtime.server_id)

    def runtime_for(self, workspace: Path | None) -> Runtime:
        """The program as the settings of another workspace make it, on the same ledger; its own where that is it."""
        if workspace is None or str(workspace) == self.runtime.workspace.project:
            return self.runtime
        environ = {name: value for name, value in self.start.around.environ.items() if name not in PROJECT_VARIABLES}
        folder, own = self._standing_in(workspace), self.settings.paths
        # Most hooks come from below the folder that this program was started in: its settings are those of the place.
        if work_place(environ, folder, self.start.places.home) == (own.project_root, own.folder):
            return self.runtime
        settings = settings_here(environ, folder, self._lock_of, start=self.start).sound()
        mine = self.runtime
        ledger: Ledger = mine.services.ledger
        if settings.unread is not None:
            ledger = DeferredLedger[SqliteLedger](partial(_refuse, settings.unread))
        here = runtime_of(self.start, settings, ledger, self.presence, self.seen, by=mine.by)
        here = replace(
            here,
            services=replace(here.services, locks=mine.services.locks),
            caches=mine.caches,
            follower=mine.follower,
            server_id=mine.server_id,
        )
        if here.tenant == mine.tenant or self.follower is None:
            return here
        # Among the rows of another tenant: what its clients write is read into those.
        follower = self.others.get(here.tenant)
        if follower is None:
            follower = self.others[here.tenant] = follower_of(self.start, here)
        return replace(here, follower=follower)

    def _standing_in(self, workspace: Path) -> Path:
        """The folder that is there for one that may not be: a project binds what would lie in it.

        A removed worktree is its repository; other folders are the nearest that still is, and one that lies nowhere is
        where the program stands.
        """
        if workspace.is_dir():
            return workspace
        if not workspace.is_absolute():
            return self.start.around.folder
        place = self.runtime.workspace.place_of(str(workspace))
        project = None if place is None or place.project is None else Path(place.project)
        if project is not None and project.is_dir():
            return project
        nearest = next((folder for folder in workspace.parents if folder.is_dir()), workspace)
        return self.start.around.folder if nearest == Path(workspace.anchor) else nearest

    def _lock_of(self, paths: Paths) -> LockStanding:
        """Whether the limits are locked, by the ledger that is open where it is the one that is meant."""
        from tallygate.operations.lock_book import standing_now

        try:
            return standing_now(self.runtime) if paths.database == self.settings.paths.database else lock_of(paths)
        except (LedgerUnavailable, LedgerBusy):
            return lock_of(paths)

    def _following(self, runtime: Runtime, patience_us: int | None = None) -> App:
        follower = follower_of(self.start, runtime, patience_us)
        return replace(self, runtime=replace(runtime, follower=follower), follower=follower)

    @property
    def anchor(self) -> Anchor:
        """Where it is remembered how far the ledger was; looking there opens no ledger."""
        return anchor_of(self.settings)

    @property
    def marks(self) -> LockMarks:
        """What is remembered of a lock beside the ledger."""
        from tallygate.operations.lock_book import marks_of

        return marks_of(self.settings.paths)

    def accepting(self) -> App:
        """The same program on the ledger as it is, whatever it was before: for the user who goes on with it."""
        self.settings.paths.in_a_file()
        deferred: DeferredLedger[SqliteLedger | PostgresLedger] = DeferredLedger(
            partial(open_ledger, self.settings, accepting=True)
        )
        services = replace(self.runtime.services, ledger=deferred, locks=LockBook())
        return replace(self, deferred=deferred, runtime=replace(self.runtime, services=services))

    def beside(self, ledger: Ledger) -> App:
        """The same program on something else than its ledger, which is not opened."""
        runtime = runtime_of(self.start, self.settings, ledger, self.presence, self.seen, by=self.runtime.by)
        return replace(self, runtime=runtime)

    def receive(self, stop: threading.Event) -> None:
        """Hear what clients tell of their requests until `stop` is set; at once over where that is switched off."""
        usage = self.settings.usage
        if usage.telemetry is TelemetryMode.OFF:
            return
        from tallygate.entrypoints.receiver import Receiver
        from tallygate.operations.usage.telemetry import take_logs, token_of

        token = token_of(self.settings.paths.data_dir, new_token)
        Receiver(partial(take_logs, self.runtime), usage.telemetry_port, token).run(stop)

    def close(self) -> None:
        self.presence.leave()
        self.deferred.close()


def follower_of(start: Start, runtime: Runtime, patience_us: int | None = None) -> Follower:
    """What reads the transcripts of every client for a program."""
    from tallygate.operations.usage.follow import PATIENCE_US, Follower

    # What a client's own variables name is read as well: it writes there. They add to the user's places.
    read = tuple(start.around.by(environ) for environ in start.written)
    return Follower(runtime, read, tuple(REGISTRY.sources.values()), ticks_us, patience_us or PATIENCE_US)


def settings_here(
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    standing: StandingOf | None = None,
    *,
    start: Start | None = None,
) -> Settings:
    """Settings of this process: its environment, its folder, its user's places, and what is signed of them."""
    start = started() if start is None else start
    if start.fault is not None:
        raise start.fault
    environ = start.around.environ if environ is None else environ
    return load_settings(environ, cwd or start.around.folder, start.places, standing or lock_of)


def lock_of(paths: Paths) -> LockStanding:
    """Whether the limits of the ledger are locked."""
    from tallygate.operations import lock_book

    return lock_book.lock_of(paths)


def anchor_of(settings: Settings) -> Anchor:
    """Where it is remembered how far the ledger was."""
    paths = settings.paths
    return Anchor(paths.database, paths.anchor_folders, passing=paths.is_passing)


def open_ledger(settings: Settings, *, making: bool = True, accepting: bool = False) -> SqliteLedger:
    """The ledger the settings name, opened. Raises `LedgerUnavailable` where that cannot be done."""
    return SqliteLedger(
        settings.paths.database,
        new_ledger_id=lambda: new_token(16),
        anchor=anchor_of(settings),
        making=making,
        accepting=accepting,
        **common(settings),
    )


def common(settings: Settings) -> CommonOptions:
    """What every ledger is opened with, wherever it is."""
    return {
        "clock": clock_us,
        "durability": settings.ledger.durability.value,
        "lock_timeout_ms": settings.ledger.lock_timeout_ms,
        "watch": ClockWatch(clock_us, steady_us),
        "rules": REGISTRY.rules,
    }


def _open(settings: Settings, *, making: bool) -> SqliteLedger:
    """The ledger; a lock of it that is not remembered beside each of its anchors is from now on."""
    ledger = open_ledger(settings, making=making)
    if settings.lock is not None:
        from tallygate.operations.lock_book import keyid_of, marks_of, since_set

        marks = marks_of(settings.paths)
        if marks.lacks(keyid_of(settings.lock)):
            with ledger.reading() as reader:
                marks.write(keyid_of(settings.lock), ledger.ledger_id, since_set(reader.lock_events(), settings.lock))
    return ledger


def _open_unlocked(settings: Settings) -> SqliteLedger:
    """The ledger, where it could not tell whether the limits are locked when these settings were read.

    Where they are, these settings may be looser than what was signed: nobody counts by them.
    """
    ledger = open_ledger(settings, making=False)
    stands = lock_of(settings.paths)
    if stands.lock is None and stands.unread is None:
        return ledger
    ledger.close()
    raise stands.unread or LedgerUnavailable(
        "The ledger could not be read when the settings were, so what you have signed of them is not in force here.",
        hint="Try again; a server that goes on saying so has to be started again.",
    )


def _refuse(fault: LedgerUnavailable) -> NoReturn:
    raise fault


def compose(settings: Settings, *, by: str, start: Start | None = None) -> App:
    """Put the program together; `by` names who acts, in every event. The ledger is opened at its first use.

    Where there is none it is made then, by whatever is no hook.
    """
    connect: Callable[[], SqliteLedger | PostgresLedger] = partial(_open, settings, making=by not in MAKE_NONE)
    if (server := settings.paths.server) is not None:
        connect = hook_opens_none if by in MAKE_NONE else partial(open_server, server, **common(settings))
    deferred: DeferredLedger[SqliteLedger | PostgresLedger] = DeferredLedger(
        connect if settings.unread is None else partial(_open_unlocked, settings)
    )
    presence = ServerPresence(settings.paths.database.parent / "servers")
    start = started() if start is None else start
    seen = PlacesSeen(lambda: ticks_us(), lambda: str(start.around.home))  # noqa: PLW0108 - looked up when it is needed
    return App(start, settings, runtime_of(start, settings, deferred, presence, seen, by=by), deferred, presence, seen)


def runtime_of(
    start: Start, settings: Settings, ledger: Ledger, presence: ServerPresence, seen: PlacesSeen, *, by: str
) -> Runtime:
    """What operations need, as the settings say."""
    around = start.around
    paths, policy = settings.paths, settings.policy
    exchange, places = ExchangeBook(settings.exchange), places_known(settings, ledger, seen, around.home)
    services = Services(
        ledger=ledger,
        clock_us=clock_us,
        new_token=new_token,
        run_log=JsonLinesLog(),
        presence=presence,
        keys=KeyRing(paths.key_dir),
        locks=LockBook(None if settings.lock is None else settings.lock.public),
        pause_us=pause_us,
        steady_us=steady_us,
        turns=TurnFiles(paths.database.parent / TURNS_FOLDER, new_token),
    )
    workspace = Workspace(
        prices=PriceBook(
            with_local(settings.pricing, settings),
            Catalog(paths.data_dir / PRICES_FOLDER),
            exchange=exchange,
            place_of=places.of,
            dearer=None if settings.dearer is None else with_local(settings.dearer, settings),
        ),
        policy=Policy(
            reroute_at_percent=policy.reroute_at_percent,
            warn_at_percent=policy.warn_at_percent,
            pressure_percents=policy.pressure_percents,
            reservation_ttl_us=policy.reservation_ttl_us,
            expire_as=policy.expire_as,
            calibration=policy.calibration,
            quantile_percent=policy.quantile_percent,
        ),
        run_log_path=paths.run_log,
        exchange=exchange,
        around=around,
        project=None if paths.project_root is None else str(paths.project_root),
        folder=None if paths.folder is None else str(paths.folder),
        place_of=places.of,
        tenant_of=tenants_of_projects(start),
        program=command_line(around.environ, sys.executable),
        program_in_full=command_line({}, sys.executable),
        zone=zone_shown(settings, around.environ),
        user=user_name(),
        rules=priced_rules(settings, exchange),
        plan=settings.plan,
        status_show=settings.statusline.show,
        status_width=settings.statusline.width,
        cold_from_percent=settings.cold_cache.say_from_percent,
        loops=settings.loops.mode,
        rule_written_us=partial(written_us, paths),
        session_limit_nanos=settings.session_budget.limit,
        session_mode=settings.session_budget.mode.value,
        default_mode=policy.budget_mode.value,
        ladder=settings.ladder.for_client,
        local_model=policy.local_model,
        factors_micros=settings.calibration_micros,
        halt_on_fault=policy.on_fault is OnFault.HALT
        # Where the ledger cannot tell whether a lock is in force, its key says that it may be.
        or (settings.unread is not None and bool(files_in(paths.key_dir))),
        interrupts=settings.enforcement.stop is StopPolicy.INTERRUPT,
        keep_summaries=settings.privacy.task_summaries is Keep.KEEP,
        abandon_after_us=policy.abandon_after_us,
        told_at_start=settings.spoken,
        foreign=settings.foreign,
        weakens=partial(weakens, around.home, around.environ),
        stand_in=partial(stands_in, start.places.home, around.environ),
        guarded=cache(partial(guarded_here, start, settings)),
    )
    return Runtime(services, workspace, tenant=settings.tenant, by=by)


def with_local(pricing: PricingSettings, settings: Settings) -> PricingSettings:
    """Prices that know which models the user names to be switched to: those of them that run here are free."""
    ladder = (settings.ladder.default, *settings.ladder.by_client.values())
    named = (settings.policy.local_model or "", *(model for models in ladder for model in models))
    return replace(pricing, local_models=tuple(filter(None, named)))


def priced_rules(settings: Settings, exchange: ExchangeBook) -> tuple[BudgetRule, ...]:
    """The budgets of the settings in the user's time zone, those in another currency with the rate of today."""
    found = []
    for rule in settings.budgets:
        if rule.unit not in (*COUNTED, "USD"):
            rate = exchange.rate(rule.unit, as_datetime(clock_us()))
            rule = replace(rule, usd_nanos=rate.usd_per_unit_nanos, rate_day=rate.day.isoformat())  # noqa: PLW2901
        also = (
            also_meant(rule.match, settings.pricing.aliases) if rule.scope is BudgetScope.MODEL and rule.match else ()
        )
        found.append(replace(rule, zone=settings.time_zone, also=also))
    return tuple(found)


def places_known(settings: Settings, ledger: Ledger, seen: PlacesSeen, home: Path) -> PlacesKnown:
    """What folders belong to, as it is on the disk or was when they were there."""
    matches = (budget.match for budget in settings.budgets)
    named = [match for match in (settings.paths.project_root, *matches) if match is not None]
    return PlacesKnown(ledger, settings.tenant, seen.of, lambda: str(home), map(str, named))


def tenants_of_projects(start: Start) -> Callable[[str | None], str | None]:
    """Whose a project is, as the settings of its folder say; each folder is asked once a process.

    Where a folder is not there any more it is the user's own tenant's; None where settings cannot be read.
    """
    left_out = (*PROJECT_VARIABLES, TENANT_VARIABLE)
    environ = {name: value for name, value in start.around.environ.items() if name not in left_out}

    @lru_cache(maxsize=4096)
    def tenant_of(project: str | None) -> str | None:
        try:
            folder = None if project is None else Path(project)
            there = folder if folder is not None and folder.is_dir() else start.around.home
            return settings_here(environ, there, start=start).tenant
        except (SettingsError, OSError, ValueError):
            return None

    return tenant_of


def user_name() -> str:
    """Whose budgets those of scope `user` are: the account this program runs in."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # an account without a name, as some containers have
        return "user"


def guarded_here(start: Start, settings: Settings) -> GuardedFiles:
    """What no tool of an agent changes: the files that the gate stands on."""
    from tallygate.clients.guarding import Own, guarded_of

    paths, user = settings.paths, start.places
    own = Own(
        user.home,
        user.config_dir,
        paths.data_dir,
        paths.database,
        paths.key_dir,
        paths.run_log,
        paths.project_root,
        paths.anchor_places,
        paths.user_file,
        # A first look believes what is kept; an agent's client may have another cache folder than its user.
        (cache_folder(start.around), cache_folder(Surroundings({}, None, user.home))),
    )
    return guarded_of(own, frozenset(settings.enforcement.agents_may), clients=REGISTRY.nested)


@contextmanager
def opened(settings: Settings, *, by: str) -> Iterator[App]:
    """The composed program for one command, closed at the end."""
    app = compose(settings, by=by)
    try:
        yield app
    finally:
        app.close()
