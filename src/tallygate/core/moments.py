"""Moments as the ledger counts them: whole microseconds since 1970 UTC, and as datetimes and text."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
# So far a clock may stand back before it counts as another time: a step of NTP is no more than moments.
CLOCK_SLACK_US = HOUR_US
_MICROSECOND = timedelta(microseconds=1)


def time_now(wall_us: int, last_us: int) -> int:
    """The time that rows are written with, by the wall and by the ledger's last event.

    A clock that steps back a little is waited for, so that calls stay in order and no window is entered again. Where
    the last event lies hours ahead, some clock was wrong when it was written: rows go by the wall, and only the times
    of events go on rising. Nothing waits for the date that was wrong.
    """
    return wall_us if last_us - wall_us > CLOCK_SLACK_US else max(wall_us, last_us + 1)


class ClockWatch:
    """Whether the wall clock was moved while a program ran: it then parts from one that only ever goes forward.

    A span in which nothing happened is no move: both clocks go on in it. `apart_us` is how far apart they were when
    somebody was told last; who takes back what was told sets it back.
    """

    def __init__(self, wall_us: Callable[[], int], steady_us: Callable[[], int]) -> None:
        self._wall_us, self._steady_us = wall_us, steady_us
        self.apart_us = wall_us() - steady_us()

    def parted_us(self) -> int | None:
        """By how much the wall was moved, forward or back, and nobody was told yet; None where it was not."""
        moved = self._wall_us() - self._steady_us() - self.apart_us
        return moved if abs(moved) > CLOCK_SLACK_US else None

    def told(self) -> None:
        """The move is written down: from now on the clocks are as far apart as they are."""
        self.apart_us = self._wall_us() - self._steady_us()


def is_ahead(at_us: int, now_us: int) -> bool:
    """Whether a time was written by a clock that stood ahead."""
    return at_us > now_us + CLOCK_SLACK_US


def as_datetime(at_us: int) -> datetime:
    """Ledger time as an aware UTC datetime."""
    return EPOCH + at_us * _MICROSECOND


def microseconds(at: datetime) -> int:
    """An aware datetime as ledger time."""
    return (at - EPOCH) // _MICROSECOND


def spoken(at_us: int, zone: str = "UTC") -> str:
    """A moment to the minute for people, in their time zone and with its name.

    >>> spoken(0), spoken(0, "Europe/Berlin")
    ('1970-01-01 00:00 UTC', '1970-01-01 01:00 CET')
    """
    at = as_datetime(at_us)
    if zone != "UTC":
        from zoneinfo import ZoneInfo

        with suppress(KeyError, ValueError, OSError):  # a machine without that zone says it in UTC
            at = at.astimezone(ZoneInfo(zone))
    name = f"{at:%Z}"
    return f"{at:%Y-%m-%d %H:%M} {'UTC' if name[:1] in '+-' else ''}{name}"


def iso(at_us: int | None) -> str | None:
    """Ledger time as ISO 8601 text, for replies and files.

    >>> iso(1_500_000), iso(None)
    ('1970-01-01T00:00:01.500Z', None)
    """
    return None if at_us is None else as_datetime(at_us).isoformat(timespec="milliseconds").replace("+00:00", "Z")
