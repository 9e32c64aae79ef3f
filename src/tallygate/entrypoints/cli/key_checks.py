"""What `doctor` looks at in keys: whether what is due can be signed, and whether a verifier can follow who signed."""

from __future__ import annotations

from pathlib import Path

from tallygate.attest import sealed
from tallygate.attest.keys import PublicKey, unb64url
from tallygate.attest.ring import KeyRing
from tallygate.core.errors import TallygateError
from tallygate.core.gate.wording import budget_name
from tallygate.core.moments import iso
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.checks import Check, State, failed
from tallygate.operations.lock_book import standing_now, unsigned_limits
from tallygate.operations.proof.attest import signing
from tallygate.operations.runtime import Runtime

NAME, LOCK = "keys", "passphrase"
NEW_KEY = "Restore it from a backup, or give verifiers the new key: tallygate keys export."


def of_keys(ring: KeyRing, runtime: Runtime) -> Check:
    """Whether the key is there, this user's alone, and connected with those that signed before it."""
    try:
        lineage = [key.keyid for key in ring.examine()]
        told, waiting = signing(runtime)
    except TallygateError as error:
        return failed(NAME, error)
    waits = f"; {output.plural(waiting, 'attestation')} to be signed" if waiting else ""
    if not lineage and not told:
        return Check(NAME, State.OK, f"none yet: the first signature makes one in {ring.folder}{waits}")
    if not lineage:
        return Check(NAME, State.WARN, f"the key {told[-1]} has signed and is not in {ring.folder}{waits}", NEW_KEY)
    if told and told[-1] not in lineage:
        found = f"{lineage[0]} signs, to which {told[-1]}, which signed before, never agreed{waits}"
        return Check(NAME, State.WARN, found, NEW_KEY)
    earlier = f", after {output.plural(len(lineage) - 1, 'rotation')}" if len(lineage) > 1 else ""
    return Check(NAME, State.OK, f"{lineage[0]} in {ring.folder}{earlier}{waits}")


def of_lock(folder: Path, runtime: Runtime) -> Check:
    """Whether the limits are locked, their key is there, and no limit stands above what the user has signed."""
    standing, here = standing_now(runtime), sealed.files_in(folder)
    if standing.lost_us is not None:
        found = f"the lock was ended without its passphrase on {iso(standing.lost_us)} by {standing.lost_by}"
        return Check(LOCK, State.WARN, found, "If that was not you, look at the limits; tallygate lock sets a new one.")
    if standing.lock is None and here:
        found = f"{here[0]} is the key of a lock that this ledger does not have"
        return Check(LOCK, State.WARN, found, "The ledger is older, or another: tallygate lock sets a new one.")
    if standing.lock is None:
        return Check(LOCK, State.OK, "not locked: no passphrase is asked for")
    if above := unsigned_limits(runtime):
        named = ", ".join(budget_name(budget) for budget in above[:3])
        found = f"limits were raised without your signature, and the gate goes by those before: {named}"
        return Check(LOCK, State.FAIL, found, "Run: tallygate verify, which names the events.")
    since = f"locked since {iso(standing.lock.since_us)}"
    try:
        sealed.find(folder, PublicKey(unb64url(standing.lock.public, "the lock")))
    except TallygateError as error:
        return Check(LOCK, State.WARN, f"{since}; {error.message}", error.hint)
    return Check(LOCK, State.OK, f"{since}; what loosens needs your passphrase")
