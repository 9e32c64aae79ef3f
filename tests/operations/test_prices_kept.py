"""A session goes on at the prices it was opened at: rows that became lower count for sessions that open after them.

Amounts: a token of `dear` is a tenth of a cent.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reading_rules import Rule
from tests.world import NANOS, PRICES, as_said

from tallygate.core.costing import Tokens
from tallygate.core.usage import ObservedUsage
from tallygate.operations.gate.authorize import StatedStep, authorize
from tallygate.operations.gate.record import CallReport, UsageReport, record_call, record_usage
from tallygate.operations.usage.ingest import FileReading, ingest
from tallygate.pricing.book import PriceBook, PricingSettings
from tallygate.pricing.exchange import Rate
from tallygate.pricing.overrides import Discount, PriceOverride
from tallygate.pricing.user_prices import PriceList

MILLI = NANOS // 1000
PROJECT = "/home/me/p"


def prices(dollars, model="dear", **more):
    return PricingSettings(overrides=(PriceOverride(model, Decimal(dollars), Decimal(dollars)),), **more)


@pytest.fixture
def world(world):
    return as_said(world).with_runtime(project=PROJECT)


def restarted(world, settings, **changes):
    """Another process with other settings, which remembers nothing."""
    return world.with_runtime(
        prices=PriceBook(settings), session_heads={}, known_prices={}, session_tenants={}, **changes
    )


def cost_of(world, session, model="dear"):
    before = world.budget(session).reserved
    authorize(world.rt, StatedStep(session, "t", model=model, prompt_tokens=1, completion_tokens=0))
    return world.budget(session).reserved - before


FREE = prices(0)
# what was in force when the session was opened, what is now -> what a token of `dear` costs in it
CHANGES = [
    (PRICES, FREE, MILLI),
    (PRICES, prices(1), MILLI),
    (PRICES, prices(9_000), 9 * MILLI),
    (PRICES, replace(PRICES, discounts=(Discount("*", Decimal("0.0001")),)), MILLI),
    (prices(1_000, "listed", aliases=()), prices(1_000, "listed", aliases=()), None),
    (FREE, PRICES, MILLI),
    (FREE, FREE, 0),
]


@pytest.mark.parametrize("then, now, cost", [each for each in CHANGES if each[2] is not None])
def test_no_change_of_the_settings_makes_a_running_session_cheaper(world, then, now, cost):
    opened = restarted(world, then)
    session = opened.start("10")
    assert cost_of(restarted(world, now), session) == cost


@pytest.mark.parametrize("then, now", [(PRICES, FREE), (FREE, PRICES)])
def test_a_session_that_opens_afterwards_has_the_prices_of_now(world, then, now):
    restarted(world, then).start("10")
    later = restarted(world, now)
    assert cost_of(later, later.start("10")) == (MILLI if now is PRICES else 0)


def test_every_way_to_spend_is_priced_as_the_session_was_opened(world):
    session = world.start("10", client="claude-code")
    free = restarted(world, FREE)
    call = free.ask(session, 100).call_id
    record_usage(free.rt, UsageReport(call, Tokens(100)))
    assert world.budget(session).spent == 100 * MILLI
    record_call(free.rt, CallReport(session, "dear", Tokens(50)))
    assert world.budget(session).spent == 150 * MILLI


def test_what_a_client_writes_down_is_priced_as_its_session_was_opened(world):
    watched = world.start("10", client="claude-code")
    free = restarted(world, FREE)
    world.clock.forward(1_000_000)
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=world.clock.at_us)
    row = ObservedUsage("claude_code", "c", "r", at, "dear", Tokens(70), Rule.CLAUDE_RESPONSE, project=PROJECT)
    ingest(free.rt, FileReading("claude_code", "/t", [row]))
    assert world.budget(watched).spent == 70 * MILLI


def test_a_session_inside_another_keeps_what_that_was_opened_at(world):
    outer = world.start("10")
    free = restarted(world, FREE)
    assert cost_of(free, free.start("10", parent_session_id=outer)) == MILLI


def test_the_session_of_another_project_is_priced_by_its_own_settings_alone(world):
    theirs = restarted(world, prices(1), project="/home/me/other").start("10")
    assert cost_of(world, theirs) == MILLI // 1000, "a discount there is none of the dearer prices here"


def test_a_row_that_makes_a_model_known_makes_it_so_in_open_sessions_at_what_was_assumed(world):
    session = world.start("10")
    assumed = authorize(world.rt, StatedStep(session, "t", model="nobodys-model", prompt_tokens=9, completion_tokens=0))
    assert assumed.pricing_warning
    known = restarted(world, prices(0, "nobodys-model"))
    answer = authorize(known.rt, StatedStep(session, "t", model="nobodys-model", prompt_tokens=9, completion_tokens=0))
    assert answer.pricing_warning is None
    assert cost_of(known, session, "nobodys-model") > 0


def test_a_session_of_an_older_version_goes_by_the_prices_of_now(world):
    session = world.start("10")
    with world.ledger.writing():
        world.ledger._connection.execute("UPDATE session SET prices = NULL")
    assert cost_of(restarted(world, FREE), session) == 0
    with world.ledger.writing():  # so that the audit finds the ledger as it was
        world.ledger._connection.execute("UPDATE session SET prices = ?", (world.rt.workspace.prices.list_id,))


def test_a_list_is_kept_once_for_many_sessions(world):
    for _ in range(3):
        world.start("1")
    rows = list(world.ledger.rows("SELECT COUNT(*) FROM price_list"))
    assert rows == [(1,)]


def test_one_price_written_otherwise_is_no_other_list():
    one, other = (PriceList(prices(written, unknown_input_per_thousand=Decimal(written))) for written in ("3", "3.00"))
    assert (one.list_id, [*dict(one.rows())]) == (other.list_id, [*dict(other.rows())])
    dated = PriceOverride("dear", Decimal(3), Decimal(3), valid_from=date(2026, 11, 1), provider="openai")
    assert dict(PriceList(PricingSettings((dated,))).rows()) == {
        "[[price]] dear 3 in, 3 out, provider openai, from 2026-11-01": dated
    }


names = st.text("abcdefghijklmnop-*./ ", min_size=1, max_size=20).filter(str.strip)
rates = st.decimals(0, 1_000_000, allow_nan=False, allow_infinity=False, places=6)
days = st.dates(date(2020, 1, 1), date(2030, 1, 1))
overrides = st.builds(
    PriceOverride, names, rates, rates, st.none() | names, st.none() | rates, valid_from=st.none() | days, note=names,
    tenant=st.none() | names, project=st.none() | names, approximate=st.booleans(),
)  # fmt: skip
discounts = st.builds(Discount, names, rates.filter(lambda rate: 0 < rate <= 100), session=st.none() | names)
settings = st.builds(
    PricingSettings,
    st.lists(overrides, max_size=3).map(tuple),
    st.lists(discounts, max_size=2).map(tuple),
    st.lists(st.tuples(names, names), max_size=2).map(tuple),
    unknown_input_per_thousand=rates.filter(lambda rate: 0 < rate <= 1000),
    unknown_exchange=st.none() | st.builds(Rate, st.integers(1, 10**9), days, names, st.just("GBP")),
    local_channels=st.lists(names, max_size=2).map(tuple),
    local_is_said=st.booleans(),
    local_models=st.lists(names, max_size=2).map(tuple),
)


@given(st.builds(PriceList, settings, st.none() | settings))
def test_a_list_of_prices_comes_back_from_its_text_as_it_was(listed):
    again = PriceList.from_text(listed.text)
    assert again == listed
    assert again.list_id == listed.list_id
