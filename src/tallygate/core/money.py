"""Whole nano-units of a currency, parsed once at the door and rounded once, upwards, where usage is priced.

`Decimal` is allowed here and in the price catalog only; `float` is used for money nowhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any

from tallygate.core.errors import InvalidArgument

NANOS_PER_UNIT = 1_000_000_000
TOKENS_PER_RATE = 1_000_000
_CENT = 10_000_000
# A single amount: a million units. Sums stay inside 64 bits for more than nine thousand such amounts.
AMOUNT_NANOS_MAX = 1_000_000 * NANOS_PER_UNIT
SUM_NANOS_MAX = 4_000_000_000 * NANOS_PER_UNIT
TOKENS_MAX = 1_000_000_000
# Units of budgets that are counted, not paid: their amounts are whole numbers.
TOKENS, CALLS = "tokens", "calls"
COUNTED = (TOKENS, CALLS)
# What limits on clients' plans are told in; no budget is kept of one.
PERCENT = "percent"
WHOLE = (*COUNTED, PERCENT)


def parse_amount_nanos(argument: str, value: object, *, allow_zero: bool = False) -> int:
    """Turn an amount from outside (int, JSON number, Decimal or decimal text) into nano-units.

    A JSON number arrives as a binary fraction; its shortest decimal text is what the sender wrote.
    Digits below a nano-unit are rounded upwards. Raises `InvalidArgument` naming the argument.
    """
    amount = _decimal(argument, value)
    if not amount.is_finite():
        raise InvalidArgument(argument, f"{argument} must be a finite amount, not {value!r}.")
    if amount < 0 or (amount == 0 and not allow_zero):
        least = "0 or more" if allow_zero else "more than 0"
        raise InvalidArgument(argument, f"{argument} must be {least}, not {value!r}.")
    if amount > AMOUNT_NANOS_MAX // NANOS_PER_UNIT:
        raise InvalidArgument(argument, f"{argument} must be at most 1,000,000, not {_short(value)}.")
    return int((amount * NANOS_PER_UNIT).to_integral_value(rounding=ROUND_CEILING))


def recorded_nanos(argument: str, value: object) -> int:
    """An amount that another program kept, to the nearest nano-unit: what binary fractions left in its digits goes.

    >>> recorded_nanos("cost", "0.44999999999999996"), recorded_nanos("cost", "1E-7")
    (450000000, 100)
    """
    if isinstance(value, str) and len(value) > 64:
        raise InvalidArgument(argument, f"{argument} is an amount of {len(value)} characters.")
    amount = _decimal(argument, value)
    if not amount.is_finite() or not 0 <= amount <= SUM_NANOS_MAX // NANOS_PER_UNIT:
        raise InvalidArgument(argument, f"{argument} must be from 0 to 4,000,000,000, not {_short(value)}.")
    return int((amount * NANOS_PER_UNIT).to_integral_value(rounding=ROUND_HALF_EVEN))


def _decimal(argument: str, value: object) -> Decimal:
    if isinstance(value, Decimal):
        return value
    if isinstance(value, bool) or not isinstance(value, int | str | _JSON_NUMBER):
        raise InvalidArgument(argument, f"{argument} must be an amount such as 2.50, not {_short(value)}.")
    if isinstance(value, int) and abs(value) > AMOUNT_NANOS_MAX:
        raise InvalidArgument(argument, f"{argument} must be at most 1,000,000.")
    try:
        return Decimal(str(value)[:64])
    except InvalidOperation:
        raise InvalidArgument(argument, f"{argument} must be an amount such as 2.50, not {_short(value)}.") from None


_JSON_NUMBER = type(0.5)


def _short(value: object) -> str:
    if isinstance(value, int) and abs(value) > 10**18:
        return "a number of more than 18 digits"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def cost_nanos(priced_tokens: list[tuple[int, int]], per_request_nanos: int = 0) -> int:
    """Price pairs of (tokens, nano-units per million tokens), rounded up once over the whole sum.

    >>> cost_nanos([(1, 1)])
    1
    >>> cost_nanos([(1_000, 5_000_000_000), (200, 25_000_000_000)])
    10000000
    """
    return rounded_cost_nanos(sum(tokens * rate for tokens, rate in priced_tokens), per_request_nanos)


def rounded_cost_nanos(total: int, per_request_nanos: int = 0) -> int:
    """A sum of tokens times nano-units per million tokens, rounded up once."""
    return -(-total // TOKENS_PER_RATE) + per_request_nanos


def to_unit_nanos(usd_nanos: int, usd_per_unit_nanos: int) -> int:
    """Nano-dollars as nano-units of a currency, upwards.

    >>> to_unit_nanos(1_310_000_000, 1_310_000_000), to_unit_nanos(1, 1_310_000_000)
    (1000000000, 1)
    """
    return -(-usd_nanos * NANOS_PER_UNIT // usd_per_unit_nanos)


def to_usd_nanos(unit_nanos: int, usd_per_unit_nanos: int) -> int:
    """Nano-units of a currency as nano-dollars, upwards.

    >>> to_usd_nanos(1_000_000_000, 1_310_000_000), to_usd_nanos(1, 1_310_000_000)
    (1310000000, 2)
    """
    return -(-unit_nanos * usd_per_unit_nanos // NANOS_PER_UNIT)


def decimal_units(nanos: int, digits: int = 6) -> Decimal:
    """Nano-units as a decimal number of the currency, rounded half-even to `digits` for people and replies."""
    return (Decimal(nanos) / NANOS_PER_UNIT).quantize(Decimal(1).scaleb(-digits))


def json_number(nanos: int) -> Any:
    """Nano-units as the number a JSON reply carries: decimal, rounded to 6 digits.

    >>> json_number(1_250_000_000), json_number(-70_000_000)
    (1.25, -0.07)
    """
    return json.loads(f"{decimal_units(nanos):f}")


def exact_text(nanos: int) -> str:
    """Nano-units as exact decimal text without an exponent or trailing zeros, for files that are read again.

    >>> exact_text(1_500_000_000), exact_text(1), exact_text(-20_000_000_000)
    ('1.5', '0.000000001', '-20')
    """
    sign = "-" if nanos < 0 else ""
    whole, part = divmod(abs(nanos), NANOS_PER_UNIT)
    fraction = f"{part:09d}".rstrip("0")
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def exact_number(nanos: int | None) -> Any:
    """The same as a number of JSON, for what was taken over and is not to be rounded."""
    return None if nanos is None else json.loads(exact_text(nanos))


def format_amount(nanos: int, currency: str = "USD") -> str:
    """An amount for a person: two digits, more only where a smaller amount would read as zero.

    >>> format_amount(2_500_000_000), format_amount(4_200_000), format_amount(1_000_000_000, "GBP")
    ('$2.50', '$0.0042', '£1.00')
    """
    magnitude = abs(nanos)
    whole_cents = magnitude % 10_000_000 == 0
    digits = 2 if whole_cents or magnitude >= 100_000_000 else 4 if magnitude >= 1_000_000 else 6
    return _shown(nanos, currency, digits if magnitude >= 1_000 or not magnitude else 9)


def told_apart(amounts: Sequence[int], currency: str = "USD") -> list[str]:
    """Amounts that stand beside one another: as each alone, and with more digits where two would look like one.

    >>> told_apart([1_000_000_000, 999_000_000, 0, 1_000_000, 160_100_000, 164_900_000])
    ['$1.00', '$0.999', '$0.00', '$0.0010', '$0.1601', '$0.1649']
    """
    texts = [format_amount(each, currency) for each in amounts]
    for digits in (4, 6, 9):
        alike = {text for text in texts if len({a for a, t in zip(amounts, texts, strict=True) if t == text}) > 1}
        for at, text in enumerate(texts):
            if text in alike:  # without zeros at its end, but for two digits
                texts[at] = re.sub(r"(\.\d\d\d*?)0+(?= |$)", r"\1", _shown(amounts[at], currency, digits))
    return texts


def adding_up(parts: Sequence[int], total: int, currency: str = "USD", *, least: int = 100_000_000) -> list[str]:
    """Amounts that stand above their sum: as each alone, but to the cent so that what is shown comes to the total.

    A cent goes to whom rounding down took most from. Amounts that are shown to less than a cent, those below the
    `least`, stay as they are.

    >>> adding_up([6_745_000_000, 3_265_000_000, 134_000_000], 10_144_000_000)
    ['$6.75', '$3.26', '$0.13']
    """
    texts = [format_amount(each, currency) for each in parts]
    cents = [at for at, each in enumerate(parts) if abs(each) >= least]
    if currency in COUNTED or sum(parts) != total or abs(total) < least:
        return texts
    finer = total - sum(parts[at] for at in cents)
    wanted = int(decimal_units(total, 2) * 100) - int(decimal_units(finer, 2) * 100)
    lacking = wanted - sum(parts[at] // _CENT for at in cents)
    cut = sorted((at for at in cents if parts[at] % _CENT), key=lambda at: (-(parts[at] % _CENT), at))
    for rank, at in enumerate(cut):
        texts[at] = format_amount((parts[at] // _CENT + (rank < lacking)) * _CENT, currency)
    return texts


def _shown(nanos: int, currency: str, digits: int) -> str:
    if currency in COUNTED:
        return f"{nanos:,} {currency}"
    if currency == PERCENT:
        return f"{nanos} %"
    symbol = {"USD": "$", "GBP": "£", "EUR": "€"}.get(currency)
    sign = "-" if nanos < 0 else ""
    number = f"{decimal_units(abs(nanos), digits):,f}"
    return f"{sign}{symbol}{number}" if symbol else f"{sign}{number} {currency}"


def share_percent(part_nanos: int, whole_nanos: int) -> Decimal:
    """How many per cent `part` is of `whole`, to one digit; a spent budget of nothing is 100 %.

    Only the whole is 100 %, and only nothing is 0 %.

    >>> [str(share_percent(part, 100_000)) for part in (0, 1, 50_000, 99_999, 100_000, 100_001)]
    ['0.0', '0.1', '50.0', '99.9', '100.0', '100.1']
    """
    if whole_nanos <= 0:
        return Decimal(100)
    share = (Decimal(part_nanos) * 100 / Decimal(whole_nanos)).quantize(Decimal("0.1"))
    tenth = Decimal("0.1")
    if share in (0, 100) and part_nanos not in (0, whole_nanos):
        return share + tenth if part_nanos > (whole_nanos if share else 0) else share - tenth
    return share


def more_or_less(nanos: int) -> str:
    """How far an amount is from an earlier one, in words."""
    return f"{format_amount(abs(nanos))} {'less' if nanos < 0 else 'more'}"
