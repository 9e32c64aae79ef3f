"""What was spent by whom and when: every response and every call once, each tenant by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reading_rules import Rule
from tests.world import MINUTE, NANOS, make_world

from tallygate.core.costing import Tokens
from tallygate.core.errors import InvalidArgument
from tallygate.core.moments import as_datetime, microseconds
from tallygate.core.usage import ObservedUsage, Quality
from tallygate.core.words import Action
from tallygate.ledger.store import spending
from tallygate.operations.gate.record import UsageReport, record_usage, void_call
from tallygate.operations.runtime import in_tenant
from tallygate.operations.sessions.ending import end_session
from tallygate.operations.usage.ingest import FileReading, ingest
from tallygate.operations.views.usage import UsageWanted, list_usage
from tallygate.reports.usage import ALWAYS_US, By

CENT = NANOS // 100
SHOP = "/home/me/shop"
HOUR = 60 * MINUTE


def at(text, zone="UTC"):
    return microseconds(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)))


def report(world, by="tenant", every=None, *, since=-ALWAYS_US, until=ALWAYS_US, tenant=None, zone=UTC):
    wanted = UsageWanted(since, until, every=None if every is None else By(every), tenant=tenant)
    return list_usage(world.rt, wanted, by=By(by), zone=zone, limit=1000)


def costs(found):
    return {(line.key[-1], line.period): line.whole.nanos // CENT for line in found.lines}


def of_tenant(world, tenant, **more):
    return world.with_runtime(**{"tenant": tenant, "known_prices": {}, **more})


def called(world, session, tokens, *, report_=True):
    """A step; where it is reported, a token costs a tenth of a cent."""
    call = world.ask(session, tokens).call_id
    if report_:
        record_usage(world.rt, UsageReport(call, Tokens(fresh_input=tokens)))
    return call


def respond(world, key, tokens=100, *, model="dear", session="c1", **more):
    world.clock.forward(2_000_000)
    made = as_datetime(world.clock.at_us) - timedelta(seconds=1)
    options = {"project": SHOP, **more}
    row = ObservedUsage(
        "claude_code", session, key, made, model, Tokens(output=tokens), Rule.CLAUDE_RESPONSE, **options
    )  # fmt: skip
    return ingest(world.rt, FileReading("claude_code", "/t", [row]))


# ---------------------------------------------------------------- what counts, and once


def test_a_session_without_responses_counts_with_its_calls_reported_or_not(world):
    session = world.start("10")
    called(world, session, 100)
    called(world, session, 300, report_=False)
    assert costs(report(world)) == {("default", None): 10}, "what is pending is not spent"
    end_session(world.rt, session)
    [line] = report(world).lines
    assert (line.whole.nanos, line.whole.exact_nanos) == (40 * CENT, 0), "nobody but the agent told"
    assert (line.whole.calls, line.whole.responses, len(line.sessions)) == (2, 0, 1)
    assert (line.whole.tokens.fresh_input, line.whole.tokens.output) == (400, 0)


def test_a_session_whose_responses_are_read_counts_with_these_and_not_with_its_calls_too(world):
    world = world.with_runtime(project=SHOP)
    session = world.start("10", client="claude-code")
    called(world, session, 300)
    called(world, session, 200, report_=False)
    respond(world, "r1", 70)
    end_session(world.rt, session)
    [line] = report(world).lines
    assert (line.whole.nanos, line.whole.responses, line.whole.calls) == (7 * CENT, 1, 0)
    assert line.whole.nanos == world.budget(session).spent


def test_a_response_of_no_session_is_listed_as_any_other(world):
    respond(world, "r1", 70, project="/home/me/elsewhere")
    found = report(world)
    assert (found.total.whole.responses, found.total.whole.nanos) == (1, 7 * CENT)
    assert [line.key for line in report(world, "session").lines] == [("claude-code", "c1")]


def test_a_halted_and_a_voided_step_cost_nothing(world):
    session = world.start("1")
    assert world.ask(session, 5000).action is Action.HALT
    void_call(world.rt, world.ask(session, 50).call_id, "not needed")
    assert report(world).lines == []


def test_only_what_a_client_wrote_down_to_its_end_is_exact(world):
    world = world.with_runtime(project=SHOP)
    world.start("10", client="claude-code")
    respond(world, "r1", 30)
    respond(world, "r2", 10, quality=Quality.PARTIAL)
    [line] = report(world).lines
    assert (line.whole.nanos, line.whole.exact_nanos) == (4 * CENT, 3 * CENT)


STEPS = st.lists(
    st.tuples(st.sampled_from(["ask", "report", "respond", "wait", "end"]), st.integers(0, 2), st.integers(0, 400)),
    max_size=25,
)


@given(STEPS)
@settings(max_examples=40, deadline=None)
def test_whatever_was_done_the_report_is_what_stands_in_the_budgets_of_the_sessions(tmp_path_factory, steps):
    world = make_world(tmp_path_factory.mktemp("w")).with_runtime(project=SHOP)
    sessions = [world.start("1000", client=client) for client in ("claude-code", "codex", "other")]
    asked = []
    for number, (what, which, tokens) in enumerate(steps):
        world.clock.forward(17 * HOUR)
        session = sessions[which]
        if what == "ask" and (call := world.ask(session, tokens).call_id):
            asked.append(call)
        elif what == "report" and asked:
            record_usage(world.rt, UsageReport(asked.pop(), Tokens(output=tokens)))
        elif what == "respond":
            respond(world, f"r{number}", tokens)
        elif what == "end":
            end_session(world.rt, session)
    spent = sum(world.budget(session).spent for session in sessions)
    with world.ledger.reading() as reader:
        everything = reader.usage_between(-ALWAYS_US, ALWAYS_US)
        spent += sum(stored.cost_nanos for stored in everything if stored.session_id is None)
    for by in By:
        for every in (None, *(each for each in By if each.is_period)):
            found = report(world, by.value, every, zone=ZoneInfo("Europe/London"))
            assert found.total.whole.nanos == sum(line.whole.nanos for line in found.lines) == spent
    world.ledger.close()


# ---------------------------------------------------------------- by whom


@pytest.mark.parametrize(
    "by, expected",
    [
        ("tenant", {"default": 12}),
        ("project", {SHOP: 10, "/home/me/blog": 2}),
        ("client", {"claude-code": 7, "codex": 5}),
        ("model", {"dear": 9, "cheap": 3}),
    ],
)
def test_spending_is_listed_by(world, by, expected):
    shop, blog = world.with_runtime(project=SHOP), world.with_runtime(project="/home/me/blog")
    one, two, three = (
        shop.start("9", client="claude-code"),
        shop.start("9", client="codex", model="cheap"),
        blog.start("9", client="Codex", model="dear"),
    )
    called(shop, one, 70)
    called(shop, two, 300)
    called(blog, three, 20)
    found = report(world, by)
    assert {line.key[-1]: line.whole.nanos // CENT for line in found.lines} == expected
    assert [line.whole.nanos for line in found.lines] == sorted((n * CENT for n in expected.values()), reverse=True)
    assert len(found.total.sessions) == 3


def test_a_session_stands_under_its_id_and_counts_once_in_the_total_of_several_periods(world):
    world.clock.at_us = at("2026-11-22T23:00")
    session = world.start("9")
    called(world, session, 70)
    world.clock.forward(3 * HOUR)
    called(world, session, 30)
    found = report(world, "session", "day")
    assert costs(found) == {(session, "2026-11-22"): 7, (session, "2026-11-23"): 3}
    assert len(found.total.sessions) == 1


# ---------------------------------------------------------------- when


@pytest.mark.parametrize(
    "every, zone, expected",
    [
        ("day", "UTC", {"2026-03-28": 1, "2026-03-29": 6, "2026-03-30": 8}),
        ("day", "Europe/London", {"2026-03-28": 1, "2026-03-29": 2, "2026-03-30": 12}),
        ("week", "Europe/London", {"2026-W13": 3, "2026-W14": 12}),
        ("month", "Europe/London", {"2026-03": 15}),
        (None, "Europe/London", {None: 15}),
    ],
)
def test_periods_are_those_of_the_users_time_zone_also_where_clocks_are_changed(world, every, zone, expected):
    moments = {"2026-03-28T23:59": 10, "2026-03-29T00:30": 20, "2026-03-29T23:30": 40, "2026-03-30T22:00": 80}
    for text, tokens in moments.items():
        world.clock.at_us = at(text)
        called(world, world.start("9"), tokens)
    found = report(world, "tenant", every, zone=ZoneInfo(zone))
    assert {line.period: line.whole.nanos // CENT for line in found.lines} == expected
    assert [line.period for line in found.lines] == [*expected]


def test_a_span_cuts_the_periods_at_its_ends(world):
    for hour, tokens in ((1, 10), (10, 20), (20, 40)):
        world.clock.at_us = at(f"2026-11-22T{hour:02d}:00")
        called(world, world.start("9"), tokens)
    found = report(world, "tenant", "day", since=at("2026-11-22T05:00"), until=at("2026-11-22T15:00"))
    assert costs(found) == {("default", "2026-11-22"): 2}


# ---------------------------------------------------------------- tenants


@pytest.fixture
def two(world):
    """Two tenants with a session each."""
    acme, globex = of_tenant(world, "acme"), of_tenant(world, "globex")
    called(acme, acme.start("9"), 100)
    called(globex, globex.start("9"), 30)
    return acme, globex


def test_by_tenant_all_are_listed_and_by_anything_else_only_the_one_here(two):
    acme, globex = two
    assert costs(report(acme)) == costs(report(globex)) == {("acme", None): 10, ("globex", None): 3}
    for by in ("project", "client", "model", "session"):
        assert report(acme, by).total.whole.nanos == 10 * CENT
        assert report(globex, by).total.whole.nanos == 3 * CENT
        assert report(globex, by, tenant="acme").total.whole.nanos == 10 * CENT


def test_a_tenant_that_has_nothing_has_an_empty_report_and_one_that_cannot_be_is_refused(two):
    assert report(two[0], tenant="nobody").lines == []
    with pytest.raises(InvalidArgument):
        report(two[0], tenant="a/b")


def test_a_response_in_a_project_of_another_tenant_is_counted_there_and_nowhere_else(world):
    owner = {SHOP: "acme"}.get
    acme, other = (of_tenant(world, name, project=SHOP, tenant_of=owner) for name in ("acme", "globex"))
    session = acme.start("9", client="claude-code")
    assert respond(other, "r1").elsewhere == 1
    assert respond(acme, "r1").attributed == 1
    assert costs(report(other)) == {("acme", None): 10}
    assert report(other, "session").total.whole.responses == 0
    with world.ledger.reading("acme") as reader:
        assert [stored.session_id for stored in reader.usage_of(session)] == [session]


def test_a_response_of_a_session_here_counts_here_whoever_has_the_folder(world):
    acme = of_tenant(world, "acme", project=SHOP, tenant_of=lambda _: "default")
    acme.start("9", client="claude-code")
    assert respond(acme, "r1").attributed == 1


# ---------------------------------------------------------------- other currencies


def test_sessions_in_another_currency_are_told_in_both_each_at_its_own_rate(world):
    for rate, day, tokens in ((1_250_000_000, "2026-11-20", 100), (1_300_000_000, "2026-11-21", 130)):
        called(world, world.start("9", currency="GBP", usd_nanos=rate, rate_day=day), tokens)
    called(world, world.start("9"), 50)
    [line] = report(world).lines
    assert line.whole.nanos == 28 * CENT
    assert line.by_currency() == {"GBP": 8 * CENT + 10 * CENT}
    assert {(rate.day, line.own_nanos(rate)) for rate in line.own} == {
        ("2026-11-20", 8 * CENT),
        ("2026-11-21", 10 * CENT),
    }
    assert report(world).total.by_currency() == {"GBP": 18 * CENT}


# ---------------------------------------------------------------- cost of asking


@pytest.mark.parametrize(
    "sql, indexes",
    [
        (spending.SELECT_BOOKED_SUMS, ["call_booked"]),
        (spending.SELECT_NEXT_RESPONSE, ["usage_time"]),
        (spending.SELECT_NEXT_CALL, ["call_booked"]),
    ],
)
def test_a_report_reads_the_rows_of_its_span_and_no_others(world, sql, indexes):
    parameters = {"tenant": "default", "from_us": 0, "until_us": 1}
    plan = [row[3] for row in world.ledger._connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)]
    assert [line for line in plan if line.startswith("SCAN")] == []
    for index in indexes:
        assert any(f"{index} (tenant=? AND at_us>? AND at_us<?)" in line for line in plan), plan


def test_the_runtime_of_another_tenant_shares_nothing_that_is_one_tenants_own(two):
    acme, _ = two
    other = in_tenant(acme.rt, "globex")
    assert other.known_prices() is not acme.rt.known_prices()
