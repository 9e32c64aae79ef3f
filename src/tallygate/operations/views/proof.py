"""What there is to prove the ledger by: its head, keys and attestations, and the stored bytes in pieces."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tallygate.attest.keys import jwks, public_key, unb64url
from tallygate.core.proof import Head
from tallygate.core.values import value
from tallygate.ledger.port import StoredAttestation
from tallygate.operations.runtime import Runtime

LISTED = 50
# A piece is so many events, or fewer where they are long; envelopes have some kilobytes each.
EVENTS_MAX, BYTES_MAX, ENVELOPES_MAX = 500, 1 << 20, 100


@value(frozen=True, slots=True)
class ProofView:
    """A page of the list of attestations; `older` is the one after which the next page begins."""

    ledger_id: str
    tenant: str
    head: Head
    keys: Sequence[tuple[str, str, int, int]]
    attested: Sequence[StoredAttestation]
    older: str | None
    due: int


def proof_of(rt: Runtime, after: str | None = None) -> ProofView:
    """What is signed, the youngest first. Nothing is signed by looking at it."""
    with rt.reading() as reader:
        found = reader.attestations_older(after, LISTED + 1)
        older = found[LISTED - 1].attestation_id if len(found) > LISTED else None
        ledger_id = rt.services.ledger.ledger_id
        keys = reader.signing_keys()
        return ProofView(ledger_id, rt.tenant, reader.head(), keys, found[:LISTED], older, reader.count_due())


def events_after(rt: Runtime, row: int) -> str:
    """The next events as they are stored, a line each; `row` is where the piece before ended, 0 at the beginning."""
    lines, size = [], 0
    with rt.reading() as reader:
        for number, seq, body, digest in reader.events_from(row, EVENTS_MAX):
            # Bytes that are no UTF-8 were not written by this program: as signs they have another hash.
            told = {"row": number, "seq": seq, "hash": digest.hex(), "body": body.decode("utf-8", "replace")}
            lines.append(json.dumps(told) + "\n")
            size += len(lines[-1])
            if size > BYTES_MAX:
                break
    return "".join(lines)


def envelopes_after(rt: Runtime, after: str | None) -> str:
    """The next envelopes, the youngest first, a line each; those that are not signed yet are named without one."""
    with rt.reading() as reader:
        found = reader.attestations_older(after, ENVELOPES_MAX)
    told = ({"id": each.attestation_id, "seq": each.seq, "envelope": each.envelope} for each in found)
    return "".join(json.dumps(each) + "\n" for each in told)


def public_keys(rt: Runtime) -> str:
    """Every key that the ledger tells of, as a JSON Web Key Set."""
    with rt.reading() as reader:
        keys = reader.signing_keys()
    return jwks(public_key(unb64url(public, keyid), keyid) for keyid, public, *_ in keys)
