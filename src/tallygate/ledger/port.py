"""What operations may ask of a ledger. Reading is free; writing happens only inside `writing()`.

A write transaction holds the lock from its first read to its commit, so a check followed by a write cannot be
overtaken. Everything written in it goes through `append`: the rows and the journal entry are one fact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from tallygate.core.chain import Head
from tallygate.core.model import Budget, Call, Session

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


Change = Insert | Update


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


class Reader(Protocol):
    """Reads of one tenant's rows."""

    @property
    def tenant(self) -> str: ...
    def session(self, session_id: str) -> Session | None: ...
    def budgets_of(self, session_id: str) -> tuple[Budget, ...]: ...
    def session_with_budgets(self, session_id: str) -> tuple[Session, tuple[Budget, ...]] | None: ...
    def budget(self, budget_id: str) -> Budget | None: ...
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
    def head(self) -> Head: ...
    def queued_lines(self, limit: int) -> list[QueuedLine]: ...


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
    def is_queued(self, session_id: str) -> bool: ...
    def queue_line(self, line: QueuedLine) -> None: ...
    def line_written(self, session_id: str) -> None: ...
    def line_failed(self, session_id: str, error: str) -> None: ...


class Ledger(Protocol):
    """A ledger of one or more tenants."""

    @property
    def ledger_id(self) -> str: ...
    def reading(self, tenant: str = ...) -> AbstractContextManager[Reader]: ...
    def writing(self, tenant: str = ...) -> AbstractContextManager[Tx]: ...
    def is_idle(self) -> bool: ...
    def close(self) -> None: ...
