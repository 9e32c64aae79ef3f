"""OpenRouter's activity: requests, tokens and credits by day, model and endpoint, of the last 30 days that are over.

What a request with the user's own key of another provider costs there is told beside the credits. That money is on the
other provider's bill, so it is a line of its own, which is included and not charged.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, time

from tallygate.core.statements import BilledTokens, BillLine
from tallygate.statements.apis.answers import BillReport, Days, Fields, bounded, day_line, digest_of
from tallygate.statements.apis.asking import Api, BadAnswer, Provider
from tallygate.statements.reading.columns import with_own_key

ACTIVITY = "openrouter_activity_api"
KEPT_DAYS = 30
OPENROUTER = Provider(
    name="openrouter",
    title="OpenRouter",
    address="https://openrouter.ai",
    address_variable="TALLYGATE_OPENROUTER_URL",
    variables=("OPENROUTER_MANAGEMENT_KEY", "OPENROUTER_PROVISIONING_KEY", "OPENROUTER_API_KEY"),
    key_kind="It takes a management key (once called provisioning key), which is made under Management Keys in "
    "OpenRouter's settings; the keys that models are called with cannot read the activity.",
    headers=lambda key: {"authorization": f"Bearer {key}"},
)
_NAMES = ("model_permaslug", "model", "provider_name", "endpoint_id")


def activity(api: Api, days: Days) -> BillReport:
    """The requests, tokens and credits of each day and endpoint of a model."""
    found = list(bounded(api, Fields(api.get("/api/v1/activity", [])).objects("data")))
    rows = [(day, row) for row in found if (day := _day(row)) in days]
    lines = [line for number, (day, row) in enumerate(rows, 1) for line in _lines(number, day, row)]
    return BillReport(ACTIVITY, "OpenRouter activity", "USD", tuple(lines), digest_of(rows))


def _day(row: Fields) -> datetime:
    day = row.moment("date")
    if day.time() != time():
        raise BadAnswer(f"{row.where}.date is {day:%Y-%m-%dT%H:%M:%SZ}, not a day")
    return day


def _lines(number: int, day: datetime, row: Fields) -> Iterator[BillLine]:
    charged = day_line(
        ACTIVITY,
        OPENROUTER,
        number,
        day,
        [row.text(name) for name in _NAMES],
        model=row.text("model") or row.text("model_permaslug"),
        tokens=BilledTokens(output=row.count("completion_tokens"), read=row.count("prompt_tokens")),
        cost_nanos=row.cost("usage"),
        requests=row.count("requests"),
    )
    return with_own_key(charged, row.nanos("byok_usage_inference"))
