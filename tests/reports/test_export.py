"""Rows for other programs: exact, harmless in a spreadsheet, by FOCUS to the last digit, and in no more room."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.core.attribution import Served
from tallygate.core.costing import ContextTier, Price, Rates, Tokens
from tallygate.reports.export import RESPONSE, SpentRow, csv_rows, json_rows
from tallygate.reports.focus import VERSION_1_0, VERSION_1_4, charges, focus_rows

RATES = Rates(5_000_000_001, 25_000_000_007, 500_000_003, 6_250_000_001, 10_000_000_009)
PRICE = Price("anthropic:claude-opus-4-7", RATES, "genai-prices", "0.2.3", valid_from="2026-04-01")
AT = 1_790_000_000_123_456


def row(tokens=Tokens(1, 2, 3, 4, 5), cost=None, price=PRICE, **more):  # noqa: B008 - a value
    names = {"tenant": "default", "client": "codex", "session": "s1", "session_id": None, "call_id": None}
    names |= {"response": "r1", "model": "claude-opus-4-7", "basis": "observed", "price_id": "p1"}
    cost = price.cost_nanos(tokens) if cost is None else cost
    return SpentRow(kind=RESPONSE, at_us=AT, tokens=tokens, cost_nanos=cost, price=price, **(names | more))


def sheet(pieces):
    return [*csv.DictReader(io.StringIO(b"".join(pieces).decode(), newline=""))]


def test_a_sheet_and_a_list_have_every_digit_and_the_moment_in_utc():
    for cost, text in ((1, "0.000000001"), (123_456_789_012, "123.456789012"), (0, "0"), (10**18, "1000000000")):
        (shown,) = sheet(csv_rows([row(cost=cost)]))
        assert (shown["cost_usd"], shown["at"]) == (text, "2026-09-21T14:13:20.123Z")
        (listed,) = json.loads(b"".join(json_rows([row(cost=cost)])), parse_float=Decimal)
        assert Decimal(listed["cost_usd"]) == Decimal(cost) / 10**9
    assert json.loads(b"".join(json_rows([]))) == []
    assert b"".join(csv_rows([])).count(b"\r\n") == 1


def test_where_a_figure_is_from_stands_beside_it():
    (shown,) = sheet(csv_rows([row(quality="partial", rule="claude.response", odd=("count", "time"))]))
    assert {name: shown[name] for name in ("basis", "quality", "rule", "odd", "certainty", "price_key")} == {
        "basis": "observed", "quality": "partial", "rule": "claude.response", "odd": "count time",
        "certainty": "known", "price_key": "anthropic:claude-opus-4-7",
    }  # fmt: skip
    assert (shown["price_source"], shown["price_version"], shown["price_valid_from"]) == (
        "genai-prices", "0.2.3", "2026-04-01",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1", "'+1"),
        ("-1+cmd", "'-1+cmd"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'=1"),
        ('"=1', "\"'=1"),
        ("a;=1;+2", "a;'=1;'+2"),
        (';"=1', ";\"'=1"),
        ("a-b; c", "a-b; c"),
        ("\r=1", "'=1"),
        ("a\r\nb", "a b"),
        ("\N{FULLWIDTH EQUALS SIGN}1", "'\N{FULLWIDTH EQUALS SIGN}1"),
        ('plain, "quoted"', 'plain, "quoted"'),
        ("x\x1b[2J", "x [2J"),
    ],
)
def test_nothing_in_a_cell_acts(text, shown):
    hostile = row(model=text, client=text, agent=text, folder=text, project=text, provider=text, response=text)
    (cells,) = sheet(csv_rows([hostile]))
    assert {cells[name] for name in ("model", "client", "agent", "folder", "project", "response")} == {shown}
    assert all(each["x_Model"] == shown for each in sheet(focus_rows([hostile], VERSION_1_4)))
    for each in sheet(focus_rows([hostile], VERSION_1_4)):
        assert not [name for name, value in each.items() if value.startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_a_response_is_a_charge_for_each_kind_of_its_tokens():
    shown = sheet(focus_rows([row(Tokens(1_500_000, 0, 0, 2, 5))], VERSION_1_4))
    assert [(each["SkuMeter"], each["ConsumedQuantity"], each["PricingQuantity"]) for each in shown] == [
        ("Input Tokens", "1500000.0", "1.5"),
        ("Cache Write Tokens, 1 Hour", "2.0", "0.000002"),
        ("Output Tokens", "5.0", "0.000005"),
    ]
    first = shown[0]
    assert first["PricingUnit"] == "1000000 Tokens"
    assert first["ListUnitPrice"] == "5.000000001"
    assert {first[name] for name in ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost")} == {"7.500000002"}
    assert (first["ChargePeriodStart"], first["ChargePeriodEnd"]) == ("2026-09-21T14:13:20Z", "2026-09-21T14:13:21Z")
    assert (first["BillingPeriodStart"], first["BillingPeriodEnd"]) == ("2026-09-01T00:00:00Z", "2026-10-01T00:00:00Z")
    assert {first[name] for name in ("InvoiceId", "Tags", "AvailabilityZone", "CommitmentDiscountId")} == {""}


def test_what_a_response_served_stands_beside_it():
    served = (Served(None, "Bash"), Served("github", "create_issue"), Served("github", "list_issues"))
    (shown,) = sheet(csv_rows([row(agent="a1", agent_type="Explore", skill="review", served=served, branch="main")]))
    assert {name: shown[name] for name in ("agent", "agent_type", "skill", "mcp_servers", "tools", "branch")} == {
        "agent": "a1", "agent_type": "Explore", "skill": "review", "mcp_servers": "github",
        "tools": "Bash; create_issue; list_issues", "branch": "main",
    }  # fmt: skip


def test_the_columns_are_those_of_the_version_then_our_own():
    later, first = ([*sheet(focus_rows([row()], version))[0]] for version in (VERSION_1_4, VERSION_1_0))
    assert (len([name for name in later if not name.startswith("x_")]), len(first)) == (63, 43 + 18)
    assert {"ProviderName", "PublisherName"} == {*first} - {*later}
    for names in (later, first):
        own = [name for name in names if name.startswith("x_")]
        assert names == sorted(name for name in names if not name.startswith("x_")) + own


def test_searches_and_what_no_tokens_account_for_are_charges_too():
    searched = Price("k", RATES, "genai-prices", "1", per_search_nanos=10_000_000)
    tokens = Tokens(output=1_000_000)
    cost = searched.cost_nanos(tokens) + 3 * 10_000_000
    found = charges(row(tokens, cost, searched, web_searches=3))
    assert [(each.meter.name, each.meter.quantity, each.meter.rate_nanos, each.cost_nanos) for each in found] == [
        ("Output Tokens", 1_000_000, 25_000_000_007, 25_000_000_007),
        ("Web Searches", 3, 10_000_000, 30_000_000),
    ]
    (free,) = charges(row(Tokens(), 7))
    assert (free.meter.name, free.meter.rate_nanos, free.cost_nanos) == ("Requests", None, 7)
    corrected = charges(row(tokens, 5))
    assert [(each.meter.rate_nanos, each.cost_nanos) for each in corrected] == [(None, 5)]


COUNT = st.integers(0, 10**9)
RATE = st.integers(0, 10**12)


@given(
    st.builds(Tokens, COUNT, COUNT, COUNT, COUNT, COUNT),
    st.builds(Rates, RATE, RATE, RATE, RATE, RATE),
    st.one_of(st.none(), st.integers(0, 10**15)),
    st.integers(0, 5),
)
def test_charges_add_up_to_their_response_and_a_unit_price_says_what_it_cost(tokens, rates, cost, searches):
    price = Price("k", rates, "genai-prices", "1", tiers=(ContextTier(200_000, rates),))
    found = charges(row(tokens, cost, price, web_searches=searches))
    assert sum(each.cost_nanos for each in found) == (price.cost_nanos(tokens) if cost is None else cost)
    assert all(each.cost_nanos >= 0 for each in found)
    for each in found:
        if each.meter.rate_nanos is not None and each.meter.block > 1:
            exact = Decimal(each.meter.quantity) * each.meter.rate_nanos / each.meter.block
            assert abs(each.cost_nanos - exact) <= 5


@pytest.mark.parametrize("written", [csv_rows, json_rows, lambda rows: focus_rows(rows, VERSION_1_4)])
def test_any_number_of_rows_takes_no_more_room(written):
    def peak(count):
        tracemalloc.start()
        try:
            size = sum(len(piece) for piece in written(row() for _ in range(count)))
            return tracemalloc.get_traced_memory()[1], size
        finally:
            tracemalloc.stop()

    few, _ = peak(600)
    many, size = peak(6000)
    assert many < few + 500_000
    assert size > 4 * (many - few)
