"""What an agent reports of itself, and which of it nobody need believe: it is booked as it is said, and named."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tallygate.core.model import Call
from tallygate.core.money import format_amount
from tallygate.core.words import CallState

# Used less than one in so many parts of what it had asked for.
FAR_BELOW = 10
# Of what was booked for a call that nobody had reported on in time, a late report leaves less than one part in so many.
LATE_BELOW = 4
# So many calls in a row that did not happen are many; after that it is told each time there are twice as many.
VOIDS_MANY = 5
# As many as are shown of a session.
ANOMALIES_MAX = 50


class ReportAnomaly(StrEnum):
    """What is odd in a report."""

    FAR_BELOW = "far_below"
    LATE_BELOW = "late_below"
    LOCAL_MODEL = "local_model"
    VOIDS = "voids_in_a_row"


@dataclass(frozen=True, slots=True)
class CallAnomaly:
    """One odd report: of which call, what was told, and when."""

    session_id: str
    call_id: str
    kind: str
    told: str
    seen_us: int

    def stated(self) -> dict[str, str | int]:
        """For programs, without the session it is shown with."""
        return {"call_id": self.call_id, "kind": self.kind, "told": self.told}


def odd_in(call: Call, model_used: str, cost_nanos: int, *, is_local: bool) -> list[tuple[ReportAnomaly, str]]:
    """What is odd in a report on a call: its cost beside what was held for it, or a model that runs here or is free.

    A call is held at what was said of it or at what was learned, so the report is odd where it is far below both.
    """
    asked = min(call.raw_estimate_nanos, call.estimate_nanos)
    reported, found = format_amount(cost_nanos), []
    if call.state is CallState.EXPIRED and cost_nanos * LATE_BELOW < call.booked_nanos:
        found.append((ReportAnomaly.LATE_BELOW, f"{reported} reported late, {format_amount(call.booked_nanos)} booked"))
    elif cost_nanos * FAR_BELOW < asked:
        found.append((ReportAnomaly.FAR_BELOW, f"{reported} reported, {format_amount(asked)} asked for"))
    if is_local and asked:
        found.append((ReportAnomaly.LOCAL_MODEL, f"{model_used} reported, {call.model_requested} asked for"))
    return found


def voids_are_many(in_a_row: int) -> bool:
    """Whether so many voided calls in a row are told now.

    >>> [count for count in range(50) if voids_are_many(count)]
    [5, 10, 20, 40]
    """
    times, rest = divmod(in_a_row, VOIDS_MANY)
    return rest == 0 and times > 0 and times & (times - 1) == 0
