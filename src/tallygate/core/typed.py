"""What people type: amounts, counts, moments and spans, in the forms that are usual, or refused with the form.

Programs write numbers as JSON does (`parse_amount_nanos`); people write `$5`, `7,50`, `100k` and `yesterday`. What can
be read in two ways is never guessed: an amount that is a thousand times too large would be a limit that never stops.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta, tzinfo

from tallygate.core.errors import InvalidArgument
from tallygate.core.moments import as_datetime, microseconds
from tallygate.core.money import COUNTED, PERCENT, parse_amount_nanos
from tallygate.core.regex import regex

MOMENTS = "a date (2026-03-01), a time (2026-03-01T14:30), today, yesterday, or how long ago (36h, 7d, 4w)"

_SIGNS = {"$": "USD", "£": "GBP", "€": "EUR"}
_SCALES = {"k": 3, "m": 6, "g": 9}
_WRITTEN = regex(r"(-?)([0-9][0-9.,_]*|[.,][0-9]+) ?([kmg]?)", re.ASCII | re.IGNORECASE)
_COUNT_MAX = 999_999_999_999_999
_AGO = regex(r"([0-9]{1,5})([hdw])")
_SPAN = regex(r"(?:([0-9]{1,4})d)?(?:([0-9]{1,5})h)?(?:([0-9]{1,6})m(?:in)?)?")
_DAYS_BACK = {"today": 0, "yesterday": 1}


def typed_amount(argument: str, text: str, unit: str = "USD", *, allow_zero: bool = False) -> int:
    """An amount of a budget's unit: nano-units of money, or a whole number of tokens, calls or per cent.

    Raises `InvalidArgument` naming the argument, as option or word, with a form that is understood.
    """
    if unit in COUNTED:
        return typed_count(argument, text, unit, least=0 if allow_zero else 1)
    if unit == PERCENT:
        return typed_percent(argument, text)
    bare = text.strip()
    for sign, currency in (*_SIGNS.items(), *((code, code) for code in {unit, *_SIGNS.values()})):
        without = _without(bare, sign)
        if without is not None:
            if currency != unit:
                raise InvalidArgument(argument, f"{argument} is an amount of {unit} here, not {_shown(text)}.")
            bare = without
            break
    number = _plain(argument, bare, whole=False)
    if number is None:
        sign = next((f" or {sign}2.50" for sign, currency in _SIGNS.items() if currency == unit), "")
        raise InvalidArgument(argument, f"{argument} must be an amount such as 2.50{sign}, not {_shown(text)}.")
    return parse_amount_nanos(argument, number, allow_zero=allow_zero)


def typed_percent(argument: str, text: str) -> int:
    """A share in whole per cent, from 1 to 100.

    >>> typed_percent("--at-percent", "90"), typed_percent("--at-percent", "85 %")
    (90, 85)
    """
    bare = text.strip().removesuffix("%").rstrip()
    if not re.fullmatch("[0-9]{1,3}", bare, re.ASCII) or not 1 <= int(bare) <= 100:
        raise InvalidArgument(argument, f"{argument} must be whole per cent from 1 to 100, not {_shown(text)}.")
    return int(bare)


def typed_limit(argument: str, text: str) -> tuple[int, str]:
    """A limit with its unit: dollars where nothing else is named.

    >>> typed_limit("LIMIT", "$20"), typed_limit("LIMIT", "5M tokens"), typed_limit("LIMIT", "£7,50")
    ((20000000000, 'USD'), (5000000, 'tokens'), (7500000000, 'GBP'))
    """
    bare = text.strip()
    counted = next((unit for unit in COUNTED if bare.lower().endswith((unit, unit[:-1]))), None)
    if counted is not None:
        digits = re.sub(rf" ?{counted[:-1]}s?$", "", bare, flags=re.IGNORECASE)
        return typed_count(argument, digits, counted, least=1), counted
    code = re.match(r"[A-Z]{3}(?=[ 0-9.,])", bare) or re.search(r"(?<=[ 0-9])[A-Z]{3}$", bare)
    by_sign = next((_SIGNS[sign] for sign in _SIGNS if sign in bare), "USD")
    unit = by_sign if code is None else code[0]
    return typed_amount(argument, text, unit), unit


def typed_count(argument: str, text: str, unit: str, *, least: int = 0, most: int = _COUNT_MAX) -> int:
    """A whole number of something that is counted: 2000, 2,000, 2k or 1.5M.

    >>> [typed_count("TOKENS", text, "tokens") for text in ("2k", "1,5M", "100 K", "12,000", "0")]
    [2000, 1500000, 100000, 12000, 0]
    """
    number = _plain(argument, re.sub(rf" ?{unit}$", "", text.strip()), whole=True)
    if number is None or "." in number or not least <= int(number) <= most:
        raise InvalidArgument(
            argument,
            f"{argument} must be a whole number of {unit} from {least} to {most:,}, such as 2000, 100k or 1.5M, "
            f"not {_shown(text)}.",
        )
    return int(number)


def moment_us(argument: str, text: str, now_us: int, zone: tzinfo, *, end: bool = False) -> int:
    """A moment in microseconds. A date is its first moment in the zone, or with `end` the first after it.

    Days and weeks ago are whole days: `7d` begins with the day seven days before today.
    """
    now = as_datetime(now_us).astimezone(zone)
    text = text.strip()
    try:
        if (back := _DAYS_BACK.get(text.lower())) is not None:
            return microseconds(datetime.combine(now.date() - timedelta(days=back - end), time(), zone))
        if ago := _AGO.fullmatch(text):
            count, unit = int(ago[1]), ago[2]
            if unit == "h":
                return microseconds(now.astimezone(UTC) - timedelta(hours=count))
            day = now.date() - timedelta(days=count * (7 if unit == "w" else 1))
            return microseconds(datetime.combine(day, time(), zone))
        if "T" in text or " " in text:
            at = datetime.fromisoformat(text)
            return microseconds(at if at.tzinfo else at.replace(tzinfo=zone))
        day = datetime.fromisoformat(text).date() + timedelta(days=end)
        return microseconds(datetime.combine(day, time(), zone))
    except (ValueError, OverflowError):
        raise InvalidArgument(argument, f"{argument}: {_shown(text)} is no moment: give {MOMENTS}.") from None


def span_us(argument: str, text: str, *, most_us: int) -> int:
    """How long something is to last, in microseconds: 30m, 1h, 1h30m, 1d; never nothing, and no more than `most_us`.

    >>> [span_us("--for", text, most_us=10**12) // 60_000_000 for text in ("30m", "1h", "1h30m", "90min")]
    [30, 60, 90, 90]
    """
    found = _SPAN.fullmatch(text.strip().lower())
    days, hours, minutes = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    length = ((days * 24 + hours) * 60 + minutes) * 60_000_000
    if not 0 < length <= most_us:
        most = f"{most_us // 3_600_000_000}h"
        raise InvalidArgument(
            argument, f"{argument} must be a time such as 30m, 1h or {most} at most, not {_shown(text)}."
        )
    return length


def _without(text: str, sign: str) -> str | None:
    """The text without a sign or code of a currency before or after it; None where it has none."""
    upper = text.upper()
    if upper.startswith(sign):
        return text[len(sign) :].lstrip()
    return text[: -len(sign)].rstrip() if upper.endswith(sign) else None


def _plain(argument: str, text: str, *, whole: bool) -> str | None:
    """A number as decimal text, whichever of point and comma marks its fraction; None where it is none.

    The last of two kinds of marks is the fraction's, and one that comes twice parts thousands. One comma before three
    digits may be either: money has fractions, so it is refused; a whole number has none, so it parts thousands, unless
    thousands are what it counts (`1,500k`).
    """
    if len(text) > 40 or (found := _WRITTEN.fullmatch(text)) is None:
        return None
    sign, digits, scale = found[1], found[2].replace("_", ""), _SCALES.get(found[3].lower(), 0)
    marks = [mark for mark in digits if mark in ".,"]
    fraction = marks[-1] if len(set(marks)) == 2 or len(marks) == 1 else ""
    head, _, rest = digits.rpartition(fraction) if fraction else (digits, "", "")
    if len(marks) == 1 and re.fullmatch(r"[1-9][0-9]{0,2}", head) and len(rest) == 3:
        if whole and not scale and fraction == ",":
            head, rest = head + rest, ""
        elif fraction == "," or whole:
            raise InvalidArgument(
                argument,
                f"{argument} {_shown(text)} can be read as {head}{rest} or as {head}.{rest.rstrip('0') or '0'}: "
                "write one of these.",
            )
    elif fraction in head and fraction:
        return None
    for mark in set(head) & set(".,"):
        if not re.fullmatch(rf"[0-9]{{1,3}}(?:{re.escape(mark)}[0-9]{{3}})+", head):
            return None
        head = head.replace(mark, "")
    rest = rest.rstrip("0")
    shifted = head + rest[:scale].ljust(scale, "0")
    rest = rest[scale:]
    return f"{sign}{shifted or '0'}" + (f".{rest}" if rest else "")


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 40 else f"{text[:37]!r}..."
