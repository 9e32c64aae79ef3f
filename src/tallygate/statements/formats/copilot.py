"""GitHub's billing reports as far as they bill Copilot: AI usage, premium requests, and metered use of all products."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from tallygate.core.statements import BilledTokens, Billing, BillLine, Grain, TokenClass
from tallygate.statements.reading import cells
from tallygate.statements.reading.form import BillFormat, Numbered, Row, complete, needs

REPORT, REQUESTS, API = "copilot", "copilot_requests", "copilot_api"
_PROVIDER = "github-copilot"
# A report of all products bills builds and storage too, which is nobody's use of a model.
_PRODUCTS = ("copilot", "spark", "models")
_USERS = ("username", "user")


def _user(row: Row) -> str | None:
    return next((found for column in _USERS if (found := cells.name(row, column))), None)


_lacks = needs("date", "sku", "quantity", "unit_type", "gross_amount", "net_amount")


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


_AMOUNTS = ("net_amount", "gross_amount", "discount_amount")


def _charge(row: Row, columns: Sequence[str] = _AMOUNTS) -> tuple[Billing, int | None]:
    """What is billed after discounts. What the plan covers is discounted as a whole: its cost is what it is worth."""
    net, gross, discount = (cells.amount(row, column) for column in columns)
    if net is None:
        raise cells.bad(row, columns[0], "an amount such as 1.25")
    covered = net == 0 and gross is not None and gross > 0 and discount is not None and discount > 0
    return (Billing.INCLUDED, gross) if covered else (Billing.METERED, net)


def _read(numbered: Numbered) -> Iterator[BillLine]:
    number, row = numbered
    product = cells.said(row, "product").casefold()
    if cells.holds_nothing(row, "date") or (product and not product.startswith(_PRODUCTS)):
        return
    at, timed = cells.moment(row, "date")
    grain, until = cells.day_or_hour(at, timed and (at.hour, at.minute) != (0, 0))
    billing, cost = _charge(row)
    model, sku = cells.name(row, "model"), cells.required(row, "sku", "what is billed")
    organization = cells.name(row, "organization")
    names = (model, _user(row), organization, *(cells.name(row, each) for each in ("repository", "cost_center_name")))
    yield BillLine(
        number=number,
        grain=grain,
        at=at,
        until=until,
        provider=_PROVIDER,
        identity=cells.identity(REPORT, grain, at, sku, *names),
        model=model,
        tokens=_tokens(row),
        cost_nanos=cost,
        # Seats and other fees name no model.
        token_class=None if model else TokenClass.OTHER,
        workspace=organization,
        billing=billing,
    )


FORMAT = BillFormat(REPORT, "GitHub, billing report of Copilot", complete(_lacks), _read, _lacks)

_API_AMOUNTS = ("netamount", "grossamount", "discountamount")
_YEAR, _MONTH, _DAY, _HOUR = (f"timeperiod.{each}" for each in ("year", "month", "day", "hour"))
# Under what the REST API names whose use a report or one of its items is.
_WHOSE = ("user", "organization", "organizationname", "enterprise", "repository", "repositoryname", "costcenter.name")
_YEARS = range(2000, 2100)

_api_lacks = needs("sku", "unittype", *_API_AMOUNTS)


def _is_api(header: Sequence[str]) -> bool:
    return not _api_lacks(header) and (_YEAR in header or "date" in header)


def _span(row: Row) -> tuple[Grain, datetime, datetime]:
    """The days of an item: its own date, or the period of the report it stands in."""
    if cells.said(row, "date"):
        at, timed = cells.moment(row, "date")
        grain, until = cells.day_or_hour(at, timed and (at.hour, at.minute) != (0, 0))
        return grain, at, until
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


def _read_api(numbered: Numbered) -> Iterator[BillLine]:
    """An item of an answer of GitHub's billing API: AI credits, premium requests, or use of all products."""
    number, row = numbered
    product = cells.said(row, "product").casefold()
    if cells.holds_nothing(row, "date" if "date" in row else _YEAR) or (product and not product.startswith(_PRODUCTS)):
        return
    grain, at, until = _span(row)
    billing, cost = _charge(row, _API_AMOUNTS)
    model, sku = cells.name(row, "model"), cells.required(row, "sku", "what is billed")
    whose = [cells.name(row, column) for column in _WHOSE]
    yield BillLine(
        number=number,
        grain=grain,
        at=at,
        until=until,
        provider=_PROVIDER,
        identity=cells.identity(API, grain, at, until.isoformat(), sku, model, *whose),
        model=model,
        cost_nanos=cost,
        token_class=None if model else TokenClass.OTHER,
        workspace=whose[1] or whose[2] or whose[3],
        billing=billing,
    )


OF_API = BillFormat(API, "GitHub, answer of the billing API for Copilot", _is_api, _read_api, _api_lacks)

_OLD = ("timestamp", "user", "model", "requests used", "exceeds monthly quota")
_DAILY = ("date", "username", "model", "quantity", "exceeds_quota", "total_monthly_quota")


def _requests_lack(header: Sequence[str]) -> tuple[str, ...]:
    # Reports with amounts say all of this and more.
    if not needs(*_DAILY)(header) and "net_amount" not in header:
        return ()
    return needs(*_OLD)(header)


def _read_requests(numbered: Numbered) -> Iterator[BillLine]:
    """Premium requests that were used: weighted by model, so their number is no count of requests. No money."""
    number, row = numbered
    when, exceeds = ("timestamp", "exceeds monthly quota") if "timestamp" in row else ("date", "exceeds_quota")
    if cells.holds_nothing(row, when):
        return
    at, timed = cells.moment(row, when)
    grain = Grain.REQUEST if timed and when == "timestamp" else Grain.DAY
    model, user = cells.required(row, "model", "a model"), _user(row)
    column = "requests used" if when == "timestamp" else "quantity"
    used = cells.amount(row, column)
    if used is None or used < 0:
        raise cells.bad(row, column, "a number of requests")
    beyond = cells.said(row, exceeds).casefold()
    if beyond not in {"true", "false"}:
        raise cells.bad(row, exceeds, "True or False")
    yield BillLine(
        number=number,
        grain=grain,
        at=at,
        until=None if grain is Grain.REQUEST else at + cells.DAY,
        provider=_PROVIDER,
        identity=cells.identity(REQUESTS, grain, at, model, user, *((used,) if grain is Grain.REQUEST else ())),
        model=model,
        workspace=cells.name(row, "organization"),
        billing=Billing.METERED if beyond == "true" else Billing.INCLUDED,
    )


OF_REQUESTS = BillFormat(
    REQUESTS, "GitHub, premium requests without amounts", complete(_requests_lack), _read_requests, _requests_lack
)
