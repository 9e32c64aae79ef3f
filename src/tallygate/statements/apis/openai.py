"""OpenAI's administration API: tokens (`organization/usage/completions`) and money (`organization/costs`) by day.

`input_tokens` holds cached tokens and those written to a cache. Costs name no model but items such as
"gpt-4o-2024-08-06, cached input"; their amounts are in units of the currency, as a number or as text.
"""

from __future__ import annotations

from tallygate.core.statements import BilledTokens
from tallygate.statements.apis import answers
from tallygate.statements.apis.asking import Api, BadAnswer, Provider, Query
from tallygate.statements.formats.openai_costs import item

USAGE, COSTS = "openai_usage_api", "openai_cost_api"
OPENAI = Provider(
    name="openai",
    title="OpenAI",
    address="https://api.openai.com",
    address_variable="TALLYGATE_OPENAI_URL",
    variables=("OPENAI_ADMIN_KEY",),
    key_kind="It takes an admin key (sk-admin-...) of an organisation, which an owner makes in its settings; the keys "
    "of projects, which models are called with, cannot read usage and costs.",
    headers=lambda key: {"authorization": f"Bearer {key}"},
)
_USAGE_DAYS, _COST_DAYS = "31", "180"
_USAGE_GROUPS = ("model", "api_key_id", "project_id")
_COST_GROUPS = ("line_item", "api_key_id", "project_id")


def usage(api: Api, days: answers.Days) -> answers.BillReport:
    """The tokens and requests of each day, model, key and project."""
    query = _query(days, _USAGE_DAYS, *_USAGE_GROUPS)
    buckets = answers.paged(api, "/v1/organization/usage/completions", query)
    rows = answers.rows_of(api, buckets, "start_time", "end_time", days)
    lines = []
    for number, (day, row) in enumerate(rows, 1):
        model, key, project = names = [row.text(name) for name in _USAGE_GROUPS]
        told = {"model": model, "key": key, "workspace": project, "requests": row.count("num_model_requests")}
        lines.append(answers.day_line(USAGE, OPENAI, number, day, names, tokens=_tokens(row), **told))
    return answers.BillReport(USAGE, "OpenAI usage", "USD", tuple(lines), answers.digest_of(rows))


def costs(api: Api, days: answers.Days) -> answers.BillReport:
    """The money of each day, item, key and project. Its quantities stay out: the usage tells those tokens already."""
    query = _query(days, _COST_DAYS, *_COST_GROUPS)
    rows = answers.rows_of(api, answers.paged(api, "/v1/organization/costs", query), "start_time", "end_time", days)
    amounts = [(day, row, row.needed("amount")) for day, row in rows]
    currency = answers.one_currency([amount.text("currency") for _, _, amount in amounts])
    lines = []
    for number, (day, row, amount) in enumerate(amounts, 1):
        line_item, key, project = names = [row.text(name) for name in _COST_GROUPS]
        model, kind = item(line_item)
        cost = amount.cost("value")
        told = {"model": model, "token_class": kind, "key": key, "workspace": project}
        lines.append(answers.day_line(COSTS, OPENAI, number, day, names, cost_nanos=cost, **told))
    return answers.BillReport(COSTS, "OpenAI costs", currency, tuple(lines), answers.digest_of(rows))


def _query(days: answers.Days, page: str, *groups: str) -> Query:
    query = [("start_time", str(int(days.begin.timestamp()))), ("bucket_width", "1d"), ("limit", page)]
    if days.end is not None:
        query.append(("end_time", str(int(days.end.timestamp()))))
    # With brackets, as OpenAI's own library writes a list.
    return [*query, *(("group_by[]", name) for name in groups)]


def _tokens(row: answers.Fields) -> BilledTokens:
    """The classes, disjoint. Where nothing is said of writing to a cache, there was no price for it either."""
    read, cached = row.count("input_tokens"), row.count("input_cached_tokens")
    written, fresh = row.count("input_cache_write_tokens"), row.count("input_uncached_tokens")
    if read is not None and cached is not None:
        fresh = read - cached - (written or 0)
        if fresh < 0:
            raise BadAnswer(f"{row.where}.input_tokens is less than the cached ones among them")
    return BilledTokens(fresh, cached, written, row.count("output_tokens"), read)
