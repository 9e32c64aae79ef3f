"""The ledger in PostgreSQL: the same work comes to the same, and what only a server can do to it."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import pytest
from tests.postgres import LEDGER_ID, QUICK, Server, shared, with_tables
from tests.reading_rules import Rule
from tests.world import NANOS, Clock, Tokens as Ids, changed, make_world, on_postgres, the_user

from tallygate.core.attribution import Served
from tallygate.core.costing import Tokens
from tallygate.core.errors import InvariantBroken, LedgerTooNew, LedgerUnavailable
from tallygate.core.learning.calibration import CostOrigin, SampleKey
from tallygate.core.model import Actor
from tallygate.core.sums import UsageFilter
from tallygate.core.usage import ObservedUsage
from tallygate.core.words import ActorType
from tallygate.ledger import store
from tallygate.ledger.audit.audit import audit
from tallygate.ledger.events import KEYS
from tallygate.ledger.port import Insert, LedgerBusy, Update
from tallygate.ledger.rows import COLUMNS
from tallygate.ledger.shapes import is_server, postgres_columns
from tallygate.operations.budgets.calls import sweep
from tallygate.operations.budgets.change import raise_budget, set_budget
from tallygate.operations.gate.record import UsageReport, record_usage, void_call
from tallygate.operations.sessions.ending import end_session
from tallygate.operations.usage.ingest import FileReading, ingest_all, link_session

HOUR_US = 3_600_000_000
psycopg = pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")


def postgres_world(folder, url=None):
    """A world as `make_world` has it, on a database of its own."""
    clock = Clock()
    made = make_world(folder, clock=clock)
    made.ledger.close()
    ledger = on_postgres(url or shared().database(), clock)
    return type(made)(changed(made.rt, ledger=ledger, new_token=Ids()), ledger, clock, folder)


@pytest.fixture
def world(tmp_path):
    made = postgres_world(tmp_path)
    yield made
    made.ledger.close()


def response(key, at_us, **more):
    options = {"model": "dear", "tokens": Tokens(10, 2, 3, 4, 5), "request_id": f"r{key}", **more}
    at = datetime.fromtimestamp(at_us / 1_000_000, UTC)
    return ObservedUsage(
        client="claude_code", session="c", response_key=key, at=at, rule=Rule.CLAUDE_RESPONSE, **options
    )


def story(world):
    """Some of everything: calls that are allowed, refused, recorded, voided and forgotten, responses, raises, ends."""
    session = world.start("10", task_summary="it")
    child = world.start("5", parent_session_id=session, model="cheap")
    for index in range(6):
        answer = world.ask(child, 100 + index, actor=Actor(ActorType.SUBAGENT, name=f"a{index % 2}"))
        if index == 0:
            void_call(world.rt, answer.call_id, "no")
        elif index < 4:
            record_usage(world.rt, UsageReport(answer.call_id, Tokens(50)))
    assert world.ask(child, 100_000).action == "halt"
    raise_budget(world.rt, child, NANOS, reason="r", authority=the_user("u"))
    set_budget(world.rt, session, 20 * NANOS, reason="r", authority=the_user("u"))
    metered = world.start("10")
    link_session(world.rt, "claude_code", "c", metered)
    now = world.clock.at_us
    rows = [
        response("m1", now - 5, project="/p", served=(Served(None, "Bash"), Served("gh", "list")), branch="main"),
        response("m2", now + HOUR_US, agent_id="x", agent_type="explorer", odd=("broken_off",), project="/p"),
        response("m3", now + HOUR_US * 2, provider="openrouter", speed="fast", skill="s"),
        response("m1", now - 5, tokens=Tokens(20, 2, 3, 4, 9), project="/p", served=(Served(None, "Bash"),)),
    ]
    for row in rows:
        ingest_all(world.rt, [FileReading("claude_code", "/t", [row], position={"offset": 1, "mark": "x"}, skipped={"a": 1})])
    world.ask(metered, 5)
    world.clock.forward(HOUR_US * 3)
    sweep(world.rt)
    end_session(world.rt, session)
    return session, child, metered


def tables(ledger):
    """What stands in every table that events make, and in the sums."""
    found = {}
    with ledger.reading():
        for table in KEYS:
            names = [name for name in COLUMNS[table] if name not in ("run_log",)]
            found[table] = sorted(map(repr, ledger.rows(f"SELECT {', '.join(names)} FROM {table}")))
        for table in ("rollup", "share"):
            found[table] = sorted(tuple(row) for row in ledger.rows(f"SELECT * FROM {table}"))
    return found


def asked(reader, sessions, clock):
    """Every question that a reader answers, as text."""
    session, child, metered = sessions
    calls = [call.call_id for call in reader.calls_of(child)]
    began, now = 0, clock.at_us + HOUR_US * 1000
    given = {
        "session_id": metered, "client": "claude_code", "client_session": "c", "agent_id": "x", "agent": "", "limit": 7,
        "from_us": began, "until_us": now, "at_us": now, "state": None, "part": metered[:6], "budget_id": child,
        "budget_ids": [session, child, "no"], "call_id": calls[1], "column": "model", "keys": ["m1", "no"],
        "requests": ["rm1", "rm3"], "path": "/t", "client_key": "k", "chosen": UsageFilter(began, now),
        "models": ["dear"], "kind": "agent", "model": "dear", "price_id": "p", "period": "day", "after_us": 0,
        "scope": "project", "size_us": HOUR_US, "folders": ["/p"], "prices": ["p"], "whom": ["agent", "tool", "skill"],
        "key": SampleKey("agent", "mcp", "cheap"), "after": 0, "first": 0, "response_key": "m1", "bill_id": "b",
        "form": "f", "digest": "d", "route": "r", "than": None, "attestation_id": "a", "keyid": "k", "seq": 2,
        "since_us": None, "row": 0, "started_us": clock.at_us, "action": "halt", "minutes": 300, "list_id": "l",
    }  # fmt: skip
    told = {"state": None, "limit": 7, "told": True, "apart": True, "by_session": True, "first": True, "origin": CostOrigin.REPORTED}
    answers = {}
    for name, way in inspect.getmembers(reader, inspect.ismethod):
        if name.startswith("_") or name in WRITES:
            continue
        wanted = inspect.signature(way).parameters.values()
        values = [given[each.name] for each in wanted if each.kind is each.POSITIONAL_OR_KEYWORD and each.name in given]
        named = {each.name: told[each.name] for each in wanted if each.kind is each.KEYWORD_ONLY and each.default is each.empty}
        if name in ("attributed", "of_old_form"):
            values[0] = {"attributed": "agent"}.get(name, "")
        if name == "plan_history":
            values = ["codex", "primary", 300, 0]
        if name == "place_at":
            values = ["call", clock.at_us - HOUR_US * 4]
        found = way(*values, **named)
        if isinstance(found, dict):
            found = sorted(found.items(), key=repr)
        elif inspect.isgenerator(found) or isinstance(found, map) or name in UNORDERED:
            found = sorted(found, key=repr) if name in UNORDERED else list(found)
        answers[name] = repr(found)
    return answers


# Sums that whoever asks adds up, in whatever order.
UNORDERED = frozenset({"usage_sums", "shared_sums", "booked_sums", "weighed", "attributed", "spent_at"})
WRITES = frozenset({"append", "step", "taken_back"})


def test_the_same_work_comes_to_the_same_chain_tables_sums_and_answers(tmp_path):
    """Both ledgers have one id and one clock: had one of them done or read anything else, a hash would tell."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    found = []
    for made in (make_world(tmp_path / "a"), postgres_world(tmp_path / "b")):
        made = made.with_runtime(run_log_path=Path("runs.jsonl"))
        sessions = story(made)
        with made.ledger.reading() as reader:
            found.append((reader.head(), sessions, asked(reader, sessions, made.clock)))
        found[-1] += (tables(made.ledger), audit(made.ledger))
        made.ledger.close()
    here, there = found
    assert {name: each for name, each in here[2].items() if there[2][name] != each} == {}
    assert here[2].keys() == there[2].keys()
    assert here[3] == there[3]
    assert here[0] == there[0]
    assert here[4] == there[4] == []
