"""Bills from files and APIs: kept whole or not at all, listed, taken back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from itertools import islice
from pathlib import Path

from tallygate.core.errors import (
    AnswerUnusable,
    Conflict,
    InvalidArgument,
    NotFound,
    ProviderRefused,
    TallygateError,
    present,
)
from tallygate.core.moments import as_datetime, microseconds
from tallygate.core.statements import BILL_LINES_MAX, TOTAL_NANOS_MAX, Bill, Billing, BillLine, unfit
from tallygate.core.text import shown
from tallygate.core.values import value
from tallygate.ledger import rows
from tallygate.ledger.port import BillReader, Insert, Tx, Update, Value
from tallygate.operations.runtime import Runtime
from tallygate.statements.apis import anthropic, anthropic_analytics, openai, openrouter
from tallygate.statements.apis.answers import DAY, BillReport, Days
from tallygate.statements.apis.asking import Api, AskingBounds, BadAnswer, Clock, Provider, untold
from tallygate.statements.files import FORMATS, currency_code, format_named, read_bill
from tallygate.statements.reading.columns import BillFormat
from tallygate.statements.reading.content import GivenFile

# --- bills -----------------------------------------------------------------------------------------------------------
# Bills: keep what a provider states, once and whole or not at all; look at it; take it back.


# Lines in one transaction: a gate waits for this many at most. Lines in one event: what is read at once again.
LINES_AT_ONCE = 500
LINES_PER_EVENT = 100
# Between two transactions, so that whoever waits for the ledger gets it.
BREATH_US = 3_000
# An import that wrote nothing for so long is none any more.
ABANDONED_US = 900_000_000
FAULTS_SHOWN = 20

Progress = Callable[[int, int], None]


@value(frozen=True, slots=True)
class Draft:
    """A bill that was read and is not kept yet. `digest` is the SHA-256 of what it was read from, in hexadecimal.

    One `is_latest` that its provider tells just now: where it told otherwise in between, what it told before holds
    again.
    """

    format: str
    name: str
    digest: str
    currency: str
    lines: Sequence[BillLine]
    is_latest: bool = False


@value(frozen=True, slots=True)
class KeptBill:
    """A bill in the ledger; not `fresh` where it was there already, and nothing has changed.

    `replacing` is how many of its lines stand in earlier bills as well, where they count no more.
    """

    bill: Bill
    fresh: bool
    replacing: int = 0


@value(frozen=True, slots=True)
class Withdrawal:
    """A bill that counts no more; not `fresh` where that was so before. `again` lines of earlier bills count again."""

    bill: Bill
    fresh: bool
    again: int = 0


@value(frozen=True, slots=True)
class BillView:
    """One bill with its first lines, and how many of all its lines replace others or are replaced by later ones."""

    bill: Bill
    lines: list[BillLine]
    replacing: int
    replaced: int


def draft_bill(rt: Runtime, draft: Draft) -> Bill:
    """A draft as the bill it will be; raises `InvalidArgument` where it cannot be kept, and names the lines."""
    if not draft.lines:
        raise InvalidArgument("lines", f"{shown(draft.name)} holds no line that could be kept.")
    if len(draft.lines) > BILL_LINES_MAX:
        message = f"{shown(draft.name)} has {len(draft.lines):,} lines; a bill has at most {BILL_LINES_MAX:,}."
        raise InvalidArgument("lines", message, hint="Export fewer days at a time.")
    faults = [(line.number, fault) for line in draft.lines if (fault := unfit(line)) is not None]
    if faults:
        listed = "; ".join(f"line {number}: {fault}" for number, fault in faults[:FAULTS_SHOWN])
        more = f"; and {len(faults) - FAULTS_SHOWN:,} more" if len(faults) > FAULTS_SHOWN else ""
        raise InvalidArgument("lines", f"{shown(draft.name)} cannot be kept: {listed}{more}.")
    amounts = [(line.cost_nanos, line.billing) for line in draft.lines if line.cost_nanos is not None]
    # What a plan covers is told with a figure and costs nothing: it is no part of what the bill asks for.
    total = sum(nanos for nanos, billing in amounts if billing is Billing.METERED)
    if abs(total) > TOTAL_NANOS_MAX:
        raise InvalidArgument("lines", f"The lines of {shown(draft.name)} add up to more than 4,000,000,000.")
    return Bill(
        tenant=rt.tenant,
        bill_id=f"bill_{rt.services.new_token(8)}",
        format=draft.format,
        name=draft.name,
        digest=draft.digest,
        currency=draft.currency,
        lines=len(draft.lines),
        imported_us=0,
        from_us=microseconds(min(line.at for line in draft.lines)),
        until_us=microseconds(max(line.until or line.at for line in draft.lines)),
        total_nanos=total if amounts else None,
    )


def keep_bill(rt: Runtime, draft: Draft, *, progress: Progress | None = None) -> KeptBill:
    """Keep a bill: whole, or nothing of it counts. The same bytes read as the same format are kept once.

    Its lines are written in several short transactions into a bill that is not complete, the last one completes it.
    Raises `Conflict` where another import of the same bill took over meanwhile.
    """
    bill = draft_bill(rt, draft)
    with rt.writing() as tx:
        if (known := tx.live_bill(bill.format, bill.digest)) is not None:
            if not (draft.is_latest and tx.lines_replaced(known.bill_id)):
                return KeptBill(known, fresh=False)
            _mark_deleted(tx, known, by=rt.by, cause="told again")
        bill = replace(bill, imported_us=tx.at_us)
        # What killed imports left: earlier attempts at this bill at once, others when nobody can be at them still.
        for left in tx.unfinished_bills():
            same = (left.format, left.digest) == (bill.format, bill.digest)
            if same or left.imported_us + ABANDONED_US <= tx.at_us:
                _mark_deleted(tx, left, by=rt.by, cause="unfinished")
        tx.append("bill.begun", [Insert("bill", rows.BILL.row(bill))], by=rt.by)
    try:
        _write_lines(rt, bill, draft.lines, progress)
        with rt.writing() as tx:
            _see_that_it_is_ours(tx, bill)
            row: dict[str, Value] = {"bill_id": bill.bill_id, "complete_us": tx.at_us}
            tx.append("bill.completed", [Update("bill", row)], by=rt.by)
    except BaseException:
        with suppress(TallygateError):  # the next import sees to it
            _take_back(rt, bill)
        raise
    with rt.reading() as reader:
        kept = present(reader.bill(bill.bill_id), f"bill {bill.bill_id} was written")
        return KeptBill(kept, fresh=True, replacing=reader.lines_replacing(bill.bill_id))


def _write_lines(rt: Runtime, bill: Bill, lines: Sequence[BillLine], progress: Progress | None) -> None:
    changes, done = _changes(bill, lines), 0
    # Rows are made before the lock is taken: nobody waits for that.
    while batch := list(islice(changes, LINES_AT_ONCE)):
        if done:
            rt.services.pause_us(BREATH_US)
        with rt.writing() as tx:
            _see_that_it_is_ours(tx, bill)
            for start in range(0, len(batch), LINES_PER_EVENT):
                tx.append("bill.lines", batch[start : start + LINES_PER_EVENT], by=rt.by)
        done += len(batch)
        if progress is not None:
            progress(done, len(lines))


def _changes(bill: Bill, lines: Sequence[BillLine]) -> Iterator[Insert]:
    parts: dict[int, int] = {}
    for line in lines:
        part = parts[line.number] = parts.get(line.number, -1) + 1
        yield Insert("bill_line", rows.from_line(line, bill, part))


def _see_that_it_is_ours(tx: BillReader, bill: Bill) -> None:
    found = tx.bill(bill.bill_id)
    if found is None or found.deleted_us is not None:
        raise Conflict(
            f"{shown(bill.name)} was not imported: the import was taken back while it ran.",
            hint="Another import of the same bill runs; look with `tallygate import list`, then try again.",
        )


def _take_back(rt: Runtime, bill: Bill) -> None:
    with rt.writing() as tx:
        found = tx.bill(bill.bill_id)
        if found is not None and found.complete_us is None and found.deleted_us is None:
            _mark_deleted(tx, found, by=rt.by, cause="unfinished")


def _mark_deleted(tx: Tx, bill: Bill, *, by: str, cause: str) -> None:
    row: dict[str, Value] = {"bill_id": bill.bill_id, "deleted_us": tx.at_us}
    tx.append("bill.deleted", [Update("bill", row)], by=by, note={"cause": cause})


def list_bills(rt: Runtime, *, limit: int) -> list[Bill]:
    """Bills, the youngest first; also those that count no more."""
    with rt.reading() as reader:
        return reader.bills(limit)


def show_bill(rt: Runtime, bill_id: str, *, limit: int) -> BillView:
    """One bill with its first lines."""
    with rt.reading() as reader:
        bill = reader.bill(bill_id)
        if bill is None:
            raise _unknown(bill_id)
        shared = (reader.lines_replacing(bill_id), reader.lines_replaced(bill_id)) if bill.counts else (0, 0)
        return BillView(bill, reader.bill_lines(bill_id, limit), *shared)


def delete_bill(rt: Runtime, bill_id: str) -> Withdrawal:
    """Let a bill count no more. Its lines stay in the ledger, and those of earlier bills that it replaced count again.

    Deleting it again changes nothing.
    """
    with rt.reading() as reader:
        bill = reader.bill(bill_id)
        again = reader.lines_replacing(bill_id) if bill is not None and bill.counts else 0
    with rt.writing() as tx:
        bill = tx.bill(bill_id)
        if bill is None:
            raise _unknown(bill_id)
        if bill.deleted_us is not None:
            return Withdrawal(bill, fresh=False)
        _mark_deleted(tx, bill, by=rt.by, cause="user")
        return Withdrawal(present(tx.bill(bill_id), f"bill {bill_id} is there"), fresh=True, again=again)


def _unknown(bill_id: str) -> NotFound:
    hint = "`tallygate import list` shows the bills."
    return NotFound(f"No bill {shown(bill_id)} is in the ledger.", hint=hint, code="unknown_bill")


# --- bill files ------------------------------------------------------------------------------------------------------
# Bills from files: all are read and checked before any is kept.


def ignore(_: str) -> None:
    """Where nobody looks, it is not told which file is read."""


def read_files(
    files: Sequence[Path | GivenFile],
    *,
    form: str | None = None,
    currency: str | None = None,
    formats: Sequence[BillFormat] = FORMATS,
    tell: Callable[[str], None] = ignore,
) -> list[Draft]:
    """Each file as a bill that is not kept yet; raises `InvalidArgument` at the first that is none."""
    forced = None if form is None else format_named(form, formats)
    code = None if currency is None else currency_code(currency)
    drafts = []
    for each in files:
        tell(each.name)
        read = read_bill(each, formats, forced=forced, currency=code)
        drafts.append(Draft(read.form.name, each.name, read.digest, read.currency, read.lines))
    return drafts


def as_kept(rt: Runtime, drafts: Sequence[Draft]) -> list[KeptBill]:
    """What keeping these would come to, without keeping any."""
    met: dict[tuple[str, str], KeptBill] = {}
    found = []
    with rt.reading() as reader:
        for draft in drafts:
            key = (draft.format, draft.digest)
            known = reader.live_bill(*key) if key not in met else met[key].bill
            kept = KeptBill(draft_bill(rt, draft), fresh=True) if known is None else KeptBill(known, fresh=False)
            met.setdefault(key, kept)
            found.append(kept)
    return found


# --- fetch bills -----------------------------------------------------------------------------------------------------
# Bills from providers' own APIs: what the user's key may read, as drafts like those of a file.


DEFAULT_DAYS, DAYS_MAX = 31, 366
FIRST_YEAR = 2000


@value(frozen=True, slots=True)
class Reports:
    """A provider with the reports it has. `kept_days` of those that are over are all that it still knows, if so few.

    `newer` reports are asked first, where they have the days: they tell more, and not every key may read them.
    """

    provider: Provider
    reports: tuple[Callable[[Api, Days], BillReport], ...]
    kept_days: int | None = None
    newer: tuple[Callable[[Api, Days], BillReport], ...] = ()
    newer_has: Callable[[Days, date], bool] = lambda _days, _today: False


SOURCES: dict[str, Reports] = {
    source.provider.name: source
    for source in (
        Reports(
            anthropic.ANTHROPIC,
            (anthropic.usage, anthropic.costs),
            newer=(anthropic_analytics.usage, anthropic_analytics.costs),
            newer_has=anthropic_analytics.has_days,
        ),
        Reports(openai.OPENAI, (openai.usage, openai.costs)),
        Reports(openrouter.OPENROUTER, (openrouter.activity,), openrouter.KEPT_DAYS),
    )
}


def days_to_fetch(rt: Runtime, source: Reports, since: date | None, until: date | None) -> Days:
    """The UTC days to ask for, `until` not among them; by default the last 31, or those that the provider still has."""
    today = as_datetime(rt.services.clock_us()).date()
    # Where only days that are over are kept, today has no figures yet; elsewhere its hours so far count.
    last = today if source.kept_days is not None else today + DAY
    until = last if until is None else min(until, last)
    if (early := min(until, since or until)).year < FIRST_YEAR:
        raise InvalidArgument("since", f"{early.isoformat()} lies before {FIRST_YEAR}.", hint="Give a later day.")
    if since is None:
        since = until - DEFAULT_DAYS * DAY if source.kept_days is None else today - source.kept_days * DAY
    if since >= until:
        over = " that are over" if source.kept_days else ""
        message = f"From {since} to {until - DAY} there are no days{over} to ask {source.provider.title} for."
        raise InvalidArgument("since", message, hint="Give days in UTC, the earlier one as --since.")
    if source.kept_days is not None and since < (first := today - timedelta(days=source.kept_days)):
        message = f"{source.provider.title} keeps {source.kept_days} days: nothing before {first} can be asked for."
        raise InvalidArgument("since", message, hint=f"Import older days from its export, or give --since {first}.")
    if (until - since).days > DAYS_MAX:
        message = f"From {since} to {until - DAY} are {(until - since).days:,} days; at most {DAYS_MAX} go at a time."
        raise InvalidArgument("since", message, hint="Ask for one year after the other.")
    return Days(since, until, open=until > today)


def fetch_bills(
    rt: Runtime,
    source: Reports,
    key: str,
    days: Days,
    *,
    address: str | None = None,
    limits: AskingBounds | None = None,
    tell: Callable[[str], None] = untold,
) -> list[Draft]:
    """Every report of a provider as a draft, all of them or none; a report without a row is left out.

    Nothing is written. Raises `ProviderUnavailable`.
    """
    provider = source.provider
    clock = Clock(rt.services.clock_us, rt.services.pause_us)
    api = Api(provider, address or provider.address, key, clock, limits or AskingBounds(), tell)
    with api.opened():
        found = _of_newer(source, api, days, as_datetime(rt.services.clock_us()).date(), tell)
        if found is None:
            found = [_asked(report, api, days) for report in source.reports]
    span = f"{days.since} to {days.until - DAY}"
    return [
        Draft(each.format, f"{each.title} {span}", each.digest, each.currency, each.lines, is_latest=True)
        for each in found
        if each.lines
    ]


def _of_newer(
    source: Reports, api: Api, days: Days, today: date, tell: Callable[[str], None]
) -> list[BillReport] | None:
    """What the newer reports say; None where they do not have the days, or the key may not read them."""
    if not source.newer or not source.newer_has(days, today):
        return None
    try:
        return [_asked(report, api, days) for report in source.newer]
    except (ProviderRefused, AnswerUnusable) as refused:
        why = refused.message.rstrip(".")
    tell(f"{why}; the older reports are asked, which do not say who was behind it")
    return None


def _asked(report: Callable[[Api, Days], BillReport], api: Api, days: Days) -> BillReport:
    try:
        return report(api, days)
    except BadAnswer as bad:
        why = str(bad)
    raise AnswerUnusable(
        f"{api.provider.title} answered with something else than it documents: {why}.",
        hint="Nothing was imported. Try again; if it stays so, import the provider's export file instead.",
    )
