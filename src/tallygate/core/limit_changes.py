"""A change of a limit, as it is told wherever the limit is shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tallygate.core.amounts import unit_exact
from tallygate.core.moments import iso
from tallygate.core.money import format_amount

NO_REASON = "no reason given"
# How many of one budget's changes are shown: the last ones.
SHOWN_MAX = 20


@dataclass(frozen=True, slots=True)
class LimitChange:
    """One change of one limit: by which door, by whom, why, and in which session it was made."""

    budget_id: str
    at_us: int
    unit: str
    before_nanos: int
    limit_nanos: int
    door: str
    actor: str
    reason: str
    inside: str | None = None
    beneath: str | None = None

    @property
    def is_raise(self) -> bool:
        return self.limit_nanos > self.before_nanos

    def told(self, when: str) -> str:
        """The change in words.

        >>> change = LimitChange("b", 0, "USD", 610_000_000, 100_610_000_000, "cli", "anna", NO_REASON, "session_x")
        >>> change.told("11-30 02:24")
        'raised from $0.61 to $100.61 on 11-30 02:24 by cli (anna), inside session session_x, no reason given'
        """
        before, after = (format_amount(nanos, self.unit) for nanos in (self.before_nanos, self.limit_nanos))
        verb = "raised" if self.is_raise else "lowered" if self.limit_nanos < self.before_nanos else "set"
        parts = [f"{verb} from {before} to {after} on {when} by {self.door} ({self.actor})"]
        if self.inside is not None:
            parts.append(f"inside session {self.inside}")
        elif self.beneath is not None:
            parts.append(f"beneath {self.beneath}")
        parts.append(self.reason if self.reason == NO_REASON else f"reason: {self.reason}")
        return ", ".join(parts)

    def stated(self) -> dict[str, object]:
        """The change for programs."""
        return {
            "budget_id": self.budget_id,
            "at": iso(self.at_us),
            "before": unit_exact(self.before_nanos, self.unit),
            "limit": unit_exact(self.limit_nanos, self.unit),
            "door": self.door,
            "actor": self.actor,
            "reason": self.reason,
            "inside": self.inside,
            "beneath": self.beneath,
        }


def last_raise_us(changes: Iterable[LimitChange]) -> int:
    """When a limit was raised last; -1 where none was."""
    return max((change.at_us for change in changes if change.is_raise), default=-1)
