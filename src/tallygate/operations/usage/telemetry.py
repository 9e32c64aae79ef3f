"""What clients tell of requests while they work, and the token of the receiver."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections import Counter
from collections.abc import Callable
from dataclasses import field
from pathlib import Path

from tallygate.clients.reading.otlp import TelemetryResponses, read_logs
from tallygate.clients.registry import REGISTRY
from tallygate.core.errors import LedgerUnavailable
from tallygate.core.moments import as_datetime
from tallygate.core.regex import regex
from tallygate.core.sums import TOLD, Unread
from tallygate.core.usage import ObservedUsage
from tallygate.core.values import value
from tallygate.files import create
from tallygate.operations.runtime import Runtime, in_tenant
from tallygate.operations.usage.ingest import FileReading, IngestResult, ingest_all

# --- telemetry token -------------------------------------------------------------------------------------------------
# The word by which the receiver of telemetry knows that this user's own clients are speaking.


TOKEN_FILE = "telemetry.token"
_BYTES = 32
_TOKEN = regex(r"[0-9a-f]{64}")


def token_of(data_dir: Path, new_token: Callable[[int], str]) -> str:
    """The token of this user, made at its first use. Raises `LedgerUnavailable` where others could read it.

    `new_token` gives random hexadecimal digits, two for each of so many bytes.
    """
    path = data_dir / TOKEN_FILE
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.path.lexists(path):
            _make(path, new_token)
        return _read(path)
    except OSError as error:
        raise LedgerUnavailable(
            f"The telemetry token {path} cannot be made or read: {error.strerror}.",
            hint="Check the permissions of its folder, or set TALLYGATE_TELEMETRY=off.",
            code="storage_unreadable",
        ) from error


def _make(path: Path, new_token: Callable[[int], str]) -> None:
    """Put a new token there in one step, so that nobody reads half of one; whoever is first has made it."""
    made = path.with_name(f"{path.name}.{new_token(8)}")
    with os.fdopen(create(made), "w", encoding="ascii") as file:
        file.write(new_token(_BYTES) + "\n")
    try:
        with contextlib.suppress(FileExistsError):
            os.link(made, path, follow_symlinks=False)
    finally:
        made.unlink()


def _read(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise _unsafe(path, "is not a regular file")
        if found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise _unsafe(path, "can be read or written by others")
        text = file.read(_BYTES * 2 + 2).decode("ascii", "replace").strip()
    if not _TOKEN.fullmatch(text):
        raise _unsafe(path, "does not hold a token")
    return text


def _unsafe(path: Path, what: str) -> LedgerUnavailable:
    return LedgerUnavailable(
        f"The telemetry token {path} {what}.",
        hint="Remove it and run `tallygate init` again: a new one is made, and the clients learn it.",
        code="storage_unsafe",
    )


# --- telemetry -------------------------------------------------------------------------------------------------------
# Take in what clients tell of their requests while they work.


_MARK_DIGITS = 16


@value(frozen=True, slots=True)
class TelemetryTaken:
    """What became of one request of an exporter, and what in it could not be used, by reason."""

    taken: IngestResult
    skipped: Counter[str] = field(default_factory=Counter)


def take_logs(rt: Runtime, payload: bytes) -> TelemetryTaken:
    """Store the responses that one OTLP/JSON request of logs tells of; telling it again changes nothing.

    Raises `InvalidArgument` where the payload is no such request, `LedgerUnavailable` where nothing can be stored.
    """
    logs, mark = read_logs(payload), hashlib.sha256(payload).hexdigest()[:_MARK_DIGITS]
    events = [(record.resource, record.attributes, record.at_ns) for record in logs.records]
    skipped, lost, taken = logs.left, logs.lost, IngestResult()
    for client, read_events in REGISTRY.telemetry.items():
        told = read_events(events, as_datetime(rt.services.clock_us()))
        skipped = skipped + told.skipped
        if lost:  # whose they were is not known: they are told of once
            told.lost.setdefault(None, Counter()).update(lost)
            lost = Counter()
        for tenant, readings in _by_tenant(rt, client, told, mark).items():
            taken += ingest_all(in_tenant(rt, tenant), readings)
    return TelemetryTaken(taken, skipped)


def _by_tenant(rt: Runtime, client: str, told: TelemetryResponses, mark: str) -> dict[str, list[FileReading]]:
    """What was told by whose it is: that of the session it is known to belong to, else this program's own tenant.

    One server hears all clients of a user. What could not be read is kept for each session, as it is for each file.
    An exporter that heard no answer sends the same request again: its `mark` says which one it was.
    """
    rows: dict[str | None, list[ObservedUsage]] = {}
    for row in told.rows:
        rows.setdefault(row.session, []).append(row)
    found: dict[str, list[FileReading]] = {}
    with rt.reading() as reader:
        for session in dict.fromkeys((*rows, *told.lost)):
            linked = [] if session is None else reader.tenants_linked(client, session)
            tenant = linked[0] if linked and rt.tenant not in linked else rt.tenant
            source = TOLD if session is None else f"{TOLD}:{session}"
            unread = Unread(told.lost.get(session, {}))
            found.setdefault(tenant, []).append(
                FileReading(client, source, rows.get(session, []), unread=unread, session=session, mark=mark)
            )
    return found
