"""Whether the gate was right: its halts by what came after, limits that were passed, and how well estimates hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import tzinfo
from enum import StrEnum
from typing import Literal

from tallygate.core.attribution import servers_meant
from tallygate.core.chosen import Filter, Span
from tallygate.core.errors import NotFound
from tallygate.core.gate.answers import DecidingBudget, GateAnswer
from tallygate.core.gate.rules import BudgetScope
from tallygate.core.gate.verdict import HaltsAgain, HaltVerdict, JudgedHalt, halts_again, judge_halt
from tallygate.core.learning.calibration import EstimateKind, StoredSample
from tallygate.core.learning.coverage import AskedAgain, QuantileMet, needed_again, quantiles_met
from tallygate.core.loops import SeenLoop
from tallygate.core.model import Amount, Budget, Call, Session, in_usd
from tallygate.core.money import COUNTED
from tallygate.core.values import value
from tallygate.core.words import Action, ActorType, Reason, client_name
from tallygate.ledger.port import Reader
from tallygate.operations.learning.estimates import sample_key
from tallygate.operations.runtime import Runtime
from tallygate.operations.views.decision import ExplainedDecision, why
from tallygate.operations.views.frame import Frame, frame
from tallygate.operations.views.now import wanted_of
from tallygate.operations.views.usage import (
    CONVERSATION,
    OWN_TOOLS,
    SUBAGENT,
    folders_of,
    is_made_for,
    list_usage,
    made_for_of,
    sessions_made_for,
)
from tallygate.operations.windows import asked_for
from tallygate.pricing.identity import means, one_name
from tallygate.reports.usage import By

# So many of the newest are looked at; figures say so where a span has more.
HALTS_MAX, CALLS_MAX, PASSED_MAX, SAMPLES_MAX = 300, 2_000, 100, 1_000
# An agent goes on within a few calls of its session, or it has not gone on.
_AFTER_MAX = 50
_CHANGES_MAX = 1_000
_ALL = 1_000_000
ROWS_MAX = 50
_NOTABLE = 5
# Another gate: one of another quantile, one that takes each step as it is said, one that looks at what is spent alone.
OtherGate = int | Literal["said", "spent"]
QUANTILES = (50, 60, 70, 80, 90, 95)


class Listed(StrEnum):
    """Which decisions are listed."""

    LOOK = "look"
    FALSE = "false"
    HALTS = "halts"
    REROUTES = "reroutes"
    OVERRUNS = "overruns"
    ALL = "all"


@value(frozen=True, slots=True)
class GateWanted:
    """What the page is about: which days, which work, which list, and the decision that is told as a sum."""

    span: Span
    filter: Filter
    listed: Listed = Listed.LOOK
    call_id: str | None = None


@value(frozen=True, slots=True)
class GateDecision:
    """One decision with its session; of a halt also what became of it, of a call that was made what it cost."""

    call: Call
    session: Session | None
    judged: JudgedHalt | None = None

    @property
    def cost_nanos(self) -> int | None:
        return cost_of(self.call)

    @property
    def overrun_nanos(self) -> int:
        """How far a call passed what was reserved for it."""
        return max((self.cost_nanos or 0) - self.call.estimate_nanos, 0)


@value(frozen=True, slots=True)
class PassedLimit:
    """A hard limit that more was spent of; `limit` is the highest that it had while it was passed.

    `dearest` is the call of its session that passed its reservation furthest; None where none did, or where the budget
    is of several sessions.
    """

    budget: Budget
    limit: int
    dearest: Call | None = None

    @property
    def over(self) -> int:
        """By how much, in the budget's unit."""
        return self.budget.spent - self.limit


@value(frozen=True, slots=True)
class Unused:
    """What was left of budgets that had halted something, once they were over."""

    budgets: int = 0
    left_nanos: int = 0
    limit_nanos: int = 0


@value(frozen=True, slots=True)
class GateReview:
    """Everything that the page shows. Halts are those of a span, the newest first; `calls` the newest of its calls."""

    frame: Frame
    span: Span
    halts: tuple[GateDecision, ...]
    reroutes: tuple[GateDecision, ...]
    calls: tuple[GateDecision, ...]
    passed: tuple[PassedLimit, ...]
    sessions: dict[str, Session]
    quantiles: tuple[QuantileMet, ...]
    again: tuple[tuple[OtherGate, HaltsAgain], ...]
    quantile: int
    unused: Unused
    spent_nanos: int
    halts_made: int | None
    is_cut: bool
    shown: Listed
    listed: tuple[GateDecision, ...]
    chosen: ExplainedDecision | None
    chosen_halt: JudgedHalt | None
    loops: tuple[SeenLoop, ...] = ()

    def count(self, verdict: HaltVerdict) -> int:
        """How many halts were found to be that."""
        return sum(each.judged is not None and each.judged.verdict is verdict for each in self.halts)

    @property
    def false_halts(self) -> list[JudgedHalt]:
        return [
            each.judged for each in self.halts if each.judged is not None and each.judged.verdict is HaltVerdict.FALSE
        ]

    @property
    def counted(self) -> list[GateDecision]:
        """The calls that were let through and whose cost is known: what reservations are held against."""
        return [each for each in self.calls if each.cost_nanos is not None]

    @property
    def over_nanos(self) -> int:
        """How far limits were passed in all, in nano-dollars; what counts tokens or calls is not money."""
        return sum(in_usd(each.over, each.budget) for each in self.passed)


def cost_of(call: Call) -> int | None:
    """What a call that was made cost in nano-dollars; None while nobody has counted it."""
    if call.action is Action.HALT or not call.has_actual:
        return None
    return call.booked_nanos if call.cost_basis == "actual" else call.observed_nanos


def judged(reader: Reader, halt: Call) -> JudgedHalt:
    """What became of a halt."""
    # Kept are answers of refusals; what was brought in from another program may have none.
    answer = None if halt.reply is None or '"action"' not in halt.reply else GateAnswer.from_json(halt.reply)
    bound = None if answer is None else answer.binding
    if bound is None:
        return judge_halt(halt, None, (), (), lambda _: None)
    after = reader.calls_after(halt.session_id, halt.at_us, _AFTER_MAX)
    changes = reader.limit_changes([bound.budget_id], _CHANGES_MAX)
    return judge_halt(halt, bound, after, changes, lambda call: _measured(reader, bound, call))


def halt_judged(rt: Runtime, halt: Call) -> JudgedHalt:
    """What became of one halt, as of now."""
    with rt.reading() as reader:
        return judged(reader, halt)


def _measured(reader: Reader, bound: DecidingBudget, call: Call) -> int | None:
    """What a call came to in the unit of the budget that had refused it."""
    nanos = cost_of(call)
    if bound.unit == "USD" or nanos is None:
        return nanos
    if bound.unit in COUNTED:
        used = reader.observed(call.session_id).get(call.call_id)
        counts = call.actual if used is None else used.tokens
        return None if counts is None else Amount(0, counts.total, 1).measured(bound.unit)
    budget = reader.budget(bound.budget_id)
    return None if budget is None else Amount(nanos).of(budget)


def gate(rt: Runtime, zone: tzinfo, asked: GateWanted) -> GateReview:
    """Whether the gate was right in a span, as of one moment."""
    of_span = asked.span.from_us, asked.span.until_us
    with rt.reading() as reader:
        around = frame(rt)
        wanted = _Wanted(rt, reader, asked.filter, asked.span.from_us)
        refused = reader.not_allowed(Action.HALT.value, *of_span, HALTS_MAX)
        halts = tuple(wanted.decisions(refused, lambda call: judged(reader, call)))
        reroutes = tuple(wanted.decisions(reader.not_allowed(Action.REROUTE.value, *of_span, HALTS_MAX)))
        newest = reader.newest_calls(*of_span, CALLS_MAX)
        of_halts = {each.call.call_id: each for each in halts}
        calls = tuple(of_halts.get(each.call.call_id, each) for each in wanted.decisions(newest))
        samples = _samples(reader)
        listed = _listed(asked.listed, halts, reroutes, calls)
        explained = _explained(rt, asked.call_id, halts, listed)
        halt = None if explained is None or explained.call.action is not Action.HALT else explained.call
        usage = list_usage(rt, wanted_of(asked.filter, *of_span), by=By.MODEL, zone=zone, limit=_ALL)
        return GateReview(
            frame=around,
            span=asked.span,
            halts=halts,
            reroutes=reroutes,
            calls=calls,
            passed=tuple(_passed(reader, wanted, *of_span)),
            sessions=wanted.sessions,
            quantiles=tuple(_quantiles(samples, wanted, asked.span, rt.workspace.policy.quantile_percent)),
            again=tuple(_again(halts, samples, rt.workspace.policy.quantile_percent)),
            quantile=rt.workspace.policy.quantile_percent,
            unused=_unused(reader, halts, around.now_us),
            spent_nanos=usage.total.whole.nanos,
            halts_made=reader.count_not_allowed(*of_span).get(Action.HALT.value, 0) if wanted.is_all else None,
            is_cut=len(newest) == CALLS_MAX,
            shown=asked.listed,
            listed=listed,
            chosen=explained,
            chosen_halt=None if halt is None else judged(reader, halt),
            loops=tuple(reader.loops_between(*of_span, CALLS_MAX)),
        )


class _Wanted:
    """Which calls a filter means: by their session's project and client, by their own model, agent and tool.

    A call says of no skill and no branch: of these it means the sessions in which anything was made for them.
    """

    def __init__(self, rt: Runtime, reader: Reader, chosen: Filter, from_us: int) -> None:
        made_for = made_for_of(chosen)
        self._of_calls = tuple(each for each in made_for if each[0] in (By.AGENT, By.MCP))
        of_sessions = tuple(each for each in made_for if each not in self._of_calls)
        self._inside = sessions_made_for(rt, reader, of_sessions, from_us, 2**62) if of_sessions else None
        self._rt = rt
        self._reader = reader
        self._project, self._client, self._model = (chosen.of(key) for key in ("project", "client", "model"))
        self._known: dict[str, bool] = {}
        self.sessions: dict[str, Session] = {}

    def session(self, session_id: str) -> bool:
        """Whether a session is meant; each is looked up once."""
        if session_id not in self._known:
            found = self._reader.session(session_id)
            if found is not None:
                self.sessions[session_id] = found
            self._known[session_id] = found is not None and self._means(found)
        return self._known[session_id]

    def _means(self, session: Session) -> bool:
        if self._inside is not None and session.session_id not in self._inside:
            return False
        if self._project is not None:
            folders = folders_of(self._rt, {session.project} if session.project else set(), self._project)
            if not folders:
                return False
        return self._client is None or client_name(self._client) in map(client_name, session.clients)

    def model(self, name: str) -> bool:
        """Whether a model is meant."""
        return self._model is None or means(self._model, name) or self._model.lower() in one_name(name)

    def call(self, call: Call) -> bool:
        """Whether a call is meant by who asked and for which tool."""
        if not self._of_calls:
            return True
        agent, _, served = asked_for(call.actor_type, call.actor_name, call.tool_name)
        agents = {agent or (SUBAGENT if call.actor_type is ActorType.SUBAGENT else CONVERSATION)}
        names = {By.AGENT: agents, By.MCP: set(servers_meant(served[0] if served else None)) or {OWN_TOOLS}}
        return all(any(is_made_for(name, wanted) for name in names[by]) for by, wanted in self._of_calls)

    @property
    def is_all(self) -> bool:
        return (self._project, self._client, self._model, self._inside, self._of_calls) == (None, None, None, None, ())

    def decisions(self, calls: Sequence[Call], judge: Callable[[Call], JudgedHalt] | None = None) -> list[GateDecision]:
        """The calls that are meant, in the order in which they are given."""
        return [
            GateDecision(call, self.sessions.get(call.session_id), None if judge is None else judge(call))
            for call in calls
            if self.session(call.session_id) and self.model(call.model_requested) and self.call(call)
        ]


def _listed(
    shown: Listed, halts: Sequence[GateDecision], reroutes: Sequence[GateDecision], calls: Sequence[GateDecision]
) -> tuple[GateDecision, ...]:
    """The decisions of a list, as many as are shown; false halts come first among those to look at."""
    false = [each for each in halts if each.judged is not None and each.judged.verdict is HaltVerdict.FALSE]
    overruns = sorted((each for each in calls if each.overrun_nanos), key=lambda each: -each.overrun_nanos)
    match shown:
        case Listed.FALSE:
            found = false
        case Listed.HALTS:
            found = list(halts)
        case Listed.REROUTES:
            found = list(reroutes)
        case Listed.OVERRUNS:
            found = overruns
        case Listed.ALL:
            found = list(calls)
        case Listed.LOOK:
            # What passed its reservation by less than a tenth is no news.
            notable = [each for each in overruns if 10 * each.overrun_nanos >= each.call.estimate_nanos]
            found = [*false, *(each for each in halts if each not in false), *notable[:_NOTABLE]]
    return tuple(found[:ROWS_MAX])


def _explained(
    rt: Runtime, call_id: str | None, halts: Sequence[GateDecision], listed: Sequence[GateDecision]
) -> ExplainedDecision | None:
    """The decision that is told as a sum: the one that is asked for, else the first of the list, else a halt."""
    if call_id is not None:
        return why(rt, call_id)
    first = next(iter([*listed, *halts]), None)
    try:
        return None if first is None else why(rt, first.call.call_id)
    except NotFound:
        return None  # what was brought in from another program stands in no event of its own


def _passed(reader: Reader, wanted: _Wanted, from_us: int, until_us: int) -> list[PassedLimit]:
    """The limits that were passed; one that was lowered below what had been spent was not."""
    found = []
    for budget in reader.passed_limits(from_us, until_us, PASSED_MAX):
        own = budget.scope == BudgetScope.SESSION
        # A budget of many sessions is of no one project or client.
        if not (wanted.session(budget.scope_key) if own else wanted.is_all):
            continue
        changes = reader.limit_changes([budget.budget_id], _CHANGES_MAX)
        highest = max([budget.limit, *(each.before for each in changes if not each.is_raise)])
        if budget.spent <= highest:
            continue
        last = reader.recent_calls(budget.scope_key, 2**62, _AFTER_MAX) if own else []
        over = [call for call in last if (cost_of(call) or 0) > call.estimate_nanos]
        dearest = max(over, key=lambda call: (cost_of(call) or 0) - call.estimate_nanos, default=None)
        found.append(PassedLimit(budget, highest, dearest))
    return sorted(found, key=lambda each: -in_usd(each.over, each.budget))


def _unused(reader: Reader, halts: Sequence[GateDecision], now_us: int) -> Unused:
    """What budgets that halted something had left at their end: of sessions that are over, of windows that are past."""
    ids = {each.judged.bound.budget_id for each in halts if each.judged is not None and each.judged.bound is not None}
    budgets = left = limits = 0
    for budget in reader.budgets_named(sorted(ids)):
        if budget.unit in COUNTED:
            continue
        if budget.scope == BudgetScope.SESSION:
            session = reader.session(budget.scope_key)
            over = session is not None and not session.is_open
        else:
            over = budget.resets_us is not None and budget.resets_us <= now_us
        if over:
            budgets += 1
            left += in_usd(max(budget.limit - budget.spent, 0), budget)
            limits += in_usd(budget.limit, budget)
    return Unused(budgets, left, limits)


def _samples(reader: Reader) -> list[StoredSample]:
    """The newest calls that were learned from."""
    after = max(reader.last_sample() - SAMPLES_MAX, 0)
    return [each for kind in EstimateKind for each in reader.samples_after(kind.value, after)]


def _again(
    decisions: Sequence[GateDecision], samples: Sequence[StoredSample], quantile: int
) -> list[tuple[OtherGate, HaltsAgain]]:
    """What other gates would have done with the halts that were a matter of money."""
    halts, asked = [], []
    for each in decisions:
        call, judged_halt = each.call, each.judged
        bound = None if judged_halt is None else judged_halt.bound
        if judged_halt is None or bound is None or bound.unit != "USD" or call.reason is not Reason.BUDGET_EXCEEDED:
            continue
        kind = EstimateKind.HOOK if call.is_model_call else EstimateKind.AGENT
        key = sample_key(kind, "" if each.session is None else each.session.client, call.model_requested)
        halts.append(judged_halt)
        asked.append(AskedAgain(key, call.at_us, call.raw_estimate_nanos, call.level_nanos))
    if not halts:
        return []
    percents = [each for each in QUANTILES if each != quantile]
    needed = needed_again(samples, asked, percents)
    found: list[tuple[OtherGate, HaltsAgain]] = []
    for at, percent in enumerate(percents):
        # What was needed then is known: a higher quantile needs no less of the same step, and a lower one no more.
        held = max if percent > quantile else min
        again = [held(row[at], each.halt.estimate_nanos) for row, each in zip(needed, halts, strict=True)]
        found.append((percent, halts_again(halts, again)))
    found.append(("said", halts_again(halts, [each.halt.raw_estimate_nanos for each in halts])))
    found.append(("spent", halts_again(halts, [1] * len(halts))))
    return found


def _quantiles(samples: Sequence[StoredSample], wanted: _Wanted, span: Span, quantile: int) -> list[QuantileMet]:
    """How the quantiles were met by the newest calls that were learned from, as far as they lie in a span."""

    def counts(each: StoredSample) -> bool:
        return (
            span.from_us <= each.at_us < span.until_us
            and (wanted.is_all or wanted.session(each.session_id))
            and wanted.model(each.key.model)
        )

    return quantiles_met(samples, sorted({*QUANTILES, quantile}), counts)
