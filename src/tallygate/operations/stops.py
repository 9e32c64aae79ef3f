"""Which of the last runs of a project were stopped, for people and for the scripts that started them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tallygate.core.gate.answers import GateAnswer
from tallygate.core.model import SHOWN_MAX, Call, Session, last_raise_us
from tallygate.core.sessions import stopped_by
from tallygate.ledger.port import Reader
from tallygate.operations.budgets.applicable import all_budgets
from tallygate.operations.runtime import Runtime
from tallygate.operations.usage import folders_of

# So many sessions are looked through for those of a project, and so many steps of each for the one that stopped it.
SESSIONS_LOOKED_AT = 200
STEPS_LOOKED_AT = 500


@dataclass(frozen=True, slots=True)
class Stop:
    """A run that was stopped, and the refusal that did it."""

    session_id: str
    call: Call

    @property
    def message(self) -> str | None:
        """What was said; None where it was not kept."""
        return None if self.call.reply is None else GateAnswer.from_json(self.call.reply).message


def last_stops(rt: Runtime) -> list[Stop]:
    """What stopped the last run of this project, and those that were at work beside it; the newest first."""
    with rt.ledger.reading(rt.tenant) as reader:
        sessions = reader.sessions(state=None, limit=SESSIONS_LOOKED_AT)
        here = _of_project(rt, sessions)
        beside = [each for each in here if each.ended_us is None or each.ended_us >= here[0].started_us]
        found = [_stop_of(reader, each, rt.clock_us()) for each in beside]
    return [stop for stop in found if stop is not None]


def _stop_of(reader: Reader, session: Session, at_us: int) -> Stop | None:
    budgets = all_budgets(reader, session, session.ended_us or at_us)
    changes = reader.limit_changes([each.budget_id for each in budgets], SHOWN_MAX)
    calls = reader.recent_calls(session.session_id, 2**62, STEPS_LOOKED_AT)
    call = stopped_by(calls[::-1], last_raise_us(changes))
    return None if call is None else Stop(session.session_id, call)


def _of_project(rt: Runtime, sessions: Sequence[Session]) -> list[Session]:
    if rt.project is None:
        return [each for each in sessions if each.project is None]
    folders = folders_of(rt, sorted({each.project for each in sessions if each.project}), rt.project)
    return [each for each in sessions if each.project in folders]
