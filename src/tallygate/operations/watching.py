"""What there is to watch while work goes on: open sessions, what they burn and have left, and the last decisions."""

from __future__ import annotations

from collections.abc import Iterator

from tallygate.core.gate import policy
from tallygate.core.gate.answers import GateAnswer
from tallygate.core.gate.wording import decided, left_of, short_name
from tallygate.core.model import Budget, Call, Session
from tallygate.core.money import format_amount
from tallygate.core.values import value
from tallygate.core.words import BudgetMode, SessionState
from tallygate.ledger.port import Reader
from tallygate.operations.budgets.applicable import budgets_now
from tallygate.operations.runtime import Runtime
from tallygate.operations.status_line import burn_told

SESSIONS_MAX, DECISIONS_MAX = 20, 8


@value(frozen=True, slots=True)
class WatchedSession:
    """One open session in words: what it spent, what is left of what stops it, and what lies ahead."""

    session_id: str
    name: str
    client: str
    spent: str
    left: str
    ahead: str
    budget_id: str | None
    is_stopped: bool


@value(frozen=True, slots=True)
class WatchedDecision:
    """One decision of an open session."""

    at_us: int
    session: str
    tool: str
    text: str
    is_halt: bool


@value(frozen=True, slots=True)
class Watched:
    """Everything that is shown, as of one moment."""

    at_us: int
    sessions: tuple[WatchedSession, ...]
    decisions: tuple[WatchedDecision, ...]


def watched(rt: Runtime) -> Watched:
    """The open sessions, the youngest first, and their last decisions, the latest first."""
    at_us = rt.services.clock_us()
    with rt.reading() as reader:
        found = reader.sessions(state=SessionState.OPEN.value, limit=SESSIONS_MAX)
        sessions, decisions = [], []
        for session in found:
            last = reader.recent_calls(session.session_id, 2**62, DECISIONS_MAX)
            sessions.append(_session(rt, reader, session, last, at_us))
            decisions += [*_decisions(session, last)]
    decisions.sort(key=lambda each: -each.at_us)
    return Watched(at_us, tuple(sessions), tuple(decisions[:DECISIONS_MAX]))


def _session(rt: Runtime, reader: Reader, session: Session, last: list[Call], at_us: int) -> WatchedSession:
    budgets = budgets_now(rt, reader, session, at_us, here=False)
    totals = reader.totals(session.session_id)
    stops = _stopping(budgets)
    return WatchedSession(
        session_id=session.session_id,
        name=short_name(session.session_id),
        client=session.client,
        spent=format_amount(totals.spent_nanos),
        left="" if stops is None else left_of(stops, session, brief=True),
        ahead=burn_told(rt, reader, session, budgets, at_us),
        budget_id=None if stops is None else stops.budget_id,
        is_stopped=bool(last) and last[0].action.value == "halt",
    )


def _stopping(budgets: tuple[Budget, ...]) -> Budget | None:
    """The budget that will stop the work; of ones that only warn alone the tightest."""
    return policy.tightest([each for each in budgets if each.mode is BudgetMode.HARD]) or policy.tightest(budgets)


def _decisions(session: Session, last: list[Call]) -> Iterator[WatchedDecision]:
    for call in last:
        answer = None if call.reply is None else GateAnswer.from_json(call.reply)
        halted = call.action.value == "halt"
        text = answer.message if halted and answer is not None and answer.message else decided(call.action, call.reason)
        yield WatchedDecision(call.at_us, short_name(session.session_id), call.tool_name, text, halted)
