"""What operations may ask of a ledger. Reading is free; writing happens only inside `writing()`.

A write transaction holds the lock from its first read to its commit, so a check followed by a write cannot be
overtaken. Everything written in it goes through `append`: the rows and the journal entry are one fact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from tallygate.core.amounts import Amount
from tallygate.core.answers import ObservedSum, SpendSum, UsageFilter, UsageSum
from tallygate.core.attested import Kind, attestation_id
from tallygate.core.chain import Head
from tallygate.core.costing import Tokens
from tallygate.core.model import Budget, Call, Session
from tallygate.core.observed import ObservedUsage, Rule, SessionCheck

Value = str | int | None


@dataclass(frozen=True, slots=True)
class Insert:
    """A new row of a projection table."""

    table: str
    row: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Update:
    """Columns of an existing row, its key columns included."""

    table: str
    row: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Delete:
    """A row that is no more, by its key columns: another one has taken what it said."""

    table: str
    row: Mapping[str, Value]


Change = Insert | Update | Delete


@dataclass(frozen=True, slots=True)
class ActivityTotals:
    """What a session's calls add up to; amounts in nano-units."""

    calls: int
    denied: int
    counted_nanos: int
    pending: int


@dataclass(frozen=True, slots=True)
class SpendShare:
    """One line of what a session was spent on."""

    label: str
    calls: int
    nanos: int


@dataclass(frozen=True, slots=True)
class QueuedLine:
    """A run-log line that is committed in the ledger and not yet on disk."""

    session_id: str
    path: str
    line: str


@dataclass(frozen=True, slots=True)
class StoredUsage:
    """One response with what the ledger adds: its price and cost, and where it counts.

    `charges` are the budgets its cost stands in, each with the amount that stands there, in the budget's unit.
    """

    row: ObservedUsage
    price_id: str
    cost_nanos: int
    session_id: str | None = None
    call_id: str | None = None
    charges: tuple[tuple[str, int], ...] = ()

    @property
    def amount(self) -> Amount:
        """What the response weighs in any budget."""
        return Amount(self.cost_nanos, self.row.tokens.total, 1)


@dataclass(frozen=True, slots=True)
class KeptCheck:
    """A client's own total of a session of its own, when it was read, and what the ledger has of that session."""

    check: SessionCheck
    read_us: int
    seen: Mapping[str, Tokens]
    last_us: int


@dataclass(frozen=True, slots=True)
class JournalEvent:
    """One event as it is stored, with the hash of the one before it."""

    seq: int
    at_us: int
    body: bytes
    hash: bytes
    previous: bytes


@dataclass(frozen=True, slots=True)
class Due:
    """Something to be stated of an event, and signed after the event's commit."""

    kind: Kind
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


@dataclass(frozen=True, slots=True)
class Attested:
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


class Reader(Protocol):
    """Reads of one tenant's rows; of other tenants only that they are there."""

    @property
    def tenant(self) -> str: ...
    def session(self, session_id: str) -> Session | None: ...
    def budgets_of(self, session_id: str) -> tuple[Budget, ...]: ...
    def session_with_budgets(self, session_id: str) -> tuple[Session, tuple[Budget, ...]] | None: ...
    def budget(self, budget_id: str) -> Budget | None: ...
    def budgets_named(self, budget_ids: Sequence[str]) -> list[Budget]: ...
    def call(self, call_id: str) -> Call | None: ...
    def calls_of(self, session_id: str) -> Iterator[Call]: ...
    def sessions(self, *, state: str | None, limit: int) -> list[Session]: ...
    def sessions_called(self, part: str, limit: int) -> list[str]: ...
    def budgets_called(self, part: str, limit: int) -> list[str]: ...
    def budgets(self, limit: int) -> list[Budget]: ...
    def children_of(self, session_id: str) -> list[str]: ...
    def has_open_exactness(self, session_id: str) -> bool: ...
    def totals(self, session_id: str) -> ActivityTotals: ...
    def spend_by(self, session_id: str, column: str, limit: int) -> list[SpendShare]: ...
    def prices(self) -> dict[str, str]: ...
    def usage_of(self, session_id: str) -> list[StoredUsage]: ...
    def usage_between(self, from_us: int, until_us: int) -> Iterator[StoredUsage]: ...
    def unattributed_usage(self, client: str, client_session: str, from_us: int) -> list[StoredUsage]: ...
    def usage_known(self, client: str, keys: Iterable[str]) -> dict[str, StoredUsage]: ...
    def usage_of_requests(self, client: str, requests: Iterable[str], rules: Iterable[Rule]) -> list[StoredUsage]: ...
    def session_checks(self, session_id: str) -> list[KeptCheck]: ...
    def observed(self, session_id: str) -> dict[str | None, ObservedSum]: ...
    def usage_sums(self, key: str, chosen: UsageFilter) -> list[UsageSum]: ...
    def usage_next(self, chosen: UsageFilter) -> int | None: ...
    def usage_by_model(self, session_id: str, limit: int) -> list[SpendShare]: ...
    def usage_shares(self, session_id: str, column: str, limit: int) -> list[SpendShare]: ...
    def unattributed(self, from_us: int) -> dict[str, int]: ...
    def recent_usage(self, client: str, client_session: str, limit: int) -> list[StoredUsage]: ...
    def last_model(self, client: str) -> str | None: ...
    def has_usage(self, session_id: str) -> bool: ...
    def links_found_by(self, session_id: str) -> set[str]: ...
    def sessions_linked(self, client: str, client_session: str) -> list[Session]: ...
    def links_of(self, session_id: str) -> list[tuple[str, str]]: ...
    def sessions_in_projects(self, from_us: int, until_us: int) -> list[Session]: ...
    def is_live(self, session_id: str) -> bool: ...
    def recent_calls(self, session_id: str, at_us: int, limit: int) -> list[Call]: ...
    def booked_calls(self, session_id: str) -> list[Call]: ...
    def position(self, path: str) -> dict[str, Any] | None: ...
    def head(self) -> Head: ...
    def queued_lines(self, limit: int) -> list[QueuedLine]: ...
    def attestation(self, attestation_id: str) -> Attested | None: ...
    def attestations(self, limit: int) -> list[Attested]: ...
    def attestations_of(self, session_id: str, limit: int = ...) -> list[Attested]: ...
    def last_attestation(self, session_id: str, kind: str) -> Attested | None: ...
    def attestation_of_call(self, call_id: str) -> Attested | None: ...
    def attestations_due(self, limit: int, session_id: str | None = ...) -> list[Attested]: ...
    def journal_event(self, seq: int) -> JournalEvent | None: ...
    def events_about(self, part: str) -> Iterator[JournalEvent]: ...
    def price_basis(self, price_id: str) -> str | None: ...
    def knows_key(self, keyid: str) -> bool: ...
    def signing_keys(self) -> list[tuple[str, str, int, int]]: ...
    def tenants(self) -> list[str]: ...
    def tenants_of_session(self, session_id: str) -> list[str]: ...
    def tenants_of_call(self, call_id: str) -> list[str]: ...
    def tenants_linked(self, client: str, client_session: str) -> list[str]: ...
    def session_spend(self, from_us: int, until_us: int) -> list[SpendSum]: ...
    def spend_next(self, from_us: int, until_us: int) -> int | None: ...


class Tx(Reader, Protocol):
    """One write transaction. `at_us` is its one time: never before anything the ledger has seen."""

    @property
    def at_us(self) -> int: ...
    def due_calls(self, limit: int) -> list[Call]: ...
    def pending_calls(self, session_id: str, limit: int) -> list[Call]: ...
    def knows_price(self, price_id: str) -> bool: ...
    def append(
        self, kind: str, changes: Sequence[Change], *, by: str, note: Mapping[str, Value] | None = None
    ) -> Head: ...
    def save_position(
        self, path: str, client: str, position: Mapping[str, Any] | None, skipped: Mapping[str, int]
    ) -> None: ...
    def save_check(self, check: SessionCheck) -> None: ...
    def is_queued(self, session_id: str) -> bool: ...
    def queue_line(self, line: QueuedLine) -> None: ...
    def line_written(self, session_id: str) -> None: ...
    def line_failed(self, session_id: str, error: str) -> None: ...
    def attest_later(self, due: Due) -> None: ...
    def sign_attestation(self, attestation_id: str, payload: bytes, envelope: str, keyid: str) -> None: ...
    def keep_key(self, keyid: str, public: str, head: Head) -> None: ...
    def due_from_journal(self) -> int: ...


class LedgerBusy(Exception):  # not a failure: the answer takes another way
    """Somebody else holds the ledger, and the caller had asked not to wait."""


class Ledger(Protocol):
    """A ledger of one or more tenants."""

    @property
    def ledger_id(self) -> str: ...
    def reading(self, tenant: str = ...) -> AbstractContextManager[Reader]: ...
    def writing(self, tenant: str = ...) -> AbstractContextManager[Tx]: ...
    def at_once(self) -> AbstractContextManager[None]: ...
    def close(self) -> None: ...
