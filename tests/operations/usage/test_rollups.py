"""Sums for reports are always what the responses and calls come to that they are of."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reading_rules import Rule
from tests.world import MINUTE, make_world, the_user

from tallygate.core.attribution import Served, served_by, together
from tallygate.core.costing import Tokens
from tallygate.core.errors import TallygateError
from tallygate.core.gate.rules import BudgetRule, BudgetScope
from tallygate.core.usage import ObservedUsage, Quality
from tallygate.ledger import day_shares
from tallygate.ledger.audit.rebuild import rebuild
from tallygate.ledger.rollups import begin_anew
from tallygate.ledger.transaction import StoreReader
from tallygate.operations.gate.record import UsageReport, record_usage, void_call
from tallygate.operations.usage import sync
from tallygate.operations.usage.correct import correct_usage
from tallygate.operations.usage.ingest import FileReading, ingest, link_session
from tallygate.operations.views.usage import UsageWanted, list_usage
from tallygate.reports.usage import ALWAYS_US, By

DAY = 24 * 60 * MINUTE
ZONES = ["UTC", "Asia/Kathmandu", "Australia/Eucla", "America/St_Johns", "Europe/Amsterdam", "Africa/Monrovia"]


TOOLS = [Served(None, "Bash"), Served(None, "Read"), Served("github", "search"), Served("github", "fetch")]
WHOM = st.fixed_dictionaries(
    {},
    optional={
        "served": st.lists(st.sampled_from(TOOLS), max_size=3).map(together),
        "agent_id": st.sampled_from(["a1", "a2"]),
        "agent_type": st.sampled_from(["Explore", "Plan"]),
        "skill": st.sampled_from(["pdf", "review"]),
        "branch": st.sampled_from(["main", "topic"]),
    },
)

POUNDS = {"currency": "GBP", "usd_nanos": 1_200_000_000, "rate_day": "2026-01-02"}


def response(world, key, output, *, minutes=0, session="c1", **options):
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=world.clock.at_us, minutes=minutes)
    told = {"client": "claude_code", "model": "dear", "rule": Rule.CLAUDE_RESPONSE, "project": "/home/me/p", **options}
    return ObservedUsage(session=session, response_key=key, at=at, tokens=Tokens(10, 5, 3, 2, output), **told)


@pytest.fixture(autouse=True)
def _days_are_added_up_however_few_they_are(monkeypatch):
    monkeypatch.setattr(day_shares, "WORTH", 0)


def add_up(world, rows=50):
    """What a sync does with the days that are over; whether any are added up now."""
    is_whole = False
    while not is_whole:
        with world.ledger.writing() as tx:
            is_whole = tx.add_up(rows)
    with world.ledger.reading() as reader:
        return reader.days_upto() > 0


def take(world, *rows):
    for client in dict.fromkeys(row.client for row in rows):
        ingest(world.rt, FileReading(client, "/t", [row for row in rows if row.client == client]))


def listed(world, by, zone="UTC", **wanted):
    """A list of usage, as it is read from sums and as it is read from rows."""
    chosen = UsageWanted(**{"from_us": -ALWAYS_US, "until_us": ALWAYS_US, **wanted})
    with world.ledger.reading() as reader:
        assert reader.has_rollups()
    fast = list_usage(world.rt, chosen, by=by, zone=ZoneInfo(zone), limit=1000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StoreReader, "has_rollups", lambda _: False)
        slow = list_usage(world.rt, chosen, by=by, zone=ZoneInfo(zone), limit=1000)
    return fast, slow


def done(world, data, keys):
    """One thing that may happen, in the order and as often as the test draws it."""
    what = data.draw(
        st.sampled_from(["take", "take", "telemetry", "call", "report", "void", "link", "correct", "wait", "days"])
    )
    key = data.draw(st.sampled_from(["r1", "r2", "r3", "r4"]))
    session = data.draw(st.sampled_from(["c1", "c2"]))
    request = f"req-{key}"
    if what == "take":
        quality = data.draw(st.sampled_from([Quality.PARTIAL, Quality.FINAL]))
        output, minutes = (
            data.draw(st.integers(1, 50)),
            data.draw(st.integers(-40, 40) | st.sampled_from([-1500, -2900, -4400])),
        )
        options = {"project": data.draw(st.sampled_from(["/home/me/p", "/home/me/q", None]))}
        options |= {"request_id": request, "estimated_output": data.draw(st.sampled_from([None, 60]))}
        options |= data.draw(WHOM)
        take(world, response(world, key, output, minutes=minutes, session=session, quality=quality, **options))
    elif what == "telemetry":
        take(world, response(world, f"told-{key}", 5, session=session, rule=Rule.CLAUDE_TELEMETRY, request_id=request))
    elif what == "call":
        own = data.draw(st.sampled_from([{}, POUNDS]))
        opened = world.start("1000", client=data.draw(st.sampled_from(["claude-code", "other"])), **own)
        asked = world.ask(opened, data.draw(st.integers(1, 90)))
        keys.append((opened, asked.call_id))
    elif what in ("report", "void", "link") and keys:
        opened, call = data.draw(st.sampled_from(keys))
        try:
            if what == "report":
                record_usage(world.rt, UsageReport(call, Tokens(data.draw(st.integers(1, 20)), output=3)))
            elif what == "void":
                void_call(world.rt, call, reason="not made")
            else:
                link_session(world.rt, "claude_code", session, opened)
        except TallygateError:
            pass  # what may not be is refused, and is none of this test's affair
    elif what == "correct":
        with world.ledger.reading() as reader:
            known = reader.usage_called("r", 9)
        if known:
            whose = data.draw(st.sampled_from([each.row.response_key for each in known]))
            correct_usage(world.rt, whose, {"output": 1}, model=None, reason="it is so", authority=the_user("me"))
    elif what == "days":
        world.clock.forward(data.draw(st.integers(1, 3)) * DAY)
        add_up(world, 2)
    else:
        world.clock.forward(data.draw(st.integers(1, 30)) * MINUTE)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_sums_are_what_rows_come_to_whatever_happens_in_any_order(data, tmp_path_factory):
    world = make_world(tmp_path_factory.mktemp("w")).with_runtime(project="/home/me/p")
    keys = []
    for _ in range(data.draw(st.integers(1, 14))):
        done(world, data, keys)
    assert not world.problems()
    whole = listed(world, By.MODEL)[0].total.whole
    for by, also in [*((each, None) for each in By), (By.PROJECT, By.MODEL), (By.TOOL, By.AGENT), (By.SESSION, By.MCP)]:
        fast, slow = listed(world, by, also=also)
        assert (fast.lines, fast.total) == (slow.lines, slow.total)
        # Whatever it is asked by, it is the same money, and shares come to it to the nano-unit.
        assert fast.total.whole == whole
        assert sum(line.whole.nanos for line in fast.lines) == whole.nanos
        assert sum(line.whole.tokens.total for line in fast.lines) == whole.tokens.total
        assert sum(line.whole.exact_nanos for line in fast.lines) == whole.exact_nanos
    world.ledger.close()


def shares_of(world, by, **wanted):
    """Lines by their names, each with its cost in nano-dollars and how many responses had a part in it."""
    fast, _ = listed(world, by, **wanted)
    return {line.key: (line.whole.nanos, line.whole.responses) for line in fast.lines}


@pytest.mark.parametrize(
    ("limits", "servers"),
    [
        ((), {"my"}),
        (("my__srv",), {"my__srv", "my"}),
        (("My Srv", "my*"), {"my"}),  # neither says where the name ends
        (("my__srv", "my"), {"my__srv", "my"}),
    ],
)
def test_a_server_is_listed_by_the_name_that_a_limit_has_for_it(world, limits, servers):
    rules = tuple(BudgetRule(BudgetScope.MCP_SERVER, 1, period="day", match=name) for name in limits)
    named = world.with_runtime(rules=rules)
    asks = (served_by("mcp__my__srv__ask"), served_by("mcp__my__srv__tell"), served_by("mcp__my__other"))
    take(world, *(response(world, f"r{number}", 80, served=(each,)) for number, each in enumerate(asks)))
    found = shares_of(named, By.MCP)
    assert {key[0] for key in found} == servers
    assert sum(nanos for nanos, _ in found.values()) == sum(nanos for nanos, _ in shares_of(world, By.MODEL).values())
    if "my__srv" in servers:
        assert found["my__srv",][1] == 2
        assert {key[0] for key in shares_of(named, By.TOOL)} == {"my__srv/ask", "my__srv/tell", "my/other"}
        assert shares_of(named, By.MODEL, made_for=((By.MCP, "my__srv"),))


def test_a_response_s_cost_goes_in_equal_parts_to_the_tools_it_served_and_the_rest_is_named(world):
    bash, search, fetch = Served(None, "Bash"), Served("github", "search"), Served("github", "fetch")
    take(
        world,
        response(world, "r1", 80, served=together([bash, search, fetch]), agent_id="a1", agent_type="Explore"),
        response(world, "r2", 80, served=(bash,), skill="pdf", branch="main"),
        response(world, "r3", 80, agent_id="a2"),
    )
    [(cost, _)] = set(shares_of(world, By.MODEL).values())
    each = cost // 3
    tools = shares_of(world, By.TOOL)
    assert {key[0]: times for key, (_, times) in tools.items()} == {
        "Bash": 2, "github/search": 1, "github/fetch": 1, "(rest)": 1
    }  # fmt: skip
    assert sum(nanos for nanos, _ in tools.values()) == cost
    assert tools["(rest)",][0] == each
    assert {key[0] for key in shares_of(world, By.MCP)} == {"github", "(own tools)", "(rest)"}
    agents = {("Explore",): (each, 1), ("(conversation)",): (each, 1), ("(subagent)",): (each, 1)}
    assert shares_of(world, By.AGENT) == agents
    assert shares_of(world, By.SKILL) == {("pdf",): (each, 1), ("(rest)",): (2 * each, 2)}
    assert shares_of(world, By.BRANCH) == {("main",): (each, 1), ("(rest)",): (2 * each, 2)}
    assert (("(subagent)", "(rest)")) in shares_of(world, By.AGENT, also=By.TOOL)


def test_a_day_of_which_something_is_taken_says_when_the_rest_of_it_was(world):
    world.clock.forward(3 * DAY + 900 * MINUTE)
    told = {"rule": Rule.CLAUDE_TELEMETRY}
    ends = {}
    for number, minutes in enumerate((-60, -30, 0)):
        take(world, response(world, f"t{number}", 4, minutes=minutes, request_id=f"q{number}", **told))
    world.clock.forward(3 * DAY)
    assert add_up(world)
    past_us = world.clock.at_us - 3 * DAY
    # Its client's record tells of one in the place of what was told before, and of which branch it was.
    for number, minutes in ((2, 0), (0, -60)):
        take(
            world,
            response(
                world, f"r{number}", 4, minutes=minutes - 3 * DAY // MINUTE, request_id=f"q{number}", branch="main"
            ),
        )
        assert not world.problems()
        fast, slow = listed(world, By.BRANCH)
        assert fast.lines == slow.lines
        ends[number] = {line.key[0]: (line.whole.first_us, line.whole.last_us) for line in fast.lines}
    assert ends[2]["(rest)"] == (past_us - 60 * MINUTE, past_us - 30 * MINUTE)
    assert ends[0]["(rest)"] == (past_us - 30 * MINUTE,) * 2


def test_what_sessions_in_another_currency_spent_is_told_in_it_by_whoever_it_was_made_for(world):
    for number, options in enumerate((POUNDS, {}, POUNDS | {"usd_nanos": 1_300_000_000})):
        link_session(world.rt, "claude_code", f"c{number}", world.start("9", **options))
        world.clock.forward(5 * MINUTE)
        take(world, response(world, f"r{number}", 80, session=f"c{number}", skill="pdf"))
    began_us = world.clock.at_us
    world.clock.forward(3 * DAY)
    assert add_up(world)
    for number in (0, 2):  # and what is only told once its day is added up
        minutes = (began_us - world.clock.at_us) // MINUTE
        take(world, response(world, f"late{number}", 80, session=f"c{number}", skill="pdf", minutes=minutes))
    assert not world.problems()
    fast, slow = listed(world, By.SKILL)
    assert fast.lines == slow.lines
    [line] = fast.lines
    assert sorted(rate.usd_nanos for rate in line.own) == [1_200_000_000, 1_300_000_000]
    assert len(set(line.own.values())) == 1


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), zone=st.sampled_from(ZONES))
def test_days_of_every_zone_and_any_span_are_the_same_from_sums_as_from_rows(seed, zone, tmp_path_factory):
    world = make_world(tmp_path_factory.mktemp("w"))
    chance = random.Random(seed)
    rows = [
        response(world, f"r{number}", chance.randrange(99), minutes=chance.randrange(-90_000, 9_000),
                 session=f"c{chance.randrange(3)}", model=chance.choice(["dear", "cheap", "nobody"]),
                 project=chance.choice(["/a", "/b", None]), branch=chance.choice(["main", "topic"]),
                 quality=chance.choice([Quality.PARTIAL, Quality.FINAL]),
                 served=together(chance.sample(TOOLS, chance.randrange(3))))
        for number in range(60)
    ]  # fmt: skip
    # Where days began at no quarter of an hour: Monrovia was 44 minutes and a half behind until 1972.
    rows += [
        response(world, f"old{number}", 7, minutes=-29_300_000 + chance.randrange(-4_000, 4_000))
        for number in range(20)
    ]
    take(world, *rows[: seed % 80])
    world.clock.forward(seed % 8 * DAY)
    add_up(world)
    take(world, *rows[seed % 80 :])
    ends = sorted(chance.randrange(-2_000, 200) * 60_000_000 * 7 + chance.randrange(10**6) for _ in range(2))
    spans = [{}, {"from_us": world.clock.at_us + ends[0], "until_us": world.clock.at_us + ends[1]}]
    for span in spans:
        for by, also in ((By.DAY, None), (By.WEEK, None), (By.MODEL, None), (By.TOOL, None), (By.TOOL, By.BRANCH)):
            fast, slow = listed(world, by, zone, also=also, **span)
            assert (fast.lines, fast.total) == (slow.lines, slow.total)
    world.ledger.close()


@pytest.mark.parametrize("wanted", [{"model": "dear"}, {"project": "/b"}, {"clients": ("codex",)}])
def test_what_is_chosen_is_chosen_from_sums_as_from_rows(world, wanted):
    take(world, response(world, "r1", 4), response(world, "r2", 6, model="cheap", project="/b"))
    take(world, response(world, "r3", 8, client="codex", rule=Rule.CODEX_LAST, model="cheap"))
    fast, slow = listed(world, By.MODEL, **wanted)
    assert fast.lines == slow.lines
    assert fast.total.whole.responses == 1


EDITS = {
    "more money": "UPDATE rollup SET cost_nanos = cost_nanos + 1",
    "another model": "UPDATE rollup_key SET model = 'cheap'",
    "another price": "UPDATE rollup_key SET price_id = ''",
    "another quarter": "UPDATE rollup SET quarter = quarter + 1",
    "a sum is gone": "DELETE FROM rollup",
    "a sum for nothing": "INSERT INTO rollup SELECT tenant, quarter - 9, key, responses, calls, partial, fresh_input,"
    " cache_read, cache_write_5m, cache_write_1h, output, reasoning, web_searches, cost_nanos, missing_output,"
    " exact_nanos, first_us, last_us FROM rollup",
    "no name of a sum": "DELETE FROM rollup_key",
    "another last time": "UPDATE rollup SET last_us = last_us + 1",
    "not known how far": "DELETE FROM rollup_state",
    "held to be further than it is": "UPDATE rollup_state SET whole = 0, usage_upto = 50, call_upto = 0",
    "calls held to be further": "UPDATE rollup_state SET whole = 0, usage_upto = 1, call_upto = 50",
    "a dearer share": "UPDATE share SET cost_nanos = cost_nanos + 1",
    "a share of another tool": "UPDATE share_key SET tool = 'Bash'",
    "a share is gone": "DELETE FROM share",
    "a dearer day": "UPDATE day_share SET cost_nanos = cost_nanos + 1",
    "another day": "UPDATE day_share SET day = day - 1",
    "a day is gone": "DELETE FROM day_share",
    "a day of another branch": "UPDATE day_key SET branch = 'main'",
    "days held to be further than they are": "UPDATE rollup_state SET days_upto = 100000; DELETE FROM day_share",
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_sum_that_was_changed_by_hand_is_named_and_made_again(tmp_path, edit):
    world = make_world(tmp_path)
    take(world, response(world, "r1", 4))
    world.clock.forward(4 * DAY)
    assert add_up(world)
    assert not world.problems()
    with closing(sqlite3.connect(world.ledger.path)) as by_hand:
        by_hand.executescript(EDITS[edit])
    assert any(each.where.startswith(("rollup", "share", "day_share")) for each in world.problems())
    world.ledger.close()
    assert rebuild(world.ledger.path, at_us=world.clock.at_us, lock_timeout_ms=200) is not None
    again = make_world(world.folder)
    assert not again.problems()
    for by in (By.MODEL, By.BRANCH):
        fast, slow = listed(again, by)
        assert fast.lines == slow.lines
        assert fast.lines
    again.ledger.close()


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_ledger_of_before_is_added_up_in_steps_while_others_write(data, tmp_path_factory):
    world = make_world(tmp_path_factory.mktemp("w")).with_runtime(project="/home/me/p")
    keys = []
    for _ in range(data.draw(st.integers(1, 10))):
        done(world, data, keys)
    with world.ledger.writing():
        begin_anew(world.ledger._connection.execute)
    is_whole = False
    while not is_whole:
        with world.ledger.reading() as reader:
            assert not reader.is_added_up(world.clock.at_us)
        if data.draw(st.booleans()):
            done(world, data, keys)
        assert not world.problems()
        with world.ledger.writing() as tx:
            is_whole = tx.add_up(2)
    for _ in range(3):
        done(world, data, keys)
    assert not world.problems()
    for by in (By.SESSION, By.TOOL):
        fast, slow = listed(world, by)
        assert fast.lines == slow.lines
    world.ledger.close()


def test_a_sync_adds_up_what_was_recorded_before_there_were_sums(world, tmp_path):
    take(world, response(world, "r1", 4), response(world, "r2", 4))
    with world.ledger.writing():
        begin_anew(world.ledger._connection.execute)
    sync.sync(world.rt, environ={"CLAUDE_CONFIG_DIR": str(tmp_path)}, home=tmp_path)
    fast, slow = listed(world, By.MODEL)
    assert fast.lines == slow.lines
    assert fast.total.whole.responses == 2
