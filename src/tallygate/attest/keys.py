"""Ed25519 keys: one key written in every way that verifiers read, and signing with the secret half."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable
from typing import Any

from tallygate.core.errors import KeyUnusable
from tallygate.core.values import value

# An Ed25519 public key as SubjectPublicKeyInfo (RFC 8410) is these bytes and the key.
_SPKI = bytes.fromhex("302a300506032b6570032100")
_PEM_BEGIN, _PEM_END = "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"
_DID, _DID_PREFIX = "did:key:z", b"\xed\x01"
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
KEYS_MAX = 1000


@value(frozen=True, slots=True)
class PublicKey:
    """The half of a key that everybody may have."""

    raw: bytes

    @property
    def x(self) -> str:
        """The key as JSON Web Keys write it."""
        return b64url(self.raw)

    @property
    def keyid(self) -> str:
        """Its RFC 7638 thumbprint."""
        members = f'{{"crv":"Ed25519","kty":"OKP","x":"{self.x}"}}'
        return b64url(hashlib.sha256(members.encode()).digest())

    def pem(self) -> str:
        """For openssl and most libraries."""
        return f"{_PEM_BEGIN}\n{base64.b64encode(_SPKI + self.raw).decode()}\n{_PEM_END}\n"

    def jwk(self) -> dict[str, str]:
        """As one JSON Web Key."""
        return {"kty": "OKP", "crv": "Ed25519", "x": self.x, "kid": self.keyid, "alg": "EdDSA", "use": "sig"}

    def did(self) -> str:
        """As a decentralised identifier of the method `key`."""
        number, text = int.from_bytes(_DID_PREFIX + self.raw, "big"), ""
        while number:
            number, digit = divmod(number, 58)
            text = _BASE58[digit] + text
        return _DID + text

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Whether this key has signed a message."""
        from nacl.exceptions import CryptoError
        from nacl.signing import VerifyKey

        try:
            VerifyKey(self.raw).verify(message, signature)
        except (CryptoError, ValueError, TypeError):
            return False
        return True


@value(frozen=True, slots=True)
class Signer:
    """A whole key; the secret half is never shown."""

    public: PublicKey
    _seed: bytes

    def sign(self, message: bytes) -> bytes:
        """The signature of a message: always the same for the same one."""
        from nacl.signing import SigningKey

        return bytes(SigningKey(self._seed).sign(message).signature)

    @property
    def seed(self) -> bytes:
        """The secret half, to be sealed."""
        return self._seed

    def secret_jwk(self) -> str:
        """The key as its file keeps it."""
        return json.dumps({**self.public.jwk(), "d": b64url(self._seed)}, indent=2) + "\n"

    def __repr__(self) -> str:
        return f"Signer({self.public.keyid})"


def new_signer() -> Signer:
    """A fresh key."""
    from nacl.signing import SigningKey

    key = SigningKey.generate()
    return Signer(PublicKey(bytes(key.verify_key)), bytes(key))


def signer_from(raw: bytes, where: str) -> Signer:
    """The whole key in a file of ours. Raises `KeyUnusable`."""
    from nacl.signing import SigningKey

    document = _document(raw, where)
    seed, public = unb64url(document.get("d"), where), _from_jwk(document, where)
    if len(seed) != 32 or bytes(SigningKey(seed).verify_key) != public.raw:
        raise KeyUnusable(f"The key file {where} is damaged: its two halves do not belong together.", hint=RESTORE)
    return Signer(public, seed)


RESTORE = "Restore the file from a backup, or move it away: a new key is made, and what was signed stays valid."


def public_keys_from(raw: bytes, where: str) -> list[PublicKey]:
    """The public keys in a file from outside: PEM, one JSON Web Key or a set of them, or did:key. Raises `KeyUnusable`.

    A set may hold keys of other kinds, which are passed over.
    """
    text = raw.decode("utf-8", "replace").strip()
    if text.startswith(_DID):
        return [_from_did(text, where)]
    if _PEM_BEGIN in text:
        return [_from_pem(text, where)]
    document = _document(raw, where)
    if "keys" not in document:
        return [_from_jwk(document, where)]
    # The file comes from outside: so many are looked at, and a set that has none of our kind is told of.
    members = document["keys"] if isinstance(document["keys"], list) else []
    ours = [each for each in members[:KEYS_MAX] if isinstance(each, dict) and each.get("crv") == "Ed25519"]
    if not ours:
        raise KeyUnusable(f"{where} holds no Ed25519 key.")
    return [_from_jwk(each, where) for each in ours]


def jwks(keys: Iterable[PublicKey]) -> str:
    """Keys as a JSON Web Key Set."""
    return json.dumps({"keys": [key.jwk() for key in keys]}, indent=2) + "\n"


def public_key(raw: bytes, where: str) -> PublicKey:
    """A public key from its bytes. Raises `KeyUnusable`."""
    if len(raw) != 32:
        raise KeyUnusable(f"{where} holds a key of {len(raw)} bytes; one of Ed25519 has 32.")
    return PublicKey(raw)


def _document(raw: bytes, where: str) -> dict[str, Any]:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise KeyUnusable(
            f"{where} is not a key.", hint="A public key is a PEM, a JSON Web Key or set, or a did:key."
        ) from error
    if not isinstance(document, dict):
        raise KeyUnusable(f"{where} is not a key.")
    return document


def _from_jwk(document: dict[str, Any], where: str) -> PublicKey:
    if (document.get("kty"), document.get("crv")) != ("OKP", "Ed25519"):
        raise KeyUnusable(f"{where} holds no Ed25519 key.")
    return public_key(unb64url(document.get("x"), where), where)


def _from_pem(text: str, where: str) -> PublicKey:
    body = text.partition(_PEM_BEGIN)[2].partition(_PEM_END)[0]
    try:
        raw = base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise KeyUnusable(f"{where} is a damaged PEM.") from error
    if not raw.startswith(_SPKI):
        raise KeyUnusable(f"{where} holds no Ed25519 public key.")
    return public_key(raw[len(_SPKI) :], where)


def _from_did(text: str, where: str) -> PublicKey:
    number = 0
    for letter in text[len(_DID) :][:100]:
        if letter not in _BASE58:
            raise KeyUnusable(f"{where} is a damaged did:key.")
        number = number * 58 + _BASE58.index(letter)
    raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
    if not raw.startswith(_DID_PREFIX):
        raise KeyUnusable(f"{where} holds no Ed25519 key.")
    return public_key(raw[len(_DID_PREFIX) :], where)


def b64url(raw: bytes) -> str:
    """Bytes as JSON Web Keys write them."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64url(text: object, where: str) -> bytes:
    """The bytes of such a text. Raises `KeyUnusable`."""
    try:
        if isinstance(text, str) and len(text) <= 200:
            return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        pass
    raise KeyUnusable(f"{where} holds a key that is not base64url.")
