from __future__ import annotations

import subprocess
import sys
import tomllib
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pricing.ids import AT, CERTAIN, FAMILIES, GUESSED, HOSTILE, LOCAL, RELATIVES, UNKNOWN

from tallygate.core.costing import SERVED_HERE, STANDARD, Certainty, Price, Tokens
from tallygate.core.errors import InvariantBroken, SettingsError
from tallygate.pricing.book import PriceBook, PricingSettings
from tallygate.pricing.exchange import CONFIGURED, ExchangeBook, Rate
from tallygate.pricing.overrides import Discount, PriceOverride

BOOK = PriceBook(PricingSettings())
PAID = (*CERTAIN, *GUESSED, *UNKNOWN, *HOSTILE)
COUNTS = st.integers(0, 1_000_000)
TOKENS = st.builds(Tokens, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)


def dollars(price: Price) -> tuple[Decimal, Decimal]:
    return Decimal(price.rates.input_nanos) / 10**9, Decimal(price.rates.output_nanos) / 10**9


@pytest.mark.parametrize("model, expected", CERTAIN.items())
def test_every_spelling_of_a_model_gets_its_price_without_a_doubt(model, expected):
    price = BOOK.quote(model, AT)
    assert dollars(price) == tuple(map(Decimal, expected))
    assert (price.known, price.approximate, price.warning) == (True, False, None)
    assert price.source in ("genai-prices", "tallygate")


@pytest.mark.parametrize("model, expected", GUESSED.items())
def test_a_guess_is_marked_and_says_what_was_guessed(model, expected):
    price = BOOK.quote(model, AT)
    assert dollars(price) == tuple(map(Decimal, expected))
    assert (price.known, price.approximate) == (True, True)
    assert price.warning


@pytest.mark.parametrize("model", LOCAL)
@pytest.mark.parametrize(
    "settings, terms",
    [
        (PricingSettings(), SERVED_HERE),
        (PricingSettings(local_is_said=True), STANDARD),
        (PricingSettings(local_models=tuple(each.upper() for each in LOCAL)), STANDARD),
    ],
    ids=["the client says so", "the user names the channel", "the user names the model"],
)
def test_local_runtimes_cost_nothing_where_the_client_or_the_user_says_so(model, settings, terms):
    price = PriceBook(settings).quote(model, AT, terms=terms)
    assert (price.source, price.known, price.cost_nanos(Tokens(1000, 1, 1, 1, 1000))) == ("local", True, 0)


@pytest.mark.parametrize("model", LOCAL)
def test_an_id_alone_makes_nothing_free(model):
    price = PriceBook(PricingSettings(local_models=("ollama/another",))).quote(model, AT)
    assert (price.known, price.approximate) == (False, True)
    assert price.cost_nanos(Tokens(1000, 1, 1, 1, 1000)) > 0
    pasted = tomllib.loads(price.warning.partition("config.toml:\n")[2])["pricing"]["local_channels"]
    assert (
        PriceBook(PricingSettings(local_channels=tuple(pasted), local_is_said=True)).quote(model, AT).source == "local"
    )


def test_what_is_served_elsewhere_is_not_free_whoever_says_it_runs_here():
    for model in ("claude-opus-4-7", "ollama/claude-opus-4-7", "ollama/gpt-oss:120b-cloud", "gpt-5"):
        price = PriceBook(PricingSettings(local_is_said=True)).quote(model, AT, terms=SERVED_HERE)
        assert price.cost_nanos(Tokens(1000, output=1000)) > 0, model


@pytest.mark.parametrize("model", UNKNOWN)
def test_an_unknown_model_is_assumed_with_the_line_that_would_settle_it(model):
    price = BOOK.quote(model, AT)
    assert (price.known, price.source) == (False, "assumed")
    assert f'[[price]]\nmatch = "{model[:70]}' in price.warning
    assert price.warning.endswith("\ninput = ...  # dollars per million tokens\noutput = ..."), "nobody bills a guess"
    assert BOOK.known_price(model, AT) is None


@pytest.mark.parametrize("model", HOSTILE)
def test_hostile_ids_get_a_price_and_a_harmless_message(model):
    price = BOOK.quote(model, AT)
    assert price.rates.input_nanos > 0
    for word in (price.warning or "", price.key):
        assert all(c.isprintable() or c == "\n" for c in word)
        assert len(word) < 700


@pytest.mark.parametrize("model, relative", RELATIVES.items())
def test_an_unlisted_model_costs_what_its_nearest_relative_costs_and_says_so(model, relative):
    price = BOOK.quote(model, AT)
    assert (price.key, price.known, price.certainty) == (relative, False, Certainty.APPROXIMATE)
    assert relative in price.warning
    assert f'[[price]]\nmatch = "{model}' in price.warning


@pytest.mark.parametrize("model, newest", FAMILIES.items())
def test_the_name_of_a_family_means_the_newest_of_it(model, newest):
    price = BOOK.quote(model, AT)
    assert (price.key, price.known, price.certainty) == (newest, True, Certainty.APPROXIMATE)


@pytest.mark.parametrize("maker, models", [("anthropic", ("claude-2", "claude-opus-4-1")), ("openai", ("gpt-4",))])
def test_an_assumed_price_is_one_current_models_and_not_that_of_a_retired_one(maker, models):
    assumed = BOOK.quote(f"{maker}/zzz", AT)
    assert assumed.certainty is Certainty.ASSUMED
    listed = {model.price.key: model.price for model in BOOK.catalog.models(AT)}
    assert listed[assumed.key].rates == assumed.rates
    assert not {assumed.key} & {f"{maker}:{model}" for model in models}


def test_a_model_of_no_known_maker_costs_the_configured_rate():
    settings = PricingSettings(
        unknown_input_per_thousand=Decimal("0.01"),
        unknown_output_per_thousand=Decimal("0.02"),
        unknown_exchange=Rate(1_500_000_000, date(2026, 11, 1), CONFIGURED, "GBP"),
    )
    price = PriceBook(settings).quote("totally-new-model", AT)
    assert dollars(price) == (Decimal(15), Decimal(30))
    assert price.version == "1 GBP = 1.5 USD (configured rate of 2026-11-01)"


def test_without_a_rate_of_its_own_the_unknown_price_is_exchanged_at_the_rate_of_the_day():
    on_sunday = datetime(2014, 3, 30, tzinfo=UTC)
    price = BOOK.quote("totally-new-model", on_sunday)
    assert price.version == "1 GBP = 1.66332205 USD (ECB reference rate of 2014-03-28)"
    assert dollars(price) == (Decimal("41.58305125"), Decimal("41.58305125"))
    own = ExchangeBook({"GBP": Rate(2_000_000_000, date(2026, 11, 1), CONFIGURED, "GBP")})
    assert dollars(PriceBook(PricingSettings(), exchange=own).quote("totally-new-model", AT)) == (50, 50)


@pytest.mark.parametrize("year", [1970, 1998, 2026, 9999])
def test_an_unknown_model_has_a_price_whatever_time_a_caller_names(year):
    assert BOOK.quote("totally-new-model", datetime(year, 1, 2, tzinfo=UTC)).rates.input_nanos > 0


def test_an_unknown_price_in_dollars_is_what_it_says():
    settings = PricingSettings(unknown_currency="USD", unknown_input_per_thousand=Decimal("0.02"))
    assert dollars(PriceBook(settings).quote("totally-new-model", AT)) == (20, 25)


@pytest.mark.parametrize("rate", ["0", "-1", "NaN", "Infinity", "1001"])
def test_the_unknown_rate_can_never_be_nothing(rate):
    with pytest.raises(SettingsError):
        PricingSettings(unknown_input_per_thousand=Decimal(rate))


@given(st.sampled_from(PAID), TOKENS, TOKENS)
def test_more_tokens_never_cost_less_within_one_context_tier(model, some, more):
    price = BOOK.quote(model, AT)
    both = some + more
    if price.rates_for(some.context) == price.rates_for(both.context):
        assert price.cost_nanos(both) >= price.cost_nanos(some) >= 0


@given(st.sampled_from(PAID), TOKENS)
def test_a_paid_model_never_costs_nothing(model, tokens):
    if tokens.total > 0:
        assert BOOK.quote(model, AT).cost_nanos(tokens) > 0


@given(st.text(max_size=300))
def test_no_text_gets_a_price_of_zero_unless_it_names_a_local_runtime(model):
    price = BOOK.quote(model, AT)
    assert price.source == "local" or price.rates.input_nanos > 0


def test_a_rule_of_the_user_wins_over_everything():
    book = PriceBook(
        PricingSettings(
            overrides=(
                PriceOverride("claude-opus-*", Decimal(7), Decimal(8)),
                PriceOverride("claude-opus-4-7", Decimal(1), Decimal(2)),
                PriceOverride("mycorp/thing", Decimal(0), Decimal(0)),
            )
        )
    )
    assert dollars(book.quote("anthropic/claude-opus-4.7", AT)) == (1, 2)
    assert dollars(book.quote("claude-opus-4-8", AT)) == (7, 8)
    free = book.quote("mycorp/thing", AT)
    assert (dollars(free), free.known, free.source) == ((0, 0), True, "override")


def test_a_discount_cuts_list_prices_and_shows_in_the_basis():
    book = PriceBook(PricingSettings(discounts=(Discount("claude-*", Decimal("0.85")),)))
    price = book.quote("claude-opus-4-7", AT)
    assert dollars(price) == (Decimal("4.25"), Decimal("21.25"))
    assert price.version == f"{BOOK.catalog.version} x0.85"
    assert dollars(book.quote("gpt-5", AT)) == dollars(BOOK.quote("gpt-5", AT))
    assert dollars(book.quote("claude-opus-9", AT)) == dollars(BOOK.quote("claude-opus-9", AT))


def test_an_alias_stands_for_its_target_and_for_nothing_else():
    book = PriceBook(PricingSettings(aliases=(("Opus", "claude-opus-5-5"), ("claude-opus-5-5", "gpt-5"))))
    assert book.quote("opus", AT).key == "anthropic:claude-opus-5-5"
    assert not book.quote("opus-classic", AT).known


@pytest.mark.parametrize(
    "model, at, expected",
    [
        ("gpt-5.6-sol", datetime(2026, 8, 20, tzinfo=UTC), ("5", "30")),
        ("gpt-5.6-sol", datetime(2026, 8, 21, tzinfo=UTC), ("4", "20")),
        ("gpt-5.6-sol", datetime(2026, 8, 21, 1, tzinfo=timezone(timedelta(hours=2))), ("5", "30")),
        ("gemini-3.8-flash", datetime(2026, 12, 31, tzinfo=UTC), ("0.75", "3.75")),
        ("gemini-3.8-flash", datetime(2027, 1, 1, tzinfo=UTC), ("1.5", "7.5")),
        ("deepseek-v4-pro", datetime(2026, 11, 22, 2, tzinfo=UTC), ("1.32", "3.96")),
        ("deepseek-v4-pro", datetime(2026, 11, 22, 5, tzinfo=UTC), ("0.66", "1.98")),
        ("deepseek-v4-pro", datetime(2026, 11, 22, 9, 59, 59, tzinfo=UTC), ("1.32", "3.96")),
        ("deepseek-v4-pro", datetime(2026, 11, 22, 10, tzinfo=UTC), ("0.66", "1.98")),
    ],
)
def test_prices_are_those_of_the_day_and_hour_of_the_call(model, at, expected):
    assert dollars(BOOK.quote(model, at)) == tuple(map(Decimal, expected))


def test_a_dated_price_says_since_when_it_holds():
    assert BOOK.quote("gpt-5.6-sol", AT).valid_from == "2026-08-21"


def test_a_time_without_a_zone_is_a_mistake():
    with pytest.raises(InvariantBroken):
        BOOK.quote("gpt-5", datetime(2026, 1, 1))  # noqa: DTZ001


def test_a_quote_is_kept_for_its_half_hour_and_memory_stays_bounded():
    book = PriceBook(PricingSettings())
    assert book.quote("gpt-5", AT) is book.quote("gpt-5", AT.replace(minute=AT.minute // 30 * 30 + 29, second=59))
    assert book.quote("x" * 100_000, AT).key == "unknown"
    for i in range(5000):
        book.quote(f"local/{i}", AT)
    assert book._by_half_hour.cache_info().currsize <= 4096


def test_the_list_shows_the_users_rows_then_ours_then_the_catalog():
    row = PriceOverride("claude-opus-4-7", Decimal(1), Decimal(2), provider="bedrock", valid_from=date(2026, 1, 1))
    listed = list(PriceBook(PricingSettings(overrides=(row,))).models(AT))
    assert [(m.provider, m.id) for m in listed[:2]] == [("bedrock", "claude-opus-4-7"), ("deepseek", "deepseek-chat")]
    assert len(listed) > 2000
    assert all(m.price.rates.input_nanos > 0 for m in listed)


def test_the_catalog_tells_its_version_and_age():
    info = BOOK.info(AT)
    assert (info.source, info.version) == ("genai-prices", BOOK.catalog.version)
    assert info.newest_price is not None
    assert info.age_days is not None
    assert info.models > 2000


@pytest.mark.parametrize("module", ["book", "tokens"])
def test_importing_the_book_leaves_the_heavy_libraries_alone(module):
    """A client hook imports this in a fresh process on every tool call."""
    program = (
        f"import sys, tallygate.pricing.{module}\n"
        "print([m for m in ('genai_prices', 'tiktoken', 'pydantic', 'requests') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True,
                         env={"PYTHONPATH": ":".join(p for p in sys.path if p)})  # fmt: skip
    assert out.stdout.strip() == "[]"


def test_the_lines_for_an_unlisted_provider_leave_the_prices_of_others_alone():
    lines = BOOK.to_paste("acme/gpt-5.4", AT)
    [row] = tomllib.loads(lines)["price"]
    assert row.pop("provider") == "acme"
    rates = {name: Decimal(str(row[name])) * 2 for name in ("input", "output")}
    book = PriceBook(PricingSettings(overrides=(PriceOverride(row["match"], provider="acme", **rates),)))
    assert book.quote("acme/gpt-5.4", AT).certainty is Certainty.KNOWN
    for other in ("gpt-5.4", "openai/gpt-5.4"):
        assert book.quote(other, AT) == BOOK.quote(other, AT)
