"""One line of the run log: a finished session as JSON, a superset of the line l6e-mcp writes.

Every field of that line keeps its name; what cannot be known is null, never 0.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from tallygate.core.gate import lifecycle
from tallygate.core.gate.answers import GateAnswer
from tallygate.core.gate.lifecycle import CallAnomaly
from tallygate.core.model import Budget, Call, LimitChange, Session, budget_stated, last_raise_us
from tallygate.core.moments import iso
from tallygate.core.money import cost_nanos, exact_text, json_number
from tallygate.core.proof import Head
from tallygate.core.sessions import SessionTotals, stopped_by
from tallygate.core.sums import Observed
from tallygate.core.usage import UNKNOWN_MODEL
from tallygate.core.values import value
from tallygate.core.words import Action, ActorType, CallState

SCHEMA_VERSION = 1
LEDGER, LINE_NOTE = "ledger", "run_line"


@value(frozen=True, slots=True)
class RunLine:
    """Everything a line is made of."""

    session: Session
    budgets: tuple[Budget, ...]
    calls: Sequence[Call]
    totals: SessionTotals
    prices: Mapping[str, str]
    observed: Observed
    enforced: bool = False
    used_model: str | None = None
    limit_changes: Sequence[LimitChange] = ()
    anomalies: Sequence[CallAnomaly] = ()


def run_line(told: Mapping[str, Any], head: Head, ledger_id: str) -> str:
    """A session as one line of JSON, without the line end; it names the event that ended the session."""
    line = {**told, LEDGER: {"id": ledger_id, "seq": head.seq, "hash": head.hash.hex()}}
    return json.dumps(line, ensure_ascii=True, separators=(",", ":"))


def fingerprint(line: Mapping[str, Any]) -> str:
    """What a line says, as one hash: the event that ended the session keeps it, so that an edit is seen.

    The event's own hash is in the line, and so cannot be in what is hashed.
    """
    said = {name: value for name, value in line.items() if name != LEDGER}
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def told_in_line(run: RunLine) -> dict[str, Any]:
    """Everything that a line says of its session."""
    session = run.session
    made = [call for call in run.calls if lifecycle.counts(call)]
    saved = sum(_saved_nanos(call, run.prices) for call in made)
    subagents = _subagents(made, run.observed)
    priced = {key for call in run.calls for key in (call.price_id, call.actual_price_id) if key is not None}
    stopped = stopped_by(run.calls, last_raise_us(run.limit_changes))
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": session.session_id,
        "source": "mcp",
        "client": session.client,
        "model": run.used_model or session.model,
        "started_at": iso(session.started_us),
        "ended_at": iso(session.ended_us),
        "end_cause": session.end_cause,
        "enforcement": "hooks" if run.enforced else "none",
        "start_summary": session.task_summary,
        "end_summary": session.end_summary,
        "parent_session_id": session.parent_session_id,
        "project": session.project,
        "currency": session.currency,
        "policy": _policy(session, run.budgets),
        "total_cost": exact_text(run.totals.total_nanos),
        "calls_made": run.totals.calls_made,
        "halts": run.totals.halts,
        "reroutes": sum(call.action is Action.REROUTE for call in made),
        "savings_usd": exact_text(saved),
        "overhead_usd": None,
        "overhead_calls": None,
        "net_savings_usd": None,
        "savings_confidence": run.totals.confidence,
        "accounting_mode": session.accounting_mode.value,
        "usage_channel": session.usage_channel.value,
        "exactness_state": run.totals.exactness,
        "usage_basis": run.totals.basis.value,
        "pending_exact_calls": run.totals.pending_exact_calls,
        "last_reconciled_at": iso(run.totals.last_reconciled_us),
        "mode_coverage": run.totals.coverage,
        "modes_without_exact_coverage": run.totals.uncovered_modes,
        "subagent_calls": sum(agent["calls_made"] for agent in subagents.values()),
        "subagent_spend_usd": exact_text(sum(_cost(call, run.observed) for call in made if _is_subagent(call))),
        "subagents": list(subagents.values()),
        "budgets": [{"budget_id": each.name, **budget_stated(each)} for each in run.budgets],
        "limit_changes": [each.stated() for each in run.limit_changes],
        "anomalies": [each.stated() for each in run.anomalies],
        "observed": _observed(run.observed),
        "records": [_record(index, call, run) for index, call in enumerate(made)],
        "stopped": None if stopped is None else stop_stated(stopped),
        "refused": [_refused(call) for call in run.calls if call.state is CallState.DENIED],
        "voided": [
            {"call_id": call.call_id, "stage": call.tool_name, "reason": call.void_reason}
            for call in run.calls
            if call.state is CallState.VOIDED
        ],
        "prices": {key: json.loads(run.prices[key]) for key in sorted(priced & run.prices.keys())},
    }


def _policy(session: Session, budgets: tuple[Budget, ...]) -> dict[str, Any]:
    # A session that goes on with another's budget has none of its own.
    own = next((b for b in budgets if b.scope_key == session.session_id), budgets[0] if budgets else None)
    return {
        "budget": None if own is None else json_number(own.limit),
        "budget_mode": "warn",
        "on_budget_exceeded": None if own is None else ("halt" if own.mode.value == "hard" else "warn"),
        "fallback_result": None,
        "latency_sla": None,
        "reroute_threshold": None,
        "unknown_model_cost_per_1k_tokens": None,
        "unknown_model_pricing_mode": session.unknown_price.value,
        "stage_routing": {},
        "stage_overrides": {},
    }


def _record(index: int, call: Call, run: RunLine) -> dict[str, Any]:
    seen = run.observed.get(call.call_id)
    actual = call.actual if seen is None else seen.tokens
    asked = call.model_requested
    reported = call.model_used or asked
    timed = call.state is CallState.RECONCILED and call.resolved_us is not None and call.resolved_us > call.at_us
    return {
        "call_index": index,
        "call_id": call.call_id,
        "at": iso(call.at_us),
        "stage": call.tool_name,
        "action": call.action.value,
        "reason": call.reason.value,
        "state": call.state.value,
        "exactness_state": lifecycle.of_call(call, run.session.accounting_mode).value,
        "usage_basis": lifecycle.basis_of_call(call, is_observed=seen is not None).value,
        "model_requested": asked if run.session.model == UNKNOWN_MODEL else run.session.model,
        "model_asked": asked,
        "model_used": (seen and seen.model) or reported,
        "model_target": call.model_target,
        "rerouted": reported != asked,
        "prompt_tokens": call.prompt_tokens if actual is None else actual.context,
        "completion_tokens": call.completion_tokens if actual is None else actual.output,
        "cost_usd": exact_text(_cost(call, run.observed)),
        "cost_basis": call.cost_basis,
        "estimate": {
            "prompt_tokens": call.prompt_tokens,
            "completion_tokens": call.completion_tokens,
            "cost_usd": exact_text(call.estimate_nanos),
            "uncalibrated_usd": exact_text(call.raw_estimate_nanos),
            "price": call.price_id,
        },
        "actual": None
        if actual is None
        else {
            "fresh_input_tokens": actual.fresh_input,
            "cache_read_tokens": actual.cache_read,
            "cache_write_5m_tokens": actual.cache_write_5m,
            "cache_write_1h_tokens": actual.cache_write_1h,
            "output_tokens": actual.output,
            "cost_usd": exact_text(_cost(call, run.observed)),
            "price": call.actual_price_id,
        },
        "elapsed_ms": (call.resolved_us - call.at_us) // 1000 if timed and call.resolved_us is not None else None,
        "prompt_complexity": None,
        "is_multi_turn": None,
        "actor_type": call.actor_type.value,
        "actor_id": call.actor_id,
        "actor_name": call.actor_name,
        "parent_call_id": call.parent_call_id,
        "call_mode": None if call.call_mode is None else call.call_mode.value,
        "correlation": None if call.correlation is None else json.loads(call.correlation),
        "user_id": None,
        "tenant_id": call.tenant,
        "cohort_hint": None,
    }


def _refused(call: Call) -> dict[str, Any]:
    return {
        "at": iso(call.at_us),
        "stage": call.tool_name,
        "reason": call.reason.value,
        "model_requested": call.model_requested,
        "requested_usd": exact_text(call.estimate_nanos),
        "actor_type": call.actor_type.value,
        "actor_id": call.actor_id,
    }


def stop_stated(call: Call) -> dict[str, Any]:
    """A refusal that stopped a run, with the budget and the words of it where they were kept."""
    answer = None if call.reply is None else GateAnswer.from_json(call.reply)
    budget = None if answer is None or answer.binding is None else answer.binding.budget_id
    return {**_refused(call), "budget_id": budget, "message": None if answer is None else answer.message}


def _subagents(made: Sequence[Call], observed: Observed) -> dict[tuple[str | None, str | None], dict[str, Any]]:
    """Calls and cost of each subagent, in the order they first appear."""
    nanos: dict[tuple[str | None, str | None], int] = {}
    found: dict[tuple[str | None, str | None], dict[str, Any]] = {}
    for call in made:
        if not _is_subagent(call):
            continue
        key = (call.actor_id, call.actor_name)
        entry = found.setdefault(key, {"actor_id": key[0], "actor_name": key[1], "calls_made": 0})
        entry["calls_made"] += 1
        nanos[key] = nanos.get(key, 0) + _cost(call, observed)
        entry["total_cost_usd"] = exact_text(nanos[key])
    return found


def _saved_nanos(call: Call, prices: Mapping[str, str]) -> int:
    """What a rerouted call saved: the same tokens at the rates of the model that was asked for, less its cost."""
    if call.actual is None or call.cost_basis != "actual" or call.model_used in (None, call.model_requested):
        return 0
    if call.price_id is None or call.price_id not in prices:
        return 0
    rates = json.loads(prices[call.price_id])["rates"]
    tokens = call.actual
    would = cost_nanos(
        [
            (tokens.fresh_input, rates["input_nanos"]),
            (tokens.cache_read, rates["cache_read_nanos"]),
            (tokens.cache_write_5m, rates["cache_write_5m_nanos"]),
            (tokens.cache_write_1h, rates["cache_write_1h_nanos"]),
            (tokens.output, rates["output_nanos"]),
        ]
    )
    return max(would - call.booked_nanos, 0)


def _cost(call: Call, observed: Observed) -> int:
    seen = observed.get(call.call_id)
    return call.counted_nanos if seen is None else seen.nanos


def _observed(observed: Observed) -> dict[str, Any] | None:
    """What the client's own record shows: how much of it belongs to no call, and how much is incomplete."""
    if not observed:
        return None
    outside = observed.get(None)
    return {
        "responses": sum(part.responses for part in observed.values()),
        "cost_usd": exact_text(sum(part.nanos for part in observed.values())),
        "outside_calls_usd": exact_text(0 if outside is None else outside.nanos),
        "incomplete_responses": sum(part.partial for part in observed.values()),
    }


def _is_subagent(call: Call) -> bool:
    return call.actor_type is ActorType.SUBAGENT
