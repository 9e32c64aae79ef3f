"""Take in what clients tell of their requests while they work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tallygate.clients.claude_code.telemetry import CLIENT, read_events
from tallygate.clients.reading.otlp import read_logs
from tallygate.core.moments import as_datetime
from tallygate.core.usage import ObservedUsage
from tallygate.operations.ingest import Reading, Taken, ingest
from tallygate.operations.runtime import Runtime, in_tenant


@dataclass(frozen=True, slots=True)
class Heard:
    """What became of one request of an exporter, and what in it could not be used, by reason."""

    taken: Taken
    skipped: Counter[str] = field(default_factory=Counter)


def take_logs(rt: Runtime, payload: bytes) -> Heard:
    """Store the responses that one OTLP/JSON request of logs tells of; telling it again changes nothing.

    Raises `InvalidArgument` where the payload is no such request, `LedgerUnavailable` where nothing can be stored.
    """
    logs = read_logs(payload)
    events = ((record.resource, record.attributes, record.at_ns) for record in logs.records)
    told = read_events(events, as_datetime(rt.clock_us()))
    skipped = logs.left + told.skipped
    if not told.rows:
        return Heard(Taken(), skipped)
    taken = Taken()
    for tenant, rows in _by_tenant(rt, told.rows).items():
        taken += ingest(in_tenant(rt, tenant), Reading(CLIENT, "telemetry", rows))
    return Heard(taken, skipped)


def _by_tenant(rt: Runtime, told: Iterable[ObservedUsage]) -> dict[str, list[ObservedUsage]]:
    """Responses by whose they are: that of the session they are known to belong to, else this program's own tenant.

    One server hears all clients of a user.
    """
    owners: dict[str, str] = {}
    found: dict[str, list[ObservedUsage]] = {}
    with rt.ledger.reading(rt.tenant) as reader:
        for row in told:
            if row.session not in owners:
                linked = reader.tenants_linked(row.client, row.session)
                owners[row.session] = linked[0] if linked and rt.tenant not in linked else rt.tenant
            found.setdefault(owners[row.session], []).append(row)
    return found
