"""Running one statement for one tenant, through any database that takes `:named` parameters."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, cast

from tallygate.core.costing import Tokens
from tallygate.core.model import Budget, Call, CostBasis, Hold, ModeCoverage, Session
from tallygate.core.money import NANOS_PER_UNIT
from tallygate.core.words import (
    AccountingMode,
    Action,
    ActorType,
    BudgetMode,
    CallMode,
    CallState,
    Reason,
    SessionState,
    UnknownPrice,
    UsageChannel,
)
from tallygate.ledger.port import Value

# --- statements ------------------------------------------------------------------------------------------------------
# Running one statement for one tenant, through any database that takes `:named` parameters.


class Cursor(Protocol):
    """What a database gives back for one statement."""

    @property
    def rowcount(self) -> int: ...
    @property
    def lastrowid(self) -> int | None: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


Execute = Callable[[str, dict[str, Any]], Cursor]
# The same statement once for each row of values, which stand in the order of its marks.
ExecuteMany = Callable[[str, Iterable[tuple[Any, ...]]], Cursor]


class Statements:
    """Statements with the tenant always among their parameters."""

    def __init__(self, execute: Execute, tenant: str) -> None:
        self._execute = execute
        self.tenant = tenant

    def _one(self, sql: str, **parameters: Value) -> Any:
        return self._execute(sql, {"tenant": self.tenant, **parameters}).fetchone()

    def _all(self, sql: str, **parameters: Value) -> list[Any]:
        return self._execute(sql, {"tenant": self.tenant, **parameters}).fetchall()


_ENCODE = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode

SESSION_COLUMNS = [
    "tenant",
    "session_id",
    "client",
    "model",
    "state",
    "accounting_mode",
    "usage_channel",
    "ask_capable",
    "plan_capable",
    "agent_capable",
    "unknown_price",
    "currency",
    "started_us",
    "ended_us",
    "end_cause",
    "parent_session_id",
    "task_summary",
    "end_summary",
    "project",
    "run_log",
    "server_id",
    "usd_nanos",
    "rate_day",
    "rules",
    "warned_us",
    "opened_from",
    "prices",
    "also_client",
]
BUDGET_COLUMNS = [
    "tenant",
    "budget_id",
    "scope",
    "scope_key",
    "unit",
    "mode",
    "limit_nanos",
    "spent_nanos",
    "reserved_nanos",
    "overage_nanos",
    "period",
    "resets_us",
    "touched_us",
    "usd_nanos",
    "rate_day",
    "rule_limit",
    "start_us",
    "seed_nanos",
    "raises",
    "also",
]
CALL_COLUMNS = [
    "tenant", "call_id", "session_id", "state", "action", "reason", "tool_name", "model_requested", "prompt_tokens",
    "completion_tokens", "raw_estimate_nanos", "estimate_nanos", "factor_micros", "actor_type", "at_us", "expires_us",
    "resolved_us", "booked_nanos", "cost_basis", "model_target", "model_used", "fresh_input", "cache_read",
    "cache_write_5m", "cache_write_1h", "output", "price_id", "actual_price_id", "actor_id", "actor_name",
    "parent_call_id", "call_mode", "mode_capable", "client_key", "reply", "void_reason", "correlation", "holds",
    "cold_nanos", "level_nanos", "expected_nanos", "observed_nanos", "asked_by", "folder",
]  # fmt: skip


def columns(names: list[str], alias: str) -> str:
    """A select list with every column of a table under its alias."""
    return ", ".join(f"{alias}.{name}" for name in names)


def to_session(row: tuple[Any, ...]) -> Session:
    """A row of SESSION_COLUMNS as a session."""
    return Session(
        tenant=row[0],
        session_id=row[1],
        client=row[2],
        model=row[3],
        state=SessionState(row[4]),
        accounting_mode=AccountingMode(row[5]),
        usage_channel=UsageChannel(row[6]),
        coverage=ModeCoverage(ask=bool(row[7]), plan=bool(row[8]), agent=bool(row[9])),
        unknown_price=UnknownPrice(row[10]),
        currency=row[11],
        started_us=row[12],
        ended_us=row[13],
        end_cause=row[14],
        parent_session_id=row[15],
        task_summary=row[16],
        end_summary=row[17],
        project=row[18],
        run_log=row[19],
        server_id=row[20],
        usd_nanos=row[21] or NANOS_PER_UNIT,
        rate_day=row[22],
        rules=row[23],
        warned_us=row[24],
        opened_from=row[25],
        prices=row[26],
        also_client=row[27],
    )


def from_session(session: Session) -> dict[str, Value]:
    """A session as the columns of its row."""
    return {
        "session_id": session.session_id,
        "client": session.client,
        "model": session.model,
        "state": session.state.value,
        "accounting_mode": session.accounting_mode.value,
        "usage_channel": session.usage_channel.value,
        "ask_capable": int(session.coverage.ask),
        "plan_capable": int(session.coverage.plan),
        "agent_capable": int(session.coverage.agent),
        "unknown_price": session.unknown_price.value,
        "currency": session.currency,
        "started_us": session.started_us,
        "ended_us": session.ended_us,
        "end_cause": session.end_cause,
        "parent_session_id": session.parent_session_id,
        "task_summary": session.task_summary,
        "end_summary": session.end_summary,
        "project": session.project,
        "run_log": session.run_log,
        "server_id": session.server_id,
        "usd_nanos": None if session.currency == "USD" else session.usd_nanos,
        "rate_day": session.rate_day,
        "rules": session.rules,
        "warned_us": session.warned_us,
        "opened_from": session.opened_from,
        "prices": session.prices,
        "also_client": session.also_client,
    }


def to_budget(row: tuple[Any, ...]) -> Budget:
    """A row of BUDGET_COLUMNS as a budget."""
    return Budget(
        tenant=row[0],
        budget_id=row[1],
        scope=row[2],
        scope_key=row[3],
        unit=row[4],
        mode=BudgetMode(row[5]),
        limit_nanos=row[6],
        spent_nanos=row[7],
        reserved_nanos=row[8],
        overage_nanos=row[9],
        period=row[10],
        resets_us=row[11],
        touched_us=row[12],
        usd_nanos=row[13] or NANOS_PER_UNIT,
        rate_day=row[14],
        rule_limit=row[15],
        start_us=row[16],
        seed_nanos=row[17],
        raises=() if row[18] is None else tuple((added, until) for added, until in json.loads(row[18])),
        also=() if row[19] is None else tuple(json.loads(row[19])),
    )


def from_budget(budget: Budget) -> dict[str, Value]:
    """A budget as the columns of its row."""
    return {
        "budget_id": budget.budget_id,
        "scope": budget.scope,
        "scope_key": budget.scope_key,
        "unit": budget.unit,
        "mode": budget.mode.value,
        "limit_nanos": budget.limit_nanos,
        "spent_nanos": budget.spent_nanos,
        "reserved_nanos": budget.reserved_nanos,
        "overage_nanos": budget.overage_nanos,
        "period": budget.period,
        "resets_us": budget.resets_us,
        "touched_us": budget.touched_us,
        "usd_nanos": None if budget.usd_nanos == NANOS_PER_UNIT else budget.usd_nanos,
        "rate_day": budget.rate_day,
        "rule_limit": budget.rule_limit,
        "start_us": budget.start_us,
        "seed_nanos": budget.seed_nanos,
        "raises": raises_text(budget.raises),
        "also": _ENCODE(budget.also) if budget.also else None,
    }


def raises_text(raises: Iterable[tuple[int, int]]) -> str | None:
    """What a user has added to a rolling budget, and until when, as it is kept; None where there is nothing."""
    return _ENCODE([list(each) for each in raises]) if raises else None


def budget_counters(budget: Budget, at_us: int) -> dict[str, Value]:
    """The columns of a budget that change when a call does."""
    return {
        "budget_id": budget.budget_id,
        "spent_nanos": budget.spent_nanos,
        "reserved_nanos": budget.reserved_nanos,
        "overage_nanos": budget.overage_nanos,
        "touched_us": at_us,
    }


def to_call(row: tuple[Any, ...]) -> Call:
    """A row of CALL_COLUMNS as a call."""
    (
        tenant, call_id, session_id, state, action, reason, tool_name, model_requested, prompt_tokens,
        completion_tokens, raw_estimate, estimate, factor, actor_type, at_us, expires_us, resolved_us, booked,
        cost_basis, model_target, model_used, fresh, cache_read, write_5m, write_1h, output, price_id,
        actual_price_id, actor_id, actor_name, parent_call_id, call_mode, mode_capable, client_key, reply,
        void_reason, correlation, holds, cold, level, expected, observed, asked_by, folder,
    ) = row  # fmt: skip
    return Call(
        tenant=tenant,
        call_id=call_id,
        session_id=session_id,
        state=CallState(state),
        action=Action(action),
        reason=Reason(reason),
        tool_name=tool_name,
        model_requested=model_requested,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        raw_estimate_nanos=raw_estimate,
        estimate_nanos=estimate,
        factor_micros=factor,
        actor_type=ActorType(actor_type),
        at_us=at_us,
        expires_us=expires_us,
        resolved_us=resolved_us,
        booked_nanos=booked,
        cost_basis=cast(CostBasis, cost_basis),
        model_target=model_target,
        model_used=model_used,
        actual=None if fresh is None else Tokens(fresh, cache_read or 0, write_5m or 0, write_1h or 0, output),
        price_id=price_id,
        actual_price_id=actual_price_id,
        actor_id=actor_id,
        actor_name=actor_name,
        parent_call_id=parent_call_id,
        call_mode=None if call_mode is None else CallMode(call_mode),
        mode_capable=None if mode_capable is None else bool(mode_capable),
        client_key=client_key,
        reply=reply,
        void_reason=void_reason,
        correlation=correlation,
        holds=tuple(Hold(name, held, *(rest or (booked,))) for name, held, *rest in json.loads(holds)),
        cold_nanos=cold,
        level_nanos=level,
        expected_nanos=expected,
        observed_nanos=observed,
        asked_by=asked_by,
        folder=folder,
    )


def from_call(call: Call) -> dict[str, Value]:
    """A call as a row, without the columns that are null."""
    row: dict[str, Value] = {
        "call_id": call.call_id,
        "session_id": call.session_id,
        "state": call.state.value,
        "action": call.action.value,
        "reason": call.reason.value,
        "tool_name": call.tool_name,
        "model_requested": call.model_requested,
        "model_target": call.model_target,
        "model_used": call.model_used,
        "prompt_tokens": call.prompt_tokens,
        "completion_tokens": call.completion_tokens,
        "raw_estimate_nanos": call.raw_estimate_nanos,
        "estimate_nanos": call.estimate_nanos,
        "factor_micros": call.factor_micros,
        "booked_nanos": call.booked_nanos,
        "cost_basis": call.cost_basis,
        "price_id": call.price_id,
        "actual_price_id": call.actual_price_id,
        "actor_type": call.actor_type.value,
        "actor_id": call.actor_id,
        "actor_name": call.actor_name,
        "parent_call_id": call.parent_call_id,
        "call_mode": None if call.call_mode is None else call.call_mode.value,
        "mode_capable": None if call.mode_capable is None else int(call.mode_capable),
        "client_key": call.client_key,
        "reply": call.reply,
        "void_reason": call.void_reason,
        "correlation": call.correlation,
        "holds": holds_text(call.holds, call.booked_nanos),
        "cold_nanos": call.cold_nanos,
        "level_nanos": call.level_nanos,
        "expected_nanos": call.expected_nanos,
        "observed_nanos": call.observed_nanos,
        "asked_by": call.asked_by,
        "folder": call.folder,
        "at_us": call.at_us,
        "expires_us": call.expires_us,
        "resolved_us": call.resolved_us,
    }
    row.update(token_columns(call.actual))
    return {name: value for name, value in row.items() if value is not None}


def holds_text(holds: Iterable[Hold], booked_nanos: int) -> str:
    """A call's holds as they are kept; what is booked is left out where it is the call's own amount."""
    return _ENCODE(
        [
            [hold.budget_id, hold.amount_nanos]
            if hold.booked_nanos == booked_nanos
            else [hold.budget_id, hold.amount_nanos, hold.booked_nanos]
            for hold in holds
        ]
    )


def token_columns(tokens: Tokens | None) -> dict[str, Value]:
    """Counts of actual usage as columns; nothing where there is none."""
    if tokens is None:
        return {}
    return {
        "fresh_input": tokens.fresh_input,
        "cache_read": tokens.cache_read,
        "cache_write_5m": tokens.cache_write_5m,
        "cache_write_1h": tokens.cache_write_1h,
        "output": tokens.output,
    }
