"""Go on with a ledger that is not the one that was there: what only the user decides, and what the journal tells of."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TypeVar

from tallygate.core.authority import Authority, Loosening
from tallygate.core.errors import InvalidArgument
from tallygate.core.proof import Head, Mark
from tallygate.core.text import cleaned
from tallygate.core.values import value
from tallygate.ledger.port import Value
from tallygate.ledger.sqlite.database import SqliteLedger
from tallygate.operations.lock_book import signing_as_far
from tallygate.operations.proof.evidence import LEDGER_TRACE, REASON_MAX, Way, phrase_of
from tallygate.operations.runtime import Runtime

Read = TypeVar("Read")


_NEEDS = {Way.ACCEPTED: Loosening.LEDGER_ACCEPT, Way.RESTORED: Loosening.RESTORE, Way.REBUILT: Loosening.REBUILD}


@value(frozen=True, slots=True)
class Instead:
    """What is the matter with the ledger, what was there, and how the user goes on."""

    way: Way
    found: str
    was: Mark | None = None
    file: str | None = None


def reason_of(text: str) -> str:
    """Why the user goes on. Raises `InvalidArgument` where that is nothing."""
    reason = cleaned(text, REASON_MAX).strip()
    if not reason:
        raise InvalidArgument(
            "reason", "This needs a reason.", hint="It stands in the journal: --reason 'power cut on Monday'."
        )
    return reason


def go_on(
    rt: Runtime,
    ledger: SqliteLedger,
    instead: Instead,
    *,
    reason: str,
    authority: Authority,
    read_again: Callable[[], Read],
) -> tuple[Head, Read]:
    """Go on with the ledger as it is: read clients' transcripts first, tell the journal, begin the anchor anew.

    In this order: until the anchor is written nobody else counts on the ledger, and a command that was broken off is
    run again.
    """
    authority.require(_NEEDS[instead.way])
    read = read_again()
    note: dict[str, Value] = {"found": instead.found, "reason": reason, "actor": authority.actor}
    if authority.beneath is not None:
        note["beneath"] = authority.beneath
    if instead.file is not None:
        note["file"] = instead.file
    if (was := instead.was) is not None:
        note |= {
            "was_ledger": was.ledger_id,
            "was_tenant": was.tenant,
            "was_seq": was.seq,
            "was_hash": was.digest.hex(),
            "was_at_us": was.at_us,
        }
    with ledger.writing(rt.tenant) as tx:
        sign = signing_as_far(rt, tx, authority)
        head = tx.append(instead.way.value, [], by=rt.by, note=note, sign=sign)
    ledger.accept()
    return head, read


@value(frozen=True, slots=True)
class AcceptedLedger:
    """A time when the user went on with a ledger that was not the one that was there."""

    seq: int
    at_us: int
    told: str


def accepted_ledgers(rt: Runtime) -> list[AcceptedLedger]:
    """Every such time, as the journal tells of it; reads the whole journal."""
    with rt.reading() as reader:
        events = [(event.seq, json.loads(event.body)) for event in reader.events_about(LEDGER_TRACE)]
    return [
        AcceptedLedger(seq, int(body["at_us"]), said)
        for seq, body in events
        if (said := phrase_of(str(body.get("kind")), body.get("note"))) is not None
    ]
