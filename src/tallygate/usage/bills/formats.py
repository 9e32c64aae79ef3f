"""All formats of bills, in the order in which they are asked and shown."""

from __future__ import annotations

from tallygate.usage.bills import (
    anthropic_cost,
    anthropic_usage,
    copilot,
    cursor,
    cursor_events,
    generic,
    litellm,
    openai_costs,
    openai_usage,
    openrouter,
)
from tallygate.usage.bills.form import BillFormat

FORMATS: tuple[BillFormat, ...] = (
    anthropic_usage.FORMAT,
    anthropic_cost.FORMAT,
    openai_usage.FORMAT,
    openai_costs.FORMAT,
    openrouter.FORMAT,
    openrouter.BY_DAY,
    cursor.FORMAT,
    cursor_events.FORMAT,
    litellm.FORMAT,
    copilot.FORMAT,
    copilot.OF_API,
    copilot.OF_REQUESTS,
    generic.FORMAT,
)
