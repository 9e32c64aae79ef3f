"""Windows of periods: midnights, month ends, the days on which clocks are changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.core.errors import InvalidArgument
from tallygate.core.gate.rules import PIECES, parse_period, piece_of, rolling_us, window_of
from tallygate.core.moments import as_datetime, microseconds

LONDON = ZoneInfo("Europe/London")
HOUR = 3_600_000_000


def us(text, zone=UTC):
    return microseconds(datetime.fromisoformat(text).replace(tzinfo=zone))


@pytest.mark.parametrize(
    "period, zone, at, name, start, end",
    [
        ("day", UTC, "2026-11-22T00:00:00", "2026-11-22", "2026-11-22T00:00", "2026-11-23T00:00"),
        ("day", UTC, "2026-11-22T23:59:59.999999", "2026-11-22", "2026-11-22T00:00", "2026-11-23T00:00"),
        ("week", UTC, "2026-11-22T12:00:00", "2026-11-16", "2026-11-16T00:00", "2026-11-23T00:00"),
        ("month", UTC, "2026-12-31T23:00:00", "2026-12-01", "2026-12-01T00:00", "2027-01-01T00:00"),
        ("month", UTC, "2028-02-29T23:00:00", "2028-02-01", "2028-02-01T00:00", "2028-03-01T00:00"),
        # London's clocks go forward on 29 March 2026 at 01:00 UTC and back on 25 October 2026 at 01:00 UTC.
        ("day", LONDON, "2026-03-29T12:00:00", "2026-03-29", "2026-03-29T00:00", "2026-03-29T23:00"),
        ("day", LONDON, "2026-10-25T12:00:00", "2026-10-25", "2026-10-24T23:00", "2026-10-26T00:00"),
        ("day", LONDON, "2026-07-01T23:30:00", "2026-07-02", "2026-07-01T23:00", "2026-07-02T23:00"),
        ("week", LONDON, "2026-03-29T12:00:00", "2026-03-23", "2026-03-23T00:00", "2026-03-29T23:00"),
        ("month", LONDON, "2026-10-31T12:00:00", "2026-10-01", "2026-09-30T23:00", "2026-11-01T00:00"),
    ],
)
def test_a_moment_lies_in_the_window_of_its_local_day(period, zone, at, name, start, end):
    window = window_of(period, us(at), zone)
    assert (window.name, window.start_us, window.end_us) == (name, us(start), us(end))


def test_a_day_has_as_many_hours_as_the_clocks_leave_it():
    def hours(day):
        window = window_of("day", us(f"{day}T12:00:00"), LONDON)
        return (window.end_us - window.start_us) // HOUR

    assert [hours(day) for day in ("2026-03-28", "2026-03-29", "2026-10-25", "2026-10-26")] == [24, 23, 25, 24]


ZONES = st.sampled_from(
    [ZoneInfo(name) for name in ("UTC", "Europe/London", "America/Sao_Paulo", "Asia/Kathmandu", "Pacific/Apia",
                                 "Africa/Cairo", "America/Havana", "Asia/Beirut", "Antarctica/Troll")]
)  # fmt: skip
MOMENTS = st.integers(1_100_000_000_000_000, 2_050_000_000_000_000)  # 2004 to 2034


@given(period=st.sampled_from(["day", "week", "month"]), zone=ZONES, at=MOMENTS)
def test_windows_follow_one_another_without_gap_or_overlap(period, zone, at):
    window = window_of(period, at, zone)
    assert window.start_us <= at < window.end_us
    assert window_of(period, window.start_us, zone) == window
    assert window_of(period, window.end_us - 1, zone) == window
    following = window_of(period, window.end_us, zone)
    assert following.start_us == window.end_us
    assert following.name > window.name


def test_a_window_that_never_ends_holds_every_moment():
    assert window_of("never", us("2026-11-22T00:00:00"), UTC) == window_of("never", 0, UTC)
    assert window_of("never", 0, UTC).end_us is None


@given(hours=st.integers(1, 8784), at=MOMENTS)
def test_the_pieces_of_a_rolling_period_are_equal_and_cover_it(hours, at):
    period = f"{hours}h"
    piece = piece_of(period, at)
    assert piece.start_us <= at < piece.end_us
    assert (piece.end_us - piece.start_us) * PIECES == rolling_us(period)
    assert piece_of(period, piece.end_us).start_us == piece.end_us


@pytest.mark.parametrize("text", ["session", "day", "week", "month", "never", "1h", "5h", "8784h"])
def test_the_periods_that_can_be_written(text):
    assert parse_period(text) == text


@pytest.mark.parametrize("text", ["", "year", "Day", "0h", "-1h", "5 h", "05h", "8785h", "99999h", "5m", "day\n"])
def test_other_words_are_no_period(text):
    with pytest.raises(InvalidArgument, match="period must be"):
        parse_period(text)


def test_a_year_of_days_has_all_its_hours():
    at, days = us("2026-01-01T12:00:00"), 0
    start = window_of("day", at, LONDON).start_us
    while (window := window_of("day", at, LONDON)).name < "2027-01-01":
        at, days = window.end_us, days + 1
    assert days == 365
    assert as_datetime(start) + timedelta(days=365) == as_datetime(window.start_us)
