from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.core.errors import InvalidArgument
from tallygate.core.money import exact_text, format_amount
from tallygate.core.typed import moment_us, span_us, typed_amount, typed_count

NOW = datetime(2026, 3, 15, 14, 30, tzinfo=UTC)
NOW_US = int(NOW.timestamp()) * 1_000_000
HOUR_US = 3_600_000_000


@pytest.mark.parametrize(
    "text, unit, nanos",
    [
        ("5", "USD", 5_000_000_000),
        ("$5", "USD", 5_000_000_000),
        ("5.00", "USD", 5_000_000_000),
        ("7,50", "USD", 7_500_000_000),
        ("$7,5", "USD", 7_500_000_000),
        ("$ 7.50", "USD", 7_500_000_000),
        ("5 USD", "USD", 5_000_000_000),
        ("usd5", "USD", 5_000_000_000),
        ("5€", "EUR", 5_000_000_000),
        ("£0.5", "GBP", 500_000_000),
        ("5 CHF", "CHF", 5_000_000_000),
        (".5", "USD", 500_000_000),
        ("0,125", "USD", 125_000_000),
        ("1.000", "USD", 1_000_000_000),
        ("1,000.00", "USD", 1_000_000_000_000),
        ("1.000,50", "USD", 1_000_500_000_000),
        ("1234,567", "USD", 1_234_567_000_000),
        ("1,000,000", "USD", 1_000_000_000_000_000),
        ("1.5k", "USD", 1_500_000_000_000),
        ("0.000000001", "USD", 1),
    ],
)
def test_an_amount_is_understood_as_people_write_it(text, unit, nanos):
    assert typed_amount("--limit", text, unit) == nanos


@pytest.mark.parametrize(
    "text, said",
    [
        ("1,000", "can be read as 1000 or as 1.0: write one of these."),
        ("$12,345", "can be read as 12345 or as 12.345: write one of these."),
        ("€5", "is an amount of USD here"),
        ("5 GBP", "is an amount of USD here"),
        ("five", "must be an amount such as 2.50 or $2.50"),
        ("", "must be an amount such as 2.50 or $2.50"),
        ("1e3", "must be an amount such as 2.50 or $2.50"),
        ("nan", "must be an amount such as 2.50 or $2.50"),
        ("1,00.00", "must be an amount such as 2.50 or $2.50"),
        ("1,0000,000", "must be an amount such as 2.50 or $2.50"),
        ("\u0665", "must be an amount such as 2.50 or $2.50"),
        ("9" * 41, "must be an amount such as 2.50 or $2.50"),
        ("-5", "must be more than 0"),
        ("0", "must be more than 0"),
        ("2M", "must be at most 1,000,000"),
    ],
)
def test_an_amount_that_is_none_or_two_is_refused_by_option_and_form(text, said):
    with pytest.raises(InvalidArgument) as refused:
        typed_amount("--limit", text)
    assert refused.value.message.startswith("--limit ")
    assert said in refused.value.message


@pytest.mark.parametrize(
    "text, count",
    [
        ("2k", 2_000),
        ("100 K", 100_000),
        ("100k tokens", 100_000),
        ("1.5M", 1_500_000),
        ("1,5M", 1_500_000),
        ("12,000", 12_000),
        ("1.500.000", 1_500_000),
        ("12_000", 12_000),
        ("2.50k", 2_500),
        ("0", 0),
    ],
)
def test_a_count_is_understood_as_people_write_it(text, count):
    assert typed_count("OUTPUT", text, "tokens") == count
    if count:
        assert typed_amount("AMOUNT", text, "tokens") == count


@pytest.mark.parametrize("text", ["1.5", "1.0005k", "1.000", "1,500k", "-1", "$5", "k", "", "many", "1000T", "9" * 16])
def test_a_count_that_is_none_is_refused_by_option_and_form(text):
    with pytest.raises(InvalidArgument, match=r"^OUTPUT .*"):
        typed_count("OUTPUT", text, "tokens")


@given(st.integers(1, 10**15))
def test_what_the_program_shows_and_writes_of_an_amount_can_be_typed(nanos):
    assert typed_amount("--limit", exact_text(nanos)) == nanos
    cents = nanos // 10**7 * 10**7
    if cents:
        assert typed_amount("--limit", format_amount(cents)) == cents


@given(st.text(max_size=12))
def test_no_text_is_more_than_a_refusal(text):
    for parse in (typed_amount, lambda name, text: typed_count(name, text, "tokens")):
        with suppress(InvalidArgument):
            assert parse("--limit", text) >= 0


@pytest.mark.parametrize(
    "text, zone, since, until",
    [
        ("today", "UTC", "2026-03-15T00:00+00:00", "2026-03-16T00:00+00:00"),
        ("Yesterday", "UTC", "2026-03-14T00:00+00:00", "2026-03-15T00:00+00:00"),
        ("yesterday", "Asia/Tokyo", "2026-03-14T00:00+09:00", "2026-03-15T00:00+09:00"),
        ("7d", "UTC", "2026-03-08T00:00+00:00", "2026-03-08T00:00+00:00"),
        ("2026-03-01", "UTC", "2026-03-01T00:00+00:00", "2026-03-02T00:00+00:00"),
        ("36h", "UTC", "2026-03-14T02:30+00:00", "2026-03-14T02:30+00:00"),
    ],
)
def test_a_moment_is_a_day_a_time_or_how_long_ago(text, zone, since, until):
    for end, told in ((False, since), (True, until)):
        at = int(datetime.fromisoformat(told).timestamp()) * 1_000_000
        assert moment_us("--since", text, NOW_US, ZoneInfo(zone), end=end) == at


def test_a_day_ago_begins_where_it_began_although_the_clocks_were_changed_since():
    now = int(datetime(2026, 3, 30, 12, tzinfo=UTC).timestamp()) * 1_000_000
    begun = datetime(2026, 3, 28, tzinfo=ZoneInfo("Europe/Berlin"))
    for text in ("2d", "2026-03-28"):
        assert moment_us("--since", text, now, ZoneInfo("Europe/Berlin")) == int(begun.timestamp()) * 1_000_000


@pytest.mark.parametrize("text", ["tomorrow", "7", "", "d7", "2026-13-01"])
def test_a_moment_that_is_none_is_refused_by_option_and_form(text):
    with pytest.raises(InvalidArgument, match=r"--since: .* is no moment: give a date .*yesterday"):
        moment_us("--since", text, NOW_US, UTC)


@pytest.mark.parametrize("text, hours", [("1h", 1), ("90m", 1.5), ("1h30m", 1.5), ("1d", 24), ("24H", 24)])
def test_a_span_is_of_days_hours_and_minutes(text, hours):
    assert span_us("--for", text, most_us=24 * HOUR_US) == hours * HOUR_US


@pytest.mark.parametrize("text", ["", "0h", "25h", "2d", "1", "forever", "-1h", "1.5h", "999999m"])
def test_a_span_is_never_nothing_nor_longer_than_it_may_be(text):
    with pytest.raises(InvalidArgument, match=r"--for must be a time such as 30m, 1h or 24h at most"):
        span_us("--for", text, most_us=24 * HOUR_US)
