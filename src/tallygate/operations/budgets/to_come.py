"""Windows of limits that no step has begun yet, with what is on record in them: that counts as soon as one does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import tzinfo
from zoneinfo import ZoneInfo

from tallygate.core.gate.rules import EVERY_MODEL, BudgetRule, BudgetScope, may_limit, rolling_us, window_of
from tallygate.core.model import Budget
from tallygate.core.places import meant
from tallygate.core.words import client_name
from tallygate.ledger.port import Reader
from tallygate.operations.runtime import Runtime
from tallygate.operations.windows import FOR_EVER_US, Facts, new_window, on_record


def has_begun(rule: BudgetRule, budgets: Iterable[Budget], now_us: int) -> bool:
    """Whether one of these budgets is the present window of a rule."""
    kind = (rule.scope, rule.period, rule.unit, rule.mode)
    return any(
        (each.scope, each.period, each.unit, each.mode) == kind and may_limit(rule, each.scope_key)
        for each in budgets
        if each.resets_us is None or each.resets_us > now_us
    )


def windows_to_come(rt: Runtime, reader: Reader, rule: BudgetRule, zone: tzinfo | None = None) -> list[Budget]:
    """The windows that a rule would begin now, by what is on record; none for sessions, and for what nobody named."""
    now_us, length = rt.services.clock_us(), rolling_us(rule.period)
    keys = _keys(rt, reader, rule)
    if not keys:
        return []
    facts, found = Facts(reader, rt.workspace.place_of), []
    for key in keys:
        keyed = replace(rule, key=key)
        if length is None:
            window = window_of(rule.period, now_us, zone or ZoneInfo(rule.zone))
            name, start_us, end_us = keyed.budget_id(window.name), window.start_us, window.end_us
        else:
            name, start_us, end_us = keyed.head_id, now_us - length, None
        empty = new_window(rt.tenant, name, keyed, start_us)
        until_us = FOR_EVER_US if end_us is None else end_us
        spent = sum(on_record(reader, facts, empty, (start_us, until_us), FOR_EVER_US).values())
        found.append(replace(empty, spent=spent, resets_us=end_us, touched_us=now_us))
    return found


def _keys(rt: Runtime, reader: Reader, rule: BudgetRule) -> tuple[str, ...]:
    """What budgets of a rule are named by, as far as that is known before a session opens."""
    match rule.scope:
        case BudgetScope.GLOBAL:
            return ("all",)
        case BudgetScope.USER:
            return (rt.workspace.user,) if rule.match in (None, rt.workspace.user) else ()
        case BudgetScope.MODEL:
            return (rule.match or EVERY_MODEL,)
        case _ if rule.match is None:
            return ()
        case BudgetScope.CLIENT:
            return (client_name(rule.match),)
        case BudgetScope.AGENT | BudgetScope.SKILL | BudgetScope.MCP_SERVER:
            return (rule.match,)
        case BudgetScope.PROJECT:
            places = map(rt.workspace.place_of, reader.usage_folders())
            return tuple(dict.fromkeys(key for place in places for key in meant(place, rule.match)))
        case _:
            return ()
