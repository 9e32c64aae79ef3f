"""What operations may ask of a ledger. Reading is free; writing happens only inside `writing()`.

A write transaction holds the lock from its first read to its commit, so a check followed by a write cannot be
overtaken. Everything written in it goes through `append`: the rows and the journal entry are one fact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from tallygate.core.proof import Head
from tallygate.ledger.port.bills import BillReader
from tallygate.ledger.port.budgets import BudgetReader
from tallygate.ledger.port.changes import Change, Sign, Value
from tallygate.ledger.port.learning import LearningReader
from tallygate.ledger.port.proof import ProofReader, ProofWriter
from tallygate.ledger.port.sessions import SessionReader, SessionWriter
from tallygate.ledger.port.usage import UsageReader, UsageWriter


class Reader(SessionReader, BudgetReader, UsageReader, LearningReader, BillReader, ProofReader, Protocol):
    """Reads of one tenant's rows; of others only their names, and which sessions were opened from here."""


class Tx(Reader, SessionWriter, UsageWriter, ProofWriter, Protocol):
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


class Ledger(Protocol):
    """A ledger of one or more tenants."""

    @property
    def ledger_id(self) -> str: ...
    def reading(self, tenant: str = ...) -> AbstractContextManager[Reader]: ...
    def writing(self, tenant: str = ...) -> AbstractContextManager[Tx]: ...
    def at_once(self) -> AbstractContextManager[None]: ...
    def others_wrote(self) -> object: ...
    def prove(self, tenant: str = ...) -> None: ...
    def close(self) -> None: ...
