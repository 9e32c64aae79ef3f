"""What a call or a response weighs in each kind of budget: money, tokens, or the number of calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tallygate.core.model import Budget, CallRequest
from tallygate.core.money import CALLS, COUNTED, NANOS_PER_UNIT, TOKENS, exact_text, json_number, to_unit_nanos


@dataclass(frozen=True, slots=True)
class Amount:
    """One call or response in every measure that a budget may have."""

    usd_nanos: int
    tokens: int = 0
    calls: int = 0

    def of(self, budget: Budget) -> int:
        """What this takes of a budget, in the budget's own unit; money is converted at the budget's own rate."""
        return self.measured(budget.unit, budget.usd_nanos)

    def measured(self, unit: str, usd_per_unit_nanos: int = NANOS_PER_UNIT) -> int:
        """This in a unit: whole tokens or calls, or nano-units of a currency."""
        if unit == TOKENS:
            return self.tokens
        if unit == CALLS:
            return self.calls
        return to_unit_nanos(self.usd_nanos, usd_per_unit_nanos)


NOTHING = Amount(0)


def needed(request: CallRequest) -> Amount:
    """What a request asks of every budget; a question that needs nothing asks whether anything may still be done."""
    if not request.counts:
        return NOTHING
    calls = 0 if request.needed_nanos == request.needed_tokens == 0 else 1
    return Amount(request.needed_nanos, request.needed_tokens, calls)


def in_usd(amount: int, budget: Budget) -> int:
    """An amount of a budget of money in nano-dollars, rounded down; 0 for tokens and calls, which have no price."""
    return 0 if budget.unit in COUNTED else amount * budget.usd_nanos // NANOS_PER_UNIT


def unit_exact(amount: int, unit: str) -> str:
    """An amount of a budget as exact text, for files that are read again."""
    return str(amount) if unit in COUNTED else exact_text(amount)


def unit_number(amount: int, unit: str) -> Any:
    """An amount of a budget as the number a reply carries."""
    return amount if unit in COUNTED else json_number(amount)
