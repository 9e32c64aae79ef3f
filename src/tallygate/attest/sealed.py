"""The key of a lock on disk: sealed under the user's passphrase, so that a file alone signs nothing."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

from tallygate.attest.keyring import KeyRing, create_private, read_private
from tallygate.attest.keys import PublicKey, Signer, b64url, new_signer, unb64url
from tallygate.core.errors import KeyUnusable, WrongPassphrase
from tallygate.core.values import value

PASSPHRASE_MIN = 8
PASSPHRASE_BYTES_MAX = 1024
# What a file from anywhere may ask this machine to spend before it is refused.
_OPS_MAX, _MEMORY_MAX = 16, 1 << 30
_KDF = "argon2id13"


@value(frozen=True, slots=True)
class Cost:
    """How much work it is to try one passphrase; by default what libsodium calls moderate."""

    ops: int = 3
    memory: int = 256 << 20


MODERATE = Cost()


@value(frozen=True, slots=True)
class SealedKey:
    """A key that a passphrase opens: its public half, how the passphrase is stretched, and the sealed half."""

    public: PublicKey
    cost: Cost
    salt: bytes
    box: bytes

    def opened(self, passphrase: str) -> Signer:
        """The key. Raises `WrongPassphrase`."""
        from nacl.exceptions import CryptoError
        from nacl.secret import SecretBox
        from nacl.signing import SigningKey

        try:
            seed = SecretBox(_stretched(passphrase, self.salt, self.cost)).decrypt(self.box)
            fits = len(seed) == 32 and bytes(SigningKey(seed).verify_key) == self.public.raw
        except (CryptoError, ValueError, TypeError):
            fits = False
        if not fits:
            raise WrongPassphrase(
                "That is not the passphrase of the lock; nothing was changed.",
                hint="Try again. Where it is lost: tallygate unlock --lost",
            )
        return Signer(self.public, bytes(seed))

    def text(self) -> str:
        """As its file keeps it."""
        stated = {
            "version": 1,
            "public": self.public.x,
            "kdf": _KDF,
            "ops": self.cost.ops,
            "memory": self.cost.memory,
            "salt": b64url(self.salt),
            "sealed": b64url(self.box),
        }
        return json.dumps(stated, indent=2) + "\n"


def seal(passphrase: str, cost: Cost | None = None) -> tuple[Signer, SealedKey]:
    """A fresh key, and the same one sealed."""
    from nacl.pwhash import argon2id
    from nacl.secret import SecretBox
    from nacl.utils import random

    cost = cost or MODERATE
    signer = new_signer()
    salt = random(argon2id.SALTBYTES)
    box = bytes(SecretBox(_stretched(passphrase, salt, cost)).encrypt(signer.seed))
    return signer, SealedKey(signer.public, cost, salt, box)


def file_of(folder: Path, public: PublicKey) -> Path:
    """Where the sealed key of a lock lies: named by the key, so that no other lock takes its place."""
    return folder / f"lock-{public.keyid}.json"


def files_in(folder: Path) -> list[Path]:
    """The sealed keys that lie in a folder."""
    return sorted(folder.glob("lock-*.json"))


def newest_in(folder: Path) -> str | None:
    """The public key of the sealed key that was written last, of those that can be read; None where there is none."""
    found = []
    for path in files_in(folder):
        try:
            raw = read_private(path)
            if raw is not None:
                found.append((path.stat().st_mtime_ns, _read(raw, str(path)).public.x))
        except (KeyUnusable, OSError):
            continue
    return max(found)[1] if found else None


def keep(folder: Path, sealed: SealedKey) -> Path:
    """Write a sealed key beside the user's others, for this user alone."""
    path = file_of(folder, sealed.public)
    KeyRing(folder).prepare()
    create_private(path, sealed.text().encode())
    return path


def find(folder: Path, public: PublicKey) -> SealedKey:
    """The sealed key of a lock. Raises `KeyUnusable` where its file is gone, damaged, or another key's."""
    path = file_of(folder, public)
    raw = read_private(path)
    if raw is None:
        raise KeyUnusable(
            f"The sealed key of the lock is gone: there is no {path}.",
            hint="Restore that file from a backup; without it: tallygate unlock --lost",
            code="lock_key_lost",
        )
    sealed = _read(raw, str(path))
    if sealed.public != public:
        raise KeyUnusable(
            f"{path} holds another key than the one that the ledger is locked with.",
            hint="Restore that file from a backup; without it: tallygate unlock --lost",
            code="lock_key_lost",
        )
    return sealed


def _read(raw: bytes, where: str) -> SealedKey:
    damaged = KeyUnusable(
        f"{where} is damaged.",
        hint="Restore it from a backup; without it: tallygate unlock --lost",
        code="lock_key_lost",
    )
    try:
        stated = json.loads(raw)
        if stated["version"] != 1 or stated["kdf"] != _KDF:
            raise damaged
        cost = Cost(int(stated["ops"]), int(stated["memory"]))
        # The costs stand in the file, and whoever changed them could have the next unlock take all memory, or hours.
        if not 1 <= cost.ops <= _OPS_MAX or not 8192 <= cost.memory <= _MEMORY_MAX:
            raise damaged
        public = PublicKey(unb64url(stated["public"], where))
        return SealedKey(public, cost, unb64url(stated["salt"], where), unb64url(stated["sealed"], where))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise damaged from None


def _stretched(passphrase: str, salt: bytes, cost: Cost) -> bytes:
    from nacl.pwhash import argon2id
    from nacl.secret import SecretBox

    # The same letters may be typed in two forms, by keyboard and system.
    text = unicodedata.normalize("NFC", passphrase).encode()
    return bytes(argon2id.kdf(SecretBox.KEY_SIZE, text, salt, opslimit=cost.ops, memlimit=cost.memory))
