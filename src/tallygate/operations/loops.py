"""Loops of an agent, as its hooks tell of its tools: counted while a turn lasts, told once, stopped where that is set.

What a turn has done so far lies in a file of its own beside the ledger, as counts and digests. The ledger hears of it
when something is told or stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count

from tallygate.core import loops
from tallygate.core.authority import Authority, Loosening
from tallygate.core.errors import NotFound
from tallygate.core.hooks import HookAnswer, HookEvent, HookVerdict
from tallygate.core.likeness import ToolRun, asked_of, called, likeness_of, task_of, was_kept_back
from tallygate.core.loops import AgentTurn, Loop, LoopKind, LoopMode, LoopStage, SeenLoop
from tallygate.core.model import Session
from tallygate.core.moments import microseconds
from tallygate.core.text import cleaned
from tallygate.core.values import value
from tallygate.ledger import rows
from tallygate.ledger.port import Insert, SessionReader, Update, Value
from tallygate.operations.runtime import Runtime

RESPONSES_LOOKED_AT = 200
LOOPS_LOOKED_AT = 100
ASKED_MAX = 32
TOOL_MAX = 60
# How far back a loop is looked for that is allowed or said to be none without naming its session.
LATELY_US = 7 * 86_400_000_000
MAIN = ""


@value(frozen=True, slots=True)
class _Fired:
    """A hook's event, and the open session that it belongs to."""

    rt: Runtime
    event: HookEvent
    session: Session


class _Turn:
    """The agents of one client's session in this turn, to be read and changed while nobody else does."""

    def __init__(self, text: str) -> None:
        self._threads = loops.from_text(text)

    def of(self, event: HookEvent, at_us: int) -> AgentTurn:
        return self._threads.get(event.agent_id or MAIN) or AgentTurn(last_us=at_us)

    def keep(self, event: HookEvent, thread: AgentTurn) -> None:
        self._threads[event.agent_id or MAIN] = thread

    def drop(self, agent_id: str) -> None:
        self._threads.pop(agent_id, None)

    @property
    def text(self) -> str:
        return loops.as_text(self._threads)


@contextmanager
def _turn_of(rt: Runtime, event: HookEvent) -> Iterator[_Turn | None]:
    if rt.services.turns is None:
        yield None
        return
    with rt.services.turns.turn(event.client, event.client_session) as kept:
        if kept is None:
            yield None
            return
        turn = _Turn(kept.text)
        yield turn
        kept.text = turn.text


# --- as hooks tell ---------------------------------------------------------------------------------------------------


def turn_begins(rt: Runtime, event: HookEvent) -> None:
    """A person has written a prompt: whatever repeated before it is forgotten, and so is what was stopped."""
    if rt.services.turns is None or rt.workspace.loops is LoopMode.OFF or event.by_machine:
        return
    with rt.services.turns.turn(event.client, event.client_session) as kept:
        if kept is not None:
            kept.text = loops.as_text({MAIN: AgentTurn(last_us=rt.services.clock_us())})


def agent_ends(rt: Runtime, event: HookEvent) -> None:
    """A subagent is through: nothing of it is kept."""
    if rt.workspace.loops is LoopMode.OFF or event.agent_id is None:
        return
    with _turn_of(rt, event) as turn:
        if turn is not None:
            turn.drop(event.agent_id)


def session_ends(rt: Runtime, event: HookEvent) -> str | None:
    """A session is over, and its file with it; why it was stopped, where it was for a loop of its main agent."""
    if rt.services.turns is None:
        return None
    with _turn_of(rt, event) as turn:
        thread = None if turn is None else turn.of(replace(event, agent_id=None), 0)
    rt.services.turns.forget(event.client, event.client_session)
    if thread is None or thread.halted is None or not thread.refused or thread.halted.kind is LoopKind.SPAWN:
        return None
    sentence = loops.told(thread.halted, None, _spent(rt, replace(event, agent_id=None), thread.halted))
    return f"Tallygate: {loops.refusal(sentence)}"


def after_tools(rt: Runtime, event: HookEvent, session: Session | None) -> str | None:
    """Count the tools that are through; what the model is told of them, where something is."""
    key = _key(rt)
    if key is None or not event.runs or session is None:
        return None
    at_us, said = rt.services.clock_us(), []
    with _turn_of(rt, event) as turn:
        if turn is None:
            return None
        thread = turn.of(event, at_us)
        for run in (each for each in event.runs if not was_kept_back(each)):
            like = likeness_of(key, run)
            if {like.asked, run.call_id} & set(thread.asked_for):
                # It was put to a person and has run, so he has let it go on.
                _allowed(rt, session.session_id, thread.kept_us)
                thread = AgentTurn(last_us=at_us)
            elif thread.halted is not None and thread.halted.kind is not LoopKind.SPAWN:
                continue  # begun before it was stopped
            thread, loop = loops.took(thread, like, run.tool, at_us)
            if loop is not None:
                thread, sentence = _told(_Fired(rt, event, session), thread, loop, run)
                said += [] if sentence is None else [sentence]
        turn.keep(event, thread)
    return "\n".join(said) or None


def _told(fired: _Fired, thread: AgentTurn, loop: Loop, run: ToolRun) -> tuple[AgentTurn, str | None]:
    """Write down what repeats; the turn with it, and what the model is told."""
    rt = fired.rt
    mode = rt.workspace.loops
    stops = loop.is_loop and mode is LoopMode.HALT
    stage = LoopStage.STOPPED if stops else LoopStage.REACHED if loop.is_loop else LoopStage.WARNED
    spent_nanos = _spent(rt, fired.event, loop)
    kept_us = _keep(fired, loop, stage, spent_nanos)
    if stops:
        return replace(thread, halted=loop, kept_us=kept_us, refused=0, asked_for=()), None
    sentence = loops.told(loop, called(run), spent_nanos)
    text = loops.reached(sentence) if loop.is_loop else loops.warning(sentence, mode)
    return replace(thread, kept_us=kept_us), f"Tallygate: {text}"


def before_tool(rt: Runtime, event: HookEvent, session: Session | None) -> HookAnswer | None:
    """What is answered to a tool that is about to run, because of a loop; None where it may."""
    key, halts = _key(rt), rt.workspace.loops is LoopMode.HALT
    if key is None or session is None or not event.runs or event.confirms:
        return None
    run = event.runs[0]
    task = task_of(key, run) if event.starts_agent else None
    if task is None and not halts:
        return None  # nothing can be stopped: nothing is looked at
    at_us = rt.services.clock_us()
    with _turn_of(rt, event) as turn:
        if turn is None:
            return None
        thread = turn.of(event, at_us)
        if thread.halted is not None and (not halts or _is_allowed(rt, session, thread)):
            thread = AgentTurn(last_us=at_us)
        said = None
        if task is not None and not event.held:
            thread, loop = loops.spawns(thread, task, task, run.tool)
            if loop is not None:
                thread, said = _told(_Fired(rt, event, session), thread, loop, run)
        answer = None if said is None else HookAnswer(message=said)
        halted = thread.halted
        if halted is not None and (halted.kind is not LoopKind.SPAWN or halted.asked == task):
            live = asked_of(key, run)
            answer = _refused(_Fired(rt, event, session), thread, halted, run, is_same=live == halted.asked)
            asked = run.call_id or live
            thread = replace(thread, refused=thread.refused + 1, asked_for=(*thread.asked_for, asked)[-ASKED_MAX:])
        turn.keep(event, thread)
    return answer


def _refused(fired: _Fired, thread: AgentTurn, loop: Loop, run: ToolRun, *, is_same: bool) -> HookAnswer:
    """The refusal of a tool, with the question where its client can put one to a person."""
    rt, event = fired.rt, fired.event
    sentence = loops.told(loop, called(run) if is_same else None, _spent(rt, event, loop))
    again, narrow = thread.refused > 0 or event.held, loop.kind is LoopKind.SPAWN
    ends = rt.workspace.interrupts and not narrow and event.ends_run(again=again)
    return HookAnswer(
        HookVerdict.STOP,
        f"Tallygate: {loops.refusal(sentence)}",
        ends,
        narrow,
        unconfirmed=True,
        again=again,
        held_s=event.held_s(again=again, goes_on=False) if ends else 0,
        asks=f"Tallygate: {loops.question(sentence)}",
    )


def _key(rt: Runtime) -> bytes | None:
    if rt.services.turns is None or rt.workspace.loops is LoopMode.OFF:
        return None
    return rt.services.turns.key()


def _spent(rt: Runtime, event: HookEvent, loop: Loop) -> int | None:
    """What was spent while it went on, by the agent's own responses; of subagents on one task by all of them."""
    with rt.reading() as reader:
        found = reader.recent_usage(event.client, event.client_session, RESPONSES_LOOKED_AT)
        if event.agent_id is not None:  # some clients keep a subagent as a session of its own
            found = [*found, *reader.recent_usage(event.client, event.agent_id, RESPONSES_LOOKED_AT)]
    costs = [
        stored.cost_nanos
        for stored in found
        if microseconds(stored.row.at) > loop.since_us
        and (loop.kind is LoopKind.SPAWN or event.agent_id in (stored.row.agent_id, stored.row.session))
    ]
    return sum(costs) if costs else None


# --- as the ledger keeps it ------------------------------------------------------------------------------------------


def _keep(fired: _Fired, loop: Loop, stage: LoopStage, spent_nanos: int | None) -> int:
    """Write down a loop and what was done about it; answers with the time it is known by."""
    with fired.rt.writing() as tx:
        session_id = fired.session.session_id
        at_us = next(moment for moment in count(tx.at_us) if tx.loop_at(session_id, moment) is None)
        seen = SeenLoop(
            session_id,
            at_us,
            loop.kind,
            stage,
            cleaned(loop.tool, TOOL_MAX),
            loop.times,
            loop.calls,
            loop.number,
            fired.event.agent_id,
            spent_nanos,
        )
        tx.append(f"loop.{stage.value}", [Insert("loop", rows.LOOP.row(seen))], by=fired.rt.by)
    return at_us


def _allowed(rt: Runtime, session_id: str, kept_us: int) -> None:
    """Write down that a person has let a loop go on, at the question of the client."""
    with rt.writing() as tx:
        seen = tx.loop_at(session_id, kept_us)
        if seen is not None and seen.allowed_us is None:
            change: dict[str, Value] = {"session_id": session_id, "at_us": kept_us, "allowed_us": tx.at_us}
            tx.append("loop.allowed", [Update("loop", change)], by=rt.by)


def _is_allowed(rt: Runtime, session: Session, thread: AgentTurn) -> bool:
    """Whether the user has let go on what an agent is stopped for, by a command."""
    with rt.reading() as reader:
        seen = reader.loop_at(session.session_id, thread.kept_us)
    return seen is not None and seen.allowed_us is not None


def allow(rt: Runtime, session_id: str | None, *, authority: Authority) -> SeenLoop:
    """Let the last loop that is stopped go on, of a session or of all; counting begins anew there."""
    authority.require(Loosening.LOOP_ALLOW)
    with rt.writing() as tx:
        found = [each for each in _lately(rt, tx, session_id) if each.stage is LoopStage.STOPPED]
        seen = next((each for each in found if each.allowed_us is None), None)
        if seen is None:
            raise NotFound("No loop is stopped.", hint="tallygate loop list shows those that were seen.")
        change: dict[str, Value] = {"session_id": seen.session_id, "at_us": seen.at_us, "allowed_us": tx.at_us}
        tx.append("loop.allowed", [Update("loop", change)], by=rt.by, note={"actor": authority.actor})
        return replace(seen, allowed_us=tx.at_us)


def wrong(rt: Runtime, session_id: str | None, *, authority: Authority) -> SeenLoop:
    """Keep that the last loop was none, of a session or of all; what was stopped for it goes on."""
    authority.require(Loosening.LOOP_WRONG)
    with rt.writing() as tx:
        seen = next((each for each in _lately(rt, tx, session_id) if each.wrong_us is None), None)
        if seen is None:
            raise NotFound("No loop was seen.", hint="tallygate loop list shows those that were.")
        change: dict[str, Value] = {"session_id": seen.session_id, "at_us": seen.at_us, "wrong_us": tx.at_us}
        if seen.stage is LoopStage.STOPPED and seen.allowed_us is None:
            change["allowed_us"] = tx.at_us
        tx.append("loop.wrong", [Update("loop", change)], by=rt.by, note={"actor": authority.actor})
        return tx.loop_at(seen.session_id, seen.at_us) or seen


def lately(rt: Runtime, session_id: str | None = None) -> list[SeenLoop]:
    """The loops of a session, or of the last week, the youngest first."""
    with rt.reading() as reader:
        return _lately(rt, reader, session_id)


def _lately(rt: Runtime, reader: SessionReader, session_id: str | None) -> list[SeenLoop]:
    if session_id is not None:
        return reader.loops_of(session_id, LOOPS_LOOKED_AT)[::-1]
    return reader.loops_between(rt.services.clock_us() - LATELY_US, 2**62, LOOPS_LOOKED_AT)
