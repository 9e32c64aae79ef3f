"""What a verification hears while the journal goes by: keys that took the place of others, and what is not attested."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tallygate.attest.keys import PublicKey
from tallygate.attest.ring import Rotation
from tallygate.core.errors import KeyUnusable
from tallygate.core.lock import LOCK_TRACE, LOOSENING, LockKind, Standing, after, loosens, what_of
from tallygate.core.model import DEFAULT_TENANT
from tallygate.core.proof import TRACES, Link, attestation_id, called_for
from tallygate.ledger.foreign import ForeignLedger
from tallygate.operations.history import LEDGER_TRACE
from tallygate.operations.history import told_of as history_told
from tallygate.operations.lock_book import told_of

KEPT_MAX, KEYS_MAX = 100, 10_000
KEY_TRACE = '"kind":"key.'
LOCK_TRACES = (LOCK_TRACE, *(f'"kind":"{kind}"' for kind in LOOSENING))
_NO_EVENT = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys that are trusted, and the event after which each that was replaced may sign nothing more."""

    by_id: Mapping[str, PublicKey]
    retired: Mapping[str, int]


@dataclass(slots=True, eq=False)
class Told:
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
        self.standing = Standing()
        self.signed = 0
        self.faults: list[tuple[str, str]] = []
        self.notes: list[str] = []

    def hear(self, tenant: str, seq: int, previous: bytes, event: Mapping[str, Any]) -> None:
        """Take an event; what it is signed with is held against the lock that was in force."""
        told = told_of(f"{self._ledger_id}/{tenant}", seq, previous, event)
        before = self.standing
        if tenant == DEFAULT_TENANT:
            self.standing = after(before, told)
        if len(self.faults) + len(self.notes) >= KEPT_MAX:
            return
        if self.standing.lost_us is not None and before.lock is not None:
            self.notes.append(
                f"event {seq}: the lock was ended without its passphrase, by {self.standing.lost_by}: "
                "from there on no limit is signed."
            )
        if before.lock is not None and loosens(event):
            if told.signed_by(before.lock.public):
                self.signed += 1
            else:
                self.faults.append((f"event {seq} of {tenant}", f"{what_of(event)} is not signed by the lock"))
        elif before.lock is not None and event.get("kind") == LockKind.SET:
            self.faults.append((f"event {seq} of {tenant}", "another lock was set over the one in force"))


class Heard:
    """Listens to an audit, so that the journal is read once."""

    traces = tuple(trace.encode() for trace in (KEY_TRACE, LEDGER_TRACE, *LOCK_TRACES, *TRACES))

    def __init__(self, ledger: ForeignLedger, given: Mapping[str, PublicKey]) -> None:
        self._ledger = ledger
        self._given = given
        self._tenants: dict[str, Told] = {}
        self.lock = LockHeard(ledger.ledger_id)

    def tenants(self) -> list[tuple[str, Told]]:
        """Everybody who has events, and what theirs told."""
        return sorted(self._tenants.items(), key=lambda named: named[0])

    def begin(self, tenant: str) -> None:
        """Take the first event of a tenant."""
        self._tenants[tenant] = Told(dict(self._given))

    def hear(self, tenant: str, link: Link, previous: bytes, event: Mapping[str, Any]) -> None:
        """Take an event that may tell of a key or of a lock, or call for an attestation."""
        told, seq, digest = self._tenants[tenant], link.seq, link.hash
        self.lock.hear(tenant, seq, previous, event)
        try:
            kind = str(event["kind"])
            found = called_for(kind, ((table, row) for _, table, row in event["rows"]))
            named = None if found is None else attestation_id(found[0], digest, found[1])
        except _NO_EVENT:
            return  # the audit has told of it
        if kind.startswith("key."):
            told.key(seq, event)
        if (said := history_told(kind, event.get("note"))) is not None and len(told.notes) < KEPT_MAX:
            told.notes.append(f"event {seq}: the ledger was {said}.")
        if named is not None:
            with self._ledger.reading(tenant) as reader:
                told.unnoted += reader.attestation(named) is None
