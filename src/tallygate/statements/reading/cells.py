"""Rows of bills and their cells, read as these exports write them, or a `BadRow` that says why not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from tallygate.core.errors import InvalidArgument
from tallygate.core.money import recorded_nanos
from tallygate.core.regex import regex
from tallygate.core.statements import COUNT_MAX, LINE_NANOS_MAX, Grain
from tallygate.core.text import cleaned, shown

TEXT_MAX = 200
DAY, HOUR = timedelta(days=1), timedelta(hours=1)

# How tables, databases and programs write that there is nothing.
_NOTHING = frozenset({"", "-", "\\n", "null", "none"})
_TOTALS = frozenset({"total", "totals", "grand total", "subtotal", "sum"})
# How the keys of providers begin that are keys and no names of them.
_SECRET = regex(r"(sk-|gsk_|xai-|pplx-|AIza).{12,}", re.DOTALL)
_AMOUNT = regex(
    r"(?P<sign>[-+]?)(?P<currency>\$?)(?P<late>[-+]?)"
    r"(?P<whole>\d{1,3}(?:,\d{3})+|\d+|(?=\.\d))(?P<part>\.\d*)?(?P<power>[eE][-+]?\d{1,3})?",
    re.ASCII,
)
# With a decimal comma, and points between thousands: 0,42 or 1.234,56.
_LOCAL = regex(r"(?P<whole>\d{1,3}(?:\.\d{3})+|\d+|(?=,\d)),(?P<part>\d*)", re.ASCII)
_POINTED = regex(r"\d{1,3}\.000", re.ASCII)
_COUNT = regex(r"(?P<sign>-?)(?P<whole>\d{1,3}(?:,\d{3})+|\d{1,15})(?:\.0{1,20})?", re.ASCII)
_MOMENT = regex(
    r"(?P<day>\d{4}-\d\d-\d\d)"
    r"(?:[T ](?P<time>\d\d:\d\d(?::\d\d)?)(?:\.(?P<part>\d{1,12}))?"
    r" ?(?P<zone>Z|UTC|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_MS = regex(r"(?P<whole>\d{12,13})", re.ASCII)
_EPOCH_SECONDS = regex(r"(?P<whole>\d{9,10})(?:\.0{1,20})?", re.ASCII)


class BadRow(Exception):
    """Why a row of a file cannot be read, without its line number and without a full stop.

    Such as: cost_usd is 'abc', not an amount such as 1.25
    """


class LocalRow(dict[str, str]):
    """A row of a table whose cells are parted by `;` or a tab: its decimals may stand behind a comma.

    `marks` is shared by all rows of the table: the decimal marks that were seen in it. Two of them are no table.
    """

    def __init__(self, cells: Mapping[str, str], marks: set[str]) -> None:
        super().__init__(cells)
        self.marks = marks


# One row of a table by the names of its header, lower-cased and stripped, with the line it begins in; a cell that the
# row lacks is "". Or one object of a JSON file, its numbers as the text they were written with.
Row = Mapping[str, str]
Numbered = tuple[int, Row]


def cell_text(row: Row, column: str) -> str:
    """What a cell says, stripped; nothing where it is empty, missing or written as nothing."""
    text = row.get(column, "").strip()
    return "" if text.casefold() in _NOTHING else text


def name(row: Row, column: str) -> str | None:
    """A name as the bill writes it, without what could harm a terminal, and cut."""
    return cleaned(cell_text(row, column), TEXT_MAX) or None


def required(row: Row, column: str, what: str = "a name") -> str:
    """As `name`, for what a line cannot do without."""
    found = name(row, column)
    if found is None:
        raise bad(row, column, what)
    return found


def key_name(row: Row, column: str) -> str | None:
    """What the bill calls an API key; of a key itself no more than its last four characters."""
    found = name(row, column)
    secret = _SECRET.match(found or "")
    return f"{secret[1]}...{secret[0][-4:]}" if secret else found


def bad(row: Row, column: str, what: str) -> BadRow:
    """The refusal of a cell: its column, what it says, what was expected."""
    if column not in row:
        return BadRow(f"there is no column {column}, which should hold {what}")
    text = row[column]
    return BadRow(f"{column} is {shown(text, 60)}, not {what}" if text.strip() else f"{column} is empty, not {what}")


def holds_nothing(row: Row, first: str) -> bool:
    """Whether a row bills nothing: all of it is empty, or it sums up others."""
    return cell_text(row, first).casefold() in _TOTALS or not any(value.strip() for value in row.values())


def says_nothing(row: Row, *columns: str) -> bool:
    """Whether all of these cells are empty."""
    return not any(cell_text(row, column) for column in columns)


def amount(row: Row, column: str) -> int | None:
    """An amount in nano-units, below zero for a credit; nothing where the cell says none.

    Thousands may be told apart by commas where that cannot be a decimal comma: 1,234.50 or $1,234, but not 1,234.
    """
    text = cell_text(row, column)
    return amount_of(row, column, text) if text else None


def amount_of(row: Row, column: str, text: str) -> int:
    """As `amount`, of a text that stands in the cell."""
    what = "an amount such as 1.25"
    text = _with_point(row, column, text)
    bracketed = text.startswith("(") and text.endswith(")")
    found = _AMOUNT.fullmatch(text[1:-1] if bracketed else text) if len(text) <= 64 else None
    if found is None or sum((bracketed, bool(found["sign"]), bool(found["late"]))) > 1:
        raise bad(row, column, f"{what}: write it with a decimal point, not a comma" if "," in text else what)
    whole, part = found["whole"], found["part"] or ""
    if whole.count(",") == 1 and not part and not found["currency"]:
        raise bad(row, column, f"{what}: its comma may part thousands or decimals")
    try:
        nanos = recorded_nanos(column, f"{whole.replace(',', '')}{part}{found['power'] or ''}")
    except InvalidArgument:
        nanos = LINE_NANOS_MAX + 1
    if nanos > LINE_NANOS_MAX:
        raise bad(row, column, "an amount of at most 4,000,000")
    return -nanos if bracketed or "-" in (found["sign"], found["late"]) else nanos


def _with_point(row: Row, column: str, text: str) -> str:
    """An amount of a table in which a comma may part decimals, with a point in its place.

    One table has one decimal mark: where it has both, 1.234 could be either, and neither is guessed.
    """
    if not isinstance(row, LocalRow) or len(text) > 64:
        return text
    bare = text.strip("()+-$")
    found = _LOCAL.fullmatch(bare)
    # 1,234 may part thousands: it is refused below; 0,123 and 1234,567 cannot.
    if found and not (len(found["part"]) == 3 and re.fullmatch(r"[1-9]\d{0,2}", found["whole"])):
        row.marks.add("comma")
        text = text.replace(bare, f"{found['whole'].replace('.', '') or '0'}.{found['part']}")
    elif "." in bare:
        row.marks.add("point")
    if len(row.marks) > 1:
        raise bad(row, column, "an amount like the others: this table has a decimal comma and a decimal point; use one")
    return text


def cost(row: Row, column: str) -> int:
    """As `amount`, for what a line cannot do without."""
    found = amount(row, column)
    if found is None:
        raise bad(row, column, "an amount such as 1.25")
    return found


def count(row: Row, column: str) -> int | None:
    """How many, as a whole number; nothing where the cell says none."""
    return counted(row, column, cell_text(row, column))


def counted(row: Row, column: str, text: str) -> int | None:
    """As `count`, of a text that stands in the cell."""
    if not text:
        return None
    if isinstance(row, LocalRow) and _POINTED.fullmatch(text):
        raise bad(row, column, "a whole number: its point may part thousands or decimals; write it without one")
    found = _COUNT.fullmatch(text) if len(text) <= 40 else None
    if found is None:
        raise bad(row, column, "a whole number")
    number = int(found["whole"].replace(",", ""))
    if number > COUNT_MAX or (found["sign"] and number):
        raise bad(row, column, "a count from 0 to 1,000,000,000,000")
    return number


def total(*counts: int | None) -> int | None:
    """The sum of those that are told; nothing where none is."""
    told = [each for each in counts if each is not None]
    return sum(told) if told else None


def moment(row: Row, column: str) -> tuple[datetime, bool]:
    """When, in UTC, and whether the cell tells a time of day at all; without a zone a time is taken as UTC."""
    what = "a date such as 2026-03-31 or a time such as 2026-03-31T14:30:00Z"
    text = cell_text(row, column)
    found = _MOMENT.fullmatch(text) if len(text) <= 40 else None
    if found is None:
        raise bad(row, column, what)
    zone = found["zone"] or ""
    offset = "+00:00" if zone in {"", "Z", "UTC"} else zone if ":" in zone else f"{zone[:3]}:{zone[3:] or '00'}"
    try:
        at = datetime.fromisoformat(f"{found['day']}T{found['time'] or '00:00'}{offset}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise bad(row, column, what) from None
    if not 2000 <= at.year < 2100:
        raise bad(row, column, "a day between 2000 and 2099")
    return at.replace(microsecond=int((found["part"] or "")[:6].ljust(6, "0"))), found["time"] is not None


def epoch(row: Row, column: str, *, per_second: int = 1) -> datetime:
    """Seconds since 1970, or thousandths, as a time in UTC."""
    found = (_EPOCH_SECONDS if per_second == 1 else _EPOCH_MS).fullmatch(cell_text(row, column))
    at = _EPOCH + timedelta(seconds=1) * int(found["whole"]) / per_second if found else None
    if at is None or not 2000 <= at.year < 2100:
        raise bad(row, column, f"a time in {'seconds' if per_second == 1 else 'milliseconds'} since 1970")
    return at


def currency_code(row: Row, column: str) -> str | None:
    """The code of a currency in capitals; nothing where the cell says none."""
    text = cell_text(row, column)
    if text and not re.fullmatch(r"[A-Za-z]{3}", text, re.ASCII):
        raise bad(row, column, "a currency code such as USD")
    return text.upper() or None


def identity(bill: str, grain: Grain, at: datetime, *names: str | int | None) -> tuple[str, ...]:
    """What makes a line the same one in a later export."""
    return (bill, grain.value, at.isoformat(), *("" if each is None else str(each) for each in names))
