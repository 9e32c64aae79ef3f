"""What is asked and kept of responses, and of the files that tell of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tallygate.core.costing import Tokens
from tallygate.core.model import Amount
from tallygate.core.usage import (
    ObservedSum,
    ObservedUsage,
    SessionCheck,
    Unread,
    UnreadFile,
    UsageFilter,
    UsageSum,
)
from tallygate.core.values import value
from tallygate.ledger.port.changes import OfTenant
from tallygate.ledger.port.sessions import SpendShare


@value(frozen=True, slots=True)
class StoredUsage:
    """One response with what the ledger adds: its price and cost, and where it counts.

    `charges` are the budgets its cost stands in, each with the amount that stands there, in the budget's unit.
    `corrected` is why the user has set its counts: nothing that is read changes them after that.
    """

    row: ObservedUsage
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


@dataclass(frozen=True, slots=True)
class ServedSum:
    """What responses come to that one provider served of a model, at one speed and one price."""

    model: str
    provider: str | None
    speed: str | None
    price_id: str
    responses: int
    nanos: int


@dataclass(frozen=True, slots=True)
class Anomaly:
    """What a later row told of a response that was booked already, and when it was seen; it changed nothing."""

    client: str
    response_key: str
    kind: str
    client_session: str
    told: str
    seen_us: int


@dataclass(frozen=True, slots=True)
class KeptCheck:
    """A client's own total of a session of its own, when it was read, and what the ledger has of that session."""

    check: SessionCheck
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
    def observed(self, session_id: str) -> dict[str | None, ObservedSum]: ...
    def usage_sums(self, key: str, chosen: UsageFilter) -> list[UsageSum]: ...
    def usage_folders(self) -> list[str]: ...
    def usage_models(self) -> list[str]: ...
    def usage_served(self, models: Collection[str], limit: int) -> list[ServedSum]: ...
    def usage_next(self, chosen: UsageFilter) -> int | None: ...
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
    def unread_files(self) -> list[UnreadFile]: ...
    def position(self, path: str) -> dict[str, Any] | None: ...
    def whole_us(self, path: str) -> int | None: ...


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
    def save_unread(self, path: str, client: str, session: str | None, found: Unread, *, anew: bool = ...) -> None: ...
    def save_check(self, check: SessionCheck) -> None: ...
