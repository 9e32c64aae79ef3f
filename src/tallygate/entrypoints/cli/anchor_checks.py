"""What `doctor` says of the anchor: whether a ledger that is gone or older would be noticed, and what was accepted."""

from __future__ import annotations

from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.checks import Check, State
from tallygate.ledger.anchor import Anchor, Copy
from tallygate.operations.proof.history import Accepted, accepted
from tallygate.operations.runtime import Runtime


def of_anchor(anchor: Anchor, runtime: Runtime) -> Check:
    """The files of the anchor of a ledger that is open, and when the user went on with another history last."""
    remembered = anchor.read()
    copies = remembered.copies
    sound = [file for file, copy in copies if copy is Copy.SOUND]
    told = [_told(each) for each in accepted(runtime)]
    by = output.plural(len(sound), "file")
    if theirs := sum(copy is Copy.SOUND for _, copy in remembered.others):
        by += f" of this host and {theirs} of others"
    found = "; ".join([f"the ledger is the one that was there, by {by}", *told])
    lacking = [f"{file} is {copy}" for file, copy in copies if copy is not Copy.SOUND]
    if not sound:
        to_do = f"Make {copies[0][0].parent} writable for this user: where the ledger is lost, nobody would notice."
        return Check("anchor", State.WARN, "; ".join([f"there is none: {', '.join(lacking)}", *told]), to_do)
    if lacking:
        to_do = "Make its folder writable for this user. Until then only the other file tells of a ledger that is lost."
        return Check("anchor", State.WARN, f"{found}; {', '.join(lacking)}", to_do)
    return Check("anchor", State.OK, found)


def _told(each: Accepted) -> str:
    return f"{each.told} on {output.when(each.at_us)[5:]}"
