"""What an anchor remembers of a ledger: the last event that was written, as a line that tells whether it is whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from tallygate.core.chain import GENESIS
from tallygate.core.errors import LedgerMissing, LedgerReplaced, LedgerRolledBack, LedgerUnavailable
from tallygate.core.moments import iso

SLOTS, SLOT_BYTES = 2, 512
_MAGIC = "tallygate-anchor-1"
_FIELDS = 8
_SUM_DIGITS = 32
_NUMBER_MAX = 2**63
WAY_OUT = (
    "Put the file back, or a backup: tallygate restore FILE --reason TEXT. If that was you, or nothing better is left: "
    "tallygate ledger accept --reason TEXT, which reads clients' transcripts again first."
)


@dataclass(frozen=True, slots=True)
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
