"""Anthropic's Usage and Cost Analytics API: tokens and money by day, model, key, workspace and who was behind it.

In beta since 2026-10-29, for the last 365 days and none before 2026, a month at a time. Costs are decimal texts in
cents, after discounts. Tokens and money are two bills, as in the reports before it; the forms are those of the
provider's own library.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

from tallygate.core.moments import as_datetime
from tallygate.core.statements import BilledTokens, TokenClass
from tallygate.statements.apis import answers
from tallygate.statements.apis.anthropic import ANTHROPIC, CENTS, CLASSES, tokens_of
from tallygate.statements.apis.asking import Api, BadAnswer, Query

USAGE, COSTS = "anthropic_usage_analytics", "anthropic_cost_analytics"
FIRST_DAY, KEPT_DAYS = date(2026, 1, 1), 365
_BETA = {"anthropic-beta": "analytics-usage-cost-2026-08-24"}
_MONTH = timedelta(days=31)
_ROWS_PER_PAGE = "1000"
_GROUPS = ("model", "api_key_id", "workspace_id", "actor")
# How each kind of identity names itself, the one that people know first.
_WHO = ("email_address", "name", "user_id", "service_account_id", "api_key_id", "subject")


def has_days(days: answers.Days, today: date) -> bool:
    """Whether this API still, or already, knows all of these days."""
    return days.since >= max(FIRST_DAY, today - timedelta(days=KEPT_DAYS))


def usage(api: Api, days: answers.Days) -> answers.BillReport:
    """The tokens of each day, model, key, workspace and identity."""
    rows = list(answers.bounded(api, _rows(api, "/v1/organizations/analytics/usage", days, _GROUPS)))
    lines = []
    for number, (day, row) in enumerate(rows, 1):
        counts = row.needed("usage")
        model, key, workspace, who = names = _names(row.needed("group"))
        told = {"model": model, "key": key or who, "workspace": workspace, "requests": counts.count("requests")}
        lines.append(answers.day_line(USAGE, ANTHROPIC, number, day, names, tokens=_tokens(counts, model), **told))
    return answers.BillReport(USAGE, "Anthropic usage analytics", "USD", tuple(lines), answers.digest_of(rows))


def costs(api: Api, days: answers.Days) -> answers.BillReport:
    """The money of each day, model, key, workspace, identity and kind of token; of tools by what they are."""
    groups = (*_GROUPS, "cost_type", "token_type")
    rows = list(answers.bounded(api, _rows(api, "/v1/organizations/analytics/cost", days, groups)))
    paid = [row.needed("cost") for _, row in rows]
    currency = answers.one_currency([each.text("currency") for each in paid])
    if currency != "USD":
        raise BadAnswer(f"its amounts are in {currency}, whose smallest unit is not documented")
    lines = []
    for number, ((day, row), each) in enumerate(zip(rows, paid, strict=True), 1):
        group = row.needed("group")
        model, key, workspace, who = _names(group)
        amount = each.cost("amount", shift=CENTS)
        kind, of = group.text("token_type"), group.text("cost_type")
        token_class = CLASSES.get(kind, TokenClass.OTHER) if kind else None if of == "tokens" else TokenClass.OTHER
        told = {"model": model, "key": key or who, "workspace": workspace, "token_class": token_class}
        names = (model, key, workspace, who, of, kind)
        lines.append(answers.day_line(COSTS, ANTHROPIC, number, day, names, cost_nanos=amount, **told))
    return answers.BillReport(COSTS, "Anthropic cost analytics", currency, tuple(lines), answers.digest_of(rows))


def _rows(api: Api, path: str, days: answers.Days, groups: tuple[str, ...]) -> Iterator[answers.DayRow]:
    """The rows of all days, asked for a month at a time; each names its own day."""
    begin = days.begin
    until = datetime.combine(days.until, time(), UTC)
    # An end has to be named; one that lies ahead may be refused.
    end_of_all = until if days.end is not None else min(until, as_datetime(api.clock.now_us()).replace(microsecond=0))
    while begin < end_of_all:
        end = min(begin + _MONTH, end_of_all)
        for row in answers.paged(api, path, _query(begin, end, groups), _BETA):
            day = row.day("starting_at", "ending_at")
            if day not in days or not begin <= day < begin + _MONTH:
                raise BadAnswer(f"{row.where} is of {day:%Y-%m-%d}, which was not asked for")
            yield day, row
        begin += _MONTH


def _query(begin: datetime, end: datetime, groups: tuple[str, ...]) -> Query:
    return [
        ("starting_at", f"{begin:%Y-%m-%dT%H:%M:%SZ}"),
        ("ending_at", f"{end:%Y-%m-%dT%H:%M:%SZ}"),
        ("time_bucket_width", "1d"),
        ("order_by", "time"),
        ("order", "asc"),
        ("limit", _ROWS_PER_PAGE),
        *(("group_by[]", name) for name in groups),
    ]


def _names(group: answers.Fields) -> tuple[str | None, str | None, str | None, str | None]:
    """Model, key, workspace, and whose it was."""
    actor = group.object("actor")
    who = None if actor is None else next((name for each in _WHO if (name := actor.text(each))), None)
    return group.text("model"), group.text("api_key_id"), group.text("workspace_id"), who


def _tokens(counts: answers.Fields, model: str | None) -> BilledTokens:
    """The tokens of a row; of tools without a model there are none."""
    found = tokens_of(counts)
    return BilledTokens() if model is None and not (found.read or found.output) else found
