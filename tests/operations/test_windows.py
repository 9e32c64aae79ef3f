"""Windows count everything on record in their span: gated or not, whenever the budget came, in any order."""

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
from tests.world import MINUTE, NANOS, T0, Clock, as_said, make_world, the_user

from tallygate.core.costing import Tokens
from tallygate.core.gate.rules import PIECES, BudgetRule, BudgetScope, rolling_us
from tallygate.core.model import Amount
from tallygate.core.moments import as_datetime, microseconds
from tallygate.core.usage import ObservedUsage
from tallygate.core.words import Action, BudgetMode
from tallygate.ledger.audit.audit import audit
from tallygate.operations.budgets.calls import sweep
from tallygate.operations.budgets.change import raise_budget, set_budget
from tallygate.operations.gate.record import CallReport, UsageReport, record_call, record_usage, void_call
from tallygate.operations.sessions.ending import end_session
from tallygate.operations.usage.ingest import FileReading, ingest, link_session
from tallygate.operations.views.overview import budget_called, find_budget, list_budgets
from tallygate.operations.views.usage import UsageWanted, folders_of, list_usage
from tallygate.operations.worktrees import FolderPlaces
from tallygate.reports.usage import By
from tallygate.workspace import place_of

CENT = NANOS // 100
HOUR = 60 * MINUTE
DAY = 24 * HOUR
PROJECT = "/home/me/shop"
EVERYTHING = BudgetRule(BudgetScope.GLOBAL, 20 * NANOS, period="day")


@pytest.fixture
def world(world):
    return world.with_runtime(project=PROJECT, user="me")


def ruled(world, *rules):
    return world.with_runtime(rules=rules)


def at(text, zone="UTC"):
    return microseconds(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)))


def told(key, tokens, at_us, *, client="codex", project="/elsewhere", model="dear", session="c1"):
    return ObservedUsage(
        client, session, key, as_datetime(at_us), model, Tokens(output=tokens), Reading_.CODEX_LAST, project=project
    )


def respond(world, *rows):
    for row in rows:
        ingest(world.rt, FileReading(row.client, "/t", [row]))


def spent(world, name):
    return world.budget(name).spent


# ---------------------------------------------------------------- what is on record already


def test_what_was_spent_today_before_there_was_a_cap_stops_the_next_step(world):
    respond(world, *(told(f"r{n}", 13_000, world.clock.at_us - n * HOUR) for n in (1, 2)))
    answer = ruled(world, EVERYTHING).ask(world.start("100"), 10)
    assert answer.action is Action.HALT
    assert (answer.binding.spent_nanos, answer.binding.available_nanos) == (26 * NANOS, -6 * NANOS)
    assert world.budget("global:all:day:2026-09-21").seed == 26 * NANOS, "the journal says what it began with"


@pytest.mark.parametrize(
    "others", [(), (BudgetRule(BudgetScope.GLOBAL, 99 * NANOS, period="week"),)], ids=["none yet", "a week"]
)
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_window_that_begins_with_a_response_counts_what_came_in_with_it(world, others, order):
    if others:
        ruled(world, *others).ask(ruled(world, *others).start("99"), 1)
    session = ruled(world, EVERYTHING).start("9")
    link_session(world.rt, "codex", "c1", session)
    world.clock.forward(MINUTE)
    rows = [told("nobody's", 3_000, world.clock.at_us, session="c9"), told("mine", 2_000, world.clock.at_us)]
    ingest(world.rt, FileReading("codex", "/t", [rows[number] for number in order]))
    assert spent(world, "global:all:day:2026-09-21") == 5 * NANOS


@pytest.mark.parametrize(
    "rule, counted",
    [
        (BudgetRule(BudgetScope.GLOBAL, CENT, period="day"), 15),
        (BudgetRule(BudgetScope.USER, CENT, period="week"), 15),
        (BudgetRule(BudgetScope.TENANT, CENT, period="month"), 15),
        (BudgetRule(BudgetScope.GLOBAL, CENT, period="never"), 31),
        (BudgetRule(BudgetScope.GLOBAL, CENT, period="5h"), 15),
        (BudgetRule(BudgetScope.GLOBAL, CENT, period="1h"), 7),
        (BudgetRule(BudgetScope.GLOBAL, 1, period="day", unit="calls"), 4),
        (BudgetRule(BudgetScope.GLOBAL, 1, period="5h", unit="tokens"), 150),
        (BudgetRule(BudgetScope.GLOBAL, CENT, period="day", unit="GBP", usd_nanos=1_250_000_000), 12),
        (BudgetRule(BudgetScope.PROJECT, CENT, period="day"), 5),
        (BudgetRule(BudgetScope.CLIENT, CENT, period="day", match="claude*"), 3),
        (BudgetRule(BudgetScope.MODEL, CENT, period="day", match="cents"), 4),
    ],
    ids=lambda each: each.budget_id("") if isinstance(each, BudgetRule) else "",
)
def test_a_new_window_begins_with_all_that_lies_in_it_whoever_spent_it(world, rule, counted):
    now = world.clock.at_us
    respond(
        world,
        told("yesterday", 160, now - 40 * DAY),
        told("elsewhere", 70, now - 10 * MINUTE),
        told("other client", 30, now - 70 * MINUTE, client="claude_code"),
        told("below", 10, now - 80 * MINUTE, project=f"{PROJECT}/part"),
        told("beside", 0, now - 80 * MINUTE, project=f"{PROJECT}-two"),
    )
    respond(world, told("here", 40, now - 90 * MINUTE, project=PROJECT, model="cents"))
    # Forty tokens of a model that costs a cent a thousand are four hundredths of a cent: these count by the tokens.
    answer = ruled(world, rule).ask(world.start("9", client="claude-code"), 1, model="cents")
    binding = answer.binding
    seen = {"USD": CENT, "GBP": CENT}.get(rule.unit, 1)
    if rule.scope is BudgetScope.MODEL:
        assert binding is None or binding.spent_nanos == 4 * CENT // 100
    elif rule.scope is BudgetScope.PROJECT:
        assert binding.spent_nanos == CENT + 4 * CENT // 100
    elif rule.unit in ("calls", "tokens"):
        assert binding.spent_nanos == {"calls": 5, "tokens": 150}[rule.unit]
    else:
        usd = {15: 11, 31: 27, 7: 7, 12: 11, 3: 3}[counted] * CENT + (0 if counted in (7, 3) else 4 * CENT // 100)
        assert binding.spent_nanos == (usd if rule.unit == "USD" else Amount(usd).measured("GBP", rule.usd_nanos))
    assert seen


@pytest.mark.parametrize(
    "rule, before, after",
    [
        (BudgetRule(BudgetScope.GLOBAL, CENT, period="day", within=PROJECT), 2 * CENT, 5 * CENT),
        (BudgetRule(BudgetScope.USER, CENT, period="week", within=PROJECT), 2 * CENT, 5 * CENT),
        (BudgetRule(BudgetScope.TENANT, CENT, period="never", within=PROJECT), 2 * CENT, 5 * CENT),
        (BudgetRule(BudgetScope.CLIENT, CENT, period="day", match="codex", within=PROJECT), 2 * CENT, 5 * CENT),
        (BudgetRule(BudgetScope.MODEL, CENT, period="day", match="dear", within=PROJECT), 2 * CENT, 5 * CENT),
        (BudgetRule(BudgetScope.GLOBAL, 1, period="5h", unit="tokens", within=PROJECT), 20, 50),
    ],
    ids=lambda each: each.budget_id("") if isinstance(each, BudgetRule) else "",
)
def test_a_window_of_a_projects_own_file_counts_only_what_was_spent_there(world, rule, before, after):
    now = world.clock.at_us
    # Whatever its scope says: what was spent elsewhere is none of a project's business, before it opens and after.
    respond(world, told("here", 20, now - MINUTE, project=PROJECT), told("beside", 70, now, project=f"{PROJECT}-two"))
    world = ruled(world, rule)
    session = world.start("9", client="codex")
    answer = world.ask(session, 1)
    assert (answer.action, answer.binding.spent_nanos) == (Action.HALT, before)
    respond(world, told("below", 30, now, project=f"{PROJECT}/part"), told("elsewhere", 900, now))
    assert world.ask(session, 1).binding.spent_nanos == after
    assert world.problems() == []


def test_work_without_hooks_counts_when_it_comes_in_and_an_old_day_changes_no_open_window(world):
    capped = ruled(world, EVERYTHING)
    session = capped.start("100")
    capped.ask(session, 0)
    today = "global:all:day:2026-09-21"
    respond(world, told("old", 9_000, world.clock.at_us - 2 * DAY))
    assert spent(world, today) == 0
    respond(world, told("new", 9_000, world.clock.at_us))
    assert spent(world, today) == 9 * NANOS
    respond(world, told("new", 19_990, world.clock.at_us))
    assert spent(world, today) == 19_990 * NANOS // 1000, "what is more of a response counts, once"
    assert capped.ask(session, 11).action is Action.HALT
    assert capped.ask(session, 10).action is not Action.HALT


def test_calls_that_an_agent_reported_before_the_budget_was_there_count_once_and_by_what_becomes_of_them(world):
    session = world.start("100")
    early = [world.ask(session, 1000).call_id for _ in range(4)]
    record_usage(world.rt, UsageReport(early[0], Tokens(output=500)))
    void_call(world.rt, early[1], "not made")
    capped = ruled(world, EVERYTHING)
    capped.ask(session, 0)
    today = "global:all:day:2026-09-21"
    budget = world.budget(today)
    assert (budget.spent, budget.reserved) == (NANOS // 2, 2 * NANOS), "two are still pending"
    record_usage(world.rt, UsageReport(early[2], Tokens(output=300)))
    record_usage(world.rt, UsageReport(early[1], Tokens(output=100)))
    world.clock.forward(11 * MINUTE)
    sweep(world.rt)
    budget = world.budget(today)
    assert (budget.spent, budget.reserved) == (1900 * NANOS // 1000, 0)


def test_a_session_whose_settings_know_no_rule_counts_in_the_window_that_others_made(world):
    capped = ruled(world, EVERYTHING)
    capped.ask(capped.start("100"), 0)
    free = world.with_runtime(project="/elsewhere")
    session = free.start("100")
    call = free.ask(session, 1000).call_id
    record_usage(free.rt, UsageReport(call, Tokens(output=500)))
    record_call(free.rt, CallReport(session, "dear", Tokens(output=250)))
    assert spent(world, "global:all:day:2026-09-21") == 750 * NANOS // 1000


def test_usage_that_a_client_writes_down_takes_the_place_of_what_its_agent_said(world):
    capped = ruled(world, EVERYTHING)
    session = world.start("100", client="codex")
    record_call(world.rt, CallReport(session, "dear", Tokens(output=400)))
    capped.ask(capped.start("100"), 0)
    today = "global:all:day:2026-09-21"
    assert spent(world, today) == 400 * NANOS // 1000
    respond(world, told("r1", 700, world.clock.at_us))
    assert spent(world, today) == 1100 * NANOS // 1000, "nobody can know yet that it is the same"
    link_session(world.rt, "codex", "c1", session)
    assert spent(world, today) == 700 * NANOS // 1000


def test_a_ledger_of_an_older_version_counts_the_rest_of_its_windows_from_the_next_step_on(world):
    capped = ruled(world, EVERYTHING, BudgetRule(BudgetScope.GLOBAL, 30 * NANOS, period="5h"))
    session = capped.start("100")
    record_usage(capped.rt, UsageReport(capped.ask(session, 2000).call_id, Tokens(output=2000)))
    with world.ledger.writing() as tx:  # as the version before wrote them
        from tallygate.ledger.port import Update

        names = [b.budget_id for b in [*tx.budgets(10), *tx.windows_between("5h", 0, 2**62)] if b.start_us is not None]
        rows = [Update("budget", {"budget_id": n, "start_us": None, "seed_nanos": None}) for n in names]
        tx.append("test.older", rows, by="test")
    respond(world, told("ungated", 7_000, world.clock.at_us - MINUTE))
    assert spent(world, "global:all:day:2026-09-21") == 2 * NANOS
    assert capped.ask(session, 11_001).action is Action.HALT
    assert spent(world, "global:all:day:2026-09-21") == 9 * NANOS
    assert next(b for b in list_budgets(world.rt, limit=9) if b.period == "5h").carried == 0
    assert find_budget(world.rt, "global:all:5h").spent == 9 * NANOS


def test_a_change_of_time_zone_keeps_an_opened_window_and_gives_nothing_twice(world):
    world.clock.at_us = at("2026-11-30T20:00")
    utc = ruled(world, EVERYTHING)
    session = utc.start("100")
    record_usage(utc.rt, UsageReport(utc.ask(session, 15_000).call_id, Tokens(output=15_000)))
    tokyo = ruled(world, replace(EVERYTHING, zone="Asia/Tokyo"))
    assert tokyo.ask(session, 5_001).action is Action.HALT, "there it is December, and 20:00 UTC lies in it"
    world.clock.at_us = at("2026-12-01T02:00")
    here = ruled(world, replace(EVERYTHING, zone="America/Los_Angeles"))
    assert here.ask(session, 5_001).action is Action.HALT, "there it is still November"
    kept = world.budget("global:all:day:2026-11-30")
    assert (kept.start_us, kept.resets_us) == (at("2026-11-30T00:00"), at("2026-12-01T08:00"))


# ---------------------------------------------------------------- rolling periods


ROLLING = BudgetRule(BudgetScope.GLOBAL, 10 * CENT, period="5h")
SIZE = 5 * HOUR // PIECES


def use(world, session, tokens):
    answer = as_said(world).ask(session, tokens)
    if answer.call_id:
        record_usage(world.rt, UsageReport(answer.call_id, Tokens(output=tokens)))
    return answer


@pytest.mark.parametrize("offset", [0, 1, SIZE // 2, SIZE - 1000])
@pytest.mark.parametrize("gated", [True, False])
def test_nothing_is_forgotten_before_its_time_wherever_in_a_piece_it_was_spent(world, offset, gated):
    start = T0 // SIZE * SIZE + offset
    world.clock.at_us = start
    capped = ruled(world, ROLLING)
    session = capped.start("100")
    if gated:
        use(capped, session, 100)
    else:
        respond(world, told("r", 100, start))
    for later in (SIZE, 5 * HOUR - SIZE - 1, 5 * HOUR - SIZE, 5 * HOUR - 9 * MINUTE, 5 * HOUR - 1, 5 * HOUR - 1):
        world.clock.at_us = max(start + later, world.clock.at_us)
        assert capped.ask(session, 1).action is Action.HALT, f"{later} us later"
    world.clock.at_us = start + 5 * HOUR + SIZE - offset
    assert capped.ask(session, 100).action is not Action.HALT, "a piece later it is gone"


def test_a_rolling_budget_is_one_row_with_one_id_whatever_its_pieces_hold(world):
    capped = ruled(world, ROLLING, EVERYTHING)
    session = capped.start("100")
    for _ in range(4):
        use(capped, session, 20)
        world.clock.forward(25 * MINUTE)
    [row] = [b for b in list_budgets(world.rt, limit=50) if b.period == "5h"]
    assert (row.budget_id, row.spent + row.carried, row.available) == (
        "global:all:5h",
        8 * CENT,
        2 * CENT,
    )
    refused = capped.ask(session, 30)
    assert refused.binding.budget_id == "global:all:5h"
    assert refused.command.startswith("tallygate budget raise global:all:5h ")
    assert budget_called(world.rt, "all:5h") == "global:all:5h"
    piece = world.ledger.rows("SELECT budget_id FROM budget WHERE period = '5h' AND resets_us IS NOT NULL LIMIT 1")
    assert budget_called(world.rt, next(piece)[0]) == "global:all:5h", "an id that an older version printed"


def test_a_raise_of_a_rolling_budget_holds_until_what_it_was_made_for_has_aged_out(world):
    start = world.clock.at_us = T0 // SIZE * SIZE
    capped = ruled(world, ROLLING)
    session = capped.start("100")
    use(capped, session, 100)
    world.clock.forward(HOUR)
    assert capped.ask(session, 10).action is Action.HALT
    assert (
        raise_budget(world.rt, "global:all:5h", 5 * CENT, reason="more", authority=the_user("me")).available == 5 * CENT
    )
    for _ in range(2):
        assert use(capped, session, 20).action is not Action.HALT
        world.clock.forward(80 * MINUTE)  # the piece it was raised in is long over
    assert use(capped, session, 10).action is not Action.HALT
    assert capped.ask(session, 1).action is Action.HALT
    world.clock.at_us = start + 5 * HOUR + SIZE - 1
    assert capped.ask(session, 1).action is Action.HALT, "the hundred are in it for a moment more, and so is the raise"
    assert find_budget(world.rt, "global:all:5h").limit == 15 * CENT
    world.clock.forward(1)
    assert find_budget(world.rt, "global:all:5h").limit == 10 * CENT
    assert capped.ask(session, 51).action is Action.HALT, "fifty that were spent since are in it"
    assert capped.ask(session, 50).action is not Action.HALT


def test_a_rolling_limit_that_is_set_lower_stays_and_one_set_higher_ages_out(world):
    capped = ruled(world, ROLLING)
    session = capped.start("100")
    use(capped, session, 10)
    set_budget(world.rt, "global:all:5h", 2 * CENT, reason="less", authority=the_user("me"))
    world.clock.forward(30 * HOUR)
    assert capped.ask(session, 21).action is Action.HALT
    set_budget(world.rt, "global:all:5h", 30 * CENT, reason="more", authority=the_user("me"))
    assert use(capped, session, 300).action is not Action.HALT
    world.clock.forward(6 * HOUR)
    assert find_budget(world.rt, "global:all:5h").limit == 10 * CENT
    assert capped.ask(session, 101).action is Action.HALT


def test_spending_that_comes_in_late_lies_in_the_piece_of_its_time(world):
    capped = ruled(world, ROLLING)
    session = capped.start("100")
    use(capped, session, 10)
    respond(world, told("late", 60, world.clock.at_us - 4 * HOUR), told("later", 20, world.clock.at_us - 4 * HOUR))
    respond(world, told("long ago", 999, world.clock.at_us - 6 * HOUR))
    assert find_budget(world.rt, "global:all:5h").available == CENT
    assert capped.ask(session, 11).action is Action.HALT
    world.clock.forward(HOUR + SIZE)
    assert find_budget(world.rt, "global:all:5h").available == 9 * CENT


# ---------------------------------------------------------------- worktrees that are gone


HOME = "/home/nobody-here"


class Trees:
    """A repository with a worktree beside it, and the program as it is started in a folder."""

    def __init__(self, world, disk):
        self.world = world
        self.shop = repository(disk / "shop")
        self.tree = worktree(self.shop, disk / "trees" / "shop-a09")
        (self.tree / "api").mkdir()

    def work_in(self, folder, *rules, named=()):
        places = FolderPlaces(self.world.ledger, "default", lambda each: place_of(each, HOME), lambda: HOME, named)
        project = None if folder is None else str(folder)
        return self.world.with_runtime(project=project, rules=rules, place_of=places.of)

    def removed(self, *, by_git):
        shutil.rmtree(self.tree)
        if by_git:
            shutil.rmtree(self.shop / ".git" / "worktrees")

    def counted(self, world):
        """What the repository's day has counted, and what its usage is by the name of the project."""
        day = BudgetRule(BudgetScope.PROJECT, 20 * NANOS, period="day", match=str(self.shop))
        asking = self.work_in(self.shop, day)
        asking.ask(asking.start("9", model="cheap"), 0, model="cheap")
        wanted = UsageWanted(0, 2**62)
        lines = list_usage(world.rt, wanted, by=By.PROJECT, zone=ZoneInfo("UTC"), limit=9).lines
        assert not audit(self.world.ledger)
        return spent(world, f"project:{self.shop}:day:2026-09-21") // CENT, [line.key[0] for line in lines]


@pytest.fixture
def trees(world, tmp_path):
    return Trees(world, Path(os.path.realpath(tmp_path)))


@pytest.mark.parametrize("by_git", [True, False])
@pytest.mark.parametrize("below", ["", "/api", "/never-there"])
def test_what_was_read_while_a_worktree_was_there_belongs_to_its_repository_for_good(trees, by_git, below):
    nobodys = trees.work_in(None)
    respond(nobodys, told("r1", 70, trees.world.clock.at_us, project=f"{trees.tree}{below}"))
    trees.removed(by_git=by_git)
    respond(nobodys, told("r2", 20, trees.world.clock.at_us, project=str(trees.tree)))
    assert trees.counted(nobodys) == (9, [str(trees.shop)])
    assert folders_of(nobodys.rt, [str(trees.tree)], str(trees.shop)) == (str(trees.tree),)
    respond(nobodys, told("r3", 30, trees.world.clock.at_us, project=str(trees.tree / "api")))
    assert spent(nobodys, f"project:{trees.shop}:day:2026-09-21") == 12 * CENT, "an open window counts it, too"


def test_a_worktree_that_was_there_when_a_session_of_its_repository_opened_is_known_when_it_is_read_at_last(trees):
    trees.work_in(trees.shop).start("9")
    trees.removed(by_git=True)
    nobodys = trees.work_in(None)
    respond(nobodys, told("r1", 70, trees.world.clock.at_us, project=str(trees.tree)))
    assert trees.counted(nobodys) == (7, [str(trees.shop)])


@pytest.mark.parametrize("known_by", ["a session", "the settings"])
def test_a_worktree_that_was_deleted_is_still_named_by_its_repository(trees, known_by):
    if known_by == "a session":
        shutil.move(trees.shop / ".git" / "worktrees", trees.shop / ".git" / "away")
        trees.work_in(trees.shop).start("9")
        shutil.move(trees.shop / ".git" / "away", trees.shop / ".git" / "worktrees")
    trees.removed(by_git=False)
    nobodys = trees.work_in(None, named=[str(trees.shop)] if known_by == "the settings" else [])
    respond(nobodys, told("r1", 70, trees.world.clock.at_us, project=str(trees.tree / "api")))
    assert trees.counted(nobodys) == (7, [str(trees.shop)])


def test_a_folder_of_which_nobody_knows_and_one_that_is_another_repository_now_are_what_they_are(trees):
    nobodys = trees.work_in(None)
    respond(nobodys, told("r1", 70, trees.world.clock.at_us, project=str(trees.tree)))
    trees.removed(by_git=True)
    other, unknown = repository(trees.tree), trees.tree.with_name("nobody's")
    respond(nobodys, told("r2", 20, trees.world.clock.at_us, project=str(other / "gone")))
    respond(nobodys, told("r3", 10, trees.world.clock.at_us, project=str(unknown)))
    assert trees.counted(nobodys) == (0, [str(other), str(unknown)])


# ---------------------------------------------------------------- always the sum


RULES = st.lists(
    st.builds(
        BudgetRule,
        scope=st.sampled_from([each for each in BudgetScope if each not in (BudgetScope.SESSION, BudgetScope.TENANT)]),
        limit=st.integers(1, 3_000),
        unit=st.sampled_from(["USD", "USD", "GBP", "tokens", "calls"]),
        period=st.sampled_from(["day", "week", "month", "never", "3h", "24h"]),
        mode=st.sampled_from([BudgetMode.HARD, BudgetMode.SOFT]),
        zone=st.sampled_from(["UTC", "Asia/Tokyo"]),
    ).map(lambda r: replace(r, limit=r.limit * (CENT // 10 if r.unit in ("USD", "GBP") else 1),
                            match="dear" if r.scope is BudgetScope.MODEL else None,
                            usd_nanos=1_310_000_001 if r.unit == "GBP" else NANOS)),
    max_size=4, unique_by=lambda r: r.budget_id(""),
)  # fmt: skip
NUMBER = st.integers(0, 9)
MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("start"), NUMBER, st.integers(0, 2)),
        st.tuples(st.just("ask"), NUMBER, st.integers(0, 300)),
        st.tuples(st.just("record"), NUMBER, st.integers(0, 300)),
        st.tuples(st.just("void"), NUMBER, st.just(0)),
        st.tuples(st.just("book"), NUMBER, st.integers(0, 300)),
        st.tuples(st.just("respond"), NUMBER, st.integers(0, 400)),
        st.tuples(st.just("late"), NUMBER, st.integers(0, 400)),
        st.tuples(st.just("ahead"), NUMBER, st.integers(0, 400)),
        st.tuples(st.just("link"), NUMBER, NUMBER),
        st.tuples(st.just("wait"), st.integers(1, 900), st.just(0)),
        st.tuples(st.just("end"), NUMBER, st.just(0)),
        st.tuples(st.just("rules"), st.integers(0, 1), st.just(0)),
    ),
    max_size=35,
)


def expected(world, budget):
    """What a window has to count, added up from the rows themselves by somebody who does not know how it counts."""

    def meant(client, project, model):
        match budget.scope:
            case "project":
                return any(p is not None and (p + "/").startswith(budget.scope_key + "/") for p in project)
            case "client":
                return any(c is not None and c.replace("_", "-") == budget.scope_key for c in client)
            case "model":
                return model == budget.scope_key
        return True

    total = 0
    until = 2**62 if budget.resets_us is None else budget.resets_us
    with world.ledger.reading() as reader:
        sessions = {s.session_id: s for s in reader.sessions(state=None, limit=100)}
        for stored in reader.usage_between(budget.start_us, until):
            session = sessions.get(stored.session_id)
            client = (stored.row.client, session and session.client)
            if meant(client, (stored.row.project, session and session.project), stored.row.model):
                total += Amount(stored.cost_nanos, stored.row.tokens.total, 1).of(budget)
        for call in reader.booked_between(budget.start_us, until):
            session, tokens = sessions[call.session_id], call.actual
            if meant((session.client,), (session.project,), call.model_used or call.model_requested):
                used = call.prompt_tokens + call.completion_tokens if tokens is None else tokens.total
                total += Amount(call.booked_nanos, used, 1).of(budget)
    return total


@settings(max_examples=150)
@given(rules=RULES, moves=MOVES)
def test_a_window_counts_the_sum_of_what_is_on_record_in_it_in_whatever_order_it_came(tmp_path_factory, rules, moves):
    folder = tmp_path_factory.mktemp("w")
    clock = Clock(at("2026-03-30T20:00"))
    bare = make_world(folder, clock=clock).with_runtime(project=PROJECT, user="me")
    world, sessions, calls = bare, [], []
    for move, one, two in moves:
        clock.forward(1000)
        if move == "start":
            client = ("codex", "claude_code", "other")[two]
            sessions.append(world.start("1", client=client))
        elif move == "rules":
            world = ruled(bare, *rules) if one else bare
        elif move == "wait":
            clock.forward(one * MINUTE)
            sweep(world.rt)
        elif move in ("respond", "late", "ahead"):
            when = clock.at_us + one * {"respond": 0, "late": -7 * HOUR, "ahead": 9 * HOUR}[move]
            project, model = (PROJECT, f"{PROJECT}/part", "/elsewhere")[one % 3], ("dear", "cheap")[one % 2]
            client = ("codex", "claude_code")[one % 2]
            row = told(f"r{one}", two, when, project=project, model=model, client=client, session=f"c{one % 3}")
            # Of some files all was read before: what is found in them with an older date cannot be that old.
            ingest(world.rt, FileReading(client, f"/t{one % 3}", [row], {"size": 1 - 2 * (two % 2)}))
        elif sessions:
            session = sessions[one % len(sessions)]
            if move == "ask":
                answer = world.ask(session, two, model=("dear", "cheap")[two % 2])
                calls += [answer.call_id] if answer.call_id else []
            elif move == "book" and world.calls(session) is not None:
                with world.ledger.reading() as reader:
                    is_open = reader.session(session).is_open
                if is_open:
                    record_call(world.rt, CallReport(session, ("dear", "cheap")[two % 2], Tokens(output=two)))
            elif move == "link":
                link_session(world.rt, ("codex", "claude_code")[two % 2], f"c{two % 3}", session)
            elif move == "end":
                end_session(world.rt, session)
            elif calls and move in ("record", "void"):
                call = world.call(calls[one % len(calls)])
                if move == "void" and call.state == "pending":
                    void_call(world.rt, call.call_id, "not made")
                elif move == "record" and not call.has_actual:
                    model = ("dear", "cheap")[two % 2]
                    record_usage(world.rt, UsageReport(call.call_id, Tokens(output=two), model))
    with world.ledger.reading() as reader:
        windows = [b for period in reader.window_periods() for b in reader.windows_between(period, -1, 2**62)]
    for budget in windows:
        if budget.resets_us is None and rolling_us(budget.period) is not None:
            assert budget.committed == 0, "it only stands for its pieces"
        else:
            assert budget.spent == expected(world, budget), budget
    assert not audit(world.ledger)
    world.ledger.close()
    shutil.rmtree(folder)


def test_a_response_told_of_at_a_later_time_moves_to_no_other_window(world):
    capped = ruled(world, EVERYTHING)
    session = capped.start("100")
    first = world.clock.at_us
    respond(world, told("r", 100, first))
    capped.ask(session, 0)
    world.clock.forward(DAY)
    capped.ask(session, 0)
    respond(world, replace(told("r", 100, first), at=as_datetime(first) + timedelta(days=1)))
    assert spent(world, "global:all:day:2026-09-21") == 10 * CENT
    assert spent(world, "global:all:day:2026-09-22") == 0
