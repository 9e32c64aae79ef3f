"""What budgets, sessions and calls are called on the page, and the words beside them."""

from __future__ import annotations

from collections.abc import Mapping

from htpy import Element, Node

from tallygate.core.gate.policy import pressure
from tallygate.core.gate.rules import BudgetScope
from tallygate.core.gate.wording import short_name
from tallygate.core.model import Budget, Call, Session
from tallygate.core.text import cleaned
from tallygate.core.words import Action, CallState, Pressure, client_name
from tallygate.entrypoints.page.parts import state
from tallygate.entrypoints.page.wording import NONE, money
from tallygate.operations.views.now import session_label

_NAME_MAX = 120
EVERYTHING = "All work"


def budget_label(budget: Budget, sessions: Mapping[str, Session] | None = None) -> str:
    """What a budget limits."""
    key = cleaned(budget.scope_key, _NAME_MAX)
    match budget.scope:
        case BudgetScope.GLOBAL | BudgetScope.USER:
            return EVERYTHING
        case BudgetScope.SESSION:
            session = (sessions or {}).get(budget.scope_key)
            return short_name(key) if session is None else session_label(session)
        case BudgetScope.PROJECT:
            return folder_label(key)
        case _:
            return f"{budget.scope} {key}"


def folder_label(path: str | None) -> str:
    """A project by the name of its folder."""
    if not path:
        return NONE
    return cleaned(path.rstrip("/").rpartition("/")[2] or path, _NAME_MAX)


def budget_terms(budget: Budget) -> str:
    """Its time and whether it stops: `day, hard`."""
    period = "in all" if budget.period == "never" else budget.period
    return f"{period}, {budget.mode.value}"


def session_facts(session: Session) -> str:
    """Client and project of a session."""
    parts = [cleaned(client_name(session.client), _NAME_MAX)]
    if session.project:
        parts.append(folder_label(session.project))
    return " · ".join(parts)


def pressure_of(budget: Budget, percents: tuple[int, int, int]) -> Element:
    """How full a budget is, in a word."""
    found = pressure(budget, percents)
    kind = {Pressure.HIGH: "warn", Pressure.CRITICAL: "halt"}.get(found, "off")
    return state(kind, found.value)


def decision_of(call: Call) -> Element:
    """What was decided on a call."""
    match call.action:
        case Action.HALT:
            return state("halt", "halt", pill=True)
        case Action.REROUTE:
            return state("warn", "reroute", pill=True)
        case _:
            return state("off", "allow")


def agent_of(call: Call) -> str:
    """Who in the client asked."""
    return cleaned(call.actor_name or call.actor_id or "main", _NAME_MAX)


def actual_of(call: Call, observed: Mapping[str, int] | None = None) -> Node:
    """What a call cost, as far as that is known."""
    if call.state is CallState.DENIED:
        return "denied"
    if observed and call.call_id in observed:
        return money(observed[call.call_id])
    if call.observed_nanos:
        return money(call.observed_nanos)
    if call.state is CallState.PENDING:
        return "pending"
    if call.state is CallState.VOIDED:
        return "voided"
    return money(call.booked_nanos) if call.cost_basis != "none" else NONE
