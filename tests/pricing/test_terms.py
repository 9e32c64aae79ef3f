"""Tiers, places and what is given away: rules of the price beside the model's own, each with where it is published."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from tests.pricing.ids import AT
from tests.reading_rules import Rule

from tallygate.core.costing import Certainty, Terms, Tokens
from tallygate.core.usage import ObservedUsage, terms_of
from tallygate.pricing.book import PriceBook, PricingSettings

BOOK = PriceBook(PricingSettings())
KNOWN, APPROXIMATE = Certainty.KNOWN, Certainty.APPROXIMATE
SUMMER = datetime(2026, 8, 1, 12, tzinfo=UTC)


def per_million(price, context=0):
    rates = price.rates_for(context)
    return tuple(Decimal(nanos) / 10**9 for nanos in (rates.input_nanos, rates.output_nanos, rates.cache_read_nanos))


def decimals(*texts):
    return tuple(map(Decimal, texts))


# developers.openai.com/api/docs/pricing (the list gives the tiers from 2026-10-12 on), platform.claude.com pricing.
@pytest.mark.parametrize("model, tier, at, expected, certainty", [
    ("gpt-5.5", None, AT, ("5", "30", "0.5"), KNOWN),
    ("gpt-5.5", "default", AT, ("5", "30", "0.5"), KNOWN),
    ("gpt-5.5", "priority", AT, ("12.5", "75", "1.25"), KNOWN),
    ("gpt-5.5", "fast", AT, ("12.5", "75", "1.25"), KNOWN),
    ("gpt-5.5", "flex", AT, ("2.5", "15", "0.25"), KNOWN),
    ("gpt-5.5", "batch", AT, ("2.5", "15", "0.25"), KNOWN),
    ("gpt-5.6-sol", "priority", AT, ("8", "40", "0.8"), KNOWN),
    ("gpt-5.6-sol", "priority", SUMMER, ("10", "60", "1"), APPROXIMATE),
    ("gpt-5.3-codex", "fast", AT, ("3.5", "28", "0.35"), KNOWN),
    ("gpt-5.3-codex", "flex", AT, ("1.75", "14", "0.175"), APPROXIMATE),
    ("claude-opus-4-8", "batch", AT, ("2.5", "12.5", "0.25"), KNOWN),
    ("claude-opus-4-1", "batch", AT, ("7.5", "37.5", "0.75"), KNOWN),
    ("claude-opus-4-8", "priority", AT, ("5", "25", "0.5"), APPROXIMATE),
    ("claude-opus-4-8", "standard", AT, ("5", "25", "0.5"), KNOWN),
])  # fmt: skip
def test_a_tier_has_the_rates_that_are_published_for_it_and_an_unknown_one_is_marked(
    model, tier, at, expected, certainty
):
    price = BOOK.quote(model, at, terms=Terms(tier=tier))
    assert per_million(price) == decimals(*expected)
    assert price.certainty is certainty
    assert price.known


def test_priority_excludes_long_context():
    price = BOOK.quote("gpt-5.5", AT, terms=Terms(tier="priority"))
    assert per_million(price, 300_000) == decimals("10", "45", "1")


# support.claude.com/en/articles/15422948 and platform.claude.com pricing: US-only inference from Claude 4.6 on.
@pytest.mark.parametrize("model, geo, expected", [
    ("claude-opus-4-7", "us", ("5.5", "27.5", "0.55")),
    ("claude-sonnet-4-6", "us", ("3.3", "16.5", "0.33")),
    ("claude-opus-4-7", "global", ("5", "25", "0.5")),
    ("claude-opus-4-5", "us", ("5", "25", "0.5")),
    ("gpt-5.5", "us", ("5", "30", "0.5")),
])  # fmt: skip
def test_where_a_response_had_to_be_served_is_part_of_its_price(model, geo, expected):
    assert per_million(BOOK.quote(model, AT, terms=Terms(geo=geo))) == decimals(*expected)


# azure.microsoft.com/pricing: a tenth more in a data zone.
@pytest.mark.parametrize("model, expected", [
    ("azure/us/gpt-5.5", ("5.5", "33")), ("azure/eu/gpt-5.5", ("5.5", "33")), ("azure/gpt-5.5", ("5", "30")),
    ("azure/global/gpt-5.5", ("5", "30")),
])  # fmt: skip
def test_a_data_zone_of_azure_costs_a_tenth_more(model, expected):
    assert per_million(BOOK.quote(model, AT))[:2] == decimals(*expected)


# platform.claude.com/docs context-windows: above 200K twice the input and half more output; resellers alike.
@pytest.mark.parametrize("model, context, expected", [
    ("claude-sonnet-4-20250514", 200_000, ("3", "15")),
    ("claude-sonnet-4-20250514", 200_001, ("6", "22.5")),
    ("claude-sonnet-4-20250514[1m]", 200_001, ("6", "22.5")),
    ("global.anthropic.claude-sonnet-4-5-20250929-v1:0", 200_001, ("6", "22.5")),
    ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", 200_001, ("6.6", "24.75")),
    ("bedrock/openai.gpt-5.5", 272_001, ("11", "49.5")),
    ("gpt-5.6-cyber", 272_001, ("25", "112.5")),
])  # fmt: skip
def test_long_contexts_cost_what_their_maker_asks_wherever_they_are_served(model, context, expected):
    assert per_million(BOOK.quote(model, AT), context)[:2] == decimals(*expected)


# platform.claude.com/docs prompt-caching: reads at a tenth of the input price.
def test_a_claude_without_listed_cache_rates_has_those_of_claude():
    price = BOOK.quote("anthropic.claude-3-opus-20240229-v1:0", AT)
    rates = price.rates
    assert (rates.cache_read_nanos, rates.cache_write_5m_nanos, rates.cache_write_1h_nanos) == (
        1_500_000_000, 18_750_000_000, 30_000_000_000,
    )  # fmt: skip


# api-docs.deepseek.com: V3.2 from 2025-09-29, V4 Flash from 2026-04-24 until both names were retired.
@pytest.mark.parametrize("model", ["deepseek-chat", "deepseek-reasoner"])
@pytest.mark.parametrize("at, expected", [
    (datetime(2026, 1, 5, 12, tzinfo=UTC), ("0.28", "0.42", "0.028")),
    (datetime(2026, 5, 5, 12, tzinfo=UTC), ("0.14", "0.28", "0.0028")),
    (AT, ("0.14", "0.28", "0.0028")),
])  # fmt: skip
def test_a_retired_name_costs_what_stood_behind_it_at_the_time(model, at, expected):
    assert per_million(BOOK.quote(model, at)) == decimals(*expected)


@pytest.mark.parametrize("model, stated_free, free", [
    ("meta-llama/llama-3.3-70b-instruct:free", None, True),  # the router lists it so
    ("deepseek/deepseek-chat-v3.1:free", True, True),  # the client says so
    ("deepseek/deepseek-chat-v3.1:free", None, False),  # nobody says so but the id
    ("meta-llama/llama-3.3-70b-instruct:free", False, False),  # it was billed all the same
    ("opencode/big-pickle", True, True),  # a client's own model
    ("opencode/big-pickle", None, False),
    ("openrouter/anthropic/claude-opus-4.7:free", None, False),
    ("claude-opus-4-7", True, False),  # a subscription's nothing is no price
    ("anthropic/claude-opus-4-7", True, False),
])  # fmt: skip
def test_nothing_is_free_unless_who_would_bill_for_it_states_so(model, stated_free, free):
    price = BOOK.quote(model, AT, terms=Terms(stated_free=stated_free))
    assert (price.cost_nanos(Tokens(1000, 1, 1, 1, 1000)) == 0) is free
    if free:
        assert (price.known, price.source, price.certainty) == (True, "stated", KNOWN)


@pytest.mark.parametrize("text, stated", [
    (None, None), ("0", True), ("0.0", True), ("0e9", True), ("0.0001", False), ("1E-9", False), ("-0.5", False),
    ("", None), ("free", None),
])  # fmt: skip
def test_a_clients_own_figure_says_only_whether_it_was_nothing(text, stated):
    row = ObservedUsage("opencode", "s", "k", AT, "m", Tokens(1), Rule.OPENCODE_BESIDE, native_cost_text=text)
    assert terms_of(row).stated_free is stated
