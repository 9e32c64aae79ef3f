"""What a client gives its status line, in one form: which session is shown, and what it tells of its plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tallygate.core.plan import PlanWindow
from tallygate.core.values import value


@value(frozen=True, slots=True)
class StatusInput:
    """Which session of a client is shown, where it is written down, where it works, and what was told of the plan."""

    session: str | None = None
    transcript: str | None = None
    folder: str | None = None
    plan: tuple[PlanWindow, ...] = ()


# Takes the client's JSON and the time it came; whatever is odd in it is left out.
ReadStatus = Callable[[Mapping[str, Any], int], StatusInput]
