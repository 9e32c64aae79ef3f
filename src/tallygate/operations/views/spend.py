"""What was spent in a span of days: on what, beside the days before, how surely, and at which hours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import tzinfo

from tallygate.core.chosen import ALL, Filter, Span, start_us
from tallygate.core.plan import PlanWindow
from tallygate.core.values import value
from tallygate.operations.runtime import Runtime
from tallygate.operations.views.frame import Frame, frame
from tallygate.operations.views.now import day_limit, is_window, plan_windows, wanted_of
from tallygate.operations.views.overview import list_budgets
from tallygate.operations.views.usage import UsageView, list_usage, spent_between
from tallygate.reports.usage import By, UsageLine, total_of

# What spending is split by, in this order; a folder says more than a project only where both differ.
SPLITS = (By.MODEL, By.CLIENT, By.PROJECT, By.FOLDER, By.BRANCH, By.AGENT, By.SKILL, By.MCP)
# Longer spans are drawn month by month, and their hours are not told.
DAYS_MAX = 92
HOURS_OF_DAYS_MAX = 31
_BUDGETS_LOOKED_AT = 200
_HOURS = 24
_ALL = 1_000_000


@value(frozen=True, slots=True)
class Spend:
    """Everything that the page shows. `periods` are its days, or months, with what each key came to.

    `hours` are sums by weekday and hour of the local day, from Monday on; None where the span is too long to tell.
    """

    frame: Frame
    span: Span
    by: By
    every: By
    periods: Mapping[str, list[UsageLine]]
    lines: list[UsageLine]
    total: UsageLine
    before: UsageView | None
    tables: Mapping[By, list[UsageLine]]
    hours: list[list[int]] | None
    day_limit: int | None
    plans: tuple[PlanWindow, ...]


def spend(rt: Runtime, zone: tzinfo, span: Span, chosen: Filter, by: By) -> Spend:
    """What was spent in a span, as of one moment."""
    every = By.MONTH if span.name == ALL or len(span.days) > DAYS_MAX else By.DAY
    with rt.reading() as reader:
        around = frame(rt)
        wanted = wanted_of(chosen, span.from_us, span.until_us, every=every)
        listed = list_usage(rt, wanted, by=by, zone=zone, limit=_ALL).lines
        periods: dict[str, list[UsageLine]] = {}
        for line in listed:
            periods.setdefault(line.period or "", []).append(line)
        earlier = None
        if span.before is not None:
            earlier = list_usage(rt, wanted_of(chosen, *span.before), by=by, zone=zone, limit=_ALL)
        tables = {
            other: list_usage(rt, replace(wanted, every=None), by=other, zone=zone, limit=_ALL).lines
            for other in SPLITS[:3]
            if other is not by
        }
        budgets = list_budgets(rt, limit=_BUDGETS_LOOKED_AT)
        limit = None if chosen.terms else day_limit(rt, [b for b in budgets if is_window(b, around.now_us)], zone)
        return Spend(
            frame=around,
            span=span,
            by=by,
            every=every,
            periods=periods,
            lines=merged(listed),
            total=total_of(listed),
            before=earlier,
            tables=tables,
            hours=_hours(rt, zone, span, chosen),
            plans=plan_windows(reader, around.now_us),
            day_limit=None if limit is None or every is By.MONTH else limit.limit,
        )


def merged(lines: Iterable[UsageLine]) -> list[UsageLine]:
    """Lines of several periods as one a key, the dearest first."""
    found: dict[tuple[str | None, ...], list[UsageLine]] = {}
    for line in lines:
        found.setdefault(line.key, []).append(line)
    sums = [replace(total_of(parts), key=key) for key, parts in found.items()]
    return sorted(sums, key=lambda line: (-line.whole.nanos, [part or "" for part in line.key]))


def _hours(rt: Runtime, zone: tzinfo, span: Span, chosen: Filter) -> list[list[int]] | None:
    """Sums by weekday and hour; a day on which clocks are changed has one hour twice, or lacks one."""
    if not span.days or len(span.days) > HOURS_OF_DAYS_MAX:
        return None
    moments, places = [], []
    for day in span.days:
        first = start_us(day, zone)
        for hour in range(_HOURS):
            moments.append(first + hour * 3_600_000_000)
            places.append((day.weekday(), hour))
    moments.append(span.until_us)
    found = [[0] * _HOURS for _ in range(7)]
    for (weekday, hour), nanos in zip(
        places, spent_between(rt, wanted_of(chosen, span.from_us, span.until_us), sorted(moments)), strict=True
    ):
        found[weekday][hour] += nanos
    return found
