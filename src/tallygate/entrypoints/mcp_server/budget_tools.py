"""The tools that speak of pounds: open a budget, record what was spent, look before a step, sum up."""

from __future__ import annotations

from typing import Any

from tallygate.clients.registry import REGISTRY
from tallygate.core.costing import Tokens
from tallygate.core.gate.answers import DecidingBudget
from tallygate.core.model import DEFAULT_TENANT
from tallygate.core.moments import iso
from tallygate.core.money import json_number
from tallygate.entrypoints.mcp_server import arguments as arg
from tallygate.entrypoints.mcp_server.arguments import CallArguments
from tallygate.entrypoints.mcp_server.payloads import attestation_payload, budget_payload, percent, usd
from tallygate.entrypoints.mcp_server.tools import (
    BOOLEAN,
    INTEGER,
    NUMBER,
    NUMBER_OR_NULL,
    OBJECT,
    TEXT,
    TEXT_OR_NULL,
    TEXTS,
    Caller,
    ToolSpec,
    asked_over,
    output,
)
from tallygate.operations import runtime as tenants
from tallygate.operations.gate import authorize, record
from tallygate.operations.proof import attest
from tallygate.operations.runtime import Runtime
from tallygate.operations.sessions import opening
from tallygate.operations.views import spending

POUNDS = "GBP"
NOTE_MAX = 500
HINT = "Record each model call with record_call, and look with check_budget before one that may be dear."

START = (
    arg.amount("budget_gbp", required=True),
    arg.text("session_id", "A fresh one if left out"),
    arg.text("tenant_id", "Leave out for your own"),
    arg.text("description"),
)
RECORD = (
    arg.text("session_id", required=True),
    arg.text("model", required=True),
    arg.tokens("input_tokens", required=True),
    arg.tokens("output_tokens", required=True),
    arg.text("note"),
    arg.text("record_id", "The same id counts once"),
)
CHECK = (arg.text("session_id", required=True), arg.amount("estimated_next_call_gbp"))
SUMMARY = (arg.text("session_id", required=True),)


class BudgetTools:
    """Translates between the tools' words and the operations; amounts named gbp are pounds in every session."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def start_budget(self, given: CallArguments, caller: Caller) -> dict[str, Any]:
        client, also = REGISTRY.names.named(None, caller.client)
        wanted = opening.BudgetWanted(
            limit=given.amount_nanos("budget_gbp"),
            currency=POUNDS,
            session_id=given.exact("session_id"),
            tenant=given.exact("tenant_id"),
            description=given.text("description"),
            client=client,
            also_client=also,
        )
        started = opening.start_budget(self._for(caller), wanted, caller.key, caller.client_session)
        return {
            "session_id": started.session.session_id,
            "budget_gbp": json_number(started.limit),
            "started_at": iso(started.session.started_us),
            "exchange": started.exchange,
            "hint": HINT,
        }

    def record_call(self, given: CallArguments, caller: Caller) -> dict[str, Any]:
        report = record.CallReport(
            session_id=given.required_name("session_id"),
            model=given.required_name("model"),
            tokens=Tokens(fresh_input=given.tokens("input_tokens") or 0, output=given.tokens("output_tokens") or 0),
            note=given.text("note", longest=NOTE_MAX),
            record_id=given.name("record_id"),
            client_key=caller.key,
        )
        done = record.record_call(self._of(caller, report.session_id), report, POUNDS)
        return _with_exchange(
            {
                "session_id": done.session_id,
                "call_cost_gbp": json_number(done.cost),
                "total_spent_gbp": json_number(done.spent),
                "budget_remaining_gbp": json_number(done.remaining),
                "pct_used": percent(done.used, done.limit),
                "status": done.status.value,
                "warnings": list(done.warnings),
            },
            done.exchange,
        )

    def check_budget(self, given: CallArguments, caller: Caller) -> dict[str, Any]:
        session_id = given.required_name("session_id")
        name = "estimated_next_call_gbp"
        estimate = given.amount_nanos(name, allow_zero=True) if given.has(name) else 0
        rt = self._of(caller, session_id)
        found = authorize.look_before(rt, session_id, estimate, POUNDS)
        answer: dict[str, Any] = {
            "allowed": found.allowed,
            "reason": found.reason.value,
            "budget_remaining_gbp": usd(found.remaining),
            "pct_used": None if found.remaining is None else percent(found.used, found.limit),
        }
        if found.message is not None:
            answer["message"] = found.message
        if found.decided_by is not None:
            answer["budget"] = budget_payload(DecidingBudget.of(found.decided_by))
            answer["command"] = found.command
        if (changed_us := found.exhausted_us) is not None:
            answer |= attestation_payload("signed_attestation", lambda: attest.of_exhausted(rt, session_id, changed_us))
        return _with_exchange(answer, found.exchange)

    def get_summary(self, given: CallArguments, caller: Caller) -> dict[str, Any]:
        session_id = given.required_name("session_id")
        rt = self._of(caller, session_id)
        found = spending.summary(rt, session_id, POUNDS)
        session = found.session
        answer: dict[str, Any] = {
            "session_id": session.session_id,
            "tenant_id": None if session.tenant == DEFAULT_TENANT else session.tenant,
            "description": session.task_summary or "",
            "budget_gbp": json_number(found.limit),
            "spent_gbp": json_number(found.spent),
            "reserved_gbp": json_number(found.reserved),
            "remaining_gbp": json_number(found.remaining),
            **_tokens(found.tokens),
            "total_calls": found.calls,
            "model_breakdown": {
                share.model: {"calls": share.calls, **_tokens(share.tokens), "cost_gbp": json_number(share.cost)}
                for share in found.models
            },
            "exhausted": found.exhausted,
            "started_at": iso(session.started_us),
            "ended_at": iso(session.ended_us),
            "ts": iso(found.at_us),
            **attestation_payload("attestation", lambda: attest.slim_summary(rt, session_id)),
        }
        return _with_exchange(answer, found.exchange)

    def _for(self, caller: Caller) -> Runtime:
        return asked_over(self._runtime, caller)

    def _of(self, caller: Caller, session_id: str) -> Runtime:
        return tenants.runtime_for_session(self._for(caller), session_id)

    def specs(self) -> list[ToolSpec]:
        """The four tools, in the order a session uses them."""
        return [
            ToolSpec(
                "start_budget",
                "Open a budget",
                "Opens a session with a budget in GBP; the same session_id and fields find it again.",
                START,
                output(
                    "session_id budget_gbp started_at exchange hint",
                    session_id=TEXT,
                    budget_gbp=NUMBER,
                    started_at=TEXT,
                    exchange=TEXT,
                    hint=TEXT,
                ),
                self.start_budget,
            ),
            ToolSpec(
                "record_call",
                "Record a call",
                "Books a model call that was made, also past the limit.",
                RECORD,
                output(
                    "session_id call_cost_gbp total_spent_gbp budget_remaining_gbp pct_used status warnings",
                    session_id=TEXT,
                    call_cost_gbp=NUMBER,
                    total_spent_gbp=NUMBER,
                    budget_remaining_gbp=NUMBER,
                    pct_used=NUMBER,
                    status=TEXT,
                    warnings=TEXTS,
                    exchange=TEXT,
                ),
                self.record_call,
                quick=True,
            ),
            ToolSpec(
                "check_budget",
                "Look before a call",
                "Says whether the next call is within every budget; records nothing.",
                CHECK,
                output(
                    "allowed reason budget_remaining_gbp pct_used",
                    allowed=BOOLEAN,
                    reason=TEXT,
                    budget_remaining_gbp=NUMBER_OR_NULL,
                    pct_used=NUMBER_OR_NULL,
                    message=TEXT,
                    budget=OBJECT,
                    command=TEXT,
                    exchange=TEXT,
                    signed_attestation=OBJECT,
                    signed_attestation_warning=TEXT,
                ),
                self.check_budget,
                read_only=True,
                quick=True,
            ),
            self._summary_spec(),
        ]

    def _summary_spec(self) -> ToolSpec:
        return ToolSpec(
            "get_summary",
            "Sum up a session",
            "Spend, tokens and models of a session.",
            SUMMARY,
            output(
                "session_id tenant_id description budget_gbp spent_gbp reserved_gbp remaining_gbp input_tokens"
                " cache_read_tokens cache_write_tokens output_tokens total_calls model_breakdown exhausted"
                " started_at ended_at ts",
                session_id=TEXT,
                tenant_id=TEXT_OR_NULL,
                description=TEXT,
                budget_gbp=NUMBER,
                spent_gbp=NUMBER,
                reserved_gbp=NUMBER,
                remaining_gbp=NUMBER,
                input_tokens=INTEGER,
                cache_read_tokens=INTEGER,
                cache_write_tokens=INTEGER,
                output_tokens=INTEGER,
                total_calls=INTEGER,
                model_breakdown=OBJECT,
                exhausted=BOOLEAN,
                started_at=TEXT,
                ended_at=TEXT_OR_NULL,
                ts=TEXT,
                exchange=TEXT,
                attestation=OBJECT,
                attestation_warning=TEXT,
            ),
            self.get_summary,
            read_only=True,
        )


def _tokens(tokens: Tokens) -> dict[str, int]:
    return {
        "input_tokens": tokens.fresh_input,
        "cache_read_tokens": tokens.cache_read,
        "cache_write_tokens": tokens.cache_write_5m + tokens.cache_write_1h,
        "output_tokens": tokens.output,
    }


def _with_exchange(answer: dict[str, Any], exchange: str | None) -> dict[str, Any]:
    """The answer, with the rate where its pounds are not those that the session counts in."""
    return answer if exchange is None else {**answer, "exchange": exchange}
