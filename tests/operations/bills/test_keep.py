"""Bills: kept whole or not at all, once, and what of several of them counts."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from bench.wire import environment
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.world import NANOS, make_world

from tallygate.core.errors import Conflict, InvalidArgument, LedgerUnavailable, NotFound
from tallygate.core.moments import microseconds
from tallygate.core.statements import BilledTokens, Billing, BillLine, Grain, TokenClass
from tallygate.ledger import rows
from tallygate.ledger.audit.audit import audit
from tallygate.ledger.audit.rebuild import rebuild
from tallygate.ledger.port import Insert
from tallygate.operations.bills import keep
from tallygate.operations.bills.keep import Draft, delete_bill, keep_bill, list_bills, show_bill
from tallygate.operations.views.overview import bill_called

FIRST = datetime(2026, 9, 1, tzinfo=UTC)
COLUMNS = ", ".join(rows.COLUMNS["bill_line"])


def line(number, *, minute=None, model="claude-opus-4-7", nanos=NANOS, **more):
    """A line as a format makes it, by default another minute for each number."""
    at = FIRST + timedelta(minutes=number if minute is None else minute)
    identity = (at.isoformat(), model)
    return BillLine(number, Grain.REQUEST, at, "anthropic", identity, model, cost_nanos=nanos, **more)


def draft(name, *lines, form="cursor", currency="USD"):
    return Draft(form, name, hashlib.sha256(name.encode()).hexdigest(), currency, lines)


def counted(world, from_us=0, until_us=10**18):
    with world.ledger.reading() as reader:
        found = list(reader.billed_between(from_us, until_us))
    return [(next(bill.name for bill in list_bills(world.rt, limit=99) if bill.bill_id == each.bill_id),
             each.line.number) for each in found]  # fmt: skip


def events(world, *kinds):
    """The bodies of the events that tell of bills, in order."""
    with world.ledger.reading() as reader:
        found = [json.loads(event.body) for event in reader.events_about('"kind":"bill.')]
    return [body for body in found if not kinds or body["kind"] in kinds]


def test_a_bill_is_kept_with_all_its_lines_and_comes_back_as_it_was(world):
    full = replace(
        line(4, nanos=-5),
        tokens=BilledTokens(1, 2, 3, 4, 6),
        until=FIRST + timedelta(days=1),
        requests=7,
        token_class=TokenClass.OUTPUT,
        request_id="req_1",
        key="my key",
        workspace="team",
        billing=Billing.INCLUDED,
        grain=Grain.DAY,
    )
    kept = keep_bill(world.rt, draft("a.csv", line(2), full, line(9, nanos=None)))
    assert (kept.fresh, kept.replacing, kept.bill.counts) == (True, 0, True)
    assert (kept.bill.lines, kept.bill.total_nanos, kept.bill.name) == (3, NANOS, "a.csv"), (
        "what is included is not charged"
    )
    assert kept.bill.from_us == microseconds(FIRST + timedelta(minutes=2))
    assert kept.bill.until_us == microseconds(FIRST + timedelta(days=1))
    view = show_bill(world.rt, kept.bill.bill_id, limit=10)
    assert [each.number for each in view.lines] == [2, 4, 9]
    assert replace(view.lines[1], identity=full.identity) == full
    assert len(show_bill(world.rt, kept.bill.bill_id, limit=1).lines) == 1


def test_the_same_bill_is_kept_once_and_the_second_time_nothing_changes(world):
    first = keep_bill(world.rt, draft("a.csv", line(2)))
    before = world.events()
    again = keep_bill(world.rt, draft("a.csv", line(2)))
    assert (again.fresh, again.bill) == (False, first.bill)
    assert world.events() == before


def test_the_same_bytes_as_another_format_are_another_bill(world):
    keep_bill(world.rt, draft("a.csv", line(2)))
    assert keep_bill(world.rt, draft("a.csv", line(2), form="generic")).fresh
    assert counted(world) == [("a.csv", 2), ("a.csv", 2)]


def test_a_bill_belongs_to_its_tenant(world):
    keep_bill(world.rt, draft("a.csv", line(2)))
    other = world.with_runtime(tenant="other")
    assert list_bills(other.rt, limit=9) == []
    assert keep_bill(other.rt, draft("a.csv", line(2))).fresh
    assert counted(world) == [("a.csv", 2)]


def test_lines_that_are_alike_in_one_bill_all_count(world):
    keep_bill(world.rt, draft("a.csv", line(2, minute=1), line(3, minute=1), line(3, minute=1)))
    assert counted(world) == [("a.csv", 2), ("a.csv", 3), ("a.csv", 3)]


OVERLAPS = [
    # Which lines (by minute) stand in the bills that were imported one after the other, and which of which bill count.
    ([[1, 2], [3, 4]], "a1 a2 b3 b4"),
    ([[1, 2, 3], [2, 3, 4]], "a1 b2 b3 b4"),
    ([[2, 3, 4], [1, 2, 3]], "b1 b2 b3 a4"),
    ([[1, 1, 2], [1, 2]], "b1 b2"),
    ([[1], [1, 1, 1]], "b1 b1 b1"),
    ([[1, 2], [2, 3], [3, 4]], "a1 b2 c3 c4"),
    ([[1, 2], [1], [2]], "b1 c2"),
]


@pytest.mark.parametrize("minutes, expected", OVERLAPS)
def test_what_stands_in_several_exports_counts_in_the_last_one(world, minutes, expected):
    for name, chosen in zip("abc", minutes, strict=False):
        keep_bill(world.rt, draft(name, *(line(number, minute=number) for number in chosen)))
    assert " ".join(f"{name}{number}" for name, number in counted(world)) == expected


# A bill of these minutes is imported, or the bill that was kept as the n-th is deleted.
STEPS = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=4) | st.integers(0, 9), max_size=12)


@settings(max_examples=30)
@given(STEPS)
def test_whatever_is_imported_and_deleted_each_line_counts_in_the_last_bill_that_has_it(tmp_path_factory, steps):
    """The model: bills in the order of their import; of each minute the last live one gives as many lines as it has."""
    made = make_world(tmp_path_factory.mktemp("steps"))
    live = {}
    for step in steps:
        if isinstance(step, list):
            lines = [line(number, minute=minute) for number, minute in enumerate(step, 1)]
            kept = keep_bill(made.rt, draft(str(step), *lines))
            assert kept.fresh is (step not in live.values())
            if kept.fresh:
                elsewhere = {minute for minutes in live.values() for minute in minutes}
                assert kept.replacing == sum(minute in elsewhere for minute in step)
                live[kept.bill.bill_id] = step
        elif found := list_bills(made.rt, limit=99)[step : step + 1]:
            assert delete_bill(made.rt, found[0].bill_id).fresh is (live.pop(found[0].bill_id, None) is not None)
    last = {minute: key for key, minutes in live.items() for minute in minutes}
    expected = sorted((minute, key) for key, minutes in live.items() for minute in minutes if last[minute] == key)
    with made.ledger.reading() as reader:
        counting = [(each.line.at - FIRST, each.bill_id) for each in reader.billed_between(0, 10**18)]
    assert sorted((at // timedelta(minutes=1), key) for at, key in counting) == expected
    assert made.problems() == []
    made.ledger.close()


def test_exports_of_different_formats_do_not_replace_one_another(world):
    keep_bill(world.rt, draft("a", line(1)))
    keep_bill(world.rt, draft("b", line(1), form="generic"))
    assert counted(world) == [("a", 1), ("b", 1)]


def test_what_a_provider_tells_again_after_it_told_otherwise_holds_again(world):
    first, second = draft("x", line(1, nanos=5)), draft("y", line(1, nanos=7))
    for each in (first, second):
        assert keep_bill(world.rt, replace(each, is_latest=True)).fresh
    assert counted(world) == [("y", 1)]
    assert not keep_bill(world.rt, first).fresh, "a file from back then is nothing new"
    assert keep_bill(world.rt, replace(first, is_latest=True)).fresh
    assert counted(world) == [("x", 1)]
    assert not keep_bill(world.rt, replace(first, is_latest=True)).fresh
    assert [bill.deleted_us is None for bill in list_bills(world.rt, limit=9)] == [True, True, False]


def test_how_many_lines_replace_earlier_ones_and_are_replaced_is_told(world):
    first = keep_bill(world.rt, draft("a", line(1), line(2), line(3)))
    second = keep_bill(world.rt, draft("b", line(2), line(3), line(4)))
    assert (first.replacing, second.replacing) == (0, 2)
    keep_bill(world.rt, draft("c", line(3)))
    shown = [show_bill(world.rt, each.bill.bill_id, limit=0) for each in (first, second)]
    assert [(view.replacing, view.replaced) for view in shown] == [(0, 2), (1, 1)]


def test_a_deleted_bill_counts_no_more_and_what_it_replaced_counts_again(world):
    keep_bill(world.rt, draft("a", line(1), line(2)))
    second = keep_bill(world.rt, draft("b", line(2), line(3)))
    gone = delete_bill(world.rt, second.bill.bill_id)
    assert (gone.fresh, gone.again, gone.bill.counts) == (True, 1, False)
    assert counted(world) == [("a", 1), ("a", 2)]
    before = world.events()
    assert not delete_bill(world.rt, second.bill.bill_id).fresh
    assert world.events() == before
    again = keep_bill(world.rt, draft("b", line(2), line(3)))
    assert again.fresh
    assert again.bill.bill_id != second.bill.bill_id
    assert counted(world) == [("a", 1), ("b", 2), ("b", 3)]


def test_lines_are_asked_for_by_the_time_they_begin_at(world):
    keep_bill(world.rt, draft("a", line(1), line(2), line(3)))
    at = [microseconds(FIRST + timedelta(minutes=minute)) for minute in (2, 3)]
    assert counted(world, *at) == [("a", 2)]
    assert counted(world, at[0], at[1] + 1) == [("a", 2), ("a", 3)]


def test_a_bill_is_found_by_an_end_of_its_id_that_no_other_has(world):
    kept = keep_bill(world.rt, draft("a", line(1)))
    assert bill_called(world.rt, kept.bill.bill_id[-8:]) == kept.bill.bill_id
    with pytest.raises(NotFound, match="No bill 'zzzzzzzz' is in the ledger") as error:
        bill_called(world.rt, "zzzzzzzz")
    assert error.value.code == "unknown_bill"
    for work in (delete_bill, lambda rt, key: show_bill(rt, key, limit=1)):
        with pytest.raises(NotFound):
            work(world.rt, "bill_that_is_none")


UNFIT = [
    ({"nanos": 5 * 10**15}, "line 2: the amount is above 4,000,000"),
    ({"tokens": BilledTokens(output=10**13)}, "line 2: the count 10000000000000 is not one from 0"),
    ({"tokens": BilledTokens(fresh_input=-1)}, "line 2: the count -1 is not one from 0"),
    ({"until": FIRST}, "line 2: the end 2026-09-01T00:00:00\\+00:00 lies before the beginning"),
    ({"minute": -60 * 24 * 366 * 40}, "line 2: the time 1986-.* lies outside of the years 2000 to 2199"),
]


@pytest.mark.parametrize("changes, why", UNFIT)
def test_a_line_that_cannot_be_kept_is_named_and_nothing_is(world, changes, why):
    with pytest.raises(InvalidArgument, match=why):
        keep_bill(world.rt, draft("a", line(1), line(2, **changes)))
    assert list_bills(world.rt, limit=9) == []
    assert world.events() == 0


def test_a_bill_of_no_lines_or_of_a_sum_nobody_can_owe_is_refused(world, monkeypatch):
    with pytest.raises(InvalidArgument, match="holds no line"):
        keep_bill(world.rt, draft("a"))
    with pytest.raises(InvalidArgument, match="add up to more than 4,000,000,000"):
        keep_bill(world.rt, draft("a", *(line(number, nanos=4 * 10**15) for number in range(1, 1003))))
    monkeypatch.setattr(keep, "BILL_LINES_MAX", 2)
    with pytest.raises(InvalidArgument, match="has 3 lines; a bill has at most 2"):
        keep_bill(world.rt, draft("a", line(1), line(2), line(3)))
    assert world.events() == 0


def test_names_from_outside_are_kept_without_what_could_harm_a_terminal(world):
    kept = keep_bill(world.rt, draft("a\x1b[31m.csv", line(1, model="m\x1b]0;x\x07\ud800", key="\u202ekey" * 400)))
    [found] = show_bill(world.rt, kept.bill.bill_id, limit=9).lines
    assert (kept.bill.name, found.model) == ("a [31m.csv", "m ]0;x")
    assert len(found.key) <= 500
    assert "\u202e" not in found.key


@pytest.mark.parametrize("count", [1, 499, 500, 501, 2300])
def test_a_gate_waits_for_a_bounded_number_of_lines_however_large_the_bill(world, count, monkeypatch):
    """Lines are written in transactions of 500 at most, with a pause between two in which others get the ledger."""
    per_transaction, pauses = [], []
    writing = world.ledger.writing

    class Counting:
        def __init__(self, tenant):
            self.inner = writing(tenant)

        def __enter__(self):
            tx = self.inner.__enter__()
            append, written = tx.append, []
            per_transaction.append(written)

            def counting(kind, changes, **more):
                written.append(sum(isinstance(each, Insert) and each.table == "bill_line" for each in changes))
                return append(kind, changes, **more)

            tx.append = counting
            return tx

        def __exit__(self, *raised):
            return self.inner.__exit__(*raised)

    monkeypatch.setattr(world.ledger, "writing", Counting)
    told = []
    paused = world.with_runtime(pause_us=pauses.append)
    keep_bill(paused.rt, draft("a", *map(line, range(1, count + 1))), progress=lambda *so_far: told.append(so_far))
    assert sum(map(sum, per_transaction)) == count
    assert max(map(sum, per_transaction)) <= 500
    assert max(map(max, per_transaction)) <= 100, "an event is read as a whole"
    chunks = -(-count // 500)
    assert pauses == [keep.BREATH_US] * (chunks - 1)
    assert told[-1] == (count, count)
    assert len(told) == chunks


def test_a_gate_can_reserve_between_any_two_transactions_of_an_import(world):
    session = world.start("9")
    answers = []
    between = world.with_runtime(pause_us=lambda _: answers.append(world.ask(session, 1).action.value))
    keep_bill(between.rt, draft("a", *map(line, range(1, 1600))))
    assert answers == ["allow"] * 3


def test_an_import_that_fails_leaves_nothing_that_counts_and_can_be_repeated(world, monkeypatch):
    keep_bill(world.rt, draft("a", line(1)))
    monkeypatch.setattr(keep, "LINES_AT_ONCE", 2)

    def interrupted(done, count):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keep_bill(world.rt, draft("b", *map(line, range(1, 8))), progress=interrupted)
    assert counted(world) == [("a", 1)]
    [left, _] = list_bills(world.rt, limit=9)
    assert (left.complete_us, left.deleted_us is None) == (None, False)
    assert keep_bill(world.rt, draft("b", *map(line, range(1, 8)))).fresh
    assert len(counted(world)) == 7


def abandoned(world, monkeypatch, name="left"):
    """An import that wrote some lines and was never heard of again."""

    def gone(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(keep, "_take_back", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            keep_bill(world.rt, draft(name, line(1), line(2)), progress=gone)
    [left] = [bill for bill in list_bills(world.rt, limit=9) if bill.name == name]
    assert not left.counts
    assert left.deleted_us is None
    return left


@pytest.mark.parametrize("name, minutes, taken_back", [("left", 0, True), ("other", 1, False), ("other", 16, True)])
def test_what_a_killed_import_left_is_taken_back_by_the_next_that_can_tell(
    world, monkeypatch, name, minutes, taken_back
):
    """An earlier attempt at the same bill at once; another bill's when nobody can be at it any more."""
    left = abandoned(world, monkeypatch)
    world.clock.forward(minutes * 60_000_000)
    keep_bill(world.rt, draft(name, line(1)))
    assert (show_bill(world.rt, left.bill_id, limit=0).bill.deleted_us is not None) is taken_back
    assert counted(world) == [(name, 1)]


def test_an_import_that_another_took_over_says_so_and_keeps_nothing(world, monkeypatch):
    monkeypatch.setattr(keep, "LINES_AT_ONCE", 1)
    same = draft("a", line(1), line(2))

    def meanwhile(done, _):
        if done == 1:
            assert keep_bill(world.rt, same).fresh

    with pytest.raises(Conflict, match="was not imported: the import was taken back while it ran"):
        keep_bill(world.rt, same, progress=meanwhile)
    assert counted(world) == [("a", 1), ("a", 2)]
    assert len([bill for bill in list_bills(world.rt, limit=9) if bill.counts]) == 1


def test_a_ledger_that_fails_in_the_middle_is_told_and_nothing_counts(world, monkeypatch):
    monkeypatch.setattr(keep, "LINES_AT_ONCE", 1)

    def full(done, _):
        if done == 1:
            world.ledger._connection.execute("PRAGMA max_page_count = 1")

    with pytest.raises(LedgerUnavailable) as error:
        keep_bill(world.rt, draft("a", *map(line, range(1, 400))), progress=full)
    assert error.value.code == "storage_full"
    world.ledger._connection.execute("PRAGMA max_page_count = 1073741823")
    assert counted(world) == []


def test_every_step_is_an_event_and_deleting_one_too(world):
    kept = keep_bill(world.rt, draft("a", line(1), line(2)))
    delete_bill(world.rt, kept.bill.bill_id)
    assert [body["kind"] for body in events(world)] == ["bill.begun", "bill.lines", "bill.completed", "bill.deleted"]
    assert events(world, "bill.deleted")[0]["note"] == {"cause": "user"}


EDITS = [
    ("UPDATE bill_line SET cost_nanos = 1 WHERE number = 2", "cost_nanos is 1, the events say 1000000000"),
    ("UPDATE bill SET deleted_us = NULL", "deleted_us is None, the events say"),
    ("DELETE FROM bill_line WHERE number = 2", "is missing"),
    (
        f"INSERT INTO bill_line ({COLUMNS}) SELECT {COLUMNS.replace('number', '7777')} FROM bill_line LIMIT 1",
        "is in no event",
    ),
]


@pytest.mark.parametrize("sql, what", EDITS)
def test_a_row_of_a_bill_that_was_edited_by_hand_is_found(tmp_path, sql, what):
    made = make_world(tmp_path)
    kept = keep_bill(made.rt, draft("a", *map(line, range(1, 1200))))
    delete_bill(made.rt, kept.bill.bill_id)
    assert made.problems() == []
    with closing(sqlite3.connect(made.ledger.path)) as connection, connection:
        connection.execute(sql)
    for rows_max in (2, 250, 10_000):
        [found] = audit(made.ledger, rows_max=rows_max)
        assert found.where.startswith("bill")
        assert what in found.what
    made.ledger.close()


def test_bills_come_back_from_their_events_when_a_ledger_is_rebuilt(tmp_path):
    made = make_world(tmp_path)
    keep_bill(made.rt, draft("a", *map(line, range(1, 700))))
    keep_bill(made.rt, draft("b", line(2), line(3)))
    delete_bill(made.rt, keep_bill(made.rt, draft("c", line(4))).bill.bill_id)
    before = (list_bills(made.rt, limit=9), counted(made))
    made.ledger.close()
    with closing(sqlite3.connect(made.ledger.path)) as connection, connection:
        connection.execute("DELETE FROM bill_line WHERE number > 100")
        connection.execute("UPDATE bill SET complete_us = NULL")
    assert rebuild(made.ledger.path, at_us=made.clock.at_us, lock_timeout_ms=200) is not None
    again = make_world(tmp_path)
    assert (list_bills(again.rt, limit=9), counted(again)) == before
    assert again.problems() == []
    again.ledger.close()


def test_the_database_itself_lets_the_same_bytes_count_once(world):
    kept = keep_bill(world.rt, draft("a", line(1)))
    with pytest.raises(sqlite3.IntegrityError), world.ledger.writing() as tx:
        row = {"bill_id": "x", "format": "cursor", "name": "a", "digest": kept.bill.digest, "currency": "USD"}
        tx.append("t", [Insert("bill", {**row, "lines": 1, "imported_us": 1, "complete_us": 1})], by="t")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills are made in forked children")
def test_an_import_killed_before_any_of_its_statements_counts_whole_or_not_at_all(home):
    command = [sys.executable, "-W", "error", "-m", "tests.operations.dying_import", str(home / "kills")]
    done = subprocess.run(command, cwd=home, env=environment(home), stdout=subprocess.PIPE, check=True, text=True)
    whole, *killed = [json.loads(told) for told in done.stdout.splitlines()]
    everything = [1, 2, 3, 4, 5, 6, 7]
    assert (whole["code"], whole["counted"], whole["fresh"]) == (0, everything, False)
    assert len(killed) > 40
    assert {report["code"] for report in killed} == {-signal.SIGKILL}
    assert [report for report in killed if report["findings"] or report["findings_again"]] == []
    assert [report for report in killed if report["counted"] not in ([7], everything)] == []
    assert [report for report in killed if report["fresh"] is (report["counted"] == everything)] == []
    assert [report for report in killed if report["again"] != everything or report["unfinished"]] == []
    kinds = {str(report["before"]).split(" (")[0] for report in killed}
    assert {"INSERT INTO bill", "INSERT INTO bill_line", "INSERT INTO event", "COMMIT"} <= kinds
