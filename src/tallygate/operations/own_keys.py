"""What only the user does to keys: put a new one in the place of the one that signs, and trust those of others."""

from __future__ import annotations

from tallygate.attest.keys import PublicKey
from tallygate.attest.ring import KeyRing, Rotation
from tallygate.core.authority import Authority, Loosening
from tallygate.operations.attest import announce_everywhere
from tallygate.operations.lock_book import note_loosened
from tallygate.operations.runtime import Runtime


def rotate_key(rt: Runtime, ring: KeyRing, *, authority: Authority) -> Rotation:
    """Sign with a new key from now on; the journal of every tenant tells of it."""
    authority.require(Loosening.KEYS_ROTATE)
    note_loosened(rt, authority, Loosening.KEYS_ROTATE)
    rotation = ring.rotate()
    announce_everywhere(rt)
    return rotation


def trust_keys(ring: KeyRing, keys: list[PublicKey], *, authority: Authority) -> list[PublicKey]:
    """Trust keys when verifying; returns those that were not trusted before."""
    authority.require(Loosening.KEYS_TRUST)
    return ring.trust(keys)
