"""What operations may ask of a ledger, one protocol a subject. Reading is free; writing is done inside `writing()`.

A write transaction holds the lock from its first read to its commit, so a check followed by a write cannot be
overtaken. Everything written in it goes through `append`: the rows and the journal entry are one fact.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Protocol

from tallygate.core import sums, usage
from tallygate.core.alerts import AlertMark
from tallygate.core.attribution import Served
from tallygate.core.bills.lines import Estimate
from tallygate.core.costing import Tokens
from tallygate.core.gate.lifecycle import CallAnomaly
from tallygate.core.learning.calibration import CostOrigin, SampleKey, StoredSample
from tallygate.core.model import Amount, Budget, Call, LimitChange, Session
from tallygate.core.places import Tree
from tallygate.core.plan import PlanWindow
from tallygate.core.proof import Head, StatementKind, attestation_id
from tallygate.core.statements import Bill, BilledLine, BillLine
from tallygate.core.values import value

Value = str | int | None


# The user's signature of some bytes, as text.
Sign = Callable[[bytes], str]


@value(frozen=True, slots=True)
class Insert:
    """A new row of a projection table; `op` is how an event says it."""

    op: ClassVar[str] = "+"
    table: str
    row: Mapping[str, Value]


@value(frozen=True, slots=True)
class Update:
    """Columns of an existing row, its key columns included."""

    op: ClassVar[str] = "~"
    table: str
    row: Mapping[str, Value]


@value(frozen=True, slots=True)
class Delete:
    """A row that is no more, by its key columns: another one has taken what it said."""

    op: ClassVar[str] = "-"
    table: str
    row: Mapping[str, Value]


Change = Insert | Update | Delete


class OfTenant(Protocol):
    """Rows of one tenant. `is_changing` where some may be seen that are not committed, and may be taken back."""

    @property
    def tenant(self) -> str: ...
    @property
    def is_changing(self) -> bool: ...


# --- sessions --------------------------------------------------------------------------------------------------------
# What is asked and kept of sessions and their calls.


@value(frozen=True, slots=True)
class ActivityTotals:
    """What a session's calls add up to; amounts in nano-units."""

    calls: int
    denied: int
    counted_nanos: int
    pending: int
    spent_nanos: int = 0  # without what pending ones hold


@value(frozen=True, slots=True)
class SpendShare:
    """One line of what was spent on; of a session whose client's record is read also how many responses."""

    label: str
    calls: int
    nanos: int
    responses: int = 0


@value(frozen=True, slots=True)
class QueuedLine:
    """A run-log line that is committed in the ledger and not yet on disk."""

    session_id: str
    path: str
    line: str


class SessionReader(OfTenant, Protocol):
    """Sessions and their calls, the client sessions that are linked to them, and lines of the run log that wait."""

    def session(self, session_id: str) -> Session | None: ...
    def session_with_budgets(self, session_id: str) -> tuple[Session, tuple[Budget, ...]] | None: ...
    def call(self, call_id: str) -> Call | None: ...
    def calls_of(self, session_id: str) -> Iterator[Call]: ...
    def sessions(self, *, state: str | None, limit: int) -> list[Session]: ...
    def sessions_started(self, from_us: int, until_us: int, limit: int) -> list[Session]: ...
    def sessions_called(self, part: str, limit: int) -> list[str]: ...
    def sessions_of_client(self, client_session: str, limit: int) -> list[str]: ...
    def worked_us(self) -> int | None: ...
    def pending_between(self, from_us: int, until_us: int) -> list[Call]: ...
    def children_of(self, session_id: str) -> list[str]: ...
    def has_open_exactness(self, session_id: str) -> bool: ...
    def totals(self, session_id: str) -> ActivityTotals: ...
    def spend_by(self, session_id: str, column: str, limit: int) -> list[SpendShare]: ...
    def links_found_by(self, session_id: str) -> set[str]: ...
    def sessions_linked(self, client: str, client_session: str) -> list[Session]: ...
    def begun_us(self, client: str, client_session: str) -> int | None: ...
    def links_of(self, session_id: str) -> list[tuple[str, str]]: ...
    def sessions_in_projects(self, from_us: int, until_us: int) -> list[Session]: ...
    def is_metered(self, session_id: str) -> bool: ...
    def recent_calls(self, session_id: str, at_us: int, limit: int) -> list[Call]: ...
    def booked_calls(self, session_id: str) -> list[Call]: ...
    def queued_lines(self, limit: int) -> list[QueuedLine]: ...
    def tenants(self) -> list[str]: ...
    def tenants_of_session(self, session_id: str) -> list[str]: ...
    def reached_session(self, session_id: str) -> str | None: ...
    def reached_call(self, call_id: str) -> str | None: ...
    def tenants_linked(self, client: str, client_session: str) -> list[str]: ...
    def booked_sums(self, from_us: int, until_us: int) -> list[sums.UsageSum]: ...
    def session_rates(self) -> dict[str, tuple[str, int, str | None]]: ...
    def tasks_since(self, from_us: int) -> dict[str | None, str]: ...
    def spend_next(self, from_us: int, until_us: int) -> int | None: ...
    def booked_between(self, from_us: int, until_us: int) -> Iterator[Call]: ...
    def moments_of(self, session_id: str) -> tuple[int, int] | None: ...
    def estimates_of(self, session_id: str, from_us: int, until_us: int) -> list[Estimate]: ...
    def call_anomalies(self, limit: int, session_id: str | None = ...) -> list[CallAnomaly]: ...
    def count_call_anomalies(self) -> int: ...
    def voids_in_a_row(self, session_id: str, call_id: str) -> int: ...


class SessionWriter(OfTenant, Protocol):
    """Calls that are due, and the run log's queue."""

    def due_calls(self, limit: int) -> list[Call]: ...
    def pending_calls(self, session_id: str, limit: int) -> list[Call]: ...
    def is_queued(self, session_id: str) -> bool: ...
    def queue_line(self, line: QueuedLine) -> None: ...
    def line_written(self, session_id: str) -> None: ...
    def line_failed(self, session_id: str, error: str) -> None: ...


# --- budgets ---------------------------------------------------------------------------------------------------------
# What is asked of budgets and of what counts in them.


@value(frozen=True, slots=True)
class PricedSum:
    """What a session spent on a model at one price."""

    model: str
    price_id: str
    nanos: int


@value(frozen=True, slots=True)
class SpendItem:
    """What some responses or booked calls alike come to: `times` of them cost `usd_nanos` each."""

    piece: int
    client: str | None
    project: str | None
    session_id: str | None
    model: str | None
    usd_nanos: int
    times: int
    tokens: int
    calls: int


@value(frozen=True, slots=True)
class AttributedItem:
    """Some responses or booked calls alike, with whom they were made for: `times` of them cost `usd_nanos` each."""

    piece: int
    client: str | None
    project: str | None
    session_id: str | None
    agent_type: str | None
    skill: str | None
    served: tuple[Served, ...]
    usd_nanos: int
    tokens: int
    times: int


@value(frozen=True, slots=True)
class Used:
    """What the windows of a budget above the session limit, and when the last of them was asked."""

    scope: str
    scope_key: str
    period: str
    unit: str
    mode: str
    last_us: int


class BudgetReader(OfTenant, Protocol):
    """Budgets, and what counts in them: windows, changes of limits, and where work was done."""

    def budgets_of(self, session_id: str) -> tuple[Budget, ...]: ...
    def budget(self, budget_id: str) -> Budget | None: ...
    def budgets_named(self, budget_ids: Sequence[str]) -> list[Budget]: ...
    def budgets_called(self, part: str, limit: int) -> list[str]: ...
    def budgets(self, limit: int) -> list[Budget]: ...
    def rolling_budgets(self) -> list[Budget]: ...
    def window_periods(self) -> list[str]: ...
    def windows_between(self, period: str, after_us: int, until_us: int) -> list[Budget]: ...
    def lasting(self, period: str) -> list[Budget]: ...
    def windows_used(self) -> list[Used]: ...
    def worktrees(self, folders: Collection[str]) -> list[Tree]: ...
    def projects_worked_in(self) -> tuple[str, ...]: ...
    def attributed(
        self, scope: str, from_us: int, until_us: int, size_us: int, *, prices: Collection[str] | None = ...
    ) -> list[AttributedItem]: ...
    def weighed(
        self,
        scope: str,
        from_us: int,
        until_us: int,
        size_us: int,
        *,
        apart: bool,
        placed: bool = ...,
        prices: Collection[str] | None = ...,
        named: bool = ...,
    ) -> list[SpendItem]: ...
    def paid_by_model(self, session_id: str, limit: int, budget_id: str | None = ...) -> list[SpendShare]: ...
    def spent_at(self, session_id: str, prices: Collection[str]) -> list[PricedSum]: ...
    def limit_changes(self, budget_ids: Collection[str], limit: int) -> list[LimitChange]: ...
    def newest_limit_changes(self, limit: int) -> list[LimitChange]: ...


# --- usage -----------------------------------------------------------------------------------------------------------
# What is asked and kept of responses, and of the files that tell of them.


@value(frozen=True, slots=True)
class StoredUsage:
    """One response with what the ledger adds: its price and cost, and where it counts.

    `charges` are the budgets its cost stands in, each with the amount that stands there, in the budget's unit.
    `corrected` is why the user has set its counts: nothing that is read changes them after that.
    """

    row: usage.ObservedUsage
    price_id: str
    cost_nanos: int
    session_id: str | None = None
    call_id: str | None = None
    charges: tuple[tuple[str, int], ...] = ()
    corrected: str | None = None

    @property
    def amount(self) -> Amount:
        """What the response weighs in any budget."""
        return Amount(self.cost_nanos, self.row.tokens.total, 1)


@value(frozen=True, slots=True)
class ServedSum:
    """What responses come to that one provider served of a model, at one speed and one price."""

    model: str
    provider: str | None
    speed: str | None
    price_id: str
    responses: int
    nanos: int


@value(frozen=True, slots=True)
class Anomaly:
    """What a later row told of a response that was booked already, and when it was seen; it changed nothing."""

    client: str
    response_key: str
    kind: str
    client_session: str
    told: str
    seen_us: int


@value(frozen=True, slots=True)
class KeptCheck:
    """A client's own total of a session of its own, when it was read, and what the ledger has of that session."""

    check: usage.SessionCheck
    read_us: int
    seen: Mapping[str, Tokens]
    last_us: int


class UsageReader(OfTenant, Protocol):
    """Responses as clients recorded them, their sums, and how far each file was read."""

    def usage_of(self, session_id: str) -> list[StoredUsage]: ...
    def usage_between(self, from_us: int, until_us: int) -> Iterator[StoredUsage]: ...
    def unattributed_usage(self, client: str, client_session: str, from_us: int) -> list[StoredUsage]: ...
    def usage_known(self, client: str, keys: Iterable[str]) -> dict[str, StoredUsage]: ...
    def usage_of_requests(self, client: str, requests: Iterable[str], *, told: bool) -> list[StoredUsage]: ...
    def session_checks(self, session_id: str) -> list[KeptCheck]: ...
    def observed(self, session_id: str) -> dict[str | None, sums.ObservedSum]: ...
    def usage_sums(self, chosen: sums.UsageFilter) -> list[sums.UsageSum]: ...
    def has_rollups(self) -> bool: ...
    def shared_sums(
        self, from_us: int, until_us: int, whom: Collection[str], *, by_session: bool
    ) -> list[sums.SharedSum]: ...
    def usage_folders(self) -> list[str]: ...
    def usage_models(self) -> list[str]: ...
    def usage_served(self, models: Collection[str], limit: int) -> list[ServedSum]: ...
    def usage_next(self, chosen: sums.UsageFilter) -> int | None: ...
    def usage_by_model(self, session_id: str, limit: int) -> list[SpendShare]: ...
    def usage_shares(self, session_id: str, column: str, limit: int) -> list[SpendShare]: ...
    def work_shares(self, session_id: str, column: str, limit: int) -> list[SpendShare]: ...
    def unattributed(self, from_us: int) -> dict[str, int]: ...
    def recent_usage(self, client: str, client_session: str, limit: int) -> list[StoredUsage]: ...
    def worked_in(self, session_id: str, limit: int) -> list[tuple[str, str | None, int]]: ...
    def last_served(self, session_id: str, agent_id: str | None, limit: int) -> tuple[int, str] | None: ...
    def last_usage_of(
        self, session_id: str, agent_id: str | None, limit: int, *, written: bool = False
    ) -> StoredUsage | None: ...
    def last_model(self, client: str) -> str | None: ...
    def has_usage(self, session_id: str) -> bool: ...
    def anomalies(self, limit: int) -> list[Anomaly]: ...
    def count_anomalies(self, session_id: str | None = ...) -> int: ...
    def has_anomaly(self, client: str, response_key: str, kind: str) -> bool: ...
    def usage_called(self, part: str, limit: int) -> list[StoredUsage]: ...
    def unread_files(self) -> list[sums.UnreadFile]: ...
    def position(self, path: str) -> dict[str, Any] | None: ...
    def whole_us(self, path: str) -> int | None: ...
    def plan_windows(self) -> list[PlanWindow]: ...
    def spent_since(self, from_us: int, session_id: str | None, limit: int) -> list[tuple[int, int]]: ...
    def plan_history(self, client: str, limit: str, minutes: int, from_us: int) -> list[PlanWindow]: ...
    def of_old_form(self, after: str, limit: int) -> list[tuple[str, str]]: ...


class UsageWriter(OfTenant, Protocol):
    """How far a file was read, what in it could not be, and what a client says of itself."""

    def save_position(
        self,
        path: str,
        client: str,
        position: Mapping[str, Any] | None,
        skipped: Mapping[str, int],
        *,
        anew: bool = ...,
        whole: bool = ...,
    ) -> None: ...
    def save_whole(self, path: str, client: str) -> None: ...
    def save_read_again(self, path: str, position: Mapping[str, Any]) -> bool: ...
    def save_unread(
        self, path: str, client: str, session: str | None, found: sums.Unread, *, anew: bool = ...
    ) -> None: ...
    def save_check(self, check: usage.SessionCheck) -> None: ...
    def save_plan(self, told: PlanWindow) -> None: ...
    def add_up(self, rows: int) -> bool: ...


# --- learning --------------------------------------------------------------------------------------------------------
# What is asked of estimates and what became of them.


class LearningReader(OfTenant, Protocol):
    """What became of estimates, and what the user had forgotten or set of that."""

    def samples_of(self, key: SampleKey, limit: int, *, first: bool, origin: CostOrigin) -> list[StoredSample]: ...
    def samples_of_kind(self, kind: str, limit: int, *, first: bool, origin: CostOrigin) -> list[StoredSample]: ...
    def keys_spelled(self, kind: str) -> list[SampleKey]: ...
    def samples_after(self, kind: str, after: int) -> list[StoredSample]: ...
    def last_sample(self) -> int: ...
    def has_sample(self, call_id: str) -> bool: ...
    def reconciled_calls(self, limit: int) -> list[Call]: ...
    def levels(self, session_id: str, agent: str, limit: int) -> list[tuple[int, CostOrigin]]: ...
    def sample_keys(self) -> list[tuple[SampleKey, int, int]]: ...
    def calibration_state(self) -> tuple[tuple[int, int], int]: ...
    def has_calibration_start(self, client: str, model: str) -> bool: ...
    def calibration_factor(self, model: str) -> int | None: ...
    def calibration_factors(self) -> dict[str, tuple[int, int]]: ...


# --- bills -----------------------------------------------------------------------------------------------------------
# What is asked of bills.


class BillReader(OfTenant, Protocol):
    """What providers state, line by line."""

    def bills(self, limit: int) -> list[Bill]: ...
    def bill(self, bill_id: str) -> Bill | None: ...
    def bills_called(self, part: str, limit: int) -> list[str]: ...
    def live_bill(self, form: str, digest: str) -> Bill | None: ...
    def unfinished_bills(self) -> list[Bill]: ...
    def bill_lines(self, bill_id: str, limit: int) -> list[BillLine]: ...
    def billed_between(self, from_us: int, until_us: int) -> Iterator[BilledLine]: ...
    def lines_replacing(self, bill_id: str) -> int: ...
    def lines_replaced(self, bill_id: str) -> int: ...


# --- proof -----------------------------------------------------------------------------------------------------------
# What is asked of the journal, and kept of what is signed.


@value(frozen=True, slots=True)
class JournalEvent:
    """One event as it is stored, with the hash of the one before it."""

    seq: int
    at_us: int
    body: bytes
    hash: bytes
    previous: bytes


@value(frozen=True, slots=True)
class Due:
    """Something to be stated of an event, and signed after the event's commit."""

    kind: StatementKind
    head: Head
    session_id: str | None = None
    call_id: str | None = None

    @property
    def attestation_id(self) -> str:
        return attestation_id(self.kind, self.head.hash, self.session_id)

    def row(self) -> dict[str, Any]:
        """As its row begins."""
        return {
            "attestation_id": self.attestation_id,
            "kind": self.kind.value,
            "session_id": self.session_id,
            "call_id": self.call_id,
            "seq": self.head.seq,
            "event_hash": self.head.hash,
        }


@value(frozen=True, slots=True)
class StoredAttestation:
    """One attestation as it is stored; without an envelope it is due."""

    attestation_id: str
    kind: str
    session_id: str | None
    call_id: str | None
    seq: int
    event_hash: bytes
    payload: bytes | None
    envelope: str | None
    keyid: str | None
    issued_us: int | None


class ProofReader(OfTenant, Protocol):
    """The journal and what is signed of it: attestations, keys, the lock, and the bases of prices."""

    def first_after(self, at_us: int) -> tuple[int, int]: ...
    def prices(self) -> dict[str, str]: ...
    def price_list(self, list_id: str) -> str | None: ...
    def head(self) -> Head: ...
    def attestation(self, attestation_id: str) -> StoredAttestation | None: ...
    def attestations_called(self, part: str, limit: int) -> list[str]: ...
    def attestations(self, limit: int) -> list[StoredAttestation]: ...
    def attestations_of(self, session_id: str, limit: int = ...) -> list[StoredAttestation]: ...
    def last_attestation(self, session_id: str, kind: str) -> StoredAttestation | None: ...
    def attestation_of_call(self, call_id: str) -> StoredAttestation | None: ...
    def attestations_due(self, limit: int, session_id: str | None = ...) -> list[StoredAttestation]: ...
    def count_due(self) -> int: ...
    def journal_event(self, seq: int) -> JournalEvent | None: ...
    def events_about(self, part: str) -> Iterator[JournalEvent]: ...
    def price_basis(self, price_id: str) -> str | None: ...
    def knows_key(self, keyid: str) -> bool: ...
    def signing_keys(self) -> list[tuple[str, str, int, int]]: ...
    @property
    def newest_lock(self) -> bytes | None: ...
    def lock_events(self, first: int = ...) -> list[JournalEvent]: ...
    def limit_events(self, first: int) -> list[JournalEvent]: ...
    def openings(self, session_id: str, started_us: int) -> list[JournalEvent]: ...


class ProofWriter(OfTenant, Protocol):
    """What is to be signed, and with which keys."""

    def knows_price(self, price_id: str) -> bool: ...
    def attest_later(self, due: Due) -> None: ...
    def sign_attestation(self, attestation_id: str, payload: bytes, envelope: str, keyid: str) -> None: ...
    def keep_key(self, keyid: str, public: str, head: Head) -> None: ...
    def due_from_journal(self) -> int: ...


# --- alerts ----------------------------------------------------------------------------------------------------------
# What was told of budgets, and what could not be.


class AlertReader(OfTenant, Protocol):
    """What is remembered of alerts."""

    def alert_marks(self, budget_ids: Collection[str]) -> dict[tuple[str, str], AlertMark]: ...
    def alert_mark(self, budget_id: str, route: str) -> AlertMark | None: ...
    def alerts_failed(self, from_us: int, limit: int) -> list[AlertMark]: ...


class AlertWriter(OfTenant, Protocol):
    """Alerts that are taken up, and how telling them went."""

    def claim_alert(self, mark: AlertMark) -> None: ...
    def alert_came_out(self, mark: AlertMark) -> None: ...


# --- the ledger ------------------------------------------------------------------------------------------------------
# All subjects together, and how a transaction is begun.


class Reader(SessionReader, BudgetReader, UsageReader, LearningReader, BillReader, ProofReader, AlertReader, Protocol):
    """Reads of one tenant's rows; of others only their names, and which sessions were opened from here."""


class Tx(Reader, SessionWriter, UsageWriter, ProofWriter, AlertWriter, Protocol):
    """One write transaction. `at_us` is the one time of its rows: the clock's, and the times of events go on rising.

    Each `step` inside has a time of its own, and leaves nothing where it fails; what is around it goes on.
    """

    @property
    def at_us(self) -> int: ...
    def step(self) -> AbstractContextManager[None]: ...
    def append(
        self,
        kind: str,
        changes: Sequence[Change],
        *,
        by: str,
        note: Mapping[str, Value] | None = None,
        sign: Sign | None = None,
    ) -> Head: ...


class LedgerBusy(Exception):  # not a failure: the answer takes another way
    """Somebody else holds the ledger, and the caller had asked not to wait."""


class MoreIsAsked(Exception):  # not a failure: the answer takes another way
    """What was read at a glance does not tell this; a view of the ledger does."""


class Ledger(Protocol):
    """A ledger of one or more tenants."""

    @property
    def ledger_id(self) -> str: ...
    def reading(self, tenant: str = ...) -> AbstractContextManager[Reader]: ...
    def step_history(
        self, tenant: str, session_id: str, agent: str, agent_id: str | None, model: str, *, looked_at: tuple[int, int]
    ) -> Reader: ...
    def writing(self, tenant: str = ...) -> AbstractContextManager[Tx]: ...
    def at_once(self) -> AbstractContextManager[None]: ...
    def others_wrote(self) -> object: ...
    def prove(self, tenant: str = ...) -> None: ...
    def close(self) -> None: ...
