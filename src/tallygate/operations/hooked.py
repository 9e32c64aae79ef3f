"""Answer a client's hook: open and end sessions by themselves, gate what comes next, keep the gate on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from tallygate.core.errors import KeyUnusable, LedgerUnavailable, present
from tallygate.core.gate import policy
from tallygate.core.gate.answers import GateAnswer
from tallygate.core.gate.wording import amounts_of, fault_message, held_next, left_of
from tallygate.core.guard.fence import reaches
from tallygate.core.hooks import (
    GATED,
    HookAnswer,
    HookEvent,
    Moment,
    Verdict,
    ends_run,
    faults_told_at_end,
    foreign_text,
    held_s,
    holds_next,
    lands_first,
    told_at_end,
)
from tallygate.core.model import Budget
from tallygate.core.money import format_amount, told_apart
from tallygate.core.sessions import stopped_by
from tallygate.core.words import Action, BudgetMode, Pressure, Reason
from tallygate.operations.attest import issue_missing
from tallygate.operations.budgets.applicable import budgets_now
from tallygate.operations.budgets.declared import looser_than_before
from tallygate.operations.gate.authorize import fault_answer
from tallygate.operations.gate.hook_step import Gated, gate_step, let_land
from tallygate.operations.lock_book import lost_text
from tallygate.operations.prompted import Prompts, answer_raise
from tallygate.operations.runtime import Runtime
from tallygate.operations.sessions.ending import end_account
from tallygate.operations.sessions.opening import Account, account_of, open_session_of

GO_ON = HookAnswer()
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
OWNERS_MAX = 1000
# Steps of a session that are looked through for one that stopped it.
LOOKED_BACK_AT = 500
_RISING = (Pressure.LOW, Pressure.MODERATE, Pressure.HIGH, Pressure.CRITICAL)


def on_hook(rt: Runtime, event: HookEvent, prompts: Prompts | None = None) -> HookAnswer:
    """Answer one firing of a client's hook.

    Whoever calls this stops the client on STOP. A ledger that cannot be used stops what is gated, unless the
    policy fails open; it never stops what only tells that something happened.
    """
    prompts = Prompts() if prompts is None else prompts
    rt = replace(rt, by=f"hook:{event.client}")
    rt.follow(event.client, None if event.transcript is None else Path(event.transcript), event.client_session)
    rt.catch_up()
    _remember(rt, event)
    prompts.notice(event)
    try:
        answered = _answered(rt, event, prompts)
        prompts.works(event)
        if event.moment is Moment.TOOL and not answered.stops:
            answered = _kept_off(rt, event) or answered
        if answered.stops and event.moment is Moment.TOOL:
            prompts.refused(event)
        return answered
    except LedgerUnavailable as fault:
        if event.moment not in GATED:
            return _told_of(rt, event, fault)
        answer = fault_answer(fault, halts=rt.halt_on_fault)
        if answer.action is not Action.HALT:
            return HookAnswer(message=f"Tallygate: {answer.message}")
        again = prompts.faulted(event)
        # A run that is stopped for this looks no less like success; Copilot's turn is left to what it can be asked.
        ends = rt.interrupts and (again or event.client != "copilot") and _ends(event, again=again)
        held = held_s(event, again=again, goes_on=False) if ends else 0
        return HookAnswer(Verdict.STOP, f"Tallygate: {answer.message}", ends, again=again, held_s=held)


def _told_of(rt: Runtime, event: HookEvent, fault: LedgerUnavailable) -> HookAnswer:
    """What is said of a fault where nothing is gated; at a session's end also to who reads its run's stderr.

    Whether this run was stopped stands nowhere then. Where it was, that was for the same fault, and is said already
    unless nobody read it.
    """
    told = HookAnswer(message=f"Tallygate: {fault}")
    if event.moment is not Moment.SESSION_END or not rt.halt_on_fault or not faults_told_at_end(event.client):
        return told
    return replace(told, parting=f"Tallygate: {fault_message(fault.message, fault.hint)}", ends=rt.interrupts)


def _ends(event: HookEvent, *, again: bool) -> bool:
    return ends_run(event.client, event.moment, again=again, subagent=event.agent_id is not None)


def _kept_off(rt: Runtime, event: HookEvent) -> HookAnswer | None:
    """The refusal of a tool that would change what the gate stands on; its client goes on without it."""
    if event.reach is None or (found := reaches(event.reach, rt.guarded(), event.folder)) is None:
        return None
    if found.command:
        text = f"{found.what} is the user's alone: it is run in a terminal outside the agent."
    elif found.clock:
        what = f"{found.what} would set the system's clock, by which budgets are renewed."
        text = f"{what} It is set in a terminal outside the agent."
    elif found.client:
        what = f"{found.what} would start a client without Tallygate's hooks, and nothing it spends would be gated."
        text = f"{what} Start it without that; with it, it is the user's, in a terminal outside the agent."
    else:
        way = "Reading it is free; changing it is the user's, in a terminal outside the agent."
        text = f"this tool would change {found.what} of Tallygate. {way}"
    return HookAnswer(Verdict.STOP, f"Tallygate: {text}", tool_only=True)


def _remember(rt: Runtime, event: HookEvent) -> None:
    """Keep whose tool call an id is, so that a call of our own tools is known by it."""
    if event.moment is not Moment.TOOL:
        return
    for tool_use_id in event.tool_use_ids:
        _keep(rt.tool_owners, tool_use_id, (event.client, event.client_session))


def _keep(kept: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    """Remember one thing more, and not too many."""
    while len(kept) >= OWNERS_MAX and key not in kept:
        kept.pop(next(iter(kept)))
    kept[key] = value


def _answered(rt: Runtime, event: HookEvent, prompts: Prompts) -> HookAnswer:
    if event.raising is not None:
        return answer_raise(rt, prompts, event, event.raising)
    if event.moment is Moment.PROMPT and rt.halt_on_fault and (why := rt.stand_in(event)) is not None:
        # The hooks of tools would be answered by that server: this is the last moment that is ours.
        return HookAnswer(Verdict.STOP, f"Tallygate: {why}")
    if event.moment is Moment.SESSION_START:
        said = _welcome(rt, account_of(rt, event), event.foreign)
        return HookAnswer(message=" ".join(filter(None, (said, rt.stand_in(event)))))
    if event.moment in GATED:
        account = account_of(rt, event)
        answer = _gated(rt, event, gate_step(rt, event, account.session))
        if event.moment is Moment.COMPACTION and not answer.stops:
            _keep(rt.compactions, (account.session.session_id, event.agent_id), rt.clock_us())
        return answer
    if event.moment is Moment.SESSION_END:
        return _end(rt, event)
    if event.moment is Moment.SETTINGS_CHANGE and (why := rt.weakens(event)) is not None:
        return HookAnswer(Verdict.STOP, f"Tallygate keeps its hooks on in this session: {why}")
    return GO_ON


def _end(rt: Runtime, event: HookEvent) -> HookAnswer:
    """End the session of a client, and say why it was stopped where that is not said yet."""
    if (session := open_session_of(rt, event.client, event.client_session)) is not None:
        let_land(rt, event, session.session_id, None)  # what lands later counts, but is not in the run-log line
    ended = end_account(rt, event)
    if not ended and faults_told_at_end(event.client):
        rt.ledger.prove(rt.tenant)  # a run that was stopped for a lock has no session, and what is locked can be read
    parting, said = _parting(rt, event)
    return replace(_signed(rt, ended), parting=parting, ends=said)


def _signed(rt: Runtime, ended: list[str]) -> HookAnswer:
    """Sign what sessions came to that have just ended; what cannot be signed now waits."""
    try:
        for session_id in ended:
            issue_missing(rt, session_id=session_id)
    except KeyUnusable as error:
        return HookAnswer(message=f"Tallygate: nothing is signed yet: {error}")
    return GO_ON


def _gated(rt: Runtime, event: HookEvent, gated: Gated) -> HookAnswer:
    answer = gated.answer
    if answer.action is Action.HALT:
        acts = rt.interrupts and gated.hard
        ends = acts and (gated.goes_on or _ends(event, again=gated.again))
        waits = ends and lands_first(event.client) and not all_landed(rt, event)
        message = answer.message or ""
        if acts and not ends and holds_next(event):
            message = held_next(message, answer.command)
        told = HookAnswer(Verdict.STOP, f"Tallygate: {message}", ends, again=gated.again)
        held = held_s(event, again=gated.again, goes_on=gated.goes_on) if ends else 0
        return replace(told, unconfirmed=gated.unconfirmed, waits=waits, held_s=held)
    if gated.before is None or _RISING.index(answer.pressure) <= _RISING.index(gated.before):
        return GO_ON
    left = "" if answer.remaining_nanos is None else f" {format_amount(answer.remaining_nanos)} is left."
    switch = f" Switching to {answer.target_model} pays." if answer.target_model else ""
    return HookAnswer(message=f"Tallygate: the budget is under {answer.pressure.value} pressure.{left}{switch}")


def all_landed(rt: Runtime, event: HookEvent) -> bool:
    """Whether every response of an event's session is written down, after a moment for those that are about to be."""
    session = open_session_of(rt, event.client, event.client_session)
    return session is None or let_land(rt, event, session.session_id, None)


def _parting(rt: Runtime, event: HookEvent) -> tuple[str | None, bool]:
    """Why a client's session was stopped, and whether its run was ended for it, which says so at once."""
    if not told_at_end(event.client, None):
        return None, False
    with rt.ledger.reading(rt.tenant) as reader:
        linked = reader.sessions_linked(event.client, event.client_session)
        calls = reader.recent_calls(linked[-1].session_id, 2**62, LOOKED_BACK_AT) if linked else []
    stopping = stopped_by(reversed(calls))
    if stopping is None or stopping.reply is None or not told_at_end(event.client, stopping.tool_name):
        return None, False
    answer = GateAnswer.from_json(stopping.reply)
    said = rt.interrupts and stopping.actor_id is None and answer.reason is Reason.BUDGET_EXCEEDED
    return f"Tallygate: {answer.message}", said


def _welcome(rt: Runtime, account: Account, foreign: tuple[str, ...]) -> str:
    with rt.ledger.reading(rt.tenant) as reader:
        budgets = budgets_now(rt, reader, account.session, rt.clock_us())
        lost = lost_text(rt, reader)
    stops, warns = _tightest(budgets)
    text = f"Tallygate: {left_of(stops, account.session)}. Each step is checked by hooks."
    if warns is not None:
        text += f" A soft budget, which only warns, has {left_of(warns, account.session)}."
    elif stops.mode is BudgetMode.SOFT:
        text += " This budget is soft: it only warns."
    looser = looser_than_before(rt, account.session) if account.opened and account.continues is None else None
    changed = [] if looser is None else [f"Looser settings than in the last session here: {looser.text}."]
    changed += [] if lost is None else [lost]
    return " ".join([text, *changed, *rt.told_at_start, foreign_text((*rt.foreign, *foreign))]).rstrip()


def left_text(rt: Runtime, client: str, client_session: str) -> str | None:
    """What is left for a client's session, in a few words; None where no budget is known for it."""
    session = open_session_of(rt, client, client_session)
    if session is None:
        return None
    with rt.ledger.reading(rt.tenant) as reader:
        tightest, _ = _tightest(budgets_now(rt, reader, session, rt.clock_us()))
    spent = told_apart(amounts_of(tightest), tightest.unit)[1]
    return f"tallygate: {spent} spent, {left_of(tightest, session, brief=True)}"


def _tightest(budgets: tuple[Budget, ...]) -> tuple[Budget, Budget | None]:
    """The budget that will stop the work, of soft ones alone the tightest; and a soft one that is tighter than it."""
    found = present(policy.tightest(budgets), "a session has a budget")
    hard = policy.tightest([budget for budget in budgets if budget.mode is BudgetMode.HARD])
    return (found, None) if hard is None or hard is found else (hard, found)
