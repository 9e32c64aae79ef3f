"""Several steps in one transaction: each as if it were alone, and of one that fails nothing is left."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.world import NANOS, Clock, make_world
from tests.world import Tokens as Ids

from tallygate.core.costing import Tokens
from tallygate.core.errors import InvariantBroken, LedgerUnavailable
from tallygate.core.learning.calibration import CostOrigin, EstimateKind, Level
from tallygate.core.moments import ClockWatch
from tallygate.core.words import Action
from tallygate.ledger.anchor import Anchor
from tallygate.ledger.port import Insert
from tallygate.ledger.sqlite.database import SqliteLedger
from tallygate.operations.gate.authorize import StatedStep, price_step
from tallygate.operations.gate.pipeline import Door, stored_answer, take_step, take_step_in, word_answer
from tallygate.operations.gate.record import UsageReport, record_usage
from tallygate.operations.learning.estimates import sample_key, sample_of
from tallygate.operations.runtime import Learners

HOUR_US = 3600 * 1_000_000
PROCESSES = multiprocessing.get_context("fork")  # many short ones; this one has no other thread


class Gone(Exception):
    """What goes wrong in a step."""


def door(world, session, tokens=1, *, key=None, fails=False):
    """The agent's way in; one that fails does so when everything of its step is written."""
    request = price_step(world.rt, StatedStep(session, "t", prompt_tokens=tokens, completion_tokens=0, client_key=key))

    def attested(_tx, _answer, _call_id):
        raise Gone

    return Door(
        request,
        stored=lambda _, call: stored_answer(call, request),
        word=lambda tx, outcome, call_id: word_answer(world.rt, tx, outcome, call_id),
        kept=lambda answer: answer.to_json(),
        attested=attested if fails else None,
    )


def events(world):
    with world.ledger.reading() as reader:
        return [(event.seq, event.at_us) for event in reader.events_about("")]


def test_of_two_steps_in_one_transaction_the_second_fails_and_the_first_stays(world):
    session = world.start("1")
    before = world.events()
    with world.rt.writing() as tx:
        first = take_step_in(world.rt, tx, door(world, session, 10))
        with pytest.raises(Gone):
            take_step_in(world.rt, tx, door(world, session, 10, fails=True))
        third = take_step_in(world.rt, tx, door(world, session, 10))
    assert [call.call_id for call in world.calls(session)] == [first.call_id, third.call_id]
    assert world.budget(session).reserved == 2 * NANOS // 100
    assert world.events() == before + 2
    assert world.problems() == []


def test_each_step_has_a_time_of_its_own_and_so_has_each_event(world):
    session = world.start("1")
    world.clock.forward(-HOUR_US // 8)  # and the clock stands behind what was written
    with world.rt.writing() as tx:
        for _ in range(3):
            take_step_in(world.rt, tx, door(world, session))
    times = [at_us for _, at_us in events(world)]
    assert times == sorted(set(times))
    calls = [call.at_us for call in world.calls(session)]
    assert calls == sorted(set(calls)) == times[-3:]


def test_a_later_step_is_decided_on_what_an_earlier_one_has_left(world):
    session = world.start("1")
    with world.rt.writing() as tx:
        answers = [take_step_in(world.rt, tx, door(world, session, 400)) for _ in range(3)]
        again = take_step_in(world.rt, tx, door(world, session, 400, key="k"))
        assert take_step_in(world.rt, tx, door(world, session, 400, key="k")) == again
    assert [answer.action for answer in answers] == [Action.ALLOW, Action.ALLOW, Action.HALT]
    assert world.problems() == []


def test_where_the_transaction_fails_no_step_of_it_holds_and_no_price_is_thought_to_be_written(world):
    session = world.start("1")
    world.rt.caches.known_prices.clear()
    before = world.events()
    with pytest.raises(Gone), world.rt.writing() as tx:
        take_step_in(world.rt, tx, door(world, session))
        raise Gone
    assert (world.events(), world.calls(session)) == (before, [])
    assert not world.rt.known_prices()
    take_step(world.rt, door(world, session))
    assert world.rt.known_prices()
    assert world.problems() == []


def test_a_step_that_fails_while_rows_are_written_leaves_none_that_wait(world):
    session = world.start("1")
    with world.rt.writing() as tx:
        with pytest.raises(InvariantBroken), tx.step():
            tx.append("test", [Insert("price", {"price_id": "p", "basis": "{}"}), Insert("nowhere", {})], by="test")
        take_step_in(world.rt, tx, door(world, session))
    assert len(world.calls(session)) == 1
    assert world.problems() == []


def test_the_anchor_remembers_the_last_event_that_stayed(tmp_path):
    anchor = Anchor(tmp_path / "ledger.db", (tmp_path / "anchor",))
    ledger = SqliteLedger(tmp_path / "ledger.db", clock=Clock(), new_ledger_id=lambda: "ab" * 16, anchor=anchor)
    world = make_world(tmp_path).with_runtime(ledger=ledger)
    session = world.start("1")
    with world.rt.writing() as tx:
        take_step_in(world.rt, tx, door(world, session))
        with pytest.raises(Gone):
            take_step_in(world.rt, tx, door(world, session, fails=True))
    [(row, digest)] = ledger.rows("SELECT id, hash FROM event ORDER BY id DESC LIMIT 1")
    mark = anchor.read().marks[-1]
    assert (mark.row, mark.digest) == (row, digest)
    ledger.close()
    world.ledger.close()


@settings(max_examples=15)
@given(plan=st.lists(st.tuples(st.integers(1, 300), st.booleans(), st.booleans()), min_size=1, max_size=8))
def test_steps_together_come_to_what_they_come_to_alone(tmp_path_factory, plan):
    """Each step of (tokens, whether it fails, whether the steps before it are committed first)."""
    found = []
    for together in (False, True):
        world = make_world(tmp_path_factory.mktemp("w"))
        session = world.start("0.5")
        groups = [[]]
        for tokens, fails, commits in plan:
            if commits or not together:
                groups.append([])
            groups[-1].append((tokens, fails))
        answers = []
        for group in groups:
            with world.rt.writing() as tx:
                for tokens, fails in group:
                    try:
                        answers.append(take_step_in(world.rt, tx, door(world, session, tokens, fails=fails)).action)
                    except Gone:
                        answers.append(None)
        assert world.problems() == []
        budget = world.budget(session)
        states = [(call.state, call.estimate_nanos) for call in world.calls(session)]
        found.append((answers, states, budget.reserved, budget.spent, world.events()))
        world.ledger.close()
    assert found[0] == found[1]


def test_the_move_of_a_clock_is_told_by_the_event_that_stays(tmp_path):
    clock, steady = Clock(), Clock()
    watch = ClockWatch(clock, steady)
    world = make_world(tmp_path, clock=clock)
    ledger = SqliteLedger(tmp_path / "ledger.db", clock=clock, new_ledger_id=lambda: "ab" * 16, watch=watch)
    world = world.with_runtime(ledger=ledger)
    session = world.start("1")
    clock.forward(5 * HOUR_US)
    with pytest.raises(Gone), world.rt.writing() as tx:
        take_step_in(world.rt, tx, door(world, session))
        raise Gone
    with world.rt.writing() as tx:
        with pytest.raises(Gone):
            take_step_in(world.rt, tx, door(world, session, fails=True))
        take_step_in(world.rt, tx, door(world, session))
        take_step_in(world.rt, tx, door(world, session))
    with ledger.reading() as reader:
        told = [event.seq for event in reader.events_about('"clock_parted_us":')]
        assert told == [reader.head().seq - 1], "once, and by the first that stayed"
    ledger.close()
    world.ledger.close()


def test_nothing_more_is_written_where_the_database_itself_took_back_the_transaction(world):
    session = world.start("1")
    before = world.events()
    with pytest.raises(LedgerUnavailable), world.rt.writing() as tx:
        take_step_in(world.rt, tx, door(world, session))
        with pytest.raises(sqlite3.OperationalError), tx.step():
            world.ledger._connection.execute("ROLLBACK")  # as SQLite does on some faults
            raise Gone
        take_step_in(world.rt, tx, door(world, session))
    assert (world.events(), world.calls(session)) == (before, [])
    assert world.problems() == []


def test_nothing_is_learned_from_what_is_taken_back(world):
    session = world.start("1")
    key = sample_key(EstimateKind.AGENT, "unknown", "dear")
    learned = world.rt.caches.learned

    def taught(reader, memory=learned):
        return memory.expect(reader, key, NANOS, Level())

    calls = [world.ask(session, 1).call_id for _ in range(12)]
    for call_id in calls[:6]:
        record_usage(world.rt, UsageReport(call_id, Tokens(fresh_input=2)))
    with world.rt.reading() as reader:
        known = taught(reader)
    with pytest.raises(Gone), world.rt.writing() as tx:
        for call_id in calls[6:]:
            tx.append("test", sample_of(tx, tx.call(call_id), NANOS, CostOrigin.REPORTED), by="test")
        with world.rt.reading() as reader:
            assert taught(tx) == taught(reader) != known, "in the transaction it counts"
        raise Gone
    with world.rt.reading() as reader:
        assert taught(reader) == taught(reader, Learners()) == known
    for call_id in calls[6:]:
        record_usage(world.rt, UsageReport(call_id, Tokens(fresh_input=3)))
    with world.rt.reading() as reader:
        assert taught(reader) == taught(reader, Learners()) != known


def steps_killed_at(folder, session, last):
    """Four steps in one transaction, the third of which fails, in a process that ends itself before a statement."""
    world, count = make_world(folder, tokens=Ids(last)), 0

    def statement(sql):
        nonlocal count
        if sql.startswith(("SAVEPOINT", "RELEASE", "ROLLBACK TO", "INSERT", "UPDATE", "COMMIT")):
            count += 1
            if count == last:
                os.kill(os.getpid(), signal.SIGKILL)

    world.ledger._connection.set_trace_callback(statement)
    with world.rt.writing() as tx:
        for number in range(4):
            with suppress(Gone):
                take_step_in(world.rt, tx, door(world, session, 10, fails=number == 2))


def test_a_process_that_is_killed_at_any_statement_leaves_all_steps_or_none(tmp_path):
    world = make_world(tmp_path)
    session = world.start("1")
    before = world.events()
    world.ledger.close()
    last, ended = 0, False
    while not ended:
        last += 1
        process = PROCESSES.Process(target=steps_killed_at, args=(tmp_path, session, last))
        process.start()
        process.join()
        ended = process.exitcode == 0
        assert ended or process.exitcode == -signal.SIGKILL
        left = make_world(tmp_path)
        assert left.events() == before + (3 if ended else 0)
        assert len(left.calls(session)) == (3 if ended else 0)
        assert left.problems() == []
        left.ledger.close()
    assert last > 20
