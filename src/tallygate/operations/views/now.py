"""What is so now: spent and left today, what runs and what stands still, and what somebody could do about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta, tzinfo

from tallygate.core.chosen import Filter, start_us
from tallygate.core.gate.rules import DAY, BudgetRule, BudgetScope
from tallygate.core.gate.wording import quoted, short_name, standing_of
from tallygate.core.model import Budget, Call, Session
from tallygate.core.moments import as_datetime
from tallygate.core.money import format_amount
from tallygate.core.plan import PlanWindow
from tallygate.core.text import cleaned
from tallygate.core.values import value
from tallygate.core.words import BudgetMode
from tallygate.ledger.port import Reader
from tallygate.operations.budgets.figures import Unsure
from tallygate.operations.runtime import Runtime
from tallygate.operations.views.forecasts import ForecastsMet, forecasts_met
from tallygate.operations.views.frame import Frame, frame
from tallygate.operations.views.history import spent_on_rule
from tallygate.operations.views.overview import SessionLine, StoppedRun, line_of, list_budgets
from tallygate.operations.views.pace import Pace, pace_of
from tallygate.operations.views.prices import OLD_DAYS
from tallygate.operations.views.session_list import sessions_meant
from tallygate.operations.views.usage import UsageView, UsageWanted, list_usage, made_for_of, spent_between
from tallygate.reports.usage import By, UsageLine, period_of

_BUDGETS_LOOKED_AT = 200
_DECISIONS_SHOWN = 8
_SESSIONS_SHOWN = 20
_ALL = 1_000_000
_ACTIONS_SHOWN = 3
_INIT = "tallygate init"


@value(frozen=True, slots=True)
class DayLimit:
    """The limit of everything that is spent on a day; `budget` is its window, once a step has begun one."""

    limit: int
    spent: int
    reserved: int
    mode: BudgetMode
    resets_us: int | None
    budget: Budget | None = None

    @property
    def left(self) -> int:
        return self.limit - self.spent - self.reserved


@value(frozen=True, slots=True)
class ToDo:
    """Something that somebody could do now: what it is about in money, why, and the command that does it.

    What stands still comes first, then what most money is in. `nanos` are None where it is not about an amount.
    """

    nanos: int | None
    measure: str
    title: str
    why: str
    command: str
    stands_still: bool = False


@value(frozen=True, slots=True)
class Now:
    """Everything that the first page shows. `hours` are the beginnings of today's hours with what was spent in each.

    A filter means `meant` of the open sessions.
    """

    frame: Frame
    today: UsageLine
    pace: Pace | None
    plans: tuple[PlanWindow, ...]
    meant: int
    forecasts: ForecastsMet
    day: DayLimit | None
    lines: tuple[SessionLine, ...]
    windows: tuple[Budget, ...]
    month: UsageView
    hours: tuple[tuple[int, int], ...]
    decisions: tuple[tuple[Session, Call], ...]

    def stopping(self, stop: StoppedRun) -> Budget | None:
        """The budget that a session stands still by, as it stands now: what was reserved then may be free again."""
        binding = None if stop.answer is None else stop.answer.binding
        known = [*(line.own for line in self.lines if line.own is not None), *self.windows]
        return None if binding is None else next((each for each in known if each.name == binding.budget_id), None)


def now(rt: Runtime, zone: tzinfo, chosen: Filter) -> Now:
    """What is so now, as of one moment."""
    with rt.reading() as reader:
        around = frame(rt)
        now_us = around.now_us
        today = period_of(now_us, By.DAY, zone)
        month = period_of(now_us, By.MONTH, zone)
        budgets = list_budgets(rt, limit=_BUDGETS_LOOKED_AT)
        windows = tuple(each for each in budgets if is_window(each, now_us))
        unsure = Unsure(reader, rt.workspace.place_of)
        # What stands still first: that is what somebody has come for.
        meant = sessions_meant(rt, reader, around.open, chosen)
        shown = sorted(meant, key=lambda each: each.session_id not in around.stops)[:_SESSIONS_SHOWN]
        lines = tuple(line_of(rt, reader, each, unsure) for each in shown)
        moments = hours_of(now_us, zone)
        spent = spent_between(rt, wanted_of(chosen, today.start_us, today.end_us), [*moments, today.end_us])
        calls = [
            (each, call) for each in shown for call in reader.recent_calls(each.session_id, 2**62, _DECISIONS_SHOWN)
        ]
        return Now(
            frame=around,
            today=list_usage(
                rt, wanted_of(chosen, today.start_us, today.end_us), by=By.MODEL, zone=zone, limit=_ALL
            ).total,
            pace=None if chosen.terms else pace_of(rt, reader, now_us),
            plans=plan_windows(reader, now_us),
            meant=len(meant),
            forecasts=forecasts_met(rt, reader, now_us),
            day=day_limit(rt, windows, zone),
            lines=lines,
            windows=windows,
            month=list_usage(rt, wanted_of(chosen, month.start_us, month.end_us), by=By.MODEL, zone=zone, limit=_ALL),
            hours=tuple(zip(moments, spent, strict=True)),
            decisions=tuple(sorted(calls, key=lambda each: -each[1].at_us)[:_DECISIONS_SHOWN]),
        )


def to_do(seen: Now, *, is_installed: bool, has_limits: bool) -> list[ToDo]:
    """At most three things to do: what stands still first, then by the money of a month."""
    found = [*_stopped(seen), *_unpriced(seen)]
    if not is_installed and not seen.frame.is_new:
        title = "Put the gate in front of your clients"
        found.append(ToDo(None, "", title, "Nothing stops your agents yet: what they spend is only counted.", _INIT))
    elif not has_limits:
        why = "Without one everything is counted and nothing is stopped. It proposes limits from your own days."
        found.append(ToDo(None, "", "Set a limit", why, _INIT))
    if (age := seen.frame.prices.age_days) is not None and age > OLD_DAYS:
        why = f"The newest price in the list is {age} days old; models that came since are priced by their relatives."
        found.append(ToDo(None, "", "Fetch a newer price list", why, "tallygate prices update"))
    return sorted(found, key=lambda each: (not each.stands_still, -(each.nanos or 0)))[:_ACTIONS_SHOWN]


def _stopped(seen: Now) -> Iterator[ToDo]:
    spent = {line.session.session_id: line.spent_nanos for line in seen.lines}
    for session in seen.frame.open:
        stop = seen.frame.stops.get(session.session_id)
        if stop is None:
            continue
        name = session_label(session)
        why = (stop.message or f"{stop.call.tool_name} was refused: {stop.call.reason.value}").splitlines()[0]
        binding, standing = None if stop.answer is None else stop.answer.binding, seen.stopping(stop)
        if binding is not None and standing is not None and standing.available != binding.available_nanos:
            why = standing_of(standing)
        command = stop.command or f"tallygate why {short_name(session.session_id)}"
        added = command.split()[-1] if " budget raise " in command else None
        title = f"Look at “{name}”" if added is None else f"Raise “{name}” by {added}"
        yield ToDo(spent.get(session.session_id), "stands still", title, why, command, stands_still=True)


def _unpriced(seen: Now) -> Iterator[ToDo]:
    for model, part in seen.month.total.models.items():
        if part.assumed_nanos > 0:
            text = format_amount(part.assumed_nanos)
            why = f"No list names it: {text} this month at an assumed price. Its true price may be far from that."
            command = f"tallygate prices {quoted(model)}"
            yield ToDo(part.assumed_nanos, "not sure", f"Say what {cleaned(model, 80)} costs", why, command)


def session_label(session: Session) -> str:
    """What people know a session by: its task, else the end of its id."""
    return cleaned(session.task_summary or "", 80) or short_name(session.session_id)


def plan_windows(reader: Reader, at_us: int) -> tuple[PlanWindow, ...]:
    """What clients tell of their plans that is still so, the fullest first."""
    found = [each for each in reader.plan_windows() if each.is_true_at(at_us)]
    return tuple(sorted(found, key=lambda each: (-each.used, each.client, each.minutes)))


def wanted_of(chosen: Filter, from_us: int, until_us: int, every: By | None = None) -> UsageWanted:
    """What a list of usage is about, by the words of a filter."""
    client = chosen.of("client")
    return UsageWanted(
        from_us,
        until_us,
        clients=() if client is None else (client,),
        project=chosen.of("project"),
        model=chosen.of("model"),
        every=every,
        made_for=made_for_of(chosen),
    )


def is_window(budget: Budget, now_us: int) -> bool:
    """Whether a budget is above sessions and its time has not passed."""
    return budget.scope != BudgetScope.SESSION and (budget.resets_us is None or budget.resets_us > now_us)


def hours_of(now_us: int, zone: tzinfo) -> list[int]:
    """The beginnings of the hours of today that have begun; a day on which clocks are changed has 23 or 25."""
    first = start_us(as_datetime(now_us).astimezone(zone).date(), zone)
    hour = timedelta(hours=1) // timedelta(microseconds=1)
    return list(range(first, now_us + 1, hour))


def day_limit(rt: Runtime, windows: Sequence[Budget], zone: tzinfo) -> DayLimit | None:
    """The limit of a day for all work: the tightest that stops, else the tightest that warns; None where none is set.

    Before a step has begun its window, it counts what is on record already.
    """
    found = [
        DayLimit(each.limit, each.spent + each.carried, each.reserved, each.mode, each.resets_us, each)
        for each in windows
        if each.period == DAY and each.unit == "USD" and each.scope in (BudgetScope.USER, BudgetScope.GLOBAL)
    ]
    if not found:
        for rule in filter(_is_of_all_work, rt.workspace.rules):
            spent = spent_on_rule(rt, rule, zone)
            if spent is not None:
                end_us = period_of(rt.services.clock_us(), By.DAY, zone).end_us
                found.append(DayLimit(rule.limit, spent, 0, rule.mode, end_us))
    return min(found, key=lambda each: (each.mode is not BudgetMode.HARD, each.left), default=None)


def _is_of_all_work(rule: BudgetRule) -> bool:
    return (
        rule.period == DAY
        and rule.unit == "USD"
        and rule.match is None
        and rule.scope in (BudgetScope.USER, BudgetScope.GLOBAL)
    )
