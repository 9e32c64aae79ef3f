"""Processes that each open sessions of their own stay inside the budget that all of them share."""

from __future__ import annotations

import json

import pytest
from tests.processes.proof import assert_sound, looking_at

pytestmark = pytest.mark.slow

LIMIT = 20


def test_eight_processes_with_sessions_of_their_own_stay_inside_one_day_budget(act, home):
    (home / "config.toml").write_text(f'[[budget]]\nscope = "user"\nlimit_usd = {LIMIT}\nperiod = "day"\n')
    actors = [act("openers", seed, TALLYGATE_CONFIG=str(home / "config.toml")) for seed in range(8)]
    for actor in actors:
        actor.wait_until("ready")
    for actor in actors:
        actor.go()
    said = [actor.hear_all()[-1] for actor in actors]
    assert all(each["state"] == "halted" and each["budget"].startswith("user:") for each in said), json.dumps(said)
    with looking_at(home) as app:
        assert_sound(app)
        [(limit, spent, reserved, overage)] = app.ledger.rows(
            "SELECT limit_nanos, spent_nanos, reserved_nanos, overage_nanos FROM budget WHERE scope = 'user'"
        )
        [(calls,)] = app.ledger.rows("SELECT COUNT(*) FROM call WHERE state = 'reconciled'")
    assert (limit, reserved, overage) == (LIMIT * 10**9, 0, 0)
    assert spent <= limit
    assert spent > limit - 10**9, "a step takes at most a dollar, so the budget is used up to the last one"
    assert calls == sum(each["admitted"] for each in said) >= 20
