"""Verify a ledger as an auditor does: nothing in it is believed but what its chain, a key and an anchor carry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from tallygate.attest import dsse
from tallygate.attest.keys import PublicKey
from tallygate.attest.statement import Statement, read_statement, statement_bytes
from tallygate.core.errors import LedgerUnavailable, NotProven
from tallygate.core.moments import iso
from tallygate.core.proof import Kind, attestation_id
from tallygate.ledger.anchor import Remembered
from tallygate.ledger.attest_store import ATTESTATION_COLUMNS
from tallygate.ledger.audit import damage, edits
from tallygate.ledger.foreign import ForeignLedger, examined, expected_fingerprint, schema_of, unreadable_tables
from tallygate.ledger.held import bears_out
from tallygate.ledger.port import Reader
from tallygate.operations.predicates import exhausted, subject_of
from tallygate.operations.verify_heard import Heard, Keys, Told

SHOWN_MAX = 100


class Part(StrEnum):
    """What can be broken, the gravest first."""

    FILE = "file"
    SCHEMA = "schema"
    CHAIN = "chain"
    PROJECTION = "projection"
    COUNTERS = "counters"
    HEAD = "head"
    ATTESTATION = "attestation"
    KEY = "key"
    RUN_LOG = "run_log"
    LOCK = "lock"


@dataclass(frozen=True, slots=True)
class Broken:
    """One thing that is wrong: where, what, and what it means for whoever relies on it."""

    part: Part
    where: str
    what: str
    meaning: str


@dataclass(slots=True)
class Report:
    """What a verification looked at and found."""

    facts: list[tuple[str, str]] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    elsewhere: int = 0  # lines of the run log that tell of other ledgers
    lost: int = 0  # and those of events that the user went on without
    counted: Counter[Part] = field(default_factory=Counter)

    def add(self, part: Part, where: str, what: str, meaning: str) -> None:
        """One more thing that is wrong; of each kind only the first are kept, all are counted."""
        self.counted[part] += 1
        if self.counted[part] <= SHOWN_MAX:
            self.broken.append(Broken(part, where, what, meaning))


@dataclass(frozen=True, slots=True)
class Asked:
    """What is held against a ledger from outside: trusted keys by id, a head that was written down, run log, anchor."""

    keys: Mapping[str, PublicKey]
    head: bytes | None = None
    log: Path | None = None
    anchor: Remembered | None = None


def verify_ledger(path: Path, asked: Asked) -> Report:
    """Everything that is wrong with a ledger's file. Raises `LedgerUnavailable` where it cannot be opened as one."""
    return examined(path, lambda ledger: _verified(ledger, asked))


def verify_lines(path: Path, log: Path) -> Report:
    """What of a run log contradicts a ledger. Raises `LedgerUnavailable` or `RunLogError` where one cannot be read."""
    from tallygate.operations.verify_log import verify_log

    def look(ledger: ForeignLedger) -> Report:
        report = Report()
        with ledger.reading() as reader:
            verify_log(report, ledger, reader.tenants(), log)
        return report

    return examined(path, look)


def _verified(ledger: ForeignLedger, asked: Asked) -> Report:
    report = Report()
    print_there, print_here = schema_of(ledger), expected_fingerprint()
    report.facts += [("ledger", f"{ledger.path}, id {ledger.ledger_id}"), ("schema", f"sha256 {print_there}")]
    if odd := unreadable_tables(ledger):
        for name in odd:
            report.add(Part.SCHEMA, f"table {name}", "is not as this program made it", "nothing in the file was read")
        return report
    with ledger.reading():
        heard = Heard(ledger, asked.keys)
        with ThreadPoolExecutor(1) as pool:  # SQLite looks through the pages meanwhile
            pages = pool.submit(ledger.apart, damage)
            edited = edits(ledger, listener=heard)
        for finding in (*pages.result(), *edited):
            report.add(Part(finding.kind), finding.where, finding.what, finding.meaning)
        if print_there != print_here and not report.counted[Part.SCHEMA]:
            report.add(Part.SCHEMA, "schema", f"its fingerprint is not {print_here}", "writes may have been altered")
        seen = Counter[str]()
        for tenant, told in heard.tenants():
            with ledger.reading(tenant) as reader:
                _tenant(report, ledger, reader, told, seen)
        report.facts.append(("signed", ", ".join(f"{count} {kind}" for kind, count in sorted(seen.items())) or "-"))
        _locked(report, heard)
        if asked.anchor is not None:
            _remembered(report, ledger, asked.anchor)
        if asked.head is not None:
            _anchor(report, ledger, asked.head)
        if asked.log is not None:
            from tallygate.operations.verify_log import verify_log

            verify_log(report, ledger, [tenant for tenant, _ in heard.tenants()], asked.log)
    return report


def _locked(report: Report, heard: Heard) -> None:
    """What the user's lock says of the events that loosened while it was in force."""
    lock = heard.lock
    if lock.standing.lock is not None:
        since = iso(lock.standing.lock.since_us)
        report.facts.append(("locked", f"since {since}; {lock.signed:,} later events carry its signature"))
    for where, what in lock.faults:
        report.add(Part.LOCK, where, what, "it was not the user: the gate does not go by it")
    report.notes += lock.notes


def _tenant(report: Report, ledger: ForeignLedger, reader: Reader, told: Told, seen: Counter[str]) -> None:
    head = reader.head()
    report.facts.append(("chain", f"{reader.tenant}: {head.seq:,} events, head {head.hash.hex()}"))
    told.compare(reader.signing_keys())
    for where, what in told.faults:
        report.add(Part.KEY, where, what, "a key was put in or taken out by hand")
    report.notes += told.notes
    keys = told.keys()
    if anomalies := reader.count_anomalies():
        report.notes.append(
            f"{reader.tenant}: {anomalies:,} responses were told of again with less, another model or another time, or "
            "at a time that cannot be right; what was booked stays. `tallygate usage anomalies` names them."
        )
    if odd := reader.count_call_anomalies():
        report.notes.append(
            f"{reader.tenant}: {odd:,} of agents' reports on their own calls are odd. `tallygate usage anomalies` "
            "names them."
        )
    for row in _rows(ledger, reader.tenant):
        if row["envelope"] is None:
            seen["due"] += 1
            continue
        seen[str(row["kind"])] += 1
        _attested(report, ledger, reader, row, keys)
    if told.unnoted:
        what = f"{told.unnoted:,} events call for an attestation and have none"
        report.add(
            Part.ATTESTATION,
            reader.tenant,
            what,
            "they were lost; `tallygate attest list` makes them again from the journal",
        )


def _rows(ledger: ForeignLedger, tenant: str) -> Iterator[dict[str, Any]]:
    sql = f"SELECT {', '.join(ATTESTATION_COLUMNS)} FROM attestation WHERE tenant = ? ORDER BY id"  # noqa: S608
    for values in ledger.rows(sql, (tenant,)):
        yield dict(zip(ATTESTATION_COLUMNS, values, strict=True))


def _attested(report: Report, ledger: ForeignLedger, reader: Reader, row: Mapping[str, Any], keys: Keys) -> None:
    where = f"attestation {row['attestation_id']}"
    try:
        envelope = dsse.read(str(row["envelope"]).encode())
        payload = envelope.opened(keys.by_id)
        stated = read_statement(payload)
    except NotProven as error:
        part = Part.KEY if error.code == "key_untrusted" else Part.ATTESTATION
        report.add(part, where, error.message, "nobody you trust has signed this")
        return
    if payload != row["payload"] or envelope.keyid != row["keyid"]:
        report.add(Part.ATTESTATION, where, "the row and its envelope differ", "the row was edited by hand")
    expected = attestation_id(stated.kind, stated.digest, row["session_id"])
    said = stated.kind.value, expected, stated.digest, stated.seq, stated.predicate.get("call")
    if said != (row["kind"], row["attestation_id"], row["event_hash"], row["seq"], row["call_id"]):
        report.add(Part.ATTESTATION, where, "the envelope is about something else", "an envelope was swapped")
    if (retired := keys.retired.get(envelope.keyid)) is not None and stated.seq > retired:
        what = f"signed by a key that was replaced at event {retired}, before event {stated.seq}"
        report.add(Part.KEY, where, what, "somebody kept a key that should be gone")
    against_journal(report, ledger, reader, stated, payload)


def against_journal(report: Report, ledger: ForeignLedger, reader: Reader, stated: Statement, payload: bytes) -> None:
    """Hold a signed statement against the event that it is about."""
    where = f"statement about {stated.name}"
    if (stated.ledger_id, stated.tenant) != (ledger.ledger_id, reader.tenant):
        report.add(Part.ATTESTATION, where, f"this is ledger {ledger.ledger_id}", "it belongs to another ledger")
        return
    event = reader.journal_event(stated.seq)
    if event is None or event.hash != stated.digest:
        what = "the journal does not reach so far" if event is None else "the event there has another hash"
        report.add(Part.HEAD, where, what, "the history was rewritten or cut after this was signed")
        return
    if stated.kind is Kind.BUDGET_EXHAUSTED:
        try:
            again = statement_bytes(
                stated.kind, subject_of(ledger.ledger_id, reader.tenant, event), exhausted(reader, event)
            )
        except (ValueError, KeyError, TypeError, StopIteration, AttributeError):
            again = b""
        if again != payload:
            report.add(Part.ATTESTATION, where, "it says other than its event", "the statement was made by hand")


def _remembered(report: Report, ledger: ForeignLedger, remembered: Remembered) -> None:
    """Hold the user's own ledger against its anchor."""
    try:
        bears_out(ledger.path, ledger.ledger_id, remembered, ledger.rows)
    except LedgerUnavailable as error:
        report.add(Part.HEAD, "anchor", error.message, "an older copy or another ledger was put in its place")
        return
    if (mark := remembered.newest) is not None and mark.row:
        report.facts.append(("anchor", f"{mark.tenant}: event {mark.seq:,} is there"))


def _anchor(report: Report, ledger: ForeignLedger, head: bytes) -> None:
    for tenant, seq in ledger.rows("SELECT tenant, seq FROM event WHERE hash = ?", (head,)):
        with ledger.reading(str(tenant)) as reader:
            later = reader.head().seq - int(seq)
        report.facts.append(("anchor", f"{tenant}: event {seq:,}, {later:,} later"))
        return
    report.add(
        Part.HEAD,
        "expected head",
        f"no event has the hash {head.hex()}",
        "the history up to it was rewritten or cut, an older copy was put in place, or it is another ledger's head",
    )


def held_against(report: Report, path: Path, proven: list[tuple[Statement, bytes]]) -> None:
    """Hold statements that came from elsewhere against a ledger's file."""

    def look(ledger: ForeignLedger) -> None:
        if unreadable_tables(ledger):
            return
        for stated, payload in proven:
            with ledger.reading(stated.tenant) as reader:
                against_journal(report, ledger, reader, stated, payload)

    examined(path, look)
