"""What was recorded of a day and model, and where it has ended once a bill was held against it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum

from tallygate.core.bill_lines import LedgerLine, ModelKey, Who
from tallygate.core.tallies import INPUTS, Amounts, Bucket, Outcome, Part


class How(StrEnum):
    """What lines were held against each other by."""

    REQUEST = "request"
    DAY = "day"
    SPAN = "span"


@dataclass(slots=True)
class Recorded:
    """What was recorded of one day and model; `prices` are the keys it was priced by."""

    amounts: Amounts = field(default_factory=Amounts)
    lines: int = 0
    partial: int = 0
    sessions: dict[Who, int] = field(default_factory=dict)
    prices: set[str] = field(default_factory=set)

    def add(self, line: LedgerLine) -> None:
        """Count in one line."""
        self.amounts.merge(line.amounts)
        self.lines += 1
        self.partial += not line.is_final
        self.sessions[line.who] = self.sessions.get(line.who, 0) + line.cost_nanos
        self.prices.add(line.price_key)

    def merge(self, other: Recorded) -> None:
        """Count in all of another."""
        self.amounts.merge(other.amounts)
        self.lines += other.lines
        self.partial += other.partial
        for who, nanos in other.sessions.items():
            self.sessions[who] = self.sessions.get(who, 0) + nanos
        self.prices |= other.prices

    def rest(self, outcome: Outcome) -> Recorded | None:
        """What a comparison has left of it, which is taken out of its buckets."""
        left = outcome.shares.pop(Bucket.LEDGER_ONLY, None)
        if left is None:
            return None
        return Recorded(left.recorded, self.lines, self.partial, dict(self.sessions), set(self.prices))


@dataclass(slots=True)
class Cell:
    """One day and model, and where everything in it has ended.

    `hidden` is output that was billed beyond what was recorded, with the same input: tokens and nano-dollars.
    `billed_as` is the model that a bill names for the same requests, where it is another.
    """

    day: date
    key: ModelKey
    how: How
    included: bool
    outcome: Outcome = field(default_factory=Outcome)
    recorded: Recorded = field(default_factory=Recorded)
    hidden: tuple[int, int] = (0, 0)
    billed_as: ModelKey | None = None

    def take(self, outcome: Outcome, recorded: Recorded) -> None:
        """Count in a comparison and what was recorded in it."""
        tokens, nanos = _hidden(outcome, recorded)
        self.hidden = (self.hidden[0] + tokens, self.hidden[1] + nanos)
        self.outcome.merge(outcome)
        self.recorded.merge(recorded)


@dataclass(slots=True)
class Matched:
    """The whole result. `unplaced` is what bills tell without a model, `credits` what they give back."""

    cells: list[Cell]
    unplaced: Outcome
    credits: dict[tuple[date, ModelKey | None], int]


def _hidden(outcome: Outcome, recorded: Recorded) -> tuple[int, int]:
    """Output that was billed beyond what was recorded, where the input is the same to the token."""
    more, less = outcome.shares.get(Bucket.BILL_ONLY), outcome.shares.get(Bucket.LEDGER_ONLY)
    if more is None or less is not None or not recorded.lines:
        return 0, 0
    if any(more.billed.tokens.get(part) for part in (*INPUTS, Part.READ)) or not more.billed.tokens.get(Part.OUTPUT):
        return 0, 0
    return more.billed.tokens[Part.OUTPUT], more.billed.nanos.get(Part.OUTPUT, 0)
