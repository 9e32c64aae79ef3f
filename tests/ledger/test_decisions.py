"""Decisions of a span: the newest, what was refused, what came after, without reading the rest."""

from __future__ import annotations

import pytest
from tests.world import MINUTE, make_world

from tallygate.ledger.store.decisions import (
    COUNT_NOT_ALLOWED,
    SELECT_AFTER,
    SELECT_NEWEST,
    SELECT_NOT_ALLOWED,
    SELECT_PASSED,
)


@pytest.fixture
def asked(tmp_path):
    """Ten steps, a minute apart, of which the last four are refused."""
    world = make_world(tmp_path)
    session = world.start("0.6")
    moments = []
    for _ in range(10):
        world.ask(session, 100)
        moments.append(world.calls(session)[-1].at_us)
        world.clock.forward(MINUTE)
    yield world, session, moments
    world.ledger.close()


@pytest.mark.parametrize(("first", "last"), [(0, 10), (3, 7), (0, 0), (9, 10), (4, 5)])
def test_the_calls_of_a_span_are_found_by_halving(asked, first, last):
    world, _, moments = asked
    edges = [*moments, 2**62]
    with world.ledger.reading() as reader:
        found = reader.newest_calls(edges[first], edges[last], 100)
        assert [call.at_us for call in found] == moments[first:last][::-1]
        assert [call.at_us for call in reader.newest_calls(-(2**62), 2**62, 3)] == moments[:-4:-1]
        for table in ("call", "event"):
            assert reader.place_at(table, -(2**62)) <= 1
        places = [reader.place_at("call", at) for at in moments]
        assert places == sorted(set(places))


def test_refusals_are_counted_and_listed_the_latest_first(asked):
    world, session, moments = asked
    with world.ledger.reading() as reader:
        assert reader.count_not_allowed(0, 2**62) == {"reroute": 1, "halt": 4}
        assert reader.count_not_allowed(moments[6], moments[8]) == {"halt": 2}
        assert [each.at_us for each in reader.not_allowed("halt", 0, 2**62, 3)] == moments[:-4:-1]
        assert [each.at_us for each in reader.calls_after(session, moments[3], 2)] == moments[4:6]


def test_no_question_reads_what_it_does_not_ask_for(asked):
    world, session, _ = asked
    names = {"tenant": "default", "from_us": 0, "until_us": 1, "action": "halt", "limit": 1, "session_id": session,
             "at_us": 0, "from": 0, "until": 1}  # fmt: skip
    wanted = {
        SELECT_NOT_ALLOWED: "call_not_allowed (tenant=? AND at_us>? AND at_us<?)",
        COUNT_NOT_ALLOWED: "COVERING INDEX call_not_allowed",
        SELECT_AFTER: "call_of_session (tenant=? AND session_id=? AND at_us>?)",
        SELECT_NEWEST: "INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
        SELECT_PASSED: "budget_passed (tenant=? AND touched_us>? AND touched_us<?)",
    }
    with world.ledger.reading() as reader:
        for sql, index in wanted.items():
            plan = [row[3] for row in reader._execute(f"EXPLAIN QUERY PLAN {sql}", names).fetchall()]
            assert any(index in step for step in plan), (sql, plan)
