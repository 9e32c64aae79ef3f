"""What the three ways in to the gate share: an agent's question, a client's hook, and a step that was made already."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from tests.operations.test_hooks import account, hook, respond
from tests.world import NANOS, hook_event, the_user

from tallygate.core.costing import Tokens
from tallygate.core.errors import Conflict, LedgerUnavailable
from tallygate.core.gate.rules import BudgetRule, BudgetScope, rules_of
from tallygate.core.hooks import Moment
from tallygate.core.model import NO_RESPONSE
from tallygate.core.words import Action, CallState, Reason
from tallygate.operations.budgets.change import raise_budget
from tallygate.operations.gate.hook_step import gate_step
from tallygate.operations.gate.record import CallReport, UsageReport, record_call, record_usage
from tallygate.operations.sessions.ending import end_session

SECOND = 1_000_000
AN_HOUR = 3600 * SECOND
DOORS = ("agent", "hook", "record")


@pytest.fixture
def world(world):
    return world.with_runtime(session_limit_nanos=10 * NANOS, project="/home/me/p")


def opened(world, door):
    """A session that has had no step yet."""
    if door != "hook":
        return world.start("10")
    hook(world, Moment.SESSION_START)
    return account(world).session_id


def step(world, door, session, key="k"):
    """One step by a door, under a key; of the hook it is one that reserves."""
    if door == "agent":
        return world.ask(session, 1, client_key=key)
    if door == "record":
        return record_call(world.rt, CallReport(session, "dear", Tokens(fresh_input=1), record_id=key))
    return hook(world, Moment.PROMPT, f"prompt:{key}")


@pytest.mark.parametrize("door", DOORS)
def test_a_step_that_is_known_is_answered_before_anything_expires(world, door):
    session = opened(world, door)
    first = step(world, door, session)
    held = world.ask(session, 1)
    world.clock.forward(AN_HOUR)
    before = world.events()
    if door == "hook":
        assert not step(world, door, session).stops  # asked for again, and on nothing: it goes on
        assert [call.state for call in world.calls(session)].count(CallState.EXPIRED) == 2
    else:
        assert step(world, door, session) == first
        assert (world.events(), world.call(held.call_id).state) == (before, CallState.PENDING)


@pytest.mark.parametrize("door", DOORS)
def test_a_new_step_expires_what_is_past_its_time(world, door):
    session = opened(world, door)
    held = world.ask(session, 1)
    world.clock.forward(AN_HOUR)
    step(world, door, session)
    assert world.call(held.call_id).state is CallState.EXPIRED


def test_a_refusal_of_a_hook_is_given_again_before_anything_expires(world):
    world = world.with_runtime(session_limit_nanos=NANOS)
    session = opened(world, "hook")
    respond(world, "r1", 200)
    assert step(world, "hook", session).stops
    raise_budget(world.rt, session, 10 * NANOS, reason="more", authority=the_user("me"))
    held = world.ask(session, 1)
    world.clock.forward(AN_HOUR)
    before = world.events()
    assert step(world, "hook", session).stops, "as it was answered, whatever is left by now"
    assert (world.events(), world.call(held.call_id).state) == (before, CallState.PENDING)


def test_what_a_prompt_breaks_off_is_released_though_its_time_is_up(world):
    session = opened(world, "hook")
    step(world, "hook", session, "1")
    [broken_off] = world.calls(session)
    world.clock.forward(AN_HOUR)
    step(world, "hook", session, "2")
    now = world.call(broken_off.call_id)
    assert (now.state, now.void_reason, now.booked_nanos) == (CallState.VOIDED, NO_RESPONSE, 0)


def test_a_step_that_is_only_looked_at_leaves_nothing_in_the_ledger(world):
    session = opened(world, "hook")
    step(world, "hook", session)
    before = (world.events(), world.budget(session), world.calls(session))
    assert not hook(world, Moment.TOOL, "tool:1", tool="Bash", tool_use_ids=("t1",)).stops
    assert (world.events(), world.budget(session), world.calls(session)) == before


@pytest.mark.parametrize("door", DOORS)
def test_a_session_that_has_ended_takes_no_step_of_any_door(world, door):
    session = opened(world, door)
    with world.ledger.reading() as reader:
        was_open = reader.session(session)
    end_session(world.rt, session)
    before = world.budget(session)
    if door == "hook":  # it ended between two looks of one hook
        event = hook_event("claude_code", Moment.PROMPT, "client-1", "prompt", "prompt:1", model="dear")
        answer = gate_step(world.rt, event, was_open).answer
        assert (answer.action, answer.reason) == (Action.HALT, Reason.SESSION_ENDED)
    elif door == "agent":
        assert step(world, door, session).reason is Reason.SESSION_ENDED
    else:
        with pytest.raises(Conflict) as refused:
            step(world, door, session)
        assert refused.value.code == "session_ended"
    assert world.budget(session) == before


@pytest.mark.parametrize("door", DOORS)
def test_a_step_keeps_the_rules_that_have_come_to_its_session(world, door):
    session = opened(world, door)
    day = BudgetRule(BudgetScope.GLOBAL, 5 * NANOS, period="day")
    step(world.with_runtime(rules=(day,)), door, session)
    with world.ledger.reading() as reader:
        [kept] = rules_of(reader.session(session))
    assert (kept.scope, kept.limit, kept.period) == (BudgetScope.GLOBAL, 5 * NANOS, "day")


class FullDisk:
    """A ledger whose next commit is refused by the disk."""

    def __init__(self, ledger):
        self._ledger = ledger

    def __getattr__(self, name):
        return getattr(self._ledger, name)

    @contextmanager
    def writing(self, tenant):
        with self._ledger.writing(tenant) as tx:
            yield tx
            raise LedgerUnavailable("The disk is full.")


@pytest.mark.parametrize("door", [*DOORS, "usage"])
def test_a_price_that_a_failed_commit_took_back_is_written_with_the_next_step(world, door):
    session = opened(world, door)
    asked = world.ask(session, 1, model="cheap") if door == "usage" else None

    def work(rt):
        if asked is None:
            return step(world.with_runtime(ledger=rt.services.ledger), door, session)
        return record_usage(rt, UsageReport(asked.call_id, Tokens(output=1), model_used="dear"))

    full = world.with_runtime(ledger=FullDisk(world.ledger)).rt
    if door in ("record", "usage"):
        with pytest.raises(LedgerUnavailable):
            work(full)
    else:
        said = work(full)
        assert said.stops if door == "hook" else said.reason is Reason.LEDGER_UNAVAILABLE
    work(world.rt)
    with world.ledger.reading() as reader:
        for call in world.calls(session):
            prices = {call.price_id, call.actual_price_id} - {None}
            assert all(reader.price_basis(price) for price in prices)
