"""The l6e_* tools: start a session, ask before a step, report what it used, end."""

from __future__ import annotations

from typing import Any

from tallygate.clients.registry import REGISTRY
from tallygate.core.costing import Tokens
from tallygate.core.errors import InvalidArgument
from tallygate.core.gate.answers import DecidingBudget
from tallygate.core.model import Actor
from tallygate.core.words import AccountingMode, ActorType, CallMode, UnknownPrice, UsageChannel
from tallygate.entrypoints.mcp_server import arguments as arg
from tallygate.entrypoints.mcp_server.arguments import CallArguments
from tallygate.entrypoints.mcp_server.payloads import (
    attestation_payload,
    budget_payload,
    check_payload,
    epoch_number,
    gate_payload,
    usage_payload,
    usd,
)
from tallygate.entrypoints.mcp_server.tools import (
    BOOLEAN,
    INTEGER,
    NUMBER,
    NUMBER_OR_NULL,
    OBJECT,
    OBJECTS,
    TEXT,
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
from tallygate.operations.sessions import ending
from tallygate.operations.sessions import opening as account
from tallygate.operations.sessions import opening as session

DEFAULT_PROMPT_TOKENS = 2000
DEFAULT_COMPLETION_TOKENS = 400

RUN_START = (
    arg.amount("budget_usd", required=True),
    arg.text("model", "The id you run as", required=True),
    arg.text("client", "Your program, such as claude-code", default="unknown"),
    arg.text("task_summary"),
    arg.text("parent_session_id", "Its budget binds this session too"),
    arg.choice("accounting_mode", AccountingMode, "exact_required: each step waits for the last one's usage"),
    arg.choice("usage_channel", UsageChannel),
    arg.flag("ask_mode_exact_capable"),
    arg.flag("plan_mode_exact_capable"),
    arg.flag("agent_mode_exact_capable"),
)
AUTHORIZE = (
    arg.text("session_id", required=True),
    arg.text("tool_name", "Label of the step", required=True),
    arg.text("model"),
    arg.tokens("estimated_tokens", "Prompt tokens, unless the next field says them", default=DEFAULT_PROMPT_TOKENS),
    arg.tokens("estimated_prompt_tokens", "The whole context that is sent"),
    arg.tokens("estimated_completion_tokens"),
    arg.flag("check_only", "Only read the state", default=False),
    arg.choice("actor_type", ActorType, default=ActorType.PARENT_AGENT),
    arg.text("actor_id", "Of a subagent"),
    arg.text("actor_name"),
    arg.text("parent_call_id", "The call that started it"),
    arg.choice("call_mode", CallMode),
    arg.tokens("actual_prompt_tokens", "With completion: usage that already happened"),
    arg.tokens("actual_completion_tokens"),
)
RECORD = (
    arg.text("call_id", required=True),
    arg.tokens("actual_prompt_tokens", "Without cached tokens", required=True),
    arg.tokens("actual_completion_tokens", required=True),
    arg.text("model_used"),
    arg.tokens("cache_read_tokens", "Beside the prompt's"),
    arg.tokens("cache_write_tokens"),
    *(arg.text(name) for name in ("callback_request_id", "callback_trace_id", "correlation_key")),
    *(arg.text(name) for name in ("correlation_source", "hosted_ledger_id")),
    arg.text("void_reason", "Why the step did not happen; both counts are 0 then"),
)
RUN_END = (arg.text("session_id", required=True), arg.text("task_summary"))

_GATE_OUTPUT = output(
    "budget_pressure remaining_usd",
    action=TEXT,
    call_id=TEXT,
    remaining_usd=NUMBER_OR_NULL,
    budget_pressure=TEXT,
    reason=TEXT,
    pct_used=NUMBER,
    target_model=TEXT,
    pricing_warning=TEXT,
    calibration_factor=NUMBER,
    calibration_source=TEXT,
    calibration_confidence=TEXT,
    p_over=NUMBER,
    remaining_steps=INTEGER,
    saves_usd=NUMBER,
    estimate_usd=NUMBER,
    calibration_applied=BOOLEAN,
    message=TEXT,
    budget=OBJECT,
    spent_by=OBJECTS,
    command=TEXT,
    attestation=OBJECT,
)


class SessionTools:
    """Translates between the tools' words and the operations; decides nothing."""

    def __init__(self, runtime: Runtime, default_unknown_price: UnknownPrice = UnknownPrice.WARN_ONLY) -> None:
        self._runtime = runtime
        self._unknown_price = default_unknown_price

    def run_start(self, given: CallArguments, caller: Caller) -> dict[str, Any]:
        client, also = REGISTRY.names.named(given.name("client"), caller.client)
        opening = session.Opening(
            limit_nanos=given.amount_nanos("budget_usd"),
            model=given.name("model") or "unknown",
            client=client,
            also_client=also,
            task_summary=given.text("task_summary"),
            parent_session_id=given.name("parent_session_id"),
            accounting_mode=_accounting(given),
            usage_channel=given.choice("usage_channel", UsageChannel) or UsageChannel.NONE,
            ask_capable=given.flag("ask_mode_exact_capable"),
            plan_capable=given.flag("plan_mode_exact_capable"),
            agent_capable=given.flag("agent_mode_exact_capable"),
            unknown_price=given.choice("unknown_model_pricing_mode", UnknownPrice) or self._unknown_price,
        )
        rt = asked_over(self._runtime, caller)
        if opening.parent_session_id is not None:
            rt = tenants.runtime_for_session(rt, opening.parent_session_id)
        opened = account.start_within(rt, opening, caller.key, caller.client_session)
        answer: dict[str, Any] = {"session_id": opened.session.session_id}
        if opened.pricing_warning:
            answer["pricing_warning"] = opened.pricing_warning
        if opened.tighter:
            answer["tighter_budgets"] = [budget_payload(DecidingBudget.of(budget)) for budget in opened.tighter]
        return answer

    def authorize_call(self, given: CallArguments, caller: Caller) -> dict[str, Any]:
        session_id = given.required_name("session_id")
        look = given.flag("check_only")
        estimated = given.tokens("estimated_tokens")
        prompt = given.tokens("estimated_prompt_tokens")
        completion = given.tokens("estimated_completion_tokens")
        actual = _actual(given)
        # Where all tokens and those of the prompt were said, the larger counts: an agent cannot take back with a second
        # number what it said with the first. Some say all tokens of the step with the first, prompt and completion;
        # then its parts say as much.
        if prompt is None:
            read = DEFAULT_PROMPT_TOKENS if estimated is None else estimated
        else:
            read = prompt if estimated is None or estimated <= prompt + (completion or 0) else estimated
        written = DEFAULT_COMPLETION_TOKENS if completion is None else completion
        if not read and not written and actual is None:
            # No step takes no tokens: what says so is no estimate, and would hold nothing of any budget.
            read, written = DEFAULT_PROMPT_TOKENS, DEFAULT_COMPLETION_TOKENS
        step = authorize.StatedStep(
            session_id=session_id,
            tool_name=(given.text("tool_name", longest=arg.ID_MAX) or "look") if look else given.label("tool_name"),
            model=given.name("model"),
            prompt_tokens=read,
            completion_tokens=written,
            actor=Actor(
                type=given.choice("actor_type", ActorType) or ActorType.PARENT_AGENT,
                id=given.name("actor_id"),
                name=given.name("actor_name"),
            ),
            parent_call_id=given.name("parent_call_id"),
            call_mode=given.choice("call_mode", CallMode),
            actual=actual,
            client_key=caller.key,
        )
        rt = tenants.runtime_for_session(asked_over(self._runtime, caller), session_id)
        if look:
            return check_payload(authorize.check(rt, session_id, step))
        return gate_payload(authorize.authorize(rt, step))

    def record_usage(self, given: CallArguments, caller: Caller) -> dict[str, Any]:
        call_id = given.required_name("call_id")
        reason = given.text("void_reason", longest=500)
        tokens = _tokens(given)
        if reason is not None:
            if tokens.total:
                raise InvalidArgument(
                    "void_reason",
                    f"void_reason says the step did not happen, but {tokens.total} tokens were given.",
                    hint="Give 0 tokens to void the call, or leave void_reason out to record them.",
                )
            return usage_payload(record.void_call(self._for_call(caller, call_id), call_id, reason))
        correlation = {
            name: value
            for name in (
                "callback_request_id",
                "callback_trace_id",
                "correlation_key",
                "correlation_source",
                "hosted_ledger_id",
            )
            if (value := given.name(name)) is not None
        }
        report = record.UsageReport(call_id, tokens, given.name("model_used"), correlation)
        return usage_payload(record.record_usage(self._for_call(caller, call_id), report))

    def run_end(self, given: CallArguments, caller: Caller) -> dict[str, Any]:
        session_id = given.required_name("session_id")
        rt = tenants.runtime_for_session(asked_over(self._runtime, caller), session_id)
        totals = ending.end_session(rt, session_id, task_summary=given.text("task_summary"))
        return {
            "session_id": totals.session_id,
            "total_cost_usd": usd(totals.total_nanos),
            "calls_made": totals.calls_made,
            "savings_confidence": totals.confidence,
            "pending_exact_calls": totals.pending_exact_calls,
            "exactness_state": totals.exactness,
            "usage_basis": totals.basis.value,
            "last_reconciled_at": epoch_number(totals.last_reconciled_us),
            "mode_coverage": totals.coverage,
            "modes_without_exact_coverage": totals.uncovered_modes,
            **attestation_payload("attestation", lambda: attest.slim_summary(rt, session_id), whole=False),
        }

    def _for_call(self, caller: Caller, call_id: str) -> Runtime:
        return tenants.runtime_for_call(asked_over(self._runtime, caller), call_id)

    def specs(self) -> list[ToolSpec]:
        """The four tools, in the order a session uses them."""
        return [
            ToolSpec(
                "l6e_run_start",
                "Start a budgeted session",
                "Opens a session with a budget; returns its session_id.",
                (
                    *RUN_START,
                    arg.choice("unknown_model_pricing_mode", UnknownPrice),
                ),
                output("session_id", session_id=TEXT, pricing_warning=TEXT, tighter_budgets=OBJECTS),
                self.run_start,
            ),
            ToolSpec(
                "l6e_authorize_call",
                "Ask before a step",
                "Prices a step and answers allow, reroute or halt; allow and reroute reserve the estimate under a "
                "call_id.",
                AUTHORIZE,
                _GATE_OUTPUT,
                self.authorize_call,
                quick=True,
            ),
            ToolSpec(
                "l6e_record_usage",
                "Record actual usage",
                "Replaces a call's estimate by the tokens it used.",
                RECORD,
                output(
                    "call_id session_id status exactness_state spend_so_far_usd remaining_usd budget_pressure",
                    call_id=TEXT,
                    session_id=TEXT,
                    status=TEXT,
                    exactness_state=TEXT,
                    usage_basis=TEXT,
                    spend_so_far_usd=NUMBER,
                    remaining_usd=NUMBER_OR_NULL,
                    budget_pressure=TEXT,
                ),
                self.record_usage,
                idempotent=True,
                quick=True,
            ),
            ToolSpec(
                "l6e_run_end",
                "End the session",
                "Closes a session, writes its run-log line and returns its totals.",
                RUN_END,
                output(
                    "session_id total_cost_usd calls_made savings_confidence pending_exact_calls exactness_state"
                    " usage_basis last_reconciled_at mode_coverage modes_without_exact_coverage",
                    session_id=TEXT,
                    total_cost_usd=NUMBER,
                    calls_made=INTEGER,
                    savings_confidence=TEXT,
                    pending_exact_calls=INTEGER,
                    exactness_state=TEXT,
                    usage_basis=TEXT,
                    last_reconciled_at=NUMBER_OR_NULL,
                    mode_coverage=OBJECT,
                    modes_without_exact_coverage=TEXTS,
                    attestation=OBJECT,
                    attestation_warning=TEXT,
                ),
                self.run_end,
                idempotent=True,
            ),
        ]


def _accounting(given: CallArguments) -> AccountingMode:
    chosen = given.choice("accounting_mode", AccountingMode)
    if chosen is not None:
        return chosen
    relayed = given.choice("usage_channel", UsageChannel) is UsageChannel.SELF_HOSTED_RELAY
    return AccountingMode.EXACT_OPTIONAL if relayed else AccountingMode.ESTIMATE_ONLY


def _actual(given: CallArguments) -> Tokens | None:
    prompt, completion = given.tokens("actual_prompt_tokens"), given.tokens("actual_completion_tokens")
    if prompt is None and completion is None:
        return None
    if prompt is None or completion is None:
        missing = "actual_prompt_tokens" if prompt is None else "actual_completion_tokens"
        raise InvalidArgument(
            missing, f"{missing} is missing.", hint="Usage that happened needs both counts; 0 is one."
        )
    return Tokens(fresh_input=prompt, output=completion)


def _tokens(given: CallArguments) -> Tokens:
    return Tokens(
        fresh_input=given.tokens("actual_prompt_tokens") or 0,
        cache_read=given.tokens("cache_read_tokens") or 0,
        cache_write_5m=given.tokens("cache_write_tokens") or 0,
        output=given.tokens("actual_completion_tokens") or 0,
    )
