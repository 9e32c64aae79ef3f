"""What was spent by FOCUS, the FinOps Open Cost and Usage Specification: the columns of its Cost and Usage dataset.

The table below is our own, of version 1.4 (ratified 2026-06-04; https://focus.finops.org/focus-specification/, dataset
"Cost and Usage", looked up 2026-11-30). With `VERSION_1_0` it has the columns of version 1.0 (2024-06-20), which is the
last one that the specification's own validator (focus-validator 1.0.0) knows. A response is a row for each kind of its
tokens, since each has a price of its own; together the rows cost what the ledger says, to the last digit.

Costs are what the use costs at API prices. No bill is known here, so billed, effective, contracted and list cost are
one amount, and what nobody knows is null, as the specification wants it. Where a figure comes from stands in columns of
our own, which begin with `x_`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import NamedTuple

from tallygate.core.moments import as_datetime, iso
from tallygate.core.money import exact_text
from tallygate.core.values import value
from tallygate.reports.export import SpentRow, sheet_pieces
from tallygate.reports.usage import cell

VERSION_1_0, VERSION_1_4 = "1.0", "1.4"
VERSIONS = (VERSION_1_4, VERSION_1_0)
_UNKNOWN = "Unknown"
_MILLION = 1_000_000
_TITLES = {
    "anthropic": "Anthropic", "openai": "OpenAI", "google": "Google", "aws": "Amazon Web Services",
    "bedrock": "Amazon Web Services", "vertex": "Google", "azure": "Microsoft", "x-ai": "xAI", "deepseek": "DeepSeek",
    "mistral": "Mistral AI", "moonshotai": "Moonshot AI", "openrouter": "OpenRouter", "github-copilot": "GitHub",
    "qwen": "Alibaba Cloud",
}  # fmt: skip


class ChargeMeter(NamedTuple):
    """One kind of what a response used: how much, in which unit, at how many nano-dollars for a million or for one."""

    name: str
    quantity: int
    unit: str
    rate_nanos: int | None
    block: int


@value(frozen=True, slots=True)
class Charge:
    """One row: a response, what of it this is, and what that cost."""

    row: SpentRow
    meter: ChargeMeter
    cost_nanos: int


def charges(row: SpentRow) -> list[Charge]:
    """A response as its charges, one for each kind of tokens that it used; their costs add up to its own."""
    rates, tokens = row.price.rates_for(row.tokens.context), row.tokens
    counted = (
        ("Input Tokens", tokens.fresh_input, rates.input_nanos),
        ("Cached Input Tokens", tokens.cache_read, rates.cache_read_nanos),
        ("Cache Write Tokens, 5 Minutes", tokens.cache_write_5m, rates.cache_write_5m_nanos),
        ("Cache Write Tokens, 1 Hour", tokens.cache_write_1h, rates.cache_write_1h_nanos),
        ("Output Tokens", tokens.output, rates.output_nanos),
    )
    meters = [ChargeMeter(name, count, "Tokens", rate, _MILLION) for name, count, rate in counted if count]
    # Rounded down each; what the sum lacks, less than one nano-dollar a kind, is put where most was spent.
    costs = [meter.quantity * (meter.rate_nanos or 0) // _MILLION for meter in meters]
    beside = row.cost_nanos - sum(costs)
    if costs and 0 <= beside <= len(costs):
        costs[costs.index(max(costs))] += beside
    elif beside > 0 and row.web_searches:
        per_search = row.price.per_search_nanos if row.price.per_search_nanos * row.web_searches == beside else None
        meters.append(ChargeMeter("Web Searches", row.web_searches, "Searches", per_search, 1))
        costs.append(beside)
    elif costs:
        # The cost was not made of these rates alone: a tier, a fee, or what the user has corrected.
        whole = sum(costs)
        costs = [cost * row.cost_nanos // whole for cost in costs] if whole else [0] * len(costs)
        costs[costs.index(max(costs))] += row.cost_nanos - sum(costs)
        meters = [meter._replace(rate_nanos=None) for meter in meters]
    else:
        meters, costs = [ChargeMeter("Requests", 1, "Requests", None, 1)], [row.cost_nanos]
    return [Charge(row, meter, cost) for meter, cost in zip(meters, costs, strict=True)]


def focus_rows(rows: Iterable[SpentRow], version: str) -> Iterator[bytes]:
    """The sheet, piece by piece: the columns of a version in their order, then our own."""
    columns = {name: of for name, (of, known) in _COLUMNS.items() if version in known}
    return sheet_pieces(
        [*columns, *_OWN],
        (
            [*map(_cell, [of(charge) for of in columns.values()]), *map(_cell, [of(row) for of in _OWN.values()])]
            for row in rows
            for charge in charges(row)
        ),
    )


def _cell(found: str | FocusNumber | None) -> str:
    return found.text if isinstance(found, FocusNumber) else cell(found)


class FocusNumber(NamedTuple):
    """A number as it is written: always with a point, since readers take the type of a column from its values."""

    text: str


def _decimal(nanos: int) -> FocusNumber:
    text = exact_text(nanos)
    return FocusNumber(text if "." in text else f"{text}.0")


def _cost(charge: Charge) -> FocusNumber:
    return _decimal(charge.cost_nanos)


def _unit_price(charge: Charge) -> FocusNumber | None:
    rate = charge.meter.rate_nanos
    return None if rate is None else _decimal(rate)


def _quantity(charge: Charge) -> FocusNumber:
    return _decimal(charge.meter.quantity * (1_000_000_000 // charge.meter.block))


def _consumed(charge: Charge) -> FocusNumber:
    return _decimal(charge.meter.quantity * 1_000_000_000)


def _pricing_unit(charge: Charge) -> str:
    block = charge.meter.block
    return charge.meter.unit if block == 1 else f"{block} {charge.meter.unit}"


def provider_title(row: SpentRow) -> str:
    """Who serves the model, else who makes it; by the name that they have in bills."""
    name = row.provider or row.maker
    if not name:
        return _UNKNOWN
    return _TITLES.get(name.lower(), name if re.search("[A-Z]", name) else name.replace("-", " ").title())


def _provider(charge: Charge) -> str:
    return provider_title(charge.row)


def _moment(charge: Charge, seconds: int = 0) -> str:
    return f"{as_datetime(charge.row.at_us) + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"


def _month(charge: Charge, *, following: bool = False) -> str:
    first = as_datetime(charge.row.at_us).replace(day=1)
    return f"{first + timedelta(days=31) if following else first:%Y-%m-01T00:00:00Z}"


def _account(charge: Charge) -> str:
    return charge.row.tenant


def _nobody_knows(_charge: Charge) -> None:
    return None


Column = tuple[Callable[[Charge], "str | FocusNumber | None"], tuple[str, ...]]
_BOTH, _FIRST, _LATER = (VERSION_1_0, VERSION_1_4), (VERSION_1_0,), (VERSION_1_4,)
_NULL: Column = (_nobody_knows, _BOTH)
_NULL_LATER: Column = (_nobody_knows, _LATER)

# In the order of the alphabet, as the specification lists them.
_COLUMNS: dict[str, Column] = {
    "AllocatedMethodDetails": _NULL_LATER,
    "AllocatedMethodId": _NULL_LATER,
    "AllocatedResourceId": _NULL_LATER,
    "AllocatedResourceName": _NULL_LATER,
    "AllocatedTags": _NULL_LATER,
    "AvailabilityZone": _NULL,
    "BilledCost": (_cost, _BOTH),
    "BillingAccountId": (_account, _BOTH),
    "BillingAccountName": (_account, _BOTH),
    "BillingAccountType": (lambda _: "Tenant", _LATER),
    "BillingCurrency": (lambda _: "USD", _BOTH),
    "BillingPeriodEnd": (lambda charge: _month(charge, following=True), _BOTH),
    "BillingPeriodStart": (_month, _BOTH),
    "CapacityReservationId": _NULL_LATER,
    "CapacityReservationStatus": _NULL_LATER,
    "ChargeCategory": (lambda _: "Usage", _BOTH),
    "ChargeClass": _NULL,
    "ChargeDescription": (lambda charge: f"{charge.row.model or _UNKNOWN}: {charge.meter.name}", _BOTH),
    "ChargeFrequency": (lambda _: "Usage-Based", _BOTH),
    "ChargePeriodEnd": (lambda charge: _moment(charge, 1), _BOTH),
    "ChargePeriodStart": (_moment, _BOTH),
    "CommitmentDiscountCategory": _NULL,
    "CommitmentDiscountId": _NULL,
    "CommitmentDiscountName": _NULL,
    "CommitmentDiscountQuantity": _NULL_LATER,
    "CommitmentDiscountStatus": _NULL,
    "CommitmentDiscountType": _NULL,
    "CommitmentDiscountUnit": _NULL_LATER,
    "ConsumedQuantity": (_consumed, _BOTH),
    "ConsumedUnit": (lambda charge: charge.meter.unit, _BOTH),
    "ContractApplied": _NULL_LATER,
    "ContractedCost": (_cost, _BOTH),
    "ContractedUnitPrice": (_unit_price, _BOTH),
    "EffectiveCost": (_cost, _BOTH),
    "HostProviderName": (_provider, _LATER),
    "InvoiceId": _NULL_LATER,
    "InvoiceIssuerName": (_provider, _BOTH),
    "ListCost": (_cost, _BOTH),
    "ListUnitPrice": (_unit_price, _BOTH),
    "PricingCategory": (lambda _: "Standard", _BOTH),
    "PricingCurrency": (lambda _: "USD", _LATER),
    "PricingCurrencyContractedUnitPrice": (_unit_price, _LATER),
    "PricingCurrencyEffectiveCost": (_cost, _LATER),
    "PricingCurrencyListUnitPrice": (_unit_price, _LATER),
    "PricingQuantity": (_quantity, _BOTH),
    "PricingUnit": (_pricing_unit, _BOTH),
    "ProviderName": (_provider, _FIRST),
    "PublisherName": (_provider, _FIRST),
    "RegionId": (lambda charge: charge.row.geo, _BOTH),
    "RegionName": (lambda charge: charge.row.geo, _BOTH),
    "ResourceId": (lambda charge: charge.row.session or charge.row.session_id, _BOTH),
    "ResourceName": _NULL,
    "ResourceType": (lambda _: "Session", _BOTH),
    "ServiceCategory": (lambda _: "AI and Machine Learning", _BOTH),
    "ServiceName": (_provider, _BOTH),
    "ServiceProviderName": (_provider, _LATER),
    "ServiceSubcategory": (lambda _: "Generative AI", _LATER),
    "SkuId": (lambda charge: charge.row.price.key or charge.row.model or _UNKNOWN, _BOTH),
    "SkuMeter": (lambda charge: charge.meter.name, _LATER),
    "SkuPriceDetails": _NULL_LATER,
    "SkuPriceId": (lambda charge: f"{charge.row.price_id or _UNKNOWN}: {charge.meter.name}", _BOTH),
    "SubAccountId": (lambda charge: charge.row.project or charge.row.folder, _BOTH),
    "SubAccountName": (lambda charge: charge.row.project or charge.row.folder, _BOTH),
    "SubAccountType": (lambda charge: "Project" if charge.row.project or charge.row.folder else None, _LATER),
    "Tags": _NULL,
}
_OWN: dict[str, Callable[[SpentRow], str | None]] = {
    "x_CostIs": lambda _: "API price",
    "x_Kind": lambda row: row.kind,
    "x_At": lambda row: iso(row.at_us),
    "x_Response": lambda row: row.response,
    "x_Call": lambda row: row.call_id,
    "x_Session": lambda row: row.session_id,
    "x_Client": lambda row: row.client,
    "x_Model": lambda row: row.model,
    "x_Agent": lambda row: row.agent_type or row.agent,
    "x_Skill": lambda row: row.skill,
    "x_Branch": lambda row: row.branch,
    "x_Basis": lambda row: row.basis,
    "x_Quality": lambda row: row.quality,
    "x_Rule": lambda row: row.rule,
    "x_Certainty": lambda row: row.price.certainty.value,
    "x_PriceSource": lambda row: row.price.source or None,
    "x_PriceVersion": lambda row: row.price.version or None,
    "x_PriceValidFrom": lambda row: row.price.valid_from,
}
