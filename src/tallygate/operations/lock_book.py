"""Whether the limits are locked, and which of them the user has signed: asked at each gate, read from the journal."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tallygate.attest.keys import PublicKey, unb64url
from tallygate.core.authority import Authority, Loosening, locked
from tallygate.core.errors import KeyUnusable, LedgerUnavailable
from tallygate.core.lock import Bounds, Limits, Lock, LockKind, Standing, Told, after, limits_after
from tallygate.core.model import DEFAULT_TENANT, Budget
from tallygate.core.moments import iso
from tallygate.core.proof import SIGNATURE, signed_bytes
from tallygate.ledger.port import JournalEvent, Reader, Sign, Value

if TYPE_CHECKING:
    from tallygate.operations.runtime import Runtime


UNLOCKED = Standing()
BUDGETS_LOOKED_AT = 200
# So long every session begins with it.
LOST_NEWS_US = 7 * 86_400_000_000


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read of a journal so far: up to which event, and what it comes to."""

    seq: int = 0
    hash: bytes = b""
    standing: Standing = UNLOCKED
    limits: Mapping[str, tuple[int, bytes, Limits]] = field(default_factory=dict)


class LockBook:
    """What a process knows of the lock of its ledger. Each event is read, and its signature checked, once.

    The last event that is known is looked at again each time: another ledger in the place of this one has another.
    """

    def __init__(self) -> None:
        self._read = _Read()

    def standing(self, ledger_id: str, reader: Reader) -> Standing:
        """How the limits stand by the events of this moment."""
        return self._upto(ledger_id, reader).standing

    def bounds(self, ledger_id: str, reader: Reader) -> Bounds | None:
        """Which limits the user has signed in the reader's tenant; None where nothing is locked."""
        known = self._upto(ledger_id, reader)
        lock = known.standing.lock
        if lock is None:
            return None
        seq, digest, limits = known.limits.get(reader.tenant) or _begun(lock, reader.tenant)
        events = reader.limit_events(seq if digest else seq + 1)
        if digest and (not events or events[0].hash != digest):  # not the history that was read before
            seq, digest, limits = _begun(lock, reader.tenant)
            events = reader.limit_events(seq + 1)
        elif digest:
            events = events[1:]
        if events:
            chain_id = f"{ledger_id}/{reader.tenant}"
            limits = limits_after(limits, (told(chain_id, each) for each in events), lock.public)
            kept = {**known.limits, reader.tenant: (events[-1].seq, events[-1].hash, limits)}
            self._read = _Read(known.seq, known.hash, known.standing, kept)
        return Bounds(limits)

    def _upto(self, ledger_id: str, reader: Reader) -> _Read:
        known = self._read
        events = reader.lock_events(known.seq)
        if known.seq and (not events or events[0].hash != known.hash):
            known, events = _Read(), reader.lock_events()
        elif known.seq:
            events = events[1:]
        if events:
            standing = standing_of(ledger_id, events, known.standing)
            known = _Read(events[-1].seq, events[-1].hash, standing)
        self._read = known
        return known


def _begun(lock: Lock, tenant: str) -> tuple[int, bytes, Limits]:
    return lock.heads.get(tenant, 0), b"", lock.limits.get(tenant, {})


def standing_of(ledger_id: str, events: Iterable[JournalEvent], standing: Standing = UNLOCKED) -> Standing:
    """How the limits stand after events of the lock."""
    for event in events:
        standing = after(standing, told(f"{ledger_id}/{DEFAULT_TENANT}", event))
    return standing


def standing_at(database: Path) -> Standing:
    """How the limits of a ledger's file stand, before it is opened; of one that cannot be read nobody knows."""
    from tallygate.ledger.audit.foreign import lock_events_in

    if not os.access(database, os.F_OK):
        return UNLOCKED
    try:
        ledger_id, events = lock_events_in(database)
    except LedgerUnavailable as error:
        return Standing(unread=error)
    return standing_of(ledger_id, events)


def told(chain_id: str, event: JournalEvent) -> Told:
    """An event with who has signed it; one that cannot be read says nothing."""
    try:
        body = json.loads(event.body)
    except (ValueError, RecursionError):
        body = {}
    return told_of(chain_id, event.seq, event.previous, body if isinstance(body, dict) else {})


def told_of(chain_id: str, seq: int, previous: bytes, body: Mapping[str, Any]) -> Told:
    """An event at its place in a chain, with who has signed it."""

    def signed_by(public: str) -> bool:
        note = body.get("note")
        if not isinstance(note, Mapping) or SIGNATURE not in note:
            return False
        try:
            key = PublicKey(unb64url(public, "the lock"))
            signature = unb64url(note[SIGNATURE], "the signature")
            return key.verifies(signed_bytes(chain_id, seq, previous, body), signature)
        except (KeyUnusable, ValueError, TypeError):
            return False

    return Told(body, signed_by)


def standing_now(rt: Runtime) -> Standing:
    """Whether the limits are locked now."""
    with rt.ledger.reading(rt.tenant) as reader:
        return rt.locks.standing(rt.ledger.ledger_id, reader)


def bounds_now(rt: Runtime, reader: Reader) -> Bounds | None:
    """Which limits the user has signed, as things stand in a transaction; None where nothing is locked."""
    return rt.locks.bounds(rt.ledger.ledger_id, reader)


def as_signed(rt: Runtime, reader: Reader, budget: Budget) -> Budget:
    """A budget with the limit that the gate goes by: while the limits are locked, what the user has signed."""
    bounds = bounds_now(rt, reader)
    most = None if bounds is None else bounds.of(budget.name, budget.rule_limit)
    return budget if most is None or budget.limit_nanos <= most else replace(budget, limit_nanos=most)


def unsigned_limits(rt: Runtime) -> list[Budget]:
    """Budgets whose limit stands above what the user has signed, of those that were used last."""
    with rt.ledger.reading(rt.tenant) as reader:
        bounds = bounds_now(rt, reader)
        budgets = [] if bounds is None else reader.budgets(BUDGETS_LOOKED_AT)
        return [each for each in budgets if bounds is not None and is_above(bounds, each, rt.clock_us())]


def is_above(bounds: Bounds, budget: Budget, at_us: int) -> bool:
    """Whether a budget's limit is above what the user has signed."""
    most = bounds.of(budget.name, budget.rule_limit)
    added = sum(more for more, until_us in budget.raises if at_us < until_us)
    return most is not None and budget.limit_nanos + added > most


def lost_text(rt: Runtime, reader: Reader) -> str | None:
    """What is said at the start of sessions while it is news that a lock was ended without its passphrase."""
    standing = rt.locks.standing(rt.ledger.ledger_id, reader)
    if standing.lost_us is None or standing.lost_us < rt.clock_us() - LOST_NEWS_US:
        return None
    return (
        f"On {iso(standing.lost_us)} the lock of the limits was ended without its passphrase, by {standing.lost_by}: "
        "they are those of the settings file."
    )


def signing(rt: Runtime, tx: Reader, authority: Authority, what: Loosening) -> Sign | None:
    """What signs an event that loosens; None where nothing is locked. Raises `Locked` without the passphrase."""
    lock = rt.locks.standing(rt.ledger.ledger_id, tx).lock
    if lock is None:
        return None
    seal = authority.lock
    if seal is None or not seal.is_open or seal.public != lock.public:
        raise locked(what)
    return seal.sign


def signing_as_far(rt: Runtime, tx: Reader, authority: Authority) -> Sign | None:
    """What signs an event of a ledger that was put in place: where that is locked with another key, nobody does."""
    lock = rt.locks.standing(rt.ledger.ledger_id, tx).lock
    seal = authority.lock
    fits = lock is not None and seal is not None and seal.is_open and seal.public == lock.public
    return seal.sign if fits and seal is not None else None


def note_loosened(rt: Runtime, authority: Authority, what: Loosening, about: str = "") -> None:
    """Tell the journal of something that the user has loosened and that has no event of its own; only while locked."""
    if authority.lock is None:
        return
    with rt.ledger.writing(DEFAULT_TENANT) as tx:
        sign = signing(rt, tx, authority, what)
        if sign is not None:
            note: dict[str, Value] = {"actor": authority.actor, "what": what.value, "about": about}
            tx.append(LockKind.LOOSENED, [], by=rt.by, note=note, sign=sign)
