"""Moments as people write them on the command line: a date, a time, or how long ago."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Any

import click

from tallygate.core.moments import as_datetime, microseconds
from tallygate.core.text import shown
from tallygate.settings import Settings
from tallygate.settings.machine import told_in

_AGO = re.compile(r"(\d{1,5})([hdw])")
_HELP = "a date (2026-03-01), a time (2026-03-01T14:30), or how long ago (36h, 7d, 4w)"


def shown_zone(settings: Settings) -> str:
    """The time zone that dates are read and shown in: the user's own, else the machine's."""
    return told_in(settings, os.environ)


def zone_of(name: str) -> tzinfo:
    """A time zone of the settings or the machine, whose name was checked."""
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    return ZoneInfo(name)


def moment_us(text: str, now_us: int, zone: tzinfo, *, end: bool = False) -> int:
    """A moment in microseconds. A date is its first moment in the zone, or with `end` the first after it.

    Days and weeks ago are whole days: `7d` begins with the day seven days before today.
    """
    now = as_datetime(now_us).astimezone(zone)
    try:
        if ago := _AGO.fullmatch(text):
            return _us(_ago(now, int(ago[1]), ago[2]))
        if "T" in text or " " in text:
            at = datetime.fromisoformat(text)
            return _us(at if at.tzinfo else at.replace(tzinfo=zone))
        day = datetime.fromisoformat(text).date() + timedelta(days=end)
        return _us(datetime.combine(day, time(), zone))
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{shown(text)} is no moment: give {_HELP}.") from None


def _ago(now: datetime, count: int, unit: str) -> datetime:
    if unit == "h":
        return now.astimezone(UTC) - timedelta(hours=count)
    day = now.date() - timedelta(days=count * (7 if unit == "w" else 1))
    return datetime.combine(day, time(), now.tzinfo)


def _us(at: datetime) -> int:
    return microseconds(at)


def since_option(what: str) -> Callable[[Any], Any]:
    """The option `--since`."""
    return click.option("--since", metavar="MOMENT", help=f"{what} since {_HELP}.")
