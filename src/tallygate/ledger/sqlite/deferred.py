"""A ledger that is opened when it is needed, and tried again until it can be.

A server whose ledger is away must still answer, since an agent without a gate would go on without one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Generic, TypeVar

from tallygate.core.model import DEFAULT_TENANT
from tallygate.ledger.port import Ledger, LedgerBusy, Reader, Tx

Kept = TypeVar("Kept", bound=Ledger)


class DeferredLedger(Generic[Kept]):
    """Every use opens the ledger if it is not open yet; a fault to open it is the fault of that use."""

    def __init__(self, connect: Callable[[], Kept]) -> None:
        self._connect = connect
        self._ledger: Kept | None = None
        self._guard = threading.Lock()

    def opened(self) -> Kept:
        """The ledger itself, opened. Raises `LedgerUnavailable` where that cannot be done."""
        with self._guard:
            if self._ledger is None:
                self._ledger = self._connect()
            return self._ledger

    @property
    def ledger_id(self) -> str:
        return (self._ledger or self.opened()).ledger_id

    def reading(self, tenant: str = DEFAULT_TENANT) -> AbstractContextManager[Reader]:
        """As the ledger's own; opens it first."""
        return (self._ledger or self.opened()).reading(tenant)

    def step_history(
        self, tenant: str, session_id: str, agent: str, agent_id: str | None, model: str, *, looked_at: tuple[int, int]
    ) -> Reader:
        """As the ledger's own; opens it first."""
        ledger = self._ledger or self.opened()
        return ledger.step_history(tenant, session_id, agent, agent_id, model, looked_at=looked_at)

    def writing(self, tenant: str = DEFAULT_TENANT) -> AbstractContextManager[Tx]:
        """As the ledger's own; opens it first."""
        return (self._ledger or self.opened()).writing(tenant)

    def others_wrote(self) -> object:
        """As the ledger's own; opens it first."""
        return (self._ledger or self.opened()).others_wrote()

    def prove(self, tenant: str = DEFAULT_TENANT) -> None:
        """As the ledger's own; opens it first."""
        self.opened().prove(tenant)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """As the ledger's own; opening may take its time, so one that is not open yet is busy."""
        if self._ledger is None:
            raise LedgerBusy
        with self._ledger.at_once():
            yield

    def close(self) -> None:
        """Close the ledger if it was ever opened."""
        with self._guard:
            if self._ledger is not None:
                self._ledger.close()
                self._ledger = None
