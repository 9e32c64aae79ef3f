"""What is proven: canonical bytes and the chain of hashes, what is attested, what an anchor remembers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from tallygate.core.errors import LedgerMissing, LedgerReplaced, LedgerRolledBack, LedgerUnavailable
from tallygate.core.moments import iso
from tallygate.core.values import value
from tallygate.core.words import Action, Reason

# --- chain -----------------------------------------------------------------------------------------------------------
# The hash chain of the journal: canonical bytes, entry hash, first broken link.


_ENCODE = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode
_TAG = b"tallygate/event/v1\x00"
_SIGNED_TAG = b"tallygate/signed/v1\x00"
SIGNATURE = "signature"
GENESIS = bytes(32)


def canonical_bytes(body: dict[str, object]) -> bytes:
    """The one byte form of an event body: keys sorted, no spaces, UTF-8. Bodies hold text, integers and null."""
    return _ENCODE(body).encode()


def event_hash(chain_id: str, seq: int, previous: bytes, body: bytes) -> bytes:
    """SHA-256 over tag, chain id (length first), sequence number, previous hash and the body's bytes."""
    return hashlib.sha256(_opening(chain_id) + seq.to_bytes(8, "big") + previous + body).digest()


def _opening(chain_id: str, tag: bytes = _TAG) -> bytes:
    name = chain_id.encode()
    return tag + len(name).to_bytes(2, "big") + name


def signed_bytes(chain_id: str, seq: int, previous: bytes, body: Mapping[str, Any]) -> bytes:
    """What the user's signature in an event stands for: all of the event but the signature, at its place in the chain.

    With the place in it a signature is good for one event alone: put elsewhere, or after another history, it is none.
    """
    note = {name: value for name, value in body.get("note", {}).items() if name != SIGNATURE}
    content = canonical_bytes({**body, "note": note})
    return _opening(chain_id, _SIGNED_TAG) + seq.to_bytes(8, "big") + previous + content


class Link(NamedTuple):
    """One stored event, as bytes."""

    seq: int
    body: bytes
    hash: bytes


@value(frozen=True, slots=True)
class Break:
    """Where a chain stops being true, and what is wrong there."""

    seq: int
    what: str


@value(frozen=True, slots=True)
class Head:
    """The last event of a chain: its number and hash stand for all before it."""

    seq: int = 0
    hash: bytes = GENESIS
    at_us: int = 0


class Walk:
    """One chain followed link by link from its first event, as far as it holds."""

    def __init__(self, chain_id: str) -> None:
        self._opening = _opening(chain_id)
        self._previous = GENESIS
        self._expected = 1

    def take(self, link: Link) -> Break | None:
        """Take the next link; what is wrong with it, or None where it holds."""
        seq, body, digest = link
        if seq != self._expected:
            return Break(self._expected, f"event {self._expected} is missing: the next one is {seq}")
        if digest != hashlib.sha256(self._opening + seq.to_bytes(8, "big") + self._previous + body).digest():
            return Break(seq, f"event {seq} was changed: its hash does not fit its content")
        self._previous, self._expected = digest, seq + 1
        return None

    def end(self, head: Head) -> Break | None:
        """Hold the end of the chain against the head that is expected."""
        if head.seq != self._expected - 1:
            return Break(self._expected, f"the head names event {head.seq}, the journal ends at {self._expected - 1}")
        if head.hash != self._previous:
            return Break(head.seq, "the head's hash is not that of the last event")
        return None


# --- attested --------------------------------------------------------------------------------------------------------
# What is attested of a ledger: which events call for a signed statement, and the id it has before it is signed.


_PREFIX, _VERSION = "urn:tallygate:attestation:", ":v1"
_ID_TAG = b"tallygate/attestation/v1\x00"
ENDED = "session.ended"


class StatementKind(StrEnum):
    """What is stated: a refusal, what a session came to, how far the history goes."""

    BUDGET_EXHAUSTED = "budget-exhausted"
    SESSION_SUMMARY = "session-summary"
    CHECKPOINT = "checkpoint"

    @property
    def predicate_type(self) -> str:
        """The name of the kind in a statement."""
        return f"{_PREFIX}{self.value}{_VERSION}"


@value(frozen=True, slots=True)
class SlimAttestation:
    """An attestation as a reply carries it.

    `keyid` is None while there is no key yet, or none that can be used: `warning` says why.
    """

    attestation_id: str
    kind: str
    digest: str
    seq: int
    keyid: str | None
    warning: str | None = None

    def named(self) -> dict[str, object]:
        """For a reply that an agent reads at each step: `tallygate attest show ID` gives the whole."""
        name: dict[str, object] = {"id": self.attestation_id}
        return name if self.warning is None else {**name, "warning": self.warning}

    def as_json(self) -> dict[str, object]:
        """For a reply that was asked for what is signed: also what it is about, and the key."""
        return {"id": self.attestation_id, "kind": self.kind, "event_sha256": self.digest, "key_id": self.keyid} | (
            self.named()
        )


def attestation_id(kind: StatementKind, digest: bytes, session_id: str | None = None) -> str:
    """The id of what is stated of an event, by the event's hash."""
    named = b"\x00".join((kind.value.encode(), (session_id or "").encode(), digest))
    return f"att_{hashlib.sha256(_ID_TAG + named).hexdigest()[:32]}"


def called_for(kind: str, stated: Iterable[Sequence[Any]]) -> tuple[StatementKind, str, str | None] | None:
    """What an event calls for: (kind of statement, session, call), by its own kind and the rows it states.

    That is each call which an exhausted hard budget refused, and each end of a session.
    """
    for _, table, row in stated:
        if table == "call":
            if row.get("action") == Action.HALT.value and row.get("reason") == Reason.BUDGET_EXCEEDED.value:
                return StatementKind.BUDGET_EXHAUSTED, str(row["session_id"]), str(row["call_id"])
        elif table == "session" and kind == ENDED:
            return StatementKind.SESSION_SUMMARY, str(row["session_id"]), None
    return None


# What the canonical bytes of the events hold that call for a statement; no text inside them can look like it.
TRACES = (f'"reason":"{Reason.BUDGET_EXCEEDED.value}"', f'"kind":"{ENDED}"')


# --- marks -----------------------------------------------------------------------------------------------------------
# What an anchor remembers of a ledger: the last event that was written, as a line that tells whether it is whole.


SLOTS, SLOT_BYTES = 2, 512
_MAGIC = "tallygate-anchor-1"
_FIELDS = 8
_SUM_DIGITS = 32
_NUMBER_MAX = 2**63
WAY_OUT = (
    "Put the file back, or a backup: tallygate restore FILE --reason TEXT. If that was you, or nothing better is left: "
    "tallygate ledger accept --reason TEXT, which reads clients' transcripts again first."
)


@value(frozen=True, slots=True)
class Mark:
    """The event that a ledger ended with, and where it stands in it.

    `epoch` counts how often the user went on with another history: a mark of an earlier one says nothing any more.
    `boot` is the start of the machine in which it was written. A ledger without events has `row` 0.
    """

    epoch: int
    ledger_id: str
    row: int = 0
    tenant: str = "-"
    seq: int = 0
    digest: bytes = GENESIS
    at_us: int = 0
    boot: str = "-"

    def slot(self) -> bytes | None:
        """The mark as the bytes of one slot, with their checksum; None where it does not fit in one."""
        text = (
            f"{_MAGIC} {self.epoch} {self.ledger_id} {self.row} {self.tenant} {self.seq} {self.digest.hex()}"
            f" {self.at_us} {self.boot} "
        )
        raw = text.encode()
        raw += hashlib.sha256(raw).hexdigest()[:_SUM_DIGITS].encode()
        if len(raw) >= SLOT_BYTES or text.count(" ") != _FIELDS + 1:
            return None
        return raw.ljust(SLOT_BYTES - 1) + b"\n"


def mark_in(slot: bytes) -> Mark | None:
    """The mark that a slot holds; None where it is torn, damaged or empty."""
    raw = slot.rstrip(b" \n")
    body, told = raw[:-_SUM_DIGITS], raw[-_SUM_DIGITS:]
    # The sum stands behind what it is of: a slot that was written in part fits none.
    if len(slot) != SLOT_BYTES or hashlib.sha256(body).hexdigest()[:_SUM_DIGITS].encode() != told:
        return None
    try:
        magic, epoch, ledger_id, row, tenant, seq, digest, at_us, boot = body.decode().split()
        mark = Mark(int(epoch), ledger_id, int(row), tenant, int(seq), bytes.fromhex(digest), int(at_us), boot)
    except ValueError:
        return None
    numbers = (mark.epoch, mark.row, mark.seq, mark.at_us)
    return mark if magic == _MAGIC and all(0 <= each < _NUMBER_MAX for each in numbers) else None


def marks_in(data: bytes) -> list[Mark]:
    """The marks of one anchor's file that are whole."""
    slots = (data[start : start + SLOT_BYTES] for start in range(0, SLOTS * SLOT_BYTES, SLOT_BYTES))
    return [mark for slot in slots if (mark := mark_in(slot)) is not None]


def in_force(marks: Iterable[Mark]) -> tuple[Mark, ...]:
    """The marks that a ledger has to bear out, the newest last: those of the history that the user went on with."""
    listed = list(marks)
    epoch = max((mark.epoch for mark in listed), default=0)
    return tuple(sorted({m for m in listed if m.epoch == epoch}, key=lambda mark: (mark.row, mark.at_us)))


def missing(path: str, mark: Mark, *, empty: bool) -> LedgerMissing:
    """The error for a ledger that was there and is not."""
    what = "is empty" if empty else "is gone"
    return LedgerMissing(
        f"The ledger {path} {what}; it ended with {_ended(mark)}.", hint=f"Nothing is counted anew. {WAY_OUT}"
    )


def replaced(path: str, mark: Mark, found: str) -> LedgerReplaced:
    """The error for another ledger in the place of the one that was there."""
    return LedgerReplaced(
        f"The ledger {path} is another one: its id is {found}, and {mark.ledger_id} was there, which ended with "
        f"{_ended(mark)}. Nothing is counted on it.",
        hint=WAY_OUT,
    )


def rolled_back(path: str, mark: Mark, ends_at: Mark, boot: str) -> LedgerRolledBack:
    """The error for a ledger that lacks an event which was written: what is missing, and why that may be."""
    if ends_at.row < mark.row:
        ends = f"it ends with {_ended(ends_at)}" if ends_at.row else "it has no event"
        what = f"is older than it was: {ends}, and {_ended(mark)} was written. What came between is missing"
    else:
        what = f"has another history: it lacks {_event(mark)}, which was written"
    cut = ""
    if boot not in (mark.boot, "-") and mark.boot != "-":
        cut = ' The machine was started since: a power cut may take the last events with durability = "normal".'
    return LedgerRolledBack(f"The ledger {path} {what}.{cut} Nothing is counted on it.", hint=WAY_OUT)


def _event(mark: Mark) -> str:
    whose = "" if mark.tenant in ("-", "default") else f" of {mark.tenant}"
    return f"event {mark.seq}{whose} of {iso(mark.at_us)}"


def _ended(mark: Mark) -> str:
    return _event(mark) if mark.row else "no event yet"


def is_about_history(error: LedgerUnavailable) -> bool:
    """Whether a ledger cannot be used because it is not the one that was there: only the user goes on with it."""
    return isinstance(error, (LedgerMissing, LedgerRolledBack, LedgerReplaced))
