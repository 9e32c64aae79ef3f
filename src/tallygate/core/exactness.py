"""How much of a call's and a session's cost is actual usage."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile

from tallygate.core.clients import client_name
from tallygate.core.model import HOOK_KEY, Call, ModeCoverage, Session
from tallygate.core.words import AccountingMode, CallState, Exactness, SessionExactness, UsageBasis

_CONFIDENCE = {
    SessionExactness.FULLY_EXACT: "exact",
    SessionExactness.PARTIAL_EXACT: "partial_exact",
    SessionExactness.ALL_ESTIMATE_ONLY: "estimate_only",
    SessionExactness.DEGRADED: "estimate_only",
}


def of_call(call: Call, accounting: AccountingMode) -> Exactness:
    """The exactness of one call that was let through."""
    if call.has_actual:
        return Exactness.EXACT_RECORDED
    if accounting is AccountingMode.ESTIMATE_ONLY:
        return Exactness.ESTIMATE_ONLY
    if call.mode_capable is False:
        return Exactness.EXACT_UNAVAILABLE
    return Exactness.EXACT_PENDING


def of_session(states: Iterable[Exactness]) -> SessionExactness:
    """The exactness of a session from those of its calls; without calls nothing is exact."""
    seen = set(states)
    if Exactness.EXACT_UNAVAILABLE in seen:
        return SessionExactness.DEGRADED
    if Exactness.EXACT_RECORDED not in seen:
        return SessionExactness.ALL_ESTIMATE_ONLY
    return SessionExactness.FULLY_EXACT if len(seen) == 1 else SessionExactness.PARTIAL_EXACT


def stated(state: SessionExactness, basis: UsageBasis) -> SessionExactness:
    """How exact a total is for somebody who relies on it: what an agent reports of itself is not exact."""
    if state is SessionExactness.FULLY_EXACT and basis is not UsageBasis.OBSERVED:
        return SessionExactness.PARTIAL_EXACT
    return state


def confidence(state: SessionExactness, basis: UsageBasis) -> str:
    """The word replies use for how far savings and totals can be trusted."""
    return _CONFIDENCE[stated(state, basis)]


def basis_of_call(call: Call, *, is_observed: bool = False) -> UsageBasis:
    """Who told what a call used; `is_observed` says that the client's own record has responses of it."""
    if is_observed or call.cost_basis == "transcript":
        return UsageBasis.OBSERVED
    return UsageBasis.REPORTED if call.cost_basis == "actual" else UsageBasis.ESTIMATED


def basis_of_session(bases: Iterable[UsageBasis]) -> UsageBasis:
    """The same of a session; without calls nobody has told anything."""
    seen = set(bases)
    return UsageBasis.ESTIMATED if not seen else seen.pop() if len(seen) == 1 else UsageBasis.MIXED


def counts(call: Call) -> bool:
    """Whether a call is part of a session's work: let through and not voided."""
    return call.state not in (CallState.DENIED, CallState.VOIDED)


# Clients that ask their model again when a tool is refused, and what the refusal of a prompt is written down as.
_ASK_AGAIN = frozenset({"codex"})
_PROMPT = "UserPromptSubmit"
# A run in print mode is ended at the second refusal in a row, so nothing follows that one.
_ENDED_AT = 2


def asked_after_refusal_us(client: str, calls: Iterable[Call]) -> int | None:
    """When a session's client was last refused a tool, and so asked its model once more; None where it did not."""
    if client_name(client) not in _ASK_AGAIN:
        return None
    asked = [call for call in calls if call.client_key is not None and call.client_key.startswith(HOOK_KEY)]
    row = [*takewhile(lambda call: call.state is CallState.DENIED, reversed(asked))]
    tools = [call for call in row if call.tool_name != _PROMPT]
    if not tools or len(tools) == _ENDED_AT:
        return None
    return tools[0].at_us


def uncovered_modes(session: Session) -> list[str]:
    """The call modes of a session that cannot bring actual usage."""
    coverage: ModeCoverage = session.coverage
    return [mode for mode in ("ask", "plan", "agent") if not getattr(coverage, mode)]
