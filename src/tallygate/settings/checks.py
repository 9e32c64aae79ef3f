"""What a single value may be: each check takes what TOML or a variable holds and answers with our value.

A check raises `Unfit` with the end of a sentence that begins with the setting's name: "must be ..., not ...".
Bounds are compared before a number is converted: a decimal such as 1e999999 would fill the memory first.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal, InvalidOperation
from enum import StrEnum
from urllib.parse import parse_qsl, urlsplit

from tallygate.core.errors import InvalidArgument
from tallygate.core.gate.rules import parse_period
from tallygate.core.money import AMOUNT_NANOS_MAX, NANOS_PER_UNIT
from tallygate.core.plan import minutes_named
from tallygate.core.regex import regex

Check = Callable[[object], object]

MICROS = 1_000_000
FACTOR_MAX = 1_000
RATE_MAX = 1_000_000
_TENANT = regex(r"[A-Za-z0-9._-]{1,100}")
_NUMBER = regex(r"[+-]?\d[\d_]*(\.\d+)?([eE][+-]?\d+)?")
# ISO 4217, without funds, metals and test codes.
_CODES = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD "
    "CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD "
    "GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD "
    "KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO "
    "NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE "
    "SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND "
    "VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG "
)
CURRENCIES = frozenset(_CODES.split())


class Unfit(ValueError):
    """A value that a setting cannot take."""


def short(value: object) -> str:
    """A value for a message: escaped, and cut where a file holds something endless."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | Decimal) and (isinstance(value, Decimal) or abs(value) < 10**30):
        return str(value)[:60]
    if isinstance(value, int):
        return "a huge number"
    shown = repr(value) if isinstance(value, str) else str(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def as_number(value: object) -> object:
    """What a variable's text stands for: a number where it reads as one, else the text."""
    if not isinstance(value, str) or len(value) > 60 or not _NUMBER.fullmatch(value.strip()):
        return value
    try:
        number = Decimal(value.strip())
    except InvalidOperation:
        return value
    return int(number) if "." not in value and "e" not in value.lower() else number


def whole(least: int, most: int, *, times: int = 1, why: str = "") -> Check:
    """A whole number within bounds, kept in a smaller unit: `times` of it make one. `why` explains the bounds."""

    def check(value: object) -> int:
        if type(value) is not int or not least <= value <= most:
            raise Unfit(f"must be a whole number from {least:,} to {most:,}, not {short(value)}{why}")
        return value * times

    return check


def _number(value: object, words: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not Decimal(value).is_finite():
        raise Unfit(f"must be {words}, not {short(value)}")
    return Decimal(value)


def share_percent(value: object) -> int:
    """A share such as 0.8, in steps of one hundredth, as per cent."""
    words = "a share above 0 and up to 1 in steps of 0.01, such as 0.8"
    share = _number(value, words)
    if not 0 < share <= 1 or share * 100 != int(share * 100):
        raise Unfit(f"must be {words}, not {short(value)}")
    return int(share * 100)


def quantile_percent(value: object) -> int:
    """How many of a hundred steps the amount that is reserved should carry."""
    percent = share_percent(value)
    if not 50 <= percent <= 99:
        raise Unfit(f"must be from 0.50 to 0.99, such as 0.8, not {short(value)}")
    return percent


def pressure_bands(value: object) -> tuple[int, ...]:
    """Where moderate, high and critical pressure begin."""
    words = "three rising shares, such as [0.5, 0.8, 0.95]"
    if not isinstance(value, list) or len(value) != 3:
        raise Unfit(f"must be {words}, not {short(value)}")
    bands = tuple(share_percent(share) for share in value)
    if not bands[0] < bands[1] < bands[2]:
        raise Unfit(f"must be {words}")
    return bands


def factor_micros(value: object) -> int:
    """A correction factor, in millionths."""
    words = f"a number above 0 and up to {FACTOR_MAX:,}"
    factor = _number(value, words)
    if not Decimal(1) / MICROS <= factor <= FACTOR_MAX:
        raise Unfit(f"must be {words}, not {short(value)}")
    return int((factor * MICROS).to_integral_value(rounding=ROUND_HALF_EVEN))


def rate(value: object) -> Decimal:
    """A price in dollars per million tokens; 0 is one."""
    words = "an amount in dollars from 0 to 1,000,000, such as 2.50"
    amount = _number(value, words)
    if not 0 <= amount <= RATE_MAX:
        raise Unfit(f"must be {words}, not {short(value)}")
    return amount


def amount_nanos(value: object) -> int:
    """A limit in units of a currency, kept in nano-units; what is below one is rounded upwards."""
    words = "an amount above 0 and up to 1,000,000, such as 2.50"
    amount = _number(value, words)
    if not 0 < amount <= AMOUNT_NANOS_MAX // NANOS_PER_UNIT:
        raise Unfit(f"must be {words}, not {short(value)}")
    return int((amount * NANOS_PER_UNIT).to_integral_value(rounding=ROUND_CEILING))


def period(value: object) -> str:
    """The period of a budget."""
    try:
        return parse_period(value if isinstance(value, str) else "")
    except InvalidArgument:
        words = "session, day, week, month, never or hours such as 5h"
        raise Unfit(f"must be {words}, not {short(value)}") from None


def plan_window(value: object) -> int:
    """A window of a client's plan, in minutes."""
    minutes = minutes_named(value) if isinstance(value, str) else None
    if minutes is None:
        raise Unfit(f'must be "5h", "weekly" or other hours such as "24h", not {short(value)}')
    return minutes


def above_zero(most: int) -> Check:
    """A number that multiplies an amount and never makes it nothing."""
    words = f"a number above 0 and up to {most:,}"

    def check(value: object) -> Decimal:
        number = _number(value, words)
        if not 0 < number <= most:
            raise Unfit(f"must be {words}, not {short(value)}")
        return number

    return check


def usd_per_unit_nanos(value: object) -> int:
    """An exchange rate in dollars for one unit of a currency, kept in nano-dollars, rounded half-even."""
    words = f"an amount in dollars above 0 and below {RATE_MAX:,}, such as 1.31"
    rate = _number(value, words)
    if 0 < rate < RATE_MAX:
        nanos = int(rate.quantize(Decimal("1e-9"), rounding=ROUND_HALF_EVEN) * NANOS_PER_UNIT)
        if 0 < nanos < RATE_MAX * NANOS_PER_UNIT:
            return nanos
    raise Unfit(f"must be {words}, not {short(value)}")


def choice(kind: type[StrEnum]) -> Check:
    """One of a few words."""

    def check(value: object) -> StrEnum:
        if isinstance(value, str):
            for member in kind:
                if member.value == value:
                    return member
        words = [f'"{member}"' for member in kind]
        listed = f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
        raise Unfit(f"must be {listed}, not {short(value)}")

    return check


def text(value: object, *, most: int = 200) -> str:
    """Printable text on one line: an id, a pattern or a note."""
    fits = isinstance(value, str) and 0 < len(value) <= most and value.isprintable()
    if not isinstance(value, str) or not fits or value != value.strip():
        raise Unfit(f"must be text of 1 to {most} printable characters, not {short(value)}")
    return value


def tenant(value: object) -> str:
    """The name of a tenant."""
    if not isinstance(value, str) or not _TENANT.fullmatch(value):
        raise Unfit(f"must be text of 1 to 100 letters, digits, dots, dashes and underscores, not {short(value)}")
    return value


def names(value: object) -> tuple[str, ...]:
    """A list of ids, each once."""
    if not isinstance(value, list) or len(value) > 50:
        raise Unfit(f"must be a list of at most 50 names, not {short(value)}")
    ids = tuple(text(item) for item in value)
    if len(set(ids)) != len(ids):
        raise Unfit("must hold each name once")
    return ids


def words_of(kind: type[StrEnum]) -> Check:
    """A list of some of the words, each once."""
    one = choice(kind)

    def check(value: object) -> tuple[str, ...]:
        return tuple(str(one(name)) for name in names(value))

    return check


def day(value: object) -> dt.date:
    """A calendar day."""
    if type(value) is dt.date:
        return value
    try:
        return dt.date.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        raise Unfit(f"must be a day such as 2026-10-01, not {short(value)}") from None


def currency(value: object) -> str:
    """A currency by its ISO 4217 code."""
    if not isinstance(value, str) or value not in CURRENCIES:
        raise Unfit(f"must be an ISO 4217 code such as USD, not {short(value)}")
    return value


def time_zone(value: object) -> str:
    """A time zone by its IANA name, which this system knows."""
    import zoneinfo

    if isinstance(value, str) and value.isprintable() and 0 < len(value) <= 64:
        try:
            return zoneinfo.ZoneInfo(value).key
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            pass
    raise Unfit(f"must be an IANA time zone such as Europe/Berlin, not {short(value)}")


# What opens a database does not stand in a file that is read, shown and signed.
_SECRETS = ("password", "sslpassword")


def is_server(text: str) -> bool:
    """Whether a place names a database server rather than a file."""
    return text.startswith(("postgresql://", "postgres://"))


def database_text(value: object) -> str:
    """A path, or the address of a database server without a password."""
    if not isinstance(value, str) or not is_server(value):
        return path_text(value)
    if len(value) > 4_096 or not value.isprintable() or " " in value:
        raise Unfit("must be an address without spaces and control characters")
    try:
        parts = urlsplit(value)
        held = parts.password is not None or any(name in _SECRETS for name, _ in parse_qsl(parts.query, True))
    except ValueError:
        raise Unfit("must be an address such as postgresql://host/database") from None
    if held:
        raise Unfit(
            "must not hold a password: put it into ~/.pgpass, the file that PGPASSFILE names, or a service file"
            " (postgresql:///?service=NAME)"
        )
    return value


def path_text(value: object) -> str:
    """A path as it was written: no control character, nothing that climbs out of where it seems to be."""
    if not isinstance(value, str) or not 0 < len(value) <= 4_096 or not value.isprintable():
        raise Unfit("must be a path without control characters")
    if ".." in re.split(r"[/\\]", value):
        raise Unfit(f"must not climb with '..': {short(value)}")
    return value
