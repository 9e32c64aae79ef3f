"""A primary that is killed in the middle of commits, and the standby that takes its place."""

from __future__ import annotations

import secrets
import threading

import pytest
from tests.postgres import NoServer, Server, shared, with_tables
from tests.world import NANOS, Clock, changed, make_world, on_postgres

from tallygate.core.costing import Tokens
from tallygate.core.errors import LedgerUnavailable
from tallygate.operations.gate.record import UsageReport, record_usage

pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
WORKERS, STEPS, KILLED_AFTER = 4, 30, 25


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_and_nothing_counts_twice_when_a_standby_takes_over(tmp_path):
    """Every worker asks until it has an answer, with the same id for the same step, whatever happens meanwhile."""
    shared()  # or there is none here
    try:
        primary = Server.made()
        with_tables(primary, "ledger")
        second = primary.standby("second")
    except NoServer as error:
        pytest.skip(str(error))
    folders = f"{primary.folder},{second.folder}".replace("/", "%2F")
    url = f"postgresql://postgres@/ledger?host={folders}"
    clock = Clock()
    plain = make_world(tmp_path, clock=clock)
    plain.ledger.close()

    def opened():
        ledger = on_postgres(url, clock, lock_timeout_ms=60_000)
        return type(plain)(changed(plain.rt, ledger=ledger, new_token=secrets.token_hex), ledger, clock, tmp_path)

    worlds = [opened() for _ in range(WORKERS)]
    session = worlds[0].start("1")  # a hundred steps of a cent; more are asked for
    answers, killed = {}, threading.Event()

    def until_told(world, key):
        while True:
            answer = world.ask(session, 10, client_key=key)
            if answer.reason != "ledger_unavailable":
                return answer

    def work(number, world):
        for turn in range(STEPS):
            key = f"{number}/{turn}"
            answers[key] = answer = until_told(world, key)
            while answer.call_id is not None:
                try:
                    record_usage(world.rt, UsageReport(answer.call_id, Tokens(10)))
                    break
                except LedgerUnavailable:
                    continue
            if len(answers) >= KILLED_AFTER:
                killed.set()

    threads = [threading.Thread(target=work, args=each) for each in enumerate(worlds)]
    for thread in threads:
        thread.start()
    assert killed.wait(300)
    primary.kill()
    second.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
    second.promote()
    for thread in threads:
        thread.join(300)
        assert not thread.is_alive()
    got = [answer for answer in answers.values() if answer.call_id is not None]
    assert (len(answers), len(got)) == (WORKERS * STEPS, 100), "what fits is let through, and no more"
    assert len({answer.call_id for answer in got}) == 100
    kept = {call.call_id: call.state for call in worlds[0].calls(session)}
    assert {kept[answer.call_id] for answer in got} == {"reconciled"}
    budget = worlds[0].budget(session)
    assert (budget.spent, budget.reserved, budget.overage) == (NANOS, 0, 0)
    assert worlds[0].problems() == []
    for world in worlds:
        world.ledger.close()
    second.remove()
    primary.remove()
