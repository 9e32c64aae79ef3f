"""How much of a call's and a session's cost is actual usage."""

from __future__ import annotations

from collections.abc import Iterable

from tallygate.core.model import Call, ModeCoverage, Session
from tallygate.core.words import AccountingMode, CallState, Exactness, SessionExactness

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


def confidence(state: SessionExactness) -> str:
    """The word replies use for how far savings and totals can be trusted."""
    return _CONFIDENCE[state]


def counts(call: Call) -> bool:
    """Whether a call is part of a session's work: let through and not voided."""
    return call.state not in (CallState.DENIED, CallState.VOIDED)


def uncovered_modes(session: Session) -> list[str]:
    """The call modes of a session that cannot bring actual usage."""
    coverage: ModeCoverage = session.coverage
    return [mode for mode in ("ask", "plan", "agent") if not getattr(coverage, mode)]
