"""One check of `doctor`: what it looked at, how that stands, and what to do."""

from __future__ import annotations

from enum import StrEnum

from tallygate.core.errors import TallygateError
from tallygate.core.values import value


class CheckState(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@value(frozen=True, slots=True)
class Check:
    """One line of the diagnosis."""

    name: str
    state: CheckState
    found: str
    to_do: str = ""


def failed(name: str, error: TallygateError) -> Check:
    """An expected failure as a line."""
    return Check(name, CheckState.FAIL, error.message, error.hint)
