"""GitHub's billing reports as far as they bill Copilot: AI usage, premium requests, and metered use of all products."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tallygate.core.bills import BilledTokens, Billing, BillLine, Grain, TokenClass
from tallygate.usage.bills import cells
from tallygate.usage.bills.form import BillFormat, Numbered, Row, complete, needs

REPORT, REQUESTS = "copilot", "copilot_requests"
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


def _charge(row: Row) -> tuple[Billing, int | None]:
    """What is billed after discounts. What the plan covers is discounted as a whole: its cost is what it is worth."""
    net, gross, discount = (cells.amount(row, column) for column in ("net_amount", "gross_amount", "discount_amount"))
    if net is None:
        raise cells.bad(row, "net_amount", "an amount such as 1.25")
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
