from __future__ import annotations

from datetime import datetime, time
from decimal import ROUND_CEILING
from itertools import product

import pytest
from genai_prices import Usage, calc_price
from tests.pricing.ids import AT

from tallygate.core.costing import Tokens
from tallygate.pricing.book import PriceBook, PricingSettings
from tallygate.pricing.catalog import Catalog, Listing
from tallygate.pricing.catalog_index import CatalogIndex, bundled_providers, convert
from tallygate.pricing.entries import EQUALS, Model

BOOK = PriceBook(PricingSettings())
SIZES = (0, 1, 999, 200_000, 200_001, 600_000)
USAGES = [
    Tokens(a, b, c, d, e) for a, b, c, d, e in product((0, 7, 150_000), (0, 100_001), (0, 501), (0, 33), (0, 1234))
]


@pytest.mark.parametrize(
    "model, provider",
    [
        ("claude-opus-4-7", "anthropic"),
        ("claude-sonnet-4-5", "anthropic"),
        ("claude-haiku-5-5", "anthropic"),
        ("gpt-5.6-sol", "openai"),
        ("gpt-5-mini", "openai"),
        ("gemini-2.5-pro", "google"),
        ("deepseek-v4-pro", "deepseek"),
        ("kimi-k3", "moonshotai"),
        ("grok-4.7", "x-ai"),
        ("perplexity/sonar-pro", "perplexity"),
    ],
)
@pytest.mark.parametrize("at", [AT, AT.replace(month=3, day=1, hour=2)])
def test_our_cost_is_the_catalogs_own_cost_on_every_usage(model, provider, at: datetime):
    """Its input counts contain the cached tokens, ours do not; its five-minute writes are its plain writes."""
    price = BOOK.quote(model, at)
    for tokens in USAGES:
        usage = Usage(
            input_tokens=tokens.context,
            cache_read_tokens=tokens.cache_read,
            cache_write_tokens=tokens.cache_write_5m + tokens.cache_write_1h,
            cache_write_1h_tokens=tokens.cache_write_1h,
            output_tokens=tokens.output,
        )
        theirs = calc_price(
            usage, model.rpartition("/")[2], provider_id=provider, genai_request_timestamp=at
        ).total_price
        assert price.cost_nanos(tokens) == int((theirs * 10**9).to_integral_value(rounding=ROUND_CEILING))


def converted(id_="some-model", **prices):
    model = Model([id_, None, None, [[prices]]])
    return convert(model, model.prices[0].price)


def test_rates_are_nano_dollars_rounded_upwards():
    rates = converted(input="0.0000000011", output="1").rates
    assert (rates.input_nanos, rates.output_nanos) == (2, 1_000_000_000)


def test_a_missing_cache_price_is_the_input_price():
    rates = converted(input="3", output="15").rates
    assert {rates.cache_read_nanos, rates.cache_write_5m_nanos, rates.cache_write_1h_nanos} == {3 * 10**9}


def test_an_hour_of_claudes_cache_costs_twice_its_input_where_no_price_is_listed():
    prices = {"input": "3", "output": "15", "cache_write": "3.75"}
    assert converted(**prices).rates.cache_write_1h_nanos == 3_750_000_000
    assert converted("anthropic/claude-x", **prices).rates.cache_write_1h_nanos == 6_000_000_000


def test_long_context_rates_replace_all_rates_of_the_request():
    tiered = ["3", [200_000, "6"]]
    found = converted(input=tiered, output="15")
    assert [tier.above_context_tokens for tier in found.tiers] == [200_000]
    assert (found.tiers[0].rates.input_nanos, found.tiers[0].rates.output_nanos) == (6 * 10**9, 15 * 10**9)
    sonnet = BOOK.quote("claude-sonnet-4-5", AT)
    assert sonnet.cost_nanos(Tokens(fresh_input=200_000)) == 600_000_000
    assert sonnet.cost_nanos(Tokens(fresh_input=150_000, cache_read=50_001)) == 930_000_600


def test_a_fee_per_request_is_part_of_the_price():
    assert BOOK.quote("perplexity/sonar-pro", AT).per_request_nanos == 14_000_000


@pytest.mark.parametrize("prices", [{}, {"input": "0", "output": "0"},
                                    {"audio_hours": "3"}])  # fmt: skip
def test_what_is_listed_as_free_or_by_the_hour_has_no_price_here(prices):
    assert converted(**prices) is None


def test_a_class_without_a_price_is_billed_as_the_other_one():
    assert converted(input="0.02").rates.output_nanos == 20_000_000


def test_a_catalog_entry_of_another_version_is_not_taken():
    index = CatalogIndex(bundled_providers())
    assert index.find("anthropic", "claude-opus-4-10") is None
    assert index.find("anthropic", "claude-opus-4-1") is not None


def test_nearly_every_id_the_catalog_lists_resolves_to_its_own_price():
    """Below a hundred in three thousand differ: prefixes that are a maker's and a router's name at once."""
    catalog = Catalog()
    right = wrong = 0
    for provider in bundled_providers():
        for model in provider.models:
            own = catalog.price(Listing(provider.id, model), AT)
            name = model.match[1:] if isinstance(model.match, str) and model.match[0] == EQUALS else None
            if own is None or name is None or provider.id.startswith("huggingface_"):
                continue
            same_name = name.startswith((f"{provider.id}/", "@cf/", "accounts/"))
            got = BOOK.quote(name if same_name else f"{provider.id}/{name}", AT)
            right, wrong = (right + 1, wrong) if got.rates == own.rates else (right, wrong + 1)
    assert right > 1000
    assert wrong < right / 20


def test_prices_change_on_days_or_on_half_hours_of_a_day():
    """A quote is kept for half an hour, which relies on that."""
    models = [model for provider in bundled_providers() for model in provider.models]
    dated = [each for m in models for each in (*m.prices, *(v.dated for v in m.variants))]
    times = [time.fromisoformat(text) for each in dated for text in each.hours or ()]
    assert times
    assert [t for t in times if t.minute % 30 or t.second or t.microsecond] == []
