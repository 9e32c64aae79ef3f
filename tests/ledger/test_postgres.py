"""The ledger in PostgreSQL: the same work comes to the same, and what only a server can do to it."""

from __future__ import annotations

import inspect
import multiprocessing
import pkgutil
import re
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import pytest
from tests.postgres import shared, spend
from tests.reading_rules import Rule
from tests.world import NANOS, Clock, changed, make_world, on_postgres, the_user
from tests.world import Tokens as Ids

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
from tallygate.ledger.port import LedgerBusy, Update
from tallygate.ledger.rows import COLUMNS
from tallygate.ledger.shapes import postgres_columns, postgres_roles, spoken
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
        ingest_all(
            world.rt, [FileReading("claude_code", "/t", [row], position={"offset": 1, "mark": "x"}, skipped={"a": 1})]
        )
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
            found[table] = sorted(map(repr, ledger.rows(f"SELECT {', '.join(COLUMNS[table])} FROM {table}")))
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
    told = {
        "state": None,
        "limit": 7,
        "told": True,
        "apart": True,
        "by_session": True,
        "first": True,
        "origin": CostOrigin.REPORTED,
    }
    answers = {}
    for name, way in inspect.getmembers(reader, inspect.ismethod):
        if name.startswith("_") or name in WRITES:
            continue
        wanted = inspect.signature(way).parameters.values()
        values = [given[each.name] for each in wanted if each.kind is each.POSITIONAL_OR_KEYWORD and each.name in given]
        named = {
            each.name: told[each.name]
            for each in wanted
            if each.kind is each.KEYWORD_ONLY and each.default is each.empty
        }
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
    return answers | other_ways(reader, metered, child, now)


def other_ways(reader, metered, child, now):
    """The same questions by each of their words: what stands in a statement differs with it."""
    answers = {}
    for scope in ("agent", "skill", "mcp_server"):
        for prices in (None, ["p"]):
            found = reader.attributed(scope, 0, now, HOUR_US, prices=prices)
            answers[f"attributed {scope} {prices}"] = repr(sorted(found, key=repr))
    for scope in ("client", "project", "model", "global"):
        for apart, placed, named in ((True, False, True), (False, True, False), (False, True, True)):
            found = reader.weighed(scope, 0, now, HOUR_US, apart=apart, placed=placed, named=named)
            answers[f"weighed {scope} {apart} {placed} {named}"] = repr(sorted(found, key=repr))
    for column in ("model", "tool", "actor"):
        for session in (metered, child):
            for way in (reader.spend_by, reader.usage_shares, reader.work_shares):
                answers[f"{way.__name__} {column} {session}"] = repr(way(session, column, 9))
    for word in ("agent", "skill", "branch", "mcp", "tool"):
        for by_session in (True, False):
            found = reader.shared_sums(0, now, [word], by_session=by_session)
            answers[f"shared {word} {by_session}"] = repr(sorted(found, key=repr))
    for chosen in (
        UsageFilter(5, now - 5),
        UsageFilter(5, now, clients=("claude_code",), folders=("/p",), models=("dear",)),
    ):
        answers[f"sums {chosen}"] = repr(sorted(reader.usage_sums(chosen), key=repr))
        answers[f"next {chosen}"] = repr(reader.usage_next(chosen))
    answers["paid"] = repr([reader.paid_by_model(child, 9), reader.paid_by_model(child, 9, child)])
    answers["last"] = repr([reader.last_usage_of(metered, each, 9, written=True) for each in (None, "x")])
    answers["checks"] = repr([reader.sessions(state="open", limit=9), reader.attestations_due(9, child)])
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
        sessions = story(made.with_runtime(run_log_path=Path("runs.jsonl")))
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


def test_both_databases_have_the_same_tables_and_columns(tmp_path):
    made = make_world(tmp_path)
    tables_here = [name for (name,) in made.ledger.rows("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    here = {(table, row[1]) for table in tables_here for row in made.ledger.rows(f"PRAGMA table_info({table})")}
    made.ledger.close()
    # There a call has a number of its own; here it is the row's.
    assert postgres_columns() == {*here, ("call", "id")}


def constants():
    """Every statement that stands in the store of the ledger, but for those that are made of parts at their use."""
    names = [f"tallygate.ledger.store.{each.name}" for each in pkgutil.iter_modules(store.__path__)]
    for module in map(import_module, [*names, "tallygate.ledger.transaction", "tallygate.ledger.rollups"]):
        for name, text in vars(module).items():
            if (
                name.startswith("_")
                or not isinstance(text, str)
                or not text.startswith(("SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH "))
            ):
                continue
            if "{" not in text.replace("'{}'", "").replace("'{%", "") and not text.endswith((" IN ", " AND")):
                yield f"{module.__name__}.{name}", text


def test_every_statement_is_one_of_postgres_too(world):
    """Asked how it would run each of them, it has to understand it; nothing is run."""
    found = list(constants())
    assert len(found) > 100
    wrong = []
    with world.ledger.reading():
        running = world.ledger.running()
        for name, sql in found:
            text = f"EXPLAIN {sql}".replace("EXPLAIN INSERT OR IGNORE", "EXPLAIN INSERT")
            marks = dict.fromkeys(set(re.findall(r"(?<![:\w]):([a-z_]\w*)", text)))
            running.execute("SAVEPOINT look", {})
            try:
                running.execute(text, marks if "?" not in text else (None,) * text.count("?"))
            except psycopg.Error as error:
                wrong.append((name, str(error)))
            running.execute("ROLLBACK TO look", {})
    assert wrong == []


def test_events_can_be_neither_changed_nor_deleted(world):
    world.ask(world.start(), 1)
    for sql in ("UPDATE event SET body = ''", "DELETE FROM event", "TRUNCATE event"):
        with pytest.raises(psycopg.errors.RestrictViolation, match="never"), world.ledger.writing():
            world.ledger.running().execute(sql, {})
    assert not world.problems()


def test_a_transaction_that_fails_leaves_nothing_and_a_fault_of_the_program_stays_one(world):
    session = world.start()
    before = world.events()
    with pytest.raises(RuntimeError), world.ledger.writing() as tx:
        tx.append("test", [Update("session", {"session_id": session, "model": "other"})], by="t")
        raise RuntimeError("stop")
    with pytest.raises(InvariantBroken), world.ledger.writing() as tx:
        tx.append("test", [Update("session", {"session_id": "nowhere", "model": "x"})], by="t")
    with pytest.raises(psycopg.errors.CheckViolation), world.ledger.writing() as tx:
        tx.append("test", [Update("budget", {"budget_id": session, "spent_nanos": 2 * NANOS})], by="t")
    assert world.events() == before
    assert not world.problems()


def test_of_two_that_go_on_from_one_head_the_second_is_refused_with_all_that_it_wrote(world):
    """No lock is believed: whoever wrote without one would still not get past the table."""
    session = world.start("1")
    world.ledger.writing(tenant="elsewhere")
    with (
        pytest.raises(LedgerUnavailable, match="wrote at the same time") as refused,
        world.ledger.writing() as tx,
    ):
        world.ledger.running().execute("SAVEPOINT before", {})
        tx.append("test", [Update("session", {"session_id": session, "model": "mine"})], by="t")
        tx.newest = type(tx.newest)(tx.newest.seq - 1, tx.newest.hash, tx.newest.at_us)
        tx.append("test", [Update("session", {"session_id": session, "model": "twice"})], by="t")
    assert refused.value.code == "lock_timeout"
    with world.ledger.reading() as reader:
        assert reader.session(session).model == "dear"


def test_a_tenant_is_written_in_turn_and_read_meanwhile_and_others_do_not_wait(world):
    session = world.start()
    clock = world.clock
    other = on_postgres(world.ledger.server.url, clock, lock_timeout_ms=50)
    with world.ledger.writing() as tx:
        tx.append("test", [Update("session", {"session_id": session, "model": "cheap"})], by="t")
        with pytest.raises(LedgerUnavailable) as waited, other.writing():
            pass
        assert waited.value.code == "lock_timeout"
        with other.at_once(), pytest.raises(LedgerBusy), other.writing():
            pass
        with other.reading() as reader:
            assert reader.session(session).model == "dear"
        with other.writing("team") as theirs:
            theirs.append("test", [], by="t")
        with world.ledger.reading() as reader:
            assert reader.session(session).model == "cheap", "what it has written itself a transaction sees"
    other.close()
    assert not world.problems()


def test_a_tenant_sees_and_spends_nothing_of_another(world):
    session = world.start()
    with world.ledger.reading("other") as reader:
        assert (reader.session(session), reader.budget(session), reader.head().seq) == (None, None, 0)
        assert reader.sessions(state=None, limit=9) == []
    with pytest.raises(InvariantBroken), world.ledger.writing("other") as tx:
        tx.append("test", [Update("budget", {"budget_id": session, "spent_nanos": 1})], by="t")
    assert world.budget(session).spent == 0


def test_a_database_that_is_not_reached_is_told_in_two_seconds(tmp_path, world):
    session = world.start()
    for url in (f"postgresql://u@/d?host={tmp_path}", "postgresql://u@127.0.0.1:9/d"):
        began = time.monotonic()
        with pytest.raises(LedgerUnavailable, match="not reached in 2 s") as refused:
            on_postgres(url, Clock())
        assert refused.value.code == "ledger_unavailable"
        assert "u@" not in refused.value.message
        # Twice as long may be asked, the second time for the reason: not a wall-clock bound of a test, a wait's bound.
        assert time.monotonic() - began < 60
    world.ledger.close()
    answer = world.ask(session, 1)
    assert (answer.action, answer.reason) == ("halt", "ledger_unavailable")


def test_connections_that_died_are_replaced_and_a_step_that_lost_its_own_left_nothing(world):
    session = world.start()
    kill = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tallygate' AND datname = '{}'"
    )
    name = world.ledger.place.rpartition("/")[2]
    shared().execute(kill.format(name))
    assert world.ask(session, 1).action == "allow"
    before = world.events()
    with pytest.raises(LedgerUnavailable), world.ledger.writing() as tx:
        tx.append("test", [Update("session", {"session_id": session, "model": "cheap"})], by="t")
        shared().execute(kill.format(name))
        tx.append("test", [], by="t")
    assert world.events() == before
    assert world.ask(session, 1).action == "allow"
    assert not world.problems()


def test_tables_of_a_newer_program_are_refused_only_where_this_one_cannot_use_them(tmp_path):
    server = shared()
    url = server.database()
    name = url.partition("?")[0].rpartition("/")[2]
    server.execute("UPDATE schema_version SET version = 99", name)
    on_postgres(url, Clock()).close()
    server.execute("UPDATE schema_version SET usable_from = 99", name)
    with pytest.raises(LedgerTooNew, match="schema 99"):
        on_postgres(url, Clock())
    server.execute("CREATE DATABASE without")
    with pytest.raises(LedgerUnavailable, match="tallygate migrate"):
        on_postgres(server.url("without"), Clock())


BEGINS = "() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$"
UNGUARDED = "ALTER TABLE event DISABLE TRIGGER ALL; "
ATTACKS = [
    ("a raised limit", "UPDATE budget SET limit_nanos = 99000000000", "projection"),
    ("a call that was asked by another", "UPDATE call SET actor_name = 'z' WHERE state = 'voided'", "projection"),
    ("a deleted call", "DELETE FROM call WHERE state = 'denied'", "projection"),
    ("an edited event", f"{UNGUARDED}UPDATE event SET body = body || '\\x20' WHERE seq = 3", "chain"),
    ("a guard that is off", "ALTER TABLE event DISABLE TRIGGER event_never_changes", "schema"),
    ("a guard that is gone", "DROP TRIGGER call_resolves_once ON call", "schema"),
    ("a guard that does nothing", f"CREATE OR REPLACE FUNCTION tally_refused{BEGINS}", "schema"),
    ("a trigger of somebody", (f"CREATE FUNCTION f{BEGINS}; CREATE TRIGGER free BEFORE INSERT ON call FOR EACH ROW"
     " EXECUTE FUNCTION f()"), "schema"),
    ("a rule", "CREATE RULE free AS ON DELETE TO call DO INSTEAD NOTHING", "schema"),
    ("a missing index", "DROP INDEX call_waiting", "schema"),
    ("an edited sum", "UPDATE rollup SET cost_nanos = cost_nanos + 1", "counters"),
]  # fmt: skip


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A database with a story in it, to be copied."""
    folder = tmp_path_factory.mktemp("told")
    made = postgres_world(folder).with_runtime(run_log_path=folder / "runs.jsonl")
    story(made)
    made.ledger.close()
    return made.ledger.place.rpartition("/")[2]


@pytest.mark.parametrize(("name", "attack", "kind"), ATTACKS, ids=[name for name, *_ in ATTACKS])
def test_the_audit_sees(told, name, attack, kind):
    server = shared()
    server.execute("DROP DATABASE IF EXISTS attacked")
    server.execute(f"CREATE DATABASE attacked TEMPLATE {told}")
    server.execute(attack, "attacked")
    ledger = on_postgres(server.url("attacked"), Clock())
    assert kind in {finding.kind for finding in audit(ledger)}
    ledger.close()


def test_the_writer_s_role_does_all_of_the_work_and_can_change_no_event(tmp_path):
    server = shared()
    url = server.database()
    name = url.partition("?")[0].rpartition("/")[2]
    server.execute(postgres_roles(), name)
    server.execute("DROP ROLE IF EXISTS writes; DROP ROLE IF EXISTS looks", name)
    server.execute(
        "CREATE ROLE writes LOGIN IN ROLE tallygate_writer; CREATE ROLE looks LOGIN IN ROLE tallygate_reader", name
    )
    tables = server.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 2200 ORDER BY 1", name)
    may = "SELECT has_table_privilege('tallygate_writer', '{}', 'INSERT')"
    # What only a migration writes, and the state of sums that nobody has to make later here.
    kept_out = {"ledger", "schema_version", "rollup_state"}
    assert {table for (table,) in tables if server.execute(may.format(table), name) == [(False,)]} <= kept_out
    world = postgres_world(tmp_path, server.url(name, "writes"))
    story(world)
    assert world.problems() == []
    for sql in ("UPDATE event SET seq = 1", "DELETE FROM event", "TRUNCATE event", "DROP TABLE event",
                "ALTER TABLE event DISABLE TRIGGER ALL", "DELETE FROM budget", "UPDATE price SET basis = ''",
                "DELETE FROM call", "DELETE FROM limit_change", "CREATE TABLE t (a int)"):  # fmt: skip
        with pytest.raises(psycopg.errors.InsufficientPrivilege), psycopg.connect(server.url(name, "writes")) as own:
            own.execute(sql)
    with psycopg.connect(server.url(name, "looks")) as looks:
        assert looks.execute("SELECT COUNT(*) FROM event").fetchone()[0] > 5
    with pytest.raises(psycopg.errors.InsufficientPrivilege), psycopg.connect(server.url(name, "looks")) as looks:
        looks.execute("UPDATE budget SET spent_nanos = 0")
    world.ledger.close()


def test_several_servers_on_one_budget_never_overspend_nor_refuse_what_fits_and_hold_nothing_in_the_end(tmp_path):
    url = shared().database()
    world = postgres_world(tmp_path, url)
    session = world.start("0.5")  # fifty steps of a cent
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as others:
        found = [others.submit(spend, url, number, session, 25, 10) for number in (1, 2, 3)]
        answers = [answer for each in found for answer in each.result()]
    assert sum(1 for action, _ in answers if action != "halt") == 50
    assert sum(1 for action, _ in answers if action == "halt") == 25
    budget = world.budget(session)
    assert (budget.spent, budget.reserved, budget.overage) == (NANOS // 2, 0, 0)
    assert world.problems() == []
    world.ledger.close()


def test_nothing_that_a_hook_or_a_start_runs_imports_the_driver():
    """It costs a hook as much as everything else together; only a ledger that is in a database needs it."""
    code = "import sys, tallygate.entrypoints.hook, tallygate.app, tallygate.entrypoints.cli.main as _\n"
    code += "print('psycopg' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_an_address_is_told_without_who_enters_and_how():
    assert spoken("postgresql://me:secret@db:5/l?password=x") == "postgresql://db:5/l"
