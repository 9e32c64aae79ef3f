from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.core.errors import InvalidArgument
from tallygate.core.money import (
    AMOUNT_NANOS_MAX,
    adding_up,
    cost_nanos,
    exact_text,
    format_amount,
    json_number,
    parse_amount_nanos,
    share_percent,
    to_unit_nanos,
    to_usd_nanos,
)


@pytest.mark.parametrize(
    ("value", "nanos"),
    [
        (1, 1_000_000_000),
        (0.1, 100_000_000),
        (2.5, 2_500_000_000),
        ("0.000000001", 1),
        (Decimal("0.0000000001"), 1),
        (1e-9, 1),
        (1_000_000, AMOUNT_NANOS_MAX),
    ],
)
def test_an_amount_is_what_its_decimal_text_says_rounded_up(value, nanos):
    assert parse_amount_nanos("budget_usd", value) == nanos


@pytest.mark.parametrize(
    "value",
    [0, -1, -0.01, float("nan"), float("inf"), float("-inf"), 1_000_001, 10**400, True, None, [], {}, "x", "", "1e999"],
)
def test_an_impossible_amount_is_refused_by_name(value):
    with pytest.raises(InvalidArgument) as refused:
        parse_amount_nanos("budget_usd", value)
    assert refused.value.argument == "budget_usd"
    assert "budget_usd" in refused.value.message
    assert len(refused.value.message) < 200


def test_zero_is_an_amount_only_where_it_may_be():
    assert parse_amount_nanos("estimate", 0, allow_zero=True) == 0


@given(st.integers(0, 10**15))
def test_exact_text_keeps_every_nano_unit(nanos):
    assert int(Decimal(exact_text(nanos)) * 10**9) == nanos
    assert "E" not in exact_text(nanos)


@given(st.integers(-(10**13), 10**13))
def test_a_reply_s_number_is_the_amount_to_six_digits(nanos):
    written = Decimal(json.dumps(json_number(nanos)))
    assert abs(written * 10**9 - nanos) <= 500


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**12)), max_size=5))
def test_a_cost_is_never_less_than_its_parts_and_rounds_by_less_than_one(parts):
    exact = sum(Decimal(tokens) * rate for tokens, rate in parts) / 1_000_000
    assert exact <= cost_nanos(parts) < exact + 1


@pytest.mark.parametrize(
    ("nanos", "currency", "text"),
    [
        (0, "USD", "$0.00"),
        (1_234_500_000_000, "USD", "$1,234.50"),
        (12_300_000, "USD", "$0.0123"),
        (1, "USD", "$0.000000001"),
        (-2_000_000_000, "EUR", "-€2.00"),
        (1_000_000_000, "CHF", "1.00 CHF"),
    ],
)
def test_amounts_read_as_people_write_them(nanos, currency, text):
    assert format_amount(nanos, currency) == text


AMOUNTS = st.integers(0, AMOUNT_NANOS_MAX)
RATES = st.integers(1, 10**15 - 1)
CONVERSIONS = st.sampled_from([to_unit_nanos, to_usd_nanos])


@given(CONVERSIONS, AMOUNTS, AMOUNTS, RATES)
def test_more_money_is_never_less_in_another_currency(convert, some, more, rate):
    assert convert(some, rate) <= convert(some + more, rate)


@given(AMOUNTS, RATES)
def test_there_and_back_loses_nothing_and_gains_at_most_what_one_nano_unit_is_worth(nanos, rate):
    one_unit, one_dollar = to_usd_nanos(1, rate), to_unit_nanos(1, rate)
    assert 0 <= to_usd_nanos(to_unit_nanos(nanos, rate), rate) - nanos <= one_unit
    assert 0 <= to_unit_nanos(to_usd_nanos(nanos, rate), rate) - nanos <= one_dollar


@given(AMOUNTS, RATES)
def test_a_conversion_is_exact_but_for_less_than_one_nano_upwards(nanos, rate):
    assert 0 <= to_usd_nanos(nanos, rate) - Fraction(nanos * rate, 10**9) < 1
    assert 0 <= to_unit_nanos(nanos, rate) - Fraction(nanos * 10**9, rate) < 1


@given(CONVERSIONS, st.integers(-AMOUNT_NANOS_MAX, AMOUNT_NANOS_MAX))
def test_dollars_stay_what_they_are(convert, nanos):
    assert convert(nanos, 10**9) == nanos


def test_a_budget_of_nothing_is_full():
    assert share_percent(0, 0) == 100


@given(st.lists(st.integers(10**8, 10**13), min_size=1, max_size=30))
def test_what_is_shown_of_parts_adds_up_to_what_is_shown_of_their_sum_and_each_is_within_a_cent(parts):
    shown = [Decimal(text.lstrip("$").replace(",", "")) for text in adding_up(parts, sum(parts))]
    assert sum(shown) == Decimal(format_amount(sum(parts)).lstrip("$").replace(",", ""))
    assert all(abs(each * 10**9 - part) < 10**7 for each, part in zip(shown, parts, strict=True))


@given(st.lists(st.integers(0, 10**8 - 1), max_size=9), st.integers(0, 10**12))
def test_small_parts_stay_as_they_are_and_so_does_what_adds_up_to_something_else(small, large):
    parts = [*small, large]
    assert adding_up(parts, sum(parts))[:-1] == [format_amount(each) for each in small]
    assert adding_up(parts, sum(parts) + 1) == [format_amount(each) for each in parts]
    assert adding_up([10**9, 2], 10**9 + 2, "tokens") == ["1,000,000,000 tokens", "2 tokens"]
