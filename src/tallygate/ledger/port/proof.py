"""What is asked of the journal, and kept of what is signed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from tallygate.core.proof import Head, StatementKind, attestation_id
from tallygate.ledger.port.changes import OfTenant


@dataclass(frozen=True, slots=True)
class JournalEvent:
    """One event as it is stored, with the hash of the one before it."""

    seq: int
    at_us: int
    body: bytes
    hash: bytes
    previous: bytes


@dataclass(frozen=True, slots=True)
class Due:
    """Something to be stated of an event, and signed after the event's commit."""

    kind: StatementKind
    head: Head
    session_id: str | None = None
    call_id: str | None = None

    @property
    def attestation_id(self) -> str:
        return attestation_id(self.kind, self.head.hash, self.session_id)

    def row(self) -> dict[str, Any]:
        """As its row begins."""
        return {
            "attestation_id": self.attestation_id,
            "kind": self.kind.value,
            "session_id": self.session_id,
            "call_id": self.call_id,
            "seq": self.head.seq,
            "event_hash": self.head.hash,
        }


@dataclass(frozen=True, slots=True)
class StoredAttestation:
    """One attestation as it is stored; without an envelope it is due."""

    attestation_id: str
    kind: str
    session_id: str | None
    call_id: str | None
    seq: int
    event_hash: bytes
    payload: bytes | None
    envelope: str | None
    keyid: str | None
    issued_us: int | None


class ProofReader(OfTenant, Protocol):
    """The journal and what is signed of it: attestations, keys, the lock, and the bases of prices."""

    def first_after(self, at_us: int) -> tuple[int, int]: ...
    def prices(self) -> dict[str, str]: ...
    def price_list(self, list_id: str) -> str | None: ...
    def head(self) -> Head: ...
    def attestation(self, attestation_id: str) -> StoredAttestation | None: ...
    def attestations(self, limit: int) -> list[StoredAttestation]: ...
    def attestations_of(self, session_id: str, limit: int = ...) -> list[StoredAttestation]: ...
    def last_attestation(self, session_id: str, kind: str) -> StoredAttestation | None: ...
    def attestation_of_call(self, call_id: str) -> StoredAttestation | None: ...
    def attestations_due(self, limit: int, session_id: str | None = ...) -> list[StoredAttestation]: ...
    def count_due(self) -> int: ...
    def journal_event(self, seq: int) -> JournalEvent | None: ...
    def events_about(self, part: str) -> Iterator[JournalEvent]: ...
    def price_basis(self, price_id: str) -> str | None: ...
    def knows_key(self, keyid: str) -> bool: ...
    def signing_keys(self) -> list[tuple[str, str, int, int]]: ...
    @property
    def newest_lock(self) -> bytes | None: ...
    def lock_events(self, first: int = ...) -> list[JournalEvent]: ...
    def limit_events(self, first: int) -> list[JournalEvent]: ...
    def openings(self, session_id: str, started_us: int) -> list[JournalEvent]: ...


class ProofWriter(OfTenant, Protocol):
    """What is to be signed, and with which keys."""

    def knows_price(self, price_id: str) -> bool: ...
    def attest_later(self, due: Due) -> None: ...
    def sign_attestation(self, attestation_id: str, payload: bytes, envelope: str, keyid: str) -> None: ...
    def keep_key(self, keyid: str, public: str, head: Head) -> None: ...
    def due_from_journal(self) -> int: ...
