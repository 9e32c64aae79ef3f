from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.core.errors import SettingsError
from tallygate.pricing.identifiers import identify
from tallygate.pricing.overrides import Discount, PriceOverride, glob_matches, matching_row, override_price

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def row(match: str, rate: int = 1, **more) -> PriceOverride:
    return PriceOverride(match, Decimal(rate), Decimal(rate), **more)


ROWS = (
    row("claude-*", 1),
    row("bedrock:claude-*", 2),
    row("claude-opus-4-7", 3),
    row("claude-opus-4-7", 4, provider="vertex_ai"),
    row("gpt-5*", 5, valid_from=date(2026, 1, 1)),
    row("gpt-5*", 6, valid_from=date(2026, 6, 1), valid_to=date(2026, 12, 1)),
    row("llama3.3:70b", 7),
    row("arn:aws:bedrock:*:application-inference-profile/abc", 8),
)


@pytest.mark.parametrize(
    "model, expected",
    [
        ("claude-haiku-4-5", 1),
        ("us.anthropic.claude-haiku-4-5-v1:0", 2),
        ("bedrock/us.anthropic.claude-opus-4-7-v1:0", 3),  # exact before glob
        ("claude-opus-4.7", 3),
        ("anthropic/claude-opus-4-7-20260416", 3),
        ("vertex_ai/claude-opus-4-7@default", 4),  # the row with the provider before the one without
        ("gpt-5-mini", 6),
        ("llama3.3:70b", 7),
        ("arn:aws:bedrock:us-east-1:1:application-inference-profile/abc", 8),
        ("claude-opus-4-7-fast", 1),
        ("gemini-2.5-pro", None),
    ],
)
def test_the_most_particular_row_holds(model, expected):
    found = matching_row(ROWS, identify(model), NOON)
    assert (found and found.input) == expected


DATED = "gpt-4o-2024-05-13"


@pytest.mark.parametrize(
    "rows, model, expected",
    [
        ((row("gpt-4o", 1),), DATED, 1),  # a date makes no other model, whatever a list asks for it
        ((row(DATED, 5), row("gpt-4o", 1)), DATED, 5),
        ((row("gpt-4o", 1), row(DATED, 5)), DATED, 5),
        ((row(DATED, 5), row("openai:gpt-4o", 1)), DATED, 5),
        ((row(DATED, 5), row("gpt-4o", 1)), f"openai/{DATED}", 5),
        ((row(DATED, 5), row("gpt-4o", 1)), "gpt-4o-2024-08-06", 1),
        ((row(DATED, 5), row("gpt-4o", 1)), "gpt-4o", 1),
        ((row("gpt-4o*", 7), row("gpt-4o", 1)), DATED, 1),
        ((row(DATED, 5),), "gpt-4o", 5),
        ((row("gpt-4o-mini", 5),), DATED, None),
    ],
)
def test_a_price_for_a_model_holds_for_its_dated_ids_until_one_of_them_has_its_own(rows, model, expected):
    found = matching_row(rows, identify(model), NOON)
    assert (found and found.input) == expected


@pytest.mark.parametrize(
    "match, model, holds",
    [
        ("acme/claude-opus-4-7", "acme/claude-opus-4-7", True),
        ("acme/claude-opus-4-7", "openrouter/acme/claude-opus-4.7", True),
        ("acme/claude-opus-4-7", "claude-opus-4-7", False),
        ("acme/claude-opus-4-7", "anthropic/claude-opus-4-7", False),
        ("acme/claude-opus-4-7", "other/claude-opus-4-7", False),
        ("acme/team/x", "team/x", False),
        ("acme/x", "x", False),
        ("anthropic/claude-opus-4-7", "claude-opus-4-7", True),
        ("openai/gpt-5", "gpt-5", True),
        ("litellm/anthropic/claude-opus-4-7", "claude-opus-4.7", True),
        ("openrouter/anthropic/claude-opus-4-7", "claude-opus-4-7", False),
        ("bedrock/claude-opus-4-7", "us.anthropic.claude-opus-4-7-v1:0", True),
        ("x", "acme/x", True),
    ],
)
def test_a_prefix_of_the_users_own_is_part_of_what_a_row_is_for(match, model, holds):
    assert (matching_row((row(match),), identify(model), NOON) is not None) == holds


@pytest.mark.parametrize(
    "at, expected",
    [
        (datetime(2025, 12, 31, 23, 59, tzinfo=UTC), None),
        (datetime(2026, 1, 1, tzinfo=UTC), 5),
        (datetime(2026, 6, 1, tzinfo=UTC), 6),
        (datetime(2026, 12, 1, tzinfo=UTC), 5),
    ],
)
def test_the_latest_row_that_is_valid_on_the_day_holds(at, expected):
    found = matching_row(ROWS, identify("gpt-5"), at)
    assert (found and found.input) == expected


def test_cache_prices_left_out_follow_the_input_price():
    rates = override_price(row("gpt-5", 4), identify("gpt-5"), "override").rates
    assert (rates.cache_read_nanos, rates.cache_write_5m_nanos, rates.cache_write_1h_nanos) == (4 * 10**9,) * 3
    rates = override_price(row("claude-x", 4), identify("claude-x"), "override").rates
    assert (rates.cache_write_5m_nanos, rates.cache_write_1h_nanos) == (5 * 10**9, 8 * 10**9)


@pytest.mark.parametrize(
    "make",
    [
        lambda: row(""),
        lambda: row("x" * 300),
        lambda: row("x", -1),
        lambda: row("x", 1_000_001),
        lambda: PriceOverride("x", Decimal("NaN"), Decimal(1)),
        lambda: row("x", valid_from=date(2026, 1, 2), valid_to=date(2026, 1, 2)),
        lambda: Discount("x", Decimal(0)),
        lambda: Discount("x", Decimal("Infinity")),
    ],
)
def test_rows_that_cannot_be_meant_are_refused(make):
    with pytest.raises(SettingsError):
        make()


@pytest.mark.parametrize(
    "pattern, text, expected",
    [
        ("*", "", True), ("", "", True), ("", "a", False), ("a*", "abc", True), ("*c", "abc", True),
        ("a?c", "abc", True), ("a?c", "ac", False), ("a*b*c", "axxbyyc", True), ("a*b*c", "axxcyyb", False),
        ("claude-opus-4-7[1m]", "claude-opus-4-7[1m]", True), ("[a]", "a", False),
    ],
)  # fmt: skip
def test_stars_and_question_marks_are_the_only_signs(pattern, text, expected):
    assert glob_matches(pattern, text) is expected


@given(st.text("ab", max_size=12), st.text("ab", max_size=12), st.text("ab", max_size=12))
def test_a_glob_finds_whatever_its_stars_stand_for(head, middle, tail):
    assert glob_matches(f"{head}*{tail}", head + middle + tail)


def test_a_glob_of_many_stars_is_answered_at_once():
    assert not glob_matches("*a" * 60 + "b", "a" * 256)
