"""What is asked of budgets and of what counts in them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from tallygate.core.model import Budget, LimitChange
from tallygate.core.places import Tree
from tallygate.ledger.port.changes import OfTenant
from tallygate.ledger.port.sessions import SpendShare


@dataclass(frozen=True, slots=True)
class PricedSum:
    """What a session spent on a model at one price."""

    model: str
    price_id: str
    nanos: int


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
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
