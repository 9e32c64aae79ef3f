from __future__ import annotations

import pytest
from bench.race import race
from tests.processes.proof import assert_sound, looking_at

pytestmark = pytest.mark.slow


def test_of_eight_servers_that_ask_for_most_of_one_budget_exactly_one_gets_it(home):
    outcome = race(home, rounds=5)
    assert outcome.admitted == {1: 5}
    assert outcome.reasons == {"allow": 5, "budget_pressure:halt": 35}
    with looking_at(home) as app:
        assert_sound(app)
        [(denied,)] = app.ledger.rows("SELECT COUNT(*) FROM call WHERE state = 'denied'")
    assert denied == 35
