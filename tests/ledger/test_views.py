"""The views that other programs may rely on: what they say, that the guide's queries run, and that none is written."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from tests.docs.pages import ROOT, blocks
from tests.operations.usage.test_ingest import response, take
from tests.world import make_world

from tallygate.core.costing import Tokens
from tallygate.ledger.audit.audit import audit
from tallygate.operations.gate.record import UsageReport, record_usage

GUIDE = ROOT / "docs" / "guides" / "export.md"
QUERIES = [block.text for block in blocks(GUIDE, "sql") if block.info == ("sql",)]
VIEWS = {
    "tally_spend_v1": "tenant kind at_us at_utc client client_session session_id call_id response model provider agent"
    " tool folder fresh_input_tokens cache_read_tokens cache_write_5m_tokens cache_write_1h_tokens output_tokens"
    " reasoning_tokens web_searches cost_nanos cost_usd basis quality rule certainty price_id price_key price_source"
    " price_version agent_type skill served branch repository",
    "tally_sessions_v1": "tenant session_id client model state folder parent_session_id currency started_us started_at"
    " ended_at end_cause responses halts cost_nanos",
    "tally_budgets_v1": "tenant budget_id scope scope_key period unit mode limit_amount spent_amount reserved_amount"
    " left_amount starts_at resets_at touched_at",
    "tally_decisions_v1": "tenant call_id session_id at_us at_utc action reason state tool model target_model"
    " actor_type agent said_usd reserved_usd booked_usd observed_usd",
}


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """A ledger with responses, a reported call, an estimated one that waits and a refusal."""
    folder = tmp_path_factory.mktemp("views")
    world = make_world(folder)
    take(world, response(world, "a"), response(world, "b", 200))
    session = world.start("1")
    record_usage(world.rt, UsageReport(world.ask(session, 300, tool_name="plan").call_id, Tokens(200)))
    world.ask(session, 900_000, tool_name="read")
    assert audit(world.ledger) == []
    world.ledger.close()
    with closing(sqlite3.connect(f"{(folder / 'ledger.db').as_uri()}?mode=ro", uri=True)) as opened:
        yield opened


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_keeps_its_columns_and_gains_more_at_its_end_alone(database, view):
    named = [row[1] for row in database.execute(f"PRAGMA table_info({view})")]
    assert named[: len(VIEWS[view].split())] == VIEWS[view].split()


def test_the_guide_has_queries():
    assert len(QUERIES) >= 5


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_of_the_guide_runs_and_names_its_columns(database, query):
    found = database.execute(query)
    assert all(name[0] for name in found.description)
    found.fetchall()


def test_spend_is_what_the_ledger_says_with_whose_word_it_is(database):
    rows = database.execute("SELECT kind, basis, certainty, cost_nanos FROM tally_spend_v1 ORDER BY 1, 4").fetchall()
    counted = database.execute("SELECT SUM(cost_nanos) FROM usage").fetchone()[0]
    booked = database.execute("SELECT SUM(booked_nanos) FROM call").fetchone()[0]
    assert sum(row[3] for row in rows) == counted + booked
    assert {row[:3] for row in rows} == {("response", "observed", "known"), ("call", "reported", "known")}
    days = database.execute("SELECT DISTINCT substr(at_utc, 1, 4) FROM tally_spend_v1").fetchall()
    assert days == [("2026",)]


def test_sessions_budgets_and_decisions_are_those_of_the_ledger(database):
    ((halts, cost),) = database.execute("SELECT halts, cost_nanos FROM tally_sessions_v1").fetchall()
    assert (halts, cost) == (1, 200_000_000)
    ((limit, spent, left),) = database.execute(
        "SELECT limit_amount, spent_amount, left_amount FROM tally_budgets_v1 WHERE scope = 'session'"
    ).fetchall()
    assert (limit, spent, left) == (1, 0.2, 0.8)
    assert database.execute("SELECT action, tool FROM tally_decisions_v1 ORDER BY action").fetchall() == [
        ("allow", "plan"), ("halt", "read"),
    ]  # fmt: skip


def test_a_span_of_one_tenant_is_read_along_the_index_on_time(database):
    plan = database.execute(
        "EXPLAIN QUERY PLAN SELECT SUM(cost_nanos) FROM tally_spend_v1 WHERE tenant = 'default' AND at_us > 5"
    ).fetchall()
    told = " ".join(row[3] for row in plan)
    assert "usage_time" in told
    assert "call_booked" in told
