"""Why a step was let through or stopped, as figures that can be added up again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from tallygate.core.errors import NotFound
from tallygate.core.gate.answers import GateAnswer
from tallygate.core.model import Call, Session
from tallygate.core.sessions import is_over_limit
from tallygate.core.values import value
from tallygate.core.words import Action
from tallygate.ledger.port import BudgetReader, JournalEvent, ProofReader
from tallygate.operations.budgets.figures import LetThroughOver, let_through_over
from tallygate.operations.runtime import Runtime
from tallygate.operations.views.overview import session_called

_CHANGES = 10_000
# A row as an event states it.
Row = Mapping[str, Any]


@value(frozen=True, slots=True)
class BudgetThen:
    """A budget as it stood before the step, and what the step needs or holds of it, in the budget's unit.

    `carried` is what the older pieces of a rolling period held; None where that is not kept with the step.
    """

    name: str
    unit: str
    limit: int
    spent: int
    reserved: int
    needed: int
    resets_us: int | None
    carried: int | None = 0

    @property
    def left(self) -> int:
        """What the step found there."""
        return self.limit - self.spent - self.reserved - (self.carried or 0)


@value(frozen=True, slots=True)
class ExplainedDecision:
    """One decision: the step, the event that states it, what its price was, and the budgets it was held against."""

    session: Session
    call: Call
    event: JournalEvent
    price: str | None
    budgets: tuple[BudgetThen, ...]
    answer: GateAnswer | None = None
    over: LetThroughOver | None = None

    @property
    def is_over(self) -> bool:
        """Whether it was let through over a limit that only warns."""
        return is_over_limit(self.call)


def why(rt: Runtime, text: str) -> ExplainedDecision:
    """What was decided on a call, or last on a session: a refusal that stands, else its last step.

    Raises `NotFound` where nothing has that id, or the session has made no step.
    """
    with rt.reading() as reader:
        call = reader.call(text)
    if call is None and text.startswith("call_"):
        raise NotFound(f"No call {text}.", hint="`tallygate sessions show SESSION --calls` lists them.")
    if call is None:
        session_id = session_called(rt, text)
        with rt.reading() as reader:
            calls = list(reader.calls_of(session_id))
        if not calls:
            raise NotFound(f"Session {session_id} has made no step yet.")
        call = max(calls, key=lambda each: each.at_us)
    with rt.reading() as reader:
        session = reader.session(call.session_id)
        found = next(_event_of(reader, call), None)
        if session is None or found is None:
            raise NotFound(f"The journal has no event of {call.call_id}.", hint="Run: tallygate verify")
        # Kept are answers of refusals, and of steps that a client may ask about again.
        answer = None if call.reply is None or '"action"' not in call.reply else GateAnswer.from_json(call.reply)
        price = None if call.price_id is None else reader.price_basis(call.price_id)
        event, stated = found
        is_refused = call.action is Action.HALT
        budgets = tuple(_denied(call, answer, event) if is_refused else _held(reader, event, stated))
        over = let_through_over(reader, session.session_id)
    return ExplainedDecision(session, call, event, price, budgets, answer, over)


def _event_of(reader: ProofReader, call: Call) -> Iterator[tuple[JournalEvent, Row]]:
    """The event that stated the call first, and how: what is told of it later changes it, and names it too."""
    # It is stated in the event of its own moment; what was brought in from elsewhere is looked for everywhere.
    for event in chain(reader.events_about(call.call_id, call.at_us), reader.events_about(call.call_id)):
        for mark, table, row in json.loads(event.body)["rows"]:
            if mark == "+" and table == "call" and row["call_id"] == call.call_id:
                yield event, row


def _denied(call: Call, answer: GateAnswer | None, event: JournalEvent) -> Iterator[BudgetThen]:
    """The budget that refused, with the figures that stand in the answer; the need is in the event's note."""
    if answer is None or answer.binding is None:
        return
    found = answer.binding
    needed = json.loads(event.body).get("note", {}).get("requested_nanos", call.estimate_nanos)
    yield BudgetThen(
        found.budget_id, found.unit, found.limit_nanos, found.spent_nanos, found.reserved_nanos, needed, found.resets_us
    )


def _held(reader: BudgetReader, event: JournalEvent, stated: Row) -> Iterator[BudgetThen]:
    """The budgets that a step holds something of, as they stood before: the event states them as it left them."""
    after = {row["budget_id"]: row for _, table, row in json.loads(event.body)["rows"] if table == "budget"}
    for budget_id, amount, *_ in json.loads(str(stated.get("holds", "[]"))):
        budget, row = reader.budget(budget_id), after.get(budget_id)
        if budget is None or row is None:
            continue
        # What was changed since is undone; the first change after the step tells what the limit was.
        changed = [each for each in reader.limit_changes([budget_id], _CHANGES) if each.at_us > event.at_us]
        first = min(changed, key=lambda each: each.at_us, default=None)
        limit = budget.limit if first is None else first.before
        spent, reserved = row["spent_nanos"], row["reserved_nanos"] - amount
        carried = None if budget.head is not None else 0
        yield BudgetThen(budget.name, budget.unit, limit, spent, reserved, amount, budget.resets_us, carried)
