"""What is attested of a ledger: which events call for a signed statement, and the id it has before it is signed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tallygate.core.words import Action, Reason

_PREFIX, _VERSION = "urn:tallygate:attestation:", ":v1"
_ID_TAG = b"tallygate/attestation/v1\x00"
ENDED = "session.ended"


class Kind(StrEnum):
    """What is stated: a refusal, what a session came to, how far the history goes."""

    BUDGET_EXHAUSTED = "budget-exhausted"
    SESSION_SUMMARY = "session-summary"
    CHECKPOINT = "checkpoint"

    @property
    def predicate_type(self) -> str:
        """The name of the kind in a statement."""
        return f"{_PREFIX}{self.value}{_VERSION}"


@dataclass(frozen=True, slots=True)
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

    def as_json(self) -> dict[str, object]:
        """For a reply: `tallygate attest show ID` gives the whole."""
        slim: dict[str, object] = {
            "id": self.attestation_id,
            "kind": self.kind,
            "event_sha256": self.digest,
            "key_id": self.keyid,
        }
        return slim if self.warning is None else {**slim, "warning": self.warning}


def attestation_id(kind: Kind, digest: bytes, session_id: str | None = None) -> str:
    """The id of what is stated of an event, by the event's hash."""
    named = b"\x00".join((kind.value.encode(), (session_id or "").encode(), digest))
    return f"att_{hashlib.sha256(_ID_TAG + named).hexdigest()[:32]}"


def called_for(kind: str, rows: Iterable[tuple[str, Mapping[str, Any]]]) -> tuple[Kind, str, str | None] | None:
    """What an event calls for: (kind of statement, session, call), by its own kind and the rows it writes.

    That is each call which an exhausted hard budget refused, and each end of a session.
    """
    for table, row in rows:
        refused = row.get("action") == Action.HALT.value and row.get("reason") == Reason.BUDGET_EXCEEDED.value
        if table == "call" and refused:
            return Kind.BUDGET_EXHAUSTED, str(row["session_id"]), str(row["call_id"])
        if table == "session" and kind == ENDED:
            return Kind.SESSION_SUMMARY, str(row["session_id"]), None
    return None


# What the canonical bytes of the events hold that call for a statement; no text inside them can look like it.
TRACES = (f'"reason":"{Reason.BUDGET_EXCEEDED.value}"', f'"kind":"{ENDED}"')
