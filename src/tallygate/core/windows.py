"""The windows of a period: which one a moment lies in, where it begins and ends, in the user's own time zone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo

from tallygate.core.errors import InvalidArgument
from tallygate.core.moments import as_datetime, microseconds
from tallygate.core.text import shown

SESSION, DAY, WEEK, MONTH, NEVER = "session", "day", "week", "month", "never"
_CALENDAR = (DAY, WEEK, MONTH)
_ROLLING = re.compile(r"([1-9][0-9]{0,3})h")
HOURS_MAX = 24 * 366
# A rolling period is counted in pieces: what is older than the period leaves it a piece at a time.
PIECES = 30
_HOUR_US = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Window:
    """One window of a period: from its first microsecond to the first one after it; `name` is unique within the period.

    `end_us` is None for a window that never ends.
    """

    name: str
    start_us: int
    end_us: int | None


def parse_period(text: str) -> str:
    """A period as it is written in settings: session, day, week, month, never, or a number of hours such as 5h."""
    found = _ROLLING.fullmatch(text)
    if text in (SESSION, NEVER, *_CALENDAR) or (found is not None and int(found[1]) <= HOURS_MAX):
        return text
    words = "session, day, week, month, never or hours such as 5h"
    raise InvalidArgument("period", f"period must be {words}, not {shown(text)}.")


def rolling_us(period: str) -> int | None:
    """The length of a rolling period; None where the period is none."""
    found = _ROLLING.fullmatch(period)
    return None if found is None else int(found[1]) * _HOUR_US


def window_of(period: str, at_us: int, zone: tzinfo) -> Window:
    """The window of a calendar period that a moment lies in.

    Days begin at local midnight, weeks on Monday, months on the first. A day on which clocks are changed has 23 or 25
    hours; where midnight is left out, the day begins with the first moment after it.
    """
    if period == NEVER:
        return Window(NEVER, 0, None)
    day = as_datetime(at_us).astimezone(zone).date()
    first = first_day(period, day)
    after = _next_first(period, first)
    return Window(first.isoformat(), _midnight_us(first, zone), _midnight_us(after, zone))


def piece_of(period: str, at_us: int) -> Window:
    """The piece of a rolling period that a moment lies in."""
    length = rolling_us(period)
    if length is None:
        raise InvalidArgument("period", f"{period!r} is no rolling period.")
    size = length // PIECES
    start = at_us // size * size
    return Window(str(start // size), start, start + size)


def first_day(period: str, day: date) -> date:
    """The first day of the calendar window a day lies in."""
    match period:
        case "day":
            return day
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case _:
            raise InvalidArgument("period", f"{period!r} has no calendar window.")


def _next_first(period: str, first: date) -> date:
    if period == MONTH:
        return (first + timedelta(days=32)).replace(day=1)
    return first + timedelta(days=1 if period == DAY else 7)


def _midnight_us(day: date, zone: tzinfo) -> int:
    """The first moment of a local day.

    A midnight that occurs twice is meant the first time. One that is left out is read by the offset before the
    change, which is the very moment of the change or later; the day before ends there, too.
    """
    return microseconds(datetime(day.year, day.month, day.day, tzinfo=zone, fold=0))
