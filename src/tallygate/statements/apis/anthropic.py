"""Anthropic's Admin API: tokens (`usage_report/messages`) and money (`cost_report`) of an organisation by day.

Costs are decimal texts in cents. Nothing but the workspace and the model is in both reports, so they are two bills:
one tells tokens and no money, the other money and no tokens. Costs of the priority tier are in neither.
"""

from __future__ import annotations

from tallygate.core.statements import BilledTokens, TokenClass
from tallygate.statements.apis import answers
from tallygate.statements.apis.asking import Api, BadAnswer, Provider, Query

USAGE, COSTS = "anthropic_usage_api", "anthropic_cost_api"
ANTHROPIC = Provider(
    name="anthropic",
    title="Anthropic",
    address="https://api.anthropic.com",
    address_variable="TALLYGATE_ANTHROPIC_URL",
    variables=("ANTHROPIC_ADMIN_KEY", "ANTHROPIC_ADMIN_API_KEY"),
    key_kind="It takes an Admin API key (sk-ant-admin...) of an organisation, which an admin makes in the Claude "
    "Console; the keys that models are called with, and personal accounts, cannot read usage.",
    headers=lambda key: {"x-api-key": key, "anthropic-version": "2023-06-01"},
)
CENTS = -2
_PAGE_DAYS = "31"
CLASSES = {
    "uncached_input_tokens": TokenClass.INPUT,
    "cache_read_input_tokens": TokenClass.CACHE_READ,
    "cache_creation.ephemeral_5m_input_tokens": TokenClass.CACHE_WRITE,
    "cache_creation.ephemeral_1h_input_tokens": TokenClass.CACHE_WRITE,
    "output_tokens": TokenClass.OUTPUT,
}
# What tells two lines of one day apart; empty where it does not apply.
_GROUPS = ("model", "api_key_id", "workspace_id")
_COST_NAMES = (
    "workspace_id", "description", "cost_type", "model", "token_type", "service_tier", "context_window",
    "inference_geo",
)  # fmt: skip


def usage(api: Api, days: answers.Days) -> answers.BillReport:
    """The tokens of each day, model, key and workspace."""
    query = _query(days, *_GROUPS)
    buckets = answers.paged(api, "/v1/organizations/usage_report/messages", query)
    rows = answers.rows_of(api, buckets, "starting_at", "ending_at", days)
    lines = []
    for number, (day, row) in enumerate(rows, 1):
        model, key, workspace = names = [row.text(name) for name in _GROUPS]
        told = {"model": model, "key": key, "workspace": workspace, "tokens": tokens_of(row)}
        lines.append(answers.day_line(USAGE, ANTHROPIC, number, day, names, **told))
    return answers.BillReport(USAGE, "Anthropic usage report", "USD", tuple(lines), answers.digest_of(rows))


def costs(api: Api, days: answers.Days) -> answers.BillReport:
    """The money of each day, workspace and item; an item is a model's token class, or a tool."""
    buckets = answers.paged(api, "/v1/organizations/cost_report", _query(days, "workspace_id", "description"))
    rows = answers.rows_of(api, buckets, "starting_at", "ending_at", days)
    currency = answers.one_currency([row.text("currency") for _, row in rows])
    # The amounts are in its smallest unit, which is a hundredth for dollars; for others nobody says what.
    if currency != "USD":
        raise BadAnswer(f"its amounts are in {currency}, whose smallest unit is not documented")
    lines = []
    for number, (day, row) in enumerate(rows, 1):
        cost = row.cost("amount", shift=CENTS)
        token_class = class_of(row.text("token_type"), row.text("cost_type"))
        told = {"model": row.text("model"), "workspace": row.text("workspace_id"), "token_class": token_class}
        names = [row.text(name) for name in _COST_NAMES]
        lines.append(answers.day_line(COSTS, ANTHROPIC, number, day, names, cost_nanos=cost, **told))
    return answers.BillReport(COSTS, "Anthropic cost report", currency, tuple(lines), answers.digest_of(rows))


def _query(days: answers.Days, *groups: str) -> Query:
    query = [("starting_at", f"{days.begin:%Y-%m-%dT%H:%M:%SZ}"), ("bucket_width", "1d"), ("limit", _PAGE_DAYS)]
    if days.end is not None:
        query.append(("ending_at", f"{days.end:%Y-%m-%dT%H:%M:%SZ}"))
    return [*query, *(("group_by[]", name) for name in groups)]


def tokens_of(row: answers.Fields) -> BilledTokens:
    """The tokens of a row by class; what it leaves out is not told."""
    fresh, cached = row.count("uncached_input_tokens"), row.count("cache_read_input_tokens")
    written = None
    if (creation := row.object("cache_creation")) is not None:
        five, hour = creation.count("ephemeral_5m_input_tokens"), creation.count("ephemeral_1h_input_tokens")
        # Half of a sum would be taken for all of it: where one part is left out, none is told.
        written = None if five is None or hour is None else five + hour
    read = None if fresh is None or cached is None or written is None else fresh + cached + written
    return BilledTokens(fresh, cached, written, row.count("output_tokens"), read)


def class_of(kind: str | None, of: str | None) -> TokenClass | None:
    """What money was paid for, by the kind of tokens and of cost; None where the report does not say which tokens."""
    if kind is not None:
        return CLASSES.get(kind, TokenClass.OTHER)
    return None if of in (None, "tokens") else TokenClass.OTHER
