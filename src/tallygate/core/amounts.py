"""What a call or a response weighs in each kind of budget: money, tokens, or the number of calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tallygate.core.errors import InvalidArgument
from tallygate.core.model import Budget, CallRequest
from tallygate.core.money import (
    CALLS,
    COUNTED,
    NANOS_PER_UNIT,
    TOKENS,
    exact_text,
    json_number,
    parse_amount_nanos,
    to_unit_nanos,
    to_usd_nanos,
)
from tallygate.core.values import value


@value(frozen=True, slots=True)
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


def parse_amount(argument: str, value: str, unit: str, *, allow_zero: bool = False) -> int:
    """An amount of a budget's unit as somebody writes it: money, or a whole number of tokens or calls.

    Raises `InvalidArgument` naming the argument.
    """
    if unit not in COUNTED:
        return parse_amount_nanos(argument, value, allow_zero=allow_zero)
    text = value.replace(",", "").replace("_", "")
    if not (text.isascii() and text.isdigit()) or len(text) > 15 or (int(text) == 0 and not allow_zero):
        least = 0 if allow_zero else 1
        raise InvalidArgument(
            argument,
            f"{argument} must be a whole number of {unit} from {least} to 999,999,999,999,999, not {value!r:.60}.",
        )
    return int(text)


def unit_number(amount: int, unit: str) -> Any:
    """An amount of a budget as the number a reply carries."""
    return amount if unit in COUNTED else json_number(amount)


@dataclass(frozen=True, slots=True)
class Currency:
    """A currency that somebody speaks of amounts in; `basis` says its rate and day, where answers should name them."""

    unit: str = "USD"
    usd_nanos: int = NANOS_PER_UNIT
    basis: str | None = None

    def of_usd(self, nanos: int) -> int:
        """Nano-dollars in this currency, upwards."""
        return to_unit_nanos(nanos, self.usd_nanos)

    def of(self, amount: int, budget: Budget) -> int:
        """An amount of a budget in this currency; 0 for tokens and calls, which have no price."""
        return amount if self._is_of(budget) else self.of_usd(in_usd(amount, budget))

    def needed_of(self, amount: int, budget: Budget) -> int:
        """What an amount of this currency takes of a budget; nothing of tokens and calls."""
        if budget.unit in COUNTED:
            return 0
        return amount if self._is_of(budget) else to_unit_nanos(to_usd_nanos(amount, self.usd_nanos), budget.usd_nanos)

    def _is_of(self, budget: Budget) -> bool:
        return (budget.unit, budget.usd_nanos) == (self.unit, self.usd_nanos)
