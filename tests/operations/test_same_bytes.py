"""What a ledger holds is hashed and read back for years: the same work leaves the same bytes, whatever the code is."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.reading_rules import Rule
from tests.world import MINUTE, NANOS, make_world, the_user

from tallygate.core.costing import Tokens
from tallygate.core.gate.rules import BudgetRule, BudgetScope
from tallygate.core.model import Actor
from tallygate.core.statements import BilledTokens, Billing, BillLine, Grain, TokenClass
from tallygate.core.usage import ObservedUsage, Quality
from tallygate.core.words import AccountingMode, ActorType, CallMode, UsageChannel
from tallygate.operations.bills.keep import Draft, keep_bill
from tallygate.operations.budgets.calls import sweep
from tallygate.operations.budgets.change import raise_budget, set_budget
from tallygate.operations.gate.record import CallReport, UsageReport, record_call, record_usage, void_call
from tallygate.operations.sessions.ending import end_session
from tallygate.operations.usage.correct import correct_usage
from tallygate.operations.usage.ingest import FileReading, ingest

PROJECT = "/home/me/p"
ME = the_user("me")
# Of what events state of each table, as it was before rows came from the dataclasses. Another digest is another form of
# event: ledgers that are there still verify, but what is written from now on is not what was written until now.
STATED = {
    "bill": "d2f56639b28b399a",
    "bill_line": "bd094b133b0a9401",
    "budget": "dbf641940f791313",
    "calibration_sample": "9ff42d35aa4e31b8",
    "call": "8c26a4c50d021cf7",
    "client_session": "0bb563ecb7e7ab7f",
    "limit_change": "0b828de605ef3ced",
    "price": "f01b3420615b00ba",
    "price_list": "52ce5853ea953f0f",
    "session": "a9d4b664391daae0",
    "session_budget": "6a96cac4601aec24",
    "usage": "e7689950d119f591",
    "usage_anomaly": "3f44e1e4f1e63a4c",
}
# Words that people read may be bettered, and what prices are known: their form is held elsewhere.
WORDS = {"call": ("reply",), "price_list": ("list_id", "stated"), "session": ("prices",)}


class NoRunLog:
    """A place for finished sessions that is the same on every machine: a session keeps it."""

    def append(self, path, line):
        pass

    def holds(self, path, line):
        return True


@pytest.fixture
def world(tmp_path):
    made = make_world(tmp_path)
    yield made.with_runtime(run_log=NoRunLog(), run_log_path=Path("/var/runs.jsonl"))
    made.ledger.close()


def a_response(world, key, **more):
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=world.clock.at_us)
    row = {
        "client": "claude_code",
        "session": "client-1",
        "response_key": key,
        "at": at,
        "model": "dear",
        "tokens": Tokens(fresh_input=7, cache_read=11, cache_write_5m=5, cache_write_1h=3, output=20),
        "rule": Rule.CLAUDE_RESPONSE,
        "project": PROJECT,
    }
    return ObservedUsage(**(row | more))


def take(world, *rows):
    return ingest(world.rt, FileReading("claude_code", "/t/file.jsonl", rows, position={"offset": 10}))


def agents_own_reports(world):
    """A parent and a child that estimate and report, with every way out of pending."""
    rule = BudgetRule(BudgetScope.GLOBAL, limit=50 * NANOS, period="day", unit="USD")
    world = world.with_runtime(rules=(rule,))
    exact = {"accounting_mode": AccountingMode.EXACT_OPTIONAL, "usage_channel": UsageChannel.SELF_HOSTED_RELAY}
    parent = world.start("2", client="house", task_summary="Größe: the whole", **exact)
    child = world.start("1", parent_session_id=parent, client="house")
    first = world.ask(child, 100, client_key="k1", call_mode=CallMode.AGENT)
    second = world.ask(child, 50, actor=Actor(ActorType.SUBAGENT, "a7", "tester"), parent_call_id=first.call_id)
    third = world.ask(child, 10)
    assert world.ask(child, 100_000).action == "halt"
    record_usage(world.rt, UsageReport(first.call_id, Tokens(40, 30, 20, 10, 5), "dear", {"run": "7"}))
    void_call(world.rt, second.call_id, "not made")
    world.clock.forward(30 * MINUTE)
    assert sweep(world.rt)
    record_usage(world.rt, UsageReport(third.call_id, Tokens(output=3_000), "cheap"))
    record_call(world.rt, CallReport(child, "dear", Tokens(output=9)))
    raise_budget(world.rt, child, NANOS, reason="more", authority=ME)
    set_budget(world.rt, parent, 5 * NANOS, reason="less", authority=ME)
    end_session(world.rt, child)


def a_client_s_record(world):
    """A session whose responses are read, out of order and corrected, by the main agent and a subagent."""
    world = world.with_runtime(project=PROJECT)
    session = world.start("10", client="claude-code")
    world.clock.forward(1_000_000)
    call = world.ask(session, 500)
    world.clock.forward(1_000_000)
    take(world, a_response(world, "r1", quality=Quality.PARTIAL, estimated_output=40, tool_use_ids=("t1", "t2")))
    take(world, a_response(world, "r1", reasoning=4, tier="standard", speed="fast", geo="eu", web_searches=2))
    world.ask(session, 300)
    world.clock.forward(1_000_000)
    named = {"agent_id": "a1", "request_id": "q", "version": "2", "provider": "anthropic", "parent_session": "client-0"}
    take(world, a_response(world, "r2", **named, native_cost_text="0.1"), a_response(world, "r3", model="cheap"))
    assert world.call(call.call_id).state == "reconciled"
    correct_usage(world.rt, "r3", {"output": 2}, model=None, reason="the bill says so", authority=ME)
    end_session(world.rt, session)


def a_bill(world):
    at = datetime(2026, 9, 1, tzinfo=UTC)
    full = BillLine(
        4, Grain.DAY, at, "anthropic", ("a", "b"), "dear", BilledTokens(1, 2, 3, 4, 6), -5, at + timedelta(days=1), 7,
        TokenClass.OUTPUT, "req_1", "my key", "team", Billing.INCLUDED,
    )  # fmt: skip
    plain = BillLine(5, Grain.REQUEST, at, "openai", ("c",), cost_nanos=NANOS)
    keep_bill(world.rt, Draft("cursor", "a.csv", hashlib.sha256(b"a").hexdigest(), "USD", (full, plain)))


def stated(ledger):
    """For each table the operations on its rows in their order, without their words, as one digest."""
    found = {}
    for (body,) in ledger.rows("SELECT body FROM event ORDER BY id"):
        for op, table, row in json.loads(body)["rows"]:
            kept = {name: value for name, value in row.items() if name not in WORDS.get(table, ())}
            found.setdefault(table, hashlib.sha256()).update(f"{op}{json.dumps(kept)}".encode())
    return {table: digest.hexdigest()[:16] for table, digest in found.items()}


def test_the_same_work_with_the_same_clock_and_ids_leaves_the_same_events(world):
    agents_own_reports(world)
    a_client_s_record(world)
    a_bill(world)
    assert not world.problems()
    assert stated(world.ledger) == STATED
