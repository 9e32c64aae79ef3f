"""What the ledger keeps of estimates and what became of them."""

from __future__ import annotations

from dataclasses import dataclass

from tallygate.core.calibration import Sample
from tallygate.core.values import value


@value(frozen=True, slots=True)
class SampleKey:
    """Whose estimates are looked at together: who made them (a `Kind`), in which client, for which model."""

    kind: str
    client: str
    model: str


@dataclass(frozen=True, slots=True)
class Kept:
    """One call whose cost came to be known; `agent` is who of its session had asked, "" for the main one."""

    number: int
    call_id: str
    session_id: str
    key: SampleKey
    agent: str
    at_us: int
    sample: Sample
