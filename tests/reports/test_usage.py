"""Sums of the ledger as days, weeks, months and lines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tallygate.core.costing import Certainty, Tokens
from tallygate.core.sums import UsageSum
from tallygate.reports.usage import By, line_of, lines_of, ordered, period_of, total_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def us(text: str) -> int:
    return (datetime.fromisoformat(text).astimezone(UTC) - EPOCH) // timedelta(microseconds=1)


def summed(model="m", nanos=10, *, key=(), price="p", last="2026-03-01T10:00+00:00", **more):
    at = us(last)
    return UsageSum(
        key=key,
        model=model,
        price_id=price,
        responses=more.pop("responses", 1),
        partial=more.pop("partial", 0),
        tokens=more.pop("tokens", Tokens(1, 2, 3, 4, 5)),
        reasoning=0,
        web_searches=0,
        nanos=nanos,
        missing_output=0,
        first_us=at,
        last_us=at,
    )


# A moment, the zone, and the period it belongs to: label, first moment, length in hours.
@pytest.mark.parametrize(
    ("at", "by", "zone", "label", "start", "hours"),
    [
        ("2026-03-01T10:00+00:00", By.DAY, "UTC", "2026-03-01", "2026-03-01T00:00+00:00", 24),
        ("2026-03-01T23:30+00:00", By.DAY, "Asia/Tokyo", "2026-03-02", "2026-03-01T15:00+00:00", 24),
        ("2026-03-01T00:15+00:00", By.DAY, "Asia/Kathmandu", "2026-03-01", "2026-02-28T18:15+00:00", 24),
        # Summer time begins and ends: a day of 23 hours and one of 25, a week of 167 and one of 169.
        ("2026-03-29T12:00+00:00", By.DAY, "Europe/Berlin", "2026-03-29", "2026-03-28T23:00+00:00", 23),
        ("2026-10-25T12:00+00:00", By.DAY, "Europe/Berlin", "2026-10-25", "2026-10-24T22:00+00:00", 25),
        ("2026-10-25T22:59+00:00", By.DAY, "Europe/Berlin", "2026-10-25", "2026-10-24T22:00+00:00", 25),
        ("2026-03-25T12:00+00:00", By.WEEK, "Europe/Berlin", "2026-W13", "2026-03-22T23:00+00:00", 167),
        ("2026-10-20T12:00+00:00", By.WEEK, "Europe/Berlin", "2026-W43", "2026-10-18T22:00+00:00", 169),
        # Midnight itself is skipped in Beirut, and happens twice in Havana.
        ("2026-03-29T12:00+00:00", By.DAY, "Asia/Beirut", "2026-03-29", "2026-03-28T22:00+00:00", 23),
        ("2026-11-01T04:30+00:00", By.DAY, "America/Havana", "2026-11-01", "2026-11-01T04:00+00:00", 25),
        ("2026-11-01T05:30+00:00", By.DAY, "America/Havana", "2026-11-01", "2026-11-01T04:00+00:00", 25),
        # The ISO year of a week is that of its Thursday.
        ("2027-01-01T12:00+00:00", By.WEEK, "UTC", "2026-W53", "2026-12-28T00:00+00:00", 168),
        ("2024-12-30T12:00+00:00", By.WEEK, "UTC", "2025-W01", "2024-12-30T00:00+00:00", 168),
        ("2028-02-29T12:00+00:00", By.MONTH, "UTC", "2028-02", "2028-02-01T00:00+00:00", 29 * 24),
        ("2026-12-31T23:30+00:00", By.MONTH, "Asia/Tokyo", "2027-01", "2026-12-31T15:00+00:00", 31 * 24),
        ("2026-03-31T12:00+00:00", By.MONTH, "Europe/Berlin", "2026-03", "2026-02-28T23:00+00:00", 31 * 24 - 1),
    ],
)
def test_a_moment_belongs_to_a_day_a_week_and_a_month_of_the_users_zone(at, by, zone, label, start, hours):
    found = period_of(us(at), by, ZoneInfo(zone))
    assert (found.label, found.start_us) == (label, us(start))
    assert found.end_us - found.start_us == hours * 3_600_000_000


@pytest.mark.parametrize("by", [By.DAY, By.WEEK, By.MONTH])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Santiago", "Pacific/Apia"])
def test_periods_follow_one_another_without_a_gap(by, zone):
    at, end = us("2026-01-01T00:00+00:00"), us("2027-03-01T00:00+00:00")
    period = period_of(at, by, ZoneInfo(zone))
    while period.end_us < end:
        following = period_of(period.end_us, by, ZoneInfo(zone))
        assert following.start_us == period.end_us
        assert period_of(period.end_us - 1, by, ZoneInfo(zone)) == period
        period = following


@pytest.mark.parametrize("year", ["0001-01-01T00:00+00:00", "9999-12-31T23:59+00:00"])
def test_times_that_nobody_was_there_to_write_are_one_period(year):
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):
        found = period_of(us(year), By.DAY, ZoneInfo(zone))
        assert found.start_us <= us(year) < found.end_us
        assert found.end_us - found.start_us > 2**60


def test_a_line_adds_up_its_models_the_dearest_first():
    line = line_of(
        ("2026-03-01",),
        [summed("a", 5), summed("b", 20, partial=1), summed("a", 6, price="q")],
        {"q": Certainty.ASSUMED},
    )
    assert line.key == ("2026-03-01",)
    assert list(line.models) == ["b", "a"]
    assert (line.whole.responses, line.whole.partial, line.whole.nanos) == (3, 1, 31)
    assert line.whole.tokens == Tokens(3, 6, 9, 12, 15)


def test_what_an_assumed_price_made_of_it_is_kept_apart():
    line = line_of(("x",), [summed("a", 5), summed("b", 20, price="q", responses=3)], {"q": Certainty.ASSUMED})
    assert (line.whole.assumed, line.whole.assumed_nanos) == (3, 20)
    assert line.models["a"].assumed == 0


def test_a_sum_is_known_approximate_and_assumed_apart():
    sure = {"q": Certainty.ASSUMED, "r": Certainty.APPROXIMATE, "s": Certainty.KNOWN}
    sums = [summed("a", 5, price="s"), summed("b", 20, price="q"), summed("c", 3, price="r", responses=2)]
    whole = line_of(("x",), sums, sure).whole
    assert (whole.known_nanos, whole.approximate_nanos, whole.assumed_nanos, whole.nanos) == (5, 3, 20, 28)
    assert (whole.approximate, whole.certainty) == (2, Certainty.ASSUMED)


def test_lines_of_a_key_keep_their_models_together():
    sums = [summed("a", 5, key=("p1",)), summed("b", 6, key=("p1",)), summed("a", 7, key=(None,))]
    lines = lines_of(sums, By.PROJECT, {})
    assert [(line.key, line.whole.nanos) for line in lines] == [(("p1",), 11), ((None,), 7)]


def test_by_model_every_model_is_a_line():
    lines = lines_of([summed("a", 5), summed("b", 6), summed("a", 7, price="q")], By.MODEL, {})
    assert [(line.key, line.whole.nanos) for line in lines] == [(("a",), 12), (("b",), 6)]


@pytest.mark.parametrize(
    ("by", "expected"), [(By.PROJECT, ["dear", "cheap"]), (By.SESSION, ["cheap", "dear"]), (By.DAY, ["cheap", "dear"])]
)
def test_lines_stand_in_the_order_their_key_asks_for(by, expected):
    lines = [
        line_of(("cheap",), [summed(nanos=1, last="2026-03-02T00:00+00:00")], {}),
        line_of(("dear",), [summed(nanos=9, last="2026-03-01T00:00+00:00")], {}),
    ]
    assert [line.key[0] for line in ordered(lines, by)] == expected


def test_the_total_is_that_of_all_lines():
    lines = [line_of(("x",), [summed("a", 5)], {}), line_of(("y",), [summed("a", 6), summed("b", 1)], {})]
    total = total_of(lines)
    assert (total.whole.nanos, list(total.models)) == (12, ["a", "b"])


def test_no_lines_add_up_to_nothing():
    assert (total_of([]).whole.responses, total_of([]).models) == (0, {})
