"""Go through the ledger's history again: learn anew, and try gates out on it."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from tallygate.clients.registry import REGISTRY
from tallygate.core.authority import Authority, Loosening
from tallygate.core.costing import Price
from tallygate.core.learning.calibration import CostOrigin, EstimateKind, Sample, SampleKey
from tallygate.core.learning.replay import (
    Accuracy,
    AccuracySum,
    Ask,
    Figures,
    Gate,
    Memory,
    ReplayOutcome,
    Run,
    figures,
    outcome,
    usual_budget,
    walk_forward,
)
from tallygate.core.learning.steps import AUXILIARY_ACTOR, PastStep, next_step
from tallygate.core.model import Actor, Call, Session
from tallygate.core.sums import UsageFilter
from tallygate.core.usage import ObservedUsage, Quality, ResponseKind, priced_as, terms_of
from tallygate.core.values import value
from tallygate.ledger.port import Change, Delete, Insert, LearningReader, Reader, StoredUsage, UsageReader
from tallygate.ledger.rows import from_sample
from tallygate.operations.learning import estimates
from tallygate.operations.lock_book import signing
from tallygate.operations.runtime import Runtime
from tallygate.pricing.book import PriceScope
from tallygate.pricing.overrides import ANYWHERE

# --- learning anew ---------------------------------------------------------------------------------------------------
# What the ledger could have taught from its beginning: every step with what was said of it, and what it cost.


# What is further back is forgotten by the windows of what is learned.
LOOKED_AT = 20_000
EVER_US = 2**62
_WEEK_US = 7 * 86_400_000_000


@value(frozen=True, slots=True)
class LearnedStep:
    """One step of a session, and the key under which it is looked at."""

    call_id: str
    session_id: str
    key: SampleKey
    ask: Ask


def relearned(steps: Iterable[LearnedStep]) -> Iterator[tuple[LearnedStep, Sample]]:
    """Each step, in the order in which its cost came to be known, with what those before it let expect."""
    memory = Memory()
    for step in steps:
        if (sample := memory.meet(step.session_id, step.ask).sample) is not None:
            yield step, sample


def of_agents(reader: Reader) -> Iterator[LearnedStep]:
    """The calls whose estimates agents gave."""
    sessions: dict[str, Session | None] = {}
    costs: dict[str, dict[str | None, int]] = {}
    for call in reader.reconciled_calls(LOOKED_AT):
        if call.session_id not in sessions:
            sessions[call.session_id] = reader.session(call.session_id)
        session = sessions[call.session_id]
        if session is not None and not call.is_model_call:
            key = SampleKey(EstimateKind.AGENT.value, session.client, estimates.recorded_model(reader, call))
            agent = estimates.agent_of(Actor(call.actor_type, call.actor_id, call.actor_name))
            origin = CostOrigin.REPORTED if call.cost_basis == "actual" else CostOrigin.OBSERVED
            actual = _actual(reader, call, costs)
            ask = Ask(_name(key), agent, call.raw_estimate_nanos, actual, origin=origin)
            yield LearnedStep(call.call_id, call.session_id, key, ask)


def _actual(reader: UsageReader, call: Call, costs: dict[str, dict[str | None, int]]) -> int:
    """What a call cost: as it was booked, or what its responses add up to where the client's record is read."""
    if call.cost_basis == "actual":
        return call.booked_nanos
    if call.observed_nanos is not None:
        return call.observed_nanos
    if call.session_id not in costs:
        observed = reader.observed(call.session_id)
        costs[call.session_id] = {key: part.nanos for key, part in observed.items()}
    return costs[call.session_id].get(call.call_id, 0)


@value(frozen=True, slots=True)
class Paid:
    """One response, what its model cost then, and what it cost."""

    row: ObservedUsage
    price: Price
    nanos: int

    @property
    def key(self) -> SampleKey:
        """Under which its call's estimate is looked at, by the name that sessions of its client have."""
        return estimates.sample_key(
            EstimateKind.HOOK, self.row.client, estimates.price_key(self.price, priced_as(self.row))
        )


def paid_of(rt: Runtime, stored: StoredUsage) -> Paid:
    """A response with the price that its model had where and when it was made."""
    row = stored.row
    scope = PriceScope(rt.tenant, row.project) if rt.workspace.prices.is_scoped else ANYWHERE
    return Paid(row, rt.workspace.prices.quote(priced_as(row), row.at, scope, terms_of(row)), stored.cost_nanos)


class HookSteps:
    """Responses, the oldest first, as hooks would have asked for their calls; those of several sessions may mix."""

    def __init__(self) -> None:
        self._past: dict[tuple[str, str, str | None], deque[PastStep]] = defaultdict(
            lambda: deque(maxlen=estimates.STEPS_LOOKED_AT)
        )
        self._models: dict[tuple[str, str, str | None], str] = {}

    def _switches(self, paid: Paid, session: str) -> bool:
        """Whether a response is of another model than its agent's last one."""
        agent, model = (paid.row.client, session, paid.row.agent_id), paid.key.model
        before = self._models.get(agent, model)
        self._models[agent] = model
        return model != before

    def ask(self, paid: Paid, session: str) -> Ask:
        """The call of one response of a session."""
        row, key = paid.row, _name(paid.key)
        if row.rule.kind is ResponseKind.AUXILIARY:
            return Ask(
                key, AUXILIARY_ACTOR, 0, paid.nanos
            )  # no hook stands before it: it is paid, and nobody had said anything
        mine = self._past[row.client, session, row.agent_id]
        facts = REGISTRY.facts_of(row.client)
        first_call = None if facts is None else facts.first_call
        ahead = next_step(list(mine), paid.price, row.at, first_call, forgotten=self._switches(paid, session))
        mine.append(PastStep(row, paid.nanos))
        return Ask(key, row.agent_id or "", ahead.nanos, paid.nanos, is_level=True, anew_nanos=ahead.anew_nanos)


def of_hooks(rt: Runtime, reader: UsageReader) -> Iterator[LearnedStep]:
    """The last responses that clients wrote down, each as its hook would have asked for it."""
    steps = HookSteps()
    for stored in deque(responses(reader, -EVER_US, EVER_US), maxlen=LOOKED_AT):
        row, paid = stored.row, paid_of(rt, stored)
        session = session_of(row)
        yield LearnedStep(f"response:{row.client}:{row.response_key}", session, paid.key, steps.ask(paid, session))


def _name(key: SampleKey) -> str:
    return f"{key.client} {key.model}"


def responses(reader: UsageReader, from_us: int, until_us: int) -> Iterator[StoredUsage]:
    """Every response of a span, the oldest first; a client's sum of a whole session is none."""
    chosen = UsageFilter(from_us, until_us)
    while (at_us := reader.usage_next(chosen)) is not None:
        end_us = min(at_us + _WEEK_US, until_us)
        for stored in reader.usage_between(at_us, end_us):
            if stored.row.quality is not Quality.SESSION_TOTAL:
                yield stored
        chosen = UsageFilter(end_us, until_us)


def session_of(row: ObservedUsage) -> str:
    """The client's session that a response is part of: a subagent may write one of its own, beside its parent's."""
    return row.parent_session if row.agent_id is not None and row.parent_session is not None else row.session


# --- backtest --------------------------------------------------------------------------------------------------------
# Go through the sessions in the ledger again, to see how good its estimates are and what its gate would have done.


# The budget of a session where none is given: what three of four like it stay within.
BUDGET_PERCENT = 75


@value(frozen=True, slots=True)
class ReplayPeriod:
    """Which responses and calls are gone through; `until_us` is the first moment after them."""

    from_us: int
    until_us: int


@value(frozen=True, slots=True)
class BacktestPart:
    """What became of the sessions of one kind of estimate: those of hooks, or those that agents gave."""

    kind: EstimateKind
    figures: Mapping[Gate, Figures]
    accuracy: Accuracy


@value(frozen=True, slots=True)
class Backtest:
    """How good the estimates are on this ledger; without a budget each session had what is usual for its like."""

    quantile_percent: int
    budget_nanos: int | None
    parts: tuple[BacktestPart, ...]


@value(frozen=True, slots=True)
class BacktestProgress:
    """How many sessions were gone through, of how many."""

    done: int
    sessions: int


def unseen_backtest(_: BacktestProgress) -> None:
    """Where nobody looks at how a backtest goes."""


def backtest(
    rt: Runtime,
    period: ReplayPeriod,
    *,
    budget_nanos: int | None = None,
    progress: Callable[[BacktestProgress], None] = unseen_backtest,
) -> Backtest:
    """Go through every session the oldest first, each with what those before it teach; nothing is written."""
    with rt.reading() as reader:
        runs = {EstimateKind.HOOK: _observed(rt, reader, period), EstimateKind.AGENT: _asked(reader, period)}
    sessions = sum(map(len, runs.values()))
    done = 0
    parts = []
    for kind, own in runs.items():
        limits = _limits(own, budget_nanos)
        outcomes: dict[Gate, list[ReplayOutcome]] = {gate: [] for gate in Gate}
        heard = AccuracySum()
        # Each run meets only what those before it have taught: to know its own end would flatter every figure.
        for run, told in walk_forward(own):
            for gate, found in outcomes.items():
                found.append(outcome(told, limits[run.group], gate, rt.workspace.policy.quantile_percent))
            for each in told:
                heard.add(each)
            done += 1
            progress(BacktestProgress(done, sessions))
        if own:
            parts.append(BacktestPart(kind, {gate: figures(found) for gate, found in outcomes.items()}, heard.result()))
    return Backtest(rt.workspace.policy.quantile_percent, budget_nanos, tuple(parts))


def hook_asks(responses: Iterable[Paid]) -> Iterator[Ask]:
    """The calls of one session as its hooks would have asked for them, at the time of each response."""
    steps = HookSteps()
    for each in responses:
        yield steps.ask(each, session_of(each.row))


def _observed(rt: Runtime, reader: UsageReader, period: ReplayPeriod) -> list[Run]:
    """The sessions that clients wrote down."""
    found: dict[tuple[str, str], list[Paid]] = {}
    for stored in responses(reader, period.from_us, period.until_us):
        row = stored.row
        found.setdefault((row.client, session_of(row)), []).append(paid_of(rt, stored))
    return [
        Run(name, f"{client} {responses[0].row.project or ''}", tuple(hook_asks(responses)))
        for (client, name), responses in found.items()
    ]


def _asked(reader: LearningReader, period: ReplayPeriod) -> list[Run]:
    """The sessions whose agents said what a step would cost, as far as it is known what it did."""
    found: dict[str, list[Ask]] = {}
    groups: dict[str, str] = {}
    for kept in reader.samples_after(EstimateKind.AGENT.value, 0):
        if period.from_us <= kept.at_us < period.until_us:
            sample, key = kept.sample, f"{kept.key.client} {kept.key.model}"
            ask = Ask(key, kept.agent, sample.estimate_nanos, sample.actual_nanos, origin=sample.origin)
            found.setdefault(kept.session_id, []).append(ask)
            groups.setdefault(kept.session_id, f"{kept.key.client} ")
    return [Run(name, groups[name], tuple(asks)) for name, asks in found.items()]


def _limits(runs: Sequence[Run], budget_nanos: int | None) -> dict[str, int]:
    """The budget of every group: the given one, or the usual one of its project, or of its client."""
    groups: dict[str, list[Run]] = defaultdict(list)
    clients: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.group].append(run)
        clients[run.group.partition(" ")[0]].append(run)
    if budget_nanos is not None:
        return dict.fromkeys(groups, budget_nanos)
    return {
        group: usual_budget(members, clients[group.partition(" ")[0]], BUDGET_PERCENT)
        for group, members in groups.items()
    }


def rebuild(rt: Runtime, progress: Callable[[int, int], None] | None = None, *, authority: Authority) -> int:
    """Learn anew from what the ledger has, the oldest first, as if each step had been asked for today.

    Agents' estimates are held against their calls, those of hooks against every response that clients wrote down, also
    of sessions that nobody gated. What each was expected to cost is worked out from those before it alone. Returns the
    number of samples.
    """
    authority.require(Loosening.CALIBRATE_REBUILD)
    with rt.reading() as reader:
        made = [*relearned(of_agents(reader)), *relearned(of_hooks(rt, reader))]
    for start in range(0, max(len(made), 1), estimates.PER_EVENT):
        with rt.writing() as tx:
            # The first event says that all before it counts no more; if the rest does not come, less has been learned,
            # and nothing wrong.
            changes: list[Change] = [] if start else [estimates.start_of(tx, "", "")]
            for step, sample in made[start : start + estimates.PER_EVENT]:
                if tx.has_sample(step.call_id):
                    changes.append(Delete("calibration_sample", {"call_id": step.call_id}))
                ids = {"call_id": step.call_id, "session_id": step.session_id, "agent": step.ask.agent}
                changes.append(Insert("calibration_sample", from_sample(step.key, sample, **ids, at_us=tx.at_us)))
            sign = signing(rt, tx, authority, Loosening.CALIBRATE_REBUILD)
            tx.append("calibration.rebuilt", changes, by=rt.by, sign=sign)
        if progress is not None:
            progress(min(start + estimates.PER_EVENT, len(made)), len(made))
    return len(made)
