"""What `doctor` looks at in keys: whether what is due can be signed, and whether a verifier can follow who signed."""

from __future__ import annotations

from tallygate.attest.ring import KeyRing
from tallygate.core.errors import TallygateError
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.checks import Check, State, failed
from tallygate.operations.attest import signing
from tallygate.operations.runtime import Runtime

NAME = "keys"
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
