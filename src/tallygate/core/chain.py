"""The hash chain of the journal: canonical bytes, entry hash, first broken link."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from tallygate.core.values import value

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


@dataclass(frozen=True, slots=True)
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


def first_break(chain_id: str, links: Iterable[Link], head: Head | None) -> Break | None:
    """Walk a chain from its first event; None if every link holds, and the head where one is expected."""
    walk = Walk(chain_id)
    for link in links:
        if (broken := walk.take(link)) is not None:
            return broken
    return None if head is None else walk.end(head)
