"""Which budgets of the settings bind nothing: one that is misspelled limits nobody, and would never be noticed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tallygate.core.gate.rules import Rule, Scope, may_limit
from tallygate.core.model import unit_number
from tallygate.core.moments import iso
from tallygate.core.money import format_amount
from tallygate.core.text import shown
from tallygate.ledger.port import Used
from tallygate.operations.runtime import Runtime

# A budget that has bound before may rest for so long while work goes on elsewhere, before that is told.
REST_US = 30 * 24 * 3600 * 1_000_000
ADVICE = "See how its scope and match are written: tallygate usage --by client, model or project shows the names."


@dataclass(frozen=True, slots=True)
class Unbound:
    """A rule that has bound nothing since a time; `ever` where it did before, else since the ledger began."""

    rule: Rule
    since_us: int
    ever: bool

    @property
    def name(self) -> str:
        """The rule as its user would point to it."""
        rule = self.rule
        what = rule.scope.value if rule.match is None else f"{rule.scope.value} {shown(rule.match, 200)}"
        return f"{what}, {rule.period}, {rule.mode.value}, {format_amount(rule.limit, rule.unit)}"

    def told(self, since: str) -> str:
        """The fact in a sentence; `since` is the time as it is shown."""
        return f"{self.name}: has bound nothing since {since}{'' if self.ever else ', when the ledger began'}"

    def stated(self) -> dict[str, Any]:
        """The same for programs."""
        rule = self.rule
        return {
            "scope": rule.scope.value,
            "match": rule.match,
            "period": rule.period,
            "mode": rule.mode.value,
            "currency": rule.unit,
            "limit": unit_number(rule.limit, rule.unit),
            "since": iso(self.since_us),
            "ever_bound": self.ever,
        }


def unbound(rt: Runtime) -> list[Unbound]:
    """The budgets above the session that no step has met while others were made, in the order of the settings.

    All tenants count: what binds in one of them binds. Where nothing was ever spent, nothing can have been bound.
    """
    rules = [rule for rule in rt.rules if rule.scope is not Scope.SESSION]
    if not rules:
        return []
    with rt.ledger.reading(rt.tenant) as reader:
        tenants = dict.fromkeys((rt.tenant, *reader.tenants()))
    used: list[Used] = []
    worked: list[int] = []
    began: list[int] = []
    for tenant in tenants:
        with rt.ledger.reading(tenant) as reader:
            used += reader.windows_used()
            worked += [at_us for at_us in (reader.worked_us(),) if at_us is not None]
            seq, at_us = reader.first_after(0)
            began += [at_us] if seq else []
    if not worked or not began:
        return []
    found = []
    for rule in rules:
        last_us = _last_us(rule, used)
        if last_us is None:
            found.append(Unbound(rule, min(began), ever=False))
        elif last_us + REST_US < max(worked):
            found.append(Unbound(rule, last_us, ever=True))
    return found


def _last_us(rule: Rule, used: Iterable[Used]) -> int | None:
    kind = (rule.scope.value, rule.period, rule.unit, rule.mode.value)
    met = (
        each.last_us
        for each in used
        if (each.scope, each.period, each.unit, each.mode) == kind and may_limit(rule, each.scope_key)
    )
    return max(met, default=None)
