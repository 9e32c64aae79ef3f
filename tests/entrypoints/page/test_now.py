"""The page Now: what it says of a ledger, and that what it says adds up."""

from __future__ import annotations

import re
from datetime import UTC
from zoneinfo import ZoneInfo

import pytest
from tests.entrypoints.page.conftest import served
from tests.reading_rules import Rule
from tests.world import MINUTE, NANOS, as_said, the_user

from tallygate.core.costing import Tokens
from tallygate.core.gate.rules import BudgetRule, BudgetScope
from tallygate.core.moments import as_datetime
from tallygate.core.plan import PlanSource, PlanWindow
from tallygate.core.usage import ObservedUsage
from tallygate.entrypoints.page.document import PageAround
from tallygate.operations.budgets.change import raise_budget
from tallygate.operations.gate.record import UsageReport, record_usage
from tallygate.operations.usage.ingest import FileReading, ingest, link_session

DAY = BudgetRule(BudgetScope.USER, 30 * NANOS, period="day")


def spend(world, session, tokens):
    """A step that is asked for and reported; a token costs a tenth of a cent."""
    call = world.ask(session, tokens).call_id
    record_usage(world.rt, UsageReport(call, Tokens(fresh_input=tokens)))


def test_a_first_visit_shows_no_figure_and_the_first_step(world):
    with served(world.rt, world.folder) as browser:
        found = browser.get("now").words
    assert "Nothing is on record yet" in found
    assert "tallygate sync" in found
    assert "$" not in found.replace("$ ", "")


def test_spent_and_left_today_stand_first_and_are_those_of_the_day_limit(world):
    world = as_said(world.with_runtime(rules=(DAY,)))
    session = world.start("40", task_summary="mend the parser")
    spend(world, session, 5_000)
    world.ask(session, 2_000)
    with served(world.rt, world.folder) as browser:
        found = browser.get("now").words
    assert "Spent today $5.00 of $30.00 known $5.00" in found
    assert "Left today $23.00 after $2.00 reserved by 1 session" in found
    assert "Stopped 0 of 1 open session" in found
    assert "Burn, last 30 min at work – needs five minutes of work" in found


def test_a_session_that_stands_still_comes_first_with_the_command_that_lets_it_go_on(world):
    session = world.start("1", task_summary="split the module")
    spend(world, session, 600)
    world.ask(session, 900)
    with served(world.rt, world.folder) as browser:
        found = browser.get("now")
        assert 'fig is-halt"' in found.text
        assert "Stopped 1 of 1 open session split the module" in found.words
        assert "needs $0.90, $0.40 left" in found.words
        assert "then by money a month $0.60 stands still Raise “split the module” by" in found.words
        assert f"tallygate budget raise {session[-8:]}" in found.text
        raise_budget(world.rt, session, 5 * NANOS, reason="go on", authority=the_user("anna"))
        assert "Stopped 0 of 1 open session" in browser.get("now").words


def test_a_session_that_stands_still_has_one_amount_to_raise_by_and_one_that_is_left(world):
    """What was reserved when the step was refused is free again, and every page says so."""
    session = world.start("10", task_summary="split the module")
    spend(world, session, 600)
    held = world.ask(session, 9_000).call_id
    world.ask(session, 900)
    record_usage(world.rt, UsageReport(held, Tokens(fresh_input=1_000)))
    with served(world.rt, world.folder) as browser:
        found = browser.get("now").words
        typed = re.search(r"budget raise \S+ ([\d.]+)", found)
        assert typed is not None
        assert "needs $0.90, $8.40 left" in found
        assert "$0.40 left" not in found
        assert f"budget raise {session[-8:]} {typed[1]}" in browser.get("budgets", budget=session).words


def test_without_a_limit_what_is_left_is_a_dash_and_not_nothing(world):
    spend(world, world.start("5"), 1_000)
    with served(world.rt, world.folder) as browser:
        found = browser.get("now").words
    assert "Left today – no limit for a day" in found


def test_a_day_is_that_of_the_users_zone(world):
    """At 02:00 UTC it is still the day before in Los Angeles."""
    session = world.start("40")
    world.clock.at_us += -world.clock.at_us % (24 * 60 * MINUTE) + 60 * MINUTE
    spend(world, session, 1_000)
    world.clock.forward(8 * 60 * MINUTE)
    with served(world.rt, world.folder, around=PageAround(UTC)) as browser:
        assert "Spent today $1.00" in browser.get("now").words
    with served(world.rt, world.folder, around=PageAround(ZoneInfo("America/Los_Angeles"))) as browser:
        assert "Spent today $0.00 nothing yet" in browser.get("now").words


@pytest.mark.parametrize(
    "text, spent", [("client:test", "$0.00"), ("model:dear", "$1.00"), ("dear", "$1.00"), ("model:cheap", "$0.00")]
)
def test_a_filter_leaves_out_what_it_does_not_mean(world, text, spent):
    spend(world, world.start("5"), 1_000)
    with served(world.rt, world.folder) as browser:
        found = browser.get("now", filter=text)
    assert f"Spent today {spent}" in found.words
    assert 'class="chip"' in found.text


def test_a_word_that_no_filter_knows_is_said(world):
    spend(world, world.start("5"), 1_000)
    with served(world.rt, world.folder) as browser:
        assert "Not filtered by 'colour:red'" in browser.get("now", filter="colour:red").words


def test_a_ledger_that_cannot_be_used_is_a_halt_on_every_page_and_no_figure(world):
    from tallygate.core.errors import LedgerUnavailable

    class Gone:
        def reading(self, *_):
            raise LedgerUnavailable("The ledger is locked.", hint="Try again.", code="lock_timeout")

    with served(world.with_runtime(ledger=Gone()).rt, world.folder) as browser:
        found = browser.get("now")
    assert found.status == 503
    assert "The gate halts everything" in found.words
    assert "lock_timeout" in found.words
    assert "$0" not in found.words


def respond(world, session, minutes, tokens):
    """Responses of a client a minute apart, whose record is read; a token costs a tenth of a cent."""
    link_session(world.rt, "claude_code", "c1", session)
    for number in range(minutes):
        world.clock.forward(MINUTE)
        row = ObservedUsage(
            "claude_code", "c1", f"r{number}", as_datetime(world.clock.at_us), "dear",
            Tokens(output=tokens), Rule.CLAUDE_RESPONSE, project="/home/me/shop",
        )  # fmt: skip
        ingest(world.rt, FileReading("claude_code", "/t", [row]))


def test_how_much_work_is_left_is_told_in_time_at_work_and_never_as_a_time_of_the_day(world):
    world = as_said(world.with_runtime(rules=(DAY,), project="/home/me/shop"))
    session = world.start("100", client="claude-code", task_summary="a page")
    respond(world, session, 40, 600)
    world.ask(session, 0)
    with served(world.rt, world.folder) as browser:
        now, limits = browser.get("now"), browser.get("budgets", budget=session, by="30")
    assert "Burn, last 30 min at work $36.00 /h about 10 min of work left (5 min to 20 min)" in now.words
    assert re.search(r'<span class="sub up">about 10 min of work left', now.text), "what does not last stands in amber"
    assert "New limit $130.00 , $106.00 left; about 3 h of work left" in limits.words


def test_plan_windows_stand_with_what_is_left_and_old_ones_not(world):
    spend(world, world.start("5"), 100)
    at_us = world.clock.at_us
    with world.ledger.writing() as tx:
        for minutes, used, told_us in ((10_080, 7_300, at_us), (300, 1_800, at_us - 400 * MINUTE)):
            resets = told_us + minutes * MINUTE // 2
            tx.save_plan(PlanWindow("codex", "", minutes, used, told_us, resets, PlanSource.TRANSCRIPT))
    with served(world.rt, world.folder) as browser:
        for page in ("now", "budgets", "spend"):
            found = browser.get(page).words
            assert "codex plan, weekly; told" in found
            assert "27 %" in found
            assert "82 %" not in found, "that window has begun anew since"
