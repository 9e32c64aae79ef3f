"""A first read takes many responses at once: each at its own price, and each into the windows that count it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reading_rules import Rule
from tests.world import changed, make_world

from tallygate.core.costing import Tokens
from tallygate.core.usage import ObservedUsage, priced_as, terms_of
from tallygate.operations.usage.ingest import Pricer
from tallygate.pricing.book import PriceBook
from tallygate.pricing.overrides import ANYWHERE

ROW = ObservedUsage(
    client="codex",
    session="s",
    response_key="k",
    at=datetime(2026, 8, 20, tzinfo=UTC),
    model="gpt-5.5",
    tokens=Tokens(1_000, 300_000, 0, 0, 100),
    rule=Rule.CODEX_LAST,
)


def mostly(usual, *others):
    return st.sampled_from([usual] * 3 * len(others) + list(others))


rows = st.lists(
    st.builds(
        replace,
        st.just(ROW),
        model=st.sampled_from(["gpt-5.6-sol", "claude-opus-4-6", "deepseek-chat", ""]),
        # Around the half hours of the days on which these prices change.
        at=st.builds(
            lambda day, quarter: day + timedelta(minutes=15 * quarter),
            st.sampled_from([datetime(2026, 8, 21, tzinfo=UTC), datetime(2026, 3, 13, tzinfo=UTC)]),
            st.integers(-2, 1),
        ),
        tier=mostly(None, "priority", "flex"),
        geo=mostly(None, "us"),
        speed=mostly(None, "fast"),
        provider=mostly(None, "azure", "openrouter", "ollama"),
        native_cost_text=mostly(None, "0", "0.25"),
        tokens=st.sampled_from([Tokens(1_000, 0, 0, 0, 10), Tokens(1_000, 300_000, 0, 0, 100)]),
    ),
    min_size=2,
    max_size=30,
)


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    made = make_world(tmp_path_factory.mktemp("listed"))
    made.rt = changed(made.rt, prices=PriceBook(made.rt.workspace.prices.settings))
    yield made
    made.ledger.close()


@settings(max_examples=150)
@given(rows=rows)
def test_every_response_of_a_commit_has_the_price_that_it_has_by_itself(listed, rows):
    pricer = Pricer(listed.rt)
    for row in rows:
        price = listed.rt.workspace.prices.quote(priced_as(row), row.at, ANYWHERE, terms_of(row))
        assert pricer.priced(row)[0].cost_nanos == price.cost_nanos(row.tokens)
        window = listed.rt.workspace.prices.context_window(priced_as(row), row.at)
        assert pricer.within(row).tokens.cache_read == min(row.tokens.cache_read, max(window, 100_000))
