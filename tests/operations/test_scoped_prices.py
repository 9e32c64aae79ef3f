"""Negotiated prices at the gate, in reports of agents, in responses; a token of `dear` is a tenth of a cent."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal

import pytest
from tests.reading_rules import Rule
from tests.telling import event, payload
from tests.world import NANOS, PRICES, hook_event

from tallygate.core.costing import Tokens
from tallygate.core.hooks import Moment
from tallygate.core.moments import as_datetime
from tallygate.core.usage import ObservedUsage
from tallygate.core.words import Action
from tallygate.operations.gate.record import CallReport, UsageReport, record_call, record_usage
from tallygate.operations.hooks import answer_hook
from tallygate.operations.usage.ingest import FileReading, ingest, link_session
from tallygate.operations.usage.telemetry import take_logs
from tallygate.operations.views.prices import estimate_cost
from tallygate.pricing.book import PriceBook, PricingSettings
from tallygate.pricing.overrides import PriceOverride

CENT = NANOS // 100
SHOP = "/home/me/shop"
TENTH = Decimal(100)  # a tenth of the price of `dear`


def negotiated(world, **named):
    rows = (*PRICES.overrides, PriceOverride("dear", TENTH, TENTH, cache_read=TENTH / 10, **named))
    return world.with_runtime(prices=PriceBook(PricingSettings(overrides=rows)), project=SHOP)


def response(world, key="r1", *, output=100, session="c1", project=SHOP):
    world.clock.forward(2_000_000)
    at = as_datetime(world.clock.at_us) + timedelta(seconds=-1)
    return ObservedUsage(
        "claude_code", session, key, at, "dear", Tokens(output=output), Rule.CLAUDE_RESPONSE, project=project
    )  # fmt: skip


def take(world, *rows):
    return ingest(world.rt, FileReading("claude_code", "/t", rows))


def basis(world, price_id):
    with world.ledger.reading(world.rt.tenant) as reader:
        return json.loads(reader.prices()[price_id])


SCOPES = [{"session": "mine"}, {"project": "shop"}, {"tenant": "default"}]


@pytest.mark.parametrize("named", SCOPES, ids=lambda named: next(iter(named)))
def test_a_step_is_asked_and_reported_at_the_price_of_its_session(world, named):
    world = negotiated(world, **named)
    world.start("1", session_id="mine")
    asked = world.ask("mine", 100)
    assert world.call(asked.call_id).estimate_nanos == CENT
    record_usage(world.rt, UsageReport(asked.call_id, Tokens(fresh_input=50)))
    assert world.budget("mine").spent == CENT // 2
    [(name, value)] = named.items()
    call = world.call(asked.call_id)
    for price_id in (call.price_id, call.actual_price_id):
        found = basis(world, price_id)
        assert (found["source"], found["key"], found["version"]) == ("override", "dear", f"for {name} {value}")


@pytest.mark.parametrize("named", [{"session": "other"}, {"project": "else"}, {"tenant": "acme"}])
def test_the_price_of_another_session_project_or_tenant_is_not_this_ones(world, named):
    world = negotiated(world, **named)
    session = world.start("1", session_id="mine")
    assert world.call(world.ask(session, 100).call_id).estimate_nanos == 10 * CENT


def test_two_sessions_beside_one_another_pay_their_own_prices(world):
    world = negotiated(world, session="cheap-one")
    world.start("1", session_id="cheap-one")
    world.start("1", session_id="the-other")
    found = [world.call(world.ask(name, 100).call_id).estimate_nanos for name in ("cheap-one", "the-other")] * 2
    assert found == [CENT, 10 * CENT] * 2


def test_a_call_that_an_agent_records_is_booked_at_the_price_of_its_session(world):
    world = negotiated(world, session="mine")
    world.start("1", session_id="mine")
    record_call(world.rt, CallReport("mine", "dear", Tokens(output=100)))
    assert world.budget("mine").spent == CENT


def test_a_response_is_priced_anew_once_its_session_is_known(world):
    world = negotiated(world, session="mine")
    world.start("1", client="claude-code", session_id="mine")
    take(world, response(world), response(world, "r2", output=40))
    assert world.budget("mine").spent == 14 * CENT // 10
    with world.ledger.reading() as reader:
        [one, two] = reader.usage_of("mine")
    assert (one.cost_nanos, two.cost_nanos) == (CENT, 4 * CENT // 10)
    assert basis(world, one.price_id)["version"] == "for session mine"


def test_a_response_that_grows_keeps_the_price_of_its_session(world):
    world = negotiated(world, session="mine")
    world.start("1", client="claude-code", session_id="mine")
    row = response(world, output=10)
    take(world, row)
    take(world, response(world, output=100))
    assert world.budget("mine").spent == CENT


def test_responses_that_waited_for_their_session_are_priced_anew_when_it_is_linked(world):
    world = negotiated(world, session="mine")
    world.start("1", session_id="mine")
    take(world, response(world, project=None))
    assert world.budget("mine").spent == 0
    link_session(world.rt, "claude_code", "c1", "mine")
    assert world.budget("mine").spent == CENT


def test_what_telemetry_told_before_is_priced_anew_when_the_transcript_names_the_session(world):
    world = negotiated(world, session="mine")
    world.start("1", client="claude-code", session_id="mine")
    world.clock.forward(20_000_000)
    told = event(**{"session.id": "c1", "model": "dear"})
    take_logs(world.rt, payload(told))
    with world.ledger.reading() as reader:
        found = [stored for stored in reader.usage_between(0, 2**62) if stored.session_id is None]
    assert len(found) == 1
    take(world, response(world, "other"))
    with world.ledger.reading() as reader:
        attributed = {stored.row.response_key: stored for stored in reader.usage_of("mine")}
    again = attributed[found[0].row.response_key]
    assert again.cost_nanos * 10 == pytest.approx(found[0].cost_nanos, rel=0.01)
    assert basis(world, again.price_id)["version"] == "for session mine"
    assert world.budget("mine").spent == sum(stored.cost_nanos for stored in attributed.values())


@pytest.mark.parametrize("named, cents", [({"project": "shop"}, 1), ({"tenant": "default"}, 1), ({"session": "x"}, 10)])
def test_a_response_of_no_session_has_the_price_of_its_project_and_tenant(world, named, cents):
    world = negotiated(world, **named)
    take(world, response(world))
    with world.ledger.reading() as reader:
        [stored] = reader.usage_between(0, 2**62)
    assert (stored.session_id, stored.cost_nanos) == (None, cents * CENT)


def test_a_hook_reserves_at_the_price_of_its_session(world):
    world = negotiated(world, project="shop").with_runtime(session_limit_nanos=1000 * NANOS)
    plain = world.with_runtime(prices=PriceBook(PRICES))
    reserved = []
    for number, each in enumerate((plain, world)):
        event = hook_event("claude_code", Moment.PROMPT, f"c{number}", "UserPromptSubmit", "p1", model="dear")
        answer_hook(each.rt, event)
        with world.ledger.reading() as reader:
            [session] = reader.sessions_linked("claude_code", f"c{number}")
        reserved.append(world.budget(session.session_id).reserved)
    assert reserved[0] == 10 * reserved[1] > 0


def test_an_estimate_outside_of_sessions_is_made_at_the_prices_of_the_workspace(world):
    world = negotiated(world, project="shop")
    assert estimate_cost(world.rt, "dear", Tokens(output=100)).usd_nanos == CENT
    elsewhere = world.with_runtime(project="/home/me/other")
    assert estimate_cost(elsewhere.rt, "dear", Tokens(output=100)).usd_nanos == 10 * CENT


@pytest.mark.parametrize("session, target", [("mine", None), ("other", "cheap")])
def test_a_reroute_weighs_models_at_the_prices_of_the_session(world, session, target):
    rows = (*PRICES.overrides, PriceOverride("cheap", Decimal(1000), Decimal(1000), session="mine"))
    world = world.with_runtime(prices=PriceBook(PricingSettings(overrides=rows)), ladder=lambda _: ("dear", "cheap"))
    world.start("1", session_id=session)
    world.ask(session, 850)
    answer = world.ask(session, 50)
    assert (answer.action, answer.target_model) == (Action.REROUTE, target)
