"""What was spent by tenant, project, client, model or session, period by period: the figures and their CSV."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from enum import StrEnum

from tallygate.core.costing import SURE, Split
from tallygate.core.money import exact_text, to_unit_nanos
from tallygate.core.sums import SpendSum
from tallygate.core.words import client_name
from tallygate.reports import usage
from tallygate.reports.usage import ALWAYS_US, Period, cell, period_of, sheet

_UNSURE = ("approximate_cost_usd", "assumed_cost_usd")


class SpendBy(StrEnum):
    """What one line of a report stands for."""

    TENANT = "tenant"
    PROJECT = "project"
    FOLDER = "folder"
    CLIENT = "client"
    MODEL = "model"
    SESSION = "session"


class Every(StrEnum):
    """How long the periods of a report are."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    ALL = "all"


def spending_period(at_us: int, every: Every, zone: tzinfo) -> Period:
    """The period of a report that a moment belongs to, in a time zone."""
    if every is Every.ALL:
        return Period("all", -ALWAYS_US, ALWAYS_US)
    return period_of(at_us, usage.By(every.value), zone)


@dataclass(frozen=True, slots=True)
class SessionRate:
    """A currency that sessions were opened in: how many nano-dollars one unit is, by the rate of which day."""

    currency: str
    usd_nanos: int
    day: str | None


@dataclass(frozen=True, slots=True)
class SpendPart:
    """What some spending adds up to, in nano-dollars.

    `split` is what of it rests on prices that are not sure. `own` is the part of sessions in another currency, by their
    rates, in nano-dollars too: so parts add up exactly. `sessions` are known by tenant and id, since one may
    stand in many parts.
    """

    sessions: frozenset[tuple[str, str]] = frozenset()
    responses: int = 0
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    nanos: int = 0
    exact_nanos: int = 0
    split: Split = SURE
    own: Mapping[SessionRate, int] = field(default_factory=dict)

    @property
    def exact_permille(self) -> int | None:
        """How much of the cost rests on what was really used, downwards; None where nothing was spent."""
        return self.exact_nanos * 1000 // self.nanos if self.nanos else None

    def own_nanos(self, rate: SessionRate) -> int:
        """The part of a currency's sessions in that currency."""
        return to_unit_nanos(self.own[rate], rate.usd_nanos)

    def by_currency(self) -> dict[str, int]:
        """What was spent in other currencies, each in its own nano-units."""
        found: dict[str, int] = {}
        for rate in sorted(self.own, key=lambda rate: (rate.currency, rate.day or "", rate.usd_nanos)):
            found[rate.currency] = found.get(rate.currency, 0) + self.own_nanos(rate)
        return found


@dataclass(frozen=True, slots=True)
class SpendLine:
    """One line of a report; `key` is the tenant, project, ... it stands for, None where there is none."""

    key: str | None
    period: str
    whole: SpendPart


def lines_of(sums: Iterable[SpendSum], by: SpendBy, tenant: str, period: str) -> list[SpendLine]:
    """The lines of one tenant in one period, the dearest first."""
    found: dict[str | None, list[SpendSum]] = {}
    for each in sums:
        found.setdefault(_key(each, by, tenant), []).append(each)
    lines = [SpendLine(key, period, part_of(parts, tenant)) for key, parts in found.items()]
    return sorted(lines, key=lambda line: (-line.whole.nanos, line.key or ""))


def total_of(parts: Iterable[SpendPart]) -> SpendPart:
    """What parts add up to; a session that stands in several counts once."""
    all_of = list(parts)
    own: dict[SessionRate, int] = {}
    for part in all_of:
        for rate, nanos in part.own.items():
            own[rate] = own.get(rate, 0) + nanos
    return SpendPart(
        sessions=frozenset().union(*(part.sessions for part in all_of)),
        responses=sum(part.responses for part in all_of),
        calls=sum(part.calls for part in all_of),
        input_tokens=sum(part.input_tokens for part in all_of),
        output_tokens=sum(part.output_tokens for part in all_of),
        nanos=sum(part.nanos for part in all_of),
        exact_nanos=sum(part.exact_nanos for part in all_of),
        split=sum((part.split for part in all_of), Split()),
        own=own,
    )


def _key(each: SpendSum, by: SpendBy, tenant: str) -> str | None:
    match by:
        case SpendBy.TENANT:
            return tenant
        case SpendBy.PROJECT | SpendBy.FOLDER:
            return each.project
        case SpendBy.CLIENT:
            return None if each.client is None else client_name(each.client)
        case SpendBy.MODEL:
            return each.model
        case SpendBy.SESSION:
            return each.session_id


def part_of(sums: Sequence[SpendSum], tenant: str) -> SpendPart:
    """What some of a tenant's spending adds up to."""
    own: dict[SessionRate, int] = {}
    for each in sums:
        if each.currency != "USD":
            rate = SessionRate(each.currency, each.usd_nanos, each.rate_day)
            own[rate] = own.get(rate, 0) + each.nanos
    return SpendPart(
        sessions=frozenset((tenant, each.session_id) for each in sums if each.session_id is not None),
        responses=sum(each.responses for each in sums),
        calls=sum(each.calls for each in sums),
        input_tokens=sum(each.input_tokens for each in sums),
        output_tokens=sum(each.output_tokens for each in sums),
        nanos=sum(each.nanos for each in sums),
        exact_nanos=sum(each.exact_nanos for each in sums),
        split=Split(sum(each.approximate_nanos for each in sums), sum(each.assumed_nanos for each in sums)),
        own=own,
    )


def csv_of(lines: Iterable[SpendLine], by: SpendBy) -> bytes:
    """Lines for a spreadsheet, amounts to the last digit."""
    head = [by.value, "period", "sessions", "responses", "calls", "input_tokens", "output_tokens"]
    head += ["cost_usd", "exact_cost_usd", "exact_percent", "own_currency", *_UNSURE]
    rows: list[list[str | int]] = []
    for line in lines:
        whole = line.whole
        own = "; ".join(f"{currency} {exact_text(nanos)}" for currency, nanos in whole.by_currency().items())
        counts = (len(whole.sessions), whole.responses, whole.calls, whole.input_tokens, whole.output_tokens)
        share = whole.exact_permille
        percent = "" if share is None else f"{share // 10}.{share % 10}"
        amounts = (exact_text(whole.nanos), exact_text(whole.exact_nanos), percent)
        unsure = (exact_text(whole.split.approximate_nanos), exact_text(whole.split.assumed_nanos))
        rows.append([cell(line.key), cell(line.period), *counts, *amounts, own, *unsure])
    return sheet(head, rows)
