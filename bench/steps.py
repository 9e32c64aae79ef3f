"""Sessions from a table of steps, and the figures that say what a gate is worth: dollars, calls, short and long.

A table is tab-separated, plain or gzip, with a line of names first: `src`, `project`, `session`, `ts`, `model`,
`input`, `cache_read`, `cache_write`, `output`, `sidechain`, `cost` in dollars, `p_in` and `p_out` in dollars a million
tokens. How long a cache was written for is told by what the step cost.
"""

from __future__ import annotations

import csv
import gzip
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from tallygate.clients.claude_code.client import RESPONSE
from tallygate.core.costing import Price, Rates, Tokens
from tallygate.core.learning.calibration import MILLION, FactorSource
from tallygate.core.learning.replay import COVERED_PERCENTS, Gate, ReplayedCall
from tallygate.core.usage import ObservedUsage
from tallygate.operations.learning.replay import Paid

SHORT = 10
# A budget of so many usual asks is one that a gate can steer by.
WORTH = 10
_SUBAGENT = "sidechain"


def from_table(path: Path) -> dict[tuple[str, str, str], list[Paid]]:
    """The steps of a table by client, project and session, the oldest first."""
    found: dict[tuple[str, str, str], list[Paid]] = defaultdict(list)
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        for number, row in enumerate(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)):
            found[row["src"], row["project"], row["session"]].append(_paid(number, row))
    for steps in found.values():
        steps.sort(key=lambda step: step.row.at)
    return dict(sorted(found.items(), key=lambda entry: (entry[1][0].row.at, entry[0])))


def _paid(number: int, row: dict[str, str]) -> Paid:
    price = _price(row)
    nanos = round(Decimal(row["cost"]) * 10**9)
    fresh, read, written, output = (int(row[name]) for name in ("input", "cache_read", "cache_write", "output"))
    short = Tokens(fresh_input=fresh, cache_read=read, cache_write_5m=written, output=output)
    long = Tokens(fresh_input=fresh, cache_read=read, cache_write_1h=written, output=output)
    nearer_long = abs(price.cost_nanos(long) - nanos) < abs(price.cost_nanos(short) - nanos)
    client = "claude_code" if row["src"] == "claude" else row["src"]
    usage = ObservedUsage(
        client=client,
        session=row["session"],
        response_key=str(number),
        at=datetime.fromisoformat(row["ts"]),
        model=row["model"],
        tokens=long if nearer_long else short,
        rule=RESPONSE,
        agent_id=_SUBAGENT if row["sidechain"] == "1" else None,
    )
    return Paid(usage, price, nanos)


def _price(row: dict[str, str]) -> Price:
    fresh, output = (round(Decimal(row[name]) * 10**9) for name in ("p_in", "p_out"))
    return Price(row["model"], Rates(fresh, output, fresh // 10, fresh * 5 // 4, fresh * 2), "override", "table")


@dataclass(slots=True)
class Tally:
    """What a gate made of sessions, summed up under every budget; amounts are in nano-dollars, shares in millionths."""

    over_nanos: int = 0
    budget_nanos: int = 0
    over_shares: list[int] = field(default_factory=list)
    worth_shares: list[int] = field(default_factory=list)
    unused: list[int] = field(default_factory=list)
    fitting: int = 0
    halted_falsely: int = 0
    calls_that_fit: int = 0
    calls_refused_falsely: int = 0

    def add(self, told: Sequence[ReplayedCall], budget_nanos: int, usual_nanos: int, gate: Gate, percent: int) -> None:
        """Let a gate decide about one session: until its first refusal, and call by call as if it went on."""
        cost = sum(each.ask.actual_nanos for each in told)
        spent = counted = until = 0
        halted = False
        for each in told:
            needed, actual = each.needed_nanos(gate, percent), each.ask.actual_nanos
            refused = (counted if gate is Gate.SUM else spent) + needed > budget_nanos
            if refused and not halted:
                halted, until = True, spent
            if spent + actual <= budget_nanos:
                self.calls_that_fit += 1
                self.calls_refused_falsely += refused
            elif halted:
                break
            spent += actual
            counted += each.ask.estimate_nanos
        until = until if halted else spent
        over = max(until - budget_nanos, 0)
        self.over_nanos += over
        if cost <= budget_nanos:
            self.fitting += 1
            self.halted_falsely += halted
            return
        self.budget_nanos += budget_nanos
        self.over_shares.append(over * MILLION // budget_nanos)
        if budget_nanos >= WORTH * usual_nanos:
            self.worth_shares.append(self.over_shares[-1])
        self.unused.append(max(budget_nanos - until, 0) * MILLION // budget_nanos)


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one kind of estimate under one gate, in per cent; None where there is nothing to take a share of.

    `dollars` is what was overspent of all budgets, `worth` and `mean` the mean overspending of the sessions that needed
    more than theirs, for budgets of at least ten usual asks and for all.
    """

    cases: int
    dollars: float | None
    worth: float | None
    mean: float | None
    false_session: float | None
    false_call: float | None
    unused: float | None
    covered: tuple[float | None, ...] = ()


def row_of(tally: Tally, oracle: Tally, covered: tuple[float | None, ...] = ()) -> Row:
    """What a tally comes to; what was left unused is told beyond what the oracle left."""

    def mean(shares: list[int]) -> float | None:
        return statistics.fmean(shares) * 100 / MILLION if shares else None

    own, least = mean(tally.unused), mean(oracle.unused)
    return Row(
        cases=tally.fitting + len(tally.over_shares),
        dollars=_share(tally.over_nanos, tally.budget_nanos),
        worth=mean(tally.worth_shares),
        mean=mean(tally.over_shares),
        false_session=_share(tally.halted_falsely, tally.fitting),
        false_call=_share(tally.calls_refused_falsely, tally.calls_that_fit),
        unused=None if own is None or least is None else own - least,
        covered=covered,
    )


def _share(part: int, whole: int) -> float | None:
    return part * 100 / whole if whole else None


def coverage(told: Iterable[ReplayedCall]) -> tuple[float | None, ...]:
    """The shares of calls that cost no more than their upper bounds, of those of which something was learned."""
    known = 0
    below = [0] * len(COVERED_PERCENTS)
    for each in told:
        if (
            each.expectation is None
            or each.expectation.source is not FactorSource.LEARNED
            or each.ask.actual_nanos <= 0
        ):
            continue
        known += 1
        for at, percent in enumerate(COVERED_PERCENTS):
            below[at] += each.ask.actual_nanos <= each.expectation.upper_nanos(percent)
    return tuple(_share(count, known) for count in below)


def line(title: str, row: Row) -> str:
    """A row as it is printed."""

    def shown(value: float | None, width: int = 6) -> str:
        return ("-" if value is None else f"{value:.2f}").rjust(width)

    covered = "/".join("-" if share is None else f"{share:.1f}" for share in row.covered)
    return (
        f"  {title:18} {row.cases:6,} {shown(row.dollars, 8)} {shown(row.worth, 8)} {shown(row.mean, 8)} "
        f"{shown(row.false_session, 9)} {shown(row.false_call, 8)} {shown(row.unused, 8)}   {covered}"
    )


HEADING = (
    "  in per cent         cases  dollars  >=10 ask     mean  false/ses  f./call   unused   covered at 80/90\n"
    "                             overspent / budgets: all, mean of those passed"
)
