"""Budgets above the session: every scope, every period, every unit; a call passes all of them or none."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reading_rules import Rule as Reading_
from tests.repositories import repository, worktree
from tests.world import MINUTE, NANOS, Clock, as_said, hook_event, make_world, the_user

from tallygate.core.costing import Tokens
from tallygate.core.gate.rules import BudgetRule, BudgetScope
from tallygate.core.hooks import Moment
from tallygate.core.model import Actor
from tallygate.core.moments import as_datetime, microseconds
from tallygate.core.usage import ObservedUsage
from tallygate.core.words import Action, ActorType, BudgetMode, Reason
from tallygate.ledger.audit.audit import audit
from tallygate.operations.budgets.applicable import budgets_now
from tallygate.operations.budgets.calls import sweep
from tallygate.operations.budgets.change import raise_budget
from tallygate.operations.gate.authorize import check, check_budget
from tallygate.operations.gate.record import CallReport, UsageReport, record_call, record_usage
from tallygate.operations.hooks import answer_hook
from tallygate.operations.sessions.ending import end_session
from tallygate.operations.usage.ingest import FileReading, ingest, link_session
from tallygate.operations.views.spending import summary
from tallygate.workspace import place_of

CENT = NANOS // 100
HOUR = 60 * MINUTE
PROJECT = "/home/me/shop"


@pytest.fixture
def world(world):
    return world.with_runtime(project=PROJECT, user="me")


def ruled(world, *rules, **options):
    return world.with_runtime(rules=rules, **options)


def at(text, zone="UTC"):
    return microseconds(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)))


def day(cents, **options):
    return BudgetRule(BudgetScope.PROJECT, cents * CENT, period="day", **options)


def client(match):
    return BudgetRule(BudgetScope.CLIENT, CENT, period="day", match=match)


def bound(world, session_id):
    with world.ledger.reading() as reader:
        found = reader.session_with_budgets(session_id)
        from tallygate.operations.budgets.applicable import all_budgets

        return {b.budget_id: b for b in all_budgets(reader, found[0], world.clock.at_us)}


# ---------------------------------------------------------------- which budgets bind


@pytest.mark.parametrize(
    "rule, options, binds",
    [
        (BudgetRule(BudgetScope.PROJECT, CENT, period="day"), {}, f"project:{PROJECT}:day"),
        (BudgetRule(BudgetScope.PROJECT, CENT, period="day", match="shop"), {}, f"project:{PROJECT}:day"),
        (BudgetRule(BudgetScope.PROJECT, CENT, period="day", match="hop"), {}, None),
        (BudgetRule(BudgetScope.PROJECT, CENT, period="never", match=PROJECT), {}, f"project:{PROJECT}:never"),
        (BudgetRule(BudgetScope.TENANT, CENT, period="month"), {}, "tenant:default:month"),
        (BudgetRule(BudgetScope.TENANT, CENT, period="month", match="acme"), {}, None),
        (BudgetRule(BudgetScope.USER, CENT, period="week"), {}, "user:me:week"),
        (BudgetRule(BudgetScope.CLIENT, CENT, period="day"), {"client": "Claude_Code"}, "client:claude-code:day"),
        (
            BudgetRule(BudgetScope.CLIENT, CENT, period="day", match="claude_code"),
            {"client": "claude-code"},
            "client:claude-code:day",
        ),
        (
            BudgetRule(BudgetScope.CLIENT, CENT, period="day", match="Claude Code"),
            {"client": "claude_code"},
            "client:claude-code:day",
        ),
        (client("claude_*"), {"client": "claude code"}, "client:claude-*:day"),
        (
            BudgetRule(BudgetScope.CLIENT, CENT, period="day", match="codex*"),
            {"client": "codex-mcp"},
            "client:codex*:day",
        ),
        (BudgetRule(BudgetScope.CLIENT, CENT, period="day", match="codex*"), {"client": "gemini"}, None),
        (BudgetRule(BudgetScope.MODEL, CENT, period="day", match="d*r"), {}, "model:d*r:day"),
        (BudgetRule(BudgetScope.MODEL, CENT, period="day", match="cheap"), {}, None),
        (BudgetRule(BudgetScope.GLOBAL, CENT, period="5h"), {}, "global:all:5h"),
    ],
)
def test_a_rule_binds_the_sessions_of_its_scope(world, rule, options, binds):
    world = ruled(world, rule)
    session = world.start("1", **options)
    answer = world.ask(session, 20)
    assert (answer.action is Action.HALT) == (binds is not None)
    if binds is not None:
        assert answer.reason is Reason.BUDGET_EXCEEDED
        assert answer.binding.budget_id.startswith(binds)
        assert answer.binding.budget_id in answer.command


def test_a_first_session_cannot_slip_past_a_budget_that_nobody_has_used_yet(world):
    world = ruled(world, day(5))
    answers = [world.ask(world.start("1"), 20) for _ in range(4)]
    assert [a.action is Action.HALT for a in answers] == [False, False, True, True], "two cents each, five in all"


def test_the_answer_names_the_budget_that_binds_with_its_numbers_and_when_it_is_renewed(world):
    world.clock.at_us = at("2026-11-22T12:00")
    world = ruled(world, day(10))
    one, two = world.start("1"), world.start("1")
    world.ask(one, 80)
    answer = world.ask(two, 30)
    b = answer.binding
    assert (b.limit_nanos, b.reserved_nanos, b.available_nanos) == (10 * CENT, 8 * CENT, 2 * CENT)
    assert as_datetime(b.resets_us).isoformat() == "2026-11-23T00:00:00+00:00"
    assert "2026-11-23 00:00 UTC" in answer.message
    assert check(world.rt, two).remaining_nanos == 2 * CENT


def test_all_or_none_a_call_that_one_budget_refuses_holds_nothing_of_the_others(world):
    world = ruled(world, day(100), BudgetRule(BudgetScope.GLOBAL, 5 * CENT, period="never"))
    session = world.start("1")
    assert world.ask(session, 60).action is Action.HALT
    assert all(b.committed == 0 for b in bound(world, session).values())


def test_a_soft_budget_only_says_so(world):
    world = ruled(world, day(5, mode=BudgetMode.SOFT))
    answer = world.ask(world.start("10"), 60)
    assert answer.action is not Action.HALT


# ---------------------------------------------------------------- periods


def test_a_new_day_is_a_new_window_and_the_old_one_keeps_what_it_had(world):
    world.clock.at_us = at("2026-11-22T23:50")
    world = ruled(world, day(10))
    session = world.start("1")
    assert world.ask(session, 80).action is not Action.HALT
    assert world.ask(session, 80).action is Action.HALT
    world.clock.at_us = at("2026-11-23T00:00:01")
    assert world.ask(session, 80).action is not Action.HALT
    assert world.budget(f"project:{PROJECT}:day:2026-11-22").committed == 8 * CENT
    assert world.budget(f"project:{PROJECT}:day:2026-11-23").reserved == 8 * CENT


def test_a_cost_reported_after_midnight_stands_where_it_was_reserved(world):
    world.clock.at_us = at("2026-11-22T23:59")
    world = ruled(world, day(10))
    call = world.ask(world.start("1"), 80).call_id
    world.clock.at_us = at("2026-11-23T00:01")
    record_usage(world.rt, UsageReport(call, Tokens(output=30)))
    old = world.budget(f"project:{PROJECT}:day:2026-11-22")
    assert (old.spent, old.reserved) == (3 * CENT, 0)


@pytest.mark.parametrize(
    "moment, window, end",
    [
        ("2026-03-29T00:30", "2026-03-29", "2026-03-29T23:00:00+00:00"),
        ("2026-10-25T23:30", "2026-10-25", "2026-10-26T00:00:00+00:00"),
        ("2026-10-24T22:30", "2026-10-24", "2026-10-24T23:00:00+00:00"),
        ("2026-10-24T23:30", "2026-10-25", "2026-10-26T00:00:00+00:00"),
    ],
)
def test_days_are_the_users_own_also_when_clocks_are_changed(world, moment, window, end):
    world.clock.at_us = at(moment)
    world = ruled(world, day(10, zone="Europe/London"))
    answer = world.ask(world.start("1"), 200)
    assert answer.binding.budget_id == f"project:{PROJECT}:day:{window}"
    assert as_datetime(answer.binding.resets_us).isoformat() == end


def test_a_rolling_period_forgets_what_is_older_than_it_piece_by_piece(world):
    world.clock.at_us = at("2026-11-22T00:00")
    world = ruled(world, BudgetRule(BudgetScope.GLOBAL, 10 * CENT, period="5h"))
    session = world.start("9")

    def spend(tokens):
        answer = as_said(world).ask(session, tokens)
        if answer.call_id:
            record_usage(world.rt, UsageReport(answer.call_id, Tokens(output=tokens)))
        return answer

    assert spend(60).action is not Action.HALT
    world.clock.forward(3 * HOUR)
    assert spend(40).action is not Action.HALT
    refused = spend(10)
    assert refused.action is Action.HALT
    assert refused.binding.spent_nanos == 10 * CENT
    assert as_datetime(refused.binding.resets_us).isoformat() == "2026-11-22T05:10:00+00:00", "pieces of ten minutes"
    world.clock.forward(2 * HOUR - 1)
    assert spend(10).action is Action.HALT, "the first spending is not yet five hours old"
    world.clock.forward(10 * MINUTE + 1)
    assert spend(60).action is not Action.HALT
    assert spend(10).action is Action.HALT


@settings(max_examples=60)
@given(steps=st.lists(st.tuples(st.integers(0, 6 * 60), st.integers(1, 70)), max_size=25))
def test_no_rolling_window_ever_holds_more_than_its_limit(tmp_path_factory, steps):
    world = make_world(tmp_path_factory.mktemp("w"))
    world = ruled(world, BudgetRule(BudgetScope.GLOBAL, 100 * CENT // 10, period="5h"))
    session = world.start("1000")
    spent = []
    for minutes, tokens in steps:
        world.clock.forward(minutes * MINUTE)
        answer = world.ask(session, tokens)
        if answer.call_id:
            record_usage(world.rt, UsageReport(answer.call_id, Tokens(output=tokens)))
            spent.append((world.clock.at_us, tokens))
        recent = sum(n for when, n in spent if when > world.clock.at_us - 5 * HOUR)
        assert recent <= 100
    assert not audit(world.ledger)
    world.ledger.close()


# ---------------------------------------------------------------- units


def test_limits_in_tokens_and_in_calls(world):
    world = ruled(
        world,
        BudgetRule(BudgetScope.PROJECT, 100, unit="tokens", period="day"),
        BudgetRule(BudgetScope.GLOBAL, 3, unit="calls", period="never"),
    )
    session = world.start("9")
    assert world.ask(session, 60).action is not Action.HALT
    tokens = world.ask(session, 60)
    assert (tokens.binding.unit, tokens.binding.available_nanos) == ("tokens", 40)
    assert "100 tokens" in tokens.message
    assert [world.ask(session, 1).action is Action.HALT for _ in range(3)] == [False, False, True]


def test_a_budget_in_another_currency_is_held_at_its_own_rate(world):
    pounds = BudgetRule(
        BudgetScope.PROJECT, 10 * CENT, unit="GBP", period="never", usd_nanos=1_250_000_000, rate_day="2026-11-20"
    )
    world = ruled(world, pounds)
    session = world.start("9")
    call = world.ask(session, 100).call_id  # 10 cents are 8 pence
    budget = world.budget(f"project:{PROJECT}:never:GBP")
    assert (budget.reserved, budget.rate_day) == (8 * CENT, "2026-11-20")
    answer = world.ask(session, 50)
    assert answer.action is Action.HALT
    assert "£0.02 left" in answer.message
    assert answer.remaining_nanos == 2 * CENT * 125 // 100
    record_usage(world.rt, UsageReport(call, Tokens(output=50)))
    assert world.budget(f"project:{PROJECT}:never:GBP").spent == 4 * CENT


def test_the_settings_bind_a_session_also_where_an_agent_asks_for_more(world):
    world = ruled(world, BudgetRule(BudgetScope.SESSION, 5 * CENT), BudgetRule(BudgetScope.SESSION, 2, unit="calls"))
    session = world.start("9")
    assert world.ask(session, 60).binding.budget_id == f"{session}:USD"
    assert [world.ask(session, 1).action is Action.HALT for _ in range(3)] == [False, False, True]


# ---------------------------------------------------------------- trees, live sessions, changed settings


def respond(world, key, tokens, *, model="dear", seconds=1, project=PROJECT, agent=None):
    row = ObservedUsage(
        "claude_code", "c1", key, as_datetime(world.clock.at_us) + timedelta(seconds=seconds), model,
        Tokens(output=tokens), Reading_.CLAUDE_RESPONSE, project=project, agent_id=agent,
    )  # fmt: skip
    world.clock.forward(2_000_000)
    return ingest(world.rt, FileReading("claude_code", "/t", [row]))


def test_responses_count_in_the_windows_of_their_own_time_and_model(world):
    world.clock.at_us = at("2026-11-22T23:00")
    world = ruled(world, day(500), BudgetRule(BudgetScope.MODEL, 500, unit="tokens", period="never", match="cheap"))
    world.start("9", client="claude-code")
    world.clock.forward(MINUTE)
    respond(world, "r1", 100)
    respond(world, "r2", 70, model="cheap")
    world.clock.at_us = at("2026-11-23T01:00")
    respond(world, "r3", 40)
    assert world.budget(f"project:{PROJECT}:day:2026-11-22").spent == 10 * CENT + 7 * CENT // 10
    assert world.budget(f"project:{PROJECT}:day:2026-11-23").spent == 4 * CENT
    assert world.budget("model:cheap:never:tokens").spent == 70


def test_a_reservation_of_yesterday_is_released_by_a_response_of_today(world):
    world.clock.at_us = at("2026-11-22T23:59:50")
    world = ruled(world, day(500))
    session = world.start("9", client="claude-code")
    world.ask(session, 100)
    world.clock.at_us = at("2026-11-23T00:00:05")
    respond(world, "r1", 100)
    old, new = (world.budget(f"project:{PROJECT}:day:2026-11-{n}") for n in (22, 23))
    assert (old.spent, old.reserved) == (0, 0)
    assert (new.spent, new.reserved) == (10 * CENT, 0)


def test_children_in_parallel_roll_up_to_the_root_and_to_the_project_once(world):
    world = ruled(world, day(10_000))
    root = world.start("9")
    children = [world.start("3", parent_session_id=root) for _ in range(3)]
    grandchild = world.start("2", parent_session_id=children[0])
    total = 0
    for number, session in enumerate([*children, grandchild, root] * 3):
        tokens = 7 * number + 3
        record_usage(world.rt, UsageReport(world.ask(session, tokens).call_id, Tokens(output=tokens)))
        total += tokens
    for session in [grandchild, *children, root]:
        end_session(world.rt, session)
    assert world.budget(root).spent == total * NANOS // 1000
    assert bound(world, root)[f"project:{PROJECT}:day:2026-09-21"].spent == total * NANOS // 1000


def test_a_limit_that_is_changed_in_the_settings_holds_at_once_and_keeps_what_was_raised(world):
    name = f"project:{PROJECT}:never"
    rule = BudgetRule(BudgetScope.PROJECT, 10 * CENT, period="never")
    session = ruled(world, rule).start("9")
    ruled(world, rule).ask(session, 50)
    raise_budget(world.rt, name, 5 * CENT, reason="more", authority=the_user("me"))
    stricter = ruled(world, replace(rule, limit=8 * CENT))
    assert stricter.ask(session, 90).action is Action.HALT
    stricter.ask(session, 10)
    assert world.budget(name).limit == 13 * CENT


@pytest.mark.parametrize("within", [None, PROJECT], ids=["the user's", "the project's"])
def test_a_running_session_keeps_its_limits_and_takes_only_tighter_ones(world, within):
    world = ruled(world, day(10, within=within))
    session = world.start("100")
    world.ask(session, 50)
    looser = ruled(world, day(1000, within=within))
    answer = looser.ask(session, 60)
    assert (answer.action, answer.binding.limit_nanos) == (Action.HALT, 10 * CENT)
    assert ruled(world).ask(session, 60).action is Action.HALT, "nor is a row that was taken out"
    answer = ruled(world, day(7, within=within)).ask(session, 30)
    assert (answer.action, answer.binding.limit_nanos) == (Action.HALT, 7 * CENT)
    added = BudgetRule(BudgetScope.GLOBAL, 6 * CENT, period="never", within=within)
    answer = ruled(world, day(10, within=within), added).ask(session, 20)
    assert (answer.action, answer.binding.limit_nanos) == (Action.HALT, 6 * CENT)


def test_another_workspace_books_into_the_budgets_that_a_session_was_opened_with(world):
    opened = ruled(world, day(500))
    session = opened.start("9", client="claude-code")
    world.clock.forward(MINUTE)
    elsewhere = world.with_runtime(project="/elsewhere", rules=(BudgetRule(BudgetScope.GLOBAL, 1, period="never"),))
    respond(elsewhere, "r1", 100)
    assert bound(world, session)[f"project:{PROJECT}:day:2026-09-21"].spent == 10 * CENT
    assert elsewhere.ask(session, 10).action is not Action.HALT, "its own rules bind only its own sessions"


@pytest.mark.parametrize("limits", [(10, 900), (900, 10), (900, 10, 500)], ids=str)
def test_of_several_limits_for_one_budget_the_tightest_counts_wherever_it_stands(world, limits):
    world = ruled(world, *(BudgetRule(BudgetScope.GLOBAL, limit * CENT, period="day") for limit in limits))
    answer = world.ask(world.start("9"), 200)
    assert answer.action is Action.HALT
    assert answer.binding.limit_nanos == 10 * CENT


# ---------------------------------------------------------------- places


def at_work(world, folder, *rules):
    """The world as a client started in a folder sees it."""
    return ruled(world, *rules, project=str(folder), place_of=lambda each: each and place_of(each, "/home/nobody-here"))


@pytest.mark.parametrize("match", [None, "shop", "sh*", "{disk}/shop", "{disk}/*"])
def test_a_budget_of_a_repository_is_one_for_its_subfolders_nested_repositories_and_worktrees(world, tmp_path, match):
    disk = Path(os.path.realpath(tmp_path))
    shop = repository(disk / "shop")
    nested, outside = repository(shop / "lib"), worktree(shop, disk / "trees" / "shop-a09")
    (shop / "api").mkdir()
    rule = BudgetRule(BudgetScope.PROJECT, 10 * CENT, period="never", match=match and match.format(disk=disk))
    for folder in (shop, shop / "api", nested, outside):
        here = at_work(world, folder, rule)
        assert here.ask(here.start("9"), 20).action is not Action.HALT, folder
    assert world.budget(f"project:{shop}:never").committed == 8 * CENT
    for folder in (shop, shop / "api", nested, outside):
        here = at_work(world, folder, rule)
        assert here.ask(here.start("9"), 30).action is Action.HALT, folder
    elsewhere = at_work(world, repository(tmp_path / "other"), rule)
    assert elsewhere.ask(elsewhere.start("9"), 30).action is not Action.HALT


def test_a_nested_repository_has_its_own_budget_within_that_of_the_outer_one(world, tmp_path):
    outer = repository(Path(os.path.realpath(tmp_path)) / "shop")
    inner = repository(outer / "lib")
    here = at_work(world, inner, BudgetRule(BudgetScope.PROJECT, 10 * CENT, period="never"))
    session = here.start("9")
    here.ask(session, 20)
    assert {each for each in bound(here, session) if each.startswith("project")} == {
        f"project:{outer}:never", f"project:{inner}:never",
    }  # fmt: skip


def test_what_a_session_spends_counts_in_its_projects_budget_when_its_worktree_has_gone(world, tmp_path):
    disk = Path(os.path.realpath(tmp_path))
    shop = repository(disk / "shop")
    tree = worktree(shop, disk / "trees" / "shop-a09")
    here = at_work(world, tree, BudgetRule(BudgetScope.PROJECT, 50 * CENT, period="never"))
    session = here.start("9", client="claude-code")
    link_session(here.rt, "claude_code", "c1", session)
    here.clock.forward(MINUTE)
    respond(here, "r1", 100, project=str(tree))
    shutil.rmtree(tree)
    respond(here, "r2", 100, project=str(tree))
    assert bound(here, session)[f"project:{shop}:never"].spent == 20 * CENT


def test_what_a_session_spends_counts_in_its_projects_budget_wherever_its_shell_stands(world, tmp_path):
    disk = Path(os.path.realpath(tmp_path))
    folder, other = disk / "plain", disk / "other"
    folder.mkdir()
    other.mkdir()
    here = at_work(world, folder, BudgetRule(BudgetScope.PROJECT, 50 * CENT, period="never", match=str(folder)))
    session = here.start("9", client="claude-code")
    link_session(here.rt, "claude_code", "c1", session)
    here.clock.forward(MINUTE)
    respond(here, "r1", 100, project=str(other))
    assert bound(here, session)[f"project:{folder}:never"].spent == 10 * CENT


def test_a_step_that_stands_in_another_project_is_asked_of_that_projects_budget(world, tmp_path):
    disk = Path(os.path.realpath(tmp_path))
    shop, other = repository(disk / "shop"), repository(disk / "other")
    rule = BudgetRule(BudgetScope.PROJECT, 50 * CENT, period="never", match=str(shop))
    session = at_work(world, other, rule).start("9")
    there = at_work(world, shop, rule)
    assert there.ask(session, 40).action is not Action.HALT
    assert there.budget(f"project:{shop}:never").committed == 4 * CENT
    spender = there.start("9")
    there.ask(spender, 450)
    assert there.ask(session, 40).action is Action.HALT
    assert check(there.rt, session).limit_nanos == 50 * CENT
    assert at_work(world, other, rule).ask(session, 40).action is not Action.HALT, (
        "back in its own it is not asked there"
    )


def test_whoever_tells_what_is_left_asks_the_budgets_that_the_gate_asks_where_the_step_stands(world, tmp_path):
    disk = Path(os.path.realpath(tmp_path))
    shop, other = repository(disk / "shop"), repository(disk / "other")
    rule = BudgetRule(BudgetScope.PROJECT, 50 * CENT, period="never", match=str(shop))
    there, home = at_work(world, shop, rule), at_work(world, other, rule)
    session = home.start("9")
    there.ask(there.start("9"), 460)
    window = there.budget(f"project:{shop}:never")

    def left(place):
        with place.ledger.reading() as reader:
            greeted = budgets_now(place.rt, reader, reader.session(session), place.clock.at_us)
            looked = budgets_now(place.rt, reader, reader.session(session), place.clock.at_us, here=False)
        every = {
            check(place.rt, session).remaining_nanos,
            check_budget(place.rt, session).remaining,
            summary(place.rt, session).remaining,
            min(budget.available for budget in greeted),
        }
        return every, min(budget.available for budget in looked)

    assert left(there) == ({4 * CENT}, 9 * NANOS), "who looks from elsewhere does not stand there"
    assert left(home) == ({9 * NANOS}, 9 * NANOS)
    assert (check_budget(there.rt, session, 5 * CENT).allowed, check_budget(home.rt, session, 5 * CENT).allowed) == (
        False, True,
    )  # fmt: skip
    booked = record_call(there.rt, CallReport(session, "dear", Tokens(output=60)))
    assert (booked.remaining, booked.cost) == (-2 * CENT, 6 * CENT)
    answer = there.ask(session, 0, actual=Tokens(output=20))
    assert answer.remaining_nanos == -4 * CENT
    assert there.budget(window.budget_id).spent == window.spent + 8 * CENT, "it counts there"
    assert there.budget(session).spent == 8 * CENT
    assert not audit(there.ledger)


@pytest.mark.parametrize("where", ["", "sub", "gone/since"])
@pytest.mark.parametrize("agent", [None, "a1"])
def test_a_session_whose_responses_are_made_in_a_project_is_asked_there_wherever_its_steps_say_they_stand(
    world, tmp_path, where, agent
):
    disk = Path(os.path.realpath(tmp_path))
    shop, other = repository(disk / "shop"), repository(disk / "other")
    (shop / "sub").mkdir()
    here = at_work(world, other, BudgetRule(BudgetScope.PROJECT, 50 * CENT, period="never", match=str(shop)))
    session = here.start("9", client="claude-code")
    link_session(here.rt, "claude_code", "c1", session)
    here.clock.forward(MINUTE)
    respond(here, "r1", 450, project=str(shop / where), agent=agent)
    if agent is not None:
        respond(here, "r2", 1, project=str(other))
    assert here.ask(session, 40).action is not Action.HALT
    answer = here.ask(session, 40)
    assert (answer.action, answer.binding.budget_id) == (Action.HALT, f"project:{shop}:never")
    respond(here, "r3", 1, project=str(other), agent=None)
    if agent is not None:
        assert here.ask(session, 40).action is Action.HALT, "its subagent may still be at work there"
        here.clock.forward(20 * MINUTE)
    assert here.ask(session, 40).action is not Action.HALT, "it works elsewhere by now"


@pytest.mark.parametrize("agent", [None, "a1"])
def test_a_session_that_a_project_has_halted_goes_on_elsewhere_where_its_client_tells_the_truth_of_folders(
    world, tmp_path, agent
):
    disk = Path(os.path.realpath(tmp_path))
    home, shop, other = (repository(disk / name) for name in ("home", "shop", "other"))
    limit = BudgetRule(BudgetScope.PROJECT, 50 * CENT, period="never", match=str(shop))
    here, there, elsewhere = (at_work(world, folder, limit) for folder in (home, shop, other))
    session = here.start("9", client="claude-code")
    link_session(here.rt, "claude_code", "c1", session)
    here.clock.forward(MINUTE)
    actor = Actor() if agent is None else Actor(ActorType.SUBAGENT, agent)
    assert there.ask(session, 40, actor=actor).action is not Action.HALT
    here.clock.forward(1_000_000)
    respond(there, "r1", 499, project=str(shop), agent=agent)
    for _ in range(40):
        assert there.ask(session, 40, actor=actor).action is Action.HALT, "it stands there still"
    assert elsewhere.ask(session, 40).action is not Action.HALT, "its work is elsewhere by now"
    assert here.ask(session, 40).action is not Action.HALT
    # Said to stand elsewhere, and at work in the project all the same.
    here.clock.forward(1_000_000)
    respond(here, "r2", 1, project=str(shop / "sub"), agent=agent)
    if agent is None:
        assert elsewhere.ask(session, 40).action is Action.HALT
        assert here.ask(session, 40).action is Action.HALT


@pytest.mark.parametrize("agent", [None, "a1"])
@pytest.mark.parametrize("told", ["stopped there", "another stopped there", "ended there", "ended at home", "nothing"])
def test_a_project_whose_steps_left_no_call_lets_go_where_a_stop_or_an_end_was_told_there(world, tmp_path, told, agent):
    """An allowed tool leaves no call: all that is on record of the way there is what stands behind the response."""
    disk = Path(os.path.realpath(tmp_path))
    home, shop = repository(disk / "home"), repository(disk / "shop")
    limit = BudgetRule(BudgetScope.PROJECT, 50 * CENT, period="never", match=str(shop))
    here, there = (at_work(world, folder, limit) for folder in (home, shop))
    session = here.start("9", client="claude-code")
    link_session(here.rt, "claude_code", "c1", session)
    here.clock.forward(MINUTE)
    actor = Actor() if agent is None else Actor(ActorType.SUBAGENT, agent)
    assert here.ask(session, 40, actor=actor).action is not Action.HALT
    here.clock.forward(1_000_000)
    respond(there, "r1", 499, project=str(shop), agent=agent)
    if "stopped there" in told:
        asks = Actor(ActorType.SUBAGENT, "a9") if "another" in told else actor
        assert there.ask(session, 40, actor=asks).action is Action.HALT
    elif told != "nothing":
        at = shop / "sub" if told == "ended there" else home
        end = hook_event("claude_code", Moment.AGENT_END, "c1", "end", agent_id=agent, folder=str(at))
        answer_hook(here.rt, end)
    lets_go = told == "stopped there" or (told == "ended there" and agent is not None)
    for by in (Actor(), actor):
        assert (here.ask(session, 40, actor=by).action is not Action.HALT) is lets_go
    # Its end stands for what came before it.
    here.clock.forward(1_000_000)
    respond(there, "r2", 1, project=str(shop), agent=agent)
    assert (here.ask(session, 40).action is not Action.HALT) is False


@pytest.mark.parametrize("agent", [None, "a1"])
def test_small_responses_elsewhere_hide_no_project_to_which_an_agent_comes_back(world, tmp_path, agent):
    disk = Path(os.path.realpath(tmp_path))
    home, shop = repository(disk / "home"), repository(disk / "shop")
    limit = BudgetRule(BudgetScope.PROJECT, 50 * CENT, period="never", match=str(shop))
    here, there = (at_work(world, folder, limit) for folder in (home, shop))
    session = here.start("9", client="claude-code")
    link_session(here.rt, "claude_code", "c1", session)
    here.clock.forward(MINUTE)
    actor = Actor() if agent is None else Actor(ActorType.SUBAGENT, agent)
    for turn, folder in enumerate((shop, shop / "sub")):
        assert here.ask(session, 1, actor=actor).action is not Action.HALT
        respond(here, f"large {turn}", 300, project=str(folder), agent=agent)
        respond(here, f"small {turn}", 1, project=str(home), agent=agent)
    assert here.ask(session, 1, actor=actor).action is Action.HALT
    # What it did there is told there by now.
    assert there.ask(session, 1, actor=actor).action is Action.HALT
    assert here.ask(session, 1, actor=actor).action is not Action.HALT
    respond(here, "large 3", 1, project=str(shop), agent=agent)
    respond(here, "small 3", 1, project=str(home), agent=agent)
    assert here.ask(session, 1, actor=actor).action is Action.HALT
    here.clock.forward(20 * MINUTE)
    assert here.ask(session, 1, actor=actor).action is not Action.HALT, "it works elsewhere by now"


@pytest.mark.parametrize("done", ["reported", "expired", "told at once"])
def test_what_a_step_used_counts_once_in_the_project_it_stood_in(world, tmp_path, done):
    disk = Path(os.path.realpath(tmp_path))
    shop, other = repository(disk / "shop"), repository(disk / "other")
    rules = [BudgetRule(BudgetScope.PROJECT, 50 * CENT, period="never", match=str(each)) for each in (shop, other)]
    session = at_work(world, other, *rules).start("9")
    there = at_work(world, shop, *rules)
    if done == "told at once":
        there.ask(session, 0, actual=Tokens(fresh_input=70))
    else:
        asked = there.ask(session, 70)
    if done == "reported":
        record_usage(there.rt, UsageReport(asked.call_id, Tokens(fresh_input=70)))
    if done == "expired":
        there.clock.forward(24 * 60 * MINUTE)
        sweep(at_work(world, other, *rules).rt)
    spent = {each: there.budget(f"project:{each}:never").spent for each in (shop, other)}
    assert spent == {shop: 7 * CENT, other: 7 * CENT}, "its session's project goes on counting it, too"
    assert there.budget(session).spent == 7 * CENT
    assert not audit(world.ledger)

    asking = at_work(world, shop, BudgetRule(BudgetScope.PROJECT, 500, unit="tokens", period="never", match=str(shop)))
    asking.ask(asking.start("9"), 0)
    assert there.budget(f"project:{shop}:never:tokens").spent == 70, "so does a budget that begins later"


SPELLINGS = (
    "claude-opus-4-7", "claude-opus-4.7", "us.anthropic.claude-opus-4-7-v1:0", "vertex_ai/claude-opus-4-7@20260416",
    "openrouter/anthropic/claude-opus-4.7", "azure_ai/claude-opus-4-7", "Claude Opus 4.7", "claude-opus-4-7-20260416",
)  # fmt: skip


@pytest.mark.parametrize("match", ["claude-opus-4-7", "claude-opus-4.7", "claude-opus-4-7*", "claude-opus-*", "opus"])
def test_a_budget_of_a_model_holds_whatever_spelling_an_agent_or_a_client_chooses(world, match):
    world = ruled(world, BudgetRule(BudgetScope.MODEL, CENT, period="day", match=match))
    session = world.start("9", model="cheap")
    for model in SPELLINGS:
        answer = world.ask(session, 100_000, model=model)
        assert answer.action is Action.HALT, model
        assert answer.binding.budget_id.startswith("model:"), model
    assert world.ask(session, 100_000, model="gpt-5-mini").action is not Action.HALT


def test_responses_count_into_the_budget_of_their_model_in_every_spelling(world):
    world = ruled(world, BudgetRule(BudgetScope.MODEL, 10**9, period="day", match="claude-opus-4-7", unit="tokens"))
    world.start("9")
    for number, model in enumerate(SPELLINGS):
        respond(world, f"r{number}", 10, model=model)
    respond(world, "other", 10, model="claude-opus-4-8")
    day_of = as_datetime(world.clock.at_us).date()
    assert world.budget(f"model:claude-opus-4-7:day:{day_of}:tokens").spent == 10 * len(SPELLINGS)


def test_a_name_that_the_user_gave_a_model_is_bound_with_it(world):
    world = ruled(world, BudgetRule(BudgetScope.MODEL, CENT, period="day", match="claude-opus-4-7", also=("work",)))
    assert world.ask(world.start("9", model="work"), 100_000).action is Action.HALT


# ---------------------------------------------------------------- random trees


RULES = st.lists(
    st.builds(
        BudgetRule,
        scope=st.sampled_from([each for each in BudgetScope if each is not BudgetScope.MODEL]),
        limit=st.integers(1, 400),
        unit=st.sampled_from(["USD", "GBP", "tokens", "calls"]),
        period=st.sampled_from(["day", "week", "month", "never", "3h", "24h"]),
        mode=st.sampled_from([BudgetMode.HARD, BudgetMode.HARD, BudgetMode.SOFT]),
        zone=st.sampled_from(["UTC", "Europe/London", "Asia/Tokyo"]),
    ).map(lambda r: replace(r, limit=r.limit * (CENT // 10 if r.unit in ("USD", "GBP") else 1),
                            period="session" if r.scope is BudgetScope.SESSION else r.period,
                            usd_nanos=1_310_000_001 if r.unit == "GBP" else NANOS)),
    max_size=6,
)  # fmt: skip
MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("start"), st.integers(1, 30), st.booleans()),
        st.tuples(st.just("ask"), st.integers(0, 9), st.integers(0, 120)),
        st.tuples(st.just("record"), st.integers(0, 9), st.integers(0, 120)),
        st.tuples(st.just("respond"), st.integers(0, 9), st.integers(0, 120)),
        st.tuples(st.just("wait"), st.integers(1, 2000), st.just(0)),
        st.tuples(st.just("end"), st.integers(0, 9), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=120)
@given(rules=RULES, moves=MOVES)
def test_no_tree_of_budgets_admits_past_a_hard_limit_and_counters_equal_their_sums(tmp_path_factory, rules, moves):
    clock = Clock(at("2026-03-28T20:00"))
    world = ruled(make_world(tmp_path_factory.mktemp("w"), clock=clock), *rules, project=PROJECT, user="me")
    sessions, calls = [], []
    for move, one, two in moves:
        world.clock.forward(1000)
        if move == "start":
            parent = sessions[-1] if two and sessions else None
            sessions.append(world.start(str(one), parent_session_id=parent))
        elif move == "wait":
            world.clock.forward(one * MINUTE)
        elif move == "respond":
            respond(world, f"r{one}", two)
        elif sessions and move == "ask":
            answer = world.ask(sessions[one % len(sessions)], two)
            if answer.call_id:
                calls.append(answer.call_id)
        elif calls and move == "record":
            call = world.call(calls[one % len(calls)])
            if not call.has_actual:
                record_usage(world.rt, UsageReport(call.call_id, Tokens(output=min(two, call.prompt_tokens))))
        elif sessions and move == "end":
            end_session(world.rt, sessions[one % len(sessions)])
    with world.ledger.reading() as reader:
        for budget in reader.budgets(1000):
            over = budget.spent + budget.reserved - budget.limit
            if budget.mode is BudgetMode.HARD and not any(move == "respond" for move, _, _ in moves):
                assert over <= 0, budget
    assert not audit(world.ledger)
    world.ledger.close()
