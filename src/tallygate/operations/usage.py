"""List what was used, whether a budget session asked for it or not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import tzinfo

from tallygate.core.answers import UsageFilter
from tallygate.core.unread import UnreadSum
from tallygate.ledger.port import Reader
from tallygate.operations.runtime import Runtime
from tallygate.operations.unread import unread_of
from tallygate.reports.usage import By, UsageLine, line_of, lines_of, ordered, period_of, total_of

_KEYS = {By.SESSION: "session", By.PROJECT: "project", By.CLIENT: "client", By.MODEL: "none"}


@dataclass(frozen=True, slots=True)
class UsageView:
    """The lines that are shown, how many are not, what all of them add up to, and what that leaves open."""

    lines: list[UsageLine]
    hidden: int
    total: UsageLine
    unread: UnreadSum = field(default_factory=UnreadSum)
    anomalies: int = 0


def list_usage(rt: Runtime, chosen: UsageFilter, *, by: By, zone: tzinfo, limit: int) -> UsageView:
    """Usage by a key, as of one moment. Of periods the last ones are shown, of other keys the first."""
    with rt.ledger.reading(rt.tenant) as reader:
        assumed = {key for key, basis in reader.prices().items() if not json.loads(basis).get("known", True)}
        if by.is_period:
            lines = list(_periods(reader, chosen, by, zone, assumed))
        else:
            lines = ordered(lines_of(reader.usage_sums(_KEYS[by], chosen), by, assumed), by)
        unread, anomalies = unread_of(reader, rt.clock_us(), chosen.clients), reader.count_anomalies()
    shown = lines[-limit:] if by.is_period else lines[:limit]
    return UsageView(shown, len(lines) - len(shown), total_of(lines), unread, anomalies)


def _periods(reader: Reader, chosen: UsageFilter, by: By, zone: tzinfo, assumed: set[str]) -> Iterator[UsageLine]:
    """The periods that have responses, each summed by the ledger between the moments it has in the time zone."""
    rest = chosen
    while (at_us := reader.usage_next(rest)) is not None:
        period = period_of(at_us, by, zone)
        within = replace(rest, until_us=min(period.end_us, chosen.until_us))
        yield line_of(period.label, reader.usage_sums("none", within), assumed)
        rest = replace(rest, from_us=period.end_us)
