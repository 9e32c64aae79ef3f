"""One file as the statement it is; all formats that are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tallygate.core.errors import InvalidArgument
from tallygate.core.regex import regex
from tallygate.core.statements import BillLine, unfit
from tallygate.core.text import shown
from tallygate.core.values import value
from tallygate.statements.formats import (
    anthropic_cost,
    anthropic_usage,
    copilot,
    cursor,
    cursor_events,
    generic,
    litellm,
    openai_costs,
    openai_usage,
    openrouter,
)
from tallygate.statements.reading.cells import BadRow
from tallygate.statements.reading.columns import BillFormat
from tallygate.statements.reading.content import Content, GivenFile, open_content
from tallygate.statements.reading.objects import read_objects
from tallygate.statements.reading.tables import LINE_MAX, Faults, FileRows, read_table

# --- formats ---------------------------------------------------------------------------------------------------------
# All formats of bills, in the order in which they are asked and shown.


FORMATS: tuple[BillFormat, ...] = (
    anthropic_usage.FORMAT,
    anthropic_cost.FORMAT,
    openai_usage.FORMAT,
    openai_costs.FORMAT,
    openrouter.FORMAT,
    openrouter.BY_DAY,
    cursor.FORMAT,
    cursor_events.FORMAT,
    litellm.FORMAT,
    copilot.FORMAT,
    copilot.OF_API,
    copilot.OF_REQUESTS,
    generic.FORMAT,
)


# --- reading ---------------------------------------------------------------------------------------------------------
# One file as the bill it is: its format recognised, its rows read, all that is wrong with it told at once.


_CURRENCY = regex(r"[A-Z]{3}")
_HEADER_SHOWN = 300


@value(frozen=True, slots=True)
class BillFile:
    """A file that was read: its format, the SHA-256 of its content, its currency and its lines."""

    form: BillFormat
    name: str
    digest: str
    currency: str
    lines: list[BillLine]


def _currency(named: Mapping[str, int], form: BillFormat, wanted: str | None, name: str) -> str:
    """The currency of a bill: the one that its rows name, each with the first line that does, else what it is given."""
    if len(named) > 1:
        listed = ", ".join(f"{code} (line {number})" for code, number in named.items())
        hint = "A bill has one currency: split the file by it, or export one account at a time."
        raise _unusable(f"The rows of {shown(name)} name several currencies: {listed}.", hint)
    for code, number in named.items():
        if wanted not in (None, code):
            message = f"{shown(name)} is in {code}, not in {wanted}: line {number} names it."
            hint = "Leave --currency out; it is for files that name no currency."
            raise InvalidArgument("--currency", message, hint=hint)
    if (found := next(iter(named), wanted or form.currency)) is None:
        raise _unusable(f"Nothing in {shown(name)} names its currency.", "Name it with --currency, such as EUR.")
    return found


def currency_code(text: str) -> str:
    """A currency as a user names it, in capitals."""
    code = text.strip().upper()
    if not _CURRENCY.fullmatch(code):
        raise InvalidArgument("--currency", f"{shown(text)} is no currency.", hint="Name it by its code, such as EUR.")
    return code


def format_named(name: str, formats: Sequence[BillFormat]) -> BillFormat:
    """The format that a user forces."""
    for form in formats:
        if form.name == name:
            return form
    listed = ", ".join(form.name for form in formats)
    raise InvalidArgument("--format", f"{shown(name)} is no format of a bill.", hint=f"There are: {listed}.")


def read_bill(
    source: Path | GivenFile,
    formats: Sequence[BillFormat],
    *,
    forced: BillFormat | None = None,
    currency: str | None = None,
) -> BillFile:
    """Read a whole file. Raises `InvalidArgument` with everything that is wrong, and then nothing of it is used."""
    with open_content(source) as content:
        faults, currencies = Faults(content.name), dict[str, int]()
        rows = _source(content, faults, formats if forced is None else (forced,), forced=forced is not None)
        form = _form_of(rows, content.name, formats, forced)
        lines = _lines(rows, form, faults, currencies)
        digest = content.digest()
    faults.refuse()
    if not lines:
        raise _unusable(
            f"{shown(content.name)} holds no line that counts: {form.title} without usage.", "Export other days."
        )
    return BillFile(form, content.name, digest, _currency(currencies, form, currency, content.name), lines)


def _source(content: Content, faults: Faults, formats: Sequence[BillFormat], *, forced: bool) -> FileRows:
    first = content.line(LINE_MAX + 1)
    # No header of a table begins so.
    if first.lstrip().startswith(("{", "[")):
        return read_objects(content, first, faults)
    fits = (lambda form, header: not form.lacks(header)) if forced else (lambda form, header: form.recognises(header))
    return read_table(content, first, lambda header: any(fits(form, header) for form in formats), faults)


def _form_of(source: FileRows, name: str, formats: Sequence[BillFormat], forced: BillFormat | None) -> BillFormat:
    header = shown(", ".join(source.header), _HEADER_SHOWN)
    if forced is not None:
        if missing := forced.lacks(source.header):
            lacking = f"it lacks {', '.join(missing)}; its header is {header}"
            message = f"{shown(name)} cannot be read as {forced.name}: {lacking}."
            raise _unusable(message, "Choose another --format, or leave it out.")
        return forced
    # Two formats that fit are a question to the user: read as the wrong one, money would be off without a word.
    found = [form for form in formats if form.recognises(source.header)]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(form.name for form in found or formats)
    if found:
        raise _unusable(f"{shown(name)} could be of several formats: {listed}.", "Name one with --format.")
    if not source.header:
        raise _unusable(f"{shown(name)} holds no rows.", "Export other days.")
    message = f"{shown(name)} is of no format that is known; its header is {header}."
    raise _unusable(message, f"Force one with --format: {listed}.")


def _lines(source: FileRows, form: BillFormat, faults: Faults, currencies: dict[str, int]) -> list[BillLine]:
    lines: list[BillLine] = []
    for number, row in source.rows:
        try:
            code = form.currency_of(row)
            found = list(form.read((number, row)))
        except BadRow as error:
            faults.add(number, str(error).rstrip("."))
            continue
        if code is not None and found:
            if not _CURRENCY.fullmatch(code):
                faults.add(number, f"{shown(code)} is no currency")
            currencies.setdefault(code, number)
        for line in found:
            if (why := unfit(line)) is not None:
                faults.add(number, why)
        # A file with a fault is refused as a whole; the rows are still read on, so that all faults are told at once.
        if not faults.count:
            lines += found
    return lines


def _unusable(message: str, hint: str) -> InvalidArgument:
    return InvalidArgument("FILE", message, hint=hint)
