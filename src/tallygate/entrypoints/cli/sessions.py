"""`tallygate sessions`: what sessions there are, one in full, and ending one."""

from __future__ import annotations

from collections import Counter
from typing import Any

import click

from tallygate.core.bills.causes import Cause
from tallygate.core.costing import Tokens
from tallygate.core.errors import KeyUnusable
from tallygate.core.gate import lifecycle
from tallygate.core.gate.wording import amounts_of, decided
from tallygate.core.model import Budget, Call, Session, unit_number
from tallygate.core.moments import iso, microseconds
from tallygate.core.money import adding_up, format_amount, json_number, told_apart
from tallygate.core.proof import SlimAttestation
from tallygate.core.sessions import over_limit
from tallygate.core.text import cleaned, plural
from tallygate.core.usage import UNKNOWN_MODEL
from tallygate.core.words import BudgetMode, CallState, SessionExactness, SessionState, client_name
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.budget import budget_json, budget_table, say_changes
from tallygate.entrypoints.cli.options import as_json_option, limit_option
from tallygate.entrypoints.cli.output import say_loops, shown_zone
from tallygate.entrypoints.cli.program import Commands, Program, pass_program
from tallygate.entrypoints.cli.unread import ODD_REPORTS, TOLD_BY
from tallygate.ledger.port import SpendShare, StoredUsage
from tallygate.operations.runtime import SUMMARY_MAX, Runtime
from tallygate.operations.views.overview import (
    ObservedSummary,
    SessionLine,
    SessionView,
    head_of,
    list_sessions,
    session_called,
    show_session,
)

_STATES = {"open": SessionState.OPEN, "ended": SessionState.ENDED, "all": None}


@click.group(cls=Commands)
def sessions() -> None:
    """List sessions, look at one, end one.

    A session is named by its id, ours or its client's, or by a beginning or an end of it: the last eight characters, as
    lists show them.
    """


@sessions.command("list")
@click.option("--state", type=click.Choice([*_STATES]), default="all", show_default=True)
@limit_option(20, 10_000)
@as_json_option
@pass_program
def list_(program: Program, state: str, limit: int, as_json: bool) -> None:
    """Show sessions, the youngest first."""
    settings = program.settings()
    with program.opened(settings) as app:
        lines = list_sessions(app.runtime, state=_STATES[state], limit=limit)
    if as_json:
        output.document({"sessions": [line_json(line) for line in lines]})
    elif lines:
        session_table(lines, shown_zone(settings))
    else:
        click.echo("No sessions." if state == "all" else f"No {state} sessions.")
        output.aside("Only what opened at the gate is listed; what clients wrote down: `tallygate usage --by session`")


@sessions.command()
@click.argument("session")
@click.option("--calls", is_flag=True, help="Every call and response too.")
@as_json_option
@pass_program
def show(program: Program, session: str, calls: bool, as_json: bool) -> None:
    """Show one session in full.

    Its budgets, what was spent on which model, tool and agent, and every kind of decision.
    """
    settings = program.settings()
    with program.opened(settings) as app:
        view = show_session(app.runtime, session_called(app.runtime, session))
    if as_json:
        output.document(_view_json(view, calls=calls))
    else:
        _show(view, shown_zone(settings), calls=calls)


@sessions.command()
@click.argument("session")
@click.option("--summary", help=f"What came of it; {SUMMARY_MAX} characters are kept.")
@pass_program
def end(program: Program, session: str, summary: str | None) -> None:
    """End a session and write its run-log line.

    Calls that are still pending are closed as the policy says.
    """
    from tallygate.operations.sessions.ending import end_by_user, flush_run_log

    text = None if summary is None else cleaned(summary, SUMMARY_MAX)
    settings = program.settings()
    authority = program.authority(settings)
    with program.opened(settings) as app:
        session_id = session_called(app.runtime, session)
        totals = end_by_user(app.runtime, session_id, authority=authority, task_summary=text)
        view = show_session(app.runtime, session_id)
        waiting = flush_run_log(app.runtime)
        attested = _signed(app.runtime, session_id)
        head = head_of(app.runtime)
    cost = format_amount(totals.total_nanos)
    click.echo(f"{output.safe(session_id)} has ended: {plural(totals.calls_made, 'call')}, {cost}.")
    click.echo(f"Run log: {output.safe(view.session.run_log, 1000)}")
    if attested is not None:
        click.echo(f"Signed: {attested.attestation_id}; to export: tallygate attest export {output.safe(session_id)}")
    click.echo(f"Chain: {plural(head.seq, 'event')}, head {head.hash.hex()}")
    for failure in waiting:
        output.aside(f"a run-log line waits in the ledger and is written later: {failure}")


def _signed(rt: Runtime, session_id: str) -> SlimAttestation | None:
    """What the session came to, signed; where that cannot be now, it is said and waits."""
    from tallygate.operations.proof.attest import slim_summary

    try:
        return slim_summary(rt, session_id)
    except KeyUnusable as error:
        output.aside(f"nothing is signed yet: {error}")
        return None


def session_table(lines: list[SessionLine], time_zone: str) -> None:
    """Sessions as a table; what eighty columns do not hold is in the JSON.

    Where one lives on a budget that is not its own, the budgets are named, and each is shown once: with the session
    that it was made for, or else with the first of those that live on it.
    """
    at: dict[str, int] = {}
    names = [None if line.own is None else line.own.name for line in lines]
    for number, (line, name) in enumerate(zip(lines, names, strict=True)):
        if name is not None and (name not in at or name == line.session.session_id):
            at[name] = number
    shown = [
        _standing(line.own) if at.get(names[number] or "") == number else _AGAIN for number, line in enumerate(lines)
    ]
    others = any(name not in (None, line.session.session_id) for line, name in zip(lines, names, strict=True))
    output.table(
        output.words("ID", [output.short_id(line.session.session_id) for line in lines]),
        output.going(1, output.words("STATE", [line.session.state for line in lines])),
        output.words(
            output.zoned("STARTED", [line.session.started_us for line in lines], time_zone),
            [output.when(line.session.started_us, time_zone)[5:] for line in lines],
        ),
        output.amounts("LIMIT", [limit for limit, _ in shown]),
        output.money("SPENT", [(line.spent_nanos, line.session.currency) for line in lines]),
        *output.unsure([line.split for line in lines], [line.session.currency for line in lines]),
        output.amounts("LEFT", [left for _, left in shown]),
        *([output.going(6, output.words("OF", [name and output.short_id(name) for name in names]))] if others else []),
        output.going(5, output.numbers("CALLS", [line.totals.calls for line in lines])),
        output.going(4, output.numbers("HALTS", [line.totals.denied for line in lines])),
        output.going(3, output.names("MODEL", [line.model for line in lines])),
        output.going(7, output.prose("TASK", [line.session.task_summary for line in lines])),
    )
    for line in lines:
        if line.own is None:
            name = output.safe(output.short_id(line.session.session_id))
            output.aside(f"Session {name} has no budget in the ledger's tables any more. `tallygate verify` says why.")
        elif line.own.mode is BudgetMode.SOFT and line.own.available < 0:
            name = output.safe(output.short_id(line.session.session_id))
            click.echo(f"{name} went on over its limit, which only warns: `tallygate why {name}`.")


_AGAIN = (output.NOTHING, output.NOTHING)


def _standing(budget: Budget | None) -> tuple[str, str]:
    """The limit of the budget that a session lives on, and what it has left."""
    if budget is None:
        return _AGAIN
    limit, _, _, left = told_apart(amounts_of(budget), budget.unit)
    return limit, left


def line_json(line: SessionLine) -> dict[str, Any]:
    """A session of a list, for programs: what it cost itself, and how the budget stands that it lives on."""
    own = line.own
    return {
        **_session_json(line.session, line.model),
        "spent": json_number(line.spent_nanos),
        **output.split_json(line.spent_nanos, line.split, "spent"),
        "budget": None if own is None else own.name,
        "budget_currency": None if own is None else own.unit,
        "limit": None if own is None else unit_number(own.limit, own.unit),
        "reserved": None if own is None else unit_number(own.reserved, own.unit),
        "left": None if own is None else unit_number(own.available, own.unit),
        "tightest_left_usd": None if line.left_nanos is None else json_number(line.left_nanos),
        "pressure": line.pressure.value,
        "calls": line.totals.calls,
        "pending": line.totals.pending,
        "halts": line.totals.denied,
    }


def _clients(session: Session) -> str:
    """What a session's client is called; a name beside it is one that it connected by, or that its agent said."""
    names = [output.safe(client_name(each)) for each in session.clients]
    return names[0] if len(names) == 1 else f"{names[0]} (also called {names[1]})"


def _session_json(session: Session, model: str) -> dict[str, Any]:
    return {
        "session_id": session.session_id,
        "state": session.state.value,
        "client": client_name(session.client),
        "also_client": None if session.also_client is None else client_name(session.also_client),
        "model": model,
        "currency": session.currency,
        "started_at": iso(session.started_us),
        "ended_at": iso(session.ended_us),
        "end_cause": session.end_cause,
        "task_summary": session.task_summary,
        "end_summary": session.end_summary,
        "parent_session_id": session.parent_session_id,
        "project": session.project,
        "run_log": session.run_log,
        "accounting_mode": session.accounting_mode.value,
        "usage_channel": session.usage_channel.value,
        "unknown_model_pricing_mode": session.unknown_price.value,
    }


def _view_json(view: SessionView, *, calls: bool) -> dict[str, Any]:
    totals = view.totals
    found: dict[str, Any] = {
        **_session_json(view.session, _main_model(view)),
        "enforcement": "hooks" if view.enforced else "none",
        "total_cost": json_number(totals.total_nanos),
        **output.split_json(totals.total_nanos, view.split.within(totals.total_nanos)),
        "calls_made": totals.calls_made,
        "halts": totals.halts,
        "exactness_state": totals.exactness,
        "savings_confidence": totals.confidence,
        "usage_basis": totals.basis.value,
        "pending_exact_calls": totals.pending_exact_calls,
        "last_reconciled_at": iso(totals.last_reconciled_us),
        "mode_coverage": totals.coverage,
        "budgets": [budget_json(*each) for each in zip(view.budgets, view.splits, strict=True)],
        "limit_changes": [each.stated() for each in view.limit_changes],
        "loops": [each.stated() for each in view.loops],
        "anomalies": [each.stated() for each in view.anomalies],
        "by_model": _shares_json(view.by_model),
        "by_tool": _shares_json(view.by_tool),
        "by_actor": _shares_json(view.by_actor),
        "decisions": [
            {"action": action.value, "reason": reason.value, "count": count} for action, reason, count in view.decisions
        ],
        "children": view.children,
        "client_sessions": [
            {"client": client_name(client), "client_session": theirs} for client, theirs in view.client_sessions
        ],
        "observed": None if view.observed is None else _observed_json(view.observed),
        "drift": [
            {
                "cause": str(cause.kind),
                "responses": cause.responses,
                "amount": None if cause.nanos is None else json_number(cause.nanos),
                "text": cause.text,
            }
            for cause in view.drift
        ],
    }
    if calls:
        found["calls"] = [_call_json(call, view) for call in view.calls]
        found["responses"] = [_response_json(each) for each in view.responses]
    return found


def _observed_json(observed: ObservedSummary) -> dict[str, Any]:
    return {
        "responses": observed.responses,
        "cost": json_number(observed.nanos),
        "outside_calls_cost": json_number(observed.outside_nanos),
        "incomplete_responses": observed.incomplete,
        "estimated_cost": json_number(observed.estimated_nanos),
        "tokens": _tokens_json(observed.tokens),
    }


def _tokens_json(tokens: Tokens) -> dict[str, int]:
    return {
        "fresh_input": tokens.fresh_input,
        "cache_read": tokens.cache_read,
        "cache_write_5m": tokens.cache_write_5m,
        "cache_write_1h": tokens.cache_write_1h,
        "output": tokens.output,
    }


def _shares_json(shares: list[SpendShare]) -> list[dict[str, Any]]:
    return [
        {"name": share.label, "calls": share.calls, "cost": json_number(share.nanos)}
        | ({"responses": share.responses} if share.responses else {})
        for share in shares
    ]


def _call_cost(call: Call, view: SessionView) -> int:
    """What a call cost: by its responses where its client's record is read, else what was booked."""
    return view.nanos_by_call.get(call.call_id, call.counted_nanos)


def _call_json(call: Call, view: SessionView) -> dict[str, Any]:
    actual = call.actual
    return {
        "call_id": call.call_id,
        "at": iso(call.at_us),
        "tool_name": call.tool_name,
        "action": call.action.value,
        "reason": call.reason.value,
        "state": call.state.value,
        "exactness_state": lifecycle.of_call(call, view.session.accounting_mode).value,
        "usage_basis": lifecycle.basis_of_call(call, is_observed=call.call_id in view.nanos_by_call).value,
        "model_requested": call.model_requested,
        "model_target": call.model_target,
        "model_used": view.models_by_call.get(call.call_id, call.model_used),
        "estimate": json_number(call.estimate_nanos),
        "cost": json_number(_call_cost(call, view)),
        "cost_basis": call.cost_basis,
        "prompt_tokens": call.prompt_tokens,
        "completion_tokens": call.completion_tokens,
        "actual_tokens": None if actual is None else _tokens_json(actual),
        "actor_type": call.actor_type.value,
        "actor_id": call.actor_id,
        "actor_name": call.actor_name,
        "void_reason": call.void_reason,
    }


def _response_json(stored: StoredUsage) -> dict[str, Any]:
    return {
        "response": stored.row.response_key,
        "call_id": stored.call_id,
        "at": iso(microseconds(stored.row.at)),
        "client": client_name(stored.row.client),
        "model": stored.row.model,
        "cost": json_number(stored.cost_nanos),
        "tokens": _tokens_json(stored.row.tokens),
        "corrected": stored.corrected,
        "odd": list(stored.row.odd),
    }


def _main_model(view: SessionView) -> str:
    """The model a session was opened with; where nobody said, the one that most was spent on."""
    named = [share.label for share in view.by_model if share.label]
    return named[0] if view.session.model == UNKNOWN_MODEL and named else view.session.model


_COUNTED = {
    SessionExactness.ALL_ESTIMATE_ONLY: "nothing yet: all of it is estimated",
    SessionExactness.PARTIAL_EXACT: "in part: the rest is estimated, or said by the agent itself",
    SessionExactness.FULLY_EXACT: "all of it",
    SessionExactness.DEGRADED: "less than it should be: some calls will never be counted",
}


def _counted(view: SessionView) -> str:
    """How much of a total is actual usage, in words; programs have `exactness_state`."""
    pending = view.totals.pending_exact_calls
    waits = f"; {plural(pending, 'call')} still to be counted" if pending else ""
    return _COUNTED[SessionExactness(view.totals.stated)] + waits


# What ended a session, in words; programs have `end_cause`. A client says of itself why it ends one.
_ENDED = {
    "run_end": "by its agent",
    "user": "by you",
    "client_ended": "by its client",
    "client_gone": "when its client had left",
    "abandoned": "when nobody was at work in it any more",
}


def _ended(session: Session, time_zone: str) -> str:
    cause, _, why = (session.end_cause or "").partition(":")
    words = _ENDED.get(cause, f"by {session.end_cause}") + (f" ({why})" if why and cause in _ENDED else "")
    return f", ended {output.when(session.ended_us, time_zone)} {words}" if session.ended_us else ""


def _show(view: SessionView, time_zone: str, *, calls: bool) -> None:
    session, totals, unit = view.session, view.totals, "USD"  # whatever the budgets are in, costs are in dollars
    total = output.split_amount(totals.total_nanos, view.split.within(totals.total_nanos))
    started = f"{output.when(session.started_us, time_zone)} {output.zone_at(session.started_us, time_zone)}"
    pairs = [
        ("session", session.session_id),
        ("state", f"{session.state}, started {started}{_ended(session, time_zone)}"),
        ("client", f"{_clients(session)}, model {output.safe(_main_model(view))}"),
        ("total", f"{total} in {plural(totals.calls_made, 'call')}"),
        ("enforcement", "hooks of the client" if view.enforced else "not enforced: only an agent that asks is gated"),
        ("counted", _counted(view)),
        ("told by", TOLD_BY[totals.basis]),
        ("run log", output.safe(session.run_log, 1000)),
    ]
    optional = (
        ("task", session.task_summary),
        ("outcome", session.end_summary),
        ("parent", session.parent_session_id),
        ("children", ", ".join(view.children) or None),
        ("client's id", ", ".join(theirs for _, theirs in view.client_sessions) or None),
    )
    output.facts([*pairs, *((name, value) for name, value in optional if value is not None)])
    output.heading("Budgets")
    budget_table(view.budgets, view.splits, time_zone)
    say_changes(view.limit_changes, time_zone)
    if view.over is not None:
        click.echo(view.over.told[0].upper() + view.over.told[1:])
    if view.loops:
        output.heading("Loops")
        say_loops(view.loops, time_zone)
    for title, shares in (("MODEL", view.by_model), ("TOOL", view.by_tool), ("AGENT", view.by_actor)):
        if shares:
            click.echo()
            output.table(
                output.amounts("COST", adding_up([share.nanos for share in shares], totals.total_nanos)),
                output.numbers("CALLS", [share.calls for share in shares]),
                *([output.numbers("RESPONSES", [share.responses for share in shares])] if view.observed else []),
                output.names(title, [share.label for share in shares]),
            )
    if view.decisions:
        over = {call.call_id for call in over_limit(view.calls)}
        became = Counter(decided(each.action, each.reason, over=each.call_id in over) for each in view.calls)
        output.heading("Decisions")
        output.table(
            output.numbers("COUNT", [*became.values()]),
            output.words("WHAT BECAME OF A STEP", [*became]),
        )
    if view.anomalies:
        output.heading("Odd in what the agent reported")
        output.table(
            output.words("CALL", [output.short_id(each.call_id) for each in view.anomalies]),
            output.words("WHAT", [output.safe(ODD_REPORTS.get(each.kind, each.kind)) for each in view.anomalies]),
            output.prose("TOLD", [each.told for each in view.anomalies]),
        )
    if view.observed is not None:
        _show_observed(view.observed, view.drift)
    if calls and view.calls:
        output.heading("Calls")
        _call_table(view, unit, time_zone)
    if calls and view.responses:
        output.heading("Responses, as `tallygate usage correct` takes them")
        _response_table(view, unit, time_zone)


def _show_observed(observed: ObservedSummary, drift: list[Cause]) -> None:
    tokens = observed.tokens
    written = tokens.cache_write_5m + tokens.cache_write_1h
    inside = f"{tokens.fresh_input:,} fresh, {tokens.cache_read:,} from cache, {written:,} into cache"
    output.heading("Used, by the client's own record")
    cost, estimated = format_amount(observed.nanos), format_amount(observed.estimated_nanos)
    output.facts(
        [
            ("cost", f"{cost} in {plural(observed.responses, 'response')}, {estimated} were estimated"),
            ("tokens", f"{inside}, {tokens.output:,} out"),
            ("outside", f"{format_amount(observed.outside_nanos)} outside of calls"),
            ("incomplete", f"{plural(observed.incomplete, 'response')} without a final count"),
        ]
    )
    if drift:
        output.heading("Why it is not what was estimated")
        output.table(
            output.money("AMOUNT", [(cause.nanos, "USD") for cause in drift]),
            output.words("CAUSE", [str(cause.kind) for cause in drift]),
            output.prose("WHAT HAPPENED", [cause.text for cause in drift]),
        )


_CALL_STATES = {
    CallState.DENIED: "refused",
    CallState.PENDING: "reserved",
    CallState.RECONCILED: "counted",
    CallState.VOIDED: "taken back",
    CallState.EXPIRED: "never reported",
}


def _call_table(view: SessionView, unit: str, time_zone: str) -> None:
    calls = view.calls
    answered = [view.models_by_call.get(call.call_id, call.model_used or call.model_requested) for call in calls]
    became = [decided(call.action, call.reason, over=bool(over_limit([call]))) for call in calls]
    output.table(
        output.words(
            output.zoned("AT", [call.at_us for call in calls], time_zone),
            [output.when(call.at_us, time_zone)[-5:] for call in calls],
        ),
        output.names("TOOL", [call.tool_name for call in calls], 12),
        output.words("STATE", [_CALL_STATES[call.state] for call in calls]),
        output.money("ESTIMATE", [(call.estimate_nanos, unit) for call in calls]),
        output.money("COST", [(_call_cost(call, view) if call.cost_basis != "none" else None, unit) for call in calls]),
        output.names("MODEL", answered),
        output.going(1, output.prose("WHAT BECAME OF IT", became, 17)),
    )


def _response_table(view: SessionView, unit: str, time_zone: str) -> None:
    rows = [each.row for each in view.responses]
    moments = [microseconds(row.at) for row in rows]
    # What was guessed of a response, or was no plain number; most sessions have nothing of the kind.
    odd = [" ".join(row.odd) for row in rows]
    output.table(
        output.words(output.zoned("AT", moments, time_zone), [output.when(at, time_zone)[-5:] for at in moments]),
        output.money("COST", [(each.cost_nanos, unit) for each in view.responses]),
        *([output.going(3, output.words("ODD", odd))] if any(odd) else []),
        output.going(2, output.numbers("OUTPUT", [row.tokens.output for row in rows])),
        output.going(1, output.names("MODEL", [row.model for row in rows])),
        # A cut one names nothing.
        output.Column("RESPONSE", [output.safe(row.response_key, 1000) for row in rows], whole=True),
    )
