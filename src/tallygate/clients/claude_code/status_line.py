"""What Claude Code gives the command of its status line, at every turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from tallygate.clients.reading import lines
from tallygate.clients.reading.hooks import LONGEST_ID, LONGEST_PATH
from tallygate.clients.reading.status_line import StatusInput
from tallygate.core.moments import microseconds
from tallygate.core.plan import FIVE_HOURS, WEEK, PlanSource, PlanWindow, plan_window

# Its words for the windows of a plan; it tells of no others that have a length.
_WINDOWS = {"five_hour": FIVE_HOURS, "seven_day": WEEK}


def read_status(raw: Mapping[str, Any], at_us: int) -> StatusInput:
    """Which session is shown, and how much of the plan is used; what is not as it should be is left out."""
    workspace = raw.get("workspace")
    folder = workspace.get("current_dir") if isinstance(workspace, Mapping) else None
    return StatusInput(
        session=_text(raw.get("session_id"), LONGEST_ID),
        transcript=_text(raw.get("transcript_path"), LONGEST_PATH),
        folder=_text(folder, LONGEST_PATH) or _text(raw.get("cwd"), LONGEST_PATH),
        plan=tuple(_windows(raw.get("rate_limits"), at_us)),
    )


def _windows(limits: Any, at_us: int) -> Iterator[PlanWindow]:
    for name, minutes in _WINDOWS.items():
        told = limits.get(name) if isinstance(limits, Mapping) else None
        if not isinstance(told, Mapping):
            continue
        share, resets_us = told.get("used_percentage"), None
        with suppress(lines.Unreadable):
            resets_us = microseconds(lines.moment(told.get("resets_at")))
        # A fraction as it was written: what JSON makes of one is never counted with.
        shares = (minutes, share if isinstance(share, int) else str(share), resets_us)
        found = plan_window("claude_code", shares, at_us, PlanSource.STATUS_LINE)
        if found is not None:
            yield found


def _text(value: Any, longest: int) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= longest and value.isprintable() else None
