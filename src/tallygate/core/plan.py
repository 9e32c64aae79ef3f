"""A client's own plan: how much of its windows is used, as the client says, and what a limit on that makes of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum

from tallygate.core.moments import CLOCK_SLACK_US, MINUTE_US
from tallygate.core.regex import regex
from tallygate.core.values import value
from tallygate.core.words import BudgetMode

# --- windows ---------------------------------------------------------------------------------------------------------
# What clients tell of a plan: a share that is used, of a window of so many minutes, and when that begins anew.


QUARTER_US = 15 * MINUTE_US
FIVE_HOURS, WEEK = 300, 10_080
# More than a plan may be used of: credits let some go on, and what says more than this is no share.
USED_MAX = 100_000
MINUTES_MAX = 60 * 24 * 400
# By so much a line of a client's own file moves the share of a window that is on: a fifth of the plan.
MOVED_MAX = 2_000
_SHARE = regex(r"([0-9]{1,9})(?:\.([0-9]{1,40}))?")
# A day that is so far away is no date of a plan; it keeps sums inside 64 bits.
_FAR_US = 2**61


class PlanSource(StrEnum):
    """Where it was told how much of a plan is used."""

    TRANSCRIPT = "transcript"
    STATUS_LINE = "status_line"


@value(frozen=True, slots=True)
class PlanWindow:
    """How much of one window of a client's plan was used at a moment, in hundredths of a per cent.

    `limit` is the client's word for which of its limits that is; nothing where it has one only. `resets_us` is None
    where nobody said when the window begins anew.
    """

    client: str
    limit: str
    minutes: int
    used: int
    at_us: int
    resets_us: int | None
    source: PlanSource
    plan: str | None = None

    @property
    def kind(self) -> tuple[str, str, int]:
        """What one value stands for at a time."""
        return self.client, self.limit, self.minutes

    def says_more_than(self, before: PlanWindow) -> bool:
        """Whether this value says something that an earlier one of the same window does not."""
        same = (self.used, self.resets_us, self.plan) == (before.used, before.resets_us, before.plan)
        return not same or self.at_us // QUARTER_US != before.at_us // QUARTER_US

    def is_true_at(self, at_us: int) -> bool:
        """Whether the value still says something: the window has not begun anew, and not as long ago as it lasts."""
        if self.resets_us is not None and self.resets_us <= at_us:
            return False
        return at_us - self.at_us < self.minutes * MINUTE_US and self.at_us <= at_us + CLOCK_SLACK_US


def told_beside(told: PlanWindow, known: PlanWindow | None, at_us: int) -> PlanWindow:
    """What is kept of a value that comes after a known one: by a status line it does not fall while that one is true.

    Anybody can run the command of a status line, an agent's shell too, and nothing tells that from the client: so what
    it says only tightens until the window begins anew. A client's own file is its word, up or down; but a line in it
    moves the share by a step at most while the window is on, so that one odd line neither stops nor frees anybody who
    is far from the limit. What is true is told again with each response, and is reached after a few of them.
    """
    is_line = told.source is PlanSource.STATUS_LINE
    if known is None or not known.is_true_at(at_us):
        return told
    if not is_line and (known.source is not told.source or told.at_us < known.at_us):
        return told
    until_us = known.at_us + known.minutes * MINUTE_US if known.resets_us is None else known.resets_us
    # Not beyond where a window can end that is on now: nobody is to be stopped for longer by that.
    resets_us = max(min(told.resets_us or until_us, at_us + told.minutes * MINUTE_US), until_us)
    least = known.used if is_line else min(known.used, max(told.used, known.used - MOVED_MAX))
    most = told.used if is_line else known.used + MOVED_MAX
    return replace(told, used=max(least, min(told.used, most)), resets_us=resets_us, plan=told.plan or known.plan)


def share_of(written: object) -> int | None:
    """A share in per cent as clients write it, in hundredths and upwards; None where it is none.

    >>> share_of(13), share_of("13.0"), share_of("41.231"), share_of(-1), share_of(True)
    (1300, 1300, 4124, None, None)
    """
    if type(written) is int:
        written = str(written)
    found = _SHARE.fullmatch(written) if type(written) is str else None
    if found is None:
        return None
    fraction = (found[2] or "").ljust(2, "0")
    used = int(found[1]) * 100 + int(fraction[:2]) + (fraction[2:].strip("0") != "")
    return used if used <= USED_MAX else None


def plan_window(
    client: str,
    told: tuple[object, object, int | None],
    at_us: int,
    source: PlanSource,
    *,
    limit: str = "",
    plan: str | None = None,
) -> PlanWindow | None:
    """What was told of a window: its minutes, the share that is used, when it begins anew; None where that is none.

    A moment at which it cannot begin anew, as more than a whole window lies before, is none.
    """
    minutes, share, resets_us = told
    used = share_of(share)
    if used is None or type(minutes) is not int or not 0 < minutes <= MINUTES_MAX:
        return None
    if resets_us is not None and not 0 < resets_us - at_us + 2 * minutes * MINUTE_US < 4 * minutes * MINUTE_US:
        resets_us = None
    if not 0 <= at_us < _FAR_US:
        return None
    return PlanWindow(client, limit, minutes, used, at_us, resets_us, source, plan)


def minutes_named(text: str) -> int | None:
    """A window as people write it: `5h`, `weekly`, or other hours; None where it is none.

    >>> minutes_named("5h"), minutes_named("weekly"), minutes_named("0h"), minutes_named("day")
    (300, 10080, None, None)
    """
    if text in ("weekly", "week", "7d"):
        return WEEK
    hours = text.removesuffix("h")
    if not text.endswith("h") or not re.fullmatch("[1-9][0-9]{0,3}", hours):
        return None
    return int(hours) * 60 if int(hours) * 60 <= MINUTES_MAX else None


def window_name(minutes: int) -> str:
    """A window as people call it.

    >>> window_name(300), window_name(10_080), window_name(1_440), window_name(90)
    ('5h', 'weekly', '24h', '90min')
    """
    if minutes == WEEK:
        return "weekly"
    return f"{minutes}min" if minutes % 60 else f"{minutes // 60}h"


def percent(used: int) -> str:
    """Hundredths of a per cent for people: whole, and never rounded up to what is not reached.

    >>> percent(1_300), percent(8_999), percent(40), percent(0)
    ('13 %', '89 %', 'under 1 %', '0 %')
    """
    return "under 1 %" if 0 < used < 100 else f"{used // 100} %"


def hundredths(used: int) -> str:
    """Hundredths of a per cent as exact text, for programs.

    >>> hundredths(9_000), hundredths(4_124), hundredths(-50)
    ('90', '41.24', '-0.5')
    """
    sign, left = ("-", -used) if used < 0 else ("", used)
    return f"{sign}{left // 100}.{left % 100:02}".rstrip("0").rstrip(".")


def last_of_quarters(told: Iterable[PlanWindow]) -> list[PlanWindow]:
    """Of each window and quarter of an hour what was told last: a transcript says the same with each response."""
    last: dict[tuple[str, str, int, int], PlanWindow] = {}
    for each in told:
        key = (*each.kind, each.at_us // QUARTER_US)
        known = last.get(key)
        if known is None or (each.at_us, each.used) >= (known.at_us, known.used):
            last[key] = each
    return list(last.values())


def newest_of(told: Iterable[PlanWindow]) -> list[PlanWindow]:
    """Of values of one window the one that was told last; the longest windows last."""
    newest: dict[tuple[str, str, int], PlanWindow] = {}
    for each in told:
        known = newest.get(each.kind)
        if known is None or each.at_us >= known.at_us:
            newest[each.kind] = each
    return sorted(newest.values(), key=lambda each: (each.client, each.minutes, each.limit))


# --- limits ----------------------------------------------------------------------------------------------------------
# A limit on a plan's window is a condition and no counter: nothing is reserved in it, and it is as full as it was said
# to be last.


class PlanUnknown(StrEnum):
    """What a limit does while nobody knows how much of the plan is used."""

    WARN = "warn"
    HALT = "halt"


@value(frozen=True, slots=True)
class PlanRule:
    """A limit on one window of the plan of a client, of all that tell of one where none is named.

    `within` is the project whose file has it: it stops work there alone.
    """

    minutes: int
    at_percent: int
    mode: BudgetMode = BudgetMode.HARD
    client: str | None = None
    unknown: PlanUnknown = PlanUnknown.WARN
    within: str | None = None

    @property
    def kind(self) -> tuple[int, str | None, str | None]:
        """What it limits."""
        return self.minutes, self.client, self.within

    def is_as_tight(self, other: PlanRule) -> bool:
        """Whether it stops whatever the other one would stop."""
        return (
            self.kind == other.kind
            and self.at_percent <= other.at_percent
            and BudgetMode.SOFT not in {self.mode} - {other.mode}
            and PlanUnknown.WARN not in {self.unknown} - {other.unknown}
        )


@value(frozen=True, slots=True)
class PlanStanding:
    """How one limit stands for a client: what was told of its window last, and whether that is still true."""

    rule: PlanRule
    client: str
    told: PlanWindow | None
    is_known: bool

    @property
    def is_reached(self) -> bool:
        """Whether so much is used as the limit allows, for sure."""
        return self.is_known and self.told is not None and self.told.used >= self.rule.at_percent * 100

    @property
    def stops(self) -> bool:
        """Whether no step is let through."""
        if self.rule.mode is not BudgetMode.HARD:
            return False
        return self.is_reached or (not self.is_known and self.rule.unknown is PlanUnknown.HALT)

    @property
    def warns(self) -> bool:
        """Whether something is to be said of it."""
        return self.is_reached or not self.is_known


def standing_of(rule: PlanRule, client: str, told: Iterable[PlanWindow], at_us: int) -> PlanStanding:
    """How a limit stands by what was told of a client's windows; of several limits the fullest that is still true."""
    of_rule = [each for each in told if each.minutes == rule.minutes]
    true = [each for each in of_rule if each.is_true_at(at_us)]
    found = max(true or of_rule, key=lambda each: (each.used, each.at_us) if true else (each.at_us, 0), default=None)
    return PlanStanding(rule, client, found, bool(true))
