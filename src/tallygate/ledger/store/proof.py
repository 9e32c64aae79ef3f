"""What can be proven: attestations beside the journal and the keys that signed them, and what the user has locked."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tallygate.core.model import DEFAULT_TENANT
from tallygate.core.proof import GENESIS, TRACES, Head, called_for, canonical_bytes
from tallygate.ledger.port import Due, JournalEvent, StoredAttestation
from tallygate.ledger.rows import Statements

# --- attestations ----------------------------------------------------------------------------------------------------
# Which events are to be signed, what was signed, and the keys that did.


ATTESTATION_COLUMNS = (
    "tenant", "attestation_id", "kind", "session_id", "call_id", "seq", "event_hash",
    "payload", "envelope", "keyid", "issued_us",
)  # fmt: skip
SIGNING_KEY_COLUMNS = ("tenant", "keyid", "public", "seq", "at_us")
_ATTESTED = "attestation_id, kind, session_id, call_id, seq, event_hash, payload, envelope, keyid, issued_us"

INSERT_DUE = (
    "INSERT INTO attestation (tenant, attestation_id, kind, session_id, call_id, seq, event_hash)"
    " VALUES (:tenant, :attestation_id, :kind, :session_id, :call_id, :seq, :event_hash)"
    " ON CONFLICT (tenant, attestation_id) DO NOTHING"
)
SIGN = (
    "UPDATE attestation SET payload = :payload, envelope = :envelope, keyid = :keyid, issued_us = :at_us"
    " WHERE tenant = :tenant AND attestation_id = :attestation_id AND envelope IS NULL"
)
SELECT_DUE = (
    f"SELECT {_ATTESTED} FROM attestation WHERE tenant = :tenant AND envelope IS NULL"
    " AND (:session_id IS NULL OR session_id = :session_id) ORDER BY id LIMIT :limit"
)
COUNT_DUE = "SELECT COUNT(*) FROM attestation WHERE tenant = :tenant AND envelope IS NULL"
SELECT_OF_SESSION = (
    f"SELECT {_ATTESTED} FROM attestation WHERE tenant = :tenant AND session_id = :session_id ORDER BY id DESC"
    " LIMIT :limit"
)
SELECT_NEWEST = f"SELECT {_ATTESTED} FROM attestation WHERE tenant = :tenant ORDER BY id DESC LIMIT :limit"
SELECT_OLDER = (
    f"SELECT {_ATTESTED} FROM attestation WHERE tenant = :tenant AND id < ifnull((SELECT id FROM attestation"
    " WHERE tenant = :tenant AND attestation_id = :than), 9223372036854775807) ORDER BY id DESC LIMIT :limit"
)
SELECT_ONE = f"SELECT {_ATTESTED} FROM attestation WHERE tenant = :tenant AND attestation_id = :attestation_id"
SELECT_ATTESTATIONS_CALLED = (
    "SELECT attestation_id FROM attestation WHERE tenant = :tenant"
    " AND (substr(attestation_id, 1, length(:part)) = :part"
    " OR substr(attestation_id, -length(:part)) = :part) ORDER BY id DESC LIMIT :limit"
)
SELECT_OF_CALL = (
    f"SELECT {_ATTESTED} FROM attestation WHERE tenant = :tenant AND call_id = :call_id ORDER BY id DESC LIMIT 1"
)
SELECT_LAST_OF_KIND = (
    f"SELECT {_ATTESTED} FROM attestation WHERE tenant = :tenant AND session_id = :session_id AND kind = :kind"
    " ORDER BY id DESC LIMIT 1"
)
# Each tenant counts its own events, so none has an id below its number: with one tenant the first look finds it.
SELECT_EVENT = (
    "SELECT id, seq, at_us, body, hash FROM event WHERE id >= :seq AND tenant = :tenant AND seq = :seq"
    " ORDER BY id LIMIT 1"
)
SELECT_BEFORE = "SELECT hash FROM event WHERE tenant = :tenant AND id < :id ORDER BY id DESC LIMIT 1"
SELECT_ABOUT = (
    "SELECT id, seq, at_us, body, hash FROM event WHERE tenant = :tenant"
    " AND id >= :from AND instr(body, CAST(:part AS BLOB)) > 0 ORDER BY id"
)
SELECT_PIECE = "SELECT id, seq, body, hash FROM event WHERE id > :row AND tenant = :tenant ORDER BY id LIMIT :limit"
SELECT_BASIS = "SELECT basis FROM price WHERE tenant = :tenant AND price_id = :price_id"
SELECT_KEY = "SELECT 1 FROM signing_key WHERE tenant = :tenant AND keyid = :keyid"
SELECT_KEYS = "SELECT keyid, public, seq, at_us FROM signing_key WHERE tenant = :tenant ORDER BY seq"
INSERT_KEY = (
    "INSERT INTO signing_key (tenant, keyid, public, seq, at_us) VALUES (:tenant, :keyid, :public, :seq, :at_us)"
    " ON CONFLICT (tenant, keyid) DO NOTHING"
)


class AttestReads(Statements):
    """Reads of attestations; a part of every reader."""

    def attestation(self, attestation_id: str) -> StoredAttestation | None:
        """One attestation by its id."""
        row = self._one(SELECT_ONE, attestation_id=attestation_id)
        return None if row is None else StoredAttestation(*row)

    def attestations_called(self, part: str, limit: int) -> list[str]:
        """The ids that begin or end with a text."""
        return [row[0] for row in self._all(SELECT_ATTESTATIONS_CALLED, part=part, limit=limit)]

    def attestations(self, limit: int) -> list[StoredAttestation]:
        """Attestations, the youngest first."""
        return [StoredAttestation(*row) for row in self._all(SELECT_NEWEST, limit=limit)]

    def attestations_older(self, than: str | None, limit: int) -> list[StoredAttestation]:
        """Those before one, or the youngest, in the same order."""
        return [StoredAttestation(*row) for row in self._all(SELECT_OLDER, than=than, limit=limit)]

    def attestations_of(self, session_id: str, limit: int = 1000) -> list[StoredAttestation]:
        """Those of a session, the youngest first, signed or due."""
        return [StoredAttestation(*row) for row in self._all(SELECT_OF_SESSION, session_id=session_id, limit=limit)]

    def last_attestation(self, session_id: str, kind: str) -> StoredAttestation | None:
        """The youngest of its kind in a session."""
        row = self._one(SELECT_LAST_OF_KIND, session_id=session_id, kind=kind)
        return None if row is None else StoredAttestation(*row)

    def attestation_of_call(self, call_id: str) -> StoredAttestation | None:
        """That of one refused call."""
        row = self._one(SELECT_OF_CALL, call_id=call_id)
        return None if row is None else StoredAttestation(*row)

    def attestations_due(self, limit: int, session_id: str | None = None) -> list[StoredAttestation]:
        """Those that are not signed yet, the oldest first."""
        return [StoredAttestation(*row) for row in self._all(SELECT_DUE, limit=limit, session_id=session_id)]

    def count_due(self) -> int:
        """How many are not signed yet."""
        row = self._one(COUNT_DUE)
        return 0 if row is None else int(row[0])

    def journal_event(self, seq: int) -> JournalEvent | None:
        """One event with its bytes and the hash before it."""
        row = self._one(SELECT_EVENT, seq=seq)
        return None if row is None else self._event(*row)

    def events_about(self, part: str, since_us: int | None = None) -> Iterator[JournalEvent]:
        """Every event whose body holds a text, in order, from a moment on; else it reads the whole journal."""
        first = 0 if since_us is None else self.place_at("event", since_us)
        for row in self._execute(SELECT_ABOUT, {"tenant": self.tenant, "part": part, "from": first}):
            yield self._event(*row)

    def events_from(self, row: int, limit: int) -> Iterator[tuple[int, int, bytes, bytes]]:
        """The next events after a row of the file: row, number, bytes and hash."""
        yield from self._execute(SELECT_PIECE, {"tenant": self.tenant, "row": row, "limit": limit})

    def _event(self, number: int, seq: int, at_us: int, body: bytes, digest: bytes) -> JournalEvent:
        before = self._one(SELECT_BEFORE, id=number)
        return JournalEvent(seq, at_us, body, digest, GENESIS if before is None else before[0])

    def price_basis(self, price_id: str) -> str | None:
        """What a price was, as JSON."""
        row = self._one(SELECT_BASIS, price_id=price_id)
        return None if row is None else str(row[0])

    def knows_key(self, keyid: str) -> bool:
        """Whether an event of this tenant tells of a key."""
        return self._one(SELECT_KEY, keyid=keyid) is not None

    def signing_keys(self) -> list[tuple[str, str, int, int]]:
        """Key id, public key, event and time of every key that signed, in order."""
        return [tuple(row) for row in self._all(SELECT_KEYS)]


class AttestWrites(AttestReads):
    """What is written of attestations: that one is due with its event, its signature later."""

    at_us: int

    def attest_later(self, due: Due) -> None:
        """Note that something is to be signed; once is enough."""
        self._execute(INSERT_DUE, {"tenant": self.tenant, **due.row()})

    def sign_attestation(self, attestation_id: str, payload: bytes, envelope: str, keyid: str) -> None:
        """Keep what was signed, with the exact bytes; what is signed already stays as it is."""
        signed = {"payload": payload, "envelope": envelope, "keyid": keyid, "at_us": self.at_us}
        self._execute(SIGN, {"tenant": self.tenant, "attestation_id": attestation_id, **signed})

    def keep_key(self, keyid: str, public: str, head: Head) -> None:
        """Keep which event tells of a key."""
        row = {"keyid": keyid, "public": public, "seq": head.seq, "at_us": head.at_us}
        self._execute(INSERT_KEY, {"tenant": self.tenant, **row})

    def due_from_journal(self) -> int:
        """Note again what the journal calls for, where rows were lost; returns how many were missing."""
        missing = 0
        for event in (event for trace in TRACES for event in self.events_about(trace)):
            body = json.loads(event.body)
            found = called_for(str(body["kind"]), body["rows"])
            if found is None:
                continue
            due = Due(found[0], Head(event.seq, event.hash, event.at_us), found[1], found[2])
            # The id comes from the event's hash: whoever notes it again notes the same row.
            if self.attestation(due.attestation_id) is None:
                self.attest_later(due)
                missing += 1
        return missing


# --- locks -----------------------------------------------------------------------------------------------------------
# Events that a lock of the limits is made of, those that changed a limit, and those that opened sessions.


_LOCK = "instr(substr(body, 1, 400), X'226B696E64223A226C6F636B2E') > 0"
_LIMIT = "instr(substr(body, 1, 400), X'226B696E64223A226275646765742E6C696D69745F6368616E67656422') > 0"
_OPENING = "instr(substr(body, 1, 400), X'226B696E64223A2273657373696F6E2E7374617274656422') > 0"
# The times of the events of one transaction follow one another; its first has that of its rows.
_OPENED_WITHIN_US, _ANY_TIME = 64, (0, 2**62)


def _select(index: str, condition: str, span: str = "e.seq >= :first", order: str = "seq") -> str:
    # Named, so that a ledger whose index was taken away is refused and not read as one that has no lock.
    return (
        "SELECT e.seq, e.at_us, e.body, e.hash,"
        " (SELECT p.hash FROM event p WHERE p.tenant = e.tenant AND p.id < e.id ORDER BY p.id DESC LIMIT 1)"
        f" FROM event e INDEXED BY {index} WHERE e.tenant = :of AND {span} AND {condition} ORDER BY e.{order}"
    )


SELECT_LOCK_EVENTS = _select("event_of_lock", _LOCK)
# The last event of the lock by its hash; b"" where there is none.
NEWEST_LOCK = (
    "ifnull((SELECT k.hash FROM event k INDEXED BY event_of_lock"
    f" WHERE k.tenant = '{DEFAULT_TENANT}' AND {_LOCK} ORDER BY k.seq DESC LIMIT 1), x'')"
)
SELECT_LIMIT_EVENTS = _select("event_of_limit", _LIMIT)
SELECT_OPENINGS = _select(
    "event_of_opening", _OPENING, "e.at_us >= :first AND e.at_us < :until_us AND instr(e.body, :named) > 0", "at_us"
)


class LockReads(Statements):
    """Reads of what the user has locked; a part of every reader.

    `newest_lock` is the hash of the last event of the lock, where a transaction has read it with what is due.
    """

    newest_lock: bytes | None = None

    def lock_events(self, first: int = 0) -> list[JournalEvent]:
        """Events of the lock, from a number on. It is one for all tenants, and stands in the journal of the first."""
        return self._journal(SELECT_LOCK_EVENTS, DEFAULT_TENANT, first)

    def limit_events(self, first: int) -> list[JournalEvent]:
        """Events that changed a limit of this tenant, from a number on."""
        return self._journal(SELECT_LIMIT_EVENTS, self.tenant, first)

    def openings(self, session_id: str, started_us: int) -> list[JournalEvent]:
        """The event that opened a session, by when that was; where none is there, all that name it."""
        named = canonical_bytes({"session_id": session_id})[1:-1]
        spans = ((started_us, started_us + _OPENED_WITHIN_US), _ANY_TIME)
        found = (self._journal(SELECT_OPENINGS, self.tenant, at, until_us=to, named=named) for at, to in spans)
        return next(filter(None, found), [])

    def _journal(self, sql: str, tenant: str, first: int, **more: int | bytes) -> list[JournalEvent]:
        found = self._execute(sql, {"of": tenant, "first": first, **more}).fetchall()
        return [JournalEvent(seq, at_us, body, digest, before or GENESIS) for seq, at_us, body, digest, before in found]
