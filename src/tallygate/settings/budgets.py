"""Budgets of a settings file: what each limits, how far, over what time."""

from __future__ import annotations

from dataclasses import dataclass

from tallygate.core.errors import SettingsError
from tallygate.core.gate.rules import SESSION, Rule, Scope
from tallygate.core.money import CALLS, TOKENS
from tallygate.core.words import BudgetMode
from tallygate.settings import checks, sections
from tallygate.settings.source import Document, KeyPath

BUDGET: sections.Rules = {
    "scope": sections.Rule("scope", checks.choice(Scope)),
    "match": sections.Rule("match", checks.text),
    "limit_usd": sections.Rule("usd", checks.amount_nanos),
    "limit": sections.Rule("amount", checks.amount_nanos),
    "currency": sections.Rule("currency", checks.currency),
    "limit_tokens": sections.Rule("tokens", checks.whole(1, 10**15)),
    "limit_calls": sections.Rule("calls", checks.whole(1, 10**12)),
    "period": sections.Rule("period", checks.period),
    "mode": sections.Rule("mode", checks.choice(BudgetMode)),
}
_LIMITS = ("limit_usd", "limit", "limit_tokens", "limit_calls")


@dataclass(frozen=True, slots=True)
class _Row:
    """A budget as it is written."""

    scope: Scope
    match: str | None = None
    usd: int | None = None
    amount: int | None = None
    currency: str | None = None
    tokens: int | None = None
    calls: int | None = None
    period: str | None = None
    mode: BudgetMode | None = None


def read_budgets(document: Document, mode: BudgetMode) -> tuple[Rule, ...]:
    """The budgets of a file; `mode` is that of those which name none."""
    found = []
    for number, row in enumerate(sections.rows(document, "budget", BUDGET, _Row, ("scope",))):
        path: KeyPath = ("budget", number)
        limit, unit = _limit(document, path, row)
        found.append(
            Rule(
                scope=row.scope,
                limit=limit,
                unit=unit,
                period=_period(document, path, row),
                mode=row.mode or mode,
                match=_match(document, path, row),
            )
        )
    return tuple(found)


def _limit(document: Document, path: KeyPath, row: _Row) -> tuple[int, str]:
    given = [
        (value, unit)
        for value, unit in ((row.usd, "USD"), (row.amount, row.currency), (row.tokens, TOKENS), (row.calls, CALLS))
        if value is not None
    ]
    if len(given) != 1:
        words = f"{' and '.join(_LIMITS)} are all missing" if not given else "more than one limit is given"
        raise _wrong(document, path, f"{words}.", "Give exactly one of them; another limit is another [[budget]].")
    limit, unit = given[0]
    if unit is None:
        raise _wrong(document, path, "limit lacks its currency.", 'Add for example: currency = "GBP"')
    if row.currency is not None and row.amount is None:
        raise _wrong(document, path, "currency belongs to limit.", "Write: limit = 2.50")
    return limit, unit


def _period(document: Document, path: KeyPath, row: _Row) -> str:
    if row.scope is Scope.SESSION:
        if row.period not in (None, SESSION):
            raise _wrong(document, path, f"a session has no period {row.period!r}.", "Leave period out.")
        return SESSION
    if row.period is None or row.period == SESSION:
        words = f"a budget of a {row.scope.value} needs a period."
        raise _wrong(document, path, words, "period is day, week, month, never, or hours such as 5h.")
    return row.period


def _match(document: Document, path: KeyPath, row: _Row) -> str | None:
    if row.scope is Scope.MODEL and row.match is None:
        raise _wrong(document, path, "a budget of a model lacks match.", 'Add for example: match = "claude-opus-*"')
    if row.scope in (Scope.SESSION, Scope.GLOBAL) and row.match is not None:
        raise _wrong(document, path, f"match means nothing for {row.scope.value}.", "Leave match out.")
    return row.match


def _wrong(document: Document, path: KeyPath, what: str, to_do: str) -> SettingsError:
    return document.error(path, f"{sections.dotted(path)}: {what}", hint=to_do)
