"""What statements say, from what the ledger holds: amounts as exact text, times as ISO 8601, nothing rounded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tallygate.attest.statement import Subject
from tallygate.core.errors import LedgerCorrupt
from tallygate.core.gate.lifecycle import ANOMALIES_MAX
from tallygate.core.model import SHOWN_MAX, Budget, Session, budget_stated, unit_exact
from tallygate.core.moments import iso
from tallygate.core.money import exact_text
from tallygate.core.proof import Head
from tallygate.ledger.port import JournalEvent, ProofReader, Reader, SpendShare
from tallygate.operations.budgets.applicable import all_budgets
from tallygate.operations.budgets.figures import figures_of, is_enforced

SHARES_MAX = 50


def subject_of(ledger_id: str, tenant: str, event: JournalEvent) -> Subject:
    """An event as the subject of a statement."""
    return Subject(ledger_id, tenant, event.seq, event.hash, event.previous)


def exhausted(reader: Reader, event: JournalEvent) -> dict[str, object]:
    """Why a call was refused: the same for the same event, whenever it is asked for."""
    body = json.loads(event.body)
    call: Mapping[str, Any] = next(row for op, table, row in body["rows"] if op == "+" and table == "call")
    note, unit, budget = body.get("note") or {}, "USD", None
    if note:
        budget = reader.budget(str(note["budget_id"]))
        unit = "USD" if budget is None else budget.unit
    basis = reader.price_basis(str(call["price_id"]))
    # Rates of nano-dollars may be larger than a JSON number holds safely, so they are text.
    stated = {} if basis is None else json.loads(basis).items()
    rates = None if basis is None else {name: str(of) if type(of) is int else of for name, of in stated}
    return {
        "decision": "halt",
        "reason": str(call["reason"]),
        "decidedAt": iso(event.at_us),
        "session": str(call["session_id"]),
        "call": str(call["call_id"]),
        "tool": str(call["tool_name"]),
        "model": str(call["model_requested"]),
        "budget": _bound(note, budget, unit),
        "requested": unit_exact(int(note.get("requested_nanos", 0)), unit),
        "estimate": {
            "promptTokens": int(call["prompt_tokens"]),
            "completionTokens": int(call["completion_tokens"]),
            "cost": exact_text(int(call["estimate_nanos"])),
            "currency": "USD",
        },
        "price": {"id": str(call["price_id"]), "basis": rates},
    }


def _bound(note: Mapping[str, Any], budget: Budget | None, unit: str) -> dict[str, object] | None:
    if not note:
        return None
    limit, spent, reserved = (int(note[f"{name}_nanos"]) for name in ("limit", "spent", "reserved"))
    return {
        "id": str(note["budget_id"]),
        "scope": None if budget is None else budget.scope,
        "period": None if budget is None else budget.period,
        "currency": unit,
        "mode": "hard",
        "limit": unit_exact(limit, unit),
        "spent": unit_exact(spent, unit),
        "reserved": unit_exact(reserved, unit),
    }


def summed(reader: Reader, session: Session, as_of: Head) -> dict[str, object]:
    """What a session came to, as of an event of the journal."""
    totals = figures_of(reader, session).totals
    own = reader.usage_shares(session.session_id, "model", SHARES_MAX)
    shares = own or reader.spend_by(session.session_id, "model", SHARES_MAX)
    budgets = all_budgets(reader, session, session.ended_us or as_of.at_us)
    changes = reader.limit_changes([each.budget_id for each in budgets], SHOWN_MAX)
    return {
        "session": session.session_id,
        "client": session.client,
        "description": session.task_summary,
        "outcome": session.end_summary,
        "state": session.state.value,
        "startedAt": iso(session.started_us),
        "endedAt": iso(session.ended_us),
        "endCause": session.end_cause,
        "total": {"amount": exact_text(totals.total_nanos), "currency": "USD"},
        "calls": totals.calls_made,
        "halts": totals.halts,
        "models": [_share(share) for share in shares],
        "countedBy": "client-record" if own else "calls",
        "exactness": totals.stated,
        "usageBasis": totals.basis.value,
        "usageBy": {basis.value: exact_text(nanos) for basis, nanos in sorted(totals.nanos_by_basis.items())},
        "enforcement": "hooks" if is_enforced(reader, session) else "none",
        "budgets": [{"id": each.name, **budget_stated(each)} for each in budgets],
        "limitChanges": [each.stated() for each in changes],
        "anomalies": [each.stated() for each in reader.call_anomalies(ANOMALIES_MAX, session.session_id)],
        "asOf": {"seq": as_of.seq, "hash": as_of.hash.hex(), "at": iso(as_of.at_us)},
    }


def _share(share: SpendShare) -> dict[str, object]:
    return {"model": share.label, "calls": share.calls, "amount": exact_text(share.nanos), "currency": "USD"}


def reached(event: JournalEvent) -> dict[str, object]:
    """How far a history goes."""
    return {"events": event.seq, "at": iso(event.at_us)}


def event_of(reader: ProofReader, seq: int) -> JournalEvent:
    """An event that something else names. Raises `LedgerCorrupt` where it is gone."""
    event = reader.journal_event(seq)
    if event is None:
        raise LedgerCorrupt(
            f"Event {seq} is not in the journal any more.", hint="Run `tallygate verify`, then restore a backup."
        )
    return event
