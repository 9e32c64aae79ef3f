"""GitHub's billing reports as far as they bill Copilot: AI usage, premium requests, and metered use of all products."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from tallygate.core.statements import BilledTokens, Billing, Grain, TokenClass
from tallygate.statements.reading import cells
from tallygate.statements.reading.cells import Row
from tallygate.statements.reading.columns import Columns, Span, by_time, needs

_PROVIDER = "github-copilot"
# A report of all products bills builds and storage too, which is nobody's use of a model.
_PRODUCTS = ("copilot", "spark", "models")

# --- reports with amounts, as tables and as answers of the REST API --------------------------------------------------


def _first(row: Row, *columns: str) -> str | None:
    """The first of these cells that names anything."""
    return next((found for column in columns if (found := cells.name(row, column))), None)


def _user(row: Row) -> str | None:
    return _first(row, "username", "user")


def _sku(row: Row) -> str:
    return cells.required(row, "sku", "what is billed")


def _is_of_another(row: Row) -> bool:
    product = cells.cell_text(row, "product").casefold()
    return bool(product) and not product.startswith(_PRODUCTS)


def _tokens(row: Row) -> BilledTokens:
    """The token columns of the AI usage report. It does not say whether `input` contains what the cache gave and took.

    An input that is smaller cannot contain it, and with no cache there is nothing to contain.
    """
    read, cached, written = (cells.count(row, column) for column in ("input", "cache_read", "cache_write"))
    cache = (cached or 0) + (written or 0)
    apart = read is not None and (cache == 0 or read < cache)
    return BilledTokens(
        fresh_input=read if apart else None,
        cache_read=cached,
        cache_write=written,
        output=cells.count(row, "output"),
        read=cells.total(read, cached, written) if apart else None,
    )


def _charge(row: Row, columns: Sequence[str]) -> tuple[Billing, int | None]:
    """What is billed after discounts. What the plan covers is discounted as a whole: its cost is what it is worth."""
    net, gross, discount = cells.cost(row, columns[0]), *(cells.amount(row, column) for column in columns[1:])
    covered = net == 0 and gross is not None and gross > 0 and discount is not None and discount > 0
    return (Billing.INCLUDED, gross) if covered else (Billing.METERED, net)


def _fee(row: Row) -> TokenClass | None:
    """Seats and other fees name no model."""
    return None if cells.name(row, "model") else TokenClass.OTHER


_AMOUNTS = ("net_amount", "gross_amount", "discount_amount")
_date = by_time("date", midnight_is_a_day=True)
FORMAT = Columns(
    name="copilot",
    title="GitHub, billing report of Copilot",
    needs=("date", "sku", "quantity", "unit_type", "gross_amount", "net_amount"),
    provider=_PROVIDER,
    first=("date",),
    skips=_is_of_another,
    span=_date,
    parts={
        "model": "model",
        "tokens": _tokens,
        "charge": lambda row: _charge(row, _AMOUNTS),
        "token_class": _fee,
        "workspace": "organization",
    },
    apart=(_sku, "model", _user, "workspace", "repository", "cost_center_name"),
).form

_API_AMOUNTS = ("netamount", "grossamount", "discountamount")
_YEAR, _MONTH, _DAY, _HOUR = (f"timeperiod.{each}" for each in ("year", "month", "day", "hour"))
_YEARS = range(2000, 2100)
_api_lacks = needs("sku", "unittype", *_API_AMOUNTS)


def _span(row: Row) -> Span:
    """The days of an item: its own date, or the period of the report it stands in."""
    if cells.cell_text(row, "date"):
        return _date(row)
    year, month, day, hour = (cells.count(row, column) for column in (_YEAR, _MONTH, _DAY, _HOUR))
    try:
        at = datetime(year if year and year in _YEARS else 0, month or 1, day or 1, hour or 0, tzinfo=UTC)
    except (ValueError, OverflowError):
        raise cells.bad(row, _YEAR, "a year, with a month and a day that are in the calendar") from None
    if month is None:
        return Grain.MONTH, at, at.replace(year=at.year + 1)
    if day is None:
        return Grain.MONTH, at, at.replace(year=at.year + month // 12, month=month % 12 + 1)
    return (Grain.DAY, at, at + cells.DAY) if hour is None else (Grain.HOUR, at, at + cells.HOUR)


# An item of an answer of GitHub's billing API: AI credits, premium requests, or use of all products.
OF_API = Columns(
    name="copilot_api",
    title="GitHub, answer of the billing API for Copilot",
    needs=_api_lacks,
    recognises=lambda header: not _api_lacks(header) and (_YEAR in header or "date" in header),
    provider=_PROVIDER,
    first=("date", _YEAR),
    skips=_is_of_another,
    span=_span,
    parts={
        "model": "model",
        "charge": lambda row: _charge(row, _API_AMOUNTS),
        "token_class": _fee,
        "workspace": lambda row: _first(row, "organization", "organizationname", "enterprise"),
    },
    # Behind the model whose use a report or one of its items is.
    apart=(
        "until", _sku, "model",
        "user", "organization", "organizationname", "enterprise", "repository", "repositoryname", "costcenter.name",
    ),
).form  # fmt: skip

# --- premium requests without amounts --------------------------------------------------------------------------------

_OLD = ("timestamp", "user", "model", "requests used", "exceeds monthly quota")
_DAILY = ("date", "username", "model", "quantity", "exceeds_quota", "total_monthly_quota")


def _requests_lack(header: Sequence[str]) -> tuple[str, ...]:
    # Reports with amounts say all of this and more.
    if not needs(*_DAILY)(header) and "net_amount" not in header:
        return ()
    return needs(*_OLD)(header)


def _is_old(row: Row) -> bool:
    return "timestamp" in row


def _of_requests(row: Row) -> Span:
    return (by_time("timestamp", Grain.REQUEST) if _is_old(row) else by_time("date", Grain.DAY))(row)


def _used(row: Row) -> tuple[int, ...]:
    """How many were used, weighted by model, so that it is no count of requests: it tells single ones apart."""
    column = "requests used" if _is_old(row) else "quantity"
    used = cells.amount(row, column)
    if used is None or used < 0:
        raise cells.bad(row, column, "a number of requests")
    return (used,) if _of_requests(row)[0] is Grain.REQUEST else ()


def _who_pays(row: Row) -> Billing:
    column = "exceeds monthly quota" if _is_old(row) else "exceeds_quota"
    beyond = cells.cell_text(row, column).casefold()
    if beyond not in {"true", "false"}:
        raise cells.bad(row, column, "True or False")
    return Billing.METERED if beyond == "true" else Billing.INCLUDED


OF_REQUESTS = Columns(
    name="copilot_requests",
    title="GitHub, premium requests without amounts",
    needs=_requests_lack,
    provider=_PROVIDER,
    first=("timestamp", "date"),
    span=_of_requests,
    parts={
        "model": lambda row: cells.required(row, "model", "a model"),
        "billing": _who_pays,
        "workspace": "organization",
    },
    apart=("model", _user, _used),
).form
