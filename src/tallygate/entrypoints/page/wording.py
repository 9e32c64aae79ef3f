"""How the page writes amounts, counts and moments; what is not known is an en dash."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, tzinfo
from decimal import ROUND_DOWN, Decimal

from tallygate.core.chosen import day_told
from tallygate.core.moments import DAY_US, HOUR_US, MINUTE_US, as_datetime
from tallygate.core.money import COUNTED, adding_up, format_amount

NONE = "\N{EN DASH}"
MINUS, TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
_CENT, _HUNDREDTH = 10_000_000, 100_000


def money(amount: int | None, unit: str = "USD") -> str:
    """An amount: to the cent, below a cent to a hundredth of one; of tokens and calls the number.

    >>> money(21_464_000_000), money(34_600_000), money(5_600_000), money(510_000), money(-290_000_000), money(1)
    ('$21.46', '$0.03', '$0.0056', '$0.0005', '−$0.29', '<$0.0001')
    >>> money(None), money(1200, "tokens")
    ('–', '1,200 tokens')
    """
    if amount is None:
        return NONE
    if unit in COUNTED:
        return format_amount(amount, unit).replace("-", MINUS)
    size = abs(amount)
    step = _CENT if size >= _CENT or not size else _HUNDREDTH
    rounded = -(-(2 * size - step) // (2 * step)) * step if size else 0
    if size and not rounded:
        return f"<{_four(_HUNDREDTH, unit)}"
    text = _four(rounded, unit)
    return f"{MINUS}{text}" if amount < 0 else text


def _four(amount: int, unit: str) -> str:
    """An amount with no digit behind the fourth."""
    return re.sub(r"(\.\d{4})0+", r"\1", format_amount(amount, unit))


def parts(amounts: Sequence[int], total: int) -> list[str]:
    """Amounts that stand beside their sum, so that what is shown adds up to the cent.

    >>> parts([55_500_000, 36_000_000, 0, 2_000_000], 93_500_000)
    ['$0.05', '$0.04', '$0.00', '$0.0020']
    """
    texts = adding_up(amounts, total, least=_CENT)
    return [text if abs(each) >= _CENT else money(each) for text, each in zip(texts, amounts, strict=True)]


def signed(amount: int, unit: str = "USD") -> str:
    """A change: with its sign."""
    return f"+{money(amount, unit)}" if amount > 0 else money(amount, unit)


def percent(part: int, whole: int) -> str:
    """How many per cent a part is of a whole; what there is none of is an en dash.

    >>> percent(1, 3), percent(1, 1000), percent(999, 1000), percent(1, 0)
    ('33 %', '<1 %', '>99 %', '–')
    """
    if whole <= 0:
        return NONE
    share = (200 * part + whole) // (2 * whole)
    if not share and part > 0:
        return "<1 %"
    if share == 100 and part < whole:
        return ">99 %"
    return f"{share:,} %".replace("-", MINUS)


def ratio(part: int, whole: int) -> str:
    """How many times as much.

    >>> ratio(471, 429), ratio(1, 0)
    ('× 1.10', '–')
    """
    if whole <= 0:
        return NONE
    return f"{TIMES} {(Decimal(part) / Decimal(whole)).quantize(Decimal('0.01'))}"


def count(number: int) -> str:
    """A number of anything; what is too long is cut as the commands cut it, so that both tell one figure.

    >>> count(4768), count(46_200), count(12_034_000), count(3_898_667_330)
    ('4,768', '46.2 K', '12.0 M', '3.89 G')
    """
    if number < 10_000:
        return f"{number:,}"
    scale, unit = next((s, u) for s, u in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "K")) if number >= s)
    digits = 2 if number < 10 * scale and unit != "K" else 1 if number < 100 * scale else 0
    return f"{(Decimal(number) / scale).quantize(Decimal(1).scaleb(-digits), ROUND_DOWN)} {unit}"


def at(moment_us: int, zone: tzinfo) -> datetime:
    """A moment in the user's own time."""
    return as_datetime(moment_us).astimezone(zone)


def clock(moment_us: int, zone: tzinfo) -> str:
    """The time of day."""
    return f"{at(moment_us, zone):%H:%M}"


def when(moment_us: int, now_us: int, zone: tzinfo) -> str:
    """A moment as people say it: the time of today, else the day with its time.

    >>> from datetime import UTC
    >>> when(0, 1, UTC), when(0, 10**12, UTC), when(0, 10**15, UTC)
    ('today 00:00', '1 Jan 00:00', '1 Jan 1970')
    """
    then, now = at(moment_us, zone), at(now_us, zone)
    if then.date() == now.date():
        return f"today {then:%H:%M}"
    if then.year == now.year:
        return f"{then.day} {then:%b %H:%M}"
    return f"{then.day} {then:%b %Y}"


def renewal(moment_us: int | None, now_us: int, zone: tzinfo) -> tuple[str, str]:
    """When a budget begins anew, and how long that is from now."""
    if moment_us is None:
        return "never", ""
    then, now = at(moment_us, zone), at(now_us, zone)
    days = (then.date() - now.date()).days
    if days <= 1:
        told = f"at {then:%H:%M}"
    elif days < 7:
        told = f"on {then:%a}"
    else:
        told = f"on {then.day} {then:%b}"
    return told, f"in {span(max(moment_us - now_us, 0))}"


def span(length_us: int) -> str:
    """A length of time.

    >>> [span(n * 60_000_000) for n in (0, 46, 82, 568, 6000)]
    ['0 min', '46 min', '1 h 22 min', '9 h 28 min', '4 d 4 h']
    """
    minutes = length_us // MINUTE_US
    if minutes < 60:
        return f"{minutes} min"
    if length_us < 2 * DAY_US:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{length_us // DAY_US} d {length_us % DAY_US // HOUR_US} h"


def day(moment_us: int, zone: tzinfo) -> str:
    """The local day of a moment."""
    return day_told(at(moment_us, zone).date())


def offset(now_us: int, zone: tzinfo) -> str:
    """How far local time is from UTC.

    >>> from datetime import UTC
    >>> offset(0, UTC)
    'UTC+00:00'
    """
    text = f"{at(now_us, zone):%z}"
    return f"UTC{text[:3]}:{text[3:5]}".replace("-", MINUS)
