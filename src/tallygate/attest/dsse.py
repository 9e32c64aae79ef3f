"""Envelopes (DSSE 1.0): one payload, one signature, and one way to the payload, which checks both."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from tallygate.attest.keys import PublicKey, Signer
from tallygate.core.errors import NotProven
from tallygate.core.values import value

PAYLOAD_TYPE = "application/vnd.in-toto+json"
ENVELOPE_BYTES_MAX = 1 << 20


def pae(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed: type and payload with their lengths, so that neither can pass for the other.

    >>> pae("http://example.com/HelloWorld", b"hello world")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


@value(frozen=True, slots=True)
class Envelope:
    """A signed payload as it is handed over; what is in it is only given out by `opened`."""

    keyid: str
    signature: bytes
    _payload_type: str
    _payload: bytes

    def opened(self, trusted: Mapping[str, PublicKey], payload_type: str = PAYLOAD_TYPE) -> bytes:
        """The payload, if one of these keys has signed it as this type. Raises `NotProven`."""
        if self._payload_type != payload_type:
            raise NotProven(f"The payload's type is {self._payload_type!r:.100}, not {payload_type!r}.")
        key = trusted.get(self.keyid)
        if key is None:
            raise NotProven(
                f"The key {self.keyid!r:.60} that is said to have signed is not one you trust.",
                hint="Get the key from whoever runs the ledger, not from the bundle; then pass --key FILE.",
                code="key_untrusted",
            )
        if not key.verifies(pae(payload_type, self._payload), self.signature):
            raise NotProven(
                f"The signature does not fit: payload or signature were changed, or another key than {key.keyid} "
                "has signed.",
            )
        return self._payload

    def to_json(self) -> str:
        """The envelope as any DSSE tool reads it."""
        document = {
            "payload": base64.b64encode(self._payload).decode(),
            "payloadType": self._payload_type,
            "signatures": [{"keyid": self.keyid, "sig": base64.b64encode(self.signature).decode()}],
        }
        return json.dumps(document, separators=(",", ":"))


def enclosed(payload: bytes, signer: Signer, payload_type: str = PAYLOAD_TYPE) -> Envelope:
    """Sign a payload."""
    return Envelope(signer.public.keyid, signer.sign(pae(payload_type, payload)), payload_type, payload)


def read(raw: bytes) -> Envelope:
    """An envelope from outside. Raises `NotProven` for anything that is not one payload with one signature."""
    document = json_object(raw, "envelope")
    signatures = document.get("signatures")
    if set(document) != {"payload", "payloadType", "signatures"} or not isinstance(signatures, list):
        raise NotProven("This is not a DSSE envelope: it takes payload, payloadType and signatures.")
    if len(signatures) != 1 or not isinstance(signatures[0], dict) or set(signatures[0]) != {"keyid", "sig"}:
        raise NotProven("The envelope must have exactly one signature, with keyid and sig.")
    keyid, kind = signatures[0]["keyid"], document["payloadType"]
    if not isinstance(keyid, str) or not isinstance(kind, str):
        raise NotProven("The envelope's keyid and payloadType must be text.")
    return Envelope(keyid, _bytes(signatures[0]["sig"], "sig"), kind, _bytes(document["payload"], "payload"))


def json_object(raw: bytes, what: str) -> dict[str, Any]:
    """A JSON object from outside in which no name stands twice. Raises `NotProven`."""
    if len(raw) > ENVELOPE_BYTES_MAX:
        raise NotProven(f"The {what} has {len(raw):,} bytes; at most {ENVELOPE_BYTES_MAX:,} are read.")
    try:
        document = json.loads(raw.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise NotProven(f"The {what} is not JSON: {str(error)[:200]}.") from error
    if not isinstance(document, dict):
        raise NotProven(f"The {what} is not a JSON object.")
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _bytes(value: object, name: str) -> bytes:
    try:
        if isinstance(value, str):
            return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise NotProven(f"The envelope's {name} is not base64.")
