"""What a check finds, and what it goes by beside the ledger: keys in the journal, a bundle."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import field
from enum import StrEnum
from pathlib import Path
from typing import Any

from tallygate.attest import dsse
from tallygate.attest.keyring import Rotation
from tallygate.attest.keys import PublicKey, public_keys_from
from tallygate.attest.statement import Statement, read_statement
from tallygate.core.errors import KeyUnusable, NotProven
from tallygate.core.lock import LOCK_TRACE, LOOSENING, LockKind, LockStanding, Off, after, loosens, what_of
from tallygate.core.model import DEFAULT_TENANT
from tallygate.core.proof import TRACES, Link, StatementKind, attestation_id, called_for, event_hash
from tallygate.core.text import cleaned
from tallygate.core.values import value
from tallygate.ledger.audit.audit import ReadLedger
from tallygate.operations.lock_book import lock_event_at

SHOWN_MAX = 100


class Area(StrEnum):
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


@value(frozen=True, slots=True)
class Broken:
    """One thing that is wrong: where, what, and what it means for whoever relies on it."""

    part: Area
    where: str
    what: str
    meaning: str


@value(slots=True)
class Report:
    """What a verification looked at and found."""

    facts: list[tuple[str, str]] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    elsewhere: int = 0  # lines of the run log that tell of other ledgers
    lost: int = 0  # and those of events that the user went on without
    counted: Counter[Area] = field(default_factory=Counter)

    def add(self, part: Area, where: str, what: str, meaning: str) -> None:
        """One more thing that is wrong; of each kind only the first are kept, all are counted."""
        self.counted[part] += 1
        if self.counted[part] <= SHOWN_MAX:
            self.broken.append(Broken(part, where, what, meaning))


REASON_MAX, TOLD_MAX = 200, 500
LEDGER_TRACE = '"kind":"ledger.'


class Way(StrEnum):
    """How the user goes on, by the event that tells of it."""

    ACCEPTED = "ledger.accepted"
    RESTORED = "ledger.restored"
    REBUILT = "ledger.rebuilt"


def lost_with(body: bytes, ledger_id: str, tenant: str) -> int:
    """The number of the last event that an event of this kind tells was there before it; 0 where it is another."""
    try:
        event = json.loads(body)
        note = event["note"]
        ours = event["kind"] in [way.value for way in Way] and note["was_ledger"] == ledger_id
        return int(note["was_seq"]) if ours and note["was_tenant"] == tenant else 0
    except (ValueError, LookupError, TypeError):
        return 0


def phrase_of(kind: str, note: object) -> str | None:
    """What an event of this kind says, as a phrase; None where it is another."""
    if kind not in [way.value for way in Way] or not isinstance(note, Mapping):
        return None
    verb = kind.removeprefix("ledger.")
    what = {
        "ledger_missing": "begun anew, since it was gone",
        "ledger_rolled_back": f"{verb} as an older copy",
        "ledger_replaced": f"{verb} as another ledger",
    }.get(str(note.get("found")), verb)
    was = note.get("was_seq")
    before = f", after event {was:,} of ledger {note.get('was_ledger')}" if isinstance(was, int) and was else ""
    beneath = f" beneath {note['beneath']}" if "beneath" in note else ""
    return cleaned(f"{what}{before}, by {note.get('actor')}{beneath}: {note.get('reason')}", TOLD_MAX)


# --- what the journal tells ------------------------------------------------------------------------------------------
# What a verification hears while the journal goes by: keys that took the place of others, and what is not attested.


KEPT_MAX, KEYS_MAX = 100, 10_000
KEY_TRACE = '"kind":"key.'
LOCK_TRACES = (LOCK_TRACE, *(f'"kind":"{kind}"' for kind in LOOSENING))
_NO_EVENT = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


@value(frozen=True, slots=True)
class Keys:
    """Keys that are trusted, and the event after which each that was replaced may sign nothing more."""

    by_id: Mapping[str, PublicKey]
    retired: Mapping[str, int]


@value(slots=True, eq=False)
class JournalKeys:
    """What one tenant's journal told: keys given from outside and those they signed over to, and what is amiss."""

    known: dict[str, PublicKey]
    retired: dict[str, int] = field(default_factory=dict)
    faults: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unnoted: int = 0
    signed_by: dict[str, tuple[str, int, int]] = field(default_factory=dict)

    def keys(self) -> Keys:
        """The keys that are trusted."""
        return Keys(self.known, self.retired)

    def key(self, seq: int, event: Mapping[str, Any]) -> None:
        """Take an event that tells of a key."""
        where = f"event {seq}"
        try:
            kind, note = event["kind"], event["note"]
            if len(self.signed_by) < KEYS_MAX:
                self.signed_by[str(note["keyid"])] = str(note["public"]), seq, int(event["at_us"])
            if kind == "key.created" and "lost" in note and len(self.notes) < KEPT_MAX:
                self.notes.append(
                    f"{where}: key {note['keyid']} was made without a signature of {note['lost']}: "
                    "that key was lost, so the new one must be trusted by itself."
                )
            if kind != "key.rotated":
                return
            rotation = Rotation.read(note, where)
        except (*_NO_EVENT, KeyUnusable):
            self._fault(where, "does not tell of a key")
            return
        # Trust goes on from a key that is trusted; a rotation among strangers proves nothing.
        if rotation.old.keyid not in self.known:
            return
        if not rotation.holds:
            self._fault(where, "both keys must have signed")
            return
        self.known[rotation.new.keyid] = rotation.new
        self.retired[rotation.old.keyid] = seq

    def compare(self, there: Iterable[tuple[str, str, int, int]]) -> None:
        """Hold the table of keys against the events that tell of them."""
        rows = {keyid: tuple(others) for keyid, *others in there}
        for keyid in sorted(rows.keys() | self.signed_by.keys()):
            if rows.get(keyid) != self.signed_by.get(keyid):
                told = "has no row, and an event tells of it" if keyid not in rows else "is not as an event tells of it"
                self._fault(f"signing key {keyid}", told)

    def _fault(self, where: str, what: str) -> None:
        if len(self.faults) < KEPT_MAX:
            self.faults.append((where, what))


class LockHeard:
    """Which events loosened while the limits were locked, and do not carry the signature of the lock."""

    def __init__(self, ledger_id: str) -> None:
        self._ledger_id = ledger_id
        self.standing = LockStanding()
        self.signed = 0
        self.switched_off = 0
        self.last_off: Off | None = None
        self.faults: list[tuple[str, str]] = []
        self.notes: list[str] = []

    def hear(self, tenant: str, seq: int, previous: bytes, event: Mapping[str, Any]) -> None:
        """Take an event; what it is signed with is held against the lock that was in force."""
        told = lock_event_at(f"{self._ledger_id}/{tenant}", seq, previous, event)
        before = self.standing
        if tenant == DEFAULT_TENANT:
            self.standing = after(before, told)
            if self.standing.off is not None and self.standing.off is not before.off:
                self.switched_off, self.last_off = self.switched_off + 1, self.standing.off
        if len(self.faults) + len(self.notes) >= KEPT_MAX:
            return
        if self.standing.lost_us is not None and (before.lock is not None or before.lost_us != self.standing.lost_us):
            self.notes.append(
                f"event {seq}: the lock was ended without its passphrase, by {self.standing.lost_by}: "
                "from there on no limit is signed."
            )
        # By the lock that was in force before the event: an event cannot end the lock that it needed.
        if before.lock is not None and loosens(event):
            if told.signed_by(before.lock.public):
                self.signed += 1
            else:
                self.faults.append((f"event {seq} of {tenant}", f"{what_of(event)} is not signed by the lock"))
        elif before.lock is not None and event.get("kind") == LockKind.SET:
            self.faults.append((f"event {seq} of {tenant}", "another lock was set over the one in force"))


class JournalReview:
    """Listens to an audit, so that the journal is read once."""

    traces = tuple(trace.encode() for trace in (KEY_TRACE, LEDGER_TRACE, *LOCK_TRACES, *TRACES))

    def __init__(self, ledger: ReadLedger, given: Mapping[str, PublicKey]) -> None:
        self._ledger = ledger
        self._given = given
        self._tenants: dict[str, JournalKeys] = {}
        self.lock = LockHeard(ledger.ledger_id)

    def tenants(self) -> list[tuple[str, JournalKeys]]:
        """Everybody who has events, and what theirs told."""
        return sorted(self._tenants.items(), key=lambda named: named[0])

    def begin(self, tenant: str) -> None:
        """Take the first event of a tenant."""
        self._tenants[tenant] = JournalKeys(dict(self._given))

    def hear(self, tenant: str, link: Link, previous: bytes, event: Mapping[str, Any]) -> None:
        """Take an event that may tell of a key or of a lock, or call for an attestation."""
        told, seq, digest = self._tenants[tenant], link.seq, link.hash
        self.lock.hear(tenant, seq, previous, event)
        try:
            kind = str(event["kind"])
            found = called_for(kind, event["rows"])
            named = None if found is None else attestation_id(found[0], digest, found[1])
        except _NO_EVENT:
            return  # the audit has told of it
        if kind.startswith("key."):
            told.key(seq, event)
        if (said := phrase_of(kind, event.get("note"))) is not None and len(told.notes) < KEPT_MAX:
            told.notes.append(f"event {seq}: the ledger was {said}.")
        if named is not None:
            with self._ledger.reading(tenant) as reader:
                told.unnoted += reader.attestation(named) is None


# --- bundle ----------------------------------------------------------------------------------------------------------
# An evidence bundle: a session's proof with what it takes to check it, as a folder or one archive.


ENVELOPE, STATEMENT, EVENTS, CHECKPOINT = "envelope.json", "statement.json", "events.jsonl", "checkpoint.json"
ATTESTATIONS = "attestations/"
FILES_MAX, FILE_BYTES_MAX, ALL_BYTES_MAX = 100_000, 64 << 20, 512 << 20
RATIO_MAX = 200


@value(slots=True)
class OpenedBundle:
    """What a file, folder or archive with attestations holds: envelopes by name, statement and events where given."""

    envelopes: dict[str, bytes]
    statement: bytes | None = None
    events: bytes | None = None
    keys: list[PublicKey] = field(default_factory=list)


def open_bundle(path: Path) -> OpenedBundle:
    """Read an envelope, or a bundle. Raises `NotProven` where it is neither."""
    try:
        files = _files_of(path)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise NotProven(f"{path} cannot be read: {error}.") from error
    if ENVELOPE not in files:
        raise NotProven(f"{path} has no {ENVELOPE}.", hint="Pass an envelope, or a folder or zip of `attest export`.")
    names = [name for name in files if name in (ENVELOPE, CHECKPOINT) or name.startswith(ATTESTATIONS)]
    found = OpenedBundle({name: files[name] for name in names}, files.get(STATEMENT), files.get(EVENTS))
    for name in ("public-key.pem", "public-key.jwks.json"):
        if name in files:
            try:
                found.keys += public_keys_from(files[name], name)
            except KeyUnusable as error:
                raise NotProven(error.message) from error
    return found


def _files_of(path: Path) -> dict[str, bytes]:
    """What a folder, an archive or a single envelope holds, by name; anybody may have made it, so it is bounded."""
    files: dict[str, bytes] = {}
    if path.is_dir():
        for each in [*path.glob("*"), *(path / ATTESTATIONS).glob("*.json")]:
            # A link could name any file of the reader's, and its bytes end up in a report.
            if each.is_file() and not each.is_symlink():
                if len(files) >= FILES_MAX or each.stat().st_size > FILE_BYTES_MAX:
                    raise NotProven(f"{path} holds more or larger files than a bundle has.")
                files[each.relative_to(path).as_posix()] = each.read_bytes()
        return files
    if path.stat().st_size > FILE_BYTES_MAX:
        raise NotProven(f"{path} has more than {FILE_BYTES_MAX:,} bytes.")
    if not zipfile.is_zipfile(path):
        return {ENVELOPE: path.read_bytes()}
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > FILES_MAX or sum(each.file_size for each in members) > ALL_BYTES_MAX:
            raise NotProven(f"{path} unpacks to more than a bundle has.")
        for member in members:
            if member.is_dir():
                continue
            # A small archive that unpacks to gigabytes: the sizes it states are checked first, and no more than stated
            # is read.
            if member.file_size > FILE_BYTES_MAX or member.file_size > RATIO_MAX * max(member.compress_size, 100):
                raise NotProven(f"{path} unpacks to more than a bundle has.")
            with archive.open(member) as file:
                files[member.filename] = file.read(member.file_size + 1)
    return files


def verify_attestations(report: Report, path: Path, keys: Mapping[str, PublicKey]) -> list[tuple[Statement, bytes]]:
    """Check every envelope in a file or bundle by keys from elsewhere; returns what is proven, with its bytes."""
    bundle = open_bundle(path)
    report.facts.append(("attestation", str(path)))
    events = _hashed(report, bundle.events)
    told = _told(report, keys, events)
    for keyid in sorted({key.keyid for key in bundle.keys} - told.known.keys()):
        report.notes.append(f"the bundle brings the key {keyid}; it is not believed, since anybody can put one in")
    proven: list[tuple[Statement, bytes]] = []
    for name, raw in sorted(bundle.envelopes.items()):
        try:
            envelope = dsse.read(raw)
            payload = envelope.opened(told.known)
            stated = read_statement(payload)
        except NotProven as error:
            part = Area.KEY if error.code == "key_untrusted" else Area.ATTESTATION
            report.add(part, name, error.message, "this proves nothing")
            continue
        # What was signed before the key was replaced stays proven; afterwards only a thief signs with it.
        if stated.seq > told.retired.get(envelope.keyid, stated.seq):
            report.add(Area.KEY, name, "the key that signed had been replaced before", "somebody kept a key")
            continue
        proven.append((stated, payload))
        report.facts.append(
            ("proven", f"{name}: {stated.kind.value} about {stated.name}, sha256 {stated.digest.hex()}")
        )
        if name == ENVELOPE and bundle.statement is not None and bundle.statement != payload:
            report.add(Area.ATTESTATION, STATEMENT, "is not what was signed", "it was edited after it was exported")
    if bundle.events is not None and proven:
        _in_events(report, proven, events)
    return proven


def _told(
    report: Report, given: Mapping[str, PublicKey], events: Mapping[int, tuple[bytes, bytes, bytes]]
) -> JournalKeys:
    """What a bundle's events tell of keys: both have signed that one took the place of the other, so it is believed."""
    told = JournalKeys(dict(given))
    for seq in sorted(events):
        try:
            event = json.loads(events[seq][2])
            is_of_key = event["kind"].startswith("key.")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            report.add(Area.CHAIN, f"{EVENTS}, event {seq}", "is no event", "the bundle was edited")
            continue
        if is_of_key:
            told.key(seq, event)
    for where, what in told.faults:
        report.add(Area.KEY, f"{EVENTS}, {where}", what, "a key was put in by hand")
    report.notes += told.notes
    return told


def _hashed(report: Report, raw: bytes | None) -> dict[int, tuple[bytes, bytes, bytes]]:
    """The events of a bundle: previous hash, stated hash and body by number."""
    found = {}
    for number, line in enumerate((raw or b"").splitlines(), 1):
        try:
            told: dict[str, Any] = json.loads(line)
            place = bytes.fromhex(told["previous"]), bytes.fromhex(told["hash"]), str(told["body"]).encode()
            found[int(told["seq"])] = place
        except (ValueError, KeyError, TypeError, RecursionError):
            report.add(Area.CHAIN, f"{EVENTS} line {number}", "is no event", "the bundle was edited")
    return found


def _in_events(
    report: Report, proven: list[tuple[Statement, bytes]], events: Mapping[int, tuple[bytes, bytes, bytes]]
) -> None:
    """Every event must have the hash that its bytes give, and those that are stated the one that was signed."""
    first = proven[0][0]
    for seq, (previous, digest, body) in events.items():
        # A hash takes in ledger and tenant: an event of another journal does not fit, however true it is there.
        if event_hash(f"{first.ledger_id}/{first.tenant}", seq, previous, body) != digest:
            what = "its hash is not that of its bytes"
            report.add(Area.CHAIN, f"{EVENTS}, event {seq}", what, "the event was edited")
        if seq + 1 in events and events[seq + 1][0] != digest:
            what = "does not follow the event before it"
            report.add(Area.CHAIN, f"{EVENTS}, event {seq + 1}", what, "one of both was edited")
    for stated, _ in proven:
        where = f"{EVENTS}, event {stated.seq}"
        if stated.seq not in events:
            if stated.kind is not StatementKind.CHECKPOINT:
                report.add(Area.CHAIN, where, "is missing", "the event that was signed is not in the bundle")
        elif events[stated.seq][1] != stated.digest:
            report.add(Area.CHAIN, where, "its hash is not the one that was signed", "the event was edited")
