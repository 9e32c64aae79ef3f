"""Telemetry as Claude Code sends it: OTLP requests of logs, hand-made and small."""

from __future__ import annotations

import json
from typing import Any

ENDED_NS = 1_790_000_010_000_000_000  # ten seconds after the clock of the tests begins


def attribute(key: str, value: Any) -> dict[str, Any]:
    kind = {bool: "boolValue", int: "intValue", str: "stringValue", float: "doubleValue"}[type(value)]
    return {"key": key, "value": {kind: value}}


def event(**changes: Any) -> dict[str, Any]:
    """The attributes of one `api_request`; None takes one away, and underscores stand for dots in `session_id`."""
    made = {
        "session.id": "client-1",
        "event.name": "api_request",
        "event.timestamp": "2026-09-21T14:13:30.000Z",
        "event.sequence": 8,
        "model": "dear",
        "input_tokens": 0,
        "output_tokens": 100,
        "cache_read_tokens": 0,
        "cache_creation_tokens": 0,
        "cache_creation_5m_tokens": 0,
        "cache_creation_1h_tokens": 0,
        "cost_usd": 0.25,
        "duration_ms": 2_000,
        "request_id": "req_1",
        "speed": "normal",
        "query_source": "sdk",
    }
    names = {
        "session": "session.id",
        "sequence": "event.sequence",
        "timestamp": "event.timestamp",
        "event": "event.name",
    }
    made |= {names.get(key, key): value for key, value in changes.items()}
    return {key: value for key, value in made.items() if value is not None}


def record(attributes: dict[str, Any], at_ns: Any = ENDED_NS) -> dict[str, Any]:
    listed = [attribute(key, value) for key, value in attributes.items()]
    return {"timeUnixNano": str(at_ns) if isinstance(at_ns, int) else at_ns, "attributes": listed}


def request(*records: Any, service: str = "claude-code") -> dict[str, Any]:
    about = {"service.name": service, "service.version": "2.1.330"}
    resource = {"attributes": [attribute(key, value) for key, value in about.items()]}
    return {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": list(records)}]}]}


def payload(*events: dict[str, Any], **options: Any) -> bytes:
    """One request of an exporter with these events."""
    return json.dumps(request(*map(record, events), **options)).encode()
