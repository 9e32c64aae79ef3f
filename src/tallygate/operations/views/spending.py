"""Sums of spending by key and period, and a session's summary."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import tzinfo

from tallygate.core.costing import Tokens
from tallygate.core.gate import lifecycle, policy
from tallygate.core.gate.policy import own_budget
from tallygate.core.model import Call, Session
from tallygate.core.sums import SpendSum
from tallygate.core.words import SpendStatus
from tallygate.ledger.port import SessionReader, StoredUsage
from tallygate.operations.budgets.applicable import currency_of, session_with_standing, usable
from tallygate.operations.budgets.figures import Unsure
from tallygate.operations.runtime import Runtime, every_tenant, in_tenant, tenant_id
from tallygate.operations.views.usage import folders_of, project_name
from tallygate.pricing.identity import listed_name
from tallygate.reports import spending
from tallygate.reports.usage import Period

# --- report ----------------------------------------------------------------------------------------------------------
# Add up what was spent in sessions, by whom and when.


@dataclass(frozen=True, slots=True)
class SpendReport:
    """The lines of a report by period, what they add up to, and what was used outside of any session.

    `tenants` are those that were looked at.
    """

    lines: list[spending.SpendLine]
    total: spending.SpendPart
    outside: spending.SpendPart
    tenants: list[str]


@dataclass(frozen=True, slots=True)
class ReportWanted:
    """What a report is about; `until_us` is the first moment after it.

    Without a tenant, a report by tenant is about all of them, any other about the one that sessions open in here.
    `project` is a match for places, as in a list of usage.
    """

    by: spending.SpendBy
    every: spending.Every
    from_us: int
    until_us: int
    tenant: str | None = None
    project: str | None = None


def report_spending(rt: Runtime, wanted: ReportWanted, zone: tzinfo) -> SpendReport:
    """What sessions spent. A response counts when it was made, a call without responses when it was asked for."""
    if wanted.tenant is not None:
        chosen = [in_tenant(rt, tenant_id(wanted.tenant))]
    else:
        chosen = every_tenant(rt) if wanted.by is spending.SpendBy.TENANT else [rt]
    found: list[tuple[int, spending.SpendLine]] = []
    outside: list[spending.SpendPart] = []
    for each in chosen:
        with each.reading() as reader:
            periods = list(_periods(reader, wanted, zone, Unsure(reader)))
        here = _in_project(rt, [one for _, sums in periods for one in sums], wanted.project)
        for period, sums in periods:
            mine = [_named(rt, one, wanted.by) for one in sums if one.session_id is not None and one.project in here]
            found += [(period.start_us, line) for line in spending.lines_of(mine, wanted.by, each.tenant, period.label)]
            rest = [one for one in sums if one.session_id is None and one.project in here]
            outside.append(spending.part_of(rest, each.tenant))
    found.sort(key=lambda entry: (entry[0], -entry[1].whole.nanos, entry[1].key or ""))
    lines = [line for _, line in found]
    total = spending.total_of(line.whole for line in lines)
    return SpendReport(lines, total, spending.total_of(outside), [each.tenant for each in chosen])


def _in_project(rt: Runtime, sums: Iterable[SpendSum], project: str | None) -> Collection[str | None]:
    """The folders that sums name which belong to the project that is asked for."""
    known = {each.project for each in sums}
    return known if project is None else folders_of(rt, sorted(each for each in known if each is not None), project)


def _periods(
    reader: SessionReader, wanted: ReportWanted, zone: tzinfo, unsure: Unsure
) -> Iterator[tuple[Period, list[SpendSum]]]:
    """The periods in which anything was spent, each summed by the ledger between the moments it has in the zone."""
    from_us = wanted.from_us
    while (at_us := reader.spend_next(from_us, wanted.until_us)) is not None:
        period = spending.spending_period(at_us, wanted.every, zone)
        until_us = min(period.end_us, wanted.until_us)
        sums = reader.session_spend(
            max(from_us, period.start_us), until_us, approximate=unsure.approximate, assumed=unsure.assumed
        )
        yield period, sums
        from_us = until_us


def _named(rt: Runtime, each: SpendSum, by: spending.SpendBy) -> SpendSum:
    """A sum under the one name of its project or its model."""
    if by is spending.SpendBy.PROJECT:
        return replace(each, project=project_name(rt, each.project))
    return replace(each, model=listed_name(each.model)) if by is spending.SpendBy.MODEL else each


# --- looks that write nothing ----------------------------------------------------------------------------------------
# Look at what a session has spent, before its next step and as a whole. Writes nothing.


@dataclass(frozen=True, slots=True)
class ModelShare:
    """What one model's calls of a session used; `cost` as in the summary."""

    model: str
    calls: int
    tokens: Tokens
    cost: int


@dataclass(frozen=True, slots=True)
class SpendSummary:
    """A session in figures; amounts are in nano-units of the currency that was asked for."""

    session: Session
    limit: int
    spent: int
    reserved: int
    remaining: int
    tokens: Tokens
    calls: int
    models: tuple[ModelShare, ...]
    exhausted: bool
    at_us: int
    exchange: str | None = None


def summary(rt: Runtime, session_id: str, currency: str | None = None) -> SpendSummary:
    """What a session has spent on which models: its client's own record where that is read, else its calls."""
    rt.follower.catch_up()
    usable(rt)
    with rt.reading() as reader:
        session, budgets = session_with_standing(rt, reader, session_id)
        observed = reader.usage_of(session_id)
        calls = [call for call in reader.calls_of(session_id) if lifecycle.counts(call)]
    spoken = currency_of(rt, session, currency or session.currency)
    own = own_budget(session, budgets)
    tightest = policy.tightest(budgets) or own
    shares = _shares(observed, calls)
    return SpendSummary(
        session=session,
        limit=spoken.of(own.limit, own),
        spent=spoken.of(own.spent, own),
        reserved=spoken.of(own.reserved, own),
        remaining=spoken.of(tightest.available, tightest),
        tokens=sum((share.tokens for share in shares), Tokens()),
        calls=sum(share.calls for share in shares),
        models=tuple(replace(share, cost=spoken.of_usd(share.cost)) for share in shares),
        exhausted=policy.status_of(budgets, rt.workspace.policy.warn_at_percent) is SpendStatus.EXHAUSTED,
        at_us=rt.services.clock_us(),
        exchange=spoken.basis,
    )


def _shares(observed: Iterable[StoredUsage], calls: Iterable[Call]) -> list[ModelShare]:
    """By model, dearest first, in nano-dollars. Where responses are there, calls that they count for add nothing."""
    shares: dict[str, ModelShare] = {}

    def add(model: str, tokens: Tokens, cost: int) -> None:
        known = shares.get(model) or ModelShare(model, 0, Tokens(), 0)
        shares[model] = ModelShare(model, known.calls + 1, known.tokens + tokens, known.cost + cost)

    for each in observed:
        add(each.row.model, each.row.tokens, each.cost_nanos)
    for call in calls:
        if call.cost_basis in ("actual", "estimate"):
            add(call.model_used or call.model_requested, call.actual or Tokens(), call.booked_nanos)
    return sorted(shares.values(), key=lambda share: (-share.cost, share.model))
