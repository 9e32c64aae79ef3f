"""Limits on plans at the gate: by what a client told of its own plan, for agents and hooks alike."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.operations.test_hooks import hook
from tests.world import MINUTE, NANOS

from tallygate.core.hooks import HookVerdict, Moment
from tallygate.core.plan import PlanRule, PlanSource, PlanUnknown, PlanWindow
from tallygate.core.words import BudgetMode
from tallygate.operations.gate.authorize import check, check_budget
from tallygate.operations.plan import keep_told, plans_standing

RULE = PlanRule(300, 90)


@pytest.fixture
def limited(world):
    def limited_(*rules):
        return world.with_runtime(plan=rules or (RULE,), session_limit_nanos=NANOS, project="/home/me/p")

    return limited_


def tell(world, used, *, client="codex", minutes=300, resets=60):
    at_us = world.clock.at_us
    window = PlanWindow(client, "", minutes, used, at_us, at_us + resets * MINUTE, PlanSource.TRANSCRIPT)
    keep_told(world.rt, [window])


def test_a_plan_that_is_used_up_stops_an_agent_and_reserves_nothing(limited):
    world = limited()
    session = world.start("1", client="codex")
    tell(world, 9_100)
    answer = world.ask(session)
    assert (answer.action, answer.reason, answer.binding, answer.command) == ("halt", "plan_window:halt", None, None)
    assert answer.message.startswith("91 % of the 5h window of the plan of codex is used; the limit is 90 %. It begins")
    assert world.budget(session).committed == 0
    assert check_budget(world.rt, session).allowed is False
    assert check_budget(world.rt, session).message == answer.message
    world.clock.forward(61 * MINUTE)
    after = world.ask(session)
    assert (after.action, after.reason) == ("allow", "warn:plan_unknown")
    assert "it began anew at" in after.message
    assert check(world.rt, session).remaining_nanos > 0


def test_a_plan_of_another_client_and_one_that_has_room_stop_nobody(limited):
    world = limited(replace(RULE, client="claude-code"))
    session = world.start("1", client="codex")
    tell(world, 10_000)
    assert (world.ask(session).reason, world.ask(session).message) == ("allow", None)
    other = world.start("1", client="Claude Code")
    tell(world, 8_999, client="claude_code")
    assert world.ask(other).reason == "allow"
    tell(world, 9_000, client="claude_code")
    assert world.ask(other).reason == "plan_window:halt"


def test_a_client_that_tells_of_no_plan_is_not_bound_by_a_limit_on_everybodys(limited):
    world = limited(replace(RULE, unknown=PlanUnknown.HALT))
    assert world.ask(world.start("1", client="gemini")).reason == "allow"
    assert world.ask(world.start("1", client="codex")).reason == "plan_unknown:halt"


def test_a_limit_of_a_projects_file_binds_work_there_alone(limited):
    world = limited(replace(RULE, within="/home/me/p"))
    session = world.start("1", client="codex")
    tell(world, 9_500)
    assert world.ask(session).reason == "plan_window:halt"
    elsewhere = world.with_runtime(project="/home/me/q")
    assert elsewhere.ask(elsewhere.start("1", client="codex")).reason == "allow"


def test_a_hook_stops_the_client_and_a_soft_limit_is_said_at_the_prompt(limited):
    world = limited()
    tell(world, 9_500)
    stopped = hook(world, Moment.PROMPT, client="codex")
    assert stopped.verdict is HookVerdict.STOP
    assert "95 % of the 5h window" in stopped.message
    assert len(stopped.message.splitlines()) <= 3
    soft = limited(replace(RULE, mode=BudgetMode.SOFT))
    said = hook(soft, Moment.PROMPT, client="codex", session="another")
    assert said.verdict is not HookVerdict.STOP
    assert "95 % of the 5h window" in said.message
    assert hook(soft, Moment.TOOL, client="codex", session="another").message is None


def test_a_plan_that_is_used_up_ends_a_run_as_a_hard_budget_does_also_beside_a_soft_one(limited):
    world = limited().with_runtime(session_mode="soft", default_mode="soft")
    tell(world, 9_500, client="claude_code")
    stopped = hook(world, Moment.PROMPT)
    assert (stopped.verdict, stopped.ends) == (HookVerdict.STOP, True)


def test_what_nobody_knows_is_said_when_a_session_begins_and_not_at_each_step(limited):
    world = limited()
    begun = hook(world, Moment.SESSION_START, client="codex")
    assert "Nobody knows how much of the 5h window of the plan of codex is used" in begun.message
    assert hook(world, Moment.PROMPT, client="codex").message is None


def test_every_limit_is_shown_for_every_client_that_it_can_bind(limited):
    world = limited(RULE, PlanRule(10_080, 50, client="codex"))
    tell(world, 6_000, minutes=10_080)
    with world.rt.reading() as reader:
        found = plans_standing(world.rt, reader, world.clock.at_us)
    assert [(each.client, each.rule.minutes, each.is_known, each.is_reached) for each in found] == [
        ("claude-code", 300, False, False),
        ("codex", 300, False, False),
        ("codex", 10_080, True, True),
    ]


def test_what_was_told_is_written_once_while_it_says_the_same(limited):
    world = limited()
    tell(world, 100)
    with world.ledger.reading() as reader:
        (first,) = reader.plan_windows()
    keep_told(world.rt, [replace(first, at_us=first.at_us + 1)])
    with world.ledger.reading() as reader:
        assert reader.plan_windows() == [first]
