"""Moments as the ledger counts them: whole microseconds since 1970 UTC, and as datetimes and text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def as_datetime(at_us: int) -> datetime:
    """Ledger time as an aware UTC datetime."""
    return EPOCH + at_us * _MICROSECOND


def microseconds(at: datetime) -> int:
    """An aware datetime as ledger time."""
    return (at - EPOCH) // _MICROSECOND


def iso(at_us: int | None) -> str | None:
    """Ledger time as ISO 8601 text, for replies and files.

    >>> iso(1_500_000), iso(None)
    ('1970-01-01T00:00:01.500Z', None)
    """
    return None if at_us is None else as_datetime(at_us).isoformat(timespec="milliseconds").replace("+00:00", "Z")
