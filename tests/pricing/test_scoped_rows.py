"""Prices and discounts for one session, project or tenant: the nearest row counts, and the basis says whose it is."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.pricing.book import PriceBook, PriceScope, PricingSettings
from tallygate.pricing.overrides import Discount, PriceOverride

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
MILLION = 10**9
SHOP = "/home/me/shop"


def row(rate, match="m-*", **more):
    return PriceOverride(match, Decimal(rate), Decimal(rate), **more)


def book(*rows, discounts=()):
    return PriceBook(PricingSettings(overrides=rows, discounts=discounts))


ROWS = (
    row(1),
    row(2, tenant="acme"),
    row(3, project="shop"),
    row(4, session="s-1"),
    row(5, project="shop", tenant="acme"),
    row(6, match="m-exact"),
    row(7, match="m-exact", tenant="acme"),
    row(8, tenant="late", valid_from=date(2026, 1, 1)),
    row(9, tenant="late", valid_from=date(2026, 6, 1)),
)


@pytest.mark.parametrize(
    "model, scope, rate",
    [
        ("m-x", PriceScope(), 1),
        ("m-x", PriceScope("other", "/home/me/other", "s-2"), 1),
        ("m-x", PriceScope("acme", "/home/me/other", "s-2"), 2),
        ("m-x", PriceScope("other", SHOP, "s-2"), 3),
        ("m-x", PriceScope("other", "/home/me/workshop", "s-2"), 1),  # the end of a path is whole names
        ("m-x", PriceScope("acme", SHOP, "s-2"), 5),  # both before one of them
        ("m-x", PriceScope("acme", SHOP, "s-1"), 4),  # the session before everything
        ("m-exact", PriceScope(), 6),
        ("m-exact", PriceScope("acme"), 7),
        ("m-exact", PriceScope("other", SHOP), 3),  # a pattern for the project before an exact one for everybody
        ("m-x", PriceScope("late"), 9),  # among equals the order is as ever
        ("m-x", PriceScope(None, None, None), 1),
    ],
)
def test_the_nearest_row_counts(model, scope, rate):
    assert book(*ROWS).quote(model, NOON, scope).rates.input_nanos == rate * MILLION


@pytest.mark.parametrize(
    "named, version",
    [
        ({}, "2026-01-01"),
        ({"tenant": "acme"}, "2026-01-01 for tenant acme"),
        ({"project": "shop"}, "2026-01-01 for project shop"),
        ({"session": "s-1"}, "2026-01-01 for session s-1"),
        ({"session": "s-1", "tenant": "acme"}, "2026-01-01 for session s-1, tenant acme"),
    ],
)
def test_the_basis_of_a_price_says_whom_it_was_negotiated_for(named, version):
    price = book(row(2, valid_from=date(2026, 1, 1), **named)).quote("m-x", NOON, PriceScope("acme", SHOP, "s-1"))
    assert (price.source, price.key, price.version) == ("override", "m-*", version)


def test_a_discount_of_a_tenant_takes_the_place_of_the_general_one_and_says_so():
    general, better = Discount("claude-*", Decimal("0.9")), Discount("claude-*", Decimal("0.5"), tenant="acme")
    prices = book(discounts=(general, better))
    listed = PriceBook(PricingSettings()).quote("claude-opus-4.7", NOON)
    theirs = prices.quote("claude-opus-4.7", NOON, PriceScope("acme"))
    others = prices.quote("claude-opus-4.7", NOON, PriceScope("other"))
    assert theirs.rates.input_nanos * 2 == listed.rates.input_nanos
    assert others.rates.input_nanos * 10 == listed.rates.input_nanos * 9
    assert theirs.version == f"{listed.version} x0.5 for tenant acme"
    assert others.version == f"{listed.version} x0.9"


def test_what_is_listed_for_a_tenant_are_its_own_rows_and_those_for_everybody():
    prices = book(row(1, "m-a"), row(2, "m-b", tenant="acme"), row(3, "m-c", tenant="other"))
    mine = [listed.id for listed in prices.models(NOON, PriceScope("acme")) if listed.provider == "override"]
    assert mine == ["m-a", "m-b"]


def test_without_scoped_rows_every_scope_shares_one_quote():
    prices = book(row(1))
    assert not prices.is_scoped
    quotes = {id(prices.quote("m-x", NOON, PriceScope("t", f"/p/{n}", f"s-{n}"))) for n in range(50)}
    assert len(quotes) == 1


def test_sessions_that_no_row_names_share_one_quote():
    prices = book(row(1), row(2, tenant="acme"), row(3, session="s-1"))
    quotes = {id(prices.quote("m-x", NOON, PriceScope("acme", f"/p/{n}", f"x-{n}"))) for n in range(50)}
    assert len(quotes) == 1
    assert prices.quote("m-x", NOON, PriceScope("acme", "/p/1", "s-1")).rates.input_nanos == 3 * MILLION


NAMES = st.none() | st.sampled_from(["a", "b"])


@given(
    st.lists(st.tuples(NAMES, NAMES, NAMES), max_size=6),
    st.tuples(NAMES, NAMES.map(lambda name: name and f"/p/{name}"), NAMES),
)
def test_no_row_counts_outside_of_its_scope_and_none_that_is_nearer_is_passed_over(scopes, asked):
    rows = [row(n + 2, tenant=t, project=p, session=s) for n, (t, p, s) in enumerate(scopes)]
    scope = PriceScope(*asked)
    fits = [
        (each.session is not None, each.project is not None, each.tenant is not None, number)
        for number, each in enumerate(rows)
        if each.tenant in (None, scope.tenant)
        and each.session in (None, scope.session)
        and (each.project is None or (scope.project or "").endswith(f"/{each.project}"))
    ]
    found = book(row(1, match="*"), *rows).quote("m-x", NOON, scope)
    assert found.rates.input_nanos == (max(fits)[3] + 2 if fits else 1) * MILLION
