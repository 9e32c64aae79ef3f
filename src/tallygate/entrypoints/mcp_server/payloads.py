"""Answers in the words of the l6e_* tools: slim, in units of the currency, without what does not apply."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tallygate.core.errors import TallygateError
from tallygate.core.gate.answers import BudgetState, DecidingBudget, GateAnswer, UsageAnswer
from tallygate.core.learning.calibration import MILLION, Confidence
from tallygate.core.model import unit_number
from tallygate.core.moments import iso
from tallygate.core.money import json_number, share_percent
from tallygate.core.proof import SlimAttestation
from tallygate.core.words import Action, UsageBasis
from tallygate.ledger.port import LedgerBusy


def gate_payload(answer: GateAnswer) -> dict[str, Any]:
    """An answer in the words of l6e_authorize_call: slim, without what does not apply."""
    payload: dict[str, Any] = {"action": answer.action.value}
    if answer.call_id is not None:
        payload["call_id"] = answer.call_id
    payload["remaining_usd"] = usd(answer.remaining_nanos)
    payload["budget_pressure"] = answer.pressure.value
    payload["reason"] = answer.reason.value
    optional: dict[str, Any] = {
        "target_model": answer.target_model,
        "pricing_warning": answer.pricing_warning,
        "message": answer.message,
        "command": answer.command,
    }
    payload.update({name: value for name, value in optional.items() if value is not None})
    if answer.factor_micros is not None:
        confidence = answer.confidence or Confidence.HIGH.value
        payload |= _corrected(answer.factor_micros, answer.factor_source, confidence)
    payload |= _ahead(answer)
    if answer.saves_nanos is not None:
        payload["saves_usd"] = usd(answer.saves_nanos)
    if answer.binding is not None and answer.action is Action.HALT:
        payload["budget"] = budget_payload(answer.binding)
    if answer.attestation is not None:
        payload["attestation"] = answer.attestation.named()
    if len(answer.spent_by) > 1:
        payload["spent_by"] = [{"model": label, "usd": usd(nanos)} for label, nanos in answer.spent_by]
    return payload


_DECIDED = ("action", "reason", "allowed", "target_model", "message", "command", "budget")


def check_payload(state: BudgetState) -> dict[str, Any]:
    """What is left, and what a step that was named would count for, where that is not just its own estimate."""
    if state.fault is not None:
        return gate_payload(state.fault)
    payload = {
        "budget_pressure": state.pressure.value,
        "remaining_usd": usd(state.remaining_nanos),
        "pct_used": percent(state.used_nanos, state.limit_nanos),
    }
    if state.factor is not None:
        payload["estimate_usd"] = usd(state.estimate_nanos)
        if state.factor.micros != MILLION:
            payload["calibration_applied"] = True
        payload |= _corrected(state.factor.micros, state.factor.source, state.factor.confidence)
    payload |= _ahead(state)
    if state.would is not None:
        # What the gate would decide, without what only a decision has that was made.
        whole = gate_payload(state.would)
        payload |= {name: whole[name] for name in _DECIDED if name in whole}
    return payload


def _corrected(factor_micros: int, source: str, confidence: str) -> dict[str, Any]:
    """What an estimate counted for, where that is more or less than it said: else there is nothing to tell."""
    if factor_micros == MILLION:
        return {}
    return {
        "calibration_factor": json_number(factor_micros * 1000),
        "calibration_source": source,
        "calibration_confidence": confidence,
    }


def _ahead(answer: GateAnswer | BudgetState) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if answer.over_micros is not None:
        found["p_over"] = json_number(answer.over_micros * 1000)
    if answer.remaining_steps is not None:
        found["remaining_steps"] = answer.remaining_steps
    return found


def budget_payload(budget: DecidingBudget, *, whole: bool = False) -> dict[str, Any]:
    """A budget with the numbers it decides on; unless `whole`, without what says nothing: none held, no renewal."""
    payload = {
        "id": budget.budget_id,
        "currency": budget.unit,
        "limit": unit_number(budget.limit_nanos, budget.unit),
        "spent": unit_number(budget.spent_nanos, budget.unit),
        "remaining": unit_number(budget.available_nanos, budget.unit),
    }
    if whole or budget.reserved_nanos:
        payload["reserved"] = unit_number(budget.reserved_nanos, budget.unit)
    if whole or budget.resets_us is not None:
        payload["resets_at"] = iso(budget.resets_us)
    return payload


def usage_payload(answer: UsageAnswer) -> dict[str, Any]:
    """A call and its session after usage was recorded; that it counts as just reported goes without saying."""
    told = {} if answer.basis is UsageBasis.REPORTED else {"usage_basis": answer.basis.value}
    return {
        "call_id": answer.call_id,
        "session_id": answer.session_id,
        "status": answer.status,
        "exactness_state": answer.exactness,
        **told,
        "spend_so_far_usd": usd(answer.spend_nanos),
        "remaining_usd": usd(answer.remaining_nanos),
        "budget_pressure": answer.pressure.value,
    }


def percent(used: int, limit: int) -> Any:
    """How many per cent of a limit are used, as the number a reply carries."""
    return json.loads(str(share_percent(used, limit)))


def attestation_payload(name: str, made: Callable[[], SlimAttestation | None], *, whole: bool = True) -> dict[str, Any]:
    """What is signed of an answer, under a name. Where nothing can be, the answer says why and stands."""
    try:
        found = made()
    except LedgerBusy:
        raise
    except TallygateError as error:
        return {f"{name}_warning": str(error)}
    if found is None:
        return {}
    return {name: found.as_json() if whole else found.named()}


def epoch_number(at_us: int | None) -> Any:
    """A moment as seconds since 1970 to the millisecond, as the number a reply carries; null where there is none."""
    return None if at_us is None else json_number(at_us // 1000 * 1_000_000)


def usd(nanos: int | None) -> Any:
    """An amount as the number a reply carries; null where it is not known."""
    return None if nanos is None else json_number(nanos)
