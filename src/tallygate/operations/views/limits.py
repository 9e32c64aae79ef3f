"""All limits as they stand, who changed them, one of them through its last windows, and what a raise would come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tallygate.core.errors import NotFound
from tallygate.core.forecast import WorkLeft
from tallygate.core.gate import policy
from tallygate.core.gate.rules import BudgetScope, within_of
from tallygate.core.gate.wording import added_by
from tallygate.core.model import Budget, LimitChange, Session
from tallygate.core.money import COUNTED
from tallygate.core.plan import PlanWindow
from tallygate.core.values import value
from tallygate.ledger.port import Reader
from tallygate.operations.budgets.figures import usual_step
from tallygate.operations.budgets.of_settings import Unbound, unbound
from tallygate.operations.runtime import Runtime
from tallygate.operations.views.frame import Frame, frame
from tallygate.operations.views.now import is_window, plan_windows
from tallygate.operations.views.overview import find_budget, limit_changes, list_budgets
from tallygate.operations.views.pace import pace_of

_BUDGETS_LOOKED_AT = 400
WINDOWS_SHOWN = 14
_FIRST_US = 0


@value(frozen=True, slots=True)
class BudgetWindow:
    """One window of a budget, as it stands or ended."""

    start_us: int
    spent: int
    limit: int
    left: int


@value(frozen=True, slots=True)
class Raised:
    """What a raise would come to: the limit, what is left then, and how much work that is at the present pace."""

    budget: Budget
    added: int
    work: WorkLeft | None

    @property
    def limit(self) -> int:
        return self.budget.limit + self.added

    @property
    def left(self) -> int:
        return self.budget.available + self.added


@value(frozen=True, slots=True)
class LimitsNow:
    """Everything that the page shows; `chosen` is the budget that somebody looks at, with its last windows."""

    frame: Frame
    budgets: tuple[Budget, ...]
    sessions: Mapping[str, Session]
    changes: Mapping[str, LimitChange]
    idle: tuple[Unbound, ...]
    chosen: Budget | None
    windows: tuple[BudgetWindow, ...]
    history: tuple[LimitChange, ...]
    proposed: Raised | None
    plans: tuple[PlanWindow, ...]


def limits(rt: Runtime, name: str | None, added: int | None) -> LimitsNow:
    """All limits in force, as of one moment, and what adding to the one that is named would come to."""
    with rt.reading() as reader:
        around = frame(rt)
        found = in_force(rt, around)
        chosen = _chosen(rt, found, name)
        changes = limit_changes(rt, found)
        history = () if chosen is None else tuple(each for each in changes if each.budget_id == chosen.name)
        return LimitsNow(
            frame=around,
            budgets=tuple(found),
            sessions={each.session_id: each for each in around.open},
            changes={each.budget_id: each for each in changes},
            idle=tuple(unbound(rt)),
            chosen=chosen,
            windows=() if chosen is None else _windows(reader, chosen),
            history=history,
            proposed=None if chosen is None else _raised(rt, reader, chosen, added, around),
            plans=plan_windows(reader, around.now_us),
        )


def in_force(rt: Runtime, around: Frame) -> list[Budget]:
    """The budgets of open sessions and those above them whose time has not passed, the widest first."""
    open_ids = {each.session_id for each in around.open}
    found = [
        each
        for each in list_budgets(rt, limit=_BUDGETS_LOOKED_AT)
        if is_window(each, around.now_us) or (each.scope == BudgetScope.SESSION and each.scope_key in open_ids)
    ]
    return sorted(found, key=lambda each: (_rank(each), each.scope_key, -(each.resets_us or 2**62), each.budget_id))


# The widest first, sessions last; kinds of work between a client and a session stand in the order of their names.
_WIDE = (BudgetScope.GLOBAL, BudgetScope.TENANT, BudgetScope.USER, BudgetScope.PROJECT, BudgetScope.CLIENT)


def _rank(budget: Budget) -> tuple[int, str]:
    scope = BudgetScope(budget.scope)
    if scope in _WIDE:
        return _WIDE.index(scope), ""
    return len(_WIDE) + (scope is BudgetScope.SESSION), scope.value


def _chosen(rt: Runtime, found: list[Budget], name: str | None) -> Budget | None:
    """The budget that is named, else the one that presses most."""
    if name is None:
        return policy.most_used(tuple(each for each in found if each.limit > 0)) if found else None
    listed = next((each for each in found if each.name == name), None)
    return listed or find_budget(rt, name)


def named(rt: Runtime, name: str) -> Budget:
    """The budget that is to be raised, as it stands. Raises `NotFound` where there is none."""
    with rt.reading():
        found = _chosen(rt, in_force(rt, frame(rt)), name)
    if found is None:
        raise NotFound(f"No budget {name!r} is in the ledger.", hint="tallygate budget list", code="unknown_budget")
    return found


def _raised(rt: Runtime, reader: Reader, budget: Budget, added: int | None, around: Frame) -> Raised:
    more = added or _said(around, budget) or _usual(reader, budget)
    pace = pace_of(rt, reader, around.now_us, budget)
    return Raised(budget, more, None if pace is None else pace.left(budget, more))


def _said(around: Frame, budget: Budget) -> int | None:
    """What the refusal that a session stands still by says to add to this budget: one halt has one amount."""
    found = (added_by(stop.command, budget) for stop in around.stops.values() if stop.command)
    return max((added for added in found if added is not None), default=None)


def _usual(reader: Reader, budget: Budget) -> int:
    """What is offered to add: ten usual steps of a session, a fifth of the limit above sessions, in round amounts."""
    if budget.unit in COUNTED:
        return max(budget.limit // 5, 1)
    step = usual_step(reader, budget.scope_key, budget) if budget.scope == BudgetScope.SESSION else 0
    wanted = max(10 * step, budget.limit // 5, 100_000_000)
    size = max(int("1".ljust(len(str(wanted)), "0")) // 2, 100_000_000)
    return -(-wanted // size) * size


def _windows(reader: Reader, budget: Budget) -> tuple[BudgetWindow, ...]:
    """The last windows of a budget that renews, the oldest first, each with the limit that it ended with."""
    if budget.resets_us is None or budget.start_us is None:
        return ()
    same = [
        each
        for each in reader.windows_between(budget.period, _FIRST_US, budget.start_us)
        if (each.scope, each.scope_key, each.unit, each.mode, _within(each))
        == (
            budget.scope,
            budget.scope_key,
            budget.unit,
            budget.mode,
            _within(budget),
        )
    ]
    kept = {each.start_us: each for each in same}
    kept[budget.start_us] = replace(budget, limit=budget.limit)
    last = sorted((each for each in kept.values() if each.start_us is not None), key=lambda each: each.start_us or 0)
    return tuple(
        BudgetWindow(each.start_us or 0, each.spent, each.limit, each.available) for each in last[-WINDOWS_SHOWN:]
    )


def _within(budget: Budget) -> str:
    """The project's file that a budget is of, as the end of its id tells."""
    return within_of(budget.budget_id) or ""
