"""What the page Bills takes: files that a browser hands over, kept by the operations of `tallygate import`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import IO, cast
from urllib.parse import parse_qsl

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from tallygate.core.authority import Authority, Loosening, locked
from tallygate.core.errors import InvalidArgument, TallygateError, UsersOnly
from tallygate.core.money import format_amount
from tallygate.core.statements import Bill
from tallygate.core.text import cleaned, plural
from tallygate.core.values import value
from tallygate.operations.bills.keep import KeptBill, as_kept, delete_bill, keep_bill, read_files
from tallygate.operations.lock_book import standing_now
from tallygate.operations.runtime import Runtime
from tallygate.statements.reading.content import GivenFile

FILES_MAX = 20
_FIELDS_MAX, _FIELD_BYTES_MAX = 20, 4096
_NAME_MAX = 120
# What a refusal names as an option of the command stands on the page as a field.
_FIELDS = {"--format": "the field Format", "--currency": "the field Currency", "`": ""}


@value(frozen=True, slots=True)
class BillForm:
    """A form of the page Bills: files to be imported, or the id of a bill to be taken back."""

    token: str = ""
    take: str | None = None
    format: str | None = None
    currency: str | None = None
    files: tuple[GivenFile, ...] = ()
    fault: str | None = None


@value(frozen=True, slots=True)
class BillsTold:
    """What became of a form: what was done, with the bills that can be taken back, or why nothing was changed."""

    done: str = ""
    fault: str = ""
    fresh: tuple[Bill, ...] = ()


@asynccontextmanager
async def handed_over(request: Request) -> AsyncIterator[BillForm]:
    """A form with its files, which are gone at the end; they lie in memory or in a file that has no name."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        yield _typed(await fields_of(request))
        return
    try:
        form = await request.form(max_files=FILES_MAX, max_fields=_FIELDS_MAX, max_part_size=_FIELD_BYTES_MAX)
    except HTTPException as error:
        yield BillForm(fault=f"The form could not be read: {cleaned(str(error.detail), 200)}")
        return
    try:
        yield _with_files(form)
    finally:
        await form.close()


async def fields_of(request: Request) -> dict[str, str]:
    """The fields of a form without files, the last of each name; the fence has bounded what comes."""
    text = (await request.body()).decode("utf-8", "replace")
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_FIELDS_MAX))
    except ValueError:
        return {}


def _typed(given: Mapping[str, str]) -> BillForm:
    return BillForm(
        given.get("token", ""), given.get("take"), given.get("format") or None, given.get("currency") or None
    )


def _with_files(form: FormData) -> BillForm:
    fields = {name: each for name, each in form.multi_items() if isinstance(each, str)}
    files = [each for _, each in form.multi_items() if isinstance(each, UploadFile)]
    named = tuple(GivenFile(name_given(each.filename), cast("IO[bytes]", each.file)) for each in files if each.size)
    given = _typed(fields)
    return BillForm(given.token, None, given.format, given.currency, named)


def name_given(name: str | None) -> str:
    r"""What a file is called, without the folder it lay in and whatever would act on a reader; it is opened by no name.

    >>> name_given(r"C:\Users\anna\march.csv"), name_given("../../etc/passwd"), name_given(None)
    ('march.csv', 'passwd', 'bill')
    """
    return cleaned((name or "").replace("\\", "/").rpartition("/")[2], _NAME_MAX) or "bill"


def add_bills(rt: Runtime, given: BillForm) -> BillsTold:
    """Keep bills as `tallygate import` does: all are read and checked before any is kept."""
    if given.fault is not None:
        raise InvalidArgument("files", given.fault, hint="Load the page again, or import them by the command.")
    if not given.files:
        raise InvalidArgument("files", "No file with anything in it was chosen.", hint="Choose the export first.")
    drafts = read_files(given.files, form=given.format, currency=given.currency)
    as_kept(rt, drafts)
    kept = [keep_bill(rt, draft) for draft in drafts]
    told = " ".join(_kept_told(draft.name, each) for draft, each in zip(drafts, kept, strict=True))
    return BillsTold(done=told, fresh=tuple(each.bill for each in kept if each.fresh))


def _kept_told(name: str, kept: KeptBill) -> str:
    bill = kept.bill
    if not kept.fresh:
        return f"{name} was there already: nothing was changed."
    amount = "no money" if bill.total_nanos is None else format_amount(bill.total_nanos, bill.currency)
    told = f"{name} imported: {bill.format}, {plural(bill.lines, 'line')}, {amount}."
    if kept.replacing:
        stand, count = ("stands", "counts") if kept.replacing == 1 else ("stand", "count")
        told += f" {plural(kept.replacing, 'line')} {stand} in earlier bills as well, and {count} here from now on."
    return told


def take_back(rt: Runtime, bill_id: str, authority: Authority) -> BillsTold:
    """Let a bill count no more, as `tallygate import delete` does and by the same authority; nothing is erased."""
    if standing_now(rt).lock is not None:
        hint = f"Run in a terminal of your own: tallygate import delete {cleaned(bill_id, 40)}"
        raise locked(Loosening.IMPORT_DELETE, "which is typed in a terminal and nowhere else.", hint=hint)
    authority.require(Loosening.IMPORT_DELETE)
    gone = delete_bill(rt, bill_id)
    name = cleaned(gone.bill.name, _NAME_MAX)
    if not gone.fresh:
        return BillsTold(done=f"{name} was taken back already: nothing was changed.")
    told = f"{name} counts no more ({plural(gone.bill.lines, 'line')}); it stays on record, and can be imported again."
    if gone.again:
        told += f" {plural(gone.again, 'line')} that it had replaced count again in earlier bills."
    return BillsTold(done=told)


def ensure_own(own: bool) -> None:
    """Refuse a form that another page has made."""
    if not own:
        raise UsersOnly("This form was not made by this page.", hint="Load the page again.")


def refused_words(refused: TallygateError) -> str:
    """A refusal of the command as the page says it."""
    text = f"{refused.message} {refused.hint}".strip()
    for option, field in _FIELDS.items():
        text = text.replace(option, field)
    return text
