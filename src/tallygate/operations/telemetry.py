"""Take in what clients tell of their requests while they work."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tallygate.clients.claude_code.telemetry import CLIENT, read_events
from tallygate.operations.ingest import Reading, Taken, ingest
from tallygate.operations.runtime import Runtime
from tallygate.usage.otlp import read_logs


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
    told = read_events((record.resource, record.attributes, record.at_ns) for record in logs.records)
    skipped = logs.left + told.skipped
    if not told.rows:
        return Heard(Taken(), skipped)
    return Heard(ingest(rt, Reading(CLIENT, "telemetry", told.rows)), skipped)
