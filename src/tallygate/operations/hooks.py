"""One firing of a client's hook, to its answer."""

from __future__ import annotations

import hmac
from dataclasses import field, replace
from pathlib import Path
from typing import TypeVar

from tallygate.core.authority import Authority, EntryDoor
from tallygate.core.errors import KeyUnusable, LedgerUnavailable, TallygateError, present
from tallygate.core.gate import policy
from tallygate.core.gate.answers import GateAnswer
from tallygate.core.gate.rules import NAMED, BudgetScope
from tallygate.core.gate.wording import (
    fault_message,
    held_next,
    left_of,
    never_began,
    off_told,
    plan_told,
    standing_of,
)
from tallygate.core.guard.fence import reaches
from tallygate.core.hooks import (
    GATED,
    NOBODYS,
    HookAnswer,
    HookEvent,
    HookVerdict,
    Moment,
    foreign_text,
)
from tallygate.core.loops import LoopMode
from tallygate.core.model import NO_REASON, Budget, Session
from tallygate.core.moments import MINUTE_US
from tallygate.core.money import format_amount
from tallygate.core.sessions import stopped_by
from tallygate.core.turns import is_worth_saying, turn_told
from tallygate.core.typed import typed_amount
from tallygate.core.values import value
from tallygate.core.words import Action, BudgetMode, Pressure, Reason
from tallygate.ledger.port import Reader
from tallygate.operations import loops
from tallygate.operations.budgets import change
from tallygate.operations.budgets.applicable import budgets_now
from tallygate.operations.budgets.figures import has_begun_work, let_through_over
from tallygate.operations.budgets.of_settings import looser_than_before
from tallygate.operations.gate.authorize import fault_answer
from tallygate.operations.gate.hook_step import StepAnswer, gate_step, look_ahead, wait_for_responses
from tallygate.operations.lock_book import lock_news, off_now
from tallygate.operations.plan import plan_now
from tallygate.operations.proof.attest import issue_missing
from tallygate.operations.runtime import Runtime
from tallygate.operations.sessions.ending import end_account
from tallygate.operations.sessions.opening import ClientBudget, innermost_open, open_session_of, session_for_client
from tallygate.operations.turns import limit_in_dollars, next_turn_of
from tallygate.operations.windows import history_is_read

# --- raising at the prompt -------------------------------------------------------------------------------------------
# Raise a budget by a line that the user types as a prompt: shown a code first, which the model never sees.
#
# The prompt hook takes `tallygate raise 2` before the client asks its model anything, and stops it with a code; the
# same line with the code raises. A model can write no prompt of its own session. What it could do is run the hook
# program in a tool, or start a client in a client: neither gets a code. It is a fence against a model, not against a
# program.


CODE_LASTS_US = 2 * MINUTE_US
WRONG_MAX, CLOSED_US = 3, 60 * MINUTE_US
CODE_BYTES = 4
# Client's sessions whose codes and open tools are kept; a server has few.
KEPT_MAX = 1000
RESPONSES_LOOKED_AT = 200

Owner = tuple[str, str]


@value(frozen=True, slots=True)
class ShownCode:
    """A code that waits for its answer, and what it was shown for."""

    code: str
    usd_nanos: int
    seen: tuple[str, int]
    until_us: int


@value(slots=True)
class Prompts:
    """What one server remembers of prompts that raise: in memory alone, where no file tells a code."""

    shown: dict[Owner, ShownCode] = field(default_factory=dict)
    wrong: dict[Owner, list[int]] = field(default_factory=dict)
    tools: dict[Owner, set[str]] = field(default_factory=dict)
    faults: dict[Owner, str | None] = field(default_factory=dict)
    answers: list[tuple[str, str | None]] = field(default_factory=list)

    def notice(self, event: HookEvent) -> None:
        """Keep which tools of a session are at work, by what its hooks tell."""
        owner = (event.client, event.client_session)
        if event.moment is Moment.TOOL:
            while len(self.tools) >= KEPT_MAX:
                self.tools.pop(next(iter(self.tools)))
            self.tools.setdefault(owner, set()).update(event.tool_use_ids or ("?",))
        elif event.moment is Moment.TOOL_DONE:
            self.tools.get(owner, set()).difference_update(event.tool_use_ids)
        elif event.moment is Moment.FORM_ANSWERED:
            self.heard(event)
        elif event.moment in _TOOLS_ARE_THROUGH and event.agent_id is None and event.raising is None:
            self.tools.pop(owner, None)

    def asked(self) -> None:
        """A form is put: what was answered before is not its answer."""
        self.answers = []

    def heard(self, event: HookEvent) -> None:
        """Keep what a person did with a form, where it is the client itself that tells it and nothing else is at work.

        The tool that has put the form is at work; one beside it might be what feeds the hook.
        """
        others = len(self.tools.get((event.client, event.client_session), ())) > 1
        if event.answered is not None and event.near and not event.inside and not others:
            self.answers = [*self.answers[-KEPT_MAX:], event.answered]

    def said_yes(self, amount: str | None) -> bool:
        """Whether a person was seen to accept the form with this amount, and nothing else was seen since it was put."""
        seen, self.answers = self.answers, []
        return seen == [("accept", amount)]

    def works(self, event: HookEvent) -> None:
        """Forget faults of a session whose ledger can be used again."""
        if self.faults and event.moment in GATED:
            self.faults.pop((event.client, event.client_session), None)

    def faulted(self, event: HookEvent) -> bool:
        """Whether a tool of this turn was stopped for a fault before: a ledger that is gone keeps no such row."""
        owner = (event.client, event.client_session)
        if event.moment is not Moment.TOOL:
            self.faults.pop(owner, None)
            return False
        again = owner in self.faults and not (event.key_of_response and self.faults[owner] == event.key)
        while owner not in self.faults and len(self.faults) >= KEPT_MAX:
            self.faults.pop(next(iter(self.faults)))
        self.faults.setdefault(owner, event.key)
        return again

    def refused(self, event: HookEvent) -> None:
        """A tool that was refused is not at work."""
        self.tools.get((event.client, event.client_session), set()).difference_update(event.tool_use_ids or ("?",))


_TOOLS_ARE_THROUGH = {Moment.TOOLS_DONE, Moment.TURN_END, Moment.MODEL, Moment.PROMPT, Moment.SESSION_END}


def answer_raise(rt: Runtime, prompts: Prompts, event: HookEvent, wish: tuple[str, str | None]) -> HookAnswer:
    """Show a code for an amount, or raise by it. The prompt is stopped in any case: the model never sees it."""
    text, code = wish
    owner = (event.client, event.client_session)
    if not text:
        return _said("Say by how much, in US dollars: tallygate raise 2")
    try:
        usd_nanos = typed_amount("amount", text)
        session_id = session_for_client(rt, event).session.session_id
        found = change.request_of(rt, session_id, usd_nanos, NO_REASON)
        if (why := _closed(rt, prompts, event, owner)) is not None:
            prompts.shown.pop(owner, None)
            return _said(f"{why} To raise it, run in a terminal of your own: {found.command}")
        if code is None:
            return _said(_show(rt, prompts, owner, usd_nanos, found))
        return _said(_take(rt, prompts, owner, (usd_nanos, code), session_id))
    except TallygateError as error:
        return _said(str(error))


def _closed(rt: Runtime, prompts: Prompts, event: HookEvent, owner: Owner) -> str | None:
    """Why no code is given or taken here; None where a person is at the client's own prompt."""
    if event.agent_id is not None or not event.near or event.inside:
        return "A budget is raised at the prompt of a client that you started yourself, while its server runs."
    if _at_work(rt, event, prompts.tools.get(owner, set())):
        return "A tool of this session is still at work: raise when it is through."
    prompts.wrong[owner] = [at for at in prompts.wrong.get(owner, []) if at > rt.services.clock_us() - CLOSED_US]
    if len(prompts.wrong[owner]) >= WRONG_MAX:
        return f"{WRONG_MAX} codes were wrong: this way is closed for an hour."
    return None


def _at_work(rt: Runtime, event: HookEvent, begun: set[str]) -> bool:
    """Whether a tool that has begun may still run, where nothing told its end.

    An agent asks its model again when the tools of a response are through, so a later response of the same agent says
    that they are; a turn that was broken off says nothing else.
    """
    if not begun:
        return False
    with rt.reading() as reader:
        recent = reader.recent_usage(event.client, event.client_session, RESPONSES_LOOKED_AT)
    through: set[str] = set()
    later: set[str | None] = set()
    for stored in recent:  # the newest first
        if stored.row.agent_id in later:
            through.update(stored.row.tool_use_ids)
        if stored.row.tool_use_ids:  # a title or a summary may be made beside a tool
            later.add(stored.row.agent_id)
    return not begun <= through


def _show(rt: Runtime, prompts: Prompts, owner: Owner, usd_nanos: int, found: change.Request) -> str:
    code = rt.services.new_token(CODE_BYTES)
    while len(prompts.shown) >= KEPT_MAX:
        prompts.shown.pop(next(iter(prompts.shown)))
    seen = (found.budget.name, found.budget.limit)
    prompts.shown[owner] = ShownCode(code, usd_nanos, seen, rt.services.clock_us() + CODE_LASTS_US)
    amount = format_amount(usd_nanos)
    return (
        f"{standing_of(found.budget)} To raise its limit by {amount}, type within two minutes: "
        f"tallygate raise {amount.lstrip('$').replace(',', '')} {code}"
    )


def _take(rt: Runtime, prompts: Prompts, owner: Owner, wanted: tuple[int, str], session_id: str) -> str:
    """Raise where code, session, amount and time are those of the code that was shown; it is gone in any case."""
    usd_nanos, code = wanted
    shown = prompts.shown.pop(owner, None)
    fits = shown is not None and shown.usd_nanos == usd_nanos and rt.services.clock_us() <= shown.until_us
    if shown is None or not fits or not hmac.compare_digest(shown.code.encode(), code.lower().encode()):
        prompts.wrong.setdefault(owner, []).append(rt.services.clock_us())
        return (
            "That is not the code that was shown for this amount within two minutes; nothing was changed. "
            "Type the line without a code for a new one."
        )
    user = Authority(EntryDoor.PROMPT, "user at the prompt")
    changed = change.grant(rt, session_id, shown.seen, usd_nanos, NO_REASON, authority=user)
    return f"{change.granted(shown.seen[1], changed)} Go on with your next prompt."


def _said(text: str) -> HookAnswer:
    return HookAnswer(HookVerdict.STOP, f"Tallygate: {text}")


# --- a firing --------------------------------------------------------------------------------------------------------
# Answer a client's hook: open and end sessions by themselves, gate what comes next, keep the gate on.


GO_ON = HookAnswer()
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
OWNERS_MAX = 1000
# Steps since the last response that are looked through for a prompt that was told of the cold cache.
PROMPTS_LOOKED_AT = 20
# Steps of a session that are looked through for one that stopped it.
LOOKED_BACK_AT = 500
_RISING = (Pressure.LOW, Pressure.MODERATE, Pressure.HIGH, Pressure.CRITICAL)


def answer_hook(rt: Runtime, event: HookEvent, prompts: Prompts | None = None) -> HookAnswer:
    """Answer one firing of a client's hook.

    Whoever calls this stops the client on STOP. A ledger that cannot be used stops what is gated, unless the
    policy fails open; it never stops what only tells that something happened.
    """
    if event.facts is NOBODYS:  # nothing would be reserved for it, and nobody would know
        raise LookupError(f"the hook {event.name} came without what is known of its client")
    prompts = Prompts() if prompts is None else prompts
    rt = replace(rt, by=f"hook:{event.client}", made_for=event.made_for)
    rt.follower.include(
        event.client, None if event.transcript is None else Path(event.transcript), event.client_session
    )
    rt.follower.catch_up()
    if event.moment is Moment.TOOL:
        for tool_use_id in event.tool_use_ids:  # by which a call of our own tools is known to be its session's
            _keep(rt.caches.tool_owners, tool_use_id, (event.client, event.client_session))
    prompts.notice(event)
    try:
        answered = _with_loops(rt, event, _answered(rt, event, prompts))
        prompts.works(event)
        if event.moment is Moment.TOOL and not answered.stops:
            answered = _kept_off(rt, event) or answered
        if answered.stops and event.moment is Moment.TOOL:
            prompts.refused(event)
        return answered
    except LedgerUnavailable as fault:
        if event.moment not in GATED:
            return _told_of(rt, event, fault)
        answer = fault_answer(fault, halts=rt.workspace.halt_on_fault)
        if answer.action is not Action.HALT:
            return HookAnswer(message=f"Tallygate: {answer.message}")
        again = prompts.faulted(event)
        # A run that is stopped for this looks no less like success; some turns are left to what can be asked first.
        ends = rt.workspace.interrupts and (again or event.facts.first_fault_ends) and event.ends_run(again=again)
        held = event.held_s(again=again, goes_on=False) if ends else 0
        return HookAnswer(HookVerdict.STOP, f"Tallygate: {answer.message}", ends, again=again, held_s=held)


def _told_of(rt: Runtime, event: HookEvent, fault: LedgerUnavailable) -> HookAnswer:
    """What is said of a fault where nothing is gated; at a session's end also to who reads its run's stderr.

    Whether this run was stopped stands nowhere then. Where it was, that was for the same fault, and is said already
    unless nobody read it.
    """
    told = HookAnswer(message=f"Tallygate: {fault}")
    if (
        event.moment is not Moment.SESSION_END
        or not rt.workspace.halt_on_fault
        or not event.facts.is_told_of_faults_at_end
    ):
        return told
    return replace(told, parting=f"Tallygate: {fault_message(fault.message, fault.hint)}", ends=rt.workspace.interrupts)


def _with_loops(rt: Runtime, event: HookEvent, answered: HookAnswer) -> HookAnswer:
    """An answer with what is to be said or stopped because an agent goes round in circles."""
    if event.moment is Moment.PROMPT and event.agent_id is None:
        loops.turn_begins(rt, event)
    elif event.moment is Moment.AGENT_END:
        loops.agent_ends(rt, event)
    elif event.moment is Moment.SESSION_END:
        said = loops.session_ends(rt, event)
        if said is not None and answered.parting is None and event.is_told_at_end:
            return replace(answered, parting=said, ends=rt.workspace.interrupts)
    elif event.runs and rt.workspace.loops is not LoopMode.OFF:
        session = open_session_of(rt, event.client, event.client_session)
        if event.moment is Moment.TOOL:
            found = None if answered.stops else loops.before_tool(rt, event, session)
            if found is not None and found.stops:
                return found
            said = None if found is None else found.message
        else:
            said = loops.after_tools(rt, event, session)
        if said is not None:
            return replace(answered, message="\n".join(filter(None, (answered.message, said))))
    return answered


def _kept_off(rt: Runtime, event: HookEvent) -> HookAnswer | None:
    """The refusal of a tool that would change what the gate stands on; its client goes on without it."""
    if event.reach is None or (found := reaches(event.reach, rt.workspace.guarded(), event.folder)) is None:
        return None
    if found.command:
        text = f"{found.what} is the user's alone: it is run in a terminal outside the agent."
    elif found.secret:
        text = f"{found.what} is for the user's browser alone; no tool reads it."
    elif found.clock:
        what = f"{found.what} would set the system's clock, by which budgets are renewed."
        text = f"{what} It is set in a terminal outside the agent."
    elif found.client:
        what = f"{found.what} would start a client without Tallygate's hooks, and nothing it spends would be gated."
        text = f"{what} Start it without that; with it, it is the user's, in a terminal outside the agent."
    else:
        way = "Reading it is free; changing it is the user's, in a terminal outside the agent."
        text = f"this tool would change {found.what} of Tallygate. {way}"
    return HookAnswer(HookVerdict.STOP, f"Tallygate: {text}", tool_only=True)


def _keep(kept: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    """Remember one thing more, and not too many."""
    while len(kept) >= OWNERS_MAX and key not in kept:
        kept.pop(next(iter(kept)))
    kept[key] = value


def _answered(rt: Runtime, event: HookEvent, prompts: Prompts) -> HookAnswer:
    if event.raising is not None:
        return answer_raise(rt, prompts, event, event.raising)
    if (
        event.moment is Moment.PROMPT
        and rt.workspace.halt_on_fault
        and (why := rt.workspace.stand_in(event)) is not None
    ):
        # The hooks of tools would be answered by that server: this is the last moment that is ours.
        return HookAnswer(HookVerdict.STOP, f"Tallygate: {why}")
    if event.moment is Moment.SESSION_START:
        said = _welcome(rt, session_for_client(rt, event), event.foreign)
        return HookAnswer(message=" ".join(filter(None, (said, rt.workspace.stand_in(event)))))
    if event.moment in GATED:
        history_is_read(rt)
        with rt.reading() as reader:  # all that a step turns on, at once
            session = innermost_open(reader, event.client, event.client_session)
            ahead = None if session is None else look_ahead(rt, reader, event, session)
            cold = None if session is None or event.moment is not Moment.PROMPT else _cold(rt, reader, event, session)
        # Not inside the reading: to open a session is to write.
        session = session or session_for_client(rt, event).session
        answer = _gated(rt, event, gate_step(rt, event, session, ahead), session)
        if cold is not None and not answer.stops:
            answer = replace(answer, message="\n".join(filter(None, (answer.message, f"Tallygate: {cold}"))))
        if event.moment is Moment.COMPACTION and not answer.stops:
            _keep(rt.caches.compactions, (session.session_id, event.agent_id), rt.services.clock_us())
        return answer
    if event.moment is Moment.AGENT_END and event.folder and event.agent_id is not None:
        session = open_session_of(rt, event.client, event.client_session)
        if session is not None:
            _keep(rt.caches.agents_ended, (session.session_id, event.agent_id), (rt.services.clock_us(), event.folder))
    if event.moment is Moment.SESSION_END:
        return _end(rt, event)
    if event.moment is Moment.SETTINGS_CHANGE and (why := rt.workspace.weakens(event)) is not None:
        return HookAnswer(HookVerdict.STOP, f"Tallygate keeps its hooks on in this session: {why}")
    return GO_ON


def _cold(rt: Runtime, reader: Reader, event: HookEvent, session: Session) -> str | None:
    """What this prompt rewrites that its provider's cache has lost, where that is worth saying and was not said yet.

    It is said once in a pause: a prompt that was asked about since the cache lost it was told.
    """
    at_us = rt.services.clock_us()
    turn = None if event.agent_id is not None else next_turn_of(rt, reader, session, at_us)
    if turn is None or turn.lost_us is None or not turn.is_cold(at_us):
        return None
    budgets = budgets_now(rt, reader, session, at_us)
    if not is_worth_saying(turn, at_us, limit_in_dollars(budgets), rt.workspace.cold_from_percent):
        return None
    calls = reader.recent_calls(session.session_id, 2**62, PROMPTS_LOOKED_AT)
    if any(call.at_us > turn.lost_us and call.tool_name == event.name for call in calls):
        return None
    told = turn_told(turn, at_us)
    return f"{told[0].upper()}{told[1:]}."


def _end(rt: Runtime, event: HookEvent) -> HookAnswer:
    """End the session of a client, and say why it was stopped where that is not said yet."""
    if (session := open_session_of(rt, event.client, event.client_session)) is not None:
        wait_for_responses(
            rt, event, session.session_id, None
        )  # what lands later counts, but is not in the run-log line
    ended = end_account(rt, event)
    if not ended and event.facts.is_told_of_faults_at_end:
        rt.prove()  # a run that was stopped for a lock has no session, and what is locked can be read
    parting, said = _parting(rt, event)
    return replace(_signed(rt, ended), parting=parting, ends=said, beside=_over_at_end(rt, event))


def _signed(rt: Runtime, ended: list[str]) -> HookAnswer:
    """Sign what sessions came to that have just ended; what cannot be signed now waits."""
    try:
        for session_id in ended:
            issue_missing(rt, session_id=session_id)
    except KeyUnusable as error:
        return HookAnswer(message=f"Tallygate: nothing is signed yet: {error}")
    return GO_ON


def _gated(rt: Runtime, event: HookEvent, gated: StepAnswer, session: Session) -> HookAnswer:
    answer = gated.answer
    if answer.action is Action.HALT:
        # A budget of a server, a skill or a kind of agent stops what is of that, and the work goes on without it.
        narrow = _narrow(event, answer)
        acts = rt.workspace.interrupts and gated.hard and narrow is None
        ends = acts and (gated.goes_on or event.ends_run(again=gated.again))
        waits = ends and event.facts.lands_first and not all_landed(rt, event)
        message = answer.message or ""
        alone = None
        if acts and not ends and event.holds_next:
            alone, message = f"Tallygate: {message}", held_next(message, answer.command)
        told = HookAnswer(
            HookVerdict.STOP, f"Tallygate: {message}", ends, narrow is True, again=gated.again, alone=alone
        )
        held = event.held_s(again=gated.again, goes_on=gated.goes_on) if ends else 0
        anew = ends and event.facts.begins_anew and event.moment is Moment.PROMPT
        last = _never_began(rt, session, answer) if anew else None
        return replace(told, unconfirmed=gated.unconfirmed, waits=waits, held_s=held, last=last)
    if answer.reason is Reason.GATE_OFF:
        return HookAnswer(message=answer.message if event.moment is Moment.PROMPT else None)
    if gated.passed is not None:
        return HookAnswer(message=f"Tallygate: {gated.passed}", beside=f"Tallygate: {gated.passed}")
    if answer.reason is Reason.PLAN_PRESSURE and event.moment is Moment.PROMPT:
        return HookAnswer(message=f"Tallygate: {answer.message}")
    if gated.before is None or _RISING.index(answer.pressure) <= _RISING.index(gated.before):
        return GO_ON
    left = "" if answer.remaining_nanos is None else f" {format_amount(answer.remaining_nanos)} is left."
    switch = f" Switching to {answer.target_model} pays." if answer.target_model else ""
    return HookAnswer(message=f"Tallygate: the budget is under {answer.pressure.value} pressure.{left}{switch}")


def _narrow(event: HookEvent, answer: GateAnswer) -> bool | None:
    """Whether a refusal is of one tool alone; None where a budget refuses that limits all of the work.

    An agent whose own kind has nothing left is stopped as a whole, where its client can do that.
    """
    scope = "" if answer.binding is None else answer.binding.budget_id.partition(":")[0]
    if scope not in NAMED:
        return None
    return event.moment is Moment.TOOL and (scope != BudgetScope.AGENT or event.starts_type is not None)


def _never_began(rt: Runtime, session: Session, answer: GateAnswer) -> str | None:
    """What a run is ended with whose session has asked no model yet; None where there is something to resume."""
    with rt.reading() as reader:
        if has_begun_work(reader, session):
            return None
    own = answer.binding is not None and answer.binding.budget_id == session.session_id
    return f"Tallygate: {never_began(answer.message or '', answer.command, own=own)}"


def all_landed(rt: Runtime, event: HookEvent) -> bool:
    """Whether every response of an event's session is written down, after a moment for those that are about to be."""
    session = open_session_of(rt, event.client, event.client_session)
    return session is None or wait_for_responses(rt, event, session.session_id, None)


def _parting(rt: Runtime, event: HookEvent) -> tuple[str | None, bool]:
    """Why a client's session was stopped, and whether its run was ended for it, which says so at once."""
    if not event.is_told_at_end:
        return None, False
    with rt.reading() as reader:
        linked = reader.sessions_linked(event.client, event.client_session)
        calls = reader.recent_calls(linked[-1].session_id, 2**62, LOOKED_BACK_AT) if linked else []
    stopping = stopped_by(reversed(calls))
    if stopping is None or stopping.reply is None or stopping.tool_name in (event.facts.told_at_end or ()):
        return None, False
    answer = GateAnswer.from_json(stopping.reply)
    said = rt.workspace.interrupts and stopping.actor_id is None and answer.reason is Reason.BUDGET_EXCEEDED
    return f"Tallygate: {answer.message}", said


def _over_at_end(rt: Runtime, event: HookEvent) -> str | None:
    """What a session's end says of a limit that only warned; a client that is told nothing then has no such end."""
    if not event.is_told_at_end:
        return None
    with rt.reading() as reader:
        linked = reader.sessions_linked(event.client, event.client_session)
        over = let_through_over(reader, linked[-1].session_id) if linked else None
    return None if over is None else f"Tallygate: {over.told}"


def _welcome(rt: Runtime, account: ClientBudget, foreign: tuple[str, ...]) -> str:
    with rt.reading() as reader:
        budgets = budgets_now(rt, reader, account.session, rt.services.clock_us())
        news, off = lock_news(rt, reader), off_now(rt, reader)
        plan = plan_now(rt, reader, account.session, rt.services.clock_us())
    stops, warns = _tightest(budgets)
    text = f"Tallygate: {left_of(stops, account.session)}. Each step is checked by hooks."
    if warns is not None:
        text += f" A soft budget, which only warns, has {left_of(warns, account.session)}."
    elif stops.mode is BudgetMode.SOFT:
        text += " This budget is soft: it only warns."
    looser = looser_than_before(rt, account.session) if account.opened and account.continues is None else None
    changed = [] if looser is None else [f"Looser settings than in the last session here: {looser.text}."]
    changed += [] if news is None else [news]
    changed += [] if off is None else [off_told(off, rt.workspace.zone)]
    changed += [plan_told(each, rt.services.clock_us(), rt.workspace.zone) for each in plan if each.warns]
    return " ".join(
        [text, *changed, *rt.workspace.told_at_start, foreign_text((*rt.workspace.foreign, *foreign))]
    ).rstrip()


def _tightest(budgets: tuple[Budget, ...]) -> tuple[Budget, Budget | None]:
    """The budget that will stop the work, of soft ones alone the tightest; and a soft one that is tighter than it."""
    found = present(policy.tightest(budgets), "a session has a budget")
    hard = policy.tightest([budget for budget in budgets if budget.mode is BudgetMode.HARD])
    return (found, None) if hard is None or hard is found else (hard, found)
