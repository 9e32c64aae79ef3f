"""Go on with a ledger that is not the one that was there: what only the user decides, and what the journal tells of."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from tallygate.core.authority import Authority, Loosening
from tallygate.core.errors import InvalidArgument
from tallygate.core.proof import Head, Mark
from tallygate.core.text import cleaned
from tallygate.ledger.port import Value
from tallygate.ledger.sqlite import SqliteLedger
from tallygate.operations.lock_book import signing_as_far
from tallygate.operations.runtime import Runtime

Read = TypeVar("Read")
REASON_MAX, TOLD_MAX = 200, 500
LEDGER_TRACE = '"kind":"ledger.'


class Way(StrEnum):
    """How the user goes on, by the event that tells of it."""

    ACCEPTED = "ledger.accepted"
    RESTORED = "ledger.restored"
    REBUILT = "ledger.rebuilt"


_NEEDS = {Way.ACCEPTED: Loosening.LEDGER_ACCEPT, Way.RESTORED: Loosening.RESTORE, Way.REBUILT: Loosening.REBUILD}


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Accepted:
    """A time when the user went on with a ledger that was not the one that was there."""

    seq: int
    at_us: int
    told: str


def accepted(rt: Runtime) -> list[Accepted]:
    """Every such time, as the journal tells of it; reads the whole journal."""
    with rt.ledger.reading(rt.tenant) as reader:
        events = [(event.seq, json.loads(event.body)) for event in reader.events_about(LEDGER_TRACE)]
    return [
        Accepted(seq, int(body["at_us"]), said)
        for seq, body in events
        if (said := told_of(str(body.get("kind")), body.get("note"))) is not None
    ]


def lost_with(body: bytes, ledger_id: str, tenant: str) -> int:
    """The number of the last event that an event of this kind tells was there before it; 0 where it is another."""
    try:
        event = json.loads(body)
        note = event["note"]
        ours = event["kind"] in [way.value for way in Way] and note["was_ledger"] == ledger_id
        return int(note["was_seq"]) if ours and note["was_tenant"] == tenant else 0
    except (ValueError, LookupError, TypeError):
        return 0


def told_of(kind: str, note: object) -> str | None:
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
