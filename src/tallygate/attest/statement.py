"""Statements (in-toto Statement v1) about one event of a ledger, in the one byte form that is signed (RFC 8785)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tallygate.attest.dsse import json_object
from tallygate.core.errors import NotProven, ensure
from tallygate.core.proof import StatementKind, canonical_bytes
from tallygate.core.values import value

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
# Beyond this a reader that knows only binary fractions takes one whole number for another.
WHOLE_MAX = 2**53 - 1


@value(frozen=True, slots=True)
class Subject:
    """The event that a statement is about: its place in the ledger, its hash and the one before it."""

    ledger_id: str
    tenant: str
    seq: int
    hash: bytes
    previous: bytes

    @property
    def name(self) -> str:
        """The event's name in a statement."""
        return f"ledger/{self.ledger_id}/{self.tenant}/{self.seq}"

    def stated(self) -> dict[str, object]:
        """The place as the predicate repeats it, with what the hash is made from."""
        return {
            "id": self.ledger_id,
            "tenant": self.tenant,
            "seq": self.seq,
            "hash": self.hash.hex(),
            "previous": self.previous.hex(),
        }


@value(frozen=True, slots=True)
class Statement:
    """A statement that was read: what kind, about which event, and what it says."""

    kind: StatementKind
    name: str
    digest: bytes
    predicate: Mapping[str, Any]

    @property
    def ledger_id(self) -> str:
        return str(self.predicate["ledger"]["id"])

    @property
    def tenant(self) -> str:
        return str(self.predicate["ledger"]["tenant"])

    @property
    def seq(self) -> int:
        return int(self.predicate["ledger"]["seq"])


def statement_bytes(kind: StatementKind, subject: Subject, predicate: Mapping[str, object]) -> bytes:
    """The exact bytes to be signed."""
    document: dict[str, object] = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": subject.name, "digest": {"sha256": subject.hash.hex()}}],
        "predicateType": kind.predicate_type,
        "predicate": {"ledger": subject.stated(), **predicate},
    }
    _check(document)
    return canonical_bytes(document)


def read_statement(payload: bytes) -> Statement:
    """A statement out of an opened envelope, held against itself. Raises `NotProven`."""
    document = json_object(payload, "statement")
    try:
        kind = next(kind for kind in StatementKind if kind.predicate_type == document["predicateType"])
        [subject] = document["subject"]
        ledger = document["predicate"]["ledger"]
        digest = bytes.fromhex(subject["digest"]["sha256"])
        name = f"ledger/{ledger['id']}/{ledger['tenant']}/{ledger['seq']}"
        whole = type(ledger["seq"]) is int and document["_type"] == STATEMENT_TYPE
        fits = (subject["name"], ledger["hash"]) == (name, digest.hex())
        bytes.fromhex(ledger["previous"])
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        raise NotProven("The payload is not a statement of this program.") from error
    if not whole or not fits or len(digest) != 32:
        raise NotProven("The statement's subject is not the event that its predicate names.")
    return Statement(kind, name, digest, document["predicate"])


def _check(value: object) -> None:
    """The values for which our byte form is RFC 8785: text, whole numbers, ASCII names."""
    if isinstance(value, dict):
        for name, each in value.items():
            ensure(isinstance(name, str) and name.isascii(), f"a statement's name is {name!r}")
            _check(each)
    elif isinstance(value, list):
        for each in value:
            _check(each)
    else:
        is_plain = value is None or isinstance(value, str | bool)
        ensure(is_plain or (type(value) is int and abs(value) <= WHOLE_MAX), f"a statement holds {value!r}")
