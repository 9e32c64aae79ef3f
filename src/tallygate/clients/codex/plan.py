"""How much of a plan Codex says is used: beside each response of a rollout, for the plans that have such limits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime

from tallygate.clients.reading import lines
from tallygate.core.moments import microseconds
from tallygate.core.plan import PlanSource, PlanWindow, plan_window

_WINDOWS = ("primary", "secondary")
_LIMIT_MAX = 64


def windows_told(limits: lines.Fields, at: datetime) -> Iterator[PlanWindow]:
    """The windows that a `rate_limits` object tells of; nothing of one that cannot be read, as no money turns on it.

    Rollouts of older versions say in how many seconds a window begins anew, and not when.
    """
    at_us = microseconds(at)
    limit, plan = (lines.name(limits.get(key)) for key in ("limit_id", "plan_type"))
    for name in _WINDOWS:
        told = lines.inner(limits, name)
        resets_us = None
        with suppress(lines.Unreadable):
            resets_us = microseconds(lines.moment(told.get("resets_at")))
        seconds = told.get("resets_in_seconds")
        if resets_us is None and type(seconds) is int and 0 <= seconds < 10**9:
            resets_us = at_us + seconds * 10**6
        shares = (told.get("window_minutes"), told.get("used_percent"), resets_us)
        found = plan_window(
            "codex",
            shares,
            at_us,
            PlanSource.TRANSCRIPT,
            limit=(limit or "")[:_LIMIT_MAX],
            plan=plan and plan[:_LIMIT_MAX],
        )
        if found is not None:
            yield found
