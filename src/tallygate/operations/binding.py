"""Every budget a call or a response spends: those of its session, and the windows of the rules that bind it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

from tallygate.core import lifecycle
from tallygate.core.model import Budget, Session
from tallygate.core.rules import Rule, binds, rules_of
from tallygate.core.windows import PIECES, Window, piece_of, rolling_us, window_of
from tallygate.ledger import rows
from tallygate.ledger.port import Change, Insert, Reader, Update
from tallygate.pricing.identity import means


@dataclass(frozen=True, slots=True)
class Binding:
    """Budgets by id; those in `fresh` are not in the ledger yet, those in `moved` got their rule's new limit."""

    budgets: tuple[Budget, ...]
    fresh: frozenset[str] = frozenset()
    moved: frozenset[str] = frozenset()


def binding(
    reader: Reader, session: Session, own: tuple[Budget, ...], model: str, at_us: int, *, relimit: bool = False
) -> Binding:
    """The budgets that bind a call of a model in a session at a time; `own` are those of the session itself.

    With `relimit` a rule whose limit was changed in the settings changes that of its window, too: what the user has
    added to it by hand stays added.
    """
    rules = [rule for rule in rules_of(session) if binds(rule, model, means)]
    if not rules:
        return Binding(own)
    windows = [(rule, _window(rule, at_us)) for rule in rules]
    wanted = {rule.budget_id(window.name): (rule, window) for rule, window in windows}
    older = {rule.budget_id(piece): rule for rule, window in windows for piece in _older(rule, window)}
    known = {budget.budget_id: budget for budget in reader.budgets_named([*wanted, *older])}
    found: list[Budget] = list(own)
    fresh, moved = set(), set()
    for budget_id, (rule, window) in wanted.items():
        budget = known.get(budget_id)
        if budget is None:
            budget = _new(session, budget_id, rule, window)
            fresh.add(budget_id)
        elif relimit and budget.rule_limit is not None and budget.rule_limit != rule.limit:
            raised = max(budget.limit_nanos + rule.limit - budget.rule_limit, 0)
            budget = replace(lifecycle.change_limit(budget, raised), rule_limit=rule.limit)
            moved.add(budget_id)
        found.append(_carried(budget, rule, known, older))
    return Binding(tuple(sorted(found, key=lambda b: b.budget_id)), frozenset(fresh), frozenset(moved))


def _window(rule: Rule, at_us: int) -> Window:
    if rolling_us(rule.period) is not None:
        return piece_of(rule.period, at_us)
    return window_of(rule.period, at_us, ZoneInfo(rule.zone))


def _older(rule: Rule, window: Window) -> list[str]:
    """The names of the earlier pieces that a rolling period still holds."""
    if rolling_us(rule.period) is None:
        return []
    number = int(window.name)
    return [str(piece) for piece in range(number - PIECES, number)]


def _carried(budget: Budget, rule: Rule, known: dict[str, Budget], older: dict[str, Rule]) -> Budget:
    """The budget of a rolling period with what its earlier pieces hold, and when the first of that goes."""
    length = rolling_us(rule.period)
    if length is None:
        return budget
    pieces = [known[name] for name, each in older.items() if each == rule and name in known]
    held = [piece for piece in pieces if piece.committed_nanos]
    first = min((piece.resets_us for piece in held if piece.resets_us is not None), default=None)
    return replace(
        budget,
        carried_nanos=sum(piece.committed_nanos for piece in held),
        resets_us=(budget.resets_us if first is None else first + length),
    )


def _new(session: Session, budget_id: str, rule: Rule, window: Window) -> Budget:
    return Budget(
        tenant=session.tenant,
        budget_id=budget_id,
        scope=rule.scope.value,
        scope_key=str(rule.key),
        unit=rule.unit,
        mode=rule.mode,
        limit_nanos=rule.limit,
        period=rule.period,
        resets_us=window.end_us,
        usd_nanos=rule.usd_nanos,
        rate_day=rule.rate_day,
        rule_limit=rule.limit,
    )


def budget_change(budget: Budget, at_us: int, *, fresh: bool, moved: bool = False) -> Change:
    """What the ledger is told of a budget that a call or a response changes."""
    if fresh:
        row = rows.from_budget(replace(budget, touched_us=at_us))
        return Insert("budget", {name: value for name, value in row.items() if value is not None})
    counters = rows.budget_counters(budget, at_us)
    if moved:
        counters |= {"limit_nanos": budget.limit_nanos, "rule_limit": budget.rule_limit}
    return Update("budget", counters)


def changes_of(found: Binding, after: Iterable[Budget], at_us: int, *, touched: bool) -> list[Change]:
    """What an answer leaves in the budgets it was decided on; one that holds nothing only makes the new ones known."""
    return [
        budget_change(budget, at_us, fresh=budget.budget_id in found.fresh, moved=budget.budget_id in found.moved)
        for budget in after
        if touched or budget.budget_id in found.fresh or budget.budget_id in found.moved
    ]
