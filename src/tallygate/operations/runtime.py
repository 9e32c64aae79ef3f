"""What every operation is handed: the program's parts, whose rows it works among, and prices as of whose work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import field, replace
from functools import partial
from heapq import merge
from pathlib import Path
from threading import Lock
from typing import NamedTuple, Protocol

from tallygate.attest.keyring import KeyRing
from tallygate.core.attribution import NOBODY, MadeFor
from tallygate.core.costing import Price, basis_of
from tallygate.core.errors import Conflict, InvalidArgument, LedgerUnavailable, same_or_conflict
from tallygate.core.forecast import SessionCosts
from tallygate.core.gate.rules import BudgetRule, BudgetScope
from tallygate.core.guard.fence import GuardedFiles
from tallygate.core.hooks import HookEvent
from tallygate.core.learning.calibration import (
    WINDOW,
    CostOrigin,
    EstimateKind,
    Expectation,
    Learner,
    Level,
    SampleKey,
    StoredSample,
    expect,
)
from tallygate.core.loops import LoopMode, TurnKeeper
from tallygate.core.model import DEFAULT_TENANT, Budget, Policy, Session
from tallygate.core.places import Place, as_written
from tallygate.core.plan import PlanRule
from tallygate.core.regex import regex
from tallygate.core.text import shown
from tallygate.core.values import value
from tallygate.core.words import BudgetMode, client_name
from tallygate.ledger import port
from tallygate.operations.lock_book import LockBook
from tallygate.pricing.book import PriceBook, PriceScope
from tallygate.pricing.exchange import ExchangeBook
from tallygate.pricing.identity import one_name
from tallygate.pricing.overrides import ANYWHERE
from tallygate.surroundings import Surroundings

# --- learned ---------------------------------------------------------------------------------------------------------
# What a process remembers of what the ledger has taught it about estimates; it always agrees with the ledger.


KEYS_MAX = 512


@value(slots=True)
class _OfKind:
    """What was learned from one kind of estimates up to sample `last`, since what the user had forgotten before."""

    starts: tuple[int, int]
    last: int
    pool: Learner
    by_key: dict[SampleKey, Learner] = field(default_factory=dict)


class Learners:
    """Learners of the keys in use, each loaded once and then told of every further sample.

    Several threads may ask at a time. Each sees what the ledger held when its own transaction began, or more.
    """

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], _OfKind] = {}
        self._lock = Lock()

    def expect(self, reader: port.Reader, key: SampleKey, estimate_nanos: int, level: Level) -> Expectation:
        """What a call will probably cost, by everything that is in the ledger."""
        with self._lock:
            of_kind = self._up_to_date(reader, key.kind)
            key = one_key(key)
            learner = of_kind.by_key.get(key) or _learner(reader, of_kind, key)
            return expect(learner, of_kind.pool, estimate_nanos, level)

    def _up_to_date(self, reader: port.Reader, kind: str) -> _OfKind:
        starts, last = reader.calibration_state()
        known = self._kinds.get((reader.tenant, kind))
        fits = known is not None and known.starts == starts and last <= known.last
        if reader.is_changing and not fits:  # what is not committed may be taken back, and must not be remembered
            return _OfKind(starts, last, _taught(kind, partial(reader.samples_of_kind, kind, WINDOW)))
        if known is None or known.starts != starts:
            pool = _taught(kind, partial(reader.samples_of_kind, kind, WINDOW))
            known = self._kinds[reader.tenant, kind] = _OfKind(starts, last, pool)
            return known
        if last <= known.last:
            return known
        for kept in reader.samples_after(kind, known.last):
            known.pool.add(kept.sample)
            # A key that nobody has asked for is read with all its samples when somebody does.
            if (learner := known.by_key.get(one_key(kept.key))) is not None:
                learner.add(kept.sample)
        known.last = last
        return known


def one_key(key: SampleKey) -> SampleKey:
    """A key by the one name of its client and its model: samples may be kept under other spellings."""
    return SampleKey(key.kind, client_name(key.client), one_name(key.model))


def _learner(reader: port.LearningReader, of_kind: _OfKind, key: SampleKey) -> Learner:
    """What a key's samples teach, read for the first time."""
    spelled = [each for each in reader.keys_spelled(key.kind) if one_key(each) == key]
    found = _taught(key.kind, *(partial(reader.samples_of, each, WINDOW) for each in spelled))
    # A transaction that began before another thread's last look has not seen what that one has.
    if reader.calibration_state()[1] >= of_kind.last:
        if len(of_kind.by_key) >= KEYS_MAX:
            of_kind.by_key.clear()
        of_kind.by_key[key] = found
    return found


class _Samples(Protocol):
    """The last samples of something, by whether they were first calls and by who told what they cost."""

    def __call__(self, *, first: bool, origin: CostOrigin) -> Iterable[StoredSample]: ...


def _taught(kind: str, *sources: _Samples) -> Learner:
    # Nobody reports what a hook has asked for.
    origins = (CostOrigin.OBSERVED,) if kind == EstimateKind.HOOK else tuple(CostOrigin)
    groups = [read(first=first, origin=origin) for read in sources for first in (True, False) for origin in origins]
    learner = Learner()
    for kept in merge(*groups, key=lambda kept: kept.number):
        learner.add(kept.sample)
    return learner


# --- runtime ---------------------------------------------------------------------------------------------------------
# What every operation needs and never makes itself, apart by how long it holds: the program's own parts, what is set
# where the work is done, what was remembered, and for whom just now.


class RunLogWriter(Protocol):
    """Where finished sessions are written for other programs."""

    def append(self, path: Path, line: str) -> None: ...
    def holds(self, path: Path, line: str) -> bool: ...


class Presence(Protocol):
    """Which servers are alive."""

    def is_alive(self, server_id: str) -> bool: ...


class Following(Protocol):
    """What reads on in clients' transcripts, before anything is decided on what they hold."""

    def catch_up(self) -> object:
        """Read on in the files that are known."""

    def include(self, client: str, transcript: Path | None, session: str | None) -> None:
        """Read one more, or that of a client's session."""

    def read_whole(self, client: str, transcript: Path | None, session: str | None) -> tuple[str, ...] | None:
        """The files of a client's session where all of them was read, else None."""

    def has_read_since(self, since_us: int) -> bool:
        """Whether all that clients wrote since a time is read; what is not is read for a while."""


class NothingFollowed:
    """Where no transcripts are read: there is nothing to catch up with, and nobody knows that all of one was."""

    def catch_up(self) -> None: ...
    def include(self, client: str, transcript: Path | None, session: str | None) -> None: ...
    def read_whole(self, _client: str, _transcript: Path | None, _session: str | None) -> None: ...
    def has_read_since(self, _since_us: int) -> bool:
        return True


def nothing_weakens(_: HookEvent) -> str | None:
    """Where no client's settings can be looked at, nothing in them is seen to take its hooks from the gate."""
    return None


def no_waiting(_: int) -> None:
    """Where nobody else is at work, nothing comes of waiting."""


def in_no_tenant(_: str | None) -> str | None:
    """Where no settings say whose a project is, what was made in it is counted wherever it is read."""
    return None


PlaceOf = Callable[[str | None], Place | None]


def on_paper(folder: str | None) -> Place | None:
    """Where no disk is looked at, a place is what its path says."""
    return None if folder is None else as_written(folder)


# Where a program was given none.
NOWHERE = Surroundings({}, None, Path())


def no_ladder(_: str) -> tuple[str, ...]:
    """No model to switch to, whatever the client."""
    return ()


class SessionHead(NamedTuple):
    """What never changes of a session: the model it was started with, its client and project, the prices it keeps."""

    model: str
    client: str
    project: str | None
    prices: str | None


@value(frozen=True, slots=True)
class Services:
    """The program's own parts, the same whatever work is done.

    `keys` sign; without any, nothing is attested. `locks` tell which limits the user has signed. `steady_us` is a
    clock that nobody sets. Without `turns` no loop is seen.
    """

    ledger: port.Ledger
    clock_us: Callable[[], int]
    new_token: Callable[[int], str]
    run_log: RunLogWriter
    presence: Presence
    keys: KeyRing | None = None
    locks: LockBook = field(default_factory=LockBook)
    pause_us: Callable[[int], None] = no_waiting
    steady_us: Callable[[], int] = lambda: 0
    turns: TurnKeeper | None = None


@value(frozen=True, slots=True)
class Workspace:
    """Where work is done, and what the user has set for it.

    `around` is what the client's work finds around it, `folder` where work is done that belongs to no `project`.
    `place_of` tells what a folder belongs to, `tenant_of` whose a project is, by its folder. `told_at_start` is what a
    user is told of the settings when a session begins, `foreign` names variables of the client that do not count.
    `program` is how a user's shell starts this one, `program_in_full` by its path, `zone` the time zone that times are
    told in.
    """

    prices: PriceBook
    policy: Policy
    run_log_path: Path
    exchange: ExchangeBook = field(default_factory=ExchangeBook)
    around: Surroundings = NOWHERE
    project: str | None = None
    folder: str | None = None
    place_of: PlaceOf = on_paper
    tenant_of: Callable[[str | None], str | None] = in_no_tenant
    program: str = "tallygate"
    program_in_full: str = "tallygate"
    zone: str = "UTC"
    user: str = "user"
    rules: tuple[BudgetRule, ...] = ()
    plan: tuple[PlanRule, ...] = ()
    status_show: tuple[str, ...] = ("session", "left", "plan", "context")
    status_width: int = 120
    cold_from_percent: int = 5
    loops: LoopMode = LoopMode.WARN
    rule_written_us: Callable[[BudgetRule], int | None] = lambda _: None
    session_limit_nanos: int = 5_000_000_000
    session_mode: str = "hard"
    default_mode: str = "hard"
    ladder: Callable[[str], tuple[str, ...]] = no_ladder
    local_model: str | None = None
    factors_micros: Mapping[str, int] = field(default_factory=dict)
    halt_on_fault: bool = True
    interrupts: bool = True
    keep_summaries: bool = True
    abandon_after_us: int = 3_600_000_000
    told_at_start: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    weakens: Callable[[HookEvent], str | None] = nothing_weakens
    stand_in: Callable[[HookEvent], str | None] = nothing_weakens
    guarded: Callable[[], GuardedFiles] = GuardedFiles


@value(frozen=True, slots=True)
class Caches:
    """What a program remembers while it runs; all of it stands in the ledger, or was told by a hook.

    Everything is kept by its tenant, or by ids that a client made. `known_prices` are ids of those that are in the
    ledger. `tool_owners` tells which client's session a tool call belongs to, by the id that a hook gave: (client,
    session). `compactions` tells when a session's agent last summarised its conversation, and `agents_ended` when and
    in which folder one has ended. `work_multipliers` is what earlier days taught of how long budgets last, and when;
    `session_costs` is what the responses of ended sessions cost.
    """

    learned: Learners = field(default_factory=Learners)
    known_prices: dict[str, set[str]] = field(default_factory=dict)
    session_heads: dict[tuple[str, str], SessionHead] = field(default_factory=dict)
    session_tenants: dict[tuple[str, str], str] = field(default_factory=dict)
    tool_owners: dict[str, tuple[str, str]] = field(default_factory=dict)
    compactions: dict[tuple[str, str | None], int] = field(default_factory=dict)
    agents_ended: dict[tuple[str, str | None], tuple[int, str]] = field(default_factory=dict)
    work_multipliers: dict[str, tuple[int, tuple[int, int, int]]] = field(default_factory=dict)
    session_costs: dict[tuple[str, str], SessionCosts] = field(default_factory=dict)


@value(frozen=True, slots=True)
class Runtime:
    """The composed program, at work for somebody: among whose rows, and who acts, in every event (`by`).

    `home` is the program's own tenant while it is among the rows of another, which a caller has named for a session.
    `asked_by` is the client that is connected, where an agent asks; `server_id` the server whose sessions these are.
    `made_for` is whom the step at hand is taken for, as far as that is known before it.
    """

    services: Services
    workspace: Workspace
    caches: Caches = field(default_factory=Caches)
    follower: Following = field(default_factory=NothingFollowed)
    tenant: str = DEFAULT_TENANT
    home: str | None = None
    by: str = "tallygate"
    asked_by: str | None = None
    server_id: str | None = None
    made_for: MadeFor = NOBODY

    def reading(self) -> AbstractContextManager[port.Reader]:
        """A view of one moment of the tenant's rows."""
        return self.services.ledger.reading(self.tenant)

    def writing(self) -> AbstractContextManager[port.Tx]:
        """One transaction among the tenant's rows."""
        return self.services.ledger.writing(self.tenant)

    def prove(self) -> None:
        """Raise `LedgerUnavailable` where nothing could be written down for the tenant now."""
        self.services.ledger.prove(self.tenant)

    def known_prices(self) -> set[str]:
        """Ids of prices that are known to be in the tenant's ledger."""
        return self.caches.known_prices.setdefault(self.tenant, set())


# --- scope -----------------------------------------------------------------------------------------------------------
# Whose prices hold: those negotiated for a session, its project or its tenant; none below those it was opened at.


HEADS_MAX = 10_000


def scope_of(rt: Runtime, session: Session) -> PriceScope:
    """The scope of everything that is done in a session."""
    return _scope(rt, session.session_id, _head_of(session), session.tenant)


def scope_here(rt: Runtime) -> PriceScope:
    """The scope of what is asked outside of any session."""
    return PriceScope(rt.tenant, rt.workspace.project)


def scope_called(rt: Runtime, session_id: str) -> PriceScope:
    """The scope of a session by its id; an id that names nothing has none: whoever uses it says so."""
    head = head_of(rt, session_id)
    return ANYWHERE if head is None else scope_headed(rt, session_id, head)


def scope_headed(rt: Runtime, session_id: str, head: SessionHead) -> PriceScope:
    """The scope of a session of which is known what never changes."""
    return _scope(rt, session_id, head, rt.tenant) if matters(rt, head.prices) else ANYWHERE


def matters(rt: Runtime, prices: str | None) -> bool:
    """Whether the prices of a session may be others than those of anything; most often they are not."""
    return rt.workspace.prices.is_scoped or prices not in (None, rt.workspace.prices.list_id)


def head_of(rt: Runtime, session_id: str) -> SessionHead | None:
    """What never changes of a session, so that a process asks for it once; None where there is no such session."""
    known = rt.caches.session_heads.get((rt.tenant, session_id))
    if known is None:
        with rt.reading() as reader:
            session = reader.session(session_id)
        if session is None:
            return None
        if len(rt.caches.session_heads) > HEADS_MAX:
            rt.caches.session_heads.clear()
        known = rt.caches.session_heads[rt.tenant, session_id] = _head_of(session)
    return known


def remember(rt: Runtime, session: Session) -> None:
    """Know a session that was just opened."""
    rt.caches.session_heads[rt.tenant, session.session_id] = _head_of(session)


def prices_kept(rt: Runtime, tx: port.ProofReader) -> list[port.Change]:
    """What is written with a session so that it goes on at the prices it is opened at."""
    if tx.price_list(rt.workspace.prices.list_id) is not None:
        return []
    return [
        port.Insert("price_list", {"list_id": rt.workspace.prices.list_id, "stated": rt.workspace.prices.stated.text})
    ]


def _head_of(session: Session) -> SessionHead:
    return SessionHead(session.model, session.client, session.project, session.prices)


def _scope(rt: Runtime, session_id: str, head: SessionHead, tenant: str) -> PriceScope:
    opened_at = head.prices
    if opened_at in (None, rt.workspace.prices.list_id) or not _at_hand(rt, str(opened_at), tenant):
        return PriceScope(tenant, head.project, session_id)
    return PriceScope(
        tenant, head.project, session_id, opened_at=opened_at, elsewhere=head.project != rt.workspace.project
    )


def _at_hand(rt: Runtime, list_id: str, tenant: str) -> bool:
    """Have a list of prices at hand that was kept with a session; one that cannot be read holds for nobody."""
    if rt.workspace.prices.knows(list_id):
        return True
    with rt.services.ledger.reading(tenant) as reader:
        stated = reader.price_list(list_id)
    if stated is None:
        return False
    rt.workspace.prices.keep(list_id, stated)
    return True


# --- tenants ---------------------------------------------------------------------------------------------------------
# Whose rows an id is found among: each tenant has its own sessions, budgets and journal in the one ledger.


SESSIONS_KEPT = 10_000
_TENANT = regex(r"[A-Za-z0-9._-]{1,100}")


def tenant_id(text: str) -> str:
    """A tenant's id from outside, checked."""
    if not _TENANT.fullmatch(text):
        raise InvalidArgument(
            "tenant_id",
            f"tenant_id {shown(text)} is none.",
            hint="It takes 1 to 100 letters, digits, dots, dashes and underscores.",
        )
    return text


def in_tenant(rt: Runtime, tenant: str) -> Runtime:
    """The program among the rows of a tenant."""
    if tenant == rt.tenant:
        return rt
    return replace(rt, tenant=tenant)


def opened_in(rt: Runtime, tenant: str) -> Runtime:
    """The program among the rows of a tenant that a caller has named for a new session.

    Where the settings say whose the work is, a caller names no other. Budgets are counted in each tenant by itself:
    where the settings limit more than sessions, a name that they do not know would be a way around every limit, so it
    is refused.
    """
    tenant = tenant_id(tenant)
    if tenant == rt.tenant:
        return rt
    if rt.tenant != DEFAULT_TENANT:
        raise InvalidArgument(
            "tenant_id",
            f"The work here is that of the tenant {shown(rt.tenant)}, as the settings say; "
            f"tenant_id {shown(tenant)} is another.",
            hint="Leave tenant_id out.",
        )
    above = [
        rule for rule in rt.workspace.rules if rule.mode is BudgetMode.HARD and rule.scope is not BudgetScope.SESSION
    ]
    if above and not any(rule.scope is BudgetScope.TENANT and rule.match in (None, tenant) for rule in above):
        raise InvalidArgument(
            "tenant_id",
            f"The settings limit more than single sessions and have no budget for the tenant {shown(tenant)}.",
            hint='Leave tenant_id out, or let the user add a [[budget]] with scope = "tenant" '
            f'and match = "{tenant}" to config.toml.',
        )
    return _away(rt, tenant)


def runtime_for_session(rt: Runtime, session_id: str) -> Runtime:
    """The program among the rows where a session is that may be named here; its own where there is none.

    That is a session of the program's own tenant, or one that was opened from it for another. The operation then says
    of any other id that it names nothing, whoever has a session of that id. A ledger that cannot be asked is met by
    the operation itself, which knows what a fault means.
    """
    tenant = rt.caches.session_tenants.get((rt.tenant, session_id))
    if tenant is None:
        try:
            with rt.reading() as reader:
                tenant = reader.reached_session(session_id)
        except LedgerUnavailable:
            return rt
        if tenant is None:
            return rt
        if len(rt.caches.session_tenants) >= SESSIONS_KEPT:
            rt.caches.session_tenants.clear()
        rt.caches.session_tenants[rt.tenant, session_id] = tenant
    return rt if tenant == rt.tenant else _away(rt, tenant)


def runtime_for_call(rt: Runtime, call_id: str) -> Runtime:
    """The program among the rows where a call is that may be named here; its own where there is none."""
    with rt.reading() as reader:
        tenant = reader.reached_call(call_id)
    return rt if tenant is None or tenant == rt.tenant else _away(rt, tenant)


def _away(rt: Runtime, tenant: str) -> Runtime:
    return replace(in_tenant(rt, tenant), home=rt.tenant)


def wherever(rt: Runtime, session_id: str) -> Runtime:
    """The program among the rows of whatever tenant has a session, for the user alone, who may look at all of them."""
    with rt.reading() as reader:
        found = reader.tenants_of_session(session_id)
    if not found or rt.tenant in found:
        return rt
    if len(found) > 1:
        raise InvalidArgument(
            "tenant",
            f"{len(found)} tenants have a session {shown(session_id)}: {', '.join(found)}.",
            hint="Say which: --tenant ID where the command takes it, else TALLYGATE_TENANT=ID before the command.",
        )
    return in_tenant(rt, found[0])


def every_tenant(rt: Runtime) -> list[Runtime]:
    """The program among the rows of each tenant that has any."""
    with rt.reading() as reader:
        found = reader.tenants()
    return [rt, *(in_tenant(rt, tenant) for tenant in found if tenant != rt.tenant)]


SUMMARY_MAX = 200


def kept_summary(rt: Runtime, summary: str | None) -> str | None:
    """What is kept of a sentence about the work, as the user's settings say."""
    if summary is None or not rt.workspace.keep_summaries:
        return None
    return summary[:SUMMARY_MAX]


def basis_changes(tx: port.ProofWriter, price: Price, seen: set[str]) -> tuple[str, list[port.Insert]]:
    """The id of a price's basis, and the row to insert where the ledger does not have it yet."""
    price_id, basis = basis_of(price)
    if price_id in seen or tx.knows_price(price_id):
        return price_id, []
    return price_id, [port.Insert("price", {"price_id": price_id, "basis": basis})]


def named_before(rt: Runtime, reader: port.SessionReader, session_id: str) -> tuple[Session, tuple[Budget, ...]] | None:
    """The session that has an id which a caller chose, with its budgets.

    An id names one session of those that can be reached from the program's own tenant. What others have under it is
    not told, not even where its rows are among those of the tenant that the caller named.
    """
    home = rt.home or rt.tenant
    with rt.services.ledger.reading(home) as own:
        reached = own.reached_session(session_id)
    if reached is not None:
        same_or_conflict(
            [("tenant_id", reached, rt.tenant)],
            f"Session {session_id!r} was opened",
            hint="Use another session_id.",
            code="session_conflict",
        )
    found = reader.session_with_budgets(session_id)
    if found is not None and reached is None:
        raise Conflict(
            f"{session_id!r} cannot be the id of a session here.",
            hint="Use another session_id, or leave it out for a fresh one.",
            code="session_conflict",
        )
    return found
