"""Add up what was spent in sessions, by whom and when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import tzinfo

from tallygate.core.answers import SpendSum
from tallygate.ledger.port import Reader
from tallygate.operations.certain import Unsure
from tallygate.operations.runtime import Runtime
from tallygate.operations.tenants import every_tenant, in_tenant, tenant_id
from tallygate.operations.usage import project_name
from tallygate.pricing.identity import listed_name
from tallygate.reports.spending import (
    Every,
    SpendBy,
    SpendLine,
    SpendPart,
    lines_of,
    part_of,
    spending_period,
    total_of,
)


@dataclass(frozen=True, slots=True)
class SpendReport:
    """The lines of a report by period, what they add up to, and what was used outside of any session.

    `tenants` are those that were looked at.
    """

    lines: list[SpendLine]
    total: SpendPart
    outside: SpendPart
    tenants: list[str]


@dataclass(frozen=True, slots=True)
class ReportWanted:
    """What a report is about; `until_us` is the first moment after it.

    Without a tenant, a report by tenant is about all of them, any other about the one that sessions open in here.
    """

    by: SpendBy
    every: Every
    from_us: int
    until_us: int
    tenant: str | None = None


def report_spending(rt: Runtime, wanted: ReportWanted, zone: tzinfo) -> SpendReport:
    """What sessions spent. A response counts when it was made, a call without responses when it was asked for."""
    if wanted.tenant is not None:
        chosen = [in_tenant(rt, tenant_id(wanted.tenant))]
    else:
        chosen = every_tenant(rt) if wanted.by is SpendBy.TENANT else [rt]
    found: list[tuple[int, SpendLine]] = []
    outside: list[SpendPart] = []
    for each in chosen:
        with each.ledger.reading(each.tenant) as reader:
            unsure = Unsure(reader)
            for start_us, lines, rest in _periods(rt, reader, wanted, zone, unsure):
                found += [(start_us, line) for line in lines]
                outside.append(rest)
    found.sort(key=lambda entry: (entry[0], -entry[1].whole.nanos, entry[1].key or ""))
    lines = [line for _, line in found]
    total = total_of(line.whole for line in lines)
    return SpendReport(lines, total, total_of(outside), [each.tenant for each in chosen])


def _periods(
    rt: Runtime, reader: Reader, wanted: ReportWanted, zone: tzinfo, unsure: Unsure
) -> Iterator[tuple[int, list[SpendLine], SpendPart]]:
    """The periods in which anything was spent, each summed by the ledger between the moments it has in the zone."""
    from_us = wanted.from_us
    while (at_us := reader.spend_next(from_us, wanted.until_us)) is not None:
        period = spending_period(at_us, wanted.every, zone)
        until_us = min(period.end_us, wanted.until_us)
        sums = reader.session_spend(
            max(from_us, period.start_us), until_us, approximate=unsure.approximate, assumed=unsure.assumed
        )
        mine = [_named(rt, each, wanted.by) for each in sums if each.session_id is not None]
        rest = [each for each in sums if each.session_id is None]
        yield period.start_us, lines_of(mine, wanted.by, reader.tenant, period.label), part_of(rest, reader.tenant)
        from_us = until_us


def _named(rt: Runtime, each: SpendSum, by: SpendBy) -> SpendSum:
    """A sum under the one name of its project or its model."""
    if by is SpendBy.PROJECT:
        return replace(each, project=project_name(rt, each.project))
    return replace(each, model=listed_name(each.model)) if by is SpendBy.MODEL else each
