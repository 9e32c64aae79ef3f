"""What l6e-mcp kept comes into the ledger once, as it was, or not at all and by name."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from contextlib import closing

import pytest
from tests.l6e import (
    LOOSE,
    SCHEMA,
    STARTED,
    STARTED_US,
    call,
    change,
    line,
    make_database,
    policy,
    record,
    session,
    used,
    write_log,
)
from tests.world import T0

from tallygate.core.costing import Tokens
from tallygate.core.errors import InvalidArgument
from tallygate.core.words import Action, CallState, SessionState
from tallygate.l6e import database as reader
from tallygate.l6e.records import Remark
from tallygate.ledger.audit.rebuild import rebuild
from tallygate.operations.gate.record import UsageReport, record_usage
from tallygate.operations.setup import import_l6e as imported
from tallygate.operations.setup.import_l6e import import_l6e
from tallygate.operations.views.overview import show_session

LATER = STARTED + 9_000


@pytest.fixture
def old(tmp_path):
    """Three sessions: one that ended, one that did not, and its child."""
    ended, going = session(1), session(2, ended=False)
    child = session(3, parent_session_id=going["session_id"], model="gpt-5", client=None)
    calls = [
        call(1, ended, **used()),
        call(2, ended, "0.0812", actor_type="subagent", actor_id="a1", actor_name="helper", parent_call_id="call_1"),
        call(3, going, "0.5"),
        call(4, child, "0.010000000000000002", rerouted=1, model_used="gpt-5-mini", call_mode="ask"),
    ]
    return make_database(tmp_path / "l6e" / "sessions.db", [ended, going, child], calls)


def ids(*numbers):
    return [f"session_cursor_2026-05-28_{number:08x}" for number in numbers]


def taken(world, database=None, log=None, **more):
    return import_l6e(world.rt, database, log, **more)


def shown(world, session_id):
    return show_session(world.rt, session_id)


def events(world):
    query = "SELECT body FROM event ORDER BY id"
    return [json.loads(body) for (body,) in world.ledger.rows(query)]


def everything(world):
    return {
        table: [*world.ledger.rows(f"SELECT * FROM {table} ORDER BY 1, 2, 3")]
        for table in ("session", "budget", "call")
    }


def test_a_session_comes_in_with_its_budget_client_model_times_and_summaries(world, old):
    report = taken(world, old)
    view = shown(world, *ids(1))
    kept = view.session
    assert (report.brought.sessions, report.brought.calls, report.brought.actual) == (3, 4, 1)
    assert (kept.state, kept.end_cause, kept.run_log) == (SessionState.ENDED, "run_end", None)
    assert (kept.client, kept.model, kept.currency) == ("cursor", "claude-opus-4-6", "USD")
    assert (kept.task_summary, kept.end_summary) == ("task 1", "outcome 1")
    assert kept.started_us == STARTED_US + 3_600_000_000
    assert kept.ended_us == kept.started_us + 90_250_000
    (budget,) = view.budgets
    assert (budget.limit, budget.spent, budget.reserved) == (2_500_000_000, 206_200_000, 0)
    assert budget.touched_us == kept.ended_us


def test_calls_come_in_with_estimate_usage_cost_and_who_asked(world, old):
    taken(world, old)
    first, second = shown(world, *ids(1)).calls
    assert (first.state, first.cost_basis, first.booked_nanos) == (CallState.RECONCILED, "actual", 125_000_000)
    assert (first.actual, first.estimate_nanos) == (Tokens(9_000, output=3_200), 250_000_000)
    assert (first.prompt_tokens, first.completion_tokens) == (20_000, 6_000)
    assert first.resolved_us == STARTED_US + 30_000_000
    assert (second.state, second.cost_basis, second.booked_nanos) == (CallState.EXPIRED, "estimate", 81_200_000)
    assert (second.actor_type, second.actor_id, second.actor_name) == ("subagent", "a1", "helper")
    assert second.parent_call_id == "call_1"
    assert first.correlation is None


def test_a_session_nobody_ended_is_over_and_its_children_stand_below_it(world, old):
    taken(world, old)
    view = shown(world, *ids(2))
    assert (view.session.state, view.session.end_cause) == (SessionState.ENDED, "imported")
    assert view.children == ids(3)
    assert view.totals.total_nanos == 500_000_000


def test_the_decision_and_the_nearest_nano_of_a_cost_with_binary_residue_are_kept(world, old):
    taken(world, old)
    (only,) = shown(world, *ids(3)).calls
    assert (only.action, only.booked_nanos, only.model_used) == (Action.REROUTE, 10_000_000, "gpt-5-mini")
    assert only.call_mode == "ask"


def test_a_manual_factor_is_kept_beside_the_estimate(world, tmp_path):
    one = session(1)
    rows = [call(1, one, "0.75", raw_estimated_cost_usd="0.5"), call(2, one, "5", raw_estimated_cost_usd="0")]
    taken(world, make_database(tmp_path / "s.db", [one], rows))
    first, second = world.calls(one["session_id"])
    assert (first.raw_estimate_nanos, first.factor_micros) == (500_000_000, 1_500_000)
    assert second.factor_micros == 1_000_000


def test_a_session_that_was_overspent_shows_it_as_overage(world, tmp_path):
    one = session(1, budget=0.01)
    taken(world, make_database(tmp_path / "s.db", [one], [call(1, one, "0.25")]))
    budget = world.budget(one["session_id"])
    assert (budget.limit, budget.spent, budget.overage) == (10_000_000, 250_000_000, 240_000_000)


def test_importing_again_changes_nothing_and_says_what_was_there(world, old):
    taken(world, old)
    before = everything(world), world.events()
    again = taken(world, old)
    assert (again.known, again.brought.sessions, again.brought.calls) == (3, 0, 0)
    assert (everything(world), world.events()) == before


def test_each_session_is_one_event_that_names_file_digest_and_row(world, old):
    taken(world, old)
    found = events(world)
    assert [each["kind"] for each in found] == ["session.imported"] * 3
    assert [each["note"]["original_session_id"] for each in found] == ids(1, 2, 3)
    assert found[0]["note"]["source"] == str(old)
    assert found[0]["note"]["source_sha256"] == reader.digest_of(old)
    assert found[0]["note"]["where"] == "sessions row 1"


def test_no_run_log_line_is_written_for_what_was_imported(world, old):
    taken(world, old)
    assert not world.rt.workspace.run_log_path.exists()
    with world.ledger.reading() as tx:
        assert tx.queued_lines(10) == []


def test_a_dry_run_says_the_same_and_writes_nothing(world, old, tmp_path):
    log = write_log(tmp_path / "runs.jsonl", [line(1, [record(0)]), line(1, [record(0)])])
    dry = taken(world, old, log, dry_run=True)
    assert world.events() == 0
    real = taken(world, old, log)
    assert (dry.brought, dry.known, dry.log_lines) == (real.brought, real.known, real.log_lines)
    assert dry.known == 1


def test_a_grown_database_brings_what_is_new(world, old):
    taken(world, old)
    make_database(old, [session(4)], [call(5, session(2), "0.125"), call(6, session(4), "1")])
    change(
        old,
        "UPDATE calls SET actual_prompt_tokens = 7, actual_completion_tokens = 8, actual_cost_usd = '0.625'"
        " WHERE call_index = 3",
    )
    change(old, "UPDATE sessions SET state = 'finalized', finalized_at = ?, end_summary = 'done' WHERE session_id = ?",
           LATER, *ids(2))  # fmt: skip
    report = taken(world, old)
    assert (report.brought.sessions, report.brought.grown, report.known) == (1, 1, 2)
    assert (report.brought.calls, report.brought.corrected) == (2, 1)
    view = shown(world, *ids(2))
    assert (view.session.end_cause, view.session.end_summary) == ("run_end", "done")
    assert view.session.ended_us == round(LATER * 1_000_000)
    assert [(each.state, each.booked_nanos) for each in view.calls] == [
        (CallState.RECONCILED, 625_000_000),
        (CallState.EXPIRED, 125_000_000),
    ]
    assert view.calls[0].actual == Tokens(7, output=8)
    assert view.budgets[0].spent == 750_000_000
    assert taken(world, old).known == 4


def test_usage_that_was_reported_here_meanwhile_stays(world, old):
    taken(world, old)
    record_usage(world.rt, UsageReport("call_0000000000000003", Tokens(fresh_input=10), "cheap"))
    change(old, "UPDATE calls SET actual_prompt_tokens = 7, actual_completion_tokens = 8, actual_cost_usd = '0.625'"
                " WHERE call_index = 3")  # fmt: skip
    report = taken(world, old)
    assert report.brought.remarks == {Remark.CHANGED: 1}
    assert report.known == 3
    assert world.budget(*ids(2)).spent == 1_000_000


def test_an_id_of_ours_gets_a_prefix_and_is_found_again(world, tmp_path):
    mine = world.start("1")
    asked = world.ask(mine).call_id
    theirs = session(1, session_id=mine, ended=False)
    child = session(2, parent_session_id=mine)
    rows = [call(1, theirs, call_id=asked), call(3, theirs, parent_call_id=asked)]
    database = make_database(tmp_path / "s.db", [theirs, child], rows)
    report = taken(world, database)
    assert report.brought.remarks[Remark.RENAMED] == 1
    view = shown(world, f"l6e_{mine}")
    assert [each.call_id for each in view.calls] == [f"l6e_{asked}", "call_0000000000000003"]
    assert view.calls[1].parent_call_id == f"l6e_{asked}"
    assert view.children == [child["session_id"]]
    assert json.loads(events(world)[-2]["note"]["original_call_ids"]) == {f"l6e_{asked}": asked}
    assert shown(world, mine).session.is_open
    assert taken(world, database).known == 2


@pytest.mark.parametrize("name", ["session\nwith a line", "x" * 300, "\x1b[31mred", "session with spaces"])
def test_an_id_that_cannot_be_one_here_is_made_anew_and_kept_in_the_journal(world, tmp_path, name):
    odd = session(1, session_id=name)
    database = make_database(tmp_path / "s.db", [odd], [call(1, odd, call_id=name)])
    assert taken(world, database).brought.remarks[Remark.RENAMED] == 1
    with world.ledger.reading() as tx:
        (made,) = tx.sessions(state=None, limit=5)
    assert made.session_id.startswith("l6e_")
    assert made.session_id.isprintable()
    assert taken(world, database).known == 1


def test_lines_of_the_log_come_in_where_the_database_has_no_such_session(world, old, tmp_path):
    inside = line(1, [record(0)], run_id=ids(1)[0])
    outside = line(2, [record(0), record(1, "0.015989999999999998", actor_type="subagent", actor_id="b")])
    log = write_log(tmp_path / "runs.jsonl", [inside, outside])
    report = taken(world, old, log)
    assert report.log_lines == {"lines": 2, "in_database": 1, "taken": 1}
    view = shown(world, outside["run_id"])
    assert (view.session.client, view.session.model) == ("windsurf", "gpt-5")
    assert view.session.started_us == 1_777_680_000_000_000  # 2026-05-02, which its id tells
    assert [each.booked_nanos for each in view.calls] == [250_000_000, 15_990_000]
    assert [each.state for each in view.calls] == [CallState.EXPIRED] * 2
    assert view.budgets[0].limit == 1_500_000_000
    assert report.brought.remarks[Remark.TIME] == 1
    assert taken(world, old, log).known == 4


def test_a_line_that_l6e_calls_exact_holds_usage(world, tmp_path):
    log = write_log(tmp_path / "runs.jsonl", [line(1, [record(0)], savings_confidence="exact")])
    taken(world, None, log)
    (only,) = world.calls(line(1, [])["run_id"])
    assert (only.state, only.actual) == (CallState.RECONCILED, Tokens(1000, output=50))


def test_a_database_that_comes_after_its_log_counts_nothing_twice(world, tmp_path):
    one = session(1, ended=False)
    log = write_log(tmp_path / "runs.jsonl", [line(1, [record(0)], run_id=one["session_id"])])
    taken(world, None, log)
    report = taken(world, make_database(tmp_path / "s.db", [one], [call(1, one)]), None)
    assert (report.known, world.budget(one["session_id"]).spent) == (1, 250_000_000)


def test_our_own_lines_in_the_log_are_passed_over(world, tmp_path):
    ours = line(1, [record(0)], ledger={"id": "ab" * 16, "seq": 4, "hash": "00"})
    report = taken(world, None, write_log(tmp_path / "runs.jsonl", [ours]))
    assert (report.log_lines, report.brought.sessions) == ({"lines": 1, "ours": 1}, 0)


def test_what_l6e_priced_at_nothing_stays_at_nothing_and_is_named(world, tmp_path):
    one = session(1)
    rows = [call(1, one, "0", model_used="claude-opus-4.7"), call(2, one, "0.0", **used("0"), model_used="opus-9.9")]
    rows.append(call(3, one, "0", estimated_prompt_tokens=0, estimated_completion_tokens=0))
    report = taken(world, make_database(tmp_path / "s.db", [one], rows))
    assert report.brought.free == {"claude-opus-4.7": 1, "opus-9.9": 1}
    assert report.brought.remarks[Remark.FREE] == 2
    assert world.budget(one["session_id"]).spent == 0


UNKNOWN = [
    ("usage without counts", used("0.5", None, None)),
    ("usage with text for a count", used("0.5", "many", 3)),
    ("usage with a negative count", used("0.5", -5, 3)),
    ("usage with a huge count", used("0.5", 2**62, 3)),
    ("usage with a fraction", used("0.5", 1.5, 3)),
]


@pytest.mark.parametrize("what, columns", UNKNOWN, ids=[what for what, _ in UNKNOWN])
def test_usage_without_a_usable_count_keeps_its_cost_but_is_not_called_exact(world, tmp_path, what, columns):
    one = session(1)
    report = taken(world, make_database(tmp_path / "s.db", [one], [call(1, one, **columns)], LOOSE))
    (only,) = world.calls(one["session_id"])
    assert (only.booked_nanos, only.cost_basis, only.actual) == (500_000_000, "estimate", None), what
    assert report.brought.remarks[Remark.TOKENS] == 1


BAD_CALLS = [
    ("a negative cost", {"estimated_cost_usd": "-0.007"}, "must be from 0"),
    ("NaN", {"estimated_cost_usd": "NaN"}, "must be from 0"),
    ("infinity", {"actual_cost_usd": "Infinity"}, "must be from 0"),
    ("text in a number", {"estimated_cost_usd": "plenty"}, "must be an amount"),
    ("no cost", {"estimated_cost_usd": None}, "must be an amount"),
    ("bytes", {"estimated_cost_usd": b"\x00\xff"}, "must be an amount"),
    ("a huge cost", {"estimated_cost_usd": "1e30"}, "must be from 0"),
    ("a cost of a thousand digits", {"estimated_cost_usd": "9" * 1000}, "1000 characters"),
    ("a cost with the exponent cut off", {"estimated_cost_usd": "0." + "1" * 80 + "E-9"}, "85 characters"),
    ("no id", {"call_id": None}, "call_id is missing"),
    ("an id of spaces", {"call_id": "  "}, "call_id is empty"),
    ("a number for an id", {"call_id": 7}, "call_id is a number"),
    ("an id that stands twice", {"call_id": "call_0000000000000001"}, "stands twice"),
]


@pytest.mark.parametrize("what, columns, why", BAD_CALLS, ids=[what for what, _, _ in BAD_CALLS])
def test_a_call_that_cannot_be_counted_leaves_out_its_whole_session_and_no_other(world, tmp_path, what, columns, why):
    bad, good = session(1), session(2)
    rows = [call(1, bad), {**call(2, bad), **columns}, call(3, good)]
    report = taken(world, make_database(tmp_path / "s.db", [bad, good], rows, LOOSE))
    assert (report.brought.sessions, report.left_out_count) == (1, 1), what
    (left,) = report.left_out
    assert left.where == "calls row 2"
    assert why in left.why
    with world.ledger.reading() as tx:
        assert tx.session(bad["session_id"]) is None
        assert tx.budget(bad["session_id"]) is None


BAD_SESSIONS = [
    ("no budget", {"policy_json": "{}"}, "budget must be an amount"),
    ("a budget of nothing", {"policy_json": json.dumps(policy(0))}, "its budget is 0"),
    ("a negative budget", {"policy_json": json.dumps(policy(-1))}, "must be from 0"),
    ("an endless budget", {"policy_json": '{"budget": Infinity}'}, "budget"),
    ("a policy that is no JSON", {"policy_json": "budget=1"}, "not the settings"),
    ("a policy that is nested deep", {"policy_json": "[" * 100_000}, "not the settings"),
    ("a policy with a key written twice", {"policy_json": '{"budget": 1, "budget": 2}'}, "twice"),
    ("no policy", {"policy_json": None}, "not the settings"),
    ("no id", {"session_id": None}, "session_id is missing"),
    ("bytes for an id", {"session_id": b"abc"}, "session_id is binary data"),
    ("an id that stands twice", {"session_id": "session_cursor_2026-05-28_00000003"}, "other rows"),
]


@pytest.mark.parametrize("what, columns, why", BAD_SESSIONS, ids=[what for what, _, _ in BAD_SESSIONS])
def test_a_session_that_is_none_is_left_out_by_its_row(world, tmp_path, what, columns, why):
    bad, good, third = {**session(1), **columns}, session(2), session(3)
    rows = [call(3, good)]
    report = taken(world, make_database(tmp_path / "s.db", [good, bad, third], rows, LOOSE))
    assert report.left_out[0].where == "sessions row 2", what
    assert why in report.left_out[0].why
    assert shown(world, good["session_id"]).totals.total_nanos == 250_000_000


def test_odd_words_times_and_texts_are_replaced_and_remarked_upon(world, tmp_path):
    odd = session(1, accounting_mode="psychic", usage_channel=7, created_at="yesterday", client="\x1b[31mred\x07")
    ahead = session(2, created_at=4e9, finalized_at=5e9, ended_at=None)
    rows = [call(1, odd, actor_type="boss", call_mode="yolo", created_at=float("inf"), tool_name="x" * 5000)]
    report = taken(world, make_database(tmp_path / "s.db", [odd, ahead], rows, LOOSE))
    remarks = report.brought.remarks
    assert (remarks[Remark.WORD], remarks[Remark.TIME], remarks[Remark.AHEAD]) == (2, 2, 2)
    view = shown(world, odd["session_id"])
    assert view.session.client == "[31mred"
    assert view.session.accounting_mode == "estimate_only"
    assert len(view.calls[0].tool_name) == 500
    assert shown(world, ahead["session_id"]).session.ended_us <= T0 + 1000


def test_a_parent_that_is_not_there_leaves_the_child_alone(world, tmp_path):
    report = taken(world, make_database(tmp_path / "s.db", [session(1, parent_session_id="gone")], []))
    assert report.brought.remarks[Remark.PARENT] == 1
    assert shown(world, *ids(1)).session.parent_session_id is None


def test_columns_that_older_versions_lack_read_as_nothing(world, tmp_path):
    older = "\n".join(
        text
        for text in SCHEMA.splitlines()
        if not text.strip().startswith(("client ", "parent_session_id", "call_mode"))
    ).replace("end_summary TEXT,", "end_summary TEXT")
    one = session(1)
    del one["client"]
    database = make_database(tmp_path / "s.db", [one], [call(1, one)], older)
    taken(world, database)
    assert shown(world, one["session_id"]).session.client == "unknown"


def test_a_newer_schema_is_read_as_far_as_it_is_known_and_said(world, old):
    change(old, "UPDATE schema_version SET version = 99")
    change(old, "ALTER TABLE calls ADD COLUMN mood TEXT")
    report = taken(world, old)
    assert report.schema_is_newer
    assert report.brought.sessions == 3


def test_calls_of_no_session_are_counted(world, old):
    make_database(old, [], [call(90, {"session_id": "nowhere"})])
    assert taken(world, old).orphan_calls == 1


def test_summaries_are_not_kept_where_the_user_does_not_want_them(world, old):
    taken(world.with_runtime(keep_summaries=False), old)
    kept = shown(world, *ids(1)).session
    assert (kept.task_summary, kept.end_summary) == (None, None)


# What is no database of l6e-mcp.


def not_a_database(path):
    path.write_bytes(b"session_id,cost\n" * 500)


def empty(path):
    path.touch()


def folder(path):
    path.mkdir()


def dangling(path):
    path.symlink_to(path.with_name("gone"))


def pipe(path):
    os.mkfifo(path)


def other_tables(path):
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE notes (id)")


def missing_column(path):
    make_database(path, [], [], SCHEMA.replace("estimated_cost_usd TEXT NOT NULL,", "", 1))


def a_view(path):
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript("CREATE TABLE calls (call_id); CREATE VIEW sessions AS SELECT 1 AS session_id")


def a_virtual_table(path):
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE VIRTUAL TABLE sessions USING fts5(session_id, model, policy_json, state, created_at)")


def torn(path):
    make_database(path, [session(1)], [])
    change(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(path.read_bytes())
    data[100:4096] = bytes(3996)
    path.write_bytes(data)


NONE_OF_THEIRS = [
    (not_a_database, "not a database"),
    (empty, "no table sessions"),
    (folder, "not a regular file"),
    (dangling, "does not exist"),
    (pipe, "not a regular file"),
    (other_tables, "no table sessions"),
    (missing_column, "no column estimated_cost_usd"),
    (a_view, "no table sessions"),
    (a_virtual_table, "no table sessions"),
    (torn, "cannot be read"),
]


@pytest.mark.parametrize("make, why", NONE_OF_THEIRS, ids=[make.__name__ for make, _ in NONE_OF_THEIRS])
def test_what_is_no_database_of_l6e_mcp_is_refused_by_name_and_changes_nothing(world, tmp_path, make, why):
    path = tmp_path / "sessions.db"
    make(path)
    with pytest.raises(InvalidArgument, match=why) as refused:
        taken(world, path)
    assert str(path) in refused.value.message
    assert world.events() == 0


def test_a_link_to_a_database_is_followed(world, old, tmp_path):
    link = tmp_path / "link.db"
    link.symlink_to(old)
    assert taken(world, link).brought.sessions == 3


def test_a_database_that_another_program_locks_is_refused(world, tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "_WAIT_MS", 1)
    path = make_database(tmp_path / "s.db", [session(1)], [])
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("PRAGMA journal_mode = DELETE")
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(InvalidArgument, match="another program holds it"):
            taken(world, path)


def test_what_still_lies_in_the_write_ahead_log_is_read_while_its_server_runs(world, tmp_path):
    path = make_database(tmp_path / "s.db", [session(1)], [])
    with closing(sqlite3.connect(path, isolation_level=None)) as server:
        server.execute("SELECT COUNT(*) FROM sessions")
        before = reader.digest_of(path)
        make_database(path, [session(2)], [call(1, session(2))])
        assert path.with_name("s.db-wal").stat().st_size > 0
        assert reader.digest_of(path) != before
        assert taken(world, path).brought.sessions == 2
        server.execute("INSERT INTO schema_version VALUES (2, 0)")


def test_the_database_is_not_changed_by_being_read(world, old):
    before = old.read_bytes()
    taken(world, old)
    assert old.read_bytes() == before


def test_damage_inside_leaves_out_what_it_hits_and_keeps_the_rest(world, tmp_path):
    sessions = [session(number) for number in range(1, 200)]
    rows = [call(number, sessions[number % 199], tool_name="t" * 400) for number in range(600)]
    path = make_database(tmp_path / "s.db", sessions, rows)
    change(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(path.read_bytes())
    half = len(data) // 2 // 4096 * 4096
    data[half : half + 4096] = b"\xff" * 4096
    path.write_bytes(data)
    report = taken(world, path)
    assert report.left_out_count > 0
    assert 0 < report.brought.sessions < 199
    assert any("reading stopped" in each.why for each in report.left_out)


def test_a_query_that_goes_on_for_ever_is_given_up(world, tmp_path, monkeypatch):
    rows = [call(number, session(1)) for number in range(3_000)]
    path = make_database(tmp_path / "s.db", [session(1)], rows, LOOSE)
    monkeypatch.setattr(reader, "_STEPS", 0)
    monkeypatch.setattr(reader, "_STEPS_A_ROW", 0)
    report = taken(world, path)
    assert report.brought.sessions == 0
    assert "reading stopped: interrupted" in report.left_out[0].why


# The run log.

BAD_LINES = [
    (b"not json\n", "it is no JSON"),
    (b"[1, 2]\n", "it is no object"),
    (b"\xff\xfe\n", "it is no text"),
    (b'{"a": 1, "a": 2}\n', "a key stands in it twice"),
    (b'{"a": ' + b"9" * 5000 + b"}\n", "thousands of digits"),
    (b'{"a": ' + b"[" * 100_000 + b"}\n", "nested too deep"),
    (b'{"a": "' + b"x" * 9_000_000 + b'"}\n', "longer than is read"),
    (b'{"run_id": 5}\n', "run_id is a number"),
    ({"run_id": "r", "policy": None}, "policy is missing"),
    ({"run_id": "r", "policy": policy()}, "it has no records"),
    ({"run_id": "r", "policy": policy(), "records": [1]}, "it is no object"),
    (line(1, [record(0), record(1, "-1")]), "cost_usd must be from 0"),
    (line(1, [record(0)], budget=None), "budget must be an amount"),
    (line(1, [record(0)], total_cost="NaN"), "total_cost must be from 0"),
]


@pytest.mark.parametrize("bad, why", BAD_LINES, ids=[why for _, why in BAD_LINES])
def test_a_line_that_cannot_be_used_is_left_out_by_its_number(world, tmp_path, bad, why):
    log = write_log(tmp_path / "runs.jsonl", [line(7, [record(0)]), b"\n", bad, line(8, [record(0)])])
    report = taken(world, None, log)
    (left,) = report.left_out
    assert left.where.startswith("line 3")
    assert why in left.why
    assert report.brought.sessions == 2


def test_a_last_line_that_is_half_written_is_no_fault_and_comes_in_when_it_is_whole(world, tmp_path):
    whole = json.dumps(line(2, [record(0)])).encode()
    log = write_log(tmp_path / "runs.jsonl", [line(1, [record(0)]), whole[:100]])
    report = taken(world, None, log)
    assert (report.left_out_count, report.log_lines["unfinished"], report.brought.sessions) == (0, 1, 1)
    write_log(log, [whole[100:] + b"\n"])
    again = taken(world, None, log)
    assert (again.known, again.brought.sessions) == (1, 1)


def test_amounts_that_early_versions_wrote_as_numbers_count_and_totals_are_held_against_them(world, tmp_path):
    early = line(1, [record(0, 0.1), record(1, 0.2)], total_cost=0.30000000000000004)
    wrong = line(2, [record(0, "0.1")], total_cost="0.7")
    report = taken(world, None, write_log(tmp_path / "runs.jsonl", [early, wrong]))
    assert world.budget(early["run_id"]).spent == 300_000_000
    assert world.budget(wrong["run_id"]).spent == 100_000_000
    assert report.brought.remarks[Remark.TOTAL] == 1


def test_a_run_id_that_tells_no_day_is_dated_by_the_file(world, tmp_path):
    log = write_log(
        tmp_path / "runs.jsonl",
        [line(1, [record(0)], run_id="run-1"), line(2, [], run_id="session_x_2026-13-40_00000000")],
    )
    os.utime(log, (STARTED, STARTED))
    taken(world, None, log)
    assert shown(world, "run-1").session.started_us == STARTED_US
    assert shown(world, "run-1").session.client == "unknown"
    assert shown(world, "session_x_2026-13-40_00000000").session.started_us == STARTED_US


@pytest.mark.parametrize("make", [folder, dangling, pipe], ids=lambda make: make.__name__)
def test_what_is_no_file_is_no_run_log_and_nothing_of_the_database_is_taken(world, old, tmp_path, make):
    path = tmp_path / "runs.jsonl"
    make(path)
    with pytest.raises(InvalidArgument, match="run log of l6e-mcp"):
        taken(world, old, path)
    assert world.events() == 0


@pytest.mark.slow
def test_a_hundred_thousand_lines_are_read_one_at_a_time(world, tmp_path):
    import tracemalloc

    log = tmp_path / "runs.jsonl"
    same = json.dumps(line(1, [record(0)])).encode() + b"\n"
    with log.open("wb") as file:
        file.write(same)
        for _ in range(50_000):
            file.write(b"rubbish\n" + b'{"run_id": "session_x", "ledger": {"id": "a"}}\n')
    tracemalloc.start()
    report = taken(world, None, log)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (report.left_out_count, len(report.left_out)) == (50_000, 1_000)
    assert (report.log_lines["lines"], report.log_lines["ours"], report.brought.sessions) == (100_001, 50_000, 1)
    assert peak < 16 * 1024 * 1024


def test_a_long_session_is_written_in_parts_that_add_up(world, tmp_path, monkeypatch):
    monkeypatch.setattr(imported, "CALLS_PER_EVENT", 10)
    one = session(1, ended=False)
    rows = [call(number, one, "0.001") for number in range(35)]
    database = make_database(tmp_path / "s.db", [one], rows)
    taken(world, database)
    assert world.events() == 4
    assert world.budget(one["session_id"]).spent == 35_000_000
    make_database(database, [], [call(number, one, "0.001") for number in range(35, 50)])
    assert taken(world, database).brought.calls == 15
    assert world.budget(one["session_id"]).spent == 50_000_000


def test_a_fault_in_a_later_part_takes_the_whole_session_back(world, tmp_path, monkeypatch):
    monkeypatch.setattr(imported, "CALLS_PER_EVENT", 2)
    monkeypatch.setattr(imported, "survey", lambda session, calls: imported.Survey(session, 0))
    monkeypatch.setattr("tallygate.operations.setup.import_l6e.survey", imported.survey)
    one = session(1)
    rows = [call(number, one) for number in range(5)] + [call(6, one, "-1")]
    report = taken(world, make_database(tmp_path / "s.db", [one], rows))
    assert report.left_out[0].where == "calls row 6"
    assert world.events() == 0


def test_more_calls_or_cost_than_can_be_counted_leave_a_session_out(world, tmp_path, monkeypatch):
    monkeypatch.setattr(imported, "CALLS_MAX", 3)
    many, dear = session(1), session(2)
    rows = [call(number, many) for number in range(4)] + [call(number, dear, "3999999999") for number in (8, 9)]
    report = taken(world, make_database(tmp_path / "s.db", [many, dear], rows))
    assert ["more than 3 calls" in report.left_out[0].why, "can count" in report.left_out[1].why] == [True, True]


def test_two_imports_at_once_take_every_session_once(world, old):
    reports = []
    threads = [threading.Thread(target=lambda: reports.append(taken(world, old))) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sum(report.brought.sessions for report in reports) == 3
    assert world.budget(*ids(1)).spent == 206_200_000


def test_a_ledger_with_imported_sessions_can_be_rebuilt_from_its_events(world, old, tmp_path):
    log = write_log(tmp_path / "runs.jsonl", [line(2, [record(0)])])
    taken(world, old, log)
    copy = tmp_path / "copy.db"
    world.ledger.backup(copy)
    change(copy, "UPDATE budget SET spent_nanos = 0")
    done = rebuild(copy, at_us=T0 + 60_000_000, lock_timeout_ms=200)
    assert done is not None
    assert done.lost is None
    with closing(sqlite3.connect(copy)) as made:
        for table, expected in everything(world).items():
            assert [*made.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3")] == expected
