"""While the user has switched the gate off nothing is stopped and everything is counted, and that ends by itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.operations.test_lock import append_raw, faults, hurt, lock
from tests.world import MINUTE, NANOS, T0, Clock, hook_event, the_user

from tallygate.core.authority import Authority, EntryDoor
from tallygate.core.errors import Locked, UsersOnly
from tallygate.core.hooks import Moment
from tallygate.core.lock import OFF_MOST_US, Off
from tallygate.core.words import Action, CheckReason, Reason, UnknownPrice
from tallygate.machine import boot
from tallygate.operations.budgets.calls import sweep
from tallygate.operations.gate.authorize import StatedStep, check, check_budget
from tallygate.operations.hooks import answer_hook
from tallygate.operations.lock import switch_off, switch_on, unlock_limits
from tallygate.operations.lock_book import LockBook, off_at_a_look
from tallygate.operations.sessions.ending import end_session
from tallygate.operations.status_line import remaining_text

__all__ = ["hurt"]
HOUR = 60 * MINUTE
ANNA = the_user("anna")
AGENT = Authority(EntryDoor.COMMAND, "anna", beneath="claude-code")


class Machine:
    """A world with both clocks of a machine in hand."""

    def __init__(self, world):
        self.steady = Clock(5 * MINUTE)
        self.world = world.with_runtime(steady_us=self.steady)

    def __getattr__(self, name):
        return getattr(self.world, name)

    def passes(self, microseconds):
        for clock in (self.world.clock, self.steady):
            clock.forward(microseconds)

    def off(self, length=HOUR, reason="a release", authority=ANNA):
        return switch_off(self.rt, length, reason, authority=authority)


@pytest.fixture
def machine(world):
    return Machine(world)


def test_nothing_is_stopped_while_it_is_off_and_everything_is_counted(machine):
    session = machine.start("0.20")
    assert machine.ask(session, 100).action is Action.ALLOW
    assert machine.ask(session, 200).action is Action.HALT
    machine.off()
    found = machine.ask(session, 200)
    assert (found.action, found.reason) == (Action.ALLOW, Reason.GATE_OFF)
    assert "is off until 2026-09-21" in found.message
    assert "(by anna: a release)" in found.message
    # What fits is held, what does not is counted once it is spent.
    assert machine.budget(session).reserved == 2 * NANOS // 10
    machine.passes(24 * HOUR)
    sweep(machine.rt)
    assert machine.budget(session).spent == 3 * NANOS // 10
    assert machine.budget(session).overage == NANOS // 10
    assert machine.ask(session, 1).action is Action.HALT
    assert machine.problems() == []


@pytest.mark.parametrize("unknown", ["halt_on_unknown_pricing", "reroute_required"])
def test_a_price_that_nobody_knows_stops_nothing_while_it_is_off(machine, unknown):
    session = machine.start("5", unknown_price=UnknownPrice(unknown))
    assert machine.ask(session, 10, model="nobody-knows-it").action is Action.HALT
    machine.off()
    assert machine.ask(session, 10, model="nobody-knows-it").action is Action.ALLOW


def test_a_session_that_has_ended_takes_no_calls_whether_it_is_off_or_not(machine):
    session = machine.start()
    end_session(machine.rt, session)
    machine.off()
    assert machine.ask(session, 1).reason is Reason.SESSION_ENDED


def test_it_ends_by_itself_and_by_a_word_of_anybody(machine):
    session = machine.start("0.05")
    machine.off(30 * MINUTE)
    machine.passes(30 * MINUTE - 1)
    assert machine.ask(session, 100).action is Action.ALLOW
    machine.passes(1)
    assert machine.ask(session, 100).action is Action.HALT
    machine.off()
    assert machine.ask(session, 100).action is Action.ALLOW
    assert switch_on(machine.rt, authority=AGENT).reason == "a release"
    assert machine.ask(session, 100).action is Action.HALT
    assert switch_on(machine.rt, authority=AGENT) is None


OFF = Off(T0, T0 + HOUR, "boot", 7 * MINUTE, "anna", "why")


@pytest.mark.parametrize(
    "wall, steady, boot, holds",
    [
        (0, 0, "boot", True),
        (HOUR - 1, HOUR - 1, "boot", True),
        (HOUR, HOUR, "boot", False),
        (-30_000_000, 1, "boot", True),  # NTP put the clock back by half a minute
        (-2 * MINUTE, 1, "boot", False),  # somebody set it back
        (30 * MINUTE, HOUR, "boot", False),  # set back on the way: the other clock goes on
        (2 * HOUR, 1, "boot", False),  # set forward
        (1, 1, "another", False),  # the machine was started again
        (1, -MINUTE, "boot", False),  # so it was where starts have no names
    ],
)
def test_it_is_over_by_whichever_clock_is_first(wall, steady, boot, holds):
    assert OFF.holds(T0 + wall, OFF.up_us + steady, boot) is holds


@given(st.lists(st.tuples(st.integers(0, HOUR), st.integers(-2 * HOUR, 2 * HOUR)), max_size=20))
def test_no_setting_of_the_clock_makes_it_last_longer(moves):
    wall, steady = OFF.from_us, OFF.up_us
    for passed, moved in moves:
        wall, steady = wall + passed + moved, steady + passed
        if OFF.holds(wall, steady, OFF.boot):
            assert steady - OFF.up_us < HOUR


def test_an_agent_cannot_switch_it_off(machine):
    session = machine.start("0.05")
    with pytest.raises(UsersOnly, match=r"tallygate off.*is the user's alone"):
        machine.off(authority=AGENT)
    assert machine.ask(session, 100).action is Action.HALT


def forged(machine, at_us, length):
    """An event as somebody writes it who can write the file."""
    note = {"from_us": T0, "until_us": T0 + length, "boot": boot(), "up_us": machine.steady(), "actor": "x"}
    body = {"tenant": "default", "kind": "lock.gate_off", "at_us": at_us, "by": "cli", "rows": []}
    return {**body, "note": {**note, "reason": "y"}}


def test_while_locked_it_needs_the_passphrase_and_verify_names_what_does_not_carry_it(hurt):
    machine = Machine(hurt)
    session = machine.start("0.05")
    user = lock(machine)
    with pytest.raises(Locked):
        machine.off(authority=ANNA)
    append_raw(hurt, forged(machine, T0 + 9, HOUR))
    assert off_at_a_look(machine.rt) is None
    assert machine.ask(session, 100).action is Action.HALT
    user.lock.open("off")
    machine.off(authority=user)
    assert machine.ask(session, 100).action is Action.ALLOW
    found, report = faults(machine)
    assert [each.what for each in found] == ["lock.gate_off is not signed by the lock"]
    assert any(name == "off" and "once" in told and "anna: a release" in told for name, told in report.facts)
    unlock_limits(machine.rt, authority=user)
    assert off_at_a_look(machine.rt) is not None


def test_switching_it_on_is_free_while_locked_and_verify_is_content(machine):
    user = lock(machine)
    user.lock.open("off")
    machine.off(authority=user)
    assert switch_on(machine.rt, authority=AGENT) is not None
    assert off_at_a_look(machine.rt) is None
    found, report = faults(machine)
    assert found == []
    assert any(name == "off" for name, _ in report.facts)


def test_no_event_switches_it_off_for_longer_than_may_be(hurt):
    machine = Machine(hurt)
    session = machine.start("0.05")
    append_raw(hurt, forged(machine, T0 + 8, OFF_MOST_US + 1))
    assert machine.ask(session, 100).action is Action.HALT
    append_raw(hurt, forged(machine, T0 + 9, OFF_MOST_US))
    assert off_at_a_look(machine.rt) is not None


def test_another_process_hears_of_it_at_its_next_step(machine):
    session = machine.start("0.05")
    other = machine.with_runtime(locks=LockBook())
    assert other.ask(session, 100).action is Action.HALT
    machine.off()
    assert other.ask(session, 100).action is Action.ALLOW
    switch_on(machine.rt, authority=ANNA)
    assert other.ask(session, 100).action is Action.HALT


def test_a_look_says_that_it_is_off(machine):
    session = machine.start("0.05")
    machine.off()
    checked = check_budget(machine.rt, session, NANOS)
    assert (checked.allowed, checked.reason) == (True, CheckReason.GATE_OFF)
    assert "is off until" in checked.message
    step = StatedStep(session, "edit", prompt_tokens=100, completion_tokens=0)
    assert check(machine.rt, session, step).would.action is Action.ALLOW


def test_hooks_say_that_it_is_off_at_the_start_and_at_each_prompt_and_stop_nothing(machine):
    rt = machine.with_runtime(session_limit_nanos=NANOS // 100).rt

    def hook(moment, key):
        event = hook_event("claude_code", moment, "client-1", moment.value, model="dear", key=key)
        return answer_hook(rt, event)

    hook(Moment.SESSION_START, None)
    assert hook(Moment.PROMPT, "p1").stops
    machine.off()
    told = hook(Moment.PROMPT, "p2")
    assert not told.stops
    assert "is off until" in told.message
    tool = hook(Moment.TOOLS_DONE, "t1")
    assert (tool.stops, tool.message) == (False, None)
    assert "is off until" in hook(Moment.SESSION_START, None).message
    assert "off until 2026" in remaining_text(rt, "claude_code", "client-1")
    switch_on(rt, authority=ANNA)
    assert hook(Moment.PROMPT, "p3").stops


def test_the_reason_of_a_step_stays_with_its_call(machine):
    session = machine.start("0.05")
    machine.off()
    asked = machine.ask(session, 100)
    assert machine.call(asked.call_id).reason is Reason.GATE_OFF
