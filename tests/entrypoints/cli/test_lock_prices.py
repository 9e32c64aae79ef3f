"""While locked, nothing makes work cheaper without the passphrase: no list of prices, no factor of bills."""

from __future__ import annotations

import pytest
from tests.entrypoints.cli.test_drift import imported, row, used
from tests.entrypoints.cli.test_lock import WORDS, locked, typed
from tests.entrypoints.cli.test_prices_update import HAIKU, price_list, rate

from tallygate.core.costing import Tokens
from tallygate.core.proof import SIGNATURE

__all__ = ["locked", "typed"]


def list_of(home, price):
    file = home / f"{price}.json"
    file.write_bytes(price_list(("claude-opus-4-7", price, price * 5), HAIKU))
    return str(file)


def cheaper_list(run, made, home):
    return ["prices", "update", list_of(home, 1), "--force"]


def bundled_list_again(run, made, home):
    assert run("prices", "update", list_of(home, 50), "--force").exit_code == 0
    return ["prices", "reset"]


def factor_below_one(run, made, home):
    used(made, *[Tokens(10_000)] * 10)
    imported(run, row("claude-opus-4-7", 100_000, 0, 0, "0.425"))
    return ["drift", "--apply"]


def kept(run_json, made):
    """What steps are priced with, and how far the journal is."""
    return (
        rate(run_json, "claude-opus-4-7"),
        run_json("calibrate", "show"),
        [*made.app.ledger.rows("SELECT COUNT(*) FROM event")],
    )


@pytest.mark.parametrize("prepare", [cheaper_list, bundled_list_again, factor_below_one])
def test_what_makes_work_cheaper_asks_for_the_passphrase_and_is_told(run, run_json, made, home, typed, prepare):
    words = prepare(run, made, home)
    typed[:] = [WORDS, WORDS]
    assert run("lock").exit_code == 0
    before = kept(run_json, made)
    done = run(*words)
    assert done.exit_code == 7, done.output
    assert "needs your passphrase" in done.stderr
    assert kept(run_json, made) == before
    typed[:] = ["the wrong one"]
    assert run(*words).exit_code == 1
    assert kept(run_json, made) == before
    typed[:] = [WORDS]
    done = run(*words)
    assert done.exit_code == 0, done.output
    assert not typed, "nobody was asked"
    assert kept(run_json, made) != before
    [(newest,)] = made.app.ledger.rows("SELECT body FROM event ORDER BY id DESC LIMIT 1")
    assert SIGNATURE.encode() in newest
    assert run("verify").exit_code == 0


@pytest.mark.parametrize("price", [9, 5])
def test_a_list_that_makes_nothing_cheaper_asks_nobody(run, locked, home, price):
    assert run("prices", "update", list_of(home, price), "--force").exit_code == 0


def test_a_factor_of_bills_that_reserves_more_asks_nobody(run, made, locked):
    used(made, *[Tokens(10_000)] * 10)
    imported(run, row("claude-opus-4-7", 100_000, 0, 0, "0.575"))
    done = run("drift", "--apply")
    assert done.exit_code == 0, done.output
