from __future__ import annotations

import random
import signal

import pytest
from tests.processes.proof import assert_sound, looking_at

from tallygate.operations.sessions.opening import Opening, start_session

pytestmark = pytest.mark.slow

WRITERS = 8
CENT = 10_000_000
# Longer than a busy machine makes anyone wait: what is tested is that everybody gets a turn.
PATIENT = {"TALLYGATE_LOCK_TIMEOUT_MS": "20000"}


def shared_sessions(home, count=3):
    with looking_at(home) as app:
        limits = [5 * CENT, 100 * CENT, 1_000_000 * CENT][:count]
        return [start_session(app.runtime, Opening(limit, "gpt-4o")).session.session_id for limit in limits]


def test_eight_writers_leave_a_ledger_that_verifies_and_nobody_starves(home, act):
    shared = ",".join(shared_sessions(home))
    writers = [act("work", seed, 1.0, shared, **PATIENT) for seed in range(WRITERS)]
    for writer in writers:
        writer.wait_until("ready")
    for writer in writers:
        writer.go()
    reports = [writer.wait_until("done") for writer in writers]
    assert [writer.process.wait() for writer in writers] == [0] * WRITERS

    turns = [sum(report["done"].get(kind, 0) for kind in ("authorize", "record", "void")) for report in reports]
    assert min(turns) * 20 >= sum(turns) / WRITERS, f"turns {sorted(turns)}"
    with looking_at(home) as app:
        assert_sound(app)
        [(expired,)] = app.ledger.rows(
            "SELECT COUNT(*) FROM event WHERE json_extract(body, '$.kind') = 'calls.expired'"
        )
    assert expired > 0
    answers = {name for report in reports for name in report["done"] if name.startswith("answered")}
    assert {"answered allow", "answered halt"} <= answers


def test_writers_killed_at_any_moment_lose_nothing_that_was_acknowledged(home, act):
    shared = ",".join(shared_sessions(home))
    chance = random.Random(7)
    said = []
    for generation in range(4):
        writers = [act("mortal", 10 * generation + number, shared, **PATIENT) for number in range(4)]
        for writer in writers:
            writer.wait_until("ready")
        for writer in writers:
            writer.go()
        while alive := [writer for writer in writers if writer.process.poll() is None]:
            doomed = chance.choice(alive)
            said += [fact for _ in range(chance.randrange(1, 60)) if (fact := doomed.hear()) is not None]
            doomed.process.send_signal(signal.SIGKILL)
            said += doomed.hear_all()
            assert doomed.process.wait() == -signal.SIGKILL
        with looking_at(home) as app:
            assert_sound(app)
            assert_kept(app, said)
    assert len(said) > 200


# What a call may be found as, by the last thing that was acknowledged about it: time or the session's end may
# have closed it since, or a record that was committed and never acknowledged.
LATER = {
    "pending": {"pending", "reconciled", "voided", "expired"},
    "voided": {"voided"},
    "reconciled": {"reconciled"},
    "open": {"open", "ended"},
    "ended": {"ended"},
}


def assert_kept(app, said):
    states = dict(app.ledger.rows("SELECT call_id, state FROM call"))
    states.update(app.ledger.rows("SELECT session_id, state FROM session"))
    for fact in said:
        name = fact.get("call") or fact.get("session")
        assert states.get(name) in LATER[fact["state"]], f"{fact} is {states.get(name)} in the ledger"
