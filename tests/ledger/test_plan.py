"""How much of a plan is used, as it is kept: the newest value whatever order it comes in, and a history with an end."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.world import MINUTE, NANOS, T0, make_world

from tallygate.core.plan import QUARTER_US, PlanSource, PlanWindow
from tallygate.ledger.audit.audit import audit
from tallygate.ledger.audit.rebuild import PLAN_LEFT_OUT, rebuild
from tallygate.ledger.store import plan as store

NOW = T0 + 90 * MINUTE
FIRST = PlanWindow("codex", "codex", 300, 1300, T0 - MINUTE, T0 + 60 * MINUTE, PlanSource.TRANSCRIPT, "pro")


@pytest.fixture
def world(tmp_path):
    made = make_world(tmp_path)
    yield made
    made.ledger.close()


def keep(world, *told):
    with world.ledger.writing() as tx:
        for each in told:
            tx.save_plan(each)


def kept(world):
    with world.ledger.reading() as reader:
        return reader.plan_windows()


def history(world, since_us=0):
    with world.ledger.reading() as reader:
        return reader.plan_history("codex", "codex", 300, since_us)


def test_what_was_told_comes_back_as_it_was_and_is_no_event(world):
    before = world.events()
    week = replace(FIRST, minutes=10_080, resets_us=None, plan=None, source=PlanSource.STATUS_LINE)
    keep(world, FIRST, week)
    assert kept(world) == [FIRST, week]
    assert history(world) == [FIRST]
    assert world.events() == before
    assert world.problems() == []


def test_what_a_status_line_says_takes_back_nothing_before_the_reset_and_all_after_it(world):
    line = replace(FIRST, client="claude_code", source=PlanSource.STATUS_LINE, used=9500, at_us=T0)
    keep(world, line)
    world.clock.forward(MINUTE)
    keep(world, replace(line, used=0, at_us=T0 + MINUTE, resets_us=T0))
    assert [(each.used, each.resets_us) for each in kept(world)] == [(9500, line.resets_us)]
    world.clock.forward(60 * MINUTE)
    fresh = replace(line, used=100, at_us=T0 + 61 * MINUTE, resets_us=T0 + 300 * MINUTE)
    keep(world, fresh)
    assert kept(world) == [fresh]


@settings(max_examples=25, deadline=None)
@given(st.permutations([(0, 100), (1, 300), (2, 200), (2, 250), (QUARTER_US, 400)]))
def test_in_any_order_the_last_value_stays_and_of_one_moment_the_larger(tmp_path_factory, order):
    world = make_world(tmp_path_factory.mktemp("plan"))
    start = T0 // QUARTER_US * QUARTER_US - 10 * QUARTER_US
    keep(world, *(replace(FIRST, at_us=start + after, used=used) for after, used in order))
    assert [each.used for each in kept(world)] == [400]
    assert [each.used for each in history(world)] == [250, 400]
    world.ledger.close()


def test_a_moment_to_come_is_meant_as_now_and_does_not_stand_for_ever(world):
    keep(world, replace(FIRST, at_us=T0 + 10**15))
    world.clock.forward(MINUTE)
    keep(world, replace(FIRST, at_us=T0 + MINUTE, used=3000))
    assert [each.used for each in kept(world)] == [3000]


def test_the_oldest_of_a_history_go(world, monkeypatch):
    monkeypatch.setattr(store, "HISTORY_MAX", 3)
    keep(world, *(replace(FIRST, at_us=T0 - (9 - n) * QUARTER_US, used=n) for n in range(8)))
    assert [each.used for each in history(world)] == [5, 6, 7]


def test_a_client_has_only_so_many_windows_and_those_that_are_known_go_on(world, monkeypatch):
    monkeypatch.setattr(store, "WINDOWS_MAX", 2)
    keep(world, *(replace(FIRST, limit=str(n)) for n in range(5)))
    keep(world, replace(FIRST, limit="0", at_us=T0, used=7), replace(FIRST, client="claude_code"))
    assert [(each.client, each.limit, each.used) for each in kept(world)] == [
        ("claude_code", "codex", 1300),
        ("codex", "0", 7),
        ("codex", "1", 1300),
    ]


def test_windows_that_are_hardly_used_keep_out_none_that_stops(world, monkeypatch):
    monkeypatch.setattr(store, "WINDOWS_MAX", 3)
    keep(world, *(replace(FIRST, limit=f"made up {n}", used=n) for n in range(3)))
    keep(world, replace(FIRST, used=9900))
    keep(world, *(replace(FIRST, limit=f"more {n}", used=n) for n in range(3)))
    assert {(each.limit, each.used) for each in kept(world)} == {("codex", 9900), ("made up 2", 2), ("more 2", 2)}


def test_what_is_said_with_each_response_is_written_once(world):
    keep(world, FIRST)
    written = []
    with world.ledger.writing() as tx:
        execute = tx._execute
        tx._execute = lambda sql, given: written.append(sql) or execute(sql, given)
        tx.save_plan(replace(FIRST, at_us=FIRST.at_us + 1))
    assert [sql.split()[0] for sql in written] == ["SELECT"]


@pytest.mark.parametrize("lost", ["", "plan_window"])
def test_a_ledger_that_is_made_again_keeps_what_was_told(world, lost):
    session = world.start("900")
    for _ in range(3):
        world.ask(session, 10)
    keep(world, FIRST)
    path = world.ledger.path
    world.ledger.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        if lost:
            connection.execute(f"ALTER TABLE {lost} RENAME COLUMN used TO gone")
        connection.execute("UPDATE budget SET spent_nanos = spent_nanos + 1")
    done = rebuild(path, at_us=NOW, lock_timeout_ms=200)
    assert done.left_out == ((PLAN_LEFT_OUT,) if lost else ())
    again = make_world(world.folder)
    assert kept(again) == ([] if lost else [FIRST])
    assert history(again) == [FIRST]
    assert audit(again.ledger) == []
    assert again.budget(session).limit == 900 * NANOS
    again.ledger.close()
