"""OpenTelemetry's log records as OTLP/JSON carries them: read with care into flat records, whoever sent them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from typing import Any

from tallygate.core.errors import InvalidArgument
from tallygate.core.usage import ObservedUsage
from tallygate.core.values import value

PAYLOAD_BYTES_MAX = 8 * 1024 * 1024
RECORDS_MAX = 20_000
ATTRIBUTES_MAX = 256
NAME_MAX = 256
TEXT_MAX = 4096
_WHOLE_DIGITS_MAX = 19
_LARGEST = 10**60

Value = str | int | bool
# An attribute that is there and holds nothing that can be used.
UNUSABLE = ""


@value(slots=True)
class TelemetryResponses:
    """The responses that some events tell of, and what could not be used, by reason.

    `lost` is what of that no transcript tells of either, by the session that it names.
    """

    rows: list[ObservedUsage] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    lost: dict[str | None, Counter[str]] = field(default_factory=dict)


# One client's reader of events, each with its resource's attributes, its own, and its time in nanoseconds since 1970.
Event = tuple[Mapping[str, object], Mapping[str, object], int | None]
ReadEvents = Callable[[Iterable[Event], datetime | None], TelemetryResponses]


class TelemetrySkip(StrEnum):
    """Why a record or one of its attributes was not used."""

    TOO_MANY = "too_many_records"
    NOT_OBJECT = "not_an_object"
    TOO_MANY_ATTRIBUTES = "too_many_attributes"
    DUPLICATE_KEY = "duplicate_key"


@value(frozen=True, slots=True)
class LogRecord:
    """One log record; `at_ns` is nanoseconds since 1970, and fractions stay text, as they were written.

    Attributes of other kinds, and those that are too long, are `UNUSABLE`.
    """

    resource: Mapping[str, Value]
    attributes: Mapping[str, Value]
    at_ns: int | None


@value(slots=True)
class LogRecords:
    """The records of one request, and what of it could not be used, by reason; `lost` are whole records among that."""

    records: list[LogRecord] = field(default_factory=list)
    left: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)


def read_logs(payload: bytes) -> LogRecords:
    """The records of one `ExportLogsServiceRequest`. Raises `InvalidArgument` where the payload is none."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise _unfit(f"is longer than {PAYLOAD_BYTES_MAX:,} bytes")
    try:
        request = json.loads(payload, parse_float=str, parse_constant=str)
    except RecursionError:
        raise _unfit("is nested too deeply") from None
    except ValueError:  # no JSON, no UTF-8, or a number of thousands of digits
        raise _unfit("is not valid JSON") from None
    if not isinstance(request, dict):
        raise _unfit("is not a JSON object")
    found = LogRecords()
    for resource, record in _log_records(request, found):
        if len(found.records) >= RECORDS_MAX:
            found.left[TelemetrySkip.TOO_MANY] += 1
            found.lost[TelemetrySkip.TOO_MANY] += 1
            continue
        attributes = _attributes(record.get("attributes"), found)
        if attributes is not None:
            at_ns = _whole(record.get("timeUnixNano")) or _whole(record.get("observedTimeUnixNano"))
            found.records.append(LogRecord(resource, attributes, at_ns or None))
    return found


def _unfit(what: str) -> InvalidArgument:
    return InvalidArgument("payload", f"The telemetry payload {what}.", hint="Send OTLP logs as JSON (http/json).")


def _log_records(request: Mapping[str, Any], told: LogRecords) -> Iterator[tuple[Mapping[str, Value], dict[str, Any]]]:
    for group in _objects(request.get("resourceLogs"), told.left, told.lost):
        resource = group.get("resource")
        # Whose records they are is not known where this cannot be read: what then cannot be told apart is lost, once.
        about = _attributes(resource.get("attributes"), told) if isinstance(resource, dict) else None
        for scope in _objects(group.get("scopeLogs"), told.left, told.lost):
            for record in _objects(scope.get("logRecords"), told.left, told.lost):
                yield about or {}, record


def _objects(value: object, *counted: Counter[str]) -> Iterator[dict[str, Any]]:
    if value is None:
        return
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, dict):
            yield each
        else:
            for counter in counted:
                counter[TelemetrySkip.NOT_OBJECT] += 1


def _attributes(value: object, told: LogRecords) -> dict[str, Value] | None:
    """Attributes by name; nothing where there are too many, or one of two would have to be chosen."""
    if isinstance(value, list) and len(value) > ATTRIBUTES_MAX:
        told.left[TelemetrySkip.TOO_MANY_ATTRIBUTES] += 1
        told.lost[TelemetrySkip.TOO_MANY_ATTRIBUTES] += 1
        return None
    found: dict[str, Value] = {}
    for each in _objects(value, told.left):
        name = each.get("key")
        if not isinstance(name, str) or not 0 < len(name) <= NAME_MAX:
            continue
        # Of two values under one name either could be the true one: neither is believed.
        if name in found:
            told.left[TelemetrySkip.DUPLICATE_KEY] += 1
            told.lost[TelemetrySkip.DUPLICATE_KEY] += 1
            return None
        held = each.get("value")
        plain = _value(held)
        if plain is not None:
            found[name] = plain
        elif held is not None:
            found[name] = UNUSABLE
    return found


def _value(value: object) -> Value | None:
    """What an attribute holds, where it is one text, number or truth."""
    if not isinstance(value, dict) or len(value) != 1:
        return None
    [(kind, held)] = value.items()
    if kind == "stringValue" and isinstance(held, str):
        return held if len(held) <= TEXT_MAX else None
    if kind == "boolValue" and isinstance(held, bool):
        return held
    if kind == "intValue":
        whole = _whole(held)
        # What is written otherwise is kept as it is: whoever counts may read it.
        return _written(held) if whole is None else whole
    return _written(held) if kind == "doubleValue" else None


def _written(held: object) -> str | None:
    """A number as text; one of more digits than any has is none."""
    if isinstance(held, int | str) and not isinstance(held, bool):
        text = str(held) if isinstance(held, str) or abs(held) < _LARGEST else ""
        return text if len(text) <= 64 else None
    return None


def _whole(value: object) -> int | None:
    """A 64-bit number, written as one or as text: JSON's own numbers are too small for all of them."""
    if isinstance(value, str):
        digits = value.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= _WHOLE_DIGITS_MAX):
            return None
        value = int(value)
    # Also a number with a fraction: it was rounded by whoever wrote it, and no count is.
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if -(2**63) <= value < 2**63 else None
